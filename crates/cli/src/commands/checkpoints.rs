//! `palisade checkpoints`: what was kept of a work, from the first to the last.

use clap::Parser;
use domain::case::Case;
use domain::checkpoint::{self, State};
use domain::event::Event;
use domain::tree::{Tree, Violation};
use domain::{CheckpointId, SessionId, WorkId};
use engine::recorder::decoded;
use ports::log::Position;
use serde::Serialize;

use super::{Common, status};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::{bytes, counted};
use crate::table::{Cell, Table, one_line};
use crate::terminal::{self, BAD, DIM, WARN};

/// Show the checkpoints of a work
///
/// The oldest first: why each was taken, what became of it, what changed since the one before and
/// since the base, how long capturing took, and how long the agent stood still for it. One that was
/// not judged (`captured`) cannot be promoted. `palisade diff WORK --from ID --to ID` compares two,
/// `palisade rollback WORK --to ID` goes back to one, `palisade export` takes one out.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
}

/// One checkpoint.
#[derive(Debug, Serialize)]
struct Line {
    id: CheckpointId,
    state: &'static str,
    trigger: &'static str,
    session: Option<SessionId>,
    parent: Option<CheckpointId>,
    tree: Option<Tree>,
    files: u64,
    bytes: u64,
    files_total: u64,
    bytes_total: u64,
    micros: u64,
    judged_micros: Option<u64>,
    held_micros: u64,
    violations: Vec<Violation>,
    /// Why it was not judged.
    deferred: Option<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    show(common, &context, work, None)
}

/// Shows the checkpoints of a work, or only one of them.
pub(super) fn show(
    common: &Common,
    context: &Context,
    work: WorkId,
    only: Option<CheckpointId>,
) -> Outcome {
    let mut lines = lines(context, work)?;
    lines.retain(|it| only.is_none_or(|only| it.id == only));
    if common.json {
        terminal::json(&lines)?;
        return Ok(Exit::Done);
    }
    if lines.is_empty() {
        terminal::say("nothing was captured yet");
        return Ok(Exit::Done);
    }
    table(&lines).print(0);
    for line in &lines {
        for told in checkpoint::told(&line.violations) {
            terminal::data(terminal::styled(
                &one_line(&format!("{}: {told}", line.id)),
                BAD,
            ));
        }
        if let Some(why) = &line.deferred {
            let text = format!("{}: not judged: {why}", line.id);
            terminal::data(terminal::styled(&one_line(&text), WARN));
        }
    }
    let count = counted(lines.len(), "checkpoint");
    terminal::say(terminal::styled(&count, DIM));
    Ok(Exit::Done)
}

fn table(lines: &[Line]) -> Table {
    let heads = [
        "CHECKPOINT",
        "TRIGGER",
        "STATE",
        "FILES",
        "BYTES",
        "ALL FILES",
        "ALL BYTES",
        "TOOK",
        "HELD",
        "WRONG",
    ];
    let mut table = Table::new(&heads).with_whole_first();
    for line in lines {
        let wrong = match line.violations.len() {
            0 => String::new(),
            count => count.to_string(),
        };
        table.row([
            line.id.to_string().into(),
            line.trigger.into(),
            Cell::styled(line.state, status::colour(line.state)),
            line.files.to_string().into(),
            bytes(line.bytes).into(),
            line.files_total.to_string().into(),
            bytes(line.bytes_total).into(),
            took(line.micros).into(),
            took(line.held_micros).into(),
            Cell::styled(wrong, BAD),
        ]);
    }
    table
}

/// Returns a latency in milliseconds.
fn took(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

fn lines(context: &Context, work: WorkId) -> Result<Vec<Line>, Failure> {
    let case = context.recorder.load(work)?;
    let mut lines: Vec<_> = case
        .checkpoints
        .keys()
        .filter_map(|id| line(&case, *id))
        .collect();
    let log = &context.recorder.world().log;
    for recorded in log.read_correlated(&work.to_string(), Position::default())? {
        let Event::Checkpoint(id, event) = decoded(&recorded)? else {
            continue;
        };
        let Some(line) = lines.iter_mut().find(|it| it.id == id) else {
            continue;
        };
        match event {
            checkpoint::Event::Deferred { why } => line.deferred = Some(why),
            checkpoint::Event::Validated { micros, .. }
            | checkpoint::Event::Violated { micros, .. } => {
                line.judged_micros = Some(micros);
                line.deferred = None;
            }
            checkpoint::Event::Requested(_)
            | checkpoint::Event::Captured(_)
            | checkpoint::Event::Promoted => {}
        }
    }
    Ok(lines)
}

fn line(case: &Case, id: CheckpointId) -> Option<Line> {
    let state = case.checkpoints.get(&id)?;
    let violations = match state {
        State::Violated(_, violations) => violations.clone(),
        State::Absent
        | State::Requested(_)
        | State::Captured(_)
        | State::Validated(_)
        | State::Promoted(_) => Vec::new(),
    };
    let asked = match state {
        State::Requested(request) => Some(request.session),
        State::Absent
        | State::Captured(_)
        | State::Validated(_)
        | State::Violated(..)
        | State::Promoted(_) => None,
    };
    let it = state.checkpoint();
    let number = |of: fn(&checkpoint::Checkpoint) -> u64| it.map_or(0, of);
    Some(Line {
        id,
        state: state.name(),
        trigger: it.map_or("manual", |it| it.trigger.name()),
        session: it.and_then(|it| it.session).or(asked),
        parent: it.and_then(|it| it.parent),
        tree: it.map(|it| it.tree.clone()),
        files: number(|it| it.files),
        bytes: number(|it| it.bytes),
        files_total: number(|it| it.files_total),
        bytes_total: number(|it| it.bytes_total),
        micros: number(|it| it.micros),
        judged_micros: None,
        held_micros: number(|it| it.held_micros),
        violations,
        deferred: None,
    })
}
