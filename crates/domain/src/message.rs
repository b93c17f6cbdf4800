//! Messages to an agent: structured, with a severity and a deadline. Critical ones need an
//! acknowledgement, are told again, and then go to the operator.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::severity::Severity;
use crate::{Millis, SessionId, Timestamp, WorkId};

/// How often a message is told before it goes to the operator.
pub const ATTEMPTS_MAX: u32 = 3;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Something to know.
    Notice,
    /// What was captured breaks rules.
    Violation,
    /// The session stood still, or is about to.
    Pause,
    /// The session goes on.
    Resume,
    /// The tree was put back.
    Rollback,
    /// The operator has answered a question.
    Answer,
    /// A review has found something.
    Review,
    /// A gate has spoken.
    GateResult,
}

impl Topic {
    /// Returns the literal used in messages and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Violation => "violation",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
            Self::Answer => "answer",
            Self::Review => "review",
            Self::GateResult => "gate_result",
        }
    }
}

/// One message: immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The work.
    pub work: WorkId,
    /// The session it is for.
    pub session: SessionId,
    /// What it is about.
    pub topic: Topic,
    /// How much it weighs.
    pub severity: Severity,
    /// The message.
    pub text: String,
    /// Who sends it.
    pub from: String,
    /// How long an acknowledgement may take, each time it is told; none is needed otherwise.
    pub acknowledge_within: Option<Millis>,
}

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never written.
    #[default]
    Absent,
    /// Not yet told.
    Queued(Message),
    /// Told.
    Delivered {
        /// The message.
        message: Message,
        /// How often.
        attempts: u32,
        /// When last.
        at: Timestamp,
    },
    /// The agent said that it has understood.
    Acknowledged(Message, String),
    /// The agent never said so; the operator must look.
    Escalated(Message),
    /// The session ended before it mattered.
    Expired(Message),
}

/// What one may ask of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes it.
    Queue(Message),
    /// Notes that it was told, once more.
    Deliver {
        /// When.
        at: Timestamp,
    },
    /// Notes that the agent has understood.
    Acknowledge {
        /// What it says it will do.
        text: String,
    },
    /// Hands it to the operator.
    Escalate,
    /// Lets it lapse with its session.
    Expire,
}

/// What has happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was written.
    Queued(Message),
    /// It was told.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// The agent has understood.
    Acknowledged {
        /// What it says it will do.
        text: String,
    },
    /// The operator must look.
    Escalated,
    /// The session ended before it mattered.
    Expired,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Queued(_) => "io.palisade.message.queued.v1",
            Self::Delivered { .. } => "io.palisade.message.delivered.v1",
            Self::Acknowledged { .. } => "io.palisade.message.acknowledged.v1",
            Self::Escalated => "io.palisade.message.escalated.v1",
            Self::Expired => "io.palisade.message.expired.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the message is {0}, which does not admit this")]
    NotNow(&'static str),
    /// Nothing to say.
    #[error("the message is empty")]
    Empty,
}

/// What is to be done about a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Tell it, for the first time or again.
    Deliver,
    /// Hand it to the operator.
    Escalate,
    /// Nothing.
    Nothing,
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Queued(_) => "queued",
            Self::Delivered { .. } => "delivered",
            Self::Acknowledged(..) => "acknowledged",
            Self::Escalated(_) => "escalated",
            Self::Expired(_) => "expired",
        }
    }

    /// Returns the message, once written.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        match self {
            Self::Absent => None,
            Self::Queued(message)
            | Self::Delivered { message, .. }
            | Self::Acknowledged(message, _)
            | Self::Escalated(message)
            | Self::Expired(message) => Some(message),
        }
    }

    /// Returns what is to be done at `now`. Each time it is told again, the agent has twice as long
    /// to answer; after the last time the operator is asked.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        match self {
            Self::Queued(_) => Next::Deliver,
            Self::Delivered {
                message,
                attempts,
                at,
            } => {
                let Some(within) = message.acknowledge_within else {
                    return Next::Nothing;
                };
                let doublings = attempts.saturating_sub(1).min(ATTEMPTS_MAX);
                let patience = within.0.saturating_mul(1 << doublings);
                if now.since(*at).0 < patience {
                    Next::Nothing
                } else if *attempts < ATTEMPTS_MAX {
                    Next::Deliver
                } else {
                    Next::Escalate
                }
            }
            Self::Absent | Self::Acknowledged(..) | Self::Escalated(_) | Self::Expired(_) => {
                Next::Nothing
            }
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    let waits = matches!(state, State::Queued(_) | State::Delivered { .. });
    match (state, command) {
        (State::Absent, Command::Queue(message)) if message.text.trim().is_empty() => {
            Err(Refusal::Empty)
        }
        (State::Absent, Command::Queue(message)) => Ok(vec![Event::Queued(message)]),
        (_, Command::Deliver { at }) if waits => Ok(vec![Event::Delivered { at }]),
        (State::Delivered { .. } | State::Escalated(_), Command::Acknowledge { text }) => {
            Ok(vec![Event::Acknowledged { text }])
        }
        // Saying it twice changes nothing.
        (State::Acknowledged(..), Command::Acknowledge { .. }) => Ok(vec![]),
        (_, Command::Escalate) if waits => Ok(vec![Event::Escalated]),
        (_, Command::Expire) if waits => Ok(vec![Event::Expired]),
        (
            State::Absent
            | State::Queued(_)
            | State::Delivered { .. }
            | State::Acknowledged(..)
            | State::Escalated(_)
            | State::Expired(_),
            Command::Queue(_)
            | Command::Deliver { .. }
            | Command::Acknowledge { .. }
            | Command::Escalate
            | Command::Expire,
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Queued(message)) => State::Queued(message.clone()),
        (State::Queued(message), Event::Delivered { at }) => State::Delivered {
            message,
            attempts: 1,
            at: *at,
        },
        (
            State::Delivered {
                message, attempts, ..
            },
            Event::Delivered { at },
        ) => State::Delivered {
            message,
            attempts: attempts.saturating_add(1),
            at: *at,
        },
        (
            State::Delivered { message, .. } | State::Escalated(message),
            Event::Acknowledged { text },
        ) => State::Acknowledged(message, text.clone()),
        (State::Queued(message) | State::Delivered { message, .. }, Event::Escalated) => {
            State::Escalated(message)
        }
        (State::Queued(message) | State::Delivered { message, .. }, Event::Expired) => {
            State::Expired(message)
        }
        (
            state,
            Event::Delivered { .. }
            | Event::Acknowledged { .. }
            | Event::Escalated
            | Event::Expired,
        ) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(within: Option<u64>) -> Message {
        Message {
            work: WorkId::from_bits(1),
            session: SessionId::from_bits(1),
            topic: Topic::Violation,
            severity: Severity::Critical,
            text: "src/.env is a secret".into(),
            from: "engine".into(),
            acknowledge_within: within.map(Millis),
        }
    }

    fn delivered(within: Option<u64>, times: u32, at: u64) -> State {
        (0..times).fold(State::Queued(message(within)), |state, _| {
            let deliver = Command::Deliver { at: Timestamp(at) };
            decide(&state, deliver).unwrap().iter().fold(state, evolve)
        })
    }

    #[test]
    fn what_needs_no_answer_is_told_once() {
        let state = delivered(None, 1, 0);
        assert_eq!(state.next(Timestamp(u64::MAX)), Next::Nothing);
    }

    #[test]
    fn what_is_not_answered_is_told_three_times_then_goes_to_the_operator() {
        let at = |state: &State, millis| state.next(Timestamp(millis));
        let once = delivered(Some(100), 1, 0);
        assert_eq!(
            (at(&once, 99), at(&once, 100)),
            (Next::Nothing, Next::Deliver)
        );
        let twice = delivered(Some(100), 2, 0);
        assert_eq!(
            (at(&twice, 199), at(&twice, 200)),
            (Next::Nothing, Next::Deliver)
        );
        let thrice = delivered(Some(100), 3, 0);
        assert_eq!(
            (at(&thrice, 399), at(&thrice, 400)),
            (Next::Nothing, Next::Escalate)
        );
    }

    #[test]
    fn an_empty_message_is_refused() {
        let empty = Message {
            text: " \n".into(),
            ..message(None)
        };
        assert_eq!(
            decide(&State::Absent, Command::Queue(empty)),
            Err(Refusal::Empty)
        );
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Queue(message(Some(1)))),
            (0..9_u64).prop_map(|at| Command::Deliver { at: Timestamp(at) }),
            Just(Command::Acknowledge { text: "ok".into() }),
            Just(Command::Escalate),
            Just(Command::Expire),
        ]
    }

    proptest! {
        #[test]
        fn an_acknowledged_message_stays_so(
            commands in prop::collection::vec(any_command(), 0..20)
        ) {
            let (mut state, mut understood) = (State::Absent, false);
            for command in commands {
                let Ok(events) = decide(&state, command) else { continue };
                state = events.iter().fold(state, evolve);
                understood |= matches!(state, State::Acknowledged(..));
                prop_assert_eq!(understood, matches!(state, State::Acknowledged(..)));
            }
        }
    }
}
