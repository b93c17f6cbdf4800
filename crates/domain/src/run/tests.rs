//! Runs: rules by given/when/then.

use std::string::ToString;

use super::*;
use crate::Millis;
use crate::formula::Kind;
use crate::formula::{Lane, Step};

fn step(id: &str, needs: &[&str], kind: Kind) -> Step {
    Step {
        id: id.into(),
        needs: needs.iter().map(ToString::to_string).collect(),
        kind,
        on_fail: None,
    }
}

fn session() -> Kind {
    Kind::Session {
        role: "builder".into(),
        lane: Lane::DryRun,
        prompt: String::new(),
        accept: vec![],
        attempts: 2,
        wall: Millis(1),
    }
}

fn tree(byte: u8) -> Tree {
    Tree {
        base: "0123456789012345678901234567890123456789".parse().unwrap(),
        manifest: None,
        digest: Digest::from_bytes([byte; 32]),
    }
}

/// build → check → docs → decide, and a `lint` that leans on nothing.
fn started() -> Event {
    let gate = || Kind::Gate { gates: vec![] };
    Event::Started(Run {
        work: WorkId::from_bits(1),
        formula: Formula {
            name: "f".into(),
            description: String::new(),
            steps: vec![
                step("build", &[], session()),
                step("check", &["build"], gate()),
                step("lint", &[], gate()),
                step("docs", &["check"], session()),
                step("decide", &["docs", "lint"], Kind::Decision),
            ],
        },
        roles: vec![],
        gates: vec![],
        pinned: vec![],
        prompts: vec![],
        base: tree(0),
    })
}

const WORKS: Activity = Activity::Session {
    session: SessionId::from_bits(1),
};

fn began(step: &str, activity: Activity) -> Event {
    Event::StepBegan {
        step: step.into(),
        activity,
    }
}

fn passed(step: &str) -> Event {
    Event::StepPassed { step: step.into() }
}

fn failed(step: &str, mend: Mend, notes: Vec<Note>) -> Event {
    Event::StepFailed {
        step: step.into(),
        why: "x".into(),
        mend,
        notes,
    }
}

fn ended(reason: &str) -> Note {
    Note::Ended {
        reason: reason.into(),
    }
}

fn given(events: &[Event]) -> State {
    let state = evolve(State::Absent, &started());
    events.iter().fold(state, evolve)
}

fn active(events: &[Event]) -> Active {
    given(events).record().unwrap().clone()
}

fn begin(step: &str) -> Command {
    Command::Begin {
        step: step.into(),
        activity: WORKS,
    }
}

fn send_back(to: &str) -> Command {
    Command::SendBack {
        to: to.into(),
        notes: vec![Note::Findings],
    }
}

#[test]
fn a_step_never_begins_before_what_it_needs_has_passed() {
    let not_ready = Refusal::NotReady {
        step: "check".into(),
        need: "build".into(),
    };
    assert_eq!(decide(&given(&[]), begin("check")), Err(not_ready.clone()));
    let lost = [
        began("build", WORKS),
        failed("build", Mend::Nothing, vec![]),
    ];
    assert_eq!(decide(&given(&lost), begin("check")), Err(not_ready));
    let done = given(&[began("build", WORKS), passed("build")]);
    assert_eq!(
        decide(&done, begin("check")),
        Ok(vec![began("check", WORKS)])
    );
}

#[test]
fn one_step_at_a_time_is_under_way() {
    let busy = given(&[began("build", WORKS)]);
    assert_eq!(
        decide(&busy, begin("lint")),
        Err(Refusal::Busy("build".into()))
    );
}

#[test]
fn a_passed_step_does_not_begin_again_by_itself() {
    let done = given(&[began("build", WORKS), passed("build")]);
    let refusal = Refusal::NotNow {
        step: "build".into(),
        status: "passed",
    };
    assert_eq!(decide(&done, begin("build")), Err(refusal));
}

#[test]
fn a_step_that_the_formula_does_not_know_is_refused() {
    let refusal = Err(Refusal::NoSuchStep("fly".into()));
    assert_eq!(decide(&given(&[]), begin("fly")), refusal);
    assert_eq!(decide(&given(&[]), send_back("fly")), refusal);
}

#[test]
fn only_the_step_under_way_passes_or_fails() {
    let pass = Command::Pass {
        step: "build".into(),
    };
    let refusal = Refusal::NotNow {
        step: "build".into(),
        status: "waiting",
    };
    assert_eq!(decide(&given(&[]), pass), Err(refusal));
}

#[test]
fn only_a_step_that_a_new_try_would_mend_is_tried_anew() {
    let retry = || Command::Retry {
        step: "build".into(),
    };
    for (mend, admitted) in [
        (Mend::Retry, true),
        (Mend::SendBack, false),
        (Mend::Nothing, false),
    ] {
        let state = given(&[began("build", WORKS), failed("build", mend, vec![])]);
        assert_eq!(decide(&state, retry()).is_ok(), admitted, "{mend:?}");
    }
}

#[test]
fn a_try_is_counted_when_it_begins_and_remembered_over_retries() {
    let once = [
        began("build", WORKS),
        failed("build", Mend::Retry, vec![]),
        Event::StepRetried {
            step: "build".into(),
        },
    ];
    assert_eq!(active(&once).steps["build"].attempts, 1);
    assert_eq!(active(&once).status("build"), &Status::Waiting);
    let twice = [once.as_slice(), &[began("build", WORKS)]].concat();
    assert_eq!(active(&twice).steps["build"].attempts, 2);
}

#[test]
fn sending_back_resets_exactly_what_leans_on_the_step_and_begins_a_round() {
    let mut events = vec![];
    for step in ["build", "check", "lint", "docs"] {
        events.extend([began(step, WORKS), passed(step)]);
    }
    events.push(Event::SentBack {
        to: "check".into(),
        notes: vec![Note::Findings],
    });
    let after = active(&events);
    let waiting: Vec<_> = after
        .steps
        .iter()
        .filter(|(_, it)| it.status == Status::Waiting)
        .map(|(id, it)| (id.as_str(), it.attempts))
        .collect();
    assert_eq!(waiting, [("check", 0), ("decide", 0), ("docs", 0)]);
    assert!(after.has_passed("build") && after.has_passed("lint"));
    assert_eq!((after.round, after.notes), (2, vec![Note::Findings]));
}

#[test]
fn an_agent_or_a_gate_at_work_is_not_overtaken() {
    for activity in [WORKS, Activity::Gates] {
        let state = given(&[began("build", activity)]);
        let busy = Err(Refusal::Busy("build".into()));
        assert_eq!(decide(&state, send_back("build")), busy);
        let reopen = Command::Reopen { tree: tree(1) };
        assert_eq!(decide(&state, reopen), busy);
    }
}

#[test]
fn a_landing_is_reopened_by_what_the_target_says_and_by_nothing_else() {
    let promotion = PromotionId::from_bits(1);
    let state = given(&[began("build", Activity::Landing { promotion })]);
    let busy = Err(Refusal::Busy("build".into()));
    assert_eq!(decide(&state, send_back("build")), busy);
    assert!(decide(&state, Command::Reopen { tree: tree(1) }).is_ok());
}

#[test]
fn a_pending_decision_is_overtaken() {
    let mut events = vec![];
    for step in ["build", "check", "lint", "docs"] {
        events.extend([began(step, WORKS), passed(step)]);
    }
    let promotion = PromotionId::from_bits(1);
    events.push(began("decide", Activity::Decision { promotion }));
    assert!(decide(&given(&events), send_back("build")).is_ok());
}

#[test]
fn reopening_keeps_what_sessions_made_and_nothing_else() {
    let mut events = vec![];
    for step in ["build", "check", "lint", "docs"] {
        events.extend([began(step, WORKS), passed(step)]);
    }
    events.push(Event::Reopened { tree: tree(9) });
    let after = active(&events);
    let kept: Vec<_> = after
        .steps
        .keys()
        .filter(|it| after.has_passed(it))
        .collect();
    assert_eq!(kept, ["build", "docs"]);
    assert_eq!((after.tree, after.round), (tree(9), 1));
}

#[test]
fn the_last_word_of_a_gate_counts() {
    let judged = |reasons: &[&str]| Event::GatesJudged {
        facts: vec![GateFact {
            gate: "unit".into(),
            tree: tree(0).digest,
            reasons: reasons.iter().map(ToString::to_string).collect(),
        }],
    };
    let after = active(&[judged(&["red"]), judged(&[])]);
    assert_eq!(after.gates.len(), 1);
    assert!(after.gates[0].reasons.is_empty());
}

#[test]
fn a_session_that_is_tried_anew_still_knows_why_the_work_is_back() {
    let events = [
        Event::SentBack {
            to: "build".into(),
            notes: vec![Note::Findings],
        },
        began("build", WORKS),
        failed("build", Mend::Retry, vec![ended("silent")]),
        Event::StepRetried {
            step: "build".into(),
        },
        began("build", WORKS),
        failed("build", Mend::Retry, vec![ended("silent")]),
    ];
    assert_eq!(active(&events).notes, [Note::Findings, ended("silent")]);
}

#[test]
fn a_gate_reads_no_notes_so_it_takes_none_away() {
    let back = Event::SentBack {
        to: "build".into(),
        notes: vec![Note::Answers],
    };
    let gate = began("lint", Activity::Gates);
    let green = active(&[back.clone(), gate.clone(), passed("lint")]);
    assert_eq!(green.notes, [Note::Answers]);
    let red = failed("lint", Mend::SendBack, vec![Note::Findings]);
    let red = active(&[back.clone(), gate, red]);
    assert_eq!(red.notes, [Note::Answers, Note::Findings]);
    let read = active(&[back, began("build", WORKS), passed("build")]);
    assert_eq!(read.notes, []);
}

#[test]
fn a_review_that_sends_back_leaves_its_own_notes_only() {
    let events = [
        began("docs", WORKS),
        failed("docs", Mend::Retry, vec![ended("silent")]),
        began("docs", WORKS),
        failed("docs", Mend::SendBack, vec![Note::Findings]),
    ];
    assert_eq!(active(&events).notes, [Note::Findings]);
}

#[test]
fn a_run_that_is_over_is_over() {
    let over = given(&[Event::Ended(Outcome::Canceled)]);
    let commands = [
        begin("build"),
        send_back("build"),
        Command::Reopen { tree: tree(1) },
        Command::End(Outcome::Completed),
        Command::Advance { tree: tree(1) },
    ];
    for command in commands {
        assert_eq!(decide(&over, command), Err(Refusal::Over));
    }
    let later = [began("build", WORKS), passed("build")];
    assert_eq!(later.iter().fold(over.clone(), evolve), over);
}
