//! Acting: actions are tended beside the works, each by a thread of its own while the executor is
//! asked; what it does not answer now is asked again later.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use domain::ActionId;

use crate::actions::{Task, carry_out, due};
use crate::recorder::{Error, Recorder};
use crate::views::board::Board;

/// Which actions are tended, and how that went.
#[derive(Debug, Default)]
pub(super) struct Acting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    busy: BTreeSet<ActionId>,
    /// Grants that were tried: what does not come of it now, does not come of it in this run.
    tried: BTreeSet<ActionId>,
    errors: BTreeMap<ActionId, Error>,
}

impl Acting {
    /// Returns whether anything is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.lock().busy.is_empty()
    }

    /// Begins what is due; returns whether there was anything.
    pub(super) fn begin<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        recorder: &'env Recorder,
        board: &Board,
    ) -> Result<bool, Error> {
        let mut has_begun = false;
        for task in due(recorder, board)? {
            let id = task.action();
            let mut state = self.lock();
            let is_again = match task {
                Task::UseGrant(..) => !state.tried.insert(id),
                Task::Dispatch(..) => false,
            };
            if is_again || state.errors.contains_key(&id) || !state.busy.insert(id) {
                continue;
            }
            has_begun = true;
            scope.spawn(move || {
                // A mistake of the program is an error of this action, not the end of all.
                let done = panic::catch_unwind(AssertUnwindSafe(|| carry_out(recorder, task)));
                let mistake = |_| Err(Error::Fault(format!("{id} met a mistake of Palisade")));
                let done = done.unwrap_or_else(mistake);
                let mut state = self.lock();
                state.busy.remove(&id);
                if let Err(error) = done {
                    state.errors.insert(id, error);
                }
            });
        }
        Ok(has_begun)
    }

    /// Returns what went wrong.
    pub(super) fn errors(&self) -> BTreeMap<ActionId, Error> {
        std::mem::take(&mut self.lock().errors)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
