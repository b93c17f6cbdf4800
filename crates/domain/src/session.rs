//! Sessions: one agent process lifetime in one cell. Each ends with exactly one reason.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::agent::EndReason;
use crate::egress::Connection;
use crate::formula::Lane;
use crate::model::FellBack;
use crate::tree::Tree;
use crate::usage::ModelUsage;
use crate::{Digest, Millis, RunId, WorkId};

/// What a session is for: immutable from the request on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The work.
    pub work: WorkId,
    /// The run.
    pub run: RunId,
    /// The step of the formula.
    pub step: String,
    /// The role it plays.
    pub role: String,
    /// The lane: whether its workspace is writable.
    pub lane: Lane,
    /// The agent that acts.
    pub agent: String,
    /// The round of the work.
    pub round: u32,
    /// The fencing epoch: the number of sessions the work has started. A signal with another is
    /// refused.
    pub epoch: u64,
    /// The tree it starts on.
    pub tree: Tree,
    /// How long it may last; reserved in the budget.
    pub wall: Millis,
}

/// What is known of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never requested.
    #[default]
    Absent,
    /// Asked for; nothing runs.
    Requested(Session),
    /// The workspace is opened, the cell is being made.
    Starting(Session),
    /// The agent runs.
    Running(Session),
    /// The agent is to stand still; its cell is being paused.
    Pausing(Session, Pause),
    /// Every process of the cell stands still.
    Paused(Session, Pause),
    /// Over.
    Ended(Session, End),
}

/// Why a session stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who wants it: `operator:…`, or the part of the engine that does.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Writes to a session's layer that came close after each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Files and folders in the layer before.
    pub entries_before: u64,
    /// Files and folders in it now.
    pub entries: u64,
    /// The sum of its files' lengths before, in bytes.
    pub bytes_before: u64,
    /// The sum now, in bytes.
    pub bytes: u64,
}

/// A tool that an agent called, as its program tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its name, such as `Bash`.
    pub tool: String,
    /// What such a tool does.
    pub kind: ToolKind,
    /// What it was called for, in a line: a path, a command.
    pub subject: String,
    /// Why our judge did not permit it, as the agent was told; none if nothing was refused.
    pub refused: Option<String>,
}

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// Looks at files.
    Read,
    /// Writes files.
    Write,
    /// Runs a command.
    Run,
    /// Speaks to us.
    Signal,
    /// Anything else.
    Other,
}

impl ToolKind {
    /// Returns the stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Run => "run",
            Self::Signal => "signal",
            Self::Other => "other",
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The one reason.
    pub reason: EndReason,
    /// How long it lasted.
    pub wall: Millis,
    /// All output, in bytes.
    pub output_bytes: u64,
    /// Malformed signals.
    pub malformed: u32,
    /// Signals after the terminal one.
    pub late: u32,
}

/// What one may ask of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks for it.
    Request(Session),
    /// Notes that its workspace is open.
    Prepare {
        /// Whether the declared fallback for overlays is in use.
        fallback: bool,
        /// The artifact that holds the cell's specification, as canonical JSON.
        cell: Option<Digest>,
    },
    /// Notes that the agent runs.
    Start {
        /// The walls around it, as `name: state`.
        walls: Vec<String>,
    },
    /// Wants the agent to stand still.
    Pause(Pause),
    /// Notes that it does.
    Stand,
    /// Lets it go on.
    Resume {
        /// Who does.
        by: String,
    },
    /// Notes a sign of life.
    Progress {
        /// The epoch it carried.
        epoch: u64,
        /// What the agent says it does.
        text: String,
    },
    /// Notes something that was refused: a stale or malformed signal, a signal out of its role.
    Refuse {
        /// Why.
        why: String,
        /// The raw text, capped.
        raw: String,
    },
    /// Notes that the kernel refused something to the agent.
    Deny {
        /// What was tried.
        what: String,
        /// How often.
        count: u64,
    },
    /// Notes that the agent called a tool of its program.
    CallTool(ToolCall),
    /// Notes what the broker counted for a model, since that was last noted.
    Bill(ModelUsage),
    /// Notes that another model was asked than was wanted.
    FallBack(FellBack),
    /// Notes a connection that left the cell, or was to.
    Connect(Connection),
    /// Notes a batch of writes to its layer.
    Write(Batch),
    /// Closes it.
    End(End),
}

/// What has happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was asked for.
    Requested(Session),
    /// Its workspace is open.
    Prepared {
        /// Whether the declared fallback for overlays is in use.
        fallback: bool,
        /// The artifact that holds the cell's specification, as canonical JSON.
        cell: Option<Digest>,
    },
    /// The agent runs.
    Started {
        /// The walls around it.
        walls: Vec<String>,
    },
    /// The agent is to stand still.
    PauseRequested(Pause),
    /// Every process of the cell stands still.
    Paused,
    /// It goes on.
    Resumed {
        /// Who let it.
        by: String,
    },
    /// The agent showed a sign of life.
    Progressed {
        /// What it says it does.
        text: String,
    },
    /// Something the agent sent was refused.
    SignalRefused {
        /// Why.
        why: String,
        /// The raw text, capped.
        raw: String,
    },
    /// The kernel refused something to the agent.
    AttemptDenied {
        /// What was tried.
        what: String,
        /// How often since it was last noted.
        count: u64,
    },
    /// The agent called a tool of its program.
    ToolCalled(ToolCall),
    /// The broker counted something for a model, since that was last noted.
    ModelBilled(ModelUsage),
    /// Another model was asked than was wanted.
    ModelFellBack(FellBack),
    /// A connection left the cell, or was to.
    Connected(Connection),
    /// Its layer was written to.
    Wrote(Batch),
    /// It is over.
    Ended(End),
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Requested(_) => "io.palisade.session.requested.v1",
            Self::Prepared { .. } => "io.palisade.session.prepared.v1",
            Self::Started { .. } => "io.palisade.session.started.v1",
            Self::PauseRequested(_) => "io.palisade.session.pause_requested.v1",
            Self::Paused => "io.palisade.session.paused.v1",
            Self::Resumed { .. } => "io.palisade.session.resumed.v1",
            Self::Progressed { .. } => "io.palisade.session.progressed.v1",
            Self::SignalRefused { .. } => "io.palisade.session.signal_refused.v1",
            Self::AttemptDenied { .. } => "io.palisade.session.attempt_denied.v1",
            Self::ToolCalled(_) => "io.palisade.session.tool_called.v1",
            Self::ModelBilled(_) => "io.palisade.session.model_billed.v1",
            Self::ModelFellBack(_) => "io.palisade.session.model_fell_back.v1",
            Self::Connected(_) => "io.palisade.session.connected.v1",
            Self::Wrote(_) => "io.palisade.session.wrote.v1",
            Self::Ended(_) => "io.palisade.session.ended.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the session is {0}, which does not admit this")]
    NotNow(&'static str),
    /// The signal belongs to another session of the work.
    #[error("the signal carries epoch {given}, the session has {current}")]
    StaleEpoch {
        /// What it carried.
        given: u64,
        /// What it should carry.
        current: u64,
    },
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Requested(_) => "requested",
            Self::Starting(_) => "starting",
            Self::Running(_) => "running",
            Self::Pausing(..) => "pausing",
            Self::Paused(..) => "paused",
            Self::Ended(..) => "ended",
        }
    }

    /// Returns what it is for, once requested.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        match self {
            Self::Absent => None,
            Self::Requested(session)
            | Self::Starting(session)
            | Self::Running(session)
            | Self::Pausing(session, _)
            | Self::Paused(session, _)
            | Self::Ended(session, _) => Some(session),
        }
    }

    /// Returns how it ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        match self {
            Self::Ended(_, end) => Some(end),
            Self::Absent
            | Self::Requested(_)
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Pausing(..)
            | Self::Paused(..) => None,
        }
    }

    /// Returns why it stands still, or is to.
    #[must_use]
    pub const fn pause(&self) -> Option<&Pause> {
        match self {
            Self::Pausing(_, pause) | Self::Paused(_, pause) => Some(pause),
            Self::Absent
            | Self::Requested(_)
            | Self::Starting(_)
            | Self::Running(_)
            | Self::Ended(..) => None,
        }
    }

    /// Returns the session, once its agent runs and until it is over.
    #[must_use]
    pub const fn live(&self) -> Option<&Session> {
        match self {
            Self::Running(session) | Self::Pausing(session, _) | Self::Paused(session, _) => {
                Some(session)
            }
            Self::Absent | Self::Requested(_) | Self::Starting(_) | Self::Ended(..) => None,
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    let live = matches!(
        state,
        State::Requested(_)
            | State::Starting(_)
            | State::Running(_)
            | State::Pausing(..)
            | State::Paused(..)
    );
    match (state, command) {
        (State::Absent, Command::Request(session)) => Ok(vec![Event::Requested(session)]),
        (State::Requested(_), Command::Prepare { fallback, cell }) => {
            Ok(vec![Event::Prepared { fallback, cell }])
        }
        (State::Starting(_), Command::Start { walls }) => Ok(vec![Event::Started { walls }]),
        (State::Running(_), Command::Pause(pause)) => Ok(vec![Event::PauseRequested(pause)]),
        // Whoever asks first is answered; the others find what they wanted.
        (State::Pausing(..) | State::Paused(..), Command::Pause(_)) => Ok(vec![]),
        (State::Pausing(..), Command::Stand) => Ok(vec![Event::Paused]),
        (State::Pausing(..) | State::Paused(..), Command::Resume { by }) => {
            Ok(vec![Event::Resumed { by }])
        }
        // What was said before the cell stood still may be heard after.
        (
            State::Running(session) | State::Pausing(session, _) | State::Paused(session, _),
            Command::Progress { epoch, text },
        ) => {
            if epoch == session.epoch {
                Ok(vec![Event::Progressed { text }])
            } else {
                Err(Refusal::StaleEpoch {
                    given: epoch,
                    current: session.epoch,
                })
            }
        }
        (_, Command::Refuse { why, raw }) if live => Ok(vec![Event::SignalRefused { why, raw }]),
        (_, Command::Deny { what, count }) if live => {
            Ok(vec![Event::AttemptDenied { what, count }])
        }
        (_, Command::CallTool(call)) if live => Ok(vec![Event::ToolCalled(call)]),
        (_, Command::Bill(usage)) if live => Ok(vec![Event::ModelBilled(usage)]),
        (_, Command::FallBack(fell)) if live => Ok(vec![Event::ModelFellBack(fell)]),
        (_, Command::Connect(it)) if live => Ok(vec![Event::Connected(it)]),
        (_, Command::Write(batch)) if live => Ok(vec![Event::Wrote(batch)]),
        (_, Command::End(end)) if live => Ok(vec![Event::Ended(end)]),
        (
            State::Absent
            | State::Requested(_)
            | State::Starting(_)
            | State::Running(_)
            | State::Pausing(..)
            | State::Paused(..)
            | State::Ended(..),
            Command::Request(_)
            | Command::Prepare { .. }
            | Command::Start { .. }
            | Command::Pause(_)
            | Command::Stand
            | Command::Resume { .. }
            | Command::Progress { .. }
            | Command::Refuse { .. }
            | Command::Deny { .. }
            | Command::CallTool(_)
            | Command::Bill(_)
            | Command::FallBack(_)
            | Command::Connect(_)
            | Command::Write(_)
            | Command::End(_),
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Requested(session)) => State::Requested(session.clone()),
        (State::Requested(session), Event::Prepared { .. }) => State::Starting(session),
        (State::Starting(session), Event::Started { .. }) => State::Running(session),
        (State::Running(session), Event::PauseRequested(pause)) => {
            State::Pausing(session, pause.clone())
        }
        (State::Pausing(session, pause), Event::Paused) => State::Paused(session, pause),
        (State::Pausing(session, _) | State::Paused(session, _), Event::Resumed { .. }) => {
            State::Running(session)
        }
        (
            State::Requested(session)
            | State::Starting(session)
            | State::Running(session)
            | State::Pausing(session, _)
            | State::Paused(session, _),
            Event::Ended(end),
        ) => State::Ended(session, end.clone()),
        (
            state,
            Event::Prepared { .. }
            | Event::Started { .. }
            | Event::PauseRequested(_)
            | Event::Paused
            | Event::Resumed { .. }
            | Event::Progressed { .. }
            | Event::SignalRefused { .. }
            | Event::AttemptDenied { .. }
            | Event::ToolCalled(_)
            | Event::ModelBilled(_)
            | Event::ModelFellBack(_)
            | Event::Connected(_)
            | Event::Wrote(_)
            | Event::Ended(_),
        ) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn session() -> Session {
        let base = "0123456789012345678901234567890123456789".parse().unwrap();
        Session {
            work: WorkId::from_bits(1),
            run: RunId::from_bits(1),
            step: "build".into(),
            role: "builder".into(),
            lane: Lane::DryRun,
            agent: "scripted".into(),
            round: 1,
            epoch: 7,
            tree: Tree {
                base,
                manifest: None,
                digest: Digest::ZERO,
            },
            wall: Millis(1),
        }
    }

    fn end(reason: EndReason) -> End {
        End {
            reason,
            wall: Millis(1),
            output_bytes: 0,
            malformed: 0,
            late: 0,
        }
    }

    fn pause() -> Pause {
        Pause {
            by: "operator:ada".into(),
            why: "lunch".into(),
        }
    }

    fn after(mut state: State, commands: Vec<Command>) -> State {
        for command in commands {
            state = decide(&state, command).unwrap().iter().fold(state, evolve);
        }
        state
    }

    #[test]
    fn a_pause_is_wanted_then_kept_then_lifted() {
        let state = after(State::Running(session()), vec![Command::Pause(pause())]);
        assert_eq!(state, State::Pausing(session(), pause()));
        let state = after(state, vec![Command::Stand, Command::Pause(pause())]);
        assert_eq!(state, State::Paused(session(), pause()));
        let by = "operator:ada".to_string();
        let state = after(state, vec![Command::Resume { by }]);
        assert_eq!(state, State::Running(session()));
    }

    #[test]
    fn what_does_not_run_cannot_be_paused() {
        let refused = decide(&State::Starting(session()), Command::Pause(pause()));
        assert_eq!(refused, Err(Refusal::NotNow("starting")));
    }

    #[test]
    fn a_signal_of_an_old_epoch_is_refused() {
        let state = State::Running(session());
        let signal = Command::Progress {
            epoch: 6,
            text: "hi".into(),
        };
        assert_eq!(
            decide(&state, signal),
            Err(Refusal::StaleEpoch {
                given: 6,
                current: 7
            })
        );
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Request(session())),
            Just(Command::Prepare {
                fallback: false,
                cell: None
            }),
            Just(Command::Start { walls: vec![] }),
            Just(Command::Pause(pause())),
            Just(Command::Stand),
            Just(Command::Resume { by: String::new() }),
            (6..8_u64).prop_map(|epoch| Command::Progress {
                epoch,
                text: String::new()
            }),
            Just(Command::Refuse {
                why: String::new(),
                raw: String::new()
            }),
            Just(Command::Deny {
                what: String::new(),
                count: 1
            }),
            Just(Command::End(end(EndReason::Silent))),
            Just(Command::End(end(EndReason::Flood))),
        ]
    }

    proptest! {
        #[test]
        fn a_session_ends_exactly_once(commands in prop::collection::vec(any_command(), 0..40)) {
            let (mut state, mut ends) = (State::Absent, 0);
            for command in commands {
                if let Ok(events) = decide(&state, command) {
                    ends += events.iter().filter(|it| matches!(it, Event::Ended(_))).count();
                    state = events.iter().fold(state, evolve);
                }
            }
            prop_assert!(ends <= 1);
            prop_assert_eq!(ends == 1, state.end().is_some());
        }
    }
}
