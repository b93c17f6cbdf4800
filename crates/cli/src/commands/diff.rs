//! `palisade diff`: what a work has changed.

use clap::Parser;
use domain::case::Case;
use domain::checkpoint;
use domain::tree::Tree;
use serde::Serialize;

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::counted;
use crate::naming;
use crate::table::{Cell, Table, one_line};
use crate::terminal::{self, BAD, BOLD, DIM, GOOD};

/// The most of a diff that is shown, in bytes.
const DIFF_BYTES_MAX: usize = 16 << 20;

/// Show what a work has changed
///
/// The accepted tree against the commit the work began on; with --from and --to, between
/// checkpoints (`palisade show WORK` lists them). It is computed from what is stored, not from
/// anything an agent has written about it.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// The checkpoint to begin from, instead of the base.
    #[arg(long, value_name = "CHECKPOINT")]
    from: Option<String>,
    /// The checkpoint to look at, instead of the accepted tree.
    #[arg(long, value_name = "CHECKPOINT")]
    to: Option<String>,
    /// Only the files and how many lines each gained and lost.
    #[arg(long)]
    stat: bool,
}

/// One changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Stat {
    path: String,
    added: usize,
    removed: usize,
    binary: bool,
}

#[derive(Serialize)]
struct Shown {
    from: Tree,
    to: Tree,
    files: Vec<Stat>,
    diff: Option<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let work = board.find(&args.work)?;
    let case = context.recorder.load(work)?;
    let to = match &args.to {
        Some(text) => tree_of(&case, text)?,
        None => case.active().map(|it| it.tree.clone()).ok_or_else(|| {
            Failure::usage("nothing has begun for this work; there is no tree yet")
        })?,
    };
    let workspaces = &context.recorder.world().workspaces;
    let base = workspaces.prepare(&to.base, &context.settings.secrets)?;
    let from = match &args.from {
        Some(text) => tree_of(&case, text)?,
        None => base,
    };
    if from.base != to.base {
        return Err(Failure::usage(format!(
            "the two are on different bases ({} and {}), since the target moved between them; \
             leave out --from to see the change on its own base",
            from.base.short(),
            to.base.short()
        )));
    }
    let diff = text(&context, &from, &to)?;
    let files = stats(&diff);
    if common.json {
        let diff = (!args.stat).then_some(diff);
        terminal::json(&Shown {
            from,
            to,
            files,
            diff,
        })?;
    } else if files.is_empty() {
        terminal::say("nothing is changed");
    } else if args.stat {
        print_stats(&files);
    } else {
        print(&diff);
    }
    Ok(Exit::Done)
}

fn text(context: &Context, from: &Tree, to: &Tree) -> Result<String, Failure> {
    let workspaces = &context.recorder.world().workspaces;
    Ok(workspaces.diff(from, to, DIFF_BYTES_MAX)?)
}

fn tree_of(case: &Case, text: &str) -> Result<Tree, Failure> {
    let ids = case.checkpoints.keys().copied();
    let id = naming::find(ids, text, "checkpoint", "palisade show WORK")?;
    let checkpoint = case.checkpoints.get(&id);
    let tree = checkpoint.and_then(checkpoint::State::checkpoint);
    tree.map(|it| it.tree.clone())
        .ok_or_else(|| Failure::usage(format!("checkpoint {id} was never captured")))
}

/// Prints a diff with the colours that git gives it.
fn print(diff: &str) {
    let mut in_hunk = false;
    for line in terminal::exact(diff).split_terminator('\n') {
        if line.starts_with("diff --git ") {
            in_hunk = false;
        } else if line.starts_with("@@") {
            in_hunk = true;
        }
        let style = match (in_hunk, line.as_bytes().first()) {
            (false, _) => BOLD,
            (true, Some(b'+')) => GOOD,
            (true, Some(b'-')) => BAD,
            (true, Some(b'@')) => DIM,
            (true, _) => {
                terminal::data(line);
                continue;
            }
        };
        terminal::data(terminal::styled(line, style));
    }
}

fn print_stats(files: &[Stat]) {
    let mut table = Table::new(&["FILE", "ADDED", "REMOVED", ""]);
    let count = |it: usize, sign: char| match it {
        0 => String::new(),
        count => format!("{sign}{count}"),
    };
    for file in files {
        table.row([
            (&file.path).into(),
            Cell::styled(count(file.added, '+'), GOOD),
            Cell::styled(count(file.removed, '-'), BAD),
            if file.binary { "binary" } else { "" }.into(),
        ]);
    }
    table.print(0);
    let added: usize = files.iter().map(|it| it.added).sum();
    let removed: usize = files.iter().map(|it| it.removed).sum();
    let changed = counted(files.len(), "file");
    let added = counted(added, "line");
    terminal::say(format!("{changed}, {added} added, {removed} removed"));
}

/// Reads the files and their gained and lost lines off a unified diff.
fn stats(diff: &str) -> Vec<Stat> {
    let mut files: Vec<Stat> = Vec::new();
    let mut in_hunk = false;
    for line in diff.lines() {
        if let Some(names) = line.strip_prefix("diff --git ") {
            in_hunk = false;
            files.push(Stat {
                path: path_of(names),
                added: 0,
                removed: 0,
                binary: false,
            });
            continue;
        }
        let Some(file) = files.last_mut() else {
            continue;
        };
        if line.starts_with("@@") {
            in_hunk = true;
        } else if in_hunk {
            match line.as_bytes().first() {
                Some(b'+') => file.added += 1,
                Some(b'-') => file.removed += 1,
                Some(_) | None => {}
            }
        } else if line.starts_with("Binary files ") || line.starts_with("GIT binary patch") {
            file.binary = true;
        }
    }
    files
}

/// Returns the path of `a/path b/path`: both halves are the same, whatever spaces are in it.
fn path_of(names: &str) -> String {
    let half = names.len() / 2;
    let path = names
        .get(half + 1..)
        .and_then(|it| it.strip_prefix("b/"))
        .unwrap_or(names);
    one_line(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_within_hunks_only() {
        let diff = "\
diff --git a/src/a b.rs b/src/a b.rs
index 1..2 100644
--- a/src/a b.rs
+++ b/src/a b.rs
@@ -1,2 +1,3 @@
 same
--- a comment that was removed
+++ and one that came
+new
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
";
        let stat = |path: &str, added, removed, binary| Stat {
            path: path.to_string(),
            added,
            removed,
            binary,
        };
        assert_eq!(
            stats(diff),
            [
                stat("src/a b.rs", 2, 1, false),
                stat("logo.png", 0, 0, true)
            ]
        );
    }
}
