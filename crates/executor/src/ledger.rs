//! What is known of requests and approvals: read from the audit at the start, kept while running.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Digest, ExecutionId};
use tokio::sync::watch;
use wire::execution::reply::Evidence;
use wire::execution::{Approval, Receipt, Status};

use crate::audit::{Entry, Intent, Line, Settled};

/// Requests and approvals.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    requests: BTreeMap<ExecutionId, State>,
    used: BTreeMap<String, u32>,
}

#[derive(Clone, Debug)]
enum State {
    /// Somebody is at it.
    Running(Digest),
    /// It has begun, and nothing is known of its end.
    Begun(Box<(Intent, Evidence)>),
    /// It was answered.
    Settled(Box<(Intent, Receipt)>),
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is the caller's, who must settle or release it.
    Yours,
    /// It was answered.
    Answered(Box<Receipt>),
    /// The identifier is another request's.
    Conflict,
    /// Somebody is at it.
    UnderWay,
}

impl Ledger {
    /// Takes in a line of the audit.
    pub(crate) fn learn(&self, line: &Line) {
        let mut known = self.lock();
        let evidence = Evidence {
            sequence: line.sequence,
            digest: line.digest,
            at: line.at,
        };
        match &line.entry {
            Entry::Intent(intent) => known.begin(intent, &evidence),
            Entry::Settled(settled) => {
                known.settle(settled, evidence);
            }
            Entry::Started { .. }
            | Entry::Reached { .. }
            | Entry::Refused(_)
            | Entry::Incident { .. }
            | Entry::Torn { .. } => {}
        }
    }

    /// Claims a request.
    pub(crate) fn claim(&self, id: ExecutionId, digest: Digest, requester: &str) -> Claim {
        let mut known = self.lock();
        match known.requests.get(&id) {
            None => {
                known.requests.insert(id, State::Running(digest));
                Claim::Yours
            }
            Some(State::Settled(both)) => {
                let (intent, receipt) = &**both;
                if intent.request == digest && intent.requester == requester {
                    Claim::Answered(Box::new(receipt.clone()))
                } else {
                    Claim::Conflict
                }
            }
            Some(State::Running(first)) if *first != digest => Claim::Conflict,
            Some(State::Begun(both)) if both.0.request != digest => Claim::Conflict,
            Some(State::Running(_) | State::Begun(_)) => Claim::UnderWay,
        }
    }

    /// Waits until nobody is at a request any more. Takes no thread.
    pub(crate) async fn ended(&self, id: ExecutionId) {
        // What changes from here on is told.
        let mut changes = self.changed.subscribe();
        while self.is_under_way(id) && changes.changed().await.is_ok() {}
    }

    /// Lets go of a request that was not begun.
    pub(crate) fn release(&self, id: ExecutionId) {
        let mut known = self.lock();
        if matches!(known.requests.get(&id), Some(State::Running(_))) {
            known.requests.remove(&id);
        }
        drop(known);
        self.changed.send_replace(());
    }

    /// Takes one use of an approval; whether there was one left.
    pub(crate) fn take(&self, approval: &Approval) -> bool {
        let most = match approval {
            Approval::Permit(_) => 1,
            Approval::Grant(grant) => grant.uses_max,
        };
        let mut known = self.lock();
        let used = known.used.entry(approval.id()).or_default();
        let is_left = *used < most;
        if is_left {
            *used += 1;
        }
        is_left
    }

    /// Gives a use back that came to nothing.
    pub(crate) fn give_back(&self, approval: &Approval) {
        let mut known = self.lock();
        if let Some(used) = known.used.get_mut(&approval.id()) {
            *used = used.saturating_sub(1);
        }
    }

    /// Notes that an action is about to be performed; its use was taken before.
    pub(crate) fn begin(&self, intent: &Intent, evidence: &Evidence) {
        let mut known = self.lock();
        let both = Box::new((intent.clone(), evidence.clone()));
        known.requests.insert(intent.request_id, State::Begun(both));
    }

    /// Notes what became of an action and returns its receipt.
    pub(crate) fn settle(&self, settled: &Settled, evidence: Evidence) -> Option<Receipt> {
        let receipt = self.lock().settle(settled, evidence);
        self.changed.send_replace(());
        receipt
    }

    /// Returns the receipt of a request, for who asked for it.
    pub(crate) fn receipt(&self, id: ExecutionId, requester: &str) -> Option<Receipt> {
        match self.lock().requests.get(&id) {
            Some(State::Settled(both)) if both.0.requester == requester => Some(both.1.clone()),
            Some(State::Settled(_) | State::Running(_) | State::Begun(_)) | None => None,
        }
    }

    /// Returns the actions of which it is not known what became of them.
    pub(crate) fn unsettled(&self) -> Vec<(Intent, bool)> {
        let known = self.lock();
        known
            .requests
            .values()
            .filter_map(|state| match state {
                State::Begun(both) => Some((both.0.clone(), false)),
                State::Settled(both) if both.1.status == Status::Unknown => {
                    Some((both.0.clone(), true))
                }
                State::Settled(_) | State::Running(_) => None,
            })
            .collect()
    }

    fn is_under_way(&self, id: ExecutionId) -> bool {
        let known = self.lock();
        matches!(
            known.requests.get(&id),
            Some(State::Running(_) | State::Begun(_))
        )
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin(&mut self, intent: &Intent, evidence: &Evidence) {
        *self.used.entry(intent.approval.clone()).or_default() += 1;
        let both = Box::new((intent.clone(), evidence.clone()));
        self.requests.insert(intent.request_id, State::Begun(both));
    }

    fn settle(&mut self, settled: &Settled, evidence: Evidence) -> Option<Receipt> {
        let intent = match self.requests.get(&settled.request_id)? {
            State::Begun(both) => both.0.clone(),
            State::Settled(both) => both.0.clone(),
            State::Running(_) => return None,
        };
        let receipt = Receipt {
            request_id: settled.request_id,
            action: intent.action.kind(),
            ok: settled.status == Status::Succeeded,
            status: settled.status,
            summary: settled.summary.clone(),
            failure: settled.failure,
            is_reconciled: settled.is_reconciled,
            evidence,
        };
        let both = Box::new((intent, receipt.clone()));
        self.requests
            .insert(settled.request_id, State::Settled(both));
        Some(receipt)
    }
}
