//! The world, as the engine sees it: one port for each thing it can ask.

use std::sync::Arc;

use ports::agents::Driver;
use ports::artifacts::Artifacts;
use ports::cells::Cells;
use ports::clock::Clock;
use ports::executor::Executor;
use ports::judges::Judges;
use ports::log::EventLog;
use ports::machine::Machine;
use ports::models::Models;
use ports::workspaces::Workspaces;

/// Finds the driver that an agent's name stands for; says how to mend a name that stands for none.
pub type FindDriver = dyn Fn(&str) -> Result<Arc<dyn Driver>, String> + Send + Sync;

/// All ports of the engine.
#[derive(Clone)]
pub struct World {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The artifact store.
    pub artifacts: Arc<dyn Artifacts>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is free on this machine.
    pub machine: Arc<dyn Machine>,
    /// The sealed trees.
    pub workspaces: Arc<dyn Workspaces>,
    /// The maker of cells.
    pub cells: Arc<dyn Cells>,
    /// The way to language models, if there is one.
    pub models: Option<Arc<dyn Models>>,
    /// Whom judges' questions are put to, over that way.
    pub judges: Arc<dyn Judges>,
    /// The executor, if the operator has set one up.
    pub executor: Option<Arc<dyn Executor>>,
    /// The agents.
    pub drivers: Arc<FindDriver>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("World")
    }
}

/// Returns the BLAKE3 digest of some bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> domain::Digest {
    domain::Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}
