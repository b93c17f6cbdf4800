//! The whole road: `palisade run` with a real agent program in real cells, a real broker, and a
//! scripted provider behind it. The program builds, is sent back by a finding, asks, tests, reviews
//! and documents; the operator answers and approves.

use serde_json::{Value, json};
use testkit::scripted_model::Turn;

use crate::road::{Hand, Road, cast, copy};

/// What a whole work does, as a model of any program plays it.
pub(crate) fn play(hand: &Hand, role: &str, round: u32) -> Vec<Turn> {
    let finish = hand.ours(
        "finish",
        json!({"summary": format!("{role} {round} is done")}),
    );
    let mut turns = match (role, round) {
        ("builder", 1) => {
            let question = json!({
                "question": "Which word?", "why": "the specification names none",
                "options": ["bye", "ciao"], "recommend": "bye", "impact": "small",
                "default": "bye", "priority": "P1",
            });
            let mut turns = hand.write("src/bye", "by\n");
            turns.push(hand.run("sh gate.sh"));
            turns.push(hand.ours("ask", question));
            turns
        }
        ("builder", _) => {
            let mut turns = vec![hand.ours("get_task", json!({}))];
            turns.extend(hand.write("src/bye", "bye\n"));
            turns
        }
        ("tester", 1) => {
            let mut turns = hand.write("tests/bye.t", "grep -q by src/bye\n");
            turns.push(hand.run("sh gate.sh"));
            turns
        }
        ("tester", _) => vec![hand.run("sh gate.sh && echo still green")],
        ("reviewer", 1) => vec![hand.ours(
            "report_finding",
            json!({"file": "src/bye", "line": 1, "rule": "spelling", "text": "write bye"}),
        )],
        ("docs", _) => {
            let refusal = json!({"reason": "already_done", "detail": "nothing to say"});
            return vec![hand.ours("refuse", refusal), Turn::Say("Nothing to do.")];
        }
        _ => Vec::new(),
    };
    turns.extend([finish, Turn::Say("I am done.")]);
    turns
}

/// Takes a work over the whole road, and looks at what became of it.
fn is_taken_and_completes(road: &Road) {
    let said = road.take("spec");
    assert_eq!(said.code, 4, "{said:?}");
    completes(road);
}

/// Decides on a work that waits for that, and looks at what became of it.
pub(crate) fn completes(road: &Road) {
    let blocked = road.house.approve(&[]);
    assert_eq!(blocked.code, 3, "a grave question was open: {blocked:?}");
    let said = road.house.run(&["answer", "--all-defaults"]);
    assert_eq!(said.code, 4, "{said:?}");
    let said = road.house.approve(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    let landed = |path: &str| road.house.git(&["show", &format!("palisade/main:{path}")]);
    assert_eq!(landed("src/bye"), "bye\n");
    assert_eq!(landed("tests/bye.t"), "grep -q by src/bye\n");
    assert_eq!(road.house.line("spec")["state"], "completed");
    let told = road.house.run(&["log", "--json"]).out;
    for event in [
        "ambiguity.filed",
        "ambiguity.answered",
        "finding.reported",
        "finding.resolved",
        "promotion.promoted",
    ] {
        assert!(told.contains(event), "no {event}");
    }
    let said = road.house.run(&["audit", "verify", "spec"]);
    assert_eq!(said.code, 0, "{said:?}");
}

/// Records a work, and takes the same one again elsewhere, where there is nothing but its tapes.
fn records_and_replays(hand: Hand) {
    let road = Road::new(hand, cast(hand, play));
    road.house
        .put("repo/palisade.toml", "[models]\ntape = \"record\"\n");
    is_taken_and_completes(&road);
    let asked = road.provider.asked().len();
    let work = road.house.line("spec")["work"].as_str().unwrap().to_owned();
    let listed = road.house.run(&["tape", "list"]).out;
    assert!(
        listed.contains(&work) && listed.contains("reviewer"),
        "{listed}"
    );
    let again = Road::new(hand, |_| vec![Turn::Fail(400, "nobody is to ask")]);
    copy(&road.tapes(), &again.tapes());
    let replay = format!("[models]\ntape = \"replay:{work}\"\n");
    again.house.put("repo/palisade.toml", &replay);
    is_taken_and_completes(&again);
    assert_eq!(again.provider.asked().len(), 0);
    assert_eq!(road.provider.asked().len(), asked);
    // What was answered from a tape has cost nothing.
    let billed = [&road, &again].map(|it| it.house.run(&["cost", "--json"]).out);
    let calls =
        billed.map(|it| serde_json::from_str::<Value>(&it).unwrap()["total"]["calls"].clone());
    assert_eq!(calls[1], 0);
    assert_ne!(calls[0], 0);
}

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn claude_code_takes_a_work_from_specification_to_promotion_and_again_from_tape() {
    records_and_replays(Hand::CLAUDE);
}

#[test]
#[ignore = "needs Codex, which .ci/agents-for-tests installs; ./check runs it"]
fn codex_takes_a_work_from_specification_to_promotion_and_again_from_tape() {
    records_and_replays(Hand::CODEX);
}
