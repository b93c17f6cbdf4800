//! `palisade resume`: go on after a pause, a stop, a crash, or an answer.

use clap::Parser;
use engine::steering;

use super::{Common, drive};
use crate::exit::{Exit, Outcome};
use crate::{lock, terminal};

/// Go on with every open work, or with a paused session
///
/// Whatever was under way when an engine died is recorded as interrupted and done again; no effect
/// happens twice. Comes back when all works wait for you or are over. With a WORK whose session
/// stands still, lets that session go on and comes back at once.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: Option<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let mut about = board.open();
    if let Some(text) = &args.work {
        let work = board.find(text)?;
        let live = board.cases.get(&work).and_then(|it| it.live_session());
        let stands = live.is_some_and(|(_, it)| it.pause().is_some());
        if stands && lock::holder(&context.place.state).is_some() {
            let id = steering::resume(&context.recorder, work)?;
            terminal::say(format!("session {id} goes on"));
            return Ok(Exit::Done);
        }
        about = vec![work];
    }
    context.check_walls()?;
    drive::drive(common, &context, &about)
}
