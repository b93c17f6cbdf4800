//! A session's prompt: exactly what it was told, how large each part of it is, and what was cut.

use domain::Digest;
use engine::prompt::Told;
use engine::views::detail::SessionLine;
use serde::Serialize;

use super::heading;
use crate::context::Context;
use crate::exit::Failure;
use crate::moment::bytes;
use crate::table::{Cell, Table};
use crate::terminal::{self, DIM, WARN};

/// A session and its prompt, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    line: &'a SessionLine,
    /// What it was told; none when it was told nothing, or by an older version.
    told: Option<Told>,
}

/// Returns a session with what it was told.
pub(super) fn shown<'a>(context: &Context, line: &'a SessionLine) -> Result<Shown<'a>, Failure> {
    let told = line.prompt.map(|it| recorded(context, it)).transpose()?;
    Ok(Shown { line, told })
}

fn recorded(context: &Context, digest: Digest) -> Result<Told, Failure> {
    let bytes = context.recorder.world().artifacts.get(&digest)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Prints the prompt of a session.
pub(super) fn print(context: &Context, line: &SessionLine) -> Result<(), Failure> {
    heading("Prompt");
    let Some(digest) = line.prompt else {
        terminal::data("  none is on record: the session was never told anything");
        return Ok(());
    };
    let told = recorded(context, digest)?;
    let mut table = Table::new(&["", ""]);
    let size = |it: usize| bytes(u64::try_from(it).unwrap_or(u64::MAX));
    table.row(["from".into(), (&told.template).into()]);
    let all = format!(
        "{} of at most {}",
        size(told.text.len()),
        size(told.bytes_max)
    );
    table.row(["size".into(), all.into()]);
    table.row(["digest".into(), Cell::styled(digest.to_string(), DIM)]);
    table.print(2);
    heading("Parts");
    let mut table = Table::new(&["FACT", "SHOWN", "OF", ""]);
    for part in &told.parts {
        let cut = if part.is_cut { "cut" } else { "" };
        table.row([
            (&part.name).into(),
            size(part.bytes).into(),
            size(part.of_bytes).into(),
            Cell::styled(cut, WARN),
        ]);
    }
    table.print(2);
    heading("Told");
    // Every line is set off, so that none of them can be taken for ours.
    for line in told.text.lines() {
        terminal::data(
            format!("  | {}", terminal::exact(line))
                .trim_end()
                .to_string(),
        );
    }
    Ok(())
}
