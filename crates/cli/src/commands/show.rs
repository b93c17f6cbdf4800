//! `palisade show`: everything about one work, or about one session.

use clap::Parser;
use domain::{SessionId, Timestamp, WorkId};
use engine::views::detail::{self, Detail, SessionLine};

use super::{Common, status};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::{self, bytes, counted};
use crate::naming::{self, Named};
use crate::table::{Cell, Table, one_line, wrapped};
use crate::terminal::{self, BAD, BOLD, DIM, WARN};

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
    let (work, session) = match named {
        Named::Work(work) => (work, None),
        Named::Session(work, session) => (work, Some(session)),
    };
    let log = context.recorder.world().log.as_ref();
    let detail = detail::read(log, &board, work)?;
    let now = context.recorder.world().clock.now();
    match session {
        Some(id) => show_session(common, args, &detail, id, now)?,
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

fn show_session(
    common: &Common,
    args: &Args,
    detail: &Detail,
    id: SessionId,
    now: Timestamp,
) -> Result<(), Failure> {
    let found = detail.sessions.iter().find(|it| it.id == id);
    let line = found.ok_or_else(|| Failure::usage(format!("there is no session {id}")))?;
    if common.json {
        terminal::json(line)?;
        return Ok(());
    }
    let about = &line.about;
    let title = format!(
        "{} in round {} of {}",
        about.role, about.round, detail.line.name
    );
    terminal::data(terminal::styled(&title, BOLD));
    let state = line
        .end
        .as_ref()
        .map_or(line.state.as_str(), |it| it.reason.name());
    let lane = match about.lane {
        domain::formula::Lane::ReadOnly => "read_only: the workspace is mounted read-only",
        domain::formula::Lane::DryRun => "dry_run: writes land in the sealed workspace",
        domain::formula::Lane::Execute => "execute: named actions, with a permit",
    };
    let mut table = Table::new(&["", ""]);
    let style = status::colour(state);
    table.row(["session".into(), id.to_string().into()]);
    table.row(["work".into(), detail.line.work.to_string().into()]);
    table.row(["step".into(), (&about.step).into()]);
    table.row(["agent".into(), (&about.agent).into()]);
    table.row(["lane".into(), lane.into()]);
    table.row(["epoch".into(), about.epoch.to_string().into()]);
    table.row(["began on".into(), tree(&about.tree).into()]);
    table.row([
        "requested".into(),
        moment::day_and_time(line.requested).into(),
    ]);
    table.row(["state".into(), Cell::styled(state, style)]);
    let wall = format!("{} of {}", line.wall(now), about.wall);
    table.row(["lasted".into(), wall.into()]);
    if let Some(end) = &line.end {
        let size = format!("{} (palisade log {id})", bytes(end.output_bytes));
        table.row(["output".into(), size.into()]);
        if end.malformed + end.late > 0 {
            let text = format!("{} malformed, {} after its end", end.malformed, end.late);
            table.row(["signals".into(), Cell::styled(text, WARN)]);
        }
    }
    table.print(2);
    if let Some(told) = &line.told {
        paragraph("said", told);
    }
    let mine = |it: &Option<SessionId>| *it == Some(id);
    for checkpoint in detail.checkpoints.iter().filter(|it| mine(&it.session)) {
        let files = counted(
            usize::try_from(checkpoint.files).unwrap_or(usize::MAX),
            "file",
        );
        let text = format!("{} {}, {files}", checkpoint.id, checkpoint.state);
        paragraph("left", &text);
        for violation in &checkpoint.violations {
            let text = format!(
                "{} [{}]: {}",
                violation.path,
                violation.rule.name(),
                violation.detail
            );
            let text = terminal::styled(&one_line(&text), BAD);
            terminal::data(format!("    {text}"));
        }
    }
    for why in &line.refused {
        paragraph("refused", why);
    }
    if args.cell {
        heading("Cell");
        walls(line);
    } else {
        let text = format!(
            "  {} (--cell lists them)",
            counted(line.walls.len(), "wall")
        );
        terminal::data(terminal::styled(&text, DIM));
    }
    Ok(())
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
