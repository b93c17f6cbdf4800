//! Breakers: a service that failed three times in a row is left alone for a while, then tried once.
//! While a breaker is open, what the service would have vouched for is not vouched for.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Millis, Timestamp};

/// Failures in a row that open a breaker.
pub const FAILURES_MAX: u32 = 3;

/// How long an open breaker stays shut off before one try, at first.
pub const REST: Millis = Millis::from_secs(30);

/// How long at most: each failed try doubles the rest.
pub const REST_MAX: Millis = Millis::from_mins(15);

/// What is known of a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The service works, but for so many failures in a row.
    Closed {
        /// How many.
        failures: u32,
    },
    /// The service is left alone.
    Open {
        /// Since when.
        since: Timestamp,
        /// For how long.
        rest: Millis,
        /// The last failure.
        why: String,
    },
    /// One try is under way.
    HalfOpen {
        /// How long it had rested.
        rest: Millis,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// What one may ask of a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Notes that the service worked.
    Succeed,
    /// Notes that it did not.
    Fail {
        /// Why.
        why: String,
        /// When.
        now: Timestamp,
    },
    /// Asks for a try.
    Try {
        /// When.
        now: Timestamp,
    },
    /// Closes it by hand.
    Reset {
        /// Who does.
        by: String,
    },
}

/// What has happened to a breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The service failed.
    Failed {
        /// Why.
        why: String,
    },
    /// It failed once too often, and is left alone.
    Opened {
        /// Why.
        why: String,
        /// Since when.
        since: Timestamp,
        /// For how long.
        rest: Millis,
    },
    /// One try is under way.
    HalfOpened,
    /// The service works again.
    Closed {
        /// Who closed it by hand, if anybody did.
        by: Option<String>,
    },
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "io.palisade.breaker.failed.v1",
            Self::Opened { .. } => "io.palisade.breaker.opened.v1",
            Self::HalfOpened => "io.palisade.breaker.half_opened.v1",
            Self::Closed { .. } => "io.palisade.breaker.closed.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The service is left alone.
    #[error("the breaker is open for another {left}, after: {why}")]
    Open {
        /// For how long still.
        left: Millis,
        /// The last failure.
        why: String,
    },
    /// Somebody else tries.
    #[error("somebody else is trying whether it works again")]
    Trying,
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Returns whether the service can be relied on.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the service is not to be used now.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    Ok(match (state, command) {
        (State::Closed { failures: 0 }, Command::Succeed | Command::Reset { .. })
        // A success that was under way when it opened proves nothing about now.
        | (State::Open { .. }, Command::Succeed)
        | (State::Closed { .. }, Command::Try { .. }) => vec![],
        (State::Closed { .. } | State::HalfOpen { .. }, Command::Succeed) => {
            vec![Event::Closed { by: None }]
        }
        (_, Command::Reset { by }) => vec![Event::Closed { by: Some(by) }],
        (State::Closed { failures }, Command::Fail { why, now }) => {
            if failures.saturating_add(1) < FAILURES_MAX {
                vec![Event::Failed { why }]
            } else {
                vec![Event::Opened {
                    why,
                    since: now,
                    rest: REST,
                }]
            }
        }
        (State::HalfOpen { rest }, Command::Fail { why, now }) => vec![Event::Opened {
            why,
            since: now,
            rest: Millis(rest.0.saturating_mul(2)).min(REST_MAX),
        }],
        (State::Open { .. }, Command::Fail { why, .. }) => vec![Event::Failed { why }],
        (State::Open { since, rest, why }, Command::Try { now }) => {
            let left = Millis(rest.0.saturating_sub(now.since(*since).0));
            // A clock that was set back must not keep it shut for ever.
            if left == Millis(0) || now < *since {
                vec![Event::HalfOpened]
            } else {
                let why = why.clone();
                return Err(Refusal::Open { left, why });
            }
        }
        (State::HalfOpen { .. }, Command::Try { .. }) => return Err(Refusal::Trying),
    })
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (State::Closed { failures }, Event::Failed { .. }) => State::Closed {
            failures: failures.saturating_add(1),
        },
        (State::Open { since, rest, .. }, Event::Failed { why }) => State::Open {
            since,
            rest,
            why: why.clone(),
        },
        (state @ State::HalfOpen { .. }, Event::Failed { .. }) => state,
        (_, Event::Opened { why, since, rest }) => State::Open {
            since: *since,
            rest: *rest,
            why: why.clone(),
        },
        (State::Open { rest, .. }, Event::HalfOpened) => State::HalfOpen { rest },
        (state @ (State::Closed { .. } | State::HalfOpen { .. }), Event::HalfOpened) => state,
        (_, Event::Closed { .. }) => State::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(now: u64) -> Command {
        Command::Fail {
            why: "disk".into(),
            now: Timestamp(now),
        }
    }

    fn after(commands: Vec<Command>) -> State {
        commands.into_iter().fold(State::default(), |state, it| {
            decide(&state, it).unwrap().iter().fold(state, evolve)
        })
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_between_does_not() {
        assert!(!after(vec![fail(1), fail(2), fail(3)]).is_closed());
        let mended = after(vec![fail(1), fail(2), Command::Succeed, fail(3), fail(4)]);
        assert_eq!(mended, State::Closed { failures: 2 });
    }

    #[test]
    fn an_open_one_is_tried_once_after_its_rest() {
        let open = after(vec![fail(0), fail(0), fail(0)]);
        let early = Command::Try {
            now: Timestamp(REST.0 - 1),
        };
        assert!(matches!(decide(&open, early), Err(Refusal::Open { .. })));
        let late = Command::Try {
            now: Timestamp(REST.0),
        };
        let half = decide(&open, late.clone())
            .unwrap()
            .iter()
            .fold(open, evolve);
        assert_eq!(decide(&half, late), Err(Refusal::Trying));
        let closed = decide(&half, Command::Succeed).unwrap();
        assert_eq!(closed.iter().fold(half, evolve), State::default());
    }

    #[test]
    fn each_failed_try_doubles_the_rest_up_to_a_bound() {
        let mut state = after(vec![fail(0), fail(0), fail(0)]);
        let mut rests = Vec::new();
        for _ in 0..8 {
            let State::Open { since, rest, .. } = &state else {
                panic!("{state:?}")
            };
            rests.push(rest.0 / 1_000);
            let now = since.after(*rest);
            for command in [Command::Try { now }, fail(now.0)] {
                state = decide(&state, command).unwrap().iter().fold(state, evolve);
            }
        }
        assert_eq!(rests, [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_clock_set_back_does_not_keep_it_shut() {
        let open = after(vec![fail(1_000_000), fail(1_000_000), fail(1_000_000)]);
        let tried = decide(&open, Command::Try { now: Timestamp(5) });
        assert_eq!(tried, Ok(vec![Event::HalfOpened]));
    }
}
