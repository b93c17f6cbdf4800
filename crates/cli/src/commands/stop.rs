//! `palisade stop`: call a work off.

use clap::Parser;
use domain::WorkId;
use engine::answers;

use super::{Common, drive, status};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::{lock, terminal};

/// Call a work off
///
/// The work is over at once and nothing moves it again. A session that runs for it is ended by the
/// engine that runs it; when none is there, what the work has left is settled here.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// Why, for the record.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "called off by the operator"
    )]
    reason: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let work = board.find(&args.work)?;
    answers::stop(&context.recorder, work, &args.reason)?;
    if let Some(holder) = lock::holder(&context.place.state) {
        terminal::say(format!(
            "the palisade at work here (process {holder}) ends what runs for it"
        ));
        return shown(common, &context, work);
    }
    if others_could_move(&context, work)? {
        // To stop one work must not start the others.
        terminal::say("what it has left is settled when the engine runs again: palisade resume");
        return shown(common, &context, work);
    }
    drive::drive(common, &context, &[work])
}

fn others_could_move(context: &Context, work: WorkId) -> Result<bool, Failure> {
    let board = context.board()?;
    let lines = board.lines();
    Ok(lines
        .iter()
        .any(|it| it.work != work && status::moves(&board, it)))
}

fn shown(common: &Common, context: &Context, work: WorkId) -> Outcome {
    let mut lines = context.board()?.lines();
    lines.retain(|it| it.work == work);
    if common.json {
        terminal::json(&lines)?;
    } else {
        for line in &lines {
            terminal::say(format!("{}: {}: {}", line.name, line.state, line.detail));
        }
    }
    Ok(Exit::Done)
}
