//! Checkpoints of a running session: judged, recorded, and answered. A service that fails is left
//! alone by its breaker, and what it would have vouched for stays unjudged.

use std::time::{Duration, Instant};

use domain::case::Command;
use domain::checkpoint::{self, Checkpoint, Trigger};
use domain::conclude::{self, Left};
use domain::session::Session;
use domain::tree::{Change, Entry, Tree, Violation};
use domain::{CheckpointId, MessageId, SessionId, WorkId, breaker};
use ports::workspaces::Captured;

use super::{Bench, told};
use crate::recorder::Error;

/// Captures what sessions leave.
pub const CHECKPOINTER: &str = "checkpointer";
/// Judges it.
pub const VALIDATOR: &str = "validator";

/// A captured tree, and what it was captured of.
pub(super) struct Taken<'a> {
    pub(super) work: WorkId,
    pub(super) session: SessionId,
    pub(super) about: &'a Session,
    pub(super) id: CheckpointId,
    pub(super) trigger: Trigger,
    pub(super) captured: Captured,
    /// How long the cell stood still.
    pub(super) held: Duration,
}

/// Judges a checkpoint of a running session and records it with what follows from it.
pub(super) fn record(bench: &Bench<'_>, taken: &Taken<'_>) -> Result<(), Error> {
    let recorder = bench.recorder;
    let case = recorder.load(taken.work)?;
    let parent = case.checkpoints.iter().rev().find_map(|(id, state)| {
        let it = state.checkpoint()?;
        (it.session == Some(taken.session)).then(|| (*id, it.tree.clone()))
    });
    let before = parent.as_ref().map_or(&taken.about.tree, |(_, it)| it);
    let checkpoint = describe(bench, taken, parent.as_ref().map(|(id, _)| *id), before)?;
    let Some((rules, digest)) = bench.rules(&case, Some(&taken.about.role)) else {
        return Ok(());
    };
    let began = Instant::now();
    let workspaces = &recorder.world().workspaces;
    let judged = if attempt(bench, VALIDATOR)? {
        let (tree, changes) = (&taken.captured.tree, &taken.captured.changes);
        workspaces.judge(&taken.about.tree, tree, changes, &rules)
    } else {
        let why = "the validator's breaker is open".to_string();
        return defer(bench, taken, &checkpoint, &why);
    };
    let micros = micros(began.elapsed());
    let violations = match judged {
        Ok(violations) => {
            works(bench, VALIDATOR)?;
            told(violations)
        }
        Err(error) => {
            fails(bench, VALIDATOR, &error)?;
            return defer(bench, taken, &checkpoint, &error.to_string());
        }
    };
    let left = Left {
        id: taken.id,
        clean: checkpoint.tree.clone(),
        checkpoint,
        rules: digest,
        violations,
        micros,
    };
    let message = MessageId::from_bits(recorder.fresh());
    let policy = bench.settings.checkpoints.on_violation;
    recorder.submit(taken.work, None, |case| {
        Ok(conclude::watched(
            case,
            taken.session,
            &left,
            policy,
            message,
        ))
    })?;
    Ok(())
}

fn describe(
    bench: &Bench<'_>,
    taken: &Taken<'_>,
    parent: Option<CheckpointId>,
    before: &Tree,
) -> Result<Checkpoint, Error> {
    let workspaces = &bench.recorder.world().workspaces;
    let tree = &taken.captured.tree;
    let since = workspaces.changes(before, tree)?;
    let all = bench.changes_of(tree)?;
    Ok(Checkpoint {
        work: taken.work,
        session: Some(taken.session),
        trigger: taken.trigger,
        parent,
        tree: tree.clone(),
        files: count(&since),
        bytes: bytes(&since),
        files_total: count(&all),
        bytes_total: bytes(&all),
        micros: taken.captured.micros,
        held_micros: micros(taken.held),
    })
}

/// What nobody could judge is on record, and not promotable.
fn defer(
    bench: &Bench<'_>,
    taken: &Taken<'_>,
    checkpoint: &Checkpoint,
    why: &str,
) -> Result<(), Error> {
    bench.recorder.submit(taken.work, None, |_| {
        let capture = checkpoint::Command::Capture(checkpoint.clone());
        let why = why.to_string();
        Ok(vec![
            Command::Checkpoint(taken.id, capture),
            Command::Checkpoint(taken.id, checkpoint::Command::Defer { why }),
        ])
    })?;
    Ok(())
}

/// Returns whether a service may be used: its breaker is closed, or this is the one try.
pub(super) fn attempt(bench: &Bench<'_>, service: &str) -> Result<bool, Error> {
    let now = bench.recorder.world().clock.now();
    match bench
        .recorder
        .breaker(service, &breaker::Command::Try { now })
    {
        Ok(_) => Ok(true),
        Err(Error::Breaker { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Notes that a service worked.
pub(super) fn works(bench: &Bench<'_>, service: &str) -> Result<(), Error> {
    let succeed = breaker::Command::Succeed;
    bench.recorder.breaker(service, &succeed).map(drop)
}

/// Notes that a service failed. The session goes on, and the next look tries again.
pub(super) fn fails(
    bench: &Bench<'_>,
    service: &str,
    error: &dyn std::error::Error,
) -> Result<(), Error> {
    let (now, why) = (bench.recorder.world().clock.now(), error.to_string());
    let fail = breaker::Command::Fail { why, now };
    bench.recorder.breaker(service, &fail).map(drop)
}

/// Returns the paths of violations, each once; nothing when the whole is what is wrong.
pub(super) fn paths(violations: &[Violation]) -> Vec<String> {
    let mut paths: Vec<_> = violations.iter().map(|it| it.path.clone()).collect();
    paths.sort();
    paths.dedup();
    paths
}

pub(super) fn count(changes: &[Change]) -> u64 {
    u64::try_from(changes.len()).unwrap_or(u64::MAX)
}

pub(super) fn bytes(changes: &[Change]) -> u64 {
    let of = |it: &Change| match &it.entry {
        Entry::File { bytes, .. } => *bytes,
        Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => 0,
    };
    changes.iter().map(of).sum()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
