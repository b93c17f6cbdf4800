//! How a run's steps move: what begins it, and what an event sets back.

use alloc::vec::Vec;

use super::{Active, Note, Progress, Run, Status};
use crate::formula::Kind;
use crate::rollback;

pub(super) fn started(run: &Run) -> Active {
    let waiting = Progress {
        status: Status::Waiting,
        attempts: 0,
    };
    let steps = run
        .formula
        .steps
        .iter()
        .map(|it| (it.id.clone(), waiting.clone()))
        .collect();
    Active {
        run: run.clone(),
        tree: run.base.clone(),
        steps,
        round: 1,
        notes: Vec::new(),
        gates: Vec::new(),
        rollback: None,
    }
}

pub(super) fn set(active: &mut Active, step: &str, status: Status) {
    if let Some(progress) = active.steps.get_mut(step) {
        progress.status = status;
    }
}

pub(super) fn roll_back(active: &mut Active, done: &rollback::Done) {
    active.rollback = None;
    active.tree = done.tree.clone();
    for step in &done.redo {
        if let Some(progress) = active.steps.get_mut(step) {
            *progress = Progress {
                status: Status::Waiting,
                attempts: 0,
            };
        }
    }
    active
        .notes
        .retain(|it| !matches!(it, Note::RolledBack { .. }));
    active.notes.push(Note::RolledBack {
        by: done.rollback.by.clone(),
        why: done.rollback.why.clone(),
        reverted: done.reverted.clone(),
    });
}

/// On another base, what sessions made stays, but gates, decision and action count no more.
pub(super) fn reopen(active: &mut Active) {
    for step in &active.run.formula.steps {
        match step.kind {
            // A judge is no evidence: what it said of the work is not asked for again.
            Kind::Session { .. } | Kind::Judge(_) => {}
            Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => {
                let waiting = Progress {
                    status: Status::Waiting,
                    attempts: 0,
                };
                active.steps.insert(step.id.clone(), waiting);
            }
        }
    }
}
