//! Drivers: how an agent program is run in its cell and understood.

use std::path::PathBuf;
use std::time::Duration;

use domain::SessionId;
use domain::agent::{EndReason, Signal};
use domain::model::Model;
use domain::session::ToolCall;

use crate::cells::{Cell, CellSpec};

/// One session to drive.
#[derive(Clone, Debug)]
pub struct Task {
    /// The session.
    pub session: SessionId,
    /// Its fencing epoch: signals with another are refused.
    pub epoch: u64,
    /// The agent's role, such as `builder`.
    pub role: String,
    /// The round of the work: 1, and one more each time it comes back.
    pub round: u32,
    /// The prompt: also in the brief, and on standard input.
    pub prompt: String,
    /// The session's brief on the host: the folder the cell sees read-only at `/brief`. The engine
    /// has written `prompt.md`, `context.json` and more; a driver may add files before launching.
    pub brief: PathBuf,
    /// The session's drop on the host: the folder the cell sees writable at `/.agent`.
    pub drop: PathBuf,
    /// The cell, with brief and drop in their places; complete once the driver has furnished it.
    pub cell: CellSpec,
    /// The broker's socket for this session alone on the host, if it may speak to a model. The
    /// session's identity there is this socket: whoever reaches it acts in the session's name and
    /// budget.
    pub model_socket: Option<PathBuf>,
    /// The model that it is to ask, unless its agent was named with one.
    pub model: Option<Model>,
    /// Whether package registries can be reached through the same socket.
    pub may_fetch_packages: bool,
    /// Deadlines and caps.
    pub limits: Limits,
}

/// Deadlines and caps of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole session.
    pub wall: Duration,
    /// From the start to the first byte of output or signal.
    pub first_word: Duration,
    /// Without a byte of output or a signal.
    pub idle: Duration,
    /// Without a signal or a change of its tree, whatever it prints meanwhile.
    pub stall: Duration,
    /// From a terminal signal to the end of the process: then it is killed.
    pub grace: Duration,
    /// Output kept for the log, in bytes; what is over is counted, not kept.
    pub output_bytes_kept: u64,
    /// Output after which the session is ended as a flood, in bytes.
    pub output_bytes_max: u64,
    /// One signal, in bytes.
    pub signal_bytes_max: usize,
    /// Signals accepted in one session.
    pub signals_max: u32,
    /// Malformed signals after which the session is ended as garbage.
    pub malformed_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(1_800),
            first_word: Duration::from_secs(180),
            idle: Duration::from_secs(300),
            stall: Duration::from_secs(900),
            grace: Duration::from_secs(5),
            output_bytes_kept: 1 << 20,
            output_bytes_max: 64 << 20,
            signal_bytes_max: 64 << 10,
            signals_max: 2_000,
            malformed_max: 20,
        }
    }
}

/// Which stream a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What a driver reports while a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The program runs in its cell.
    Started,
    /// A piece of output, within the kept cap.
    Output(Stream, Vec<u8>),
    /// A well-formed signal, with the epoch it carried.
    Signal(u64, Signal),
    /// A signal that could not be understood: why, and its raw text (capped).
    Malformed(String, String),
    /// A well-formed signal after the terminal one: recorded, never acted upon.
    Late(Signal),
    /// A tool that the agent called, as its program tells.
    Called(ToolCall),
}

/// What the engine answers to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// End the session now as stopped.
    Stop,
}

/// The listener of a session. Called from the driver's threads, one call at a time.
pub trait Listener: Send + Sync {
    /// Takes a report.
    fn report(&self, report: Report) -> Verdict;

    /// Asked at least every 200 ms while the session runs.
    fn poll(&self) -> Verdict;

    /// Hands over the running cell's control, once, right after the start.
    fn cell(&self, cell: std::sync::Arc<dyn Cell>);
}

/// How a session went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The one reason for its end.
    pub reason: EndReason,
    /// All output, in bytes, kept or not.
    pub output_bytes: u64,
    /// Malformed signals.
    pub malformed: u32,
    /// Signals after the terminal one.
    pub late: u32,
}

/// What a driver promises; shown by `palisade agents`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent promises, shown as a row of yes and no"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// Runs in a cell and is held to signals.
    pub governed: bool,
    /// For what it asks leave of our judge, who answers by role, lane and plan.
    pub leave: Leave,
    /// Is asked to stop by its own protocol before its cell is ended.
    pub asked_to_stop: bool,
    /// Understands pause and acknowledges it by protocol (all cells can be paused by the kernel).
    pub speaks_pause: bool,
    /// Takes a follow-up prompt in the same session.
    pub follow_up: bool,
    /// Reports tokens and money.
    pub reports_usage: bool,
}

impl Guarantees {
    /// Returns what is promised in few words, such as `governed, no pause protocol`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let held = match (self.governed, self.leave) {
            (false, _) => "nothing",
            (true, Leave::Always) => "governed",
            (true, Leave::WhereItAsks) => "governed where it asks",
            (true, Leave::Never) => "walls only",
        };
        let pause = if self.speaks_pause {
            ""
        } else {
            ", no pause protocol"
        };
        format!("{held}{pause}")
    }
}

/// For what a program asks leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// For whatever it would ask a person, and nothing in a repository can change that.
    Always,
    /// For what its maker, or the repository's own settings, let it ask.
    WhereItAsks,
    /// For nothing: the cell's walls alone hold it.
    Never,
}

impl Leave {
    /// Returns the printed name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::WhereItAsks => "where it asks",
            Self::Never => "never",
        }
    }
}

/// The program that a driver runs, as this machine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is, or why it is not and how to install it.
    pub found: Result<PathBuf, String>,
    /// The versions with which the driver was tried.
    pub tried: String,
}

/// A driver of one kind of agent.
pub trait Driver: Send + Sync {
    /// Returns the name in `--agent NAME` and in the log.
    fn name(&self) -> String;

    /// Returns what this driver promises.
    fn guarantees(&self) -> Guarantees;

    /// Returns the program it is made for, looked up and not run; none for a driver of any program.
    fn program(&self) -> Option<Program> {
        None
    }

    /// Returns whether the program needs a language model, and so a socket at the broker.
    fn needs_model(&self) -> bool {
        false
    }

    /// Returns whether the program can speak to a provider of models, by its name.
    fn speaks_to(&self, provider: &str) -> bool {
        let _any = provider;
        true
    }

    /// Completes a task's cell with all that this driver adds: the program, its arguments, variables
    /// and mounts. A task is furnished once, and what comes of it is what runs.
    ///
    /// # Errors
    /// With the reason why the program cannot be run in a cell.
    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        let _nothing_to_add = task;
        Ok(())
    }

    /// Runs one session from launch to end; furnishes a task whose cell has no program yet. When this returns, every process of the cell is gone.
    /// A session always ends with a reason; failures of the launch are one.
    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome;
}
