//! `palisade resolve`: overrule a review finding.

use clap::Parser;
use domain::FindingId;
use engine::answers;

use super::{Common, drive, status};
use crate::exit::{Exit, Failure, Outcome};
use crate::{naming, terminal};

/// Resolve a review finding by your own word
///
/// A finding blocks the promotion until a later review of a mended tree no longer sees it, or you
/// say why it is none. Your name and reason are kept and shown in the dossier. `palisade show WORK`
/// lists findings with their identifiers; the end of one is enough.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The finding's identifier, or the end of it.
    #[arg(value_name = "FINDING")]
    finding: String,
    /// Why it need not be mended.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only record it; `palisade resume` goes on.
    #[arg(long)]
    no_resume: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let all = board
        .cases
        .iter()
        .flat_map(|(work, case)| case.findings.keys().map(|id| (*id, *work)));
    let all: Vec<(FindingId, _)> = all.collect();
    let ids = all.iter().map(|(id, _)| *id);
    let id = naming::find(ids, &args.finding, "finding", "palisade show WORK")?;
    let Some((_, work)) = all.into_iter().find(|(it, _)| *it == id) else {
        return Ok(Exit::Done);
    };
    let over = board.lines().into_iter().find(|it| it.work == work);
    if let Some(line) = over.filter(status::is_over) {
        let text = format!(
            "{} is over ({}); nothing moves it again",
            line.name, line.state
        );
        return Err(Failure::new(Exit::Refused, text));
    }
    answers::resolve_finding(&context.recorder, work, id, &args.reason)?;
    terminal::say(format!("finding {id} is resolved"));
    if args.no_resume {
        return Ok(Exit::Done);
    }
    context.check_walls()?;
    drive::drive(common, &context, &[work])
}
