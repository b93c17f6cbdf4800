//! `palisade admin`: housekeeping of the state.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use engine::collection::Intent;
use engine::views::board::Board;
use ports::log::Position;
use serde::{Deserialize, Serialize};

use super::{Common, drive};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::lock::{self, Taken};
use crate::models;
use crate::moment::bytes;
use crate::table::Table;
use crate::terminal::{self, BAD, GOOD, WARN};

mod artifacts;

/// Look after the state of a repository
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Recompute the stored board from the log, and say whether it was the same
    ///
    /// The board is folded anew from the first event to the position the stored one has, and both
    /// are compared byte for byte. Then the present board is stored. Exits with 1 if they differed:
    /// somebody wrote there, or an older program did.
    Rebuild,
    /// Show how much room the log, the artifacts and the trees take
    Size,
    /// Remove what nothing needs any more, and say how much it was
    ///
    /// Of sessions and works that are over: trees, briefs, drops, caches, sockets to models, and
    /// scratch copies of gates. (Control groups go with the next cell.) What nobody can
    /// show to be kept elsewhere stays, and is told. Every `run` and `resume` does the same first.
    ///
    /// And artifacts that no event names, neither by itself nor through a tree, a dossier or a log,
    /// and that were not put within the last day. Nothing that a checkpoint, proposal or promotion
    /// stands on is ever among them.
    Sweep {
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// What a stored view turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Identical,
    Different,
    Missing,
}

#[derive(Serialize)]
struct Rebuilt {
    board: Found,
    position: u64,
}

#[derive(Deserialize)]
struct Stored {
    position: u64,
}

#[derive(Serialize)]
struct Swept {
    sessions: Vec<engine::sweep::Leftover>,
    /// Folders with sockets of brokers whose engine died.
    sockets: Vec<PathBuf>,
    artifacts: artifacts::Swept,
}

#[derive(Serialize)]
struct Sizes {
    events: u64,
    effects_pending: u64,
    log_bytes: u64,
    log_bytes_free: u64,
    artifacts: u64,
    artifacts_bytes: u64,
    trees_bytes: u64,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    match args.verb {
        Verb::Rebuild => rebuild(common, &context),
        Verb::Size => size(common, &context),
        Verb::Sweep { dry_run } => sweep(common, &context, dry_run),
    }
}

fn sweep(common: &Common, context: &Context, dry_run: bool) -> Outcome {
    let _lock = match lock::take(&context.place.state)? {
        Taken::Ours(lock) => lock,
        Taken::Theirs(holder) => {
            let text = format!("process {holder} is at work here; sweep when it has ended");
            return Err(Failure::new(Exit::Refused, text));
        }
    };
    let (sessions, intent) = if dry_run {
        let found = engine::sweep::look(&context.recorder, &context.settings)?;
        (found, Intent::Count)
    } else {
        let found = engine::sweep::sweep(&context.recorder, &context.settings)?;
        (found, Intent::Remove)
    };
    let sockets = models::sweep(intent);
    let artifacts = artifacts::sweep(context, intent)?;
    if common.json {
        terminal::json(&Swept {
            sessions,
            sockets,
            artifacts,
        })?;
        return Ok(Exit::Done);
    }
    if sessions.is_empty() {
        terminal::say("nothing is left of sessions that are over");
    } else {
        show_sessions(&sessions, dry_run);
    }
    for folder in &sockets {
        let verb = if dry_run {
            "would be removed"
        } else {
            "removed"
        };
        terminal::data(format!(
            "sockets: {} {verb}: the engine they were of is gone",
            folder.display()
        ));
    }
    artifacts.tell();
    Ok(Exit::Done)
}

fn show_sessions(found: &[engine::sweep::Leftover], dry_run: bool) {
    let mut table = Table::new(&["WHAT", "WHOSE", "FATE", "WHY"]);
    for it in found {
        let fate = match (it.is_stale, dry_run) {
            (true, true) => "would be removed",
            (true, false) => "removed",
            (false, _) => "kept",
        };
        table.row([
            it.kind.as_str().into(),
            it.owner.as_str().into(),
            fate.into(),
            it.why.as_str().into(),
        ]);
    }
    table.print(0);
}

fn rebuild(common: &Common, context: &Context) -> Outcome {
    let path = context.place.state.join("views").join("board.json");
    let (found, position) = match std::fs::read_to_string(&path) {
        Ok(text) => compare(context, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Found::Missing, 0),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => (Found::Different, 0),
        Err(error) => return Err(error.into()),
    };
    drive::store_views(context)?;
    if common.json {
        terminal::json(&Rebuilt {
            board: found,
            position,
        })?;
    } else {
        let shown = path.display();
        let (word, style) = match found {
            Found::Identical => ("identical", GOOD),
            Found::Different => ("different", BAD),
            Found::Missing => ("missing", WARN),
        };
        let word = terminal::styled(word, style);
        let at = match found {
            Found::Identical => format!(" to what the log says up to event {position}"),
            Found::Different => " from what the log says; it is written anew".to_string(),
            Found::Missing => "; it is written now".to_string(),
        };
        terminal::data(format!("board: {word}{at} ({shown})"));
    }
    Ok(match found {
        Found::Identical | Found::Missing => Exit::Done,
        Found::Different => Exit::Failed,
    })
}

fn compare(context: &Context, text: &str) -> Result<(Found, u64), Failure> {
    let Ok(stored) = serde_json::from_str::<Stored>(text) else {
        return Ok((Found::Different, 0));
    };
    let log = context.recorder.world().log.as_ref();
    let board = Board::read_to(log, Position(stored.position))?;
    if board.stored()? == text {
        Ok((Found::Identical, stored.position))
    } else {
        Ok((Found::Different, stored.position))
    }
}

fn size(common: &Common, context: &Context) -> Outcome {
    let state = &context.place.state;
    let log = context::log_size(state)?;
    let beside = ["events.sqlite-wal", "events.sqlite-shm"];
    let beside: u64 = beside
        .iter()
        .filter_map(|it| std::fs::metadata(state.join(it)).ok())
        .map(|it| it.len())
        .sum();
    let (artifacts, artifacts_bytes) = walked(&state.join("artifacts"))?;
    let (_, trees_bytes) = walked(&state.join("trees"))?;
    let sizes = Sizes {
        events: log.events,
        effects_pending: log.pending,
        log_bytes: log.bytes + beside,
        log_bytes_free: log.bytes_free,
        artifacts,
        artifacts_bytes,
        trees_bytes,
    };
    if common.json {
        terminal::json(&sizes)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WHAT", "ROOM", "HOLDS"]);
    let holds = format!(
        "{} events, {} effects pending, {} free for reuse",
        sizes.events,
        sizes.effects_pending,
        bytes(sizes.log_bytes_free)
    );
    table.row([
        "event log".into(),
        bytes(sizes.log_bytes).into(),
        holds.into(),
    ]);
    let holds = format!("{} artifacts", sizes.artifacts);
    table.row([
        "artifacts".into(),
        bytes(sizes.artifacts_bytes).into(),
        holds.into(),
    ]);
    table.row([
        "trees".into(),
        bytes(sizes.trees_bytes).into(),
        "bases, layers and caches; all but open sessions can be made again".into(),
    ]);
    table.print(0);
    terminal::say(format!("in {}", state.display()));
    Ok(Exit::Done)
}

/// Returns how many files are beneath a folder and their length; what vanishes meanwhile is not
/// counted, and no link is followed.
fn walked(root: &Path) -> Result<(u64, u64), Failure> {
    let (mut files, mut length) = (0_u64, 0_u64);
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let text = format!("{} cannot be read: {error}", folder.display());
                return Err(Failure::new(Exit::Failed, text));
            }
        };
        for entry in entries.flatten() {
            let Ok(status) = entry.metadata() else {
                continue;
            };
            if status.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
                length += status.len();
            }
        }
    }
    Ok((files, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_counts_files_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("a")).unwrap();
        std::fs::write(root.path().join("a/b"), "12345").unwrap();
        std::os::unix::fs::symlink("/", root.path().join("a/root")).unwrap();
        let (files, length) = walked(root.path()).unwrap();
        assert_eq!(files, 2);
        assert_eq!(length, 5 + 1);
        assert_eq!(walked(&root.path().join("none")).unwrap(), (0, 0));
    }
}
