//! `palisade resume`: go on after a stop, a crash, or an answer.

use clap::Parser;

use super::{Common, drive};
use crate::exit::Outcome;

/// Go on with every open work
///
/// Whatever was under way when an engine died is recorded as interrupted and done again; no effect
/// happens twice. Comes back when all works wait for you or are over.
#[derive(Debug, Parser)]
pub(crate) struct Args {}

pub(crate) fn run(common: &Common, _args: &Args) -> Outcome {
    let context = common.context()?;
    context.check_walls()?;
    let open = context.board()?.open();
    drive::drive(common, &context, &open)
}
