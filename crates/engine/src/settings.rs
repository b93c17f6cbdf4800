//! Settings: what the operator has decided for this machine, resolved and total.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use domain::Digest;
use domain::allowance::Allowance;
use domain::model::Model;
use domain::rollback::Strategy;
use ports::models::{Caps, Egress, Tape};
use ports::workspaces::Secrets;
use ports::{agents, cells};

/// What the operator has decided.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The private folder of this repository's state.
    pub state: PathBuf,
    /// Who runs the engine, such as `operator:ada`.
    pub operator: String,
    /// How many sessions and gates may run at once.
    pub slots: usize,
    /// Host folders shown in every cell.
    pub mounts: Vec<Mount>,
    /// Paths inside cells that are covered: credential files in mounted folders.
    pub masks: Vec<PathBuf>,
    /// The environment of every cell, `PATH` included.
    pub env: BTreeMap<String, String>,
    /// Globs of files that need their own approval.
    pub protected: Vec<String>,
    /// Files that are secrets by name (not shown, not taken in), and what looks like a credential
    /// and is accepted.
    pub secrets: Secrets,
    /// Required walls that the operator has accepted, on record, to be missing on this machine.
    pub accepted_downgrades: Vec<String>,
    /// The last run of the attack suite on this kernel with this version, if all was stopped: its
    /// record in the artifact store.
    pub attack_record: Option<Digest>,
    /// Limits of every cell.
    pub cell_limits: cells::Limits,
    /// What must be free on the machine before a cell is started.
    pub room: Room,
    /// What all sessions of a work together may use.
    pub allowance: Allowance,
    /// Deadlines and caps of every session.
    pub agent_limits: agents::Limits,
    /// Formulas, roles and gates that are used where the base commit has none of that name.
    pub fallbacks: Vec<Fallback>,
    /// The largest changed file that is taken in, in bytes.
    pub file_bytes_max: u64,
    /// The largest sum of changed files, in bytes.
    pub total_bytes_max: u64,
    /// The most changed files.
    pub files_max: u64,
    /// When checkpoints are taken, and what follows from them.
    pub checkpoints: Checkpoints,
    /// What sessions may ask of language models.
    pub models: Models,
}

/// What sessions may ask of language models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// Which, as patterns over their names; none means every model that the broker allows.
    pub allowed: Vec<String>,
    /// The most that may be taken.
    pub caps: Caps,
    /// The most bytes that may leave in the requests of one session.
    pub sent_bytes_max: u64,
    /// What is done with exchanges.
    pub tape: Tape,
    /// Whether every agent has a way to models, or only those whose driver needs one.
    pub for_every_agent: bool,
    /// Classes of models: a first one, and those that stand in for it.
    pub classes: BTreeMap<String, Vec<Model>>,
    /// What roles that may fetch packages reach; none is nothing.
    pub egress: Option<Egress>,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            caps: Caps::default(),
            sent_bytes_max: 256 << 20,
            tape: Tape::Off,
            for_every_agent: false,
            classes: BTreeMap::new(),
            egress: None,
        }
    }
}

/// What must be free on the machine before a cell is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// On the disk that the state is on, in bytes.
    pub disk_bytes: u64,
    /// In memory, for each cell that runs and the one that is to start, in bytes.
    pub memory_bytes: u64,
    /// How long it is waited for when no cell of ours could give any back.
    pub patience: Duration,
}

impl Room {
    /// What is kept free of a cell's memory limit, one part in so many: one rarely uses all of it.
    const MEMORY_SHARE: u64 = 4;

    /// Returns what is wanted for cells with this memory limit, unless the operator says otherwise.
    #[must_use]
    pub const fn of(cell_memory_bytes: u64) -> Self {
        Self {
            disk_bytes: 1 << 30,
            memory_bytes: cell_memory_bytes / Self::MEMORY_SHARE,
            patience: Duration::from_secs(60),
        }
    }
}

/// When checkpoints are taken of a running session, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// So long without a write after one.
    pub quiet: Duration,
    /// So long since the last one, while something was written.
    pub interval: Duration,
    /// So much more than at the last one, in bytes.
    pub bytes: u64,
    /// How long judging one may take before it is put on record as not judged yet.
    pub judging: Duration,
    /// How a tree with a critical violation is put back; none only tells the agent.
    pub on_violation: Option<Strategy>,
    /// How long a session may stand still that the operator has paused.
    pub pause: Duration,
    /// How long it may that the engine has paused, for the operator to look.
    pub escalation: Duration,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(2),
            interval: Duration::from_secs(60),
            bytes: 32 << 20,
            judging: Duration::from_secs(5),
            on_violation: Some(Strategy::Paths),
            pause: Duration::from_secs(8 * 3_600),
            escalation: Duration::from_secs(15 * 60),
        }
    }
}

/// A host folder shown in every cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Inside the cell.
    pub target: PathBuf,
    /// A name, for a writable layer of the work's own over it; none for read-only.
    pub layer: Option<String>,
}

/// A catalog file that does not come from the base commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The path it stands for, such as `.palisade/gates.toml`.
    pub path: String,
    /// Where it really came from, for the dossier.
    pub source: String,
    /// Its content.
    pub text: String,
}
