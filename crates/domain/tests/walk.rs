//! Whole histories, played from seeds: whatever agents, gates, the target and the operator do, a
//! work comes to its end, and nothing is landed that was not approved and found green.
#![expect(
    clippy::panic,
    reason = "a history that goes wrong fails the test, and names its seed"
)]

use palisade_domain::due::{Context, Due, due};
use palisade_domain::{promotion, run, work};

#[path = "walk/setting.rs"]
mod setting;
#[path = "walk/witness.rs"]
mod witness;
#[path = "walk/world.rs"]
mod world;

use world::World;

/// How many histories are played for each formula.
const HISTORIES: u64 = 500;
/// The most steps of one history; budgets end each of them long before.
const STEPS_MAX: u32 = 2_000;
/// The most times that something may be due before something must be waited for.
const DUE_MAX: u32 = 40;

/// How a history ended, for the report of how much ground was covered.
#[derive(Debug, Default)]
struct Ground {
    steps: u64,
    events: usize,
    completed: u32,
    landed: u32,
    failed: u32,
    canceled: u32,
    refused: u32,
}

#[test]
fn the_shipped_way_of_working() {
    walk(0);
}

#[test]
fn branches_out_of_order_and_a_gate_alone() {
    walk(1);
}

#[test]
fn a_session_after_the_last_gate() {
    walk(2);
}

#[test]
fn sessions_between_decision_and_landing_and_after_it() {
    walk(setting::AFTERMATH);
}

#[test]
fn judges_before_the_work_and_before_the_decision() {
    walk(4);
}

#[expect(clippy::print_stdout, reason = "says how much ground was covered")]
fn walk(formula: usize) {
    let mut ground = Ground::default();
    for seed in 0..HISTORIES {
        play(formula, seed, &mut ground);
    }
    println!("formula {formula}: {HISTORIES} histories, {ground:?}");
    // A walk that never gets anywhere would prove nothing.
    assert!(ground.landed > 20, "{ground:?}");
    assert!(ground.failed > 20, "{ground:?}");
    assert!(ground.canceled > 20, "{ground:?}");
    assert!(ground.refused > 5, "{ground:?}");
}

fn play(formula: usize, seed: u64, ground: &mut Ground) {
    let mut world = World::new(formula, seed);
    let mut in_a_row = 0;
    for _ in 0..STEPS_MAX {
        ground.steps += 1;
        world.interfere();
        let fresh = world.fresh();
        let context = Context {
            now: world.now,
            fresh,
            dependencies: &world.dependencies.clone(),
        };
        match due(&world.case, &context) {
            Due::Do(commands) => {
                in_a_row += 1;
                assert!(in_a_row < DUE_MAX, "{world}: due for ever: {commands:?}");
                let told = format!("{commands:?}");
                let done = world.submit(commands);
                assert_eq!(done, Ok(true), "{world}: due, and refused or void: {told}");
            }
            Due::Wait(wait) => {
                in_a_row = 0;
                world.answer(&wait);
            }
            Due::Over if world.has_live_session() => {
                in_a_row = 0;
                world.stop_session();
            }
            Due::Over => return finish(&world, ground),
        }
    }
    panic!("{world}: no end after {STEPS_MAX} steps");
}

fn finish(world: &World, ground: &mut Ground) {
    world.witness.is_settled(&world.case);
    let (_, state) = world.case.work().unwrap_or_else(|| panic!("{world}"));
    let commit = world.case.promotions.values().find_map(|it| match it {
        promotion::State::Promoted(.., commit) => Some(commit.clone()),
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Refused(..)
        | promotion::State::Stale(..) => None,
    });
    ground.events += world.witness.seen();
    match state {
        work::State::Closed(_, work::Ending::Completed { commit: told }) => {
            ground.completed += 1;
            ground.landed += u32::from(commit.is_some());
            assert_eq!(*told, commit, "{world}");
        }
        work::State::Closed(_, work::Ending::Failed { .. }) => {
            ground.failed += 1;
            // One formula works on after its landing, and may fail there.
            assert!(
                commit.is_none() || world.formula == setting::AFTERMATH,
                "{world}"
            );
        }
        work::State::Closed(_, work::Ending::Canceled { .. }) => {
            ground.canceled += 1;
            assert_eq!(commit, None, "{world}: landed, and told as called off");
        }
        work::State::Absent | work::State::Open(_) => panic!("{world}: over, and not closed"),
    }
    if let Some((_, run::State::Ended(_, run::Outcome::Refused { .. }))) = world.case.run() {
        ground.refused += 1;
    }
}
