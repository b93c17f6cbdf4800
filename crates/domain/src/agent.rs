//! What an agent can say, and how its session can end: the words between drivers and rules.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::MessageId;

/// One typed signal of an agent. Anything else it prints is output, never an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// Still at work.
    Progress {
        /// What it is doing.
        text: String,
    },
    /// A question for the operator; the agent goes on with the default it names.
    Ask {
        /// The report as filed: six sections of Markdown, see [`crate::ambiguity::report`].
        report: String,
        /// The priority it proposes (`P0` to `P3`).
        priority: String,
    },
    /// A review finding.
    Finding {
        /// The file it is about, relative to the root.
        file: String,
        /// The line, from 1; 0 for the whole file.
        line: u32,
        /// The rule that was broken, in a word.
        rule: String,
        /// What is wrong and what would mend it.
        text: String,
    },
    /// Something that the agent wants done beyond its tree; a human decides.
    ProposeAction {
        /// The action's name.
        action: String,
        /// Its arguments, as a JSON object.
        arguments: String,
        /// Why.
        why: String,
    },
    /// The work of this session is finished.
    Done {
        /// What was done, for the dossier.
        summary: String,
    },
    /// The work cannot be done, and why: no failure, but an answer.
    Refuse {
        /// The closed list of reasons.
        reason: RefusalReason,
        /// The details.
        detail: String,
    },
    /// A message was read and understood.
    Acknowledge {
        /// Which message.
        message: MessageId,
        /// What the agent will do about it.
        text: String,
    },
    /// The agent gave up.
    Fail {
        /// Why.
        reason: String,
    },
}

/// Why an agent turns a work down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// Something it depends on is missing.
    UnmetDependency,
    /// More than one session can do.
    TooLarge,
    /// Nothing is left to do.
    AlreadyDone,
}

/// Why a session ended. Every session ends with exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum EndReason {
    /// The agent signalled `done`.
    Done {
        /// Its summary.
        summary: String,
    },
    /// The agent signalled `refuse`.
    Refused {
        /// Which of the reasons.
        refusal: RefusalReason,
        /// The details.
        detail: String,
    },
    /// The agent signalled `fail`.
    Failed {
        /// Why.
        detail: String,
    },
    /// The process ended without a terminal signal.
    NoSignal {
        /// Its exit code, if it exited by itself.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        killed_by: Option<i32>,
    },
    /// Nothing at all was heard by the deadline for the first word.
    NeverSpoke,
    /// Nothing was heard for the idle deadline.
    Silent,
    /// It went on printing, and neither changed its tree nor signalled anything.
    Stalled {
        /// For how long, and what was heard of it last.
        detail: String,
    },
    /// The wall-clock limit was reached.
    WallClock,
    /// More output than the cap.
    Flood,
    /// More malformed signals than the cap.
    Garbage,
    /// The operator stopped it.
    Stopped,
    /// The engine died while it ran.
    Interrupted,
    /// What it wrote outgrew its disk quota.
    OverQuota {
        /// How much there was, and how much there may be.
        detail: String,
    },
    /// What models may cost it is used up.
    OverBudget {
        /// Which budget, and how far.
        detail: String,
    },
    /// The tree is put back to a checkpoint; another session goes on from there.
    RolledBack {
        /// Why.
        detail: String,
    },
    /// The operator was needed, and did not come in time.
    Escalated {
        /// What for.
        detail: String,
    },
    /// Something that must never reach a cell was seen coming out of it.
    Incident {
        /// What was seen and where, without the thing itself.
        detail: String,
    },
    /// The cell could not be made, or the program not started.
    LaunchFailed {
        /// What failed and how to mend it.
        detail: String,
    },
}

impl EndReason {
    /// Returns the agent's summary, if it signalled `done`.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        match self {
            Self::Done { summary } => Some(summary),
            Self::Refused { .. }
            | Self::Failed { .. }
            | Self::NoSignal { .. }
            | Self::NeverSpoke
            | Self::Silent
            | Self::Stalled { .. }
            | Self::WallClock
            | Self::Flood
            | Self::Garbage
            | Self::Stopped
            | Self::Interrupted
            | Self::OverQuota { .. }
            | Self::OverBudget { .. }
            | Self::RolledBack { .. }
            | Self::Escalated { .. }
            | Self::Incident { .. }
            | Self::LaunchFailed { .. } => None,
        }
    }

    /// Returns the literal used in tables and messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::NoSignal { .. } => "no_signal",
            Self::NeverSpoke => "never_spoke",
            Self::Silent => "silent",
            Self::Stalled { .. } => "stalled",
            Self::WallClock => "wall_clock",
            Self::Flood => "flood",
            Self::Garbage => "garbage",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::OverQuota { .. } => "over_quota",
            Self::OverBudget { .. } => "over_budget",
            Self::RolledBack { .. } => "rolled_back",
            Self::Escalated { .. } => "escalated",
            Self::Incident { .. } => "incident",
            Self::LaunchFailed { .. } => "launch_failed",
        }
    }
}
