//! RollBack: puts a work's tree back to a checkpoint. The tree as it was before is a checkpoint of
//! its own, so that every rollback can be undone.

use std::collections::BTreeSet;

use domain::case::{Case, Command};
use domain::checkpoint::{self, Checkpoint, Trigger};
use domain::rollback::{self, Rollback, Strategy};
use domain::tree::{Entry, Tree};
use domain::{CheckpointId, EffectId, RunId, WorkId, conclude, run};

use super::Bench;
use super::checkpoint::{bytes, count, paths};
use crate::recorder::Error;

/// The largest file that is looked into for names of others, in bytes.
const NAMED_BYTES_MAX: u64 = 1 << 20;

/// What a rollback would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The tree as it is.
    pub from: Tree,
    /// The checkpoint that holds it, if one does.
    pub before: Option<CheckpointId>,
    /// The tree as it will be.
    pub tree: Tree,
    /// The paths that are put back.
    pub reverted: Vec<String>,
    /// The changed paths that are kept.
    pub kept: Vec<String>,
    /// The steps that are to be done again.
    pub redo: Vec<String>,
}

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails. A rollback that makes no sense is given up instead.
pub fn perform(bench: &Bench<'_>, work: WorkId, id: RunId, effect: EffectId) -> Result<(), Error> {
    let case = bench.recorder.load(work)?;
    let wanted = match case.runs.get(&id) {
        Some(run::State::Active(active)) => active.rollback.clone(),
        Some(run::State::Absent | run::State::Ended(..)) | None => None,
    };
    let Some(wanted) = wanted else {
        return bench.recorder.settle(effect);
    };
    let planned = match plan(bench, &case, &wanted) {
        Ok(planned) => planned,
        Err(
            error @ (Error::Invalid(_)
            | Error::Workspaces(
                ports::workspaces::Error::NotFound(_) | ports::workspaces::Error::Unusable(_),
            )),
        ) => {
            let why = error.to_string();
            bench.recorder.submit(work, Some(effect), |_| {
                let why = why.clone();
                Ok(vec![Command::Run(
                    id,
                    run::Command::AbandonRollback { why },
                )])
            })?;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let snapshot = snapshot(bench, work, &case, &planned)?;
    bench.recorder.submit(work, Some(effect), |case| {
        let mut commands = Vec::new();
        let before = match &snapshot {
            Ok(known) => *known,
            Err((fresh, checkpoint)) => {
                let capture = checkpoint::Command::Capture(checkpoint.clone());
                let why = "taken before a rollback".to_string();
                commands.push(Command::Checkpoint(*fresh, capture));
                let defer = checkpoint::Command::Defer { why };
                commands.push(Command::Checkpoint(*fresh, defer));
                *fresh
            }
        };
        let done = rollback::Done {
            rollback: wanted.clone(),
            before,
            tree: planned.tree.clone(),
            reverted: planned.reverted.clone(),
            kept: planned.kept.clone(),
            redo: planned.redo.clone(),
        };
        commands.extend(conclude::rolled_back(case, id, done));
        Ok::<Vec<Command>, Error>(commands)
    })?;
    Ok(())
}

/// Returns what a rollback would do, without doing it.
///
/// # Errors
/// When the checkpoint is not of this work, or lies on another base than a strategy can bridge.
pub fn plan(bench: &Bench<'_>, case: &Case, wanted: &Rollback) -> Result<Planned, Error> {
    plan_from(bench, case, wanted, None)
}

/// Returns what a rollback would do if the tree were that of the checkpoint `from`.
///
/// # Errors
/// As [`plan`].
pub fn plan_from(
    bench: &Bench<'_>,
    case: &Case,
    wanted: &Rollback,
    from: Option<CheckpointId>,
) -> Result<Planned, Error> {
    let active = case
        .active()
        .ok_or_else(|| Error::Invalid("the work has not begun: there is no tree".to_string()))?;
    let given = from.and_then(|id| Some((Some(id), case.checkpoints.get(&id)?.checkpoint()?)));
    let (before, from) = match given {
        Some((id, it)) => (id, it.tree.clone()),
        None => current(case, active),
    };
    let target = match wanted.to {
        None => active.tree.clone(),
        Some(to) => {
            let state = case.checkpoints.get(&to);
            let taken = state.and_then(checkpoint::State::checkpoint);
            taken
                .map(|it| it.tree.clone())
                .ok_or_else(|| Error::Invalid(format!("the work has no checkpoint {to}")))?
        }
    };
    let redo = rollback::redo(case, wanted.to)
        .ok_or_else(|| Error::Invalid("the checkpoint is of no session".to_string()))?;
    let workspaces = &bench.recorder.world().workspaces;
    // Another base: only the whole can be exchanged.
    if from.base != target.base {
        if wanted.strategy != Strategy::Full {
            let text = "the work was carried to another base since that checkpoint: only \
                        `--strategy full` can go there";
            return Err(Error::Invalid(text.to_string()));
        }
        return Ok(Planned {
            from,
            before,
            tree: target,
            reverted: vec![".".to_string()],
            kept: vec![],
            redo,
        });
    }
    let changed: Vec<String> = workspaces
        .changes(&target, &from)?
        .into_iter()
        .map(|it| it.path)
        .collect();
    let reverted: BTreeSet<String> = match wanted.strategy {
        Strategy::Full => changed.iter().cloned().collect(),
        Strategy::Paths if !wanted.paths.is_empty() => named(&changed, &wanted.paths)?,
        Strategy::Paths => violating(bench, case, &target, &from)?,
        Strategy::Smart => {
            let violating = violating(bench, case, &target, &from)?;
            let contents = Contents { bench, tree: &from };
            rollback::smart(&changed, &violating, &|path, other| {
                contents.names(path, other)
            })
        }
    };
    let put_back: Vec<String> = reverted.iter().cloned().collect();
    let tree = match wanted.strategy {
        Strategy::Full => target,
        Strategy::Paths | Strategy::Smart => workspaces.restore(&from, &target, &put_back)?,
    };
    let kept = changed.into_iter().filter(|it| !reverted.contains(it));
    Ok(Planned {
        from,
        before,
        tree,
        kept: kept.collect(),
        reverted: put_back,
        redo,
    })
}

/// Returns the tree as it is: what the last session left when it was ended for a rollback, else the
/// accepted one.
fn current(case: &Case, active: &run::Active) -> (Option<CheckpointId>, Tree) {
    let last = case
        .checkpoints
        .iter()
        .rev()
        .find_map(|(id, state)| Some((*id, state.checkpoint()?)));
    match last {
        Some((id, it)) if it.trigger == Trigger::BeforeRollback && it.session.is_some() => {
            let is_newest = active
                .rollback
                .as_ref()
                .is_some_and(|wanted| wanted.to != Some(id));
            if is_newest {
                return (Some(id), it.tree.clone());
            }
        }
        Some(_) | None => {}
    }
    let known = case.checkpoints.iter().rev().find(|(_, state)| {
        state
            .checkpoint()
            .is_some_and(|it| it.tree.digest == active.tree.digest)
    });
    (known.map(|(id, _)| *id), active.tree.clone())
}

fn named(changed: &[String], wanted: &[String]) -> Result<BTreeSet<String>, Error> {
    let beneath = |path: &str, folder: &str| {
        let folder = folder.trim_end_matches('/');
        path == folder
            || path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if let Some(missing) = wanted
        .iter()
        .find(|folder| !changed.iter().any(|path| beneath(path, folder)))
    {
        let text = format!("`{missing}` is the same at that checkpoint: nothing to put back");
        return Err(Error::Invalid(text));
    }
    let hit = changed
        .iter()
        .filter(|path| wanted.iter().any(|folder| beneath(path, folder)));
    Ok(hit.cloned().collect())
}

/// Returns the paths that break rules; all of them when the whole does.
fn violating(
    bench: &Bench<'_>,
    case: &Case,
    target: &Tree,
    from: &Tree,
) -> Result<BTreeSet<String>, Error> {
    let role = case
        .sessions
        .values()
        .next_back()
        .and_then(domain::session::State::session)
        .map(|it| it.role.clone());
    let Some((rules, _)) = bench.rules(case, role.as_deref()) else {
        return Ok(BTreeSet::new());
    };
    let workspaces = &bench.recorder.world().workspaces;
    let changes = workspaces.changes(target, from)?;
    let violations = workspaces.judge(target, from, &changes, &rules)?;
    let whole = domain::tree::Violation::WHOLE;
    if violations.iter().any(|it| it.path == whole) {
        return Ok(changes.into_iter().map(|it| it.path).collect());
    }
    Ok(paths(&violations).into_iter().collect())
}

/// The contents of a tree's changed files.
struct Contents<'a> {
    bench: &'a Bench<'a>,
    tree: &'a Tree,
}

impl Contents<'_> {
    /// Returns whether the content of `path` mentions the file name of `other`, without its ending:
    /// as an import, a path or a link would.
    fn names(&self, path: &str, other: &str) -> bool {
        let name = other.rsplit('/').next().unwrap_or(other);
        let stem = name.split('.').find(|it| !it.is_empty()).unwrap_or(name);
        // What cannot be read cannot be shown to stand by itself.
        self.text(path).is_none_or(|text| {
            text.split(|it: char| !(it.is_alphanumeric() || it == '_' || it == '-'))
                .any(|word| word == stem)
        })
    }

    fn text(&self, path: &str) -> Option<String> {
        let world = self.bench.recorder.world();
        let changes = self.bench.changes_of(self.tree).ok()?;
        let change = changes.into_iter().find(|it| it.path == path)?;
        match change.entry {
            Entry::File { content, bytes, .. } if bytes <= NAMED_BYTES_MAX => {
                let bytes = world.artifacts.get(&content).ok()?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            Entry::File { .. } => None,
            Entry::Symlink { target } => Some(target),
            Entry::Deleted | Entry::Foreign { .. } => Some(String::new()),
        }
    }
}

/// Returns the checkpoint that holds the tree as it is, or a new one to be recorded.
fn snapshot(
    bench: &Bench<'_>,
    work: WorkId,
    case: &Case,
    planned: &Planned,
) -> Result<Result<CheckpointId, (CheckpointId, Checkpoint)>, Error> {
    if let Some(known) = planned.before {
        return Ok(Ok(known));
    }
    let all = bench.changes_of(&planned.from)?;
    let checkpoint = Checkpoint {
        work,
        session: None,
        trigger: Trigger::BeforeRollback,
        parent: case.checkpoints.keys().next_back().copied(),
        tree: planned.from.clone(),
        files: 0,
        bytes: 0,
        files_total: count(&all),
        bytes_total: bytes(&all),
        micros: 0,
        held_micros: 0,
    };
    let fresh = CheckpointId::from_bits(bench.recorder.fresh());
    Ok(Err((fresh, checkpoint)))
}
