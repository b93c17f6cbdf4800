//! Findings: what a review holds against a tree. Resolved only by a re-check of a new tree in
//! another session, or by the operator; never by who reported or who built.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::principal;
use crate::{Digest, RunId, SessionId, WorkId};

/// A reported finding: immutable from its report on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The work.
    pub work: WorkId,
    /// The run.
    pub run: RunId,
    /// The session that reported it.
    pub session: SessionId,
    /// The tree it was found in.
    pub tree: Digest,
    /// The file, relative to the root.
    pub file: String,
    /// The line, from 1; 0 for the whole file.
    pub line: u32,
    /// The rule that was broken, in a word.
    pub rule: String,
    /// What is wrong and what would mend it.
    pub text: String,
}

/// Who resolved a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Resolver {
    /// A later review of another tree, which no longer found it.
    Recheck {
        /// That session.
        session: SessionId,
        /// That tree.
        tree: Digest,
    },
    /// The operator.
    Operator {
        /// Who.
        name: String,
        /// Why.
        reason: String,
    },
}

/// What is known of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never reported.
    #[default]
    Absent,
    /// To be mended. Holds the session and tree that saw it last.
    Open(Finding, SessionId, Digest),
    /// Mended, or found to be none.
    Resolved(Finding, Resolver),
}

/// What one may ask of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reports it.
    Report(Finding),
    /// Notes that a later review saw it again.
    Confirm {
        /// That session.
        session: SessionId,
        /// The tree it saw.
        tree: Digest,
    },
    /// Resolves it.
    Resolve(Resolver),
}

/// What has happened to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was reported.
    Reported(Finding),
    /// A later review saw it again.
    Confirmed {
        /// That session.
        session: SessionId,
        /// The tree it saw.
        tree: Digest,
    },
    /// It was resolved.
    Resolved(Resolver),
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Reported(_) => "io.palisade.finding.reported.v1",
            Self::Confirmed { .. } => "io.palisade.finding.confirmed.v1",
            Self::Resolved(_) => "io.palisade.finding.resolved.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the finding is {0}, which does not admit this")]
    NotNow(&'static str),
    /// Who reported it may not resolve it.
    #[error("a finding is not resolved by the session that reported it")]
    OwnFinding,
    /// Only a human resolves by a word.
    #[error("`{name}` is no operator; only an operator, or a re-check, resolves a finding")]
    NotOperator {
        /// Who tried.
        name: String,
    },
    /// Looking at the same tree again proves nothing.
    #[error("a finding is resolved only on another tree than it was found in")]
    SameTree,
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Open(..) => "open",
            Self::Resolved(..) => "resolved",
        }
    }

    /// Returns the finding, once reported.
    #[must_use]
    pub const fn finding(&self) -> Option<&Finding> {
        match self {
            Self::Absent => None,
            Self::Open(it, ..) | Self::Resolved(it, _) => Some(it),
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state or the resolver does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Report(finding)) => Ok(vec![Event::Reported(finding)]),
        (State::Open(..), Command::Confirm { session, tree }) => {
            Ok(vec![Event::Confirmed { session, tree }])
        }
        (State::Open(it, last, seen), Command::Resolve(by)) => {
            match &by {
                Resolver::Recheck { session, .. } if *session == it.session || session == last => {
                    return Err(Refusal::OwnFinding);
                }
                Resolver::Recheck { tree, .. } if *tree == it.tree || tree == seen => {
                    return Err(Refusal::SameTree);
                }
                Resolver::Operator { name, .. } if !principal::is_operator(name) => {
                    return Err(Refusal::NotOperator { name: name.clone() });
                }
                Resolver::Recheck { .. } | Resolver::Operator { .. } => {}
            }
            Ok(vec![Event::Resolved(by)])
        }
        (
            State::Absent | State::Open(..) | State::Resolved(..),
            Command::Report(_) | Command::Confirm { .. } | Command::Resolve(_),
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Reported(it)) => State::Open(it.clone(), it.session, it.tree),
        (State::Open(it, ..), Event::Confirmed { session, tree }) => {
            State::Open(it, *session, *tree)
        }
        (State::Open(it, ..), Event::Resolved(by)) => State::Resolved(it, by.clone()),
        (state, Event::Confirmed { .. } | Event::Resolved(_)) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            session: SessionId::from_bits(1),
            tree: Digest::from_bytes([1; 32]),
            file: "src/lib.rs".into(),
            line: 3,
            rule: "off-by-one".into(),
            text: "use ..=".into(),
        }
    }

    fn resolve(session: u128, tree: u8) -> Result<Vec<Event>, Refusal> {
        let open = evolve(State::Absent, &Event::Reported(finding()));
        let (session, tree) = (
            SessionId::from_bits(session),
            Digest::from_bytes([tree; 32]),
        );
        decide(&open, Command::Resolve(Resolver::Recheck { session, tree }))
    }

    #[test]
    fn nobody_resolves_a_finding_of_their_own() {
        assert_eq!(resolve(1, 2), Err(Refusal::OwnFinding));
    }

    #[test]
    fn a_second_look_at_the_same_tree_resolves_nothing() {
        assert_eq!(resolve(2, 1), Err(Refusal::SameTree));
    }

    #[test]
    fn no_agent_resolves_by_a_word() {
        let open = evolve(State::Absent, &Event::Reported(finding()));
        let name = String::from("agent:scripted");
        let by = Resolver::Operator {
            name: name.clone(),
            reason: String::new(),
        };
        let resolved = decide(&open, Command::Resolve(by));
        assert_eq!(resolved, Err(Refusal::NotOperator { name }));
    }

    #[test]
    fn another_session_on_another_tree_resolves_it() {
        assert!(resolve(2, 2).is_ok());
    }

    #[test]
    fn a_confirmed_finding_needs_yet_another_session_and_tree() {
        let (session, tree) = (SessionId::from_bits(2), Digest::from_bytes([2; 32]));
        let events = [
            Event::Reported(finding()),
            Event::Confirmed { session, tree },
        ];
        let open = events.iter().fold(State::Absent, evolve);
        let by = Resolver::Recheck {
            session,
            tree: Digest::from_bytes([3; 32]),
        };
        assert_eq!(
            decide(&open, Command::Resolve(by)),
            Err(Refusal::OwnFinding)
        );
    }
}
