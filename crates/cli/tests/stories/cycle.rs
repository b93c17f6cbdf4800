//! The main job: a specification becomes a promoted change.

use crate::house::{GOOD, House};

#[test]
fn a_specification_becomes_a_promoted_change_and_the_checkout_is_untouched() {
    let house = House::with(GOOD);
    let (tree, index) = (house.working_tree(), house.git(&["ls-files", "--stage"]));
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(house.git(&["branch", "--list", "palisade/*"]), "");
    let said = house.approve(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(house.git(&["show", "palisade/main:src/bye"]), "bye\n");
    assert_eq!(
        house.git(&["log", "--format=%s", "palisade/main"]),
        "Say goodbye\nbase\n"
    );
    assert_eq!(house.working_tree(), tree);
    assert_eq!(house.git(&["ls-files", "--stage"]), index);
    assert_eq!(house.line("spec")["state"], "completed");
    let said = house.run(&["audit", "verify", "spec"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn what_the_plan_does_not_allow_is_turned_away_and_told() {
    let story = GOOD.replacen(
        "steps = [{ write = \"src/bye\"",
        "steps = [{ write = \"Makefile\", text = \"all:\\n\" }, { write = \"src/bye\"",
        1,
    );
    let corrected = "[[turn]]\nrole = \"builder\"\nwhen = \"violations\"\n\
        steps = [{ require = \"src/bye\", contains = \"bye\" }, { done = \"left it\" }]\n";
    let house = House::with(&format!("{story}{corrected}"));
    let said = house.take("spec");
    assert!(
        said.err.contains("turned away: Makefile [plan_allowed]"),
        "{said:?}"
    );
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(house.approve(&[]).code, 0);
    let files = house.git(&["ls-tree", "-r", "--name-only", "palisade/main"]);
    assert!(
        files.contains("src/bye") && !files.contains("Makefile"),
        "{files}"
    );
}

#[test]
fn a_grave_question_blocks_until_it_is_answered() {
    let ask = "steps = [{ ask = { question = \"Which word?\", why = \"unclear\", \
        options = [\"bye\", \"ciao\"], recommend = \"bye\", impact = \"small\", default = \"bye\", \
        priority = \"P1\" } }, { write = \"src/bye\"";
    let house = House::with(&GOOD.replacen("steps = [{ write = \"src/bye\"", ask, 1));
    assert_eq!(house.take("spec").code, 4);
    let said = house.approve(&[]);
    assert_eq!(said.code, 3, "a blocked proposal was approved: {said:?}");
    let said = house.run(&["answer", "--all-defaults"]);
    assert_eq!(said.code, 4, "{said:?}");
    let said = house.approve(&[]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn an_approval_for_another_dossier_is_refused() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    let other = format!("b3:{}", "0".repeat(64));
    let said = house.run(&["decide", "--approve", "--dossier", &other]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_eq!(house.git(&["branch", "--list", "palisade/*"]), "");
}

#[test]
fn two_works_land_one_after_the_other_on_a_moving_target() {
    let house = House::with(GOOD);
    house.spec("first", "# First\n\nWrite it.\n");
    house.spec("second", "# Second\n\nWrite it.\n");
    let second = GOOD
        .replace("src/bye", "src/ciao")
        .replace("tests/bye.t", "tests/ciao.t");
    house.put("second.toml", &second);
    assert_eq!(house.take("first").code, 4);
    let said = house.run(&["run", "../second.md", "--agent", "scripted:../second.toml"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(house.approve(&["first"]).code, 0);
    // The target has moved: the second is rebased, its gates run again, and it asks again.
    let said = house.approve(&["second"]);
    assert_eq!(said.code, 4, "{said:?}");
    let said = house.approve(&["second"]);
    assert_eq!(said.code, 0, "{said:?}");
    let log = house.git(&["log", "--format=%s", "palisade/main"]);
    assert_eq!(log, "Second\nFirst\nbase\n");
}

#[test]
fn no_secret_reaches_an_agent_or_leaves_a_trace() {
    let story = GOOD.replacen(
        "steps = [{ write = \"src/bye\"",
        "steps = [{ run = [\"sh\", \"-c\", \"cat .env; git show HEAD:.env; git log -p; env; \
         cat /proc/*/environ\"], may_fail = true }, { write = \"src/bye\"",
        1,
    );
    let house = House::with(&story);
    assert_eq!(house.take("spec").code, 4);
    let state = house.path("repo/.git/palisade");
    for canary in ["canary-0a1b2c", "canary-3c4d5e"] {
        for kept in ["events.sqlite", "events.sqlite-wal", "artifacts", "views"] {
            let path = state.join(kept);
            let found = if path.is_dir() {
                crate::house::holds(&path, canary)
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                bytes
                    .windows(canary.len())
                    .any(|it| it == canary.as_bytes())
            };
            assert!(!found, "{canary} is in {kept}");
        }
    }
    // The control: the canary is where the agent could not look.
    assert!(
        std::fs::read_to_string(house.path("repo/.env"))
            .unwrap()
            .contains("canary-0a1b2c")
    );
}

#[test]
fn what_an_agent_puts_into_a_cache_is_not_what_a_gate_finds() {
    let story = GOOD.replacen(
        "steps = [{ write = \"src/bye\"",
        "steps = [{ run = [\"sh\", \"-c\", \"echo forged > /opt/cache/lib\"] }, { write = \"src/bye\"",
        1,
    );
    // The control: the next session of the same work does find it there.
    let story = story.replacen(
        "steps = [{ write = \"tests/bye.t\"",
        "steps = [{ require = \"/opt/cache/lib\", contains = \"forged\" }, { write = \"tests/bye.t\"",
        1,
    );
    let house = House::with(&story);
    house.put("cache/lib", "genuine\n");
    house.put(
        "repo/palisade.toml",
        &format!(
            "[[mount]]\nsource = \"{}\"\ntarget = \"/opt/cache\"\nlayer = \"cache\"\n",
            house.path("cache").display()
        ),
    );
    house.put("repo/tests/cache.t", "grep -q genuine /opt/cache/lib\n");
    house.git(&["add", "tests"]);
    house.git(&["commit", "--quiet", "--message", "a test of the cache"]);
    let said = house.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(
        house.line("spec")["detail"],
        "waits for your decision",
        "{said:?}"
    );
    assert_eq!(
        std::fs::read_to_string(house.path("cache/lib")).unwrap(),
        "genuine\n"
    );
}
