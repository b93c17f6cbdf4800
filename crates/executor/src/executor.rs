//! The one path of a request: read, judge, prepare, record, perform, settle. Whatever stops it
//! before it is recorded is a refusal with a code; whatever stops it after is told by its receipt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{ExecutionId, Timestamp};
use ports::cells::Cells;
use wire::execution::request::Fault as RequestFault;
use wire::execution::{Code, Failure, Problem, Receipt, Request, Status, strict};

use crate::actions::{Found, Means, Outcome};
use crate::audit::{self, Audit, Entry, Intent, NotRecorded, Refused, Settled};
use crate::config::{self, Config};
use crate::guard::Guard;
use crate::judge::judge;
use crate::ledger::{Claim, Ledger};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::rate::{Pace, Rate};
use crate::run::{self, Programs, private_folder};
use crate::secret::{self, Secret};
use crate::stage::{Stage, Stages};

/// The most strangers that are recorded one by one in a minute.
const STRANGERS_PER_MINUTE: u64 = 10;

/// The name of the audit in the state folder.
pub const AUDIT: &str = "audit.jsonl";

/// Everything that requests share.
pub struct Executor {
    pub(crate) config: Config,
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
    ledger: Ledger,
    audit: Audit,
    secrets: BTreeMap<String, Secret>,
    programs: Programs,
    world: World,
    rate: Mutex<Rate>,
    /// All strangers share one pace: there may be any number of them.
    strangers: Mutex<Rate>,
    /// Held while something takes effect: one at a time, since there is one target.
    effect: Mutex<()>,
    scratch: PathBuf,
    scratches: AtomicU64,
}

/// What the executor asks of the world.
pub struct World {
    /// The maker of cells.
    pub cells: Arc<dyn Cells>,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Reads a variable of the executor's own environment.
    pub lookup: fn(&str) -> Option<String>,
    /// Who is told of stages.
    pub stages: Arc<dyn Stages>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("World")
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// Why an executor cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The configuration is not taken.
    #[error(transparent)]
    Config(#[from] config::Fault),
    /// A secret is missing.
    #[error(transparent)]
    Secret(#[from] secret::Fault),
    /// A program is not what was pinned.
    #[error(transparent)]
    Program(#[from] run::Fault),
    /// The audit cannot be used.
    #[error(transparent)]
    Audit(#[from] audit::Fault),
    /// The start cannot be recorded.
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
    /// The state folder is not private.
    #[error(transparent)]
    Private(#[from] sealed::private::Fault),
    /// What was left in the state folder cannot be removed.
    #[error("{path} cannot be removed; remove it by hand")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Executor {
    /// Starts an executor: reads its configuration, loads secrets, pins programs, verifies the audit,
    /// and looks at the target for every action whose end nobody saw.
    ///
    /// # Errors
    /// When anything of this does not hold; then nothing is executed.
    pub fn start(config: &Path, world: World) -> Result<Self, Fault> {
        let config = Config::read(config)?;
        let file = &config.file;
        private_folder(&file.state)?;
        let scratch = file.state.join("scratch");
        match std::fs::remove_dir_all(&scratch) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                let path = scratch;
                return Err(Fault::State { path, source });
            }
            Ok(()) | Err(_) => private_folder(&scratch)?,
        }
        let secrets = secret::load(&file.sources(), &world.lookup)?;
        let programs = Programs::pin(&file.programs, &file.state)?;
        let ledger = Ledger::default();
        let path = file.state.join(AUDIT);
        let (audit, head) =
            Audit::open(&path, file.limits.audit_bytes, &mut |it| ledger.learn(&it))?;
        if head.torn_bytes > 0 {
            let bytes = head.torn_bytes;
            audit.record((world.now)(), Entry::Torn { bytes })?;
        }
        let started = Entry::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: config.policy,
        };
        audit.record((world.now)(), started)?;
        let executor = Self {
            guard: Guard::of(&secrets),
            rate: Mutex::new(Rate::new(file.limits.requests_per_minute)),
            strangers: Mutex::new(Rate::new(STRANGERS_PER_MINUTE)),
            metrics: Metrics::default(),
            effect: Mutex::default(),
            scratches: AtomicU64::default(),
            scratch,
            config,
            ledger,
            audit,
            secrets,
            programs,
            world,
        };
        executor.reconcile()?;
        Ok(executor)
    }

    /// Executes a request of a peer.
    ///
    /// # Errors
    /// When it is turned away. Then nothing was done, and that it was is recorded.
    pub fn execute(&self, peer: &Peer, body: &[u8]) -> Result<Receipt, Problem> {
        let requester = self.admit(peer)?;
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
        self.world.stages.passed(Stage::Received);
        let id = request.request_id;
        match self.ledger.claim(id, request.digest(), requester) {
            Claim::Yours => {}
            Claim::Answered(receipt) => {
                self.metrics.replayed();
                return Ok(*receipt);
            }
            Claim::Conflict => return Err(self.refuse(peer, Some(id), Code::Conflict)),
            Claim::Busy => return Err(self.refuse(peer, Some(id), Code::Busy)),
        }
        let done = self.carry_out(&request, requester);
        // Of what was begun, the ledger lets nothing go.
        self.ledger.release(id);
        done.map_err(|code| self.refuse(peer, Some(id), code))
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

    /// Returns as whom a peer asks, if it may and has not asked too often.
    ///
    /// # Errors
    /// When it may not; of too many in a minute one is recorded, with how many there were.
    pub fn admit(&self, peer: &Peer) -> Result<&str, Problem> {
        let Some(requester) = self.config.principal(peer) else {
            return Err(self.refuse_stranger(peer));
        };
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = rate.count(requester, (self.world.now)());
        drop(rate);
        match pace {
            Pace::Fine => Ok(requester),
            Pace::First(times) => Err(self.refuse_all(peer, None, Code::RateLimited, times)),
            Pace::Further => Err(self.unrecorded(Code::RateLimited)),
        }
    }

    /// Refuses who is nobody here, on record but not without end.
    pub(crate) fn refuse_stranger(&self, peer: &Peer) -> Problem {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pace = strangers.count("", (self.world.now)());
        drop(strangers);
        match pace {
            Pace::Fine => self.refuse(peer, None, Code::PeerNotAllowed),
            Pace::First(times) => self.refuse_all(peer, None, Code::PeerNotAllowed, times),
            Pace::Further => self.unrecorded(Code::PeerNotAllowed),
        }
    }

    /// Refuses a request, on record.
    pub(crate) fn refuse(&self, peer: &Peer, id: Option<ExecutionId>, code: Code) -> Problem {
        self.refuse_all(peer, id, code, 1)
    }

    fn refuse_all(&self, peer: &Peer, id: Option<ExecutionId>, code: Code, times: u64) -> Problem {
        let refused = Refused {
            peer: peer.to_string(),
            request_id: id,
            code,
            times,
        };
        let recorded = self
            .audit
            .record((self.world.now)(), Entry::Refused(refused));
        // What cannot be recorded is refused for that.
        let code = if recorded.is_ok() {
            code
        } else {
            Code::AuditFailed
        };
        let mut problem = self.unrecorded(code);
        problem.request_id = id;
        problem
    }

    /// Returns whether an action could be recorded and its configuration holds.
    pub(crate) fn is_ready(&self) -> bool {
        self.config.is_unchanged()
    }

    /// Records that a secret was seen on its way out.
    pub(crate) fn incident(&self, id: Option<ExecutionId>, seen: &secrets::Sighting, place: &str) {
        self.metrics.incident();
        let entry = Entry::Incident {
            request_id: id,
            secret: seen.of.clone(),
            form: seen.form.name().to_owned(),
            place: place.to_owned(),
        };
        // It is stopped whether or not that can be told.
        drop(self.audit.record((self.world.now)(), entry));
    }

    fn unrecorded(&self, code: Code) -> Problem {
        self.metrics.refused(code);
        Problem::of(code)
    }

    fn stopped(&self, peer: &Peer, id: Option<ExecutionId>, seen: &secrets::Sighting) -> Problem {
        self.incident(id, seen, "request");
        self.refuse(peer, id, Code::SecretInRequest)
    }

    fn carry_out(&self, request: &Request, requester: &str) -> Result<Receipt, Code> {
        let now = (self.world.now)();
        let judged = judge(&self.config, request, requester, now)?;
        let _one_at_a_time = request
            .action
            .kind()
            .needs_permit()
            .then(|| self.effect.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.ledger.take(judged.approval()) {
            return Err(Code::ApprovalUsed);
        }
        let begun = self.begin(request, requester, &judged, now);
        if begun.is_err() {
            self.ledger.give_back(judged.approval());
        }
        begun
    }

    fn begin(
        &self,
        request: &Request,
        requester: &str,
        judged: &crate::judge::Judged,
        now: Timestamp,
    ) -> Result<Receipt, Code> {
        let scratch = self.scratch().ok_or(Code::Unavailable)?;
        let means = self.means(scratch.path(), now);
        let prepared = self.config.file.actions.prepare(&request.action, means)?;
        self.world.stages.passed(Stage::Judged);
        // Judged again at the last moment: a lock may have been waited for, a revocation come.
        judge(&self.config, request, requester, (self.world.now)())?;
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

    fn settle(&self, settled: &Settled) -> Option<Receipt> {
        let entry = Entry::Settled(Box::new(settled.clone()));
        let evidence = self.audit.record((self.world.now)(), entry).ok()?;
        let receipt = self.ledger.settle(settled, evidence)?;
        self.metrics.settled(receipt.action, receipt.status);
        Some(receipt)
    }

    /// Looks at the target for each action whose end nobody saw. Nothing is done again.
    fn reconcile(&self) -> Result<(), Fault> {
        for (intent, is_told) in self.ledger.unsettled() {
            let found = match self.scratch() {
                Some(scratch) => {
                    let means = self.means(scratch.path(), (self.world.now)());
                    let before = intent.before.as_deref();
                    self.config.file.actions.look(&intent.action, before, means)
                }
                None => Found::Unclear,
            };
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

    fn means<'a>(&'a self, scratch: &'a Path, now: Timestamp) -> Means<'a> {
        Means {
            cells: &*self.world.cells,
            programs: &self.programs,
            secrets: &self.secrets,
            guard: &self.guard,
            scratch,
            now,
        }
    }

    fn scratch(&self) -> Option<Scratch> {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(number.to_string());
        private_folder(&path).ok()?;
        Some(Scratch(path))
    }
}

/// A private folder that goes when its request has ended.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is when the executor is started again.
        drop(std::fs::remove_dir_all(&self.0));
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
