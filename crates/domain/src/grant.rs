//! Grants: an operator's standing approval of named actions, for a time and so many uses. The executor
//! counts for itself; what is kept here is which envelope to show it, and when not to any more.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::action::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use crate::{ActionId, Digest, Timestamp, principal};

/// The most actions of one grant.
pub const ACTIONS_MAX: usize = 32;

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Names of actions.
    pub actions: Vec<String>,
    /// Where the executor takes effect.
    pub target: String,
    /// As whom the executor is asked.
    pub requester: String,
    /// The executor's policy it was given under.
    pub policy: Digest,
    /// The signed envelope, in the artifact store.
    pub envelope: Digest,
    /// The human.
    pub by: String,
    /// From when.
    pub at: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// How often.
    pub uses_max: u32,
}

/// What is known of a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never given.
    #[default]
    Absent,
    /// Given, and used so often.
    Given(Grant, u32),
    /// Taken back.
    Revoked(Grant, u32),
}

/// What one may ask of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives it.
    Give(Grant),
    /// Uses it for an action.
    Use {
        /// Which.
        action: ActionId,
        /// Its name.
        name: String,
        /// The policy of the executor that would be asked.
        policy: Digest,
        /// When.
        now: Timestamp,
    },
    /// Takes it back.
    Revoke {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What has happened to a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was given.
    Given(Grant),
    /// It was used.
    Used {
        /// For which action.
        action: ActionId,
    },
    /// It was taken back.
    Revoked {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Given(_) => "io.palisade.grant.given.v1",
            Self::Used { .. } => "io.palisade.grant.used.v1",
            Self::Revoked { .. } => "io.palisade.grant.revoked.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the grant is {0}, which does not admit this")]
    NotNow(&'static str),
    /// It cannot be meant.
    #[error("the grant is not taken: {0}")]
    Unfit(&'static str),
    /// Only a human grants.
    #[error("`{by}` is no operator; only an operator grants")]
    NotOperator {
        /// Who tried.
        by: String,
    },
    /// Requester and approver are one.
    #[error("`{by}` would grant to their own name; requester and approver must be different")]
    SamePrincipal {
        /// Who tried.
        by: String,
    },
    /// It does not reach so far.
    #[error("the grant does not cover this: {0}")]
    NotCovered(&'static str),
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Given(..) => "given",
            Self::Revoked(..) => "revoked",
        }
    }

    /// Returns what was granted and how often it was used.
    #[must_use]
    pub const fn grant(&self) -> Option<(&Grant, u32)> {
        match self {
            Self::Absent => None,
            Self::Given(it, used) | Self::Revoked(it, used) => Some((it, *used)),
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state or the grant's own terms do not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Give(grant)) => {
            check(&grant)?;
            Ok(vec![Event::Given(grant)])
        }
        (
            State::Given(grant, used),
            Command::Use {
                action,
                name,
                policy,
                now,
            },
        ) => {
            covers(grant, *used, (&name, policy), now)?;
            Ok(vec![Event::Used { action }])
        }
        (State::Given(..), Command::Revoke { by, reason }) => {
            if !principal::is_operator(&by) {
                return Err(Refusal::NotOperator { by });
            }
            if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
                return Err(Refusal::Unfit("it needs a reason"));
            }
            Ok(vec![Event::Revoked { by, reason }])
        }
        (state, Command::Give(_) | Command::Use { .. } | Command::Revoke { .. }) => {
            Err(Refusal::NotNow(state.name()))
        }
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (State::Absent, Event::Given(grant)) => State::Given(grant.clone(), 0),
        (State::Given(grant, used), Event::Used { .. }) => {
            State::Given(grant, used.saturating_add(1))
        }
        (State::Given(grant, used), Event::Revoked { .. }) => State::Revoked(grant, used),
        (state, Event::Given(_) | Event::Used { .. } | Event::Revoked { .. }) => state,
    }
}

fn check(grant: &Grant) -> Result<(), Refusal> {
    if !principal::is_operator(&grant.by) {
        let by = grant.by.clone();
        return Err(Refusal::NotOperator { by });
    }
    if principal::is_same(&grant.by, &grant.requester) {
        let by = grant.by.clone();
        return Err(Refusal::SamePrincipal { by });
    }
    let named = |it: &String| !it.is_empty() && it.len() <= NAME_BYTES_MAX;
    let actions = &grant.actions;
    if actions.is_empty() || actions.len() > ACTIONS_MAX || !actions.iter().all(named) {
        return Err(Refusal::Unfit("it names no action, or too many"));
    }
    if grant.expires <= grant.at || grant.uses_max == 0 {
        return Err(Refusal::Unfit("it is for no time, or for no use"));
    }
    Ok(())
}

fn covers(
    grant: &Grant,
    used: u32,
    (name, policy): (&str, Digest),
    now: Timestamp,
) -> Result<(), Refusal> {
    let why = if !grant.actions.iter().any(|it| it == name) {
        "it is for other actions"
    } else if grant.policy != policy {
        "the executor's policy has changed since"
    } else if now >= grant.expires {
        "it has expired"
    } else if used >= grant.uses_max {
        "it is used up"
    } else {
        return Ok(());
    };
    Err(Refusal::NotCovered(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn grant() -> Grant {
        Grant {
            actions: vec!["run_tests".to_string()],
            target: "staging".to_string(),
            requester: "service:engine".to_string(),
            policy: Digest::ZERO,
            envelope: Digest::ZERO,
            by: "operator:ada".to_string(),
            at: Timestamp(10),
            expires: Timestamp(20),
            uses_max: 2,
        }
    }

    fn used(name: &str, policy: Digest, now: u64) -> Command {
        Command::Use {
            action: ActionId::from_bits(1),
            name: name.to_string(),
            policy,
            now: Timestamp(now),
        }
    }

    #[test]
    fn a_grant_is_used_as_often_as_it_says_and_no_longer() {
        let mut state = State::Absent;
        for command in [
            Command::Give(grant()),
            used("run_tests", Digest::ZERO, 11),
            used("run_tests", Digest::ZERO, 12),
        ] {
            let events = decide(&state, command).unwrap();
            state = events.iter().fold(state, evolve);
        }
        assert_eq!(state, State::Given(grant(), 2));
        assert_eq!(
            decide(&state, used("run_tests", Digest::ZERO, 13)),
            Err(Refusal::NotCovered("it is used up"))
        );
    }

    #[test]
    fn what_it_does_not_name_it_does_not_cover() {
        let state = State::Given(grant(), 0);
        for command in [
            used("deploy_staging", Digest::ZERO, 11),
            used("run_tests", Digest::from_bytes([1; 32]), 11),
            used("run_tests", Digest::ZERO, 20),
        ] {
            assert!(matches!(
                decide(&state, command),
                Err(Refusal::NotCovered(_))
            ));
        }
        let revoke = Command::Revoke {
            by: "operator:ada".to_string(),
            reason: "done".to_string(),
        };
        let events = decide(&state, revoke).unwrap();
        let state = events.iter().fold(state, evolve);
        assert_eq!(
            decide(&state, used("run_tests", Digest::ZERO, 11)),
            Err(Refusal::NotNow("revoked"))
        );
    }

    #[test]
    fn who_may_not_grant_does_not() {
        for (by, requester) in [
            ("agent:ada", "service:engine"),
            ("operator:engine", "service:engine"),
        ] {
            let refused = decide(
                &State::Absent,
                Command::Give(Grant {
                    by: by.to_string(),
                    requester: requester.to_string(),
                    ..grant()
                }),
            );
            assert!(matches!(
                refused,
                Err(Refusal::NotOperator { .. } | Refusal::SamePrincipal { .. })
            ));
        }
        for broken in [
            Grant {
                actions: vec![],
                ..grant()
            },
            Grant {
                uses_max: 0,
                ..grant()
            },
            Grant {
                expires: Timestamp(10),
                ..grant()
            },
        ] {
            assert!(matches!(
                decide(&State::Absent, Command::Give(broken)),
                Err(Refusal::Unfit(_))
            ));
        }
    }
}
