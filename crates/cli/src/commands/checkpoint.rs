//! `palisade checkpoint`: keep what a work's agent has written so far.

use clap::Parser;
use domain::{checkpoint, session};
use engine::steering;

use super::{Common, checkpoints, steer};
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Keep what a work's agent has written so far
///
/// Its cell stands still for the moment it takes. Nobody has to ask: checkpoints are taken when the
/// agent stops writing for a while, at intervals, by size, at the end of each session and before
/// every rollback.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    steer::check_engine(&context)?;
    let id = steering::request_checkpoint(&context.recorder, work)?;
    let captured = steer::until(&context, work, |case| {
        let state = case.checkpoints.get(&id)?;
        let checkpoint::State::Requested(request) = state else {
            return Some(true);
        };
        let over = matches!(
            case.sessions.get(&request.session),
            None | Some(session::State::Ended(..))
        );
        over.then_some(false)
    })?;
    if captured != Some(true) {
        terminal::say("the session was over before; what it left is its last checkpoint");
        return Ok(Exit::Failed);
    }
    checkpoints::show(common, &context, work, Some(id))
}
