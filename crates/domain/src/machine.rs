//! The machine that cells are made on: what the attack suite last found there, and which missing
//! walls the operator has accepted.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Timestamp};

/// The only machine there is in a log: the one it is kept on.
pub const THIS: &str = "this";

/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1_000;

/// What is known of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last run of the attack suite, whatever it found.
    pub trial: Option<Trial>,
    /// What the operator has accepted to be missing.
    pub downgrade: Option<Downgrade>,
}

/// A run of the attack suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The kernel's release.
    pub kernel: String,
    /// The version of Palisade.
    pub version: String,
    /// Everything about it, in the artifact store.
    pub record: Digest,
    /// How many attempts were made.
    pub attempts: u32,
    /// How many of them were not stopped, or could not be judged.
    pub failed: u32,
    /// When it ended.
    pub at: Timestamp,
}

/// Missing walls, and who accepts that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downgrade {
    /// The kernel's release; on another, it must be accepted anew.
    pub kernel: String,
    /// Which walls.
    pub walls: Vec<String>,
    /// Who accepts it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// What one may ask of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Notes a run of the attack suite.
    Record(Trial),
    /// Accepts missing walls.
    Accept(Downgrade),
    /// Accepts them no longer.
    Withdraw {
        /// Who says so.
        by: String,
    },
}

/// What has happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The attack suite was run.
    Attacked(Trial),
    /// Missing walls were accepted.
    DowngradeAccepted(Downgrade),
    /// They are accepted no longer.
    DowngradeWithdrawn {
        /// Who says so.
        by: String,
    },
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Attacked(_) => "io.palisade.machine.attacked.v1",
            Self::DowngradeAccepted(_) => "io.palisade.machine.downgrade_accepted.v1",
            Self::DowngradeWithdrawn { .. } => "io.palisade.machine.downgrade_withdrawn.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody would know why.
    #[error("a downgrade needs a reason of 1 to {REASON_BYTES_MAX} bytes")]
    Unreasoned,
    /// There is nothing to accept.
    #[error("no wall is missing, so there is nothing to accept")]
    Unneeded,
    /// There is nothing to withdraw.
    #[error("no downgrade is accepted")]
    Unaccepted,
}

/// As every screen shows it.
impl fmt::Display for Downgrade {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            walls, by, reason, ..
        } = self;
        let walls = walls.join(", ");
        write!(
            out,
            "DOWNGRADED: {walls} missing, accepted by {by}: {reason}"
        )
    }
}

impl Trial {
    /// Returns whether every attempt was stopped.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.attempts > 0 && self.failed == 0
    }

    /// Returns whether it says anything about this kernel and version.
    #[must_use]
    pub fn is_about(&self, kernel: &str, version: &str) -> bool {
        self.kernel == kernel && self.version == version
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// When there is no reason, or nothing to accept or withdraw.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::Record(trial) => Ok(vec![Event::Attacked(trial)]),
        Command::Accept(downgrade) => {
            let reason = downgrade.reason.trim();
            if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
                return Err(Refusal::Unreasoned);
            }
            if downgrade.walls.is_empty() {
                return Err(Refusal::Unneeded);
            }
            Ok(vec![Event::DowngradeAccepted(downgrade)])
        }
        Command::Withdraw { by } => match state.downgrade {
            None => Err(Refusal::Unaccepted),
            Some(_) => Ok(vec![Event::DowngradeWithdrawn { by }]),
        },
    }
}

/// Returns the state after an event.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match event {
        Event::Attacked(trial) => State {
            trial: Some(trial.clone()),
            ..state
        },
        Event::DowngradeAccepted(downgrade) => State {
            downgrade: Some(downgrade.clone()),
            ..state
        },
        Event::DowngradeWithdrawn { .. } => State {
            downgrade: None,
            ..state
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downgrade(reason: &str, walls: &[&str]) -> Downgrade {
        Downgrade {
            kernel: "6.1".into(),
            walls: walls.iter().map(|it| (*it).into()).collect(),
            by: "operator:ada".into(),
            reason: reason.into(),
            at: Timestamp(1),
        }
    }

    fn after(events: &[Event]) -> State {
        events.iter().fold(State::default(), evolve)
    }

    fn withdraw() -> Command {
        Command::Withdraw {
            by: "operator:ada".into(),
        }
    }

    #[test]
    fn a_downgrade_needs_a_reason_and_a_wall() {
        let nothing = State::default();
        let ask = |reason: &str, walls: &[&str]| {
            decide(&nothing, Command::Accept(downgrade(reason, walls)))
        };
        assert_eq!(ask("  ", &["landlock"]), Err(Refusal::Unreasoned));
        assert_eq!(ask("old kernel", &[]), Err(Refusal::Unneeded));
        assert_eq!(
            ask(&"x".repeat(1_001), &["landlock"]),
            Err(Refusal::Unreasoned)
        );
        let events = ask("old kernel", &["landlock"]).unwrap();
        assert_eq!(
            after(&events).downgrade,
            Some(downgrade("old kernel", &["landlock"]))
        );
    }

    #[test]
    fn what_is_accepted_holds_until_it_is_withdrawn() {
        assert_eq!(
            decide(&State::default(), withdraw()),
            Err(Refusal::Unaccepted)
        );
        let accepted = Event::DowngradeAccepted(downgrade("old kernel", &["landlock"]));
        let state = after(core::slice::from_ref(&accepted));
        let withdrawn = decide(&state, withdraw()).unwrap();
        assert_eq!(withdrawn.iter().fold(state, evolve).downgrade, None);
    }

    #[test]
    fn the_last_trial_counts_and_only_for_its_kernel_and_version() {
        let trial = |failed, kernel: &str| Trial {
            kernel: kernel.into(),
            version: "0.1.0".into(),
            record: Digest::ZERO,
            attempts: 100,
            failed,
            at: Timestamp(1),
        };
        let state = after(&[
            Event::Attacked(trial(0, "6.1")),
            Event::Attacked(trial(1, "6.2")),
        ]);
        let last = state.trial.unwrap();
        assert!(!last.passed() && last.is_about("6.2", "0.1.0"));
        assert!(!last.is_about("6.1", "0.1.0") && !last.is_about("6.2", "0.2.0"));
        assert!(trial(0, "6.1").passed());
        let none = Trial {
            attempts: 0,
            ..trial(0, "6.1")
        };
        assert!(!none.passed());
    }
}
