//! CleanUp: remove what a closed work left in the workspace. Checkpoints and evidence stay.

use domain::{EffectId, WorkId};

use super::{Bench, brief};
use crate::recorder::Error;

/// Performs the effect.
///
/// # Errors
/// When the disk fails.
pub fn perform(bench: &Bench<'_>, work: WorkId, effect: EffectId) -> Result<(), Error> {
    let case = bench.recorder.load(work)?;
    for (session, state) in &case.sessions {
        // A session that still runs is cleaned up by its own end.
        if state.end().is_some() {
            bench.recorder.world().workspaces.close(*session)?;
            brief::remove(bench, *session)?;
        }
    }
    bench
        .recorder
        .world()
        .workspaces
        .remove_caches(&work.to_string())?;
    bench.recorder.settle(effect)
}
