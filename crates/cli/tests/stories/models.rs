//! What the operator sees of language models: what they cost, what was taped, and why an agent that
//! should reach one cannot.

use std::path::Path;

use crate::house::{GOOD, House};

#[test]
fn without_any_call_there_is_no_cost_and_no_tape() {
    let house = House::with(GOOD);
    assert_eq!(house.take("spec").code, 4);
    let cost = house.run(&["cost", "--json"]);
    assert_eq!(cost.code, 0, "{cost:?}");
    let shown: serde_json::Value = serde_json::from_str(&cost.out).unwrap();
    assert_eq!(shown["total"]["calls"], 0);
    let tapes = house.run(&["tape", "list"]);
    assert_eq!((tapes.code, tapes.out.as_str()), (0, ""));
    let none = house.run(&["tape", "show", "nothing"]);
    assert_eq!(none.code, 1, "{none:?}");
    let outside = house.run(&["tape", "show", "../trees"]);
    assert!(
        outside.err.contains("a tape's name has letters"),
        "{outside:?}"
    );
}

#[test]
fn an_agent_without_a_way_to_models_does_not_start() {
    let house = House::with(GOOD);
    house.put("repo/palisade.toml", "[models]\nevery_agent = true\n");
    let said = house.take("spec");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("write broker.toml"), "{said:?}");
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let house = House::with(GOOD);
    house.put("repo/palisade.toml", "[models]\nevery_agent = true\n");
    house.put("repo/.git/palisade/broker.toml", "[anthropic]\nmodel = 1\n");
    let said = house.take("spec");
    assert_eq!(said.code, 1, "{said:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-broker");
    let told = if program.is_file() {
        "broker.toml:2:1: "
    } else {
        "cargo install --path crates/broker"
    };
    assert!(said.err.contains(told), "{said:?}");
}
