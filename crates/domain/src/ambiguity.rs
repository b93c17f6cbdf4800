//! Ambiguities: questions that are filed, never guessed and never a reason to stop. The default is
//! held meanwhile; the operator answers them in one sitting; nothing expires into approval.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::principal;
use crate::{RunId, SessionId, WorkId};

pub mod report;

pub use report::Report;

/// How much a question blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Parks the work: nothing more is started for it until it is answered.
    P0,
    /// Blocks the promotion.
    P1,
    /// Blocks polish or hardening; told in the dossier.
    P2,
    /// Optional.
    P3,
}

impl Priority {
    /// Returns the priority with this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "P0" => Some(Self::P0),
            "P1" => Some(Self::P1),
            "P2" => Some(Self::P2),
            "P3" => Some(Self::P3),
            _ => None,
        }
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        }
    }
}

/// A filed question: immutable from its filing on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambiguity {
    /// The work it is about.
    pub work: WorkId,
    /// The run.
    pub run: RunId,
    /// The session that asked.
    pub session: SessionId,
    /// The step of the formula that asked.
    pub step: String,
    /// The role that asked.
    pub role: String,
    /// How much it blocks: proposed by the agent, raised by rule; at least P2 if the filing is
    /// malformed.
    pub priority: Priority,
    /// The six sections.
    pub report: Report,
    /// The question in a form that equal questions share.
    pub key: String,
    /// What was wrong with the filing; the raw text is then in the report's question.
    pub malformed: Vec<String>,
}

/// What the operator says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The held default is right.
    Default,
    /// One of the options, from 1.
    Option {
        /// Which.
        number: u32,
    },
    /// Something else.
    Text {
        /// What.
        text: String,
    },
}

/// What is known of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never filed.
    #[default]
    Absent,
    /// Filed; the default is held.
    Open(Ambiguity),
    /// Answered; whoever leaned on the default has not been told yet.
    Answered(Ambiguity, Answer),
    /// The answer is in the hands of the agents, or equals what they assumed.
    Applied(Ambiguity, Answer),
    /// Over.
    Closed(Ambiguity, Option<Answer>),
}

/// What one may ask of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Files it.
    File(Ambiguity),
    /// Answers it.
    Answer {
        /// The answer.
        answer: Answer,
        /// The human who gives it.
        by: String,
    },
    /// Notes that the answer has reached who leaned on the default.
    Apply,
    /// Ends it: the work is over.
    Close,
}

/// What has happened to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was filed.
    Filed(Ambiguity),
    /// It was answered.
    Answered {
        /// The answer.
        answer: Answer,
        /// By this human.
        by: String,
    },
    /// The answer has reached who leaned on the default.
    Applied,
    /// It is over.
    Closed,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Filed(_) => "io.palisade.ambiguity.filed.v1",
            Self::Answered { .. } => "io.palisade.ambiguity.answered.v1",
            Self::Applied => "io.palisade.ambiguity.applied.v1",
            Self::Closed => "io.palisade.ambiguity.closed.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the question is {0}, which does not admit this")]
    NotNow(&'static str),
    /// An option that was not offered.
    #[error("option {number} was not offered; there are {offered}")]
    NoSuchOption {
        /// What was chosen.
        number: u32,
        /// How many there are.
        offered: usize,
    },
    /// An answer of nothing.
    #[error("the answer is empty")]
    Empty,
    /// Only a human answers.
    #[error("`{by}` is no operator; only an operator answers a question")]
    NotOperator {
        /// Who tried.
        by: String,
    },
}

impl Ambiguity {
    /// Returns whether `answer` differs from the default that was held, so that what leaned on the
    /// default must be done again.
    #[must_use]
    pub fn overturns(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Default => false,
            Answer::Option { .. } | Answer::Text { .. } => {
                report::normalized(&self.told(answer))
                    != report::normalized(&self.report.default_held)
            }
        }
    }

    /// Returns the answer in words.
    #[must_use]
    pub fn told(&self, answer: &Answer) -> String {
        match answer {
            Answer::Default => self.report.default_held.clone(),
            Answer::Option { number } => usize::try_from(*number)
                .ok()
                .and_then(|it| it.checked_sub(1))
                .and_then(|it| self.report.options.get(it))
                .cloned()
                .unwrap_or_default(),
            Answer::Text { text } => text.clone(),
        }
    }
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Open(_) => "open",
            Self::Answered(..) => "answered",
            Self::Applied(..) => "applied",
            Self::Closed(..) => "closed",
        }
    }

    /// Returns the question, once filed.
    #[must_use]
    pub const fn ambiguity(&self) -> Option<&Ambiguity> {
        match self {
            Self::Absent => None,
            Self::Open(it) | Self::Answered(it, _) | Self::Applied(it, _) | Self::Closed(it, _) => {
                Some(it)
            }
        }
    }

    /// Returns the answer, once given.
    #[must_use]
    pub const fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered(_, answer) | Self::Applied(_, answer) => Some(answer),
            Self::Closed(_, answer) => answer.as_ref(),
            Self::Absent | Self::Open(_) => None,
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state or the form of the answer does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::File(ambiguity)) => Ok(vec![Event::Filed(ambiguity)]),
        (State::Open(_), Command::Answer { by, .. }) if !principal::is_operator(&by) => {
            Err(Refusal::NotOperator { by })
        }
        (State::Open(it), Command::Answer { answer, by }) => {
            let offered = it.report.options.len();
            match &answer {
                Answer::Option { number }
                    if usize::try_from(*number).is_ok_and(|it| it == 0 || it > offered) =>
                {
                    Err(Refusal::NoSuchOption {
                        number: *number,
                        offered,
                    })
                }
                Answer::Text { text } if text.trim().is_empty() => Err(Refusal::Empty),
                Answer::Default | Answer::Option { .. } | Answer::Text { .. } => {
                    Ok(vec![Event::Answered { answer, by }])
                }
            }
        }
        (State::Answered(..), Command::Apply) => Ok(vec![Event::Applied]),
        (State::Open(_) | State::Answered(..) | State::Applied(..), Command::Close) => {
            Ok(vec![Event::Closed])
        }
        (
            State::Absent
            | State::Open(_)
            | State::Answered(..)
            | State::Applied(..)
            | State::Closed(..),
            Command::File(_) | Command::Answer { .. } | Command::Apply | Command::Close,
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Filed(ambiguity)) => State::Open(ambiguity.clone()),
        (State::Open(it), Event::Answered { answer, .. }) => State::Answered(it, answer.clone()),
        (State::Answered(it, answer), Event::Applied) => State::Applied(it, answer),
        (State::Open(it), Event::Closed) => State::Closed(it, None),
        (State::Answered(it, answer) | State::Applied(it, answer), Event::Closed) => {
            State::Closed(it, Some(answer))
        }
        (state, Event::Answered { .. } | Event::Applied | Event::Closed) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filed() -> Ambiguity {
        Ambiguity {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            session: SessionId::from_bits(1),
            step: "build".into(),
            role: "builder".into(),
            priority: Priority::P1,
            report: Report {
                question: "Which region?".into(),
                why: "The name differs.".into(),
                options: vec!["eu".into(), "us".into()],
                recommended: "eu".into(),
                impact: "Latency.".into(),
                default_held: "eu".into(),
            },
            key: "which region?".into(),
            malformed: vec![],
        }
    }

    #[test]
    fn an_answer_that_equals_the_default_overturns_nothing() {
        assert!(!filed().overturns(&Answer::Default));
        assert!(!filed().overturns(&Answer::Option { number: 1 }));
        assert!(!filed().overturns(&Answer::Text {
            text: " EU ".into()
        }));
        assert!(filed().overturns(&Answer::Option { number: 2 }));
    }

    #[test]
    fn an_option_that_was_not_offered_is_refused() {
        let answer = |number| Command::Answer {
            answer: Answer::Option { number },
            by: "operator:ada".into(),
        };
        let open = State::Open(filed());
        for number in [0, 3] {
            let refusal = Refusal::NoSuchOption { number, offered: 2 };
            assert_eq!(decide(&open, answer(number)), Err(refusal));
        }
    }

    #[test]
    fn no_agent_answers() {
        for by in ["agent:scripted", "operator:"] {
            let (answer, by) = (Answer::Default, String::from(by));
            let refusal = Err(Refusal::NotOperator { by: by.clone() });
            let command = Command::Answer { answer, by };
            assert_eq!(decide(&State::Open(filed()), command), refusal);
        }
    }

    #[test]
    fn a_question_is_answered_once() {
        let command = Command::Answer {
            answer: Answer::Default,
            by: "operator:ada".into(),
        };
        let answered = State::Answered(filed(), Answer::Default);
        assert_eq!(decide(&answered, command), Err(Refusal::NotNow("answered")));
    }
}
