//! Histories of actions: given, when, then.

use alloc::string::ToString as _;

use proptest::prelude::*;

use super::*;
use crate::formula::Lane;
use crate::{Digest, GrantId, PermitId, WorkId};

const ADA: &str = "operator:ada";
const REQUEST: ExecutionId = ExecutionId::from_bits(1);

fn commit() -> Commit {
    "0123456789012345678901234567890123456789".parse().unwrap()
}

fn proposal() -> Proposal {
    Proposal {
        name: "publish_change".into(),
        arguments: "{}".into(),
        digest: Digest::ZERO,
        subject: Some(subject_of(&commit())),
        lane: Lane::Execute,
        needs: Needs::Permit,
        authors: vec!["agent:scripted".into()],
        by: ADA.into(),
        work: Some(WorkId::from_bits(1)),
        session: None,
        why: "it is wanted".into(),
    }
}

fn approval() -> Approval {
    Approval {
        by: ADA.into(),
        paper: Paper::Permit(PermitId::from_bits(1)),
        envelope: Digest::ZERO,
        policy: Digest::ZERO,
        target: "staging".into(),
        requester: "service:engine".into(),
        at: Timestamp(10),
        expires: Timestamp(100),
    }
}

fn facts() -> Facts {
    Facts {
        open: Open::default(),
        landed: Landed::Commit(commit()),
    }
}

fn verdict(by: &str) -> Verdict {
    Verdict {
        by: by.into(),
        reason: "no".into(),
    }
}

fn dispatch(now: u64) -> Command {
    Command::Dispatch {
        request: REQUEST,
        now: Timestamp(now),
        facts: facts(),
    }
}

fn defer(is_unclear: bool, now: u64) -> Command {
    Command::Defer {
        why: "nobody is there".into(),
        is_unclear,
        now: Timestamp(now),
    }
}

fn settle(status: Status) -> Command {
    Command::Settle(Settlement {
        status,
        why: None,
        receipt: Some(Digest::ZERO),
    })
}

fn given(commands: Vec<Command>) -> State {
    commands.into_iter().fold(State::Absent, |state, command| {
        let events = decide(&state, command).unwrap();
        events.iter().fold(state, evolve)
    })
}

fn approved() -> State {
    given(vec![
        Command::Propose(proposal()),
        Command::Approve(approval(), facts()),
    ])
}

fn refused(state: &State, command: Command) -> Refusal {
    decide(state, command).unwrap_err()
}

fn blocked(approval: Approval, facts: Facts) -> Vec<Block> {
    let state = given(vec![Command::Propose(proposal())]);
    let refusal = refused(&state, Command::Approve(approval, facts));
    let Refusal::Blocked(blocks) = refusal else {
        panic!("{refusal}");
    };
    blocks
}

#[test]
fn it_goes_from_proposal_to_receipt() {
    let mut state = approved();
    assert_eq!(state.name(), "permitted");
    for (command, name) in [
        (dispatch(11), "dispatched"),
        (defer(false, 12), "dispatched"),
        (settle(Status::Succeeded), "succeeded"),
    ] {
        let events = decide(&state, command).unwrap();
        state = events.iter().fold(state, evolve);
        assert_eq!(state.name(), name);
    }
    for command in [dispatch(13), settle(Status::Failed), defer(true, 13)] {
        assert_eq!(refused(&state, command), Refusal::NotNow("succeeded"));
    }
}

#[test]
fn it_is_approved_once_and_by_an_operator() {
    let again = Command::Approve(approval(), facts());
    assert_eq!(refused(&approved(), again), Refusal::NotNow("permitted"));
    let state = given(vec![Command::Propose(proposal())]);
    for by in ["agent:bob", "operator:", "bob", "service:engine"] {
        let by: String = by.into();
        let other = Approval {
            by: by.clone(),
            ..approval()
        };
        assert_eq!(
            refused(&state, Command::Approve(other, facts())),
            Refusal::NotOperator { by: by.clone() }
        );
        let deny = Command::Deny(verdict(&by));
        assert_eq!(refused(&state, deny), Refusal::NotOperator { by });
    }
}

#[test]
fn author_requester_and_approver_are_three() {
    let by_author = Approval {
        by: "operator:Scripted".into(),
        ..approval()
    };
    assert!(matches!(
        &blocked(by_author, facts())[..],
        [Block::SamePrincipal {
            one: "author",
            other: "approver",
            ..
        }]
    ));
    let by_requester = Approval {
        by: "operator:engine".into(),
        ..approval()
    };
    assert!(matches!(
        &blocked(by_requester, facts())[..],
        [Block::SamePrincipal {
            one: "approver",
            other: "requester",
            ..
        }]
    ));
    let authored = Approval {
        requester: "service:scripted".into(),
        ..approval()
    };
    assert!(matches!(
        &blocked(authored, facts())[..],
        [Block::SamePrincipal {
            one: "author",
            other: "requester",
            ..
        }]
    ));
}

#[test]
fn what_is_open_and_what_is_stale_hold_it_and_all_of_it_is_told() {
    let open = Open { p0: 1, p1: 2 };
    let other: Commit = "9999999999999999999999999999999999999999".parse().unwrap();
    let facts = Facts {
        open,
        landed: Landed::Commit(other.clone()),
    };
    let stale = Block::Stale {
        subject: subject_of(&commit()),
        landed: Some(other),
    };
    assert_eq!(
        blocked(approval(), facts.clone()),
        [Block::Open(open), stale]
    );
    let nothing = Facts {
        landed: Landed::Nothing,
        ..Facts::default()
    };
    assert_eq!(blocked(approval(), nothing).len(), 1);
    // What was opened after the approval holds it, too.
    let late = Command::Dispatch {
        request: REQUEST,
        now: Timestamp(11),
        facts,
    };
    assert!(matches!(refused(&approved(), late), Refusal::Blocked(it) if it.len() == 2));
}

#[test]
fn a_grant_does_only_where_no_permit_is_needed() {
    let by_grant = Approval {
        paper: Paper::Grant(GrantId::from_bits(1)),
        ..approval()
    };
    let state = given(vec![Command::Propose(proposal())]);
    let approve = Command::Approve(by_grant.clone(), facts());
    assert!(matches!(
        refused(&state, approve),
        Refusal::PermitNeeded { .. }
    ));
    let tests = Proposal {
        name: "run_tests".into(),
        subject: None,
        needs: Needs::Grant,
        authors: vec![ADA.into()],
        ..proposal()
    };
    let open = Facts {
        open: Open { p0: 1, p1: 0 },
        landed: Landed::Nothing,
    };
    let state = given(vec![
        Command::Propose(tests),
        Command::Approve(by_grant, open),
    ]);
    assert_eq!(state.name(), "permitted");
}

#[test]
fn an_approval_that_is_over_does_nothing() {
    assert_eq!(refused(&approved(), dispatch(100)), Refusal::Expired);
    let early = Command::Expire { now: Timestamp(99) };
    assert_eq!(refused(&approved(), early), Refusal::NotExpired);
    let late = || Command::Expire {
        now: Timestamp(100),
    };
    let events = decide(&approved(), late()).unwrap();
    assert_eq!(events, [Event::Expired]);
    let none = Approval {
        expires: Timestamp(10),
        ..approval()
    };
    let state = given(vec![Command::Propose(proposal())]);
    let approve = Command::Approve(none, facts());
    assert_eq!(refused(&state, approve), Refusal::Expired);
    // Whom the executor may have heard is not called nothing.
    let steps = [dispatch(11), defer(true, 12)];
    let unclear = steps.into_iter().fold(approved(), |state, command| {
        let events = decide(&state, command).unwrap();
        events.iter().fold(state, evolve)
    });
    assert_eq!(refused(&unclear, late()), Refusal::NotNow("dispatched"));
}

#[test]
fn what_was_not_asked_for_is_not_settled() {
    let proposed = given(vec![Command::Propose(proposal())]);
    for state in [&State::Absent, &proposed, &approved()] {
        let command = settle(Status::Succeeded);
        assert_eq!(refused(state, command), Refusal::NotNow(state.name()));
    }
}

#[test]
fn only_what_nobody_could_say_is_settled_anew() {
    let steps = [dispatch(11), settle(Status::Unknown)];
    let unknown = steps.into_iter().fold(approved(), |state, command| {
        let events = decide(&state, command).unwrap();
        events.iter().fold(state, evolve)
    });
    assert_eq!(refused(&unknown, settle(Status::Unknown)), Refusal::NoNews);
    let events = decide(&unknown, settle(Status::Failed)).unwrap();
    assert_eq!(events.iter().fold(unknown, evolve).name(), "failed");
}

#[test]
fn what_is_not_wanted_is_taken_back_before_the_executor_is_asked() {
    let asked = {
        let events = decide(&approved(), dispatch(11)).unwrap();
        events.iter().fold(approved(), evolve)
    };
    let withdraw = || Command::Withdraw(verdict("agent:scripted"));
    assert_eq!(refused(&asked, withdraw()), Refusal::NotNow("dispatched"));
    let events = decide(&approved(), withdraw()).unwrap();
    let state = events.iter().fold(approved(), evolve);
    assert_eq!(refused(&state, dispatch(11)), Refusal::NotNow("withdrawn"));
    let unsaid = Command::Deny(Verdict {
        by: ADA.into(),
        reason: " ".into(),
    });
    let proposed = given(vec![Command::Propose(proposal())]);
    assert_eq!(refused(&proposed, unsaid), Refusal::Unreasoned);
}

#[test]
fn what_cannot_be_meant_is_not_proposed() {
    for broken in [
        Proposal {
            name: "sh -c".into(),
            ..proposal()
        },
        Proposal {
            name: String::new(),
            ..proposal()
        },
        Proposal {
            authors: vec![],
            ..proposal()
        },
        Proposal {
            authors: vec![" ".into()],
            ..proposal()
        },
        Proposal {
            why: String::new(),
            ..proposal()
        },
        Proposal {
            arguments: "x".repeat(ARGUMENTS_BYTES_MAX + 1),
            ..proposal()
        },
    ] {
        assert!(decide(&State::Absent, Command::Propose(broken)).is_err());
    }
}

#[test]
fn the_executor_is_asked_again_ever_more_rarely() {
    assert_eq!(patience(0), RETRY_AFTER);
    assert_eq!(patience(3), Millis(8 * RETRY_AFTER.0));
    assert_eq!(patience(u32::MAX), RETRY_AFTER_MAX);
    assert_eq!(State::Absent.name().to_string(), "absent");
}

proptest! {
    /// No order of commands leads to a request without an approval that admits it.
    #[test]
    fn nothing_is_asked_for_without_an_approval(choices in prop::collection::vec(0_u8..8, 0..60)) {
        let (mut state, mut is_approved, mut requests) = (State::Absent, false, 0);
        for choice in choices {
            let command = match choice {
                0 => Command::Propose(proposal()),
                1 => Command::Approve(approval(), facts()),
                2 => Command::Deny(verdict(ADA)),
                3 => Command::Withdraw(verdict(ADA)),
                4 => dispatch(20),
                5 => defer(false, 30),
                6 => settle(Status::Unknown),
                _ => Command::Expire { now: Timestamp(100) },
            };
            for event in decide(&state, command).unwrap_or_default() {
                is_approved |= matches!(event, Event::Approved { .. });
                requests += u32::from(matches!(event, Event::Dispatched { .. }));
                state = evolve(state, &event);
            }
            prop_assert!(requests <= u32::from(is_approved));
        }
    }
}
