//! Agents: what `palisade agents` shows of each is what the documentation says.

use std::path::Path;

use serde_json::Value;

use crate::house::{GOOD, House};

/// Where the documentation has its table.
const DOCUMENT: &str = "../../docs/AGENTS-IN-CELLS.md";

/// The head of that table.
const HEAD: &str =
    "| `--agent` | guarantees | asks leave | follow-up | asked to stop | usage | tried |";

/// Returns a kind of agent as a row of that table.
fn row(kind: &Value) -> String {
    let text = |field: &str| kind[field].as_str().unwrap_or("–").to_owned();
    let word = |field: &str| match kind[field].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => panic!("{field}: {kind}"),
    };
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} |",
        text("agent"),
        text("guarantees"),
        text("leave"),
        word("follow_up"),
        word("asked_to_stop"),
        word("reports_usage"),
        text("tried"),
    )
}

#[test]
fn what_agents_guarantee_is_what_their_drivers_say() {
    let house = House::with(GOOD);
    let said = house.run(&["agents", "--json"]);
    let kinds: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let rows: Vec<String> = kinds.iter().map(row).collect();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let document = std::fs::read_to_string(document).unwrap();
    let (_, table) = document.split_once(HEAD).expect("the table has its head");
    let written: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|it| it.starts_with('|'))
        .collect();
    assert_eq!(written, rows, "the table of AGENTS-IN-CELLS.md is another");
}

#[test]
fn what_is_not_installed_is_told_with_how_to_install_it() {
    let house = House::with(GOOD);
    let said = house.run(&["agents", "--json"]);
    let kinds: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    for kind in &kinds {
        match kind["found"].as_bool() {
            Some(true) => assert!(kind["program"].is_string(), "{kind}"),
            Some(false) => {
                let why = kind["missing"].as_str().unwrap();
                assert!(why.contains("npm install -g "), "{why}");
            }
            None => assert!(kind["tried"].is_null(), "{kind}"),
        }
    }
    let table = house.run(&["agents"]).out;
    for words in [
        "GUARANTEES",
        "walls only, no pause protocol",
        "governed, no pause protocol",
    ] {
        assert!(table.contains(words), "{table}");
    }
}
