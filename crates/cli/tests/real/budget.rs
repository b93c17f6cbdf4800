//! A budget that ends in the middle of an answer: the program is stopped, its work is kept, and it goes
//! on when the operator has raised the budget.

use std::time::Duration;

use crate::cycle::play;
use crate::road::{Hand, Road, cast};

use testkit::scripted_model::Turn;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the model writes before the work's budget ends: far over it.
const SPENT: u64 = 5_000_000;

#[test]
#[ignore = "needs Claude Code, which .ci/agents-for-tests installs; ./check runs it"]
fn a_budget_that_ends_in_the_middle_of_an_answer_keeps_the_work_and_can_be_raised() {
    let hand = Hand::CLAUDE;
    let whole = cast(hand, play);
    // Who is stopped is told so the next time; only who was never stopped spends.
    let road = Road::new(hand, move |said| {
        let is_again = said.contains("The session before this one") || said.contains("(round 2)");
        if said.contains("You are the builder") && !is_again {
            let mut turns = hand.write("src/half", "half\n");
            turns.push(Turn::Spend(SPENT));
            return turns;
        }
        let mut turns = whole(said);
        if said.contains("You are the builder") {
            turns.insert(0, hand.run("cat src/half && echo it was kept"));
        }
        turns
    });
    road.house
        .put("repo/palisade.toml", "[models]\nwork_tokens = 1_000_000\n");
    let said = road.take("spec");
    assert!(
        said.err.contains("the budget is used up: the work's: 5"),
        "{said:?}"
    );
    assert!(road.provider.wait_hung_up(PATIENCE), "it was cut");
    let kept = road.house.run(&["checkpoints", "spec", "--json"]).out;
    assert!(kept.contains("turn_end"), "{kept}");
    let ends = road.house.run(&["log", "--json"]).out;
    assert!(ends.contains("over_budget"), "{ends}");
    // Who answers and does not raise it is asked again, and no model is.
    let asked = road.provider.asked().len();
    let again = road.house.run(&["answer", "--all-defaults"]);
    assert!(again.err.contains("May the work take more?"), "{again:?}");
    assert_eq!(road.provider.asked().len(), asked);
    road.house
        .put("repo/palisade.toml", "[models]\nwork_tokens = 50_000_000\n");
    let said = road.house.run(&["answer", "--all-defaults"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(road.house.run(&["resume"]).code, 4);
    // What the agent itself has asked meanwhile.
    let said = road.house.run(&["answer", "--all-defaults"]);
    let landed = road.house.approve(&[]);
    assert_eq!(landed.code, 0, "{said:?} {landed:?}");
    let landed = |path: &str| road.house.git(&["show", &format!("palisade/main:{path}")]);
    assert_eq!(landed("src/half"), "half\n");
    assert_eq!(landed("src/bye"), "bye\n");
    let bodies = road.provider.asked();
    let told = bodies
        .iter()
        .any(|it| it.body.to_string().contains("it was kept"));
    assert!(told, "the next session found what the first had written");
    let cost: serde_json::Value =
        serde_json::from_str(&road.house.run(&["cost", "--json"]).out).unwrap();
    let output = cost["total"]["tokens"]["output"]
        .as_u64()
        .unwrap_or_default();
    assert!(output >= SPENT, "{cost}");
}
