//! Allowances: what a work may use in all its sessions is kept while its agent writes and prints; its
//! work is kept, the operator is asked, and it goes on when the allowance is raised.

use std::time::Duration;

use domain::WorkId;
use domain::agent::EndReason;
use domain::allowance::{Allowance, Used};
use domain::ambiguity::Answer;
use domain::due::Wait;
use domain::event::Event;
use domain::session;
use palisade_engine::settings::Checkpoints;

use super::house::{House, good};

/// Patience of agents: far over what any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn ends(house: &House, work: WorkId) -> Vec<EndReason> {
    let events = house.events(work).into_iter();
    let ends = events.filter_map(|it| match it {
        Event::Session(_, session::Event::Ended(end)) => Some(end.reason),
        _ => None,
    });
    ends.collect()
}

/// A house whose builder writes much, file by file, and then waits for somebody to end it.
fn house(of: Allowance) -> House {
    let mut house = House::new(|stage| {
        let is_first = stage.read("src/0.txt").is_none();
        if stage.role() == "builder" && is_first {
            for number in 0..20 {
                stage.write(&format!("src/{number}.txt"), &"x".repeat(1_000));
            }
            return stage.hang(PATIENCE);
        }
        good(stage);
    });
    house.settings.allowance = of;
    house.settings.checkpoints = Checkpoints {
        quiet: Duration::from_millis(20),
        ..Checkpoints::default()
    };
    house
}

/// Runs into an allowance, raises it, and takes the work to its end.
fn used_up(of: Allowance, word: &str) {
    let mut house = house(of);
    let work = house.submit("# T\n");
    let rest = house.run();
    assert!(
        matches!(&rest.waits[&work], Wait::Answers(it) if it.len() == 1),
        "{:?}",
        rest.waits
    );
    let ended = ends(&house, work);
    let [EndReason::OverBudget { detail }] = &ended[..] else {
        panic!("{ended:?}");
    };
    assert!(detail.contains(word), "{detail}");
    let case = house.case(work);
    let mut kept = case.checkpoints.values().filter_map(|it| it.checkpoint());
    assert_eq!(
        kept.next_back().unwrap().files_total,
        20,
        "what was written is kept"
    );
    // Nothing changes as long as the allowance is what it was.
    house.answer(work, Answer::Default);
    let rest = house.run();
    assert!(matches!(&rest.waits[&work], Wait::Answers(_)), "{rest:?}");
    assert_eq!(ends(&house, work).len(), 2);
    house.settings.allowance = Allowance::default();
    house.answer(work, Answer::Default);
    house.run();
    let files = house.promote(work);
    assert_eq!(files["src/lib.txt"], "new\n");
    assert_eq!(files["src/19.txt"].len(), 1_000);
}

#[test]
fn a_work_over_its_disk_keeps_what_it_has_and_goes_on_when_it_may() {
    let disk_bytes = 15_000;
    used_up(
        Allowance {
            disk_bytes,
            ..Allowance::default()
        },
        "`work_disk_mib`",
    );
}

#[test]
fn a_work_over_its_files_keeps_what_it_has_and_goes_on_when_it_may() {
    let files = 15;
    used_up(
        Allowance {
            files,
            ..Allowance::default()
        },
        "`work_files`",
    );
}

#[test]
fn what_agents_print_counts_over_all_sessions() {
    let mut house = House::new(|stage| {
        stage.print(&"x".repeat(1_000));
        good(stage);
    });
    house.settings.allowance.output_bytes = 1_500;
    let work = house.submit("# T\n");
    let rest = house.run();
    assert!(matches!(&rest.waits[&work], Wait::Answers(_)), "{rest:?}");
    let ended = ends(&house, work);
    assert!(
        matches!(ended.last(), Some(EndReason::OverBudget { detail }) if detail.contains("`work_output_mib`")),
        "{ended:?}"
    );
    assert!(Used::of(&house.case(work)).output_bytes >= 1_500);
    house.settings.allowance = Allowance::default();
    house.answer(work, Answer::Default);
    house.run();
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}
