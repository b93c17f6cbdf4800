//! A session: what it was for, how it ended, what it left.

use domain::Timestamp;
use domain::formula::Lane;
use engine::views::detail::{Detail, SessionLine};

use super::super::status::colour;
use super::{paragraph, tree};
use crate::moment::{bytes, counted, day_and_time};
use crate::table::{Cell, Table, one_line};
use crate::terminal::{self, BAD, BOLD, DIM, WARN};

/// Prints everything about a session of a work.
pub(super) fn print(detail: &Detail, line: &SessionLine, cell: bool, now: Timestamp) {
    head(detail, line, now);
    if let Some(told) = &line.told {
        paragraph("said", told);
    }
    left(detail, line);
    for why in &line.refused {
        paragraph("refused", why);
    }
    called(line);
    if !cell {
        for (what, count) in &line.denied {
            paragraph("denied", &format!("{what} ({count} times), by the kernel"));
        }
        let text = format!(
            "  {} (--cell lists them)",
            counted(line.walls.len(), "wall")
        );
        terminal::data(terminal::styled(&text, DIM));
    }
}

/// Prints which tools were called, and what was not permitted.
fn called(line: &SessionLine) {
    let counts = line.calls.counts.iter();
    let counts: Vec<_> = counts
        .map(|(tool, count)| format!("{tool} {count}"))
        .collect();
    if !counts.is_empty() {
        paragraph("called", &counts.join(", "));
    }
    for it in &line.calls.refused {
        let why = it.refused.as_deref().unwrap_or_default();
        let text = format!("{} {}: {why}", it.tool, it.subject);
        paragraph("not permitted", &text);
    }
}

fn head(detail: &Detail, line: &SessionLine, now: Timestamp) {
    let about = &line.about;
    let name = &detail.line.name;
    let title = format!("{} in round {} of {name}", about.role, about.round);
    terminal::data(terminal::styled(&title, BOLD));
    let end = line.end.as_ref();
    let state = end.map_or(line.state.as_str(), |it| it.reason.name());
    let lane = match about.lane {
        Lane::ReadOnly => "read_only: the workspace is mounted read-only",
        Lane::DryRun => "dry_run: writes land in the sealed workspace",
        Lane::Execute => "execute: named actions, with a permit",
    };
    let mut table = Table::new(&["", ""]);
    table.row(["session".into(), line.id.to_string().into()]);
    table.row(["work".into(), detail.line.work.to_string().into()]);
    table.row(["step".into(), (&about.step).into()]);
    table.row(["agent".into(), (&about.agent).into()]);
    table.row(["lane".into(), lane.into()]);
    table.row(["epoch".into(), about.epoch.to_string().into()]);
    table.row(["began on".into(), tree(&about.tree).into()]);
    table.row(["requested".into(), day_and_time(line.requested).into()]);
    table.row(["state".into(), Cell::styled(state, colour(state))]);
    let wall = format!("{} of {}", line.wall(now), about.wall);
    table.row(["lasted".into(), wall.into()]);
    if let Some(end) = end {
        let size = format!("{} (palisade log {})", bytes(end.output_bytes), line.id);
        table.row(["output".into(), size.into()]);
        if end.malformed + end.late > 0 {
            let text = format!("{} malformed, {} after its end", end.malformed, end.late);
            table.row(["signals".into(), Cell::styled(text, WARN)]);
        }
    }
    table.print(2);
}

fn left(detail: &Detail, line: &SessionLine) {
    let mine = detail
        .checkpoints
        .iter()
        .filter(|it| it.session == Some(line.id));
    for checkpoint in mine {
        let count = usize::try_from(checkpoint.files).unwrap_or(usize::MAX);
        let files = counted(count, "file");
        let text = format!("{} {}, {files}", checkpoint.id, checkpoint.state);
        paragraph("left", &text);
        for violation in &checkpoint.violations {
            let (path, rule) = (&violation.path, violation.rule.name());
            let text = one_line(&format!("{path} [{rule}]: {}", violation.detail));
            terminal::data(format!("    {}", terminal::styled(&text, BAD)));
        }
    }
}
