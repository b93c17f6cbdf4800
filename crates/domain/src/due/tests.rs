//! What is due: rules by given/when/then.

use std::string::ToString;

use self::stage::*;
use super::*;
use crate::agent::{EndReason, RefusalReason};
use crate::ambiguity;
use crate::case::Refusal;
use crate::plan::Budget;
use crate::run::Note;
use crate::tree::{Rule, Violation};
use crate::{checkpoint, finding, policy};

mod stage;

const EFFECT: Due = Due::Wait(Wait::Effect);

fn silent(stage: &mut Stage) -> Due {
    stage.ends(EndReason::Silent, None)
}

fn closed(ending: Ending) -> work::State {
    let stage = Stage::submitted(budget(), vec![]);
    work::State::Closed(stage.open().clone(), ending)
}

fn lost() -> work::State {
    closed(Ending::Failed { reason: "x".into() })
}

fn completed() -> work::State {
    closed(Ending::Completed { commit: None })
}

#[test]
fn a_work_waits_for_what_it_depends_on_and_is_let_in_when_all_is_completed() {
    let (one, two) = (WorkId::from_bits(11), WorkId::from_bits(12));
    let mut stage = Stage::submitted(budget(), vec![one, two]);
    // Nobody has said anything about either.
    assert_eq!(stage.go(), Due::Wait(Wait::Dependency(one)));
    stage.dependencies = vec![(one, completed()), (two, work::State::Absent)];
    assert_eq!(stage.go(), Due::Wait(Wait::Dependency(two)));
    stage.dependencies = vec![(two, completed()), (one, completed())];
    assert_eq!(stage.go(), EFFECT);
    assert_eq!(stage.open().status, work::Status::Admitted);
    assert!(matches!(
        stage.case.goal(),
        Some((_, goal::State::Active(_)))
    ));
}

#[test]
fn a_lost_dependency_fails_the_work_even_while_another_goes_on() {
    let (one, two) = (WorkId::from_bits(11), WorkId::from_bits(12));
    let mut stage = Stage::submitted(budget(), vec![one, two]);
    stage.dependencies = vec![(one, work::State::Absent), (two, lost())];
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("failed");
    assert!(matches!(
        stage.case.goal(),
        Some((_, goal::State::Abandoned(_)))
    ));
}

#[test]
fn a_cycle_without_trouble_is_landed_and_everything_is_closed() {
    let mut stage = Stage::deciding();
    let decision = Due::Wait(Wait::Decision(stage.promotion_id()));
    assert_eq!(stage.go(), decision);
    stage.approve(1_000);
    assert_eq!(stage.go(), EFFECT);
    assert_eq!(stage.step_name(), "promote");
    stage.land();
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("completed");
    let commit = Some(commit('c'));
    let ending = Ending::Completed { commit };
    assert!(matches!(stage.case.work(), Some((_, work::State::Closed(_, it))) if *it == ending));
    assert!(matches!(stage.case.goal(), Some((_, goal::State::Done(_)))));
    assert_eq!(stage.outcome(), Some(&Outcome::Completed));
}

#[test]
fn a_session_is_paid_for_at_its_launch_and_what_it_did_not_use_comes_back() {
    let mut stage = Stage::running(cycle(), budget());
    let reserved = Spent {
        sessions: 1,
        rounds: 0,
        wall: Millis(100),
    };
    assert_eq!(stage.spent(), reserved);
    stage.built(1);
    let used = Spent {
        wall: Millis(40),
        ..reserved
    };
    assert_eq!(stage.spent(), used);
}

#[test]
fn a_session_gets_no_more_time_than_is_left() {
    let tight = Budget {
        wall: Millis(60),
        ..budget()
    };
    let mut stage = Stage::running(cycle(), tight);
    let wall = |stage: &Stage| {
        stage.case.sessions[&stage.session_id()]
            .session()
            .unwrap()
            .wall
    };
    assert_eq!(wall(&stage), Millis(60));
    silent(&mut stage);
    assert_eq!(wall(&stage), Millis(20));
}

#[test]
fn retries_stop_at_the_attempts_of_the_step() {
    let mut stage = Stage::running(cycle(), budget());
    assert_eq!(silent(&mut stage), EFFECT);
    assert_eq!(stage.step_name(), "build");
    assert_eq!(silent(&mut stage), Due::Over);
    assert_eq!(stage.spent().sessions, 2);
    stage.work_is("failed");
}

#[test]
fn sessions_stop_at_the_budget() {
    let tight = Budget {
        sessions: 1,
        ..budget()
    };
    let mut stage = Stage::running(cycle(), tight);
    assert_eq!(silent(&mut stage), Due::Over);
    let Some(Outcome::Failed { reason }) = stage.outcome() else {
        panic!("{:?}", stage.outcome());
    };
    assert!(reason.contains("sessions 1 of 1"), "{reason}");
}

#[test]
fn rounds_stop_at_the_budget() {
    let mut stage = Stage::running(cycle(), budget());
    for round in 1..=3 {
        assert_eq!(stage.active().round, round);
        stage.built(u8::try_from(round).unwrap());
        let due = stage.gates(&["red"]);
        assert_eq!(due == Due::Over, round == 3);
    }
    assert_eq!(stage.spent().rounds, 2);
    let Some(Outcome::Failed { reason }) = stage.outcome() else {
        panic!("{:?}", stage.outcome());
    };
    assert!(reason.contains("rounds 2 of 2"), "{reason}");
}

#[test]
fn a_red_gate_sends_back_and_says_why() {
    let mut stage = Stage::running(cycle(), budget());
    stage.built(1);
    stage.gates(&["1 tests failed: a"]);
    assert_eq!((stage.step_name(), stage.active().round), ("build", 2));
    assert_eq!(stage.active().tree, tree(1));
    let reasons = vec!["1 tests failed: a".to_string()];
    let gate = "unit".to_string();
    let log = crate::Digest::ZERO;
    assert_eq!(stage.active().notes, [Note::Gate { gate, reasons, log }]);
}

#[test]
fn a_gate_that_is_silent_or_looked_at_another_tree_does_not_pass() {
    for other in [None, Some(tree(7).digest)] {
        let mut stage = Stage::running(cycle(), budget());
        stage.built(1);
        let fact = |tree| policy::GateFact {
            gate: "unit".into(),
            tree,
            reasons: vec![],
        };
        stage.gates_say(other.map(fact).into_iter().collect());
        assert_eq!(stage.step_name(), "build");
    }
}

#[test]
fn a_finding_sends_back_and_only_another_look_at_another_tree_resolves_it() {
    let mut stage = Stage::running(cycle(), budget());
    stage.built(1);
    stage.gates(&[]);
    let finding = stage.find();
    stage.built(1);
    assert_eq!(stage.active().notes, [Note::Findings]);
    // The builder changes nothing, so the next review proves nothing.
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    assert_eq!(stage.step_name(), "build");
    stage.built(2);
    stage.gates(&[]);
    stage.built(2);
    assert_eq!(stage.step_name(), "decide");
    let state = &stage.case.findings[&finding];
    assert!(matches!(state, finding::State::Resolved(..)));
}

#[test]
fn changes_that_are_turned_away_are_told_and_the_rest_is_kept() {
    let mut stage = Stage::running(cycle(), budget());
    let mut left = stage.left(1);
    left.violations = vec![Violation {
        path: ".env".into(),
        rule: Rule::Secret,
        detail: "d".into(),
    }];
    left.clean = tree(5);
    let violations = left.violations.clone();
    let summary = String::new();
    stage.ends(EndReason::Done { summary }, Some(&left));
    assert_eq!(stage.step_name(), "build");
    assert_eq!(stage.active().tree, tree(5));
    assert_eq!(stage.active().notes, [Note::Violations { violations }]);
}

#[test]
fn a_session_that_ended_badly_moves_no_tree() {
    let mut stage = Stage::running(cycle(), budget());
    let left = stage.left(1);
    stage.ends(EndReason::WallClock, Some(&left));
    assert_eq!(stage.active().tree, tree(0));
    assert_eq!(stage.case.checkpoints.len(), 1, "it is kept all the same");
}

#[test]
fn nothing_left_to_do_completes_only_while_nothing_is_changed() {
    let already = || EndReason::Refused {
        refusal: RefusalReason::AlreadyDone,
        detail: "there".into(),
    };
    let mut stage = Stage::running(cycle(), budget());
    let left = stage.left(0);
    assert_eq!(stage.ends(already(), Some(&left)), Due::Over);
    stage.work_is("completed");
    let mut stage = Stage::running(cycle(), budget());
    let left = stage.left(1);
    assert_eq!(stage.ends(already(), Some(&left)), EFFECT);
    assert_eq!(stage.step_name(), "check");
}

#[test]
fn a_p0_question_parks_the_work_and_a_p1_does_not() {
    let mut stage = Stage::running(cycle(), budget());
    stage.ask(Priority::P1);
    assert_eq!(stage.built(1), EFFECT);
    assert_eq!(stage.step_name(), "check");
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P0);
    assert_eq!(stage.built(1), Due::Wait(Wait::Answers(vec![asked])));
    assert_eq!(stage.current(), None);
    stage.answer(asked, 1);
    assert_eq!(stage.go(), EFFECT);
    assert_eq!(stage.step_name(), "check");
}

#[test]
fn a_p1_question_blocks_the_promotion_until_it_is_answered() {
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P1);
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    assert_eq!(stage.propose(), Due::Wait(Wait::Answers(vec![asked])));
    let blocked = stage.promotion_id();
    stage.answer(asked, 1);
    assert_eq!(stage.go(), EFFECT);
    assert_eq!(stage.step_name(), "check");
    stage.gates(&[]);
    assert!(stage.promotion_id() != blocked);
    let ready = Due::Wait(Wait::Decision(stage.promotion_id()));
    assert_eq!(stage.propose(), ready);
    assert_eq!(stage.promotion(blocked).name(), "stale");
}

#[test]
fn an_answer_that_equals_the_default_is_applied_without_rework() {
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P2);
    stage.built(1);
    stage.gates(&[]);
    stage.answer(asked, 1);
    stage.built(1);
    assert_eq!(stage.case.ambiguities[&asked].name(), "applied");
    assert_eq!((stage.step_name(), stage.active().round), ("decide", 1));
}

#[test]
fn another_answer_sends_back_to_the_asking_step_and_overtakes_what_was_open() {
    for approved in [false, true] {
        let mut stage = Stage::running(cycle(), budget());
        let asked = stage.ask(Priority::P2);
        stage.built(1);
        stage.gates(&[]);
        stage.built(1);
        stage.propose();
        let promotion = stage.promotion_id();
        if approved {
            stage.approve(1_000);
            // The decision has passed; the landing has not begun.
            let step = "decide".to_string();
            let pass = Command::Run(RunId::from_bits(1), run::Command::Pass { step });
            stage.must(vec![pass]);
        }
        stage.answer(asked, 2);
        assert_eq!(stage.go(), EFFECT);
        assert_eq!((stage.step_name(), stage.active().round), ("build", 2));
        assert_eq!(stage.active().notes, [Note::Answers]);
        assert_eq!(stage.promotion(promotion).name(), "stale");
        assert_eq!(stage.case.ambiguities[&asked].name(), "applied");
    }
}

#[test]
fn answers_send_back_to_every_branch_that_asked_and_keep_other_notes() {
    let build = || session("builder", vec![]);
    let steps = vec![
        step("left", &[], build(), None),
        step("right", &[], build(), None),
        step("after", &["right"], build(), None),
        step("check", &["left", "after"], check(), Some("left")),
    ];
    let mut stage = Stage::running(steps, budget());
    let mut asked = vec![];
    for byte in 1..=3 {
        asked.push(stage.ask(Priority::P2));
        stage.built(byte);
    }
    assert_eq!(stage.step_name(), "check");
    for id in asked {
        stage.answer(id, 2);
    }
    stage.gates(&["red"]);
    // `after` is done again because `right` is; it is not sent back to on its own.
    let waiting = stage.active().steps.values();
    let waiting = waiting.filter(|it| it.status == Status::Waiting).count();
    assert_eq!((stage.step_name(), waiting), ("left", 3));
    let [Note::Gate { .. }, Note::Answers] = stage.active().notes.as_slice() else {
        panic!("{:?}", stage.active().notes);
    };
}

#[test]
fn an_answer_after_the_landing_changes_nothing_and_is_never_called_applied() {
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P2);
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    stage.propose();
    stage.approve(1_000);
    assert_eq!(stage.go(), EFFECT);
    stage.answer(asked, 2);
    assert_eq!(stage.go(), EFFECT);
    stage.land();
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("completed");
    let state = &stage.case.ambiguities[&asked];
    assert!(matches!(state, ambiguity::State::Closed(_, Some(_))));
}

#[test]
fn a_refused_promotion_ends_the_work() {
    let mut stage = Stage::deciding();
    let promotion = stage.promotion_id();
    stage.refuse(promotion);
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("canceled");
}

#[test]
fn a_yes_that_is_taken_back_before_the_landing_ends_the_work() {
    let mut stage = Stage::deciding();
    let promotion = stage.promotion_id();
    stage.approve(1_000);
    let step = "decide".to_string();
    let pass = Command::Run(RunId::from_bits(1), run::Command::Pass { step });
    stage.must(vec![pass]);
    stage.refuse(promotion);
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("canceled");
    assert!(matches!(stage.outcome(), Some(Outcome::Refused { .. })));
}

#[test]
fn a_no_outweighs_an_answer_that_comes_with_it() {
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P2);
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    stage.propose();
    let promotion = stage.promotion_id();
    stage.answer(asked, 2);
    stage.refuse(promotion);
    assert_eq!(stage.go(), Due::Over);
    stage.work_is("canceled");
}

#[test]
fn an_expired_approval_reopens_the_decision() {
    let mut stage = Stage::deciding();
    let promotion = stage.promotion_id();
    stage.approve(10);
    stage.now = stage.now.after(Millis(10));
    assert_eq!(stage.go(), EFFECT);
    assert_eq!(stage.step_name(), "check");
    stage.gates(&[]);
    assert_eq!(stage.step_name(), "decide");
    assert!(stage.promotion_id() != promotion);
    assert_eq!(stage.promotion(promotion).name(), "stale");
}

#[test]
fn an_approval_of_another_tree_never_lands() {
    let mut steps = cycle();
    let polish = step("polish", &["decide"], session("builder", vec![]), None);
    steps.insert(4, polish);
    steps[5].needs = vec!["polish".into()];
    let mut stage = Stage::running(steps, budget());
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    stage.propose();
    let promotion = stage.promotion_id();
    stage.approve(1_000);
    stage.go();
    assert_eq!(stage.step_name(), "polish");
    stage.built(2);
    assert_eq!(stage.promotion(promotion).name(), "stale");
    assert_eq!(stage.step_name(), "check");
    // Even with every gate green on the new tree, the old yes is worth nothing.
    stage.gates(&[]);
    assert_eq!(stage.step_name(), "decide");
}

#[test]
fn a_target_that_moved_reopens_the_decision() {
    let mut stage = Stage::deciding();
    let promotion = stage.promotion_id();
    stage.approve(1_000);
    stage.go();
    let why = "the target moved".to_string();
    let overtake = promotion::Command::Overtake { why };
    stage.must(vec![Command::Promotion(promotion, overtake)]);
    stage.head = commit('b');
    assert_eq!(stage.go(), EFFECT);
    stage.gates(&[]);
    assert_eq!(stage.step_name(), "decide");
    let blocked = Due::Wait(Wait::Blocked(stage.promotion_id()));
    assert_eq!(stage.propose(), blocked);
}

#[test]
fn a_tree_that_a_session_changed_after_the_gates_is_looked_at_again() {
    let steps = vec![
        step("build", &[], session("builder", vec![]), None),
        step("check", &["build"], check(), Some("build")),
        step("docs", &["check"], session("builder", vec![]), None),
        step("decide", &["docs"], Kind::Decision, None),
    ];
    let mut stage = Stage::running(steps, budget());
    stage.built(1);
    stage.gates(&[]);
    stage.built(2);
    assert_eq!(stage.step_name(), "check");
    stage.gates(&[]);
    assert_eq!(stage.step_name(), "decide");
}

#[test]
fn a_last_session_that_changed_nothing_does_not_empty_the_dossier() {
    let mut stage = Stage::running(cycle(), budget());
    stage.built(1);
    stage.gates(&[]);
    stage.built(1);
    let facts = stage.case.facts(&stage.head).unwrap();
    assert_eq!((facts.files, facts.is_validated), (1, true));
    assert_eq!(policy::blocks(&facts), []);
}

#[test]
fn an_open_finding_blocks_until_the_operator_settles_it() {
    let mut steps = cycle();
    steps[2].kind = session("reviewer", vec![]);
    let mut stage = Stage::running(steps, budget());
    stage.built(1);
    stage.gates(&[]);
    let finding = stage.find();
    stage.built(1);
    let blocked = Due::Wait(Wait::Blocked(stage.promotion_id()));
    assert_eq!(stage.propose(), blocked);
    let (name, reason) = ("operator:ada".to_string(), "meant so".to_string());
    let by = finding::Resolver::Operator { name, reason };
    let resolve = finding::Command::Resolve(by);
    stage.must(vec![Command::Finding(finding, resolve)]);
    assert_eq!(stage.go(), EFFECT);
    stage.gates(&[]);
    let ready = Due::Wait(Wait::Decision(stage.promotion_id()));
    assert_eq!(stage.propose(), ready);
}

#[test]
fn the_flag_for_people_follows_what_is_waited_for() {
    let mut stage = Stage::deciding();
    assert_eq!(stage.open().status, work::Status::InputRequired);
    stage.approve(1_000);
    stage.go();
    assert_eq!(stage.open().status, work::Status::Working);
}

#[test]
fn a_closed_work_closes_its_questions_its_run_and_its_goal() {
    let mut stage = Stage::running(cycle(), budget());
    let asked = stage.ask(Priority::P2);
    stage.built(1);
    let reason = "enough".to_string();
    let cancel = work::Command::Cancel { reason };
    stage.must(vec![Command::Work(WORK, cancel)]);
    assert_eq!(stage.go(), Due::Over);
    assert_eq!(stage.case.ambiguities[&asked].name(), "closed");
    assert_eq!(stage.outcome(), Some(&Outcome::Canceled));
    assert!(matches!(
        stage.case.goal(),
        Some((_, goal::State::Abandoned(_)))
    ));
}

#[test]
fn a_work_that_is_called_off_under_a_session_waits_for_its_one_reason() {
    let mut stage = Stage::running(cycle(), budget());
    let session = stage.session_id();
    let reason = "enough".to_string();
    let cancel = work::Command::Cancel { reason };
    stage.must(vec![Command::Work(WORK, cancel)]);
    assert_eq!(stage.go(), Due::Over);
    assert_eq!(stage.outcome(), None, "its session is still alive");
    assert_eq!(stage.ends(EndReason::Stopped, None), Due::Over);
    assert_eq!(stage.outcome(), Some(&Outcome::Canceled));
    let end = stage.case.sessions[&session].end().unwrap();
    assert_eq!(end.reason, EndReason::Stopped);
}

#[test]
fn what_is_landed_or_being_landed_cannot_be_called_off() {
    let mut stage = Stage::deciding();
    stage.approve(1_000);
    stage.go();
    for _ in 0..2 {
        let reason = "enough".to_string();
        let cancel = Command::Work(WORK, work::Command::Cancel { reason });
        let refusal = Refusal::Work(work::Refusal::Landing);
        assert_eq!(stage.case.decide(cancel), Err(refusal));
        if stage.promotion(stage.promotion_id()).name() == "dispatched" {
            stage.land();
        }
    }
}

#[test]
fn a_session_whose_step_was_taken_from_it_ends_and_says_nothing_about_the_run() {
    let mut stage = Stage::running(cycle(), budget());
    let session = stage.session_id();
    let (step, why) = ("build".to_string(), "x".to_string());
    let fail = run::Command::Fail {
        step,
        why,
        mend: Mend::Retry,
        notes: vec![],
    };
    stage.must(vec![Command::Run(RunId::from_bits(1), fail)]);
    let end = session::End {
        reason: EndReason::Silent,
        wall: Millis(1),
        output_bytes: 0,
        malformed: 0,
        late: 0,
    };
    let commands = crate::conclude::session(&stage.case, session, end, None);
    stage.must(commands);
    assert!(stage.case.sessions[&session].end().is_some());
    assert_eq!(stage.spent().wall, Millis(1));
}

#[test]
fn a_step_that_can_never_begin_does_not_make_a_completed_run() {
    let steps = vec![
        step("a", &["b"], check(), None),
        step("b", &["a"], check(), None),
    ];
    let stage = Stage::running(steps, budget());
    stage.work_is("failed");
}

#[test]
fn an_action_that_nobody_decided_on_fails_the_run_and_does_not_go_round_for_ever() {
    let stage = Stage::running(vec![step("promote", &[], promote(), None)], budget());
    stage.work_is("failed");
}

#[test]
fn a_promoted_checkpoint_is_the_one_that_was_validated() {
    let stage = Stage::deciding();
    let (_, state) = stage.case.checkpoint().unwrap();
    assert!(matches!(state, checkpoint::State::Validated(_)));
    assert_eq!(state.checkpoint().unwrap().tree, stage.active().tree);
}

#[test]
fn asking_twice_what_is_due_gives_the_same_answer() {
    let stage = Stage::running(cycle(), budget());
    let context = Context {
        now: stage.now,
        fresh: 7,
        dependencies: &[],
    };
    assert_eq!(due(&stage.case, &context), due(&stage.case, &context));
    // Another who only read the log comes to the same.
    let mut replayed = Case::default();
    stage.log.iter().for_each(|it| replayed.apply(it));
    assert_eq!(replayed, stage.case);
}

#[test]
fn a_used_up_budget_keeps_the_work_and_asks_the_operator() {
    let mut stage = Stage::running(cycle(), budget());
    let spent = stage.spent().sessions;
    let left = stage.left(7);
    let detail = String::from("the work's: 10 of 10 tokens are used");
    let due = stage.ends(EndReason::OverBudget { detail }, Some(&left));
    let Due::Wait(Wait::Answers(asked)) = due else {
        panic!("{due:?}");
    };
    assert_eq!(stage.open().status, work::Status::InputRequired);
    // What the session left is the tree that the next one begins on.
    assert_eq!(stage.active().tree, left.clean);
    stage.answer(asked[0], 1);
    assert_eq!(stage.go(), Due::Wait(Wait::Effect));
    assert_eq!(stage.step_name(), "build");
    assert_eq!(stage.spent().sessions, spent + 1);
    assert_eq!(stage.active().round, 1, "the attempt does not count");
}
