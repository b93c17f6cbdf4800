//! Manners: exit codes, clear errors, data on stdout and talk on stderr.

use std::fs;

use crate::house::{GOOD, House};

#[test]
fn a_missing_specification_is_named_and_nothing_is_recorded() {
    let house = House::with(GOOD);
    let said = house.take("nowhere");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("nowhere.md"), "{said:?}");
    assert!(!house.path("repo/.git/palisade/events.sqlite").exists());
}

#[test]
fn an_unknown_agent_is_refused_before_anything_is_recorded() {
    let house = House::with(GOOD);
    let said = house.run(&["run", "../spec.md", "--agent", "oracle"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("there is no agent `oracle`"), "{said:?}");
    assert_eq!(house.run(&["status", "--json"]).out.trim(), "[]");
}

#[test]
fn the_agent_may_be_named_once_and_for_all() {
    let house = House::with(GOOD);
    let said = house.run(&["run", "../spec.md"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("there is no agent to run"), "{said:?}");
    house.put("repo/palisade.toml", "agent = \"scripted:../story.toml\"\n");
    let said = house.run(&["run", "../spec.md"]);
    assert_eq!(said.code, 4, "{said:?}");
}

#[test]
fn an_unknown_flag_is_an_error() {
    let house = House::with(GOOD);
    assert_eq!(house.run(&["status", "--no-such-flag"]).code, 2);
}

#[test]
fn a_configuration_with_faults_names_each_with_its_place() {
    let house = House::with(GOOD);
    house.put("repo/palisade.toml", "slots = \"two\"\nodd = 1\n");
    let said = house.take("spec");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("palisade.toml:1:9"), "{said:?}");
    assert!(said.err.contains("palisade.toml:2:1"), "{said:?}");
}

#[test]
fn outside_of_a_repository_the_mend_is_told() {
    let house = House::with(GOOD);
    let elsewhere = house.path("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let said = house.run(&["--repo", elsewhere.to_str().unwrap(), "status"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("git init"), "{said:?}");
}

#[test]
fn data_goes_to_stdout_and_talk_to_stderr() {
    let house = House::with(GOOD);
    let agent = "scripted:../story.toml";
    let said = house.run(&["run", "../spec.md", "--agent", agent, "--json"]);
    assert_eq!(said.code, 4, "{said:?}");
    let board: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(board[0]["state"], "input_required");
    assert!(said.err.contains("builder starts"), "{said:?}");
    assert!(
        !said.err.contains('\u{1b}'),
        "colours without a terminal: {said:?}"
    );
}

#[test]
fn the_view_is_rebuilt_byte_for_byte() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    let path = house.path("repo/.git/palisade/views/board.json");
    let stored = fs::read(&path).unwrap();
    let said = house.run(&["admin", "rebuild"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(fs::read(&path).unwrap(), stored);
    // The control: a changed view is noticed.
    fs::write(&path, b"{}").unwrap();
    let said = house.run(&["admin", "rebuild"]);
    assert!(format!("{said:?}").contains("differ"), "{said:?}");
    assert_eq!(fs::read(&path).unwrap(), stored);
}

#[test]
fn a_stopped_work_stays_stopped() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    assert_eq!(house.run(&["stop", "spec", "--reason", "not now"]).code, 0);
    assert_eq!(house.line("spec")["state"], "canceled");
    assert_eq!(house.run(&["resume"]).code, 0);
    assert_eq!(house.approve(&[]).code, 3);
}

#[test]
fn a_record_that_was_erased_does_not_verify_and_none_is_made() {
    let house = House::with(GOOD);
    let said = house.run(&["audit", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is no record at"), "{said:?}");
    assert!(!house.path("repo/.git/palisade").exists());
    assert_eq!(house.take("spec").code, 4);
    assert_eq!(house.run(&["audit", "verify"]).code, 0);
    let log = house.path("repo/.git/palisade/events.sqlite");
    fs::remove_file(&log).unwrap();
    let said = house.run(&["audit", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("BROKEN: the event log"), "{said:?}");
    assert!(!log.exists());
    fs::write(&log, "").unwrap();
    let said = house.run(&["audit", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("of artifacts"), "{said:?}");
}

#[test]
fn of_specifications_of_which_one_is_wrong_none_is_submitted() {
    let house = House::with(GOOD);
    house.put("bad.md", "---\ndepends_on: [nope]\n---\n# Bad\n");
    for other in ["../bad.md", "../spec.md"] {
        let agent = "scripted:../story.toml";
        let said = house.run(&["run", "../spec.md", other, "--agent", agent]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(&other[3..]), "{said:?}");
        assert_eq!(house.run(&["status", "--json"]).out.trim(), "[]");
    }
}

#[test]
fn a_damaged_proposal_is_named_and_found_by_the_audit() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    let packs = house.path("repo/.git/palisade/artifacts");
    let mut folders = vec![packs];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::write(&path, "").unwrap();
            }
        }
    }
    let said = house.run(&["audit", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("BROKEN  the proposed dossier"),
        "{said:?}"
    );
    let said = house.run(&["decide"]);
    assert!(said.err.contains("spec: its dossier"), "{said:?}");
    assert!(said.err.contains("palisade audit verify spec"), "{said:?}");
}
