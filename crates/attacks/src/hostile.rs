//! The hostile agent: a program without a model that tries one thing and says how it went.
//!
//! It prints `ready`, waits for a line, tries, prints `outcome: …`, and keeps whatever it got until
//! its input ends, so that it can be looked at from outside meanwhile. What it says is evidence of
//! the second rank: the suite looks at the world.

mod calling;
mod living;
mod reading;
mod sending;
mod shaping;
mod writing;

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::ExitCode;

/// What the program is called: by this name it is found behind another's.
pub const NAME: &str = "palisade-hostile";
/// What the line before the attempt says.
pub(crate) const READY: &str = "ready";
/// What the line after the attempt begins with.
pub(crate) const OUTCOME: &str = "outcome: ";
/// What an attempt says that got what it wanted.
pub(crate) const GOT: &str = "got it";

/// How an attempt went.
pub(crate) struct Answer {
    /// In a word or two.
    said: String,
    /// What it holds on to.
    held: Vec<Box<dyn Any>>,
}

impl Answer {
    fn got() -> Self {
        Self::said(GOT)
    }

    fn said(text: impl Into<String>) -> Self {
        Self {
            said: text.into(),
            held: Vec::new(),
        }
    }

    fn holding(held: impl Any) -> Self {
        Self {
            said: GOT.to_owned(),
            held: vec![Box::new(held)],
        }
    }
}

/// The answer of something that either works or does not.
impl<T, E: std::fmt::Display> From<Result<T, E>> for Answer {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::got(),
            Err(error) => Self::said(error.to_string()),
        }
    }
}

/// Runs the program: `palisade-hostile VERB ARGUMENTS… TOKEN`. The token names this very run to
/// whoever looks at the machine's processes.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = arguments
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let [verb, arguments @ .., token] = words.as_slice() else {
        return ExitCode::from(2);
    };
    if verb == living::CHILD {
        return living::be_a_child(arguments, token);
    }
    match perform(verb, arguments, token) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn perform(verb: &str, arguments: &[String], token: &str) -> io::Result<()> {
    say(READY)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let answer = act(verb, arguments, token);
    // A line of its own, whatever was printed before.
    say(&format!("\n{OUTCOME}{}", answer.said.replace('\n', " ")))?;
    if arguments.iter().any(|it| it == living::LEAVE) {
        return Ok(());
    }
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    drop(answer.held);
    Ok(())
}

fn act(verb: &str, arguments: &[String], token: &str) -> Answer {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    reading::act(verb, &words)
        .or_else(|| writing::act(verb, &words))
        .or_else(|| shaping::act(verb, &words))
        .or_else(|| sending::act(verb, &words))
        .or_else(|| calling::act(verb, &words))
        .or_else(|| living::act(verb, &words, token))
        .unwrap_or_else(|| Answer::said(format!("no such attempt: {verb} {arguments:?}")))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
