//! A request on its way: read, judged, prepared, recorded, performed, settled.

use std::sync::{Arc, PoisonError};

use domain::{ExecutionId, Timestamp};
use wire::execution::request::Fault as RequestFault;
use wire::execution::{Code, Failure, Problem, Receipt, Request, Status, strict};

use super::Executor;
use crate::actions::Outcome;
use crate::audit::{Entry, Intent, Settled};
use crate::judge::{Judged, judge};
use crate::ledger::Claim;
use crate::peer::Peer;
use crate::reach::Connections;
use crate::stage::Stage;

/// What is recorded in the place of a host's name that holds a secret.
const WITHHELD: &str = "withheld";

/// A request that was read, and whose it is.
#[derive(Debug)]
pub struct Received {
    request: Request,
    requester: String,
}

/// How far a request is.
#[derive(Debug)]
pub enum Progress {
    /// It has its receipt.
    Settled(Box<Receipt>),
    /// The same request is under way already: when it has ended, this one is resumed.
    UnderWay(Box<Received>),
}

impl Received {
    /// Returns the request's identifier.
    #[must_use]
    pub const fn id(&self) -> ExecutionId {
        self.request.request_id
    }
}

impl Executor {
    /// Executes a request of a peer, unless the same one is under way. Blocks for as long as the
    /// action takes.
    ///
    /// # Errors
    /// When it is turned away. Then nothing was done, and that it was is recorded.
    pub fn execute(&self, peer: &Peer, body: &[u8]) -> Result<Progress, Problem> {
        let received = self.receive(peer, body)?;
        self.world.stages.passed(Stage::Received);
        self.resume(peer, received)
    }

    /// Goes on with a request whose duplicate has ended.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn resume(&self, peer: &Peer, received: Received) -> Result<Progress, Problem> {
        let (request, id) = (&received.request, received.id());
        match self.ledger.claim(id, request.digest(), &received.requester) {
            Claim::Yours => {}
            Claim::Answered(receipt) => {
                self.metrics.replayed();
                return Ok(Progress::Settled(receipt));
            }
            Claim::Conflict => return Err(self.refuse(peer, Some(id), Code::Conflict)),
            Claim::UnderWay => return Ok(Progress::UnderWay(Box::new(received))),
        }
        let done = self.carry_out(request, &received.requester);
        // Of what was begun, the ledger lets nothing go.
        self.ledger.release(id);
        match done {
            Ok(receipt) => Ok(Progress::Settled(Box::new(receipt))),
            Err(code) => Err(self.refuse(peer, Some(id), code)),
        }
    }

    /// Waits until a request is no longer under way.
    pub(crate) async fn ended(&self, id: ExecutionId) {
        self.ledger.ended(id).await;
    }

    fn receive(&self, peer: &Peer, body: &[u8]) -> Result<Received, Problem> {
        let requester = self.admit(peer)?.to_owned();
        if !self.config.is_unchanged() {
            return Err(self.refuse(peer, None, Code::ConfigurationChanged));
        }
        if let Some(seen) = self.guard.look(body) {
            return Err(self.stopped(peer, None, &seen));
        }
        let request = Request::read(body).map_err(|fault| self.refuse(peer, None, code(&fault)))?;
        // Once more as it was understood: escapes of the body are gone here.
        if let Some(seen) = self.guard.look(request.value().to_string().as_bytes()) {
            return Err(self.stopped(peer, Some(request.request_id), &seen));
        }
        Ok(Received { request, requester })
    }

    /// Returns the receipt of a request to who asked for it.
    ///
    /// # Errors
    /// When there is none, or the peer may not ask.
    pub fn receipt(&self, peer: &Peer, id: &str) -> Result<Receipt, Problem> {
        let requester = self.admit(peer)?;
        let receipt = id
            .parse()
            .ok()
            .and_then(|id: ExecutionId| self.ledger.receipt(id, requester));
        receipt.ok_or_else(|| self.refuse(peer, None, Code::NoReceipt))
    }

    fn carry_out(&self, request: &Request, requester: &str) -> Result<Receipt, Code> {
        let now = (self.world.now)();
        let judged = judge(&self.config, request, requester, now)?;
        let needs_turn = request.action.kind().needs_permit();
        let _waiting = if needs_turn {
            Some(self.turns.try_acquire().map_err(|_| Code::Busy)?)
        } else {
            None
        };
        let _one_at_a_time =
            needs_turn.then(|| self.effect.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.ledger.take(judged.approval()) {
            return Err(Code::ApprovalUsed);
        }
        let connections = Arc::default();
        let begun = self.begin(request, requester, &judged, &connections, now);
        if begun.is_err() {
            // What cannot be told of a request that came to nothing changes nothing about it.
            let _is_told = self.record_reached(request.request_id, &connections);
            self.ledger.give_back(judged.approval());
        }
        begun
    }

    fn begin(
        &self,
        request: &Request,
        requester: &str,
        judged: &Judged,
        connections: &Arc<Connections>,
        now: Timestamp,
    ) -> Result<Receipt, Code> {
        let scratch = self.scratch();
        let means = self.means(&scratch, connections, now);
        let prepared = self.config.file.actions.prepare(&request.action, means)?;
        self.world.stages.passed(Stage::Judged);
        // Judged again at the last moment: a lock may have been waited for, a revocation come.
        judged.holds(&self.config, request, requester, (self.world.now)())?;
        if !self.config.is_unchanged() {
            return Err(Code::ConfigurationChanged);
        }
        let intent = Intent {
            request_id: request.request_id,
            request: request.digest(),
            requester: requester.to_owned(),
            action: request.action.clone(),
            lane: request.lane,
            target: request.target.clone(),
            approval: judged.approval().id(),
            approver: judged.approver().to_owned(),
            before: prepared.before,
        };
        let entry = Entry::Intent(Box::new(intent.clone()));
        let evidence = self.audit.record((self.world.now)(), entry);
        let evidence = evidence.map_err(|_| Code::AuditFailed)?;
        self.ledger.begin(&intent, &evidence);
        self.world.stages.passed(Stage::Recorded);
        let outcome = (prepared.perform)();
        self.world.stages.passed(Stage::Performed);
        let settled = self.judge_outcome(request.request_id, outcome);
        // If this cannot be recorded, neither can what follows, and that is told.
        let _is_told = self.record_reached(request.request_id, connections);
        let receipt = self.settle(&settled).or_else(|| {
            // The effect may have happened and cannot be recorded: that is what is told, and the
            // target is looked at when the executor is started again.
            let unknown = Settled {
                status: Status::Unknown,
                summary: None,
                failure: None,
                ..settled
            };
            self.ledger.settle(&unknown, evidence)
        });
        self.world.stages.passed(Stage::Settled);
        // A request that was begun is known, so there is a receipt.
        receipt.ok_or(Code::AuditFailed)
    }

    /// Records what a request has reached since this was last recorded.
    pub(super) fn record_reached(&self, request_id: ExecutionId, reached: &Connections) -> bool {
        let mut connections = reached.take();
        for connection in &mut connections {
            // A name that nobody answers to is a way to tell something, too.
            if let Some(seen) = self.guard.look(connection.host.as_bytes()) {
                self.incident(Some(request_id), &seen, "host");
                connection.host = WITHHELD.to_owned();
            }
        }
        let entry = Entry::Reached {
            request_id,
            connections: connections.clone(),
        };
        connections.is_empty() || self.audit.record((self.world.now)(), entry).is_ok()
    }

    /// Returns what is recorded of an outcome: nothing of it, if it holds a secret.
    fn judge_outcome(&self, id: ExecutionId, outcome: Outcome) -> Settled {
        let (status, summary, failure) = match outcome {
            Outcome::Done(summary) => (Status::Succeeded, Some(summary), None),
            Outcome::Failed(failure, summary) => (Status::Failed, summary, Some(failure)),
            Outcome::Unclear => (Status::Unknown, None, None),
        };
        let written = serde_json::json!(summary).to_string();
        let seen = self.guard.look(written.as_bytes());
        let withheld = failure == Some(Failure::Withheld);
        if let Some(seen) = &seen {
            self.incident(Some(id), seen, "outcome");
        } else if withheld {
            self.metrics.incident();
        }
        let is_hidden = seen.is_some();
        Settled {
            request_id: id,
            status: if is_hidden { Status::Failed } else { status },
            summary: if is_hidden { None } else { summary },
            failure: if is_hidden {
                Some(Failure::Withheld)
            } else {
                failure
            },
            is_reconciled: false,
        }
    }

    pub(super) fn settle(&self, settled: &Settled) -> Option<Receipt> {
        let entry = Entry::Settled(Box::new(settled.clone()));
        let evidence = self.audit.record((self.world.now)(), entry).ok()?;
        let receipt = self.ledger.settle(settled, evidence)?;
        self.metrics.settled(receipt.action, receipt.status);
        Some(receipt)
    }
}

const fn code(fault: &RequestFault) -> Code {
    match fault {
        RequestFault::Json(strict::Fault::TooLarge(_)) => Code::TooLarge,
        RequestFault::Json(strict::Fault::TooDeep | strict::Fault::TooMany) => Code::TooComplex,
        RequestFault::Json(strict::Fault::DuplicateKey) => Code::DuplicateKey,
        RequestFault::Json(strict::Fault::Malformed { .. }) => Code::MalformedJson,
        RequestFault::Shape => Code::InvalidRequest,
        RequestFault::Action(wire::execution::action::NoAction::Unknown) => Code::UnknownAction,
        RequestFault::Action(wire::execution::action::NoAction::Arguments(_)) => {
            Code::InvalidArguments
        }
    }
}
