//! `palisade show`: everything about one work, or about one session.

use clap::Parser;
use domain::WorkId;
use engine::views::detail::{self, Detail, SessionLine};

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::naming::{self, Named};
use crate::table::{Cell, Table, wrapped};
use crate::terminal::{self, BOLD, DIM, WARN};

mod session;
mod work;

/// How wide text is set where there is no terminal to ask.
const COLUMNS: usize = 100;

/// Show everything about one work, or about one session
///
/// Of a WORK: the goal, the plan's scope, the budget and what is spent of it, steps, sessions,
/// checkpoints with what the import filter turned away, gates and their reasons, findings,
/// questions and promotions, with identifiers. Of a SESSION: what it was for, how it ended, what
/// was refused of what it sent. An identifier can be given by its end.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier, or a session's identifier.
    #[arg(value_name = "WORK|SESSION")]
    about: String,
    /// The walls around each session's cell, as they were when it ran.
    #[arg(long)]
    cell: bool,
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
            if common.json {
                terminal::json(line)?;
            } else {
                session::print(&detail, line, args.cell, now);
            }
        }
        None if common.json => terminal::json(&detail)?,
        None => {
            work::print(&context, &detail, now);
            if args.cell {
                for session in &detail.sessions {
                    heading(&format!("Cell of {}", session.id));
                    walls(session);
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn walls(line: &SessionLine) {
    if line.walls.is_empty() {
        terminal::data("  the cell was never made");
    }
    let mut table = Table::new(&["WALL", "STATE"]);
    for wall in &line.walls {
        let (name, state) = wall.split_once(": ").unwrap_or((wall, ""));
        let style = if state.starts_with("missing") {
            WARN
        } else {
            DIM
        };
        table.row([name.into(), Cell::styled(state, style)]);
    }
    table.print(2);
    if line.fallback {
        let text = "  a plain copy stood in for the overlay, as palisade.toml allows";
        terminal::data(terminal::styled(text, WARN));
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
