//! Checkpoints: what a session left in its tree, captured, validated, and never lost.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::tree::{Tree, Violation};
use crate::{CheckpointId, Digest, SessionId, WorkId};

/// Why a checkpoint was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A session's turn ended.
    TurnEnd,
    /// The engine found what a dead engine had left.
    Recovery,
    /// A promotion is about to be proposed.
    BeforePromotion,
    /// The agent had written, and then stopped writing for a while.
    Quiet,
    /// So long since the last one.
    Interval,
    /// So much was written since the last one.
    Size,
    /// The operator asked for it.
    Manual,
    /// The tree is about to be put back.
    BeforeRollback,
}

impl Trigger {
    /// Returns the literal used in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TurnEnd => "turn_end",
            Self::Recovery => "recovery",
            Self::BeforePromotion => "before_promotion",
            Self::Quiet => "quiet",
            Self::Interval => "interval",
            Self::Size => "size",
            Self::Manual => "manual",
            Self::BeforeRollback => "before_rollback",
        }
    }
}

/// A captured tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The work.
    pub work: WorkId,
    /// The session whose changes it holds; none for one taken between sessions.
    pub session: Option<SessionId>,
    /// Why it was taken.
    pub trigger: Trigger,
    /// The checkpoint before it.
    pub parent: Option<CheckpointId>,
    /// The whole tree.
    pub tree: Tree,
    /// Files changed since the parent.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Files changed since the base.
    pub files_total: u64,
    /// Their length in bytes.
    pub bytes_total: u64,
    /// Time to scan, hash and store, in microseconds.
    pub micros: u64,
    /// Time the cell stood still for it, in microseconds.
    pub held_micros: u64,
}

/// What judging asked of the contents of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// How often the answer was known from an earlier judgement.
    pub remembered: u64,
    /// How often a content was read for it.
    pub read: u64,
}

impl Asked {
    /// Returns whether nothing was asked.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.remembered == 0 && self.read == 0
    }
}

/// A checkpoint that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The work.
    pub work: WorkId,
    /// The session whose tree is wanted.
    pub session: SessionId,
    /// Who asks.
    pub by: String,
}

/// What is known of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never captured.
    #[default]
    Absent,
    /// Asked for.
    Requested(Request),
    /// On record, not judged.
    Captured(Checkpoint),
    /// Nothing is wrong with it.
    Validated(Checkpoint),
    /// Something is wrong with it.
    Violated(Checkpoint, Vec<Violation>),
    /// Its tree was promoted.
    Promoted(Checkpoint),
}

/// What one may ask of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks for it.
    Request(Request),
    /// Puts it on record.
    Capture(Checkpoint),
    /// Notes the judgement of the import filter.
    Judge {
        /// The rules it was judged by.
        rules: Digest,
        /// Everything that is wrong.
        violations: Vec<Violation>,
        /// How long judging took, in microseconds.
        micros: u64,
        /// What it asked of contents.
        asked: Asked,
    },
    /// Notes that it could not be judged now: it is not promotable until it is.
    Defer {
        /// Why.
        why: String,
    },
    /// Notes that its tree was promoted.
    Promote,
}

/// What has happened to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was asked for.
    Requested(Request),
    /// It was captured.
    Captured(Checkpoint),
    /// Nothing is wrong with it.
    Validated {
        /// The rules it was judged by.
        rules: Digest,
        /// How long judging took, in microseconds.
        micros: u64,
        /// What it asked of contents.
        #[serde(default, skip_serializing_if = "Asked::is_nothing")]
        asked: Asked,
    },
    /// Something is wrong with it.
    Violated {
        /// The rules it was judged by.
        rules: Digest,
        /// Everything that is wrong.
        violations: Vec<Violation>,
        /// How long judging took, in microseconds.
        micros: u64,
        /// What it asked of contents.
        #[serde(default, skip_serializing_if = "Asked::is_nothing")]
        asked: Asked,
    },
    /// It could not be judged yet.
    Deferred {
        /// Why.
        why: String,
    },
    /// Its tree was promoted.
    Promoted,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Requested(_) => "io.palisade.checkpoint.requested.v1",
            Self::Captured(_) => "io.palisade.checkpoint.captured.v1",
            Self::Validated { .. } => "io.palisade.checkpoint.validated.v1",
            Self::Violated { .. } => "io.palisade.checkpoint.violated.v1",
            Self::Deferred { .. } => "io.palisade.checkpoint.deferred.v1",
            Self::Promoted => "io.palisade.checkpoint.promoted.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the checkpoint is {0}, which does not admit this")]
    NotNow(&'static str),
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Requested(_) => "requested",
            Self::Captured(_) => "captured",
            Self::Validated(_) => "validated",
            Self::Violated(..) => "violated",
            Self::Promoted(_) => "promoted",
        }
    }

    /// Returns the captured tree and its circumstances.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Absent | Self::Requested(_) => None,
            Self::Captured(it)
            | Self::Validated(it)
            | Self::Violated(it, _)
            | Self::Promoted(it) => Some(it),
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Request(request)) => Ok(vec![Event::Requested(request)]),
        (State::Absent | State::Requested(_), Command::Capture(checkpoint)) => {
            Ok(vec![Event::Captured(checkpoint)])
        }
        (
            State::Captured(_),
            Command::Judge {
                rules,
                violations,
                micros,
                asked,
            },
        ) => Ok(vec![if violations.is_empty() {
            Event::Validated {
                rules,
                micros,
                asked,
            }
        } else {
            Event::Violated {
                rules,
                violations,
                micros,
                asked,
            }
        }]),
        (State::Captured(_), Command::Defer { why }) => Ok(vec![Event::Deferred { why }]),
        (State::Validated(_), Command::Promote) => Ok(vec![Event::Promoted]),
        (
            State::Absent
            | State::Requested(_)
            | State::Captured(_)
            | State::Validated(_)
            | State::Violated(..)
            | State::Promoted(_),
            Command::Request(_)
            | Command::Capture(_)
            | Command::Judge { .. }
            | Command::Defer { .. }
            | Command::Promote,
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (State::Absent, Event::Requested(request)) => State::Requested(request.clone()),
        (_, Event::Captured(checkpoint)) => State::Captured(checkpoint.clone()),
        (State::Captured(it), Event::Validated { .. }) => State::Validated(it),
        (State::Captured(it), Event::Violated { violations, .. }) => {
            State::Violated(it, violations.clone())
        }
        (State::Validated(it), Event::Promoted) => State::Promoted(it),
        (
            state,
            Event::Requested(_)
            | Event::Validated { .. }
            | Event::Violated { .. }
            | Event::Deferred { .. }
            | Event::Promoted,
        ) => state,
    }
}

/// Names where a violated checkpoint's judgement is told to the agent, in one line each.
#[must_use]
pub fn told(violations: &[Violation]) -> Vec<String> {
    violations
        .iter()
        .map(|it| alloc::format!("{} [{}]: {}", it.path, it.rule.name(), it.detail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Rule;

    fn checkpoint() -> Checkpoint {
        let base = "0123456789012345678901234567890123456789".parse().unwrap();
        Checkpoint {
            work: WorkId::from_bits(1),
            session: None,
            trigger: Trigger::TurnEnd,
            parent: None,
            tree: Tree {
                base,
                manifest: None,
                digest: Digest::ZERO,
            },
            files: 0,
            bytes: 0,
            files_total: 0,
            bytes_total: 0,
            micros: 0,
            held_micros: 0,
        }
    }

    #[test]
    fn a_violated_checkpoint_can_never_be_promoted() {
        let violation = Violation {
            path: "x".into(),
            rule: Rule::PlanDenied,
            detail: "denied".into(),
        };
        let captured = State::Captured(checkpoint());
        let judge = Command::Judge {
            rules: Digest::ZERO,
            violations: vec![violation],
            micros: 1,
            asked: Asked::default(),
        };
        let violated = decide(&captured, judge)
            .unwrap()
            .iter()
            .fold(captured, evolve);
        assert_eq!(
            decide(&violated, Command::Promote),
            Err(Refusal::NotNow("violated"))
        );
    }

    #[test]
    fn an_unjudged_checkpoint_can_not_be_promoted() {
        let captured = State::Captured(checkpoint());
        let why = "the validator is shut off".into();
        let deferred = decide(&captured, Command::Defer { why }).unwrap();
        let captured = deferred.iter().fold(captured, evolve);
        assert_eq!(
            decide(&captured, Command::Promote),
            Err(Refusal::NotNow("captured"))
        );
    }
}
