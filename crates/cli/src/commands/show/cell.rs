//! A session's cell: what it was made of, what really stood around it, and what was refused in it.

use domain::Digest;
use engine::views::detail::SessionLine;
use ports::cells::{Access, CellSpec, Layers, Limits};
use serde::Serialize;
use serde_json::Value;

use super::heading;
use crate::context::Context;
use crate::exit::Failure;
use crate::moment::{bytes, counted};
use crate::table::{Cell, Table};
use crate::terminal::{self, BAD, DIM, WARN};

/// A session and its cell, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    line: &'a SessionLine,
    /// The cell as it was launched; none when none was, or for a session of an older version.
    spec: Option<Value>,
}

/// Returns a session with the specification of its cell.
pub(super) fn shown<'a>(context: &Context, line: &'a SessionLine) -> Result<Shown<'a>, Failure> {
    let spec = line.cell.map(|it| recorded(context, it)).transpose()?;
    Ok(Shown { line, spec })
}

fn recorded(context: &Context, digest: Digest) -> Result<Value, Failure> {
    let bytes = context.recorder.world().artifacts.get(&digest)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Prints the cell of a session.
pub(super) fn print(context: &Context, line: &SessionLine) -> Result<(), Failure> {
    let spec: Option<CellSpec> = match line.cell {
        Some(digest) => serde_json::from_value(recorded(context, digest)?).ok(),
        None => None,
    };
    heading("Cell");
    walls(line, spec.as_ref());
    if let (Some(digest), Some(spec)) = (line.cell, &spec) {
        limits(line, &spec.limits);
        tree(spec);
        mounts(spec);
        programs(spec);
        made_of(spec, digest);
    } else if let Some(digest) = line.cell {
        let text = format!("  recorded in another form; --json shows {digest}");
        terminal::data(terminal::styled(&text, WARN));
    }
    denied(line);
    Ok(())
}

fn is_limit(name: &str) -> bool {
    name.ends_with("limit") || name.ends_with("quota")
}

fn state(text: &str) -> Cell {
    let style = if text.starts_with("missing") {
        WARN
    } else {
        DIM
    };
    Cell::styled(text, style)
}

fn split(wall: &str) -> (&str, &str) {
    wall.split_once(": ").unwrap_or((wall, ""))
}

fn walls(line: &SessionLine, spec: Option<&CellSpec>) {
    if line.walls.is_empty() {
        terminal::data("  the cell was never made");
    }
    let mut table = Table::new(&["WALL", "STATE"]);
    let all = line.walls.iter().map(|it| split(it));
    for (name, how) in all.filter(|(name, _)| !is_limit(name)) {
        table.row([name.into(), state(how)]);
    }
    table.print(2);
    for accepted in spec.map(|it| it.accepted.as_slice()).unwrap_or_default() {
        let text = format!("  `{accepted}` was accepted to be missing, by the operator");
        terminal::data(terminal::styled(&text, BAD));
    }
    if line.fallback {
        let text = "  a plain copy stood in for the overlay, as palisade.toml allows";
        terminal::data(terminal::styled(text, WARN));
    }
}

/// Prints the limits that were asked for, and beside them what kept them.
fn limits(line: &SessionLine, limits: &Limits) {
    let rows = [
        ("memory", bytes(limits.memory_bytes), "memory limit"),
        ("processes", limits.processes.to_string(), "process limit"),
        ("one file", bytes(limits.file_bytes), "file size limit"),
        (
            "open files",
            limits.open_files.to_string(),
            "open file limit",
        ),
        ("CPU time", format!("{} s", limits.cpu_seconds), "cpu limit"),
        ("/tmp and home, each", bytes(limits.tmp_bytes), "tmp limit"),
        ("disk", bytes(limits.disk_bytes), "disk quota"),
        ("files on disk", limits.disk_files.to_string(), "disk quota"),
    ];
    let kept_by = |wall: &str| match wall {
        "tmp limit" => "file system in memory".to_string(),
        wall => {
            let mut stood = line.walls.iter().map(|it| split(it));
            let found = stood.find(|(name, _)| *name == wall);
            found.map_or_else(
                || "missing: nothing".to_string(),
                |(_, how)| how.to_string(),
            )
        }
    };
    heading("Limits");
    let mut table = Table::new(&["OF", "AT MOST", "KEPT BY"]);
    for (of, most, wall) in rows {
        let by = if line.walls.is_empty() {
            String::new()
        } else {
            kept_by(wall)
        };
        table.row([of.into(), most.into(), state(&by)]);
    }
    table.print(2);
}

fn tree(spec: &CellSpec) {
    let Some(tree) = &spec.workspace else {
        return;
    };
    heading("Tree");
    let layers = match &tree.layers {
        Layers::Overlay { lowers, .. } => format!(
            "{} and one of the session's own above",
            counted(lowers.len(), "read-only layer")
        ),
        Layers::ReadOnly { lowers } => counted(lowers.len(), "read-only layer"),
        Layers::Plain { .. } => "a plain copy".to_string(),
    };
    let named = |list: &[std::path::PathBuf]| {
        let names = list.iter().map(|it| match it.display().to_string() {
            root if root.is_empty() => "/workspace".to_string(),
            path => path,
        });
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            "nothing".to_string()
        } else {
            names.join(" ")
        }
    };
    let is_fixed = matches!(tree.layers, Layers::ReadOnly { .. });
    let writable = if is_fixed {
        &[][..]
    } else {
        &tree.writes.writable
    };
    let mut table = Table::new(&["", ""]);
    table.row(["layers".into(), layers.into()]);
    table.row(["writable".into(), named(writable).into()]);
    if !tree.writes.read_only.is_empty() {
        table.row(["but not".into(), named(&tree.writes.read_only).into()]);
    }
    table.print(2);
}

fn mounts(spec: &CellSpec) {
    heading("Mounts");
    let mut table = Table::new(&["AT", "ACCESS", "FROM"]);
    for bind in &spec.binds {
        let access = match bind.access {
            Access::ReadOnly => "read",
            Access::Writable => "write",
        };
        let (target, source) = (bind.target.display(), bind.source.display());
        let source = Cell::styled(source.to_string(), DIM);
        table.row([target.to_string().into(), access.into(), source]);
    }
    for layered in &spec.layered {
        let (target, source) = (layered.target.display(), layered.source.display());
        let source = Cell::styled(source.to_string(), DIM);
        table.row([
            target.to_string().into(),
            "write, to a layer".into(),
            source,
        ]);
    }
    for mask in &spec.masks {
        let mask = mask.display().to_string();
        table.row([mask.into(), Cell::styled("covered", WARN), "".into()]);
    }
    table.print(2);
}

fn programs(spec: &CellSpec) {
    heading("Programs");
    let Some(programs) = &spec.programs else {
        let path = spec.env.get("PATH").map_or("", String::as_str);
        terminal::data(format!("  all that is in {}", path.replace(':', " ")));
        return;
    };
    let mut table = Table::new(&["NAME", "IS"]);
    for (name, place) in programs {
        let place = place.display().to_string();
        table.row([name.into(), Cell::styled(place, DIM)]);
    }
    table.print(2);
}

fn made_of(spec: &CellSpec, digest: Digest) {
    heading("Made of");
    let names: Vec<_> = spec.env.keys().map(String::as_str).collect();
    let mut table = Table::new(&["", ""]);
    table.row(["runs".into(), spec.argv.join(" ").into()]);
    table.row(["in".into(), spec.cwd.display().to_string().into()]);
    table.row(["environment".into(), names.join(" ").into()]);
    table.row(["digest".into(), digest.to_string().into()]);
    table.print(2);
}

fn denied(line: &SessionLine) {
    heading("Denied by the kernel");
    if line.denied.is_empty() {
        terminal::data("  nothing");
        return;
    }
    let mut table = Table::new(&["ATTEMPT", "TIMES"]);
    for (what, count) in &line.denied {
        table.row([Cell::styled(what, WARN), count.to_string().into()]);
    }
    table.print(2);
}
