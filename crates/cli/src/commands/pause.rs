//! `palisade pause`: have an agent stand still.

use clap::Parser;
use domain::session;
use engine::steering;

use super::{Common, steer};
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Have a work's agent stand still
///
/// Every process of its cell is frozen, whether the agent heeds it or not, until `palisade resume
/// WORK`. A session that stands still longer than `pause_minutes` of `[checkpoints]` is ended.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// Why, for the record and for the agent.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "the operator wants to look"
    )]
    why: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    steer::check_engine(&context)?;
    let id = steering::pause(&context.recorder, work, &args.why)?;
    let stands = steer::until(&context, work, |case| match case.sessions.get(&id) {
        Some(session::State::Paused(..)) => Some(true),
        Some(session::State::Pausing(..)) => None,
        _ => Some(false),
    })?;
    Ok(if stands == Some(true) {
        terminal::say(format!(
            "session {id} stands still; `palisade resume {}` lets it go on",
            args.work
        ));
        Exit::Done
    } else {
        terminal::say(format!("session {id} was over before it stood still"));
        Exit::Failed
    })
}
