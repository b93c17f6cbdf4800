//! `palisade send`: tell a work's agent something.

use clap::{Parser, ValueEnum};
use domain::message;
use domain::severity::Severity;
use engine::steering;

use super::{Common, steer};
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Tell a work's agent something while it works
///
/// The agent finds it with `palisade-agent messages`. With --ack, and whenever it is critical, it is
/// told up to three times until the agent acknowledges it; then its session stands still for you to
/// look.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// What to tell it.
    #[arg(value_name = "TEXT")]
    text: String,
    /// How much it weighs.
    #[arg(long, value_enum, default_value_t = Weight::Info)]
    severity: Weight,
    /// Ask for an acknowledgement.
    #[arg(long)]
    ack: bool,
}

/// A severity, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weight {
    Info,
    Warning,
    Error,
    Critical,
}

impl From<Weight> for Severity {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Info => Self::Info,
            Weight::Warning => Self::Warning,
            Weight::Error => Self::Error,
            Weight::Critical => Self::Critical,
        }
    }
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    steer::check_engine(&context)?;
    let needs_ack = args.ack || args.severity == Weight::Critical;
    let severity = args.severity.into();
    let id = steering::send(&context.recorder, work, &args.text, severity, needs_ack)?;
    let told = steer::until(&context, work, |case| match case.messages.get(&id) {
        Some(message::State::Queued(_)) => None,
        Some(message::State::Expired(_)) | None => Some(false),
        Some(_) => Some(true),
    })?;
    Ok(if told == Some(true) {
        terminal::say(format!("message {id} was told"));
        Exit::Done
    } else {
        terminal::say(format!("message {id} came too late: the session is over"));
        Exit::Failed
    })
}
