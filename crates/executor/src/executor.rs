//! The one path of a request: read, judge, prepare, record, perform, settle. Whatever stops it
//! before it is recorded is a refusal with a code; whatever stops it after is told by its receipt.
//! Here is what requests share and how it begins; the path itself is in `executor/request.rs`.

mod reconcile;
mod refusal;
mod request;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use domain::Timestamp;
use ports::cells::Cells;
use tokio::sync::Semaphore;

use crate::actions::Means;
use crate::audit::{self, Audit, Entry, NotRecorded};
use crate::config::{self, Config};
use crate::guard::Guard;
use crate::ledger::Ledger;
use crate::memory;
use crate::metrics::Metrics;
use crate::rate::Rate;
use crate::reach::Connections;
use crate::run::{self, Programs, private_folder};
use crate::scratch::Scratch;
use crate::secret::{self, Secret};
use crate::stage::Stages;

pub use request::{Progress, Received};

/// The most strangers that are recorded one by one in a minute.
const STRANGERS_PER_MINUTE: u64 = 10;

/// The most requests that wait for their turn to take effect, or have it: each holds a thread.
const TURNS_MAX: usize = 32;

/// The most requests that are worked on at once, each by a thread; others wait without one.
const PLACES_MAX: usize = 64;

/// The most duplicates that wait for the end of the first. Half of the connections: whoever else
/// asks is still answered.
const DUPLICATES_MAX: usize = 64;

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
    turns: Semaphore,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) duplicates: Semaphore,
    scratch: PathBuf,
    scratches: AtomicU64,
}

/// What the executor asks of the world.
pub struct World {
    /// The maker of cells.
    pub cells: Arc<dyn Cells>,
    /// This program: what leads from a cell to its door.
    pub bridge: PathBuf,
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
    /// The audit is not what is remembered of it.
    #[error(transparent)]
    Memory(#[from] memory::Fault),
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
        memory::check(&file.state, head, config.policy)?;
        if head.torn_bytes > 0 {
            let bytes = head.torn_bytes;
            audit.record((world.now)(), Entry::Torn { bytes })?;
        }
        let started = Entry::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: config.policy,
        };
        let begun = audit.record((world.now)(), started)?;
        memory::keep(&file.state, begun.sequence, config.policy)?;
        let executor = Self {
            guard: Guard::of(&secrets),
            rate: Mutex::new(Rate::new(file.limits.requests_per_minute)),
            strangers: Mutex::new(Rate::new(STRANGERS_PER_MINUTE)),
            metrics: Metrics::default(),
            effect: Mutex::default(),
            turns: Semaphore::new(TURNS_MAX),
            places: Arc::new(Semaphore::new(PLACES_MAX)),
            duplicates: Semaphore::new(DUPLICATES_MAX),
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

    /// Returns whether an action could be recorded and its configuration holds.
    pub(crate) fn is_ready(&self) -> bool {
        self.config.is_unchanged()
    }

    fn means<'a>(
        &'a self,
        scratch: &'a Scratch,
        connections: &'a Arc<Connections>,
        now: Timestamp,
    ) -> Means<'a> {
        Means {
            connections,
            bridge: &self.world.bridge,
            cells: &*self.world.cells,
            programs: &self.programs,
            secrets: &self.secrets,
            guard: &self.guard,
            scratch,
            now,
        }
    }

    fn scratch(&self) -> Scratch {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        Scratch::new(self.scratch.join(number.to_string()))
    }
}
