//! The shipped work cycle, from a specification to a promoted commit, and everything that turns it
//! aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use domain::agent::{EndReason, RefusalReason, Signal};
use domain::ambiguity::Answer;
use domain::due::Wait;
use domain::event::Event;
use domain::work::Ending;
use domain::{Millis, Timestamp, ambiguity, finding, promotion, session, work};
use palisade_engine::answers;
use ports::log::{Append, Batch, EventLog as _};
use ports::workspaces::{CommitText, Landed, Target, Workspaces as _};
use testkit::agents::Stage;
use testkit::log::Fault;

use super::house::{House, good, question};

/// Patience of agents that wait for each other: far over what any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

const SPEC: &str = "# Make it new\n\nReplace the old.\n";

fn lists(one: &str, other: &str) -> bool {
    one.contains(other)
}

#[test]
fn a_specification_becomes_a_promoted_commit() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    let expected = [
        "build passed",
        "check-build passed",
        "test passed",
        "check-test passed",
        "review passed",
        "docs passed",
        "check passed",
    ];
    assert_eq!(house.told(work), expected);
    let files = house.promote(work);
    assert_eq!(files["src/lib.txt"], "new\n");
    assert_eq!(files["docs/new.md"], "it is new\n");
    assert_eq!(files["README.md"], "a house\n");
    assert_eq!(house.log.pending().unwrap(), []);
    assert_eq!(house.workspaces.open_sessions(), []);
    assert_eq!(house.log.verify().unwrap().broken, []);
}

#[test]
fn a_grave_question_blocks_the_promotion_until_it_is_answered() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.ask("P1", &question("Which colour?"));
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(&rest.waits[&work], Wait::Answers(it) if it.len() == 1));
    assert_eq!(house.promotion(work).1.name(), "blocked");
    assert_eq!(house.answer(work, Answer::Option { number: 1 }), 1);
    house.run();
    assert!(!house.told(work).contains(&"back to build".to_owned()));
    house.promote(work);
}

#[test]
fn an_answer_that_overturns_the_default_sends_the_work_back_to_who_asked() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.ask("P1", &question("Which colour?"));
            if lists(
                &stage.brief("answers.md"),
                "blue (answered by the operator)",
            ) {
                stage.write("src/colour", "blue\n");
            }
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    house.answer(work, Answer::Option { number: 2 });
    house.run();
    assert!(house.told(work).contains(&"back to build".to_owned()));
    assert_eq!(house.promote(work)["src/colour"], "blue\n");
    let filed = |it: &&Event| matches!(it, Event::Ambiguity(_, ambiguity::Event::Filed(_)));
    let events = house.events(work);
    assert_eq!(
        events.iter().filter(filed).count(),
        1,
        "a duplicate is filed once"
    );
}

#[test]
fn a_parked_work_lets_another_complete() {
    let house = House::new(good).agent("parker", |stage| {
        if stage.role() == "builder" {
            stage.ask("P0", &question("Which colour?"));
        }
        stage.write(&format!("docs/{}.md", stage.role()), "x\n");
        stage.done("parked");
    });
    let parked = house.submit_to("parker", SPEC, &[]).unwrap();
    let other = house.submit(SPEC);
    let rest = house.run();
    assert!(matches!(rest.waits[&parked], Wait::Answers(_)));
    assert_eq!(
        house.told(parked),
        ["build passed"],
        "nothing more is started"
    );
    house.promote(other);
    house.answer(parked, Answer::Default);
    house.run();
    assert!(house.told(parked).len() > 1);
}

#[test]
fn one_answer_reaches_equal_questions_of_two_works() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            stage.ask("P0", &question("Which colour?"));
        }
        good(stage);
    });
    let works = [house.submit(SPEC), house.submit(SPEC)];
    house.run();
    assert_eq!(house.answer(works[0], Answer::Default), 2);
    let rest = house.run();
    for work in works {
        assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    }
}

#[test]
fn what_is_out_of_scope_is_turned_away_and_told() {
    let house = House::new(|stage| {
        if stage.role() == "builder" {
            if is_told_off(stage) {
                assert_eq!(stage.read("gate.sh").unwrap(), gate());
            } else {
                stage.write("gate.sh", "true\n");
                stage.write(".env", "KEY=1\n");
            }
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    assert_eq!(house.told(work)[0], "build failed: changes turned away: 2");
    let files = house.promote(work);
    assert_eq!(files["gate.sh"], gate());
    assert!(!files.contains_key(".env"));
}

/// Whether an earlier session's changes were turned away.
fn is_told_off(stage: &Stage<'_>) -> bool {
    lists(&stage.brief("prompt.md"), "turned away and taken out")
}

fn gate() -> String {
    let (_, text) = super::house::FILES[3];
    text.to_owned()
}

#[test]
fn a_change_that_is_too_large_as_a_whole_is_taken_out_as_a_whole() {
    let house = House::new(|stage| {
        if stage.role() == "builder" && !is_told_off(stage) {
            for number in 0..60 {
                stage.write(&format!("src/many/{number}"), "x");
            }
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        house.told(work)
    );
    let files = house.promote(work);
    assert!(!files.keys().any(|it| it.starts_with("src/many/")));
}

#[test]
fn a_flood_of_violations_is_still_put_on_record() {
    let mut house = House::new(|stage| {
        if stage.role() == "builder" && !is_told_off(stage) {
            for number in 0..2_500 {
                stage.write(&format!(".palisade/{}/{number}", "long".repeat(50)), "x");
            }
        }
        good(stage);
    });
    house.settings.files_max = 100_000;
    let work = house.submit(SPEC);
    house.run();
    assert!(
        !house
            .promote(work)
            .keys()
            .any(|it| it.starts_with(".palisade"))
    );
}

#[test]
fn a_finding_is_mended_and_checked_again_by_another_session() {
    let house = House::new(|stage| match (stage.role(), stage.round()) {
        ("builder", 2) => {
            assert!(lists(
                &stage.brief("findings.md"),
                "src/lib.txt:1 [tone] be kind"
            ));
            stage.write("src/lib.txt", "new and kind\n");
            stage.done("mended");
        }
        ("reviewer", 1) => {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
            stage.done("one finding");
        }
        _ => good(stage),
    });
    let work = house.submit(SPEC);
    house.run();
    assert!(
        house
            .told(work)
            .contains(&"review failed: open findings: 1".to_owned())
    );
    let case = house.case(work);
    let state = case.findings.values().next().unwrap();
    let finding::State::Resolved(it, finding::Resolver::Recheck { session, .. }) = state else {
        panic!("the finding is {}", state.name());
    };
    assert_ne!(*session, it.session);
    assert_eq!(house.promote(work)["src/lib.txt"], "new and kind\n");
}

#[test]
fn rounds_that_never_converge_end_the_work() {
    let house = House::new(|stage| {
        if stage.role() == "reviewer" {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
        }
        good(stage);
    });
    let work = house.submit("---\nbudget:\n  rounds: 2\n---\n# Never\n\nEnough.\n");
    house.run();
    assert!(lists(
        &house.reason(work),
        "the budget is used up: rounds 2 of 2"
    ));
    assert_eq!(house.workspaces.landings().len(), 0);
}

#[test]
fn a_review_that_is_refused_resolves_nothing() {
    let house = House::new(|stage| match (stage.role(), stage.round()) {
        ("builder", 2) => {
            stage.write("src/lib.txt", "other\n");
            stage.done("mended");
        }
        ("reviewer", 1) => {
            stage.finding("src/lib.txt", 1, "tone", "be kind");
            stage.done("one finding");
        }
        ("reviewer", _) => {
            let reason = RefusalReason::AlreadyDone;
            let detail = "I looked at it before".to_owned();
            stage.signal(Signal::Refuse { reason, detail });
        }
        _ => good(stage),
    });
    let work = house.submit("---\nbudget:\n  rounds: 2\n---\n# Never\n\nEnough.\n");
    house.run();
    assert!(lists(&house.reason(work), "open findings: "));
}

#[test]
fn a_red_gate_sends_the_work_back_with_its_log() {
    let house = House::new(|stage| {
        if stage.role() == "builder" && stage.round() == 1 {
            stage.write("src/red", "");
            stage.write("tests/base.t", "echo 'ok 1 - base'; echo 'it hurts here'\n");
        } else if stage.role() == "builder" && stage.round() == 2 {
            assert!(lists(&stage.brief("gate-1-unit.log"), "it hurts here"));
            assert!(lists(
                &stage.brief("prompt.md"),
                "unit: the command ended with exit code 1"
            ));
            stage.delete("src/red");
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    assert!(house.told(work)[1].starts_with("check-build failed: gate `unit`"));
    assert!(!house.promote(work).contains_key("src/red"));
}

/// A builder whose first tree weakens the tests so, and who mends it when told.
fn weakening(script: &'static str, told: &'static str) {
    let house = House::new(move |stage| {
        if stage.role() == "builder" && stage.round() == 1 {
            stage.write("tests/base.t", script);
        } else if stage.role() == "builder" {
            assert!(
                lists(&stage.brief("prompt.md"), told),
                "{}",
                stage.brief("prompt.md")
            );
            stage.write("tests/base.t", "echo 'ok 1 - base'\n");
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    assert!(
        house.told(work)[1].starts_with("check-build failed"),
        "{:?}",
        house.told(work)
    );
    house.promote(work);
}

#[test]
fn a_gate_without_a_single_test_is_red() {
    weakening("true\n", "no test was executed");
}

#[test]
fn a_gate_that_lost_a_test_is_red() {
    weakening(
        "echo 'ok 1 - other'\n",
        "tests of the base that are gone: 1 (base)",
    );
}

#[test]
fn a_gate_with_a_new_skip_is_red() {
    let script = "echo 'ok 1 - base # SKIP flaky'; echo 'ok 2 - other'\n";
    weakening(script, "newly skipped tests: 1 (base)");
}

#[test]
fn a_moved_base_is_rebased_tested_and_approved_again() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve(work);
    let moved = house
        .workspaces
        .push("main", &[("README.md", Some("moved\n"))]);
    let rest = house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        house.told(work)
    );
    let (_, state) = house.promotion(work);
    assert_eq!(state.proposal().unwrap().target_head, moved);
    let gates = house
        .told(work)
        .iter()
        .filter(|it| *it == "check passed")
        .count();
    assert_eq!(gates, 2);
    let files = house.promote(work);
    assert_eq!(
        (files["README.md"].as_str(), files["src/lib.txt"].as_str()),
        ("moved\n", "new\n")
    );
}

#[test]
fn a_conflict_is_sent_back() {
    let house = House::new(|stage| {
        if stage.role() == "builder" && stage.round() == 2 {
            assert!(lists(
                &stage.brief("prompt.md"),
                "must be done again: src/lib.txt"
            ));
            assert_eq!(stage.read("src/lib.txt").unwrap(), "theirs\n");
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    house
        .workspaces
        .push("main", &[("src/lib.txt", Some("theirs\n"))]);
    house.approve(work);
    house.run();
    assert!(house.told(work).contains(&"back to build".to_owned()));
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

#[test]
fn a_refused_promotion_ends_the_work() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    let (id, _) = house.promotion(work);
    answers::refuse(&house.recorder(), work, id, "not now").unwrap();
    house.run();
    assert_eq!(house.reason(work), "the promotion was refused: not now");
    assert_eq!(house.workspaces.landings().len(), 0);
    assert_eq!(house.workspaces.open_sessions(), []);
}

#[test]
fn a_rework_goes_round_again_with_the_operators_words() {
    let house = House::new(|stage| {
        if stage.role() == "builder" && stage.round() == 2 {
            assert!(lists(
                &stage.brief("prompt.md"),
                "The operator says: make it blue"
            ));
            stage.write("src/colour", "blue\n");
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    let (id, _) = house.promotion(work);
    answers::rework(&house.recorder(), work, id, "make it blue").unwrap();
    house.run();
    assert_eq!(house.promote(work)["src/colour"], "blue\n");
}

#[test]
fn works_wait_for_what_they_depend_on_and_fail_with_it() {
    let house = House::new(good).agent("other", other);
    let house = house.agent("failing", |stage| {
        stage.end(EndReason::Failed {
            detail: "no".to_owned(),
        });
    });
    let first = house.submit(SPEC);
    let second = house.submit_to("other", SPEC, &[first]).unwrap();
    let failing = house.submit_to("failing", SPEC, &[]).unwrap();
    let third = house.submit_to("scripted", SPEC, &[failing]).unwrap();
    let rest = house.run();
    assert_eq!(rest.waits[&second], Wait::Dependency(first));
    assert!(lists(&house.reason(failing), "the agent gave up: no"));
    assert!(lists(&house.reason(third), "which was not completed"));
    house.promote(first);
    house.run();
    let files = house.promote(second);
    assert_eq!(
        files["src/lib.txt"], "new\n",
        "it stands on the first one's change"
    );
}

/// An agent that changes other files than a good one.
fn other(stage: &mut Stage<'_>) {
    if stage.role() == "builder" {
        stage.write("src/other.txt", "other\n");
    }
    stage.done("did something else");
}

#[test]
fn a_dependency_that_nobody_knows_is_waited_for_and_the_engine_comes_back() {
    let house = House::new(good);
    let unknown = domain::WorkId::from_bits(7);
    let work = house.submit_to("scripted", SPEC, &[unknown]).unwrap();
    assert_eq!(house.run().waits[&work], Wait::Dependency(unknown));
}

#[test]
fn a_stop_ends_a_running_session() {
    let runs = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&runs);
    let house = House::new(move |stage| {
        seen.store(true, Ordering::SeqCst);
        stage.write("src/half", "half\n");
        stage.hang(PATIENCE);
    });
    let work = house.submit(SPEC);
    let mut stopped = false;
    let rest = house.run_looking(|_| {
        if runs.load(Ordering::SeqCst) && !stopped {
            answers::stop(&house.recorder(), work, "enough").unwrap();
            stopped = true;
        }
    });
    assert!(rest.unwrap().errors.is_empty());
    assert_eq!(house.reason(work), "enough");
    let ends = ends(&house.events(work));
    assert_eq!(ends, [EndReason::Stopped]);
    assert_eq!(house.log.pending().unwrap(), []);
    assert_eq!(house.workspaces.open_sessions(), []);
}

fn ends(events: &[Event]) -> Vec<EndReason> {
    let end = |event: &Event| match event {
        Event::Session(_, session::Event::Ended(end)) => Some(end.reason.clone()),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

#[test]
fn a_stopped_engine_comes_back_and_goes_on_later() {
    let runs = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&runs);
    let house = House::new(move |stage| {
        if seen.fetch_add(1, Ordering::SeqCst) == 0 {
            stage.hang(PATIENCE);
        } else {
            good(stage);
        }
    });
    let work = house.submit(SPEC);
    let rest = house.run_looking(|it| {
        if runs.load(Ordering::SeqCst) > 0 {
            it.stop();
        }
    });
    assert!(rest.unwrap().errors.is_empty());
    assert_eq!(ends(&house.events(work)), [EndReason::Interrupted]);
    house.run();
    house.promote(work);
}

#[test]
fn a_failing_work_does_not_stop_another() {
    let house = House::new(good).agent("failing", |stage| stage.end(EndReason::Silent));
    let failing = house.submit_to("failing", SPEC, &[]).unwrap();
    let good = house.submit(SPEC);
    let unknown = house.submit_to("nobody", SPEC, &[]).unwrap();
    house.run();
    assert!(lists(&house.reason(failing), "the agent fell silent"));
    assert!(lists(&house.reason(unknown), "there is no agent `nobody`"));
    house.promote(good);
}

#[test]
fn a_panicking_performer_is_an_error_of_its_work_alone() {
    let house = House::new(good).agent("panicking", |_| panic!("a driver has a mistake"));
    let panicking = house.submit_to("panicking", SPEC, &[]).unwrap();
    let other = house.submit(SPEC);
    let rest = house.try_run().unwrap();
    assert_eq!(rest.errors.keys().collect::<Vec<_>>(), [&panicking]);
    assert!(matches!(rest.waits[&other], Wait::Decision(_)));
}

#[test]
fn works_really_run_at_the_same_time() {
    let here = Arc::new(AtomicUsize::new(0));
    let house = House::new(move |stage| {
        if stage.role() == "builder" {
            here.fetch_add(1, Ordering::SeqCst);
            let all = Arc::clone(&here);
            assert!(stage.wait_until(PATIENCE, move || all.load(Ordering::SeqCst) == 3));
        }
        good(stage);
    });
    let works = [house.submit(SPEC), house.submit(SPEC), house.submit(SPEC)];
    let rest = house.run();
    for work in works {
        assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    }
}

#[test]
fn no_more_sessions_run_at_once_than_there_are_slots() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let mut house = House::new(move |stage| {
        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(count, Ordering::SeqCst);
        good(stage);
        now.fetch_sub(1, Ordering::SeqCst);
    });
    house.settings.slots = 1;
    for _ in 0..3 {
        house.submit(SPEC);
    }
    assert_eq!(house.run().waits.len(), 3);
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn an_approval_expires_and_is_asked_for_again() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve_for(work, Millis(1_000));
    house.clock.advance(Millis(1_000));
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    assert_eq!(house.workspaces.landings().len(), 0);
    house.promote(work);
}

#[test]
fn an_approval_from_the_future_counts_for_nothing() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve(work);
    house.clock.jump_to(Timestamp(1_700_000_000_000));
    let rest = house.run();
    assert!(matches!(rest.waits[&work], Wait::Decision(_)));
    house.promote(work);
}

#[test]
fn a_clock_that_jumps_changes_nothing_else() {
    const YEAR: i64 = 86_400_000 * 365;
    // After the builder, the tester, and so on. The tester changes nothing: its checkpoint and the
    // one before the promotion are of the same tree.
    for jumps in [
        [YEAR, YEAR, YEAR, YEAR],
        [-YEAR; 4],
        [0, YEAR, -2 * YEAR, 0],
    ] {
        let mut house = House::of(super::house::FILES);
        let clock = house.clock.clone();
        house = house.agent(super::house::AGENT, move |stage: &mut Stage<'_>| {
            let roles = ["builder", "tester", "reviewer", "docs"];
            let at = roles.iter().position(|it| *it == stage.role()).unwrap();
            if stage.role() == "tester" || stage.role() == "docs" {
                let (reason, detail) = (RefusalReason::AlreadyDone, "nothing to do".to_owned());
                stage.signal(Signal::Refuse { reason, detail });
            } else {
                good(stage);
            }
            let now = ports::clock::Clock::now(&clock).0;
            clock.jump_to(Timestamp(now.saturating_add_signed(jumps[at])));
        });
        let work = house.submit(SPEC);
        let rest = house.run();
        assert!(
            matches!(rest.waits[&work], Wait::Decision(_)),
            "{:?}",
            house.told(work)
        );
        house.promote(work);
    }
}

#[test]
fn what_is_being_landed_cannot_be_called_off() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve(work);
    house.workspaces.fail_next_after("moving a ref");
    assert_eq!(house.try_run().unwrap().errors.len(), 1);
    assert!(answers::stop(&house.recorder(), work, "too late").is_err());
    house.run();
    assert_eq!(house.workspaces.landings().len(), 1);
    assert_eq!(house.promotion(work).1.name(), "promoted");
}

#[test]
fn what_is_being_landed_is_not_reworked() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve(work);
    house.workspaces.fail_next_after("moving a ref");
    assert_eq!(house.try_run().unwrap().errors.len(), 1);
    let (id, _) = house.promotion(work);
    assert!(answers::rework(&house.recorder(), work, id, "make it blue").is_err());
    house.run();
    assert_eq!(house.promotion(work).1.name(), "promoted");
    assert!(matches!(
        house.ending(work),
        Some(Ending::Completed { commit: Some(_) })
    ));
}

#[test]
fn a_branch_that_was_checked_out_while_it_landed_has_landed() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    house.approve(work);
    house.workspaces.fail_next_after("moving a ref");
    assert_eq!(house.try_run().unwrap().errors.len(), 1);
    house.workspaces.check_out(true);
    house.run();
    assert_eq!(house.workspaces.landings().len(), 1);
    assert_eq!(house.promotion(work).1.name(), "promoted");
}

#[test]
fn a_gate_ends_with_the_log() {
    let mut house = House::of(&[
        ("README.md", "a house\n"),
        ("gate.sh", "touch \"$MARK\"; exec sleep 100000\n"),
    ]);
    house = house.agent(super::house::AGENT, good);
    let mark = house.folder().join("mark");
    let text = mark.to_string_lossy().into_owned();
    house.settings.env.insert("MARK".to_owned(), text);
    house.submit(SPEC);
    let rest = house.run_looking(|_| {
        if mark.exists() && !house.log.is_dead() {
            house.log.fail_after(0, Fault::CrashBeforeCommit);
            let event = testkit::log::build::event(1);
            let append = Append {
                stream: "test/1".to_owned(),
                expected: 0,
                events: vec![event],
            };
            let batch = Batch {
                appends: vec![append],
                ..Batch::default()
            };
            assert!(house.log.append(batch).is_err());
        }
    });
    assert!(rest.is_err());
}

#[test]
fn budgets_survive_a_restart() {
    let house = House::new(good);
    let work = house.submit("---\nbudget:\n  sessions: 2\n---\n# Short\n\nEnough.\n");
    house.run();
    assert!(lists(&house.reason(work), "sessions 2 of 2"));
    let started = |it: &&Event| matches!(it, Event::Session(_, session::Event::Requested(_)));
    assert_eq!(house.events(work).iter().filter(started).count(), 2);
    let closed = |it: &&Event| matches!(it, Event::Work(_, work::Event::Closed(_)));
    assert_eq!(house.events(work).iter().filter(closed).count(), 1);
}

#[test]
fn a_noisy_review_can_still_be_mended() {
    let house = House::new(|stage| match (stage.role(), stage.round()) {
        ("reviewer", 1) => {
            for line in 0..1_200 {
                stage.finding("src/lib.txt", line, &format!("rule-{line}"), "wrong");
            }
            stage.done("many");
        }
        ("builder", 2) => {
            stage.write("src/lib.txt", "better\n");
            stage.done("mended");
        }
        _ => good(stage),
    });
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        house.told(work)
    );
    house.promote(work);
}

#[test]
fn what_the_operator_said_outlives_a_session_that_broke_off() {
    let breaks = AtomicBool::new(true);
    let house = House::new(move |stage| {
        if stage.role() == "builder" && stage.round() == 2 {
            assert!(lists(
                &stage.brief("prompt.md"),
                "The operator says: make it blue"
            ));
            if breaks.swap(false, Ordering::SeqCst) {
                return stage.end(EndReason::Silent);
            }
            stage.write("src/colour", "blue\n");
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    house.run();
    let (id, _) = house.promotion(work);
    answers::rework(&house.recorder(), work, id, "make it blue").unwrap();
    house.run();
    assert_eq!(house.promote(work)["src/colour"], "blue\n");
}

#[test]
fn a_stopped_engine_uses_up_no_attempt() {
    let starts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&starts);
    let house = House::new(move |stage| {
        if seen.fetch_add(1, Ordering::SeqCst) < 5 {
            stage.hang(PATIENCE);
        } else {
            good(stage);
        }
    });
    let work = house.submit(SPEC);
    for stop in 1..=5 {
        let rest = house.run_looking(|it| {
            if starts.load(Ordering::SeqCst) == stop {
                it.stop();
            }
        });
        assert!(rest.unwrap().errors.is_empty());
    }
    house.run();
    house.promote(work);
}

#[test]
fn a_signal_with_another_epoch_is_refused_whatever_it_says() {
    let house = House::new(|stage| {
        let (report, priority) = (question("Which colour?"), "P0".to_owned());
        if stage.role() == "builder" {
            stage.signal_with(0, Signal::Ask { report, priority });
        }
        good(stage);
    });
    let work = house.submit(SPEC);
    let rest = house.run();
    assert!(
        matches!(rest.waits[&work], Wait::Decision(_)),
        "{:?}",
        rest.waits
    );
    let refused = |it: &&Event| matches!(it, Event::Session(_, session::Event::SignalRefused { why, .. }) if lists(why, "epoch 0"));
    assert_eq!(house.events(work).iter().filter(refused).count(), 1);
}

#[test]
fn nothing_is_built_on_a_commit_that_nobodys_approval_put_on_the_landing_branch() {
    let house = House::new(good);
    let work = house.submit(SPEC);
    house.run();
    let (id, state) = house.promotion(work);
    let promotion::State::Ready(proposal) = state else {
        panic!("it is {}", state.name());
    };
    let text = CommitText {
        name: "Palisade".to_owned(),
        email: "palisade@localhost".to_owned(),
        seconds: 1,
        message: "Nobody has approved it\n".to_owned(),
    };
    let commit = house.workspaces.publish(&proposal.tree, &text).unwrap();
    let target = Target {
        branch: "palisade/main".to_owned(),
        lands_on: "refs/heads/palisade/main".to_owned(),
        head: proposal.tree.base,
        expected: None,
    };
    let landed = house.workspaces.land(&target, &commit).unwrap();
    assert_eq!(landed, Landed::Yes);
    answers::refuse(&house.recorder(), work, id, "no").unwrap();
    house.run();
    let next = house.submit("# Another\n");
    house.run();
    let reason = house.reason(next);
    assert!(reason.contains("nobody's approval"), "{reason}");
    assert!(reason.contains("git branch -D palisade/main"), "{reason}");
}
