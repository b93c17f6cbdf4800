//! What a session leaves: captured, judged, and cleaned of what breaks rules.

use domain::agent::EndReason;
use domain::case::Case;
use domain::checkpoint::{Checkpoint, Trigger};
use domain::conclude::Left;
use domain::session::Session;
use domain::tree::{Tree, Violation};
use domain::{CheckpointId, SessionId, WorkId};
use std::time::Instant;

use super::super::checkpoint::services::User;
use super::super::checkpoint::{asked, bytes, count, paths};
use super::super::{Bench, told};
use crate::recorder::Error;

pub(super) const fn trigger(reason: &EndReason) -> Trigger {
    match reason {
        EndReason::Interrupted => Trigger::Recovery,
        EndReason::RolledBack { .. } => Trigger::BeforeRollback,
        EndReason::Done { .. }
        | EndReason::Refused { .. }
        | EndReason::Failed { .. }
        | EndReason::NoSignal { .. }
        | EndReason::NeverSpoke
        | EndReason::Silent
        | EndReason::Stalled { .. }
        | EndReason::WallClock
        | EndReason::Flood
        | EndReason::Garbage
        | EndReason::Stopped
        | EndReason::OverQuota { .. }
        | EndReason::OverBudget { .. }
        | EndReason::Escalated { .. }
        | EndReason::Incident { .. }
        | EndReason::LaunchFailed { .. } => Trigger::TurnEnd,
    }
}

/// Captures and judges what a session left; nothing when it never had a workspace.
pub(super) fn capture(
    bench: &Bench<'_>,
    case: &Case,
    work: WorkId,
    id: SessionId,
    about: &Session,
    trigger: Trigger,
) -> Result<Option<Left>, Error> {
    bench.look_through(id, bench.watch(&about.tree.base)?.as_ref())?;
    let workspaces = &bench.recorder.world().workspaces;
    let captured = match workspaces.capture(id) {
        Ok(captured) => captured,
        Err(ports::workspaces::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some((rules, digest)) = bench.rules(case, Some(&about.role)) else {
        return Ok(None);
    };
    let began = Instant::now();
    let judgement = workspaces.judgement(&about.tree, &captured.tree, &captured.changes, &rules)?;
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let asked = asked(&judgement);
    let violations = judgement.violations;
    User {
        bench,
        work,
        session: id,
    }
    .all_work()?;
    let all = bench.changes_of(&captured.tree)?;
    // What was counted while the session ran is not counted again.
    let mut earlier = case.checkpoints.values().rev();
    let earlier = earlier.find_map(|it| it.checkpoint().filter(|it| it.session == Some(id)));
    let since = match earlier {
        Some(earlier) => workspaces.changes(&earlier.tree, &captured.tree)?,
        None => captured.changes,
    };
    let clean = cleaned(bench, &captured.tree, &about.tree, &violations)?;
    let checkpoint = Checkpoint {
        work,
        session: Some(id),
        trigger,
        parent: case.checkpoints.keys().next_back().copied(),
        tree: captured.tree,
        files: count(&since),
        bytes: bytes(&since),
        files_total: count(&all),
        bytes_total: bytes(&all),
        micros: captured.micros,
        // The cell is gone by now.
        held_micros: 0,
    };
    let id = CheckpointId::from_bits(bench.recorder.fresh());
    Ok(Some(Left {
        id,
        checkpoint,
        rules: digest,
        violations: told(violations),
        clean,
        micros,
        asked,
    }))
}

/// Takes out what is wrong. What is wrong with the whole (its size, say) has no path of its own:
/// then nothing of it is taken in.
fn cleaned(
    bench: &Bench<'_>,
    tree: &Tree,
    before: &Tree,
    violations: &[Violation],
) -> Result<Tree, Error> {
    if violations.iter().any(|it| it.path == Violation::WHOLE) {
        return Ok(before.clone());
    }
    let paths = paths(violations);
    if paths.is_empty() {
        return Ok(tree.clone());
    }
    let workspaces = &bench.recorder.world().workspaces;
    Ok(workspaces.restore(tree, before, &paths)?)
}
