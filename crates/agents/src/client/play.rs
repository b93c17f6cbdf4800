//! Plays a story: finds the turn for this session and acts it out, step by step.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use domain::agent::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::acting::{Next, act};
use super::voice::{self, Voice, variable};
use crate::story::{Brought, STORY_BYTES_MAX, Scene, Step, Story};
use crate::surroundings::{ROLE_VARIABLE, ROUND_VARIABLE};

/// The context in the brief, in bytes.
const CONTEXT_BYTES_MAX: u64 = 64 << 20;

/// Why a story was not played to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file of the brief cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    /// The story has faults.
    #[error("the story `{path}` has faults:\n{faults}")]
    Faults { path: String, faults: String },
    /// The context is not what the engine writes.
    #[error("`{path}` is not the context of a session")]
    Context {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    /// A variable is missing.
    #[error("`{0}` is not set, or not what a driver sets")]
    Variable(&'static str),
    /// No turn is for this session.
    #[error("the story has no turn for role `{role}` in round {round} that brings back {brought}")]
    NoTurn {
        role: String,
        round: u32,
        brought: String,
    },
    /// A step went wrong.
    #[error("line {line} of the story, step `{verb}`: {why}")]
    Step {
        line: usize,
        verb: &'static str,
        why: String,
    },
    /// The signal pipe cannot be used.
    #[error(transparent)]
    Voice(#[from] voice::Error),
}

/// Plays the story at `path`. What goes wrong is signalled as the failure of the session.
pub(super) fn play(path: &Path) -> Result<ExitCode, Error> {
    let voice = Voice::of_process()?;
    perform(path, &voice).inspect_err(|error| {
        let reason = super::with_sources(error);
        // The error itself is told on standard error as well, and by the exit code.
        drop(voice.say(&Signal::Fail { reason }));
    })
}

fn perform(path: &Path, voice: &Voice) -> Result<ExitCode, Error> {
    let cap = u64::try_from(STORY_BYTES_MAX).unwrap_or(u64::MAX);
    let story = Story::parse(&read(path, cap)?).map_err(|faults| Error::Faults {
        path: path.display().to_string(),
        faults: faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    })?;
    let scene = scene()?;
    let steps = story.steps_for(&scene).ok_or_else(|| Error::NoTurn {
        role: scene.role.clone(),
        round: scene.round,
        brought: said(scene.brought),
    })?;
    for step in steps {
        match act(&step.act, voice) {
            Ok(Next::Step) => {}
            Ok(Next::Exit(code)) => return Ok(code),
            Err(why) if step.may_fail => note(step, &why),
            Err(why) => {
                return Err(Error::Step {
                    line: step.line,
                    verb: step.verb,
                    why,
                });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn note(step: &Step, why: &str) {
    let (line, verb) = (step.line, step.verb);
    // Only told; a closed standard output changes nothing in the story.
    drop(writeln!(
        io::stdout(),
        "line {line}, step `{verb}` did not work: {why}"
    ));
}

fn scene() -> Result<Scene, Error> {
    let role = variable(ROLE_VARIABLE).ok_or(Error::Variable(ROLE_VARIABLE))?;
    let round = variable(ROUND_VARIABLE)
        .and_then(|round| round.parse().ok())
        .ok_or(Error::Variable(ROUND_VARIABLE))?;
    let path = voice::brief().join("context.json");
    let context = if path.exists() {
        let text = read(&path, CONTEXT_BYTES_MAX)?;
        serde_json::from_str(&text).map_err(|source| Error::Context {
            path: path.display().to_string(),
            source,
        })?
    } else {
        Context::default()
    };
    Ok(Scene {
        role,
        round,
        brought: Brought {
            findings: !context.findings.is_empty(),
            violations: !context.violations.is_empty(),
            answers: !context.answers.is_empty(),
        },
    })
}

/// What of the context decides the turn.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    findings: Vec<Value>,
    violations: Vec<Value>,
    answers: Vec<Value>,
}

fn read(path: &Path, cap: u64) -> Result<String, Error> {
    let fault = |source| Error::Read {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut text = String::new();
    file.take(cap + 1)
        .read_to_string(&mut text)
        .map_err(fault)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > cap {
        return Err(fault(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

fn said(brought: Brought) -> String {
    let named = [
        (brought.findings, "findings"),
        (brought.violations, "violations"),
        (brought.answers, "answers"),
    ];
    let words: Vec<&str> = named
        .into_iter()
        .filter_map(|(brought, word)| brought.then_some(word))
        .collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}
