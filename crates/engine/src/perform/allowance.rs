//! Allowances, kept: what a work may still write and print bounds each of its cells; a session that
//! uses it up ends with its work kept, and the operator is asked before another begins.

use std::path::Path;

use domain::WorkId;
use domain::agent::EndReason;
use domain::allowance::{Allowance, Used};
use domain::case::Case;
use ports::agents::{self, Outcome};
use ports::cells;

use super::Bench;
use crate::recorder::Error;

/// What a session may use of its work's allowance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    of: Allowance,
    used: Used,
    cell: cells::Limits,
    agent: agents::Limits,
}

impl Allowed {
    /// Looks at what the work has used so far.
    ///
    /// # Errors
    /// When its caches cannot be looked at.
    pub(super) fn of(bench: &Bench<'_>, case: &Case, work: WorkId) -> Result<Self, Error> {
        Ok(Self {
            of: bench.settings.allowance,
            used: used(bench, case, work)?,
            cell: bench.settings.cell_limits,
            agent: bench.settings.agent_limits,
        })
    }

    /// Returns what is used up before the session has begun.
    pub(super) fn used_up(&self) -> Option<String> {
        self.used.over(&self.of)
    }

    /// Lowers the limits of a session to what is left.
    pub(super) fn bound(&self, cell: &mut cells::Limits, agent: &mut agents::Limits) {
        let left = self.used.left(&self.of);
        cell.disk_bytes = cell.disk_bytes.min(left.disk_bytes);
        cell.disk_files = cell.disk_files.min(left.files);
        agent.output_bytes_max = agent.output_bytes_max.min(left.output_bytes);
    }

    /// Tells what a session met that was ended for its limits: its own, the work's, or the disk's.
    pub(super) fn overrule(&self, bench: &Bench<'_>, outcome: &mut Outcome) {
        let left = self.used.left(&self.of);
        if let EndReason::OverQuota { detail } = &mut outcome.reason {
            let state = &bench.settings.state;
            let free = bench.recorder.world().machine.free(state).ok();
            // Below what must be free to start a session, it was the disk that was short.
            if let Some(free) = free.filter(|it| it.disk < bench.settings.room.disk_bytes) {
                let (free, disk) = (free.disk >> 20, state.display());
                *detail = format!("{detail}; the disk of {disk} has {free} MiB left");
            } else if left.disk_bytes < self.cell.disk_bytes || left.files < self.cell.disk_files {
                let detail = format!("{detail}; {}", self.told());
                outcome.reason = EndReason::OverBudget { detail };
            }
        } else if outcome.reason == EndReason::Flood
            && left.output_bytes < self.agent.output_bytes_max
        {
            let detail = self.told();
            outcome.reason = EndReason::OverBudget { detail };
        }
    }

    fn told(&self) -> String {
        let Self { of, used, .. } = self;
        format!(
            "the work may write {} MiB and {} files (`work_disk_mib`, `work_files`), and print {} \
             MiB (`work_output_mib`); before this session it had {} MiB, {} files and {} MiB",
            of.disk_bytes >> 20,
            of.files,
            of.output_bytes >> 20,
            used.disk_bytes.div_ceil(1 << 20),
            used.files,
            used.output_bytes.div_ceil(1 << 20),
        )
    }
}

/// Returns what a work has used: what the record says, and what its caches hold.
///
/// # Errors
/// When a cache cannot be looked at.
fn used(bench: &Bench<'_>, case: &Case, work: WorkId) -> Result<Used, Error> {
    let caches = caches(bench, work)?;
    Ok(Used::of(case).and(caches.disk_bytes, caches.files))
}

/// Returns what the caches of a work hold.
///
/// # Errors
/// When a cache cannot be looked at.
pub(super) fn caches(bench: &Bench<'_>, work: WorkId) -> Result<Used, Error> {
    let mut used = Used::default();
    let workspaces = &bench.recorder.world().workspaces;
    let layers = bench.settings.mounts.iter();
    for name in layers.filter_map(|it| it.layer.as_ref()) {
        let (upper, _) = workspaces.cache_layer(&work.to_string(), name)?;
        let (bytes, files) = measured(&upper);
        used = used.and(bytes, files);
    }
    Ok(used)
}

/// Returns the bytes and the files beneath a folder. Links are not followed; what a program has made
/// unreadable, and what vanishes meanwhile, is not counted.
fn measured(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(status) = entry.metadata() else {
                continue;
            };
            files = files.saturating_add(1);
            if status.is_dir() {
                folders.push(entry.path());
            } else {
                bytes = bytes.saturating_add(status.len());
            }
        }
    }
    (bytes, files)
}
