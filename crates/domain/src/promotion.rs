//! Promotions: intentional, permitted, and written down.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::policy::{Approval, Block, Permit};
use crate::principal;
use crate::tree::{Commit, Tree};
use crate::{Digest, Millis, RunId, Timestamp, WorkId};

/// What is proposed: immutable from the proposal on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The work.
    pub work: WorkId,
    /// The run.
    pub run: RunId,
    /// The tree.
    pub tree: Tree,
    /// The dossier, in the artifact store: what the operator is shown and approves.
    pub dossier: Digest,
    /// The branch it is meant for.
    pub target: String,
    /// The ref that is moved.
    pub lands_on: String,
    /// What the target held when this was put together.
    pub target_head: Commit,
}

/// What is known of a promotion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never proposed.
    #[default]
    Absent,
    /// Held by rules.
    Blocked(Proposal, Vec<Block>),
    /// Waits for the operator.
    Ready(Proposal),
    /// The operator said yes.
    Approved(Proposal, Approval),
    /// A permit was given and spent; the effect is under way.
    Dispatched(Proposal, Approval),
    /// The target holds the commit.
    Promoted(Proposal, Approval, Commit),
    /// The operator said no.
    Refused(Proposal, String),
    /// Overtaken: another proposal takes its place.
    Stale(Proposal, String),
}

/// What one may ask of a promotion.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Proposes it, with what the rules hold against it.
    Propose(Proposal, Vec<Block>),
    /// Says yes to exactly this dossier.
    Approve {
        /// The human.
        by: String,
        /// The dossier that was shown.
        dossier: Digest,
        /// When.
        now: Timestamp,
        /// How long it shall count.
        span: Millis,
    },
    /// Says no.
    Refuse {
        /// The human.
        by: String,
        /// Why.
        reason: String,
    },
    /// Begins the effect: spends the permit.
    Dispatch(Permit),
    /// Notes that the target holds the commit, read afresh.
    Land {
        /// The commit.
        commit: Commit,
    },
    /// Notes that it is overtaken.
    Overtake {
        /// By what.
        why: String,
    },
}

/// What has happened to a promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was proposed.
    Proposed(Proposal),
    /// Rules hold it.
    Blocked {
        /// All of them.
        reasons: Vec<Block>,
    },
    /// The operator said yes.
    Approved(Approval),
    /// The operator said no.
    Refused {
        /// The human.
        by: String,
        /// Why.
        reason: String,
    },
    /// The effect began.
    Dispatched {
        /// The tree of the permit.
        tree: Digest,
    },
    /// The target holds the commit.
    Promoted {
        /// The commit.
        commit: Commit,
    },
    /// It is overtaken.
    Overtaken {
        /// By what.
        why: String,
    },
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "io.palisade.promotion.proposed.v1",
            Self::Blocked { .. } => "io.palisade.promotion.blocked.v1",
            Self::Approved(_) => "io.palisade.promotion.approved.v1",
            Self::Refused { .. } => "io.palisade.promotion.refused.v1",
            Self::Dispatched { .. } => "io.palisade.promotion.dispatched.v1",
            Self::Promoted { .. } => "io.palisade.promotion.promoted.v1",
            Self::Overtaken { .. } => "io.palisade.promotion.overtaken.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the promotion is {0}, which does not admit this")]
    NotNow(&'static str),
    /// What was shown is not what is proposed.
    #[error("the dossier has changed since it was shown ({shown}, now {current}); look again")]
    OtherDossier {
        /// What was shown.
        shown: Digest,
        /// What is proposed.
        current: Digest,
    },
    /// Only a human decides.
    #[error("`{by}` is no operator; only an operator decides on a promotion")]
    NotOperator {
        /// Who tried.
        by: String,
    },
    /// Whoever wrote it may not approve it.
    #[error("`{by}` bears the name of an author of this change; somebody else must approve it")]
    Author {
        /// Who tried.
        by: String,
    },
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Blocked(..) => "blocked",
            Self::Ready(_) => "ready",
            Self::Approved(..) => "approved",
            Self::Dispatched(..) => "dispatched",
            Self::Promoted(..) => "promoted",
            Self::Refused(..) => "refused",
            Self::Stale(..) => "stale",
        }
    }

    /// Returns what is proposed.
    #[must_use]
    pub const fn proposal(&self) -> Option<&Proposal> {
        match self {
            Self::Absent => None,
            Self::Blocked(it, _)
            | Self::Ready(it)
            | Self::Approved(it, _)
            | Self::Dispatched(it, _)
            | Self::Promoted(it, ..)
            | Self::Refused(it, _)
            | Self::Stale(it, _) => Some(it),
        }
    }

    /// Returns the approval, once given.
    #[must_use]
    pub const fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Approved(_, it) | Self::Dispatched(_, it) | Self::Promoted(_, it, _) => Some(it),
            Self::Absent
            | Self::Blocked(..)
            | Self::Ready(_)
            | Self::Refused(..)
            | Self::Stale(..) => None,
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state or the shown dossier does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    check_principal(&command)?;
    match (state, command) {
        (State::Absent, Command::Propose(proposal, reasons)) => {
            let mut events = vec![Event::Proposed(proposal)];
            if !reasons.is_empty() {
                events.push(Event::Blocked { reasons });
            }
            Ok(events)
        }
        (
            State::Ready(proposal),
            Command::Approve {
                by,
                dossier,
                now,
                span,
            },
        ) => {
            if dossier != proposal.dossier {
                return Err(Refusal::OtherDossier {
                    shown: dossier,
                    current: proposal.dossier,
                });
            }
            let expires = now.after(span);
            Ok(vec![Event::Approved(Approval {
                by,
                dossier,
                at: now,
                expires,
            })])
        }
        (
            State::Ready(_) | State::Blocked(..) | State::Approved(..),
            Command::Refuse { by, reason },
        ) => Ok(vec![Event::Refused { by, reason }]),
        (State::Approved(proposal, _), Command::Dispatch(permit)) => {
            if permit.dossier() != proposal.dossier || permit.tree() != proposal.tree.digest {
                let (shown, current) = (permit.dossier(), proposal.dossier);
                return Err(Refusal::OtherDossier { shown, current });
            }
            Ok(vec![Event::Dispatched {
                tree: permit.tree(),
            }])
        }
        (State::Dispatched(..), Command::Land { commit }) => Ok(vec![Event::Promoted { commit }]),
        (
            State::Blocked(..) | State::Ready(_) | State::Approved(..) | State::Dispatched(..),
            Command::Overtake { why },
        ) => Ok(vec![Event::Overtaken { why }]),
        (
            State::Absent
            | State::Blocked(..)
            | State::Ready(_)
            | State::Approved(..)
            | State::Dispatched(..)
            | State::Promoted(..)
            | State::Refused(..)
            | State::Stale(..),
            Command::Propose(..)
            | Command::Approve { .. }
            | Command::Refuse { .. }
            | Command::Dispatch(_)
            | Command::Land { .. }
            | Command::Overtake { .. },
        ) => Err(Refusal::NotNow(state.name())),
    }
}

fn check_principal(command: &Command) -> Result<(), Refusal> {
    match command {
        Command::Approve { by, .. } | Command::Refuse { by, .. } if !principal::is_operator(by) => {
            Err(Refusal::NotOperator { by: by.clone() })
        }
        Command::Propose(..)
        | Command::Approve { .. }
        | Command::Refuse { .. }
        | Command::Dispatch(_)
        | Command::Land { .. }
        | Command::Overtake { .. } => Ok(()),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Proposed(proposal)) => State::Ready(proposal.clone()),
        (State::Ready(it), Event::Blocked { reasons }) => State::Blocked(it, reasons.clone()),
        (State::Ready(it), Event::Approved(approval)) => State::Approved(it, approval.clone()),
        (State::Approved(it, approval), Event::Dispatched { .. }) => {
            State::Dispatched(it, approval)
        }
        (State::Dispatched(it, approval), Event::Promoted { commit }) => {
            State::Promoted(it, approval, commit.clone())
        }
        (
            State::Ready(it) | State::Blocked(it, _) | State::Approved(it, _),
            Event::Refused { reason, .. },
        ) => State::Refused(it, reason.clone()),
        (
            State::Ready(it)
            | State::Blocked(it, _)
            | State::Approved(it, _)
            | State::Dispatched(it, _),
            Event::Overtaken { why },
        ) => State::Stale(it, why.clone()),
        (
            state,
            Event::Blocked { .. }
            | Event::Approved(_)
            | Event::Refused { .. }
            | Event::Dispatched { .. }
            | Event::Promoted { .. }
            | Event::Overtaken { .. },
        ) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proposal() -> Proposal {
        let base: Commit = "0123456789012345678901234567890123456789".parse().unwrap();
        Proposal {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            tree: Tree {
                base: base.clone(),
                manifest: None,
                digest: Digest::from_bytes([7; 32]),
            },
            dossier: Digest::ZERO,
            target: "main".into(),
            lands_on: "refs/heads/main".into(),
            target_head: base,
        }
    }

    fn approve(dossier: Digest) -> Command {
        Command::Approve {
            by: "operator:ada".into(),
            dossier,
            now: Timestamp(1),
            span: Millis(10),
        }
    }

    #[test]
    fn a_yes_to_another_dossier_is_refused() {
        let shown = Digest::from_bytes([1; 32]);
        assert!(matches!(
            decide(&State::Ready(proposal()), approve(shown)),
            Err(Refusal::OtherDossier { .. })
        ));
    }

    #[test]
    fn a_blocked_promotion_cannot_be_approved() {
        let blocked = State::Blocked(proposal(), vec![Block::NoGate]);
        assert_eq!(
            decide(&blocked, approve(Digest::ZERO)),
            Err(Refusal::NotNow("blocked"))
        );
    }

    #[test]
    fn nobody_but_an_operator_decides() {
        for by in ["agent:scripted", "ada", "operator:"] {
            let (by, reason) = (String::from(by), String::new());
            let refusal = Err(Refusal::NotOperator { by: by.clone() });
            let approve = Command::Approve {
                by: by.clone(),
                dossier: Digest::ZERO,
                now: Timestamp(1),
                span: Millis(10),
            };
            assert_eq!(decide(&State::Ready(proposal()), approve), refusal);
            let refuse = Command::Refuse { by, reason };
            assert_eq!(decide(&State::Ready(proposal()), refuse), refusal);
        }
    }

    proptest! {
        /// There is no way to `Dispatched` or `Promoted` here: a permit cannot be made in this
        /// module, and no other command leads there.
        #[test]
        fn nothing_is_promoted_without_a_permit(choices in prop::collection::vec(0_u8..5, 0..40)) {
            let mut state = State::Absent;
            for choice in choices {
                let command = match choice {
                    0 => Command::Propose(proposal(), vec![]),
                    1 => approve(Digest::ZERO),
                    2 => Command::Refuse { by: "operator:ada".into(), reason: String::new() },
                    3 => Command::Land { commit: proposal().target_head },
                    _ => Command::Overtake { why: String::new() },
                };
                if let Ok(events) = decide(&state, command) {
                    state = events.iter().fold(state, evolve);
                }
                prop_assert!(!matches!(state, State::Dispatched(..) | State::Promoted(..)));
            }
        }
    }
}
