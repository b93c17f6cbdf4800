//! Secrets: a work does not start on a commit that shows one, an agent brings none home, and one
//! that comes out of a cell ends it.

use crate::house::{GOOD, House, holds};

/// Returns a token that looks real. It stands nowhere as it is.
fn token() -> String {
    ["np", "m_", "q7Zr0vTn2KxWm5LpB3cDe8FgH1jKq7Zr0vTn"].concat()
}

fn fingerprint(said: &str) -> String {
    let mut words = said.split_whitespace();
    words.find(|it| *it == "npm-token").unwrap();
    words.next().unwrap().trim_end_matches(':').to_string()
}

#[test]
fn no_work_starts_on_a_commit_that_shows_a_credential() {
    let house = House::with(GOOD);
    house.put("repo/src/notes", &format!("one\ntwo {}\n", token()));
    house.git(&["add", "--all"]);
    house.git(&["commit", "--quiet", "--message", "notes"]);
    let said = house.take("spec");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("src/notes:2 npm-token "), "{said:?}");
    assert!(said.err.contains("[[accepted_secret]]"), "{said:?}");
    let doctor = house.run(&["doctor"]);
    assert!(doctor.out.contains("src/notes:2 npm-token "), "{doctor:?}");
    let init = house.run(&["init"]);
    assert!(init.err.contains("src/notes:2 npm-token "), "{init:?}");
    let told = format!("{said:?}{doctor:?}{init:?}");
    assert!(!told.contains(&token()), "{told}");
    let state = house.path("repo/.git/palisade");
    assert!(!holds(&state, &token()), "nothing of it was made ready");

    // Accepted for a reason, or withheld: either way works start.
    let fingerprint = fingerprint(&said.err);
    let ways = [
        format!("[[accepted_secret]]\nfingerprint = \"{fingerprint}\"\nreason = \"made up\"\n"),
        "secrets = [\"src/notes\"]\n".to_string(),
    ];
    for (number, way) in ways.iter().enumerate() {
        house.put("repo/palisade.toml", way);
        let name = format!("spec{number}");
        house.spec(&name, "# Say goodbye\n\nWrite `src/bye`.\n");
        let said = house.take(&name);
        assert_eq!(said.code, 4, "{way}: {said:?}");
        let doctor = house.run(&["doctor"]);
        assert!(!doctor.out.contains("npm-token"), "{way}: {doctor:?}");
    }
}

#[test]
fn an_agent_brings_no_credential_home() {
    let idle = "[[turn]]\nrole = \"builder\"\nwhen = \"violations\"\n\
        steps = [{ write = \"src/bye\", text = \"bye\\n\" }, { done = \"left it\" }]\n";
    let story = GOOD.replacen("bye\\n", &format!("bye {}\\n", token()), 1) + idle;
    let house = House::with(&story);
    let said = house.take("spec");
    assert!(
        said.err.contains("turned away: src/bye [secret]"),
        "{said:?}"
    );
    assert!(said.err.contains("npm-token"), "{said:?}");
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(house.approve(&[]).code, 0);
    assert_eq!(house.git(&["show", "palisade/main:src/bye"]), "bye\n");
}

#[test]
fn what_is_withheld_and_comes_out_of_a_cell_ends_it() {
    let value = "q7Zr0vTn2KxWm5LpB3cDe8Fg";
    let reversed: String = value.chars().rev().collect();
    let step = format!("steps = [{{ print = \"see {reversed}\\n\" }}, {{ write = \"src/bye\"");
    let story = GOOD.replacen("steps = [{ write = \"src/bye\"", &step, 1);
    for is_watched in [true, false] {
        let house = House::with(&story);
        if is_watched {
            // Never committed: it is the operator's own.
            house.put("repo/deep/.env.local", &format!("API_TOKEN={value}\n"));
        }
        let said = house.take("spec");
        let state = house.path("repo/.git/palisade");
        let is_kept = holds(&state, &reversed);
        if !is_watched {
            assert_eq!(said.code, 4, "{said:?}");
            assert!(is_kept, "without a tripwire the log holds it");
            continue;
        }
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("incident: "), "{said:?}");
        assert!(said.err.contains("deep/.env.local"), "{said:?}");
        assert!(!is_kept && !holds(&state, value), "nothing of it is stored");
        let line = house.line("spec");
        assert_eq!(line["state"], "failed", "{line}");
        assert!(
            line["detail"].as_str().unwrap().contains("incident: "),
            "{line}"
        );
        let status = house.run(&["status", "--all"]);
        assert!(status.out.contains("incident"), "{status:?}");
        assert!(!format!("{said:?}{status:?}{line}").contains(&reversed));
        assert!(state.join("canary/token").is_file());
    }
}
