//! Stories: what the scripted agent does, turn by turn, in TOML.
//!
//! ```toml
//! [[turn]]                      # one session's part
//! role = "builder"              # optional; any role without it
//! round = 1                     # optional; any round without it
//! when = "fresh"                # optional: fresh, findings, violations, answers
//! steps = [
//!   { progress = "writing the parser" },
//!   { write = "src/lib.rs", text = "pub fn parse() {}\n" },
//!   { run = ["cargo", "test"], expect = 0 },
//!   { done = "the parser parses" },
//! ]
//! ```
//!
//! The turn that is played is the most specific that fits (each of `role`, `round` and `when` that
//! is named counts one), and of several the last. `when` looks at the brief's `context.json`:
//! `findings`, `violations` and `answers` want that list to hold something, `fresh` wants all
//! three empty. When no turn fits, the session fails and says so.
//!
//! A step is one verb with its options. Paths are relative to the working directory.
//!
//! | verb | options | what happens |
//! |---|---|---|
//! | `write = path` | `text`, `executable = false` | the file holds the text; folders are made |
//! | `append = path` | `text` | the text is added at the end |
//! | `replace = path` | `old`, `new` | the first `old` becomes `new`; without one the step fails |
//! | `delete = path` | | the file or folder is gone |
//! | `rename = path` | `to` | |
//! | `symlink = path` | `to` | a link to `to` |
//! | `fifo = path` | | a named pipe |
//! | `sparse = path` | `bytes` | a file of that size without content |
//! | `require = path` | `contains = ""` | the step fails unless the file holds the text |
//! | `wait_for = path` | | goes on when the path exists |
//! | `run = [program, …]` | `expect = 0` | the step fails with another exit code |
//! | `print = text` | `stream = "out"` (or `"err"`) | a line of output |
//! | `flood = bytes` | `stream` | that much output |
//! | `progress = text` | `epoch` | signal |
//! | `ask = { question, why, options = [two or more], recommend, impact, default, priority = "P2" }` | `epoch` | signal |
//! | `finding = { file, line = 0, rule, text }` | `epoch` | signal |
//! | `acknowledge = text` | | waits for a message that wants it, and acknowledges all of them |
//! | `done = summary` | `epoch` | signal |
//! | `refuse = reason` | `detail = ""`, `epoch` | signal; `unmet_dependency`, `too_large`, `already_done` |
//! | `fail = reason` | `epoch` | signal |
//! | `raw = line` | | a line in the signal pipe, whatever it is |
//! | `garbage = count` | | that many lines that are no signals |
//! | `sleep_ms = count` | | a pause, for show |
//! | `hang = true` | | nothing, for ever |
//! | `background = true` | | a child in a session of its own that never ends |
//! | `exit = code` | | ends at once |
//! | `kill_self = signal` | | ends by a signal |
//!
//! A signal ends nothing by itself: the steps after `done` are played too, which is how a story
//! hangs after its end or speaks twice. `epoch` speaks for another life of the work. Every step
//! takes `may_fail = true`: what goes wrong is printed and the story goes on, for stories that try
//! what they must not. Otherwise a step that goes wrong fails the session. After the last step the
//! agent exits with code 0.

use std::fmt;

use domain::agent::Signal;

mod reading;

/// One story, in bytes.
pub const STORY_BYTES_MAX: usize = 1 << 20;

/// A story without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    source: String,
    turns: Vec<Turn>,
}

/// What is wrong with a story, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Fault {}

impl Story {
    /// Reads a story.
    ///
    /// # Errors
    /// All its faults, in the order of their places.
    pub fn parse(source: &str) -> Result<Self, Vec<Fault>> {
        let turns = reading::read(source)?;
        Ok(Self {
            source: source.to_owned(),
            turns,
        })
    }

    /// Returns the text it was read from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the steps for a session, or `None` when no turn fits.
    pub(crate) fn steps_for(&self, scene: &Scene) -> Option<&[Step]> {
        self.turns
            .iter()
            .filter_map(|turn| Some((turn.fit(scene)?, turn)))
            // Of equals, `max_by_key` returns the last.
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, turn)| turn.steps.as_slice())
    }
}

/// What decides which turn is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) role: String,
    pub(crate) round: u32,
    pub(crate) brought: Brought,
}

/// What the brief brings back to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) findings: bool,
    pub(crate) violations: bool,
    pub(crate) answers: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Turn {
    role: Option<String>,
    round: Option<u32>,
    when: Option<When>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Fresh,
    Findings,
    Violations,
    Answers,
}

impl Turn {
    /// Returns how specific it is, when it fits.
    fn fit(&self, scene: &Scene) -> Option<u32> {
        let brought = scene.brought;
        let conditions = [
            self.role.as_ref().map(|role| *role == scene.role),
            self.round.map(|round| round == scene.round),
            self.when.map(|when| match when {
                When::Fresh => brought == Brought::default(),
                When::Findings => brought.findings,
                When::Violations => brought.violations,
                When::Answers => brought.answers,
            }),
        ];
        conditions
            .iter()
            .flatten()
            .try_fold(0, |fit, holds| holds.then_some(fit + 1))
    }
}

/// One step, with the line it stands on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) verb: &'static str,
    pub(crate) act: Act,
    pub(crate) may_fail: bool,
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    Write {
        path: String,
        text: String,
        executable: bool,
    },
    Append {
        path: String,
        text: String,
    },
    Replace {
        path: String,
        old: String,
        new: String,
    },
    Delete(String),
    Rename {
        path: String,
        to: String,
    },
    Symlink {
        path: String,
        to: String,
    },
    Fifo(String),
    Sparse {
        path: String,
        bytes: u64,
    },
    Require {
        path: String,
        contains: String,
    },
    Acknowledge(String),
    WaitFor(String),
    Run {
        argv: Vec<String>,
        expect: i32,
    },
    Print {
        text: String,
        stream: Stream,
    },
    Flood {
        bytes: u64,
        stream: Stream,
    },
    Say {
        signal: Signal,
        epoch: Option<u64>,
    },
    Raw(String),
    Garbage(u32),
    SleepMs(u64),
    Hang,
    Background,
    Exit(i32),
    KillSelf(i32),
}

/// Where output goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stream {
    #[default]
    Out,
    Err,
}

#[cfg(test)]
mod tests;
