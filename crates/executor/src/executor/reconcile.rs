//! What became of actions whose end nobody saw: the target is looked at, and nothing is done again.

use std::sync::Arc;

use wire::execution::{Failure, Status};

use super::{Executor, Fault};
use crate::actions::Found;
use crate::audit::{NotRecorded, Settled};

impl Executor {
    /// Looks at the target for each action whose end nobody saw. Nothing is done again.
    pub(super) fn reconcile(&self) -> Result<(), Fault> {
        for (intent, is_told) in self.ledger.unsettled() {
            let connections = Arc::default();
            let scratch = self.scratch();
            let means = self.means(&scratch, &connections, (self.world.now)());
            let before = intent.before.as_deref();
            let found = self.config.file.actions.look(&intent.action, before, means);
            if !self.record_reached(intent.request_id, &connections) {
                return Err(NotRecorded.into());
            }
            let (status, summary, failure) = match found {
                Found::Done(summary) => (Status::Succeeded, Some(summary), None),
                Found::Nothing => (Status::Failed, None, Some(Failure::NotPerformed)),
                Found::Unclear if is_told => continue,
                Found::Unclear => (Status::Unknown, None, None),
            };
            let settled = Settled {
                request_id: intent.request_id,
                status,
                summary,
                failure,
                is_reconciled: true,
            };
            self.settle(&settled).ok_or(NotRecorded)?;
        }
        Ok(())
    }
}
