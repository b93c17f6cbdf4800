//! `palisade show`: everything about one work, or about one session.

use clap::Parser;
use domain::WorkId;
use engine::views::detail::{self, Detail};

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::naming::{self, Named};
use crate::table::wrapped;
use crate::terminal::{self, BOLD};

mod cell;
mod prompt;
mod session;
mod work;

/// How wide text is set where there is no terminal to ask.
const COLUMNS: usize = 100;

/// Show everything about one work, or about one session
///
/// Of a WORK: the goal, the plan's scope, the budget and what is spent of it, steps, sessions,
/// checkpoints with what the import filter turned away, gates and their reasons, findings,
/// questions and promotions, with identifiers. Of a SESSION: what it was for, how it ended, what
/// was refused of what it sent. An identifier can be given by its end; `latest` is the session that
/// was asked for last.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier, or a session's identifier.
    #[arg(value_name = "WORK|SESSION")]
    about: String,
    /// The session's cell (of a work, that of its latest session): the walls and limits that
    /// really stood, what could be written, mounts, programs, and what the kernel refused.
    #[arg(long)]
    cell: bool,
    /// What the session was told (of a work, its latest session): the whole prompt, the size of
    /// each part, and what was cut.
    #[arg(long, conflicts_with = "cell")]
    prompt: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let named = naming::work_or_session(&board, &args.about)?;
    let (id, session_id) = match named {
        Named::Work(work) => (work, None),
        Named::Session(work, id) => (work, Some(id)),
    };
    let log = context.recorder.world().log.as_ref();
    let detail = detail::read(log, &board, id)?;
    let now = context.recorder.world().clock.now();
    match session_id {
        Some(id) => {
            let found = detail.sessions.iter().find(|it| it.id == id);
            let line = found.ok_or_else(|| Failure::usage(format!("there is no session {id}")))?;
            match (common.json, args.cell) {
                (true, _) if args.prompt => terminal::json(&prompt::shown(&context, line)?)?,
                (false, _) if args.prompt => {
                    session::print(&detail, line, true, now);
                    prompt::print(&context, line)?;
                }
                (true, true) => terminal::json(&cell::shown(&context, line)?)?,
                (true, false) => terminal::json(line)?,
                (false, with_cell) => {
                    session::print(&detail, line, with_cell, now);
                    if with_cell {
                        cell::print(&context, line)?;
                    }
                }
            }
        }
        None if args.cell || args.prompt => of_latest(&context, common, args, &detail)?,
        None if common.json => terminal::json(&detail)?,
        None => work::print(&context, &detail, now),
    }
    Ok(Exit::Done)
}

/// Shows the cell, or the prompt, of a work's latest session.
fn of_latest(
    context: &Context,
    common: &Common,
    args: &Args,
    detail: &Detail,
) -> Result<(), Failure> {
    let Some(line) = detail.sessions.iter().max_by_key(|it| it.id) else {
        let name = &detail.line.name;
        return Err(Failure::usage(format!("{name} has had no session yet")));
    };
    match (common.json, args.prompt) {
        (true, true) => return Ok(terminal::json(&prompt::shown(context, line)?)?),
        (true, false) => return Ok(terminal::json(&cell::shown(context, line)?)?),
        (false, _) => {}
    }
    let title = format!("{} of {}", line.id, detail.line.name);
    terminal::data(terminal::styled(&title, BOLD));
    if args.prompt {
        prompt::print(context, line)
    } else {
        cell::print(context, line)
    }
}

fn heading(text: &str) {
    terminal::data(format!("\n{}", terminal::styled(text, BOLD)));
}

/// Prints a text under a word, wrapped.
fn paragraph(word: &str, text: &str) {
    let width = terminal::width().unwrap_or(COLUMNS).saturating_sub(13);
    let mut word = format!("{word:<10}");
    for line in wrapped(text, width) {
        terminal::data(format!("  {word} {line}").trim_end().to_string());
        word = " ".repeat(10);
    }
}

fn tree(tree: &domain::tree::Tree) -> String {
    match tree.manifest {
        Some(_) => format!("{} (on {})", tree.digest.short(), tree.base.short()),
        None => format!("{} as it is", tree.base.short()),
    }
}

/// Returns the names that a work depends on.
fn depends_on(context: &Context, detail: &Detail) -> Vec<String> {
    let named = |id: &WorkId| {
        let case = context.recorder.load(*id).ok()?;
        Some(engine::views::board::name_of(&case))
    };
    detail.work.depends_on.iter().filter_map(named).collect()
}
