//! `palisade export`: take a checkpoint out, as a branch or a patch.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use domain::CheckpointId;
use domain::checkpoint::{self, Checkpoint, State};
use domain::tree::Tree;
use ports::workspaces::{CommitText, Landed, Target};

use super::Common;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal::{self, WARN};
use crate::{moment, naming};

/// The largest patch, in bytes: one that was cut would not apply.
const PATCH_BYTES_MAX: usize = 64 << 20;

/// The first part of the names of branches that approved changes land on.
const LANDING: &str = "palisade";

/// What a diff that was cut may lack of its limit, for the note that says so.
const CUT_NOTE_BYTES_MAX: usize = 1 << 10;

/// Take a checkpoint out, as a git branch or a patch
///
/// The branch is a new one, with one commit on the base the work began on; a branch that exists or
/// is checked out anywhere is never touched. What is exported was proposed by an agent and decided
/// on by nobody: look at it before you use it.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// The checkpoint (`palisade checkpoints WORK` lists them).
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: String,
    /// The new branch.
    #[arg(long, value_name = "NAME", required_unless_present = "patch")]
    branch: Option<String>,
    /// The new file for the patch.
    #[arg(long, value_name = "FILE", conflicts_with = "branch")]
    patch: Option<PathBuf>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    let case = context.recorder.load(work)?;
    let ids = case.checkpoints.keys().copied();
    let id = naming::find(
        ids,
        &args.checkpoint,
        "checkpoint",
        "palisade checkpoints WORK",
    )?;
    let state = case.checkpoints.get(&id);
    let Some(taken) = state.and_then(State::checkpoint) else {
        return Err(Failure::usage(format!(
            "checkpoint {id} was never captured"
        )));
    };
    let workspaces = &context.recorder.world().workspaces;
    let base = workspaces.prepare(&taken.tree.base, &context.settings.secrets)?;
    let exported = match (&args.branch, &args.patch) {
        (Some(name), _) => branch(&context, id, taken, name)?,
        (None, Some(file)) => patch(&context, &base, &taken.tree, file)?,
        (None, None) => return Err(Failure::usage("give `--branch NAME` or `--patch FILE`")),
    };
    if common.json {
        terminal::json(&exported)?;
    }
    if let Some(State::Violated(_, violations)) = state {
        for told in checkpoint::told(violations) {
            let text = format!("it breaks a rule: {told}");
            terminal::say(terminal::styled(&terminal::printable(&text), WARN));
        }
    }
    Ok(Exit::Done)
}

/// What was exported, and where to.
#[derive(Debug, serde::Serialize)]
struct Exported {
    branch: Option<String>,
    commit: Option<String>,
    patch: Option<PathBuf>,
}

fn branch(
    context: &Context,
    id: CheckpointId,
    taken: &Checkpoint,
    name: &str,
) -> Result<Exported, Failure> {
    may_be_called(name).map_err(Failure::usage)?;
    let lands_on = context::branch_ref(&context.place, name).map_err(Failure::usage)?;
    let workspaces = &context.recorder.world().workspaces;
    let captured = context
        .recorder
        .world()
        .log
        .read_stream(&format!("checkpoint/{id}"), 0)?;
    // The same checkpoint is the same commit, whenever it is exported.
    let seconds = captured.first().map_or(0, |it| it.event.time.0 / 1_000);
    let text = CommitText {
        name: "Palisade".to_string(),
        email: "palisade@localhost".to_string(),
        seconds,
        message: format!(
            "Checkpoint {id}\n\nTaken by Palisade ({}); nobody has approved it.\n\n\
             Palisade-Work: {}\nPalisade-Tree: {}\n",
            taken.trigger.name(),
            taken.work,
            taken.tree.digest,
        ),
    };
    let commit = workspaces.publish(&taken.tree, &text)?;
    let target = Target {
        branch: name.to_string(),
        lands_on,
        head: taken.tree.base.clone(),
        // It must not be there yet.
        expected: None,
    };
    match workspaces.land(&target, &commit)? {
        Landed::Yes => {}
        Landed::Moved(_) => {
            let text = format!("there is a branch `{name}` already; name another");
            return Err(Failure::usage(text));
        }
    }
    let when = moment::day_and_time(domain::Timestamp(seconds * 1_000));
    terminal::say(format!("{name} is {} (taken {when})", commit.short()));
    Ok(Exported {
        branch: Some(name.to_string()),
        commit: Some(commit.as_str().to_string()),
        patch: None,
    })
}

/// Refuses a branch where approved changes land, and what git would take for another name.
fn may_be_called(name: &str) -> Result<(), String> {
    let first = name.split('/').next().unwrap_or_default();
    // Git finds both in one file on disks that do not tell capitals apart.
    if first.eq_ignore_ascii_case(LANDING) {
        return Err(format!(
            "`{name}` is where approved changes land (`{LANDING}/…`), and nobody has approved this; \
             name another branch, such as `look/at-it`"
        ));
    }
    if first == "refs" || name == "HEAD" {
        return Err(format!(
            "`{name}` is no short name of a branch; leave out `refs/heads/`, such as `look/at-it`"
        ));
    }
    Ok(())
}

fn patch(context: &Context, base: &Tree, tree: &Tree, file: &Path) -> Result<Exported, Failure> {
    let workspaces = &context.recorder.world().workspaces;
    let diff = workspaces.diff(base, tree, PATCH_BYTES_MAX)?;
    if diff.len() >= PATCH_BYTES_MAX - CUT_NOTE_BYTES_MAX {
        let text = "the patch is too large to be written whole; take it out with `--branch`";
        return Err(Failure::usage(text));
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| format!("{} cannot be made", file.display()))?;
    out.write_all(diff.as_bytes())
        .and_then(|()| out.flush())
        .with_context(|| format!("{} cannot be written", file.display()))?;
    terminal::say(format!("written to {}", file.display()));
    Ok(Exported {
        branch: None,
        commit: None,
        patch: Some(file.to_path_buf()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_approved_is_never_put_where_approved_changes_land() {
        for wrong in [
            "palisade",
            "palisade/main",
            "Palisade/main",
            "palisade/a/b",
            "refs/heads/zz",
            "HEAD",
        ] {
            assert!(may_be_called(wrong).is_err(), "{wrong}");
        }
        for right in ["look/at-it", "palisades", "x/palisade/main", "refsx"] {
            assert_eq!(may_be_called(right), Ok(()), "{right}");
        }
    }
}
