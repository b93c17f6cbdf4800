//! What the operator sees of prompts: what a session was told, and what is wrong with a template.

use serde_json::Value;

use crate::house::{GOOD, House};

#[test]
fn a_session_shows_what_it_was_told() {
    let house = House::with(GOOD);
    house.put(
        "repo/.palisade/formulas/prompts/session.md",
        "You are the {{ role.name }}.\n\n{{ task }}\n{{ specification }}\n",
    );
    house.spec(
        "spec",
        "# Say goodbye\n\nWrite `src/bye`. \u{1b}[2J\u{202e}\n",
    );
    house.git(&["add", "--all"]);
    house.git(&["commit", "--quiet", "--message", "prompt"]);
    assert_eq!(house.take("spec").code, 4);
    let shown = house.run(&["show", "latest", "--prompt", "--json"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let told = &shown["told"];
    assert_eq!(told["template"], ".palisade/formulas/prompts/session.md");
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("You are the docs.\n"), "{text}");
    assert!(
        text.contains("\n> Write `src/bye`. \u{fffd}[2J\u{fffd}"),
        "{text}"
    );
    let names: Vec<_> = told["parts"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|it| it["name"].as_str()).collect();
    assert_eq!(names, [Some("task"), Some("specification")]);
    let shown = house.run_in_colour(&["show", "latest", "--prompt"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("  | You are the docs."), "{shown:?}");
    assert!(!shown.out.contains("\u{1b}[2J"), "{shown:?}");
    let both = house.run(&["show", "latest", "--prompt", "--cell"]);
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn faults_of_templates_are_told_with_their_places() {
    let house = House::with(GOOD);
    assert_eq!(house.run(&["formulas", "check"]).code, 0);
    house.put(
        "repo/.palisade/formulas/prompts/session.md",
        "{{ tasks }}\n{% if notes %}{{ notes[0].txt }}{% endif %}\n",
    );
    let said = house.run(&["formulas", "check"]);
    assert_eq!(said.code, 2, "{said:?}");
    for wanted in [
        "session.md:1:4: `tasks` is not",
        "session.md:2:27: `txt` is not",
    ] {
        assert!(said.out.contains(wanted), "{said:?}");
    }
    let one = house.run(&["formulas", "check", ".palisade/formulas/prompts/session.md"]);
    assert_eq!(one.code, 2, "{one:?}");
}
