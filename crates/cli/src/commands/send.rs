//! `palisade send`: tell a work's agent something.

use clap::{Parser, ValueEnum};
use domain::Millis;
use domain::message::{self, Topic};
use domain::severity::Severity;
use engine::steering::{self, ACKNOWLEDGE_WITHIN, Word};

use super::{Common, steer};
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// The longest time for the first acknowledgement, in seconds.
const WITHIN_MAX: u64 = 3_600;

/// Tell a work's agent something while it works
///
/// The agent finds it with `palisade-agent messages`. With --ack or --within, and whenever it is
/// critical, it is told up to three times until the agent acknowledges it; then its session stands
/// still for you to look.
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
    /// What it is about.
    #[arg(long, value_enum, default_value_t = About::Notice)]
    topic: About,
    /// Ask for an acknowledgement.
    #[arg(long)]
    ack: bool,
    /// Seconds that the acknowledgement may take the first time; each time after, twice as long.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=WITHIN_MAX))]
    within: Option<u64>,
}

/// What a word of the operator's may be about; all other topics are the engine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum About {
    /// Something to know.
    Notice,
    /// What a review of yours has found.
    Review,
    /// What a CI of yours says.
    GateResult,
}

impl From<About> for Topic {
    fn from(about: About) -> Self {
        match about {
            About::Notice => Self::Notice,
            About::Review => Self::Review,
            About::GateResult => Self::GateResult,
        }
    }
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
    let within = args.within.map(Millis::from_secs);
    let word = Word {
        topic: args.topic.into(),
        severity: args.severity.into(),
        text: &args.text,
        acknowledge_within: within.or_else(|| needs_ack.then_some(ACKNOWLEDGE_WITHIN)),
    };
    let id = steering::send(&context.recorder, work, &word)?;
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
