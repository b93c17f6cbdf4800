//! Cells: a program run in a kernel-enforced sandbox.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything a cell is made of. Nothing is inherited: what is not named here is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSpec {
    /// What to run: an absolute path inside the cell, then its arguments. Never a shell string.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working directory inside the cell.
    pub cwd: PathBuf,
    /// The work's own tree, at `/workspace`; none for a cell without one.
    pub workspace: Option<Tree>,
    /// Host directories and files that appear in the cell, in this order.
    pub binds: Vec<Bind>,
    /// Host directories that appear with a writable layer of the work's own over them (caches).
    pub layered: Vec<Layered>,
    /// Paths inside the cell that are covered by something empty and unreadable: credential files
    /// in mounted folders. A path that does not exist is ignored.
    pub masks: Vec<PathBuf>,
    /// The programs that `/palisade/tools` offers by name, each at an absolute path inside the cell;
    /// none leaves `PATH` to the environment alone.
    pub programs: Option<BTreeMap<String, PathBuf>>,
    /// Required walls, by name, that the operator has accepted to be missing on this machine. Only
    /// walls with a second one behind them can be accepted; see [`ACCEPTABLE`].
    pub accepted: Vec<String>,
    /// The limits.
    pub limits: Limits,
}

/// The required walls that a cell may be made without when the operator accepts it on record:
/// each has another wall behind it. Namespaces and seccomp have none.
pub const ACCEPTABLE: [&str; 1] = ["landlock"];

/// The tree at `/workspace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// How it is put together.
    pub layers: Layers,
    /// The controller-owned git directory shown read-only at `/workspace/.git`, if any.
    pub git_dir: Option<PathBuf>,
    /// Where the kernel lets a writable tree be written.
    pub writes: Writes,
}

/// Where the kernel lets a writable tree be written. Paths are relative to the tree, without `.`
/// and `..`; the deepest path on the way to a file decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writes {
    /// Folders that can be written, made if missing; the empty path is the whole tree.
    pub writable: Vec<PathBuf>,
    /// Files and folders that cannot, although they lie in a writable folder; missing ones are
    /// ignored.
    pub read_only: Vec<PathBuf>,
}

impl Writes {
    /// Returns the scope of a tree that can be written everywhere.
    #[must_use]
    pub fn everywhere() -> Self {
        Self {
            writable: vec![PathBuf::new()],
            read_only: Vec::new(),
        }
    }

    /// Returns whether a path of the tree can be written: the deepest entry on the way to it decides.
    #[must_use]
    pub fn admit(&self, path: &Path) -> bool {
        let depth = |list: &[PathBuf]| {
            let above = list.iter().filter(|it| path.starts_with(it));
            above.map(|it| it.components().count()).max()
        };
        match (depth(&self.writable), depth(&self.read_only)) {
            (Some(writable), Some(read_only)) => writable > read_only,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// How `/workspace` is put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layers {
    /// An overlay: `lowers` top-most first, never written; changes go to `upper`. `work` is the
    /// overlay's own scratch folder on the same file system. Mounted `volatile`.
    Overlay {
        /// Read-only layers, top-most first.
        lowers: Vec<PathBuf>,
        /// Where changes land.
        upper: PathBuf,
        /// Overlay scratch.
        work: PathBuf,
    },
    /// Read-only: `lowers` top-most first (one or more); every write fails.
    ReadOnly {
        /// Read-only layers, top-most first.
        lowers: Vec<PathBuf>,
    },
    /// A plain writable directory: the declared fallback where overlays are not to be had.
    Plain {
        /// The directory.
        dir: PathBuf,
    },
}

/// One host path shown inside a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host; a file, directory, FIFO or socket.
    pub source: PathBuf,
    /// Inside the cell.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: Access,
}

/// What may be done with a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read and, where mode bits allow, execute.
    ReadOnly,
    /// Also written.
    Writable,
}

/// A host directory with a writable layer over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layered {
    /// On the host; never written.
    pub source: PathBuf,
    /// Inside the cell.
    pub target: PathBuf,
    /// Where changes land.
    pub upper: PathBuf,
    /// Overlay scratch.
    pub work: PathBuf,
}

/// Limits of a cell. The kernel keeps them, through cgroups where usable, else rlimits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space or resident memory of one process, in bytes (rlimit), or of all (cgroup).
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Size of one file, in bytes.
    pub file_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// CPU time of one process, in seconds.
    pub cpu_seconds: u64,
    /// Size of the private `/tmp` and home, each, in bytes.
    pub tmp_bytes: u64,
    /// What all writable layers together may take on disk, in bytes, while the program writes.
    pub disk_bytes: u64,
    /// How many files and folders all writable layers together may hold.
    pub disk_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 30,
            processes: 2_048,
            file_bytes: 2 << 30,
            open_files: 4_096,
            cpu_seconds: 3_600,
            tmp_bytes: 1 << 30,
            disk_bytes: 1 << 30,
            disk_files: 500_000,
        }
    }
}

impl Limits {
    /// Says how much writable layers hold, against how much they may. When that is within the limits,
    /// it was the disk under them that had nothing left.
    #[must_use]
    pub fn outgrown(&self, bytes: u64, files: u64) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if bytes <= self.disk_bytes && files <= self.disk_files {
            return format!(
                "the disk is nearly full, though only {} MiB and {files} files were written; free \
                 some of it",
                mib(bytes)
            );
        }
        format!(
            "{} MiB and {files} files were written, at most {} MiB and {} files may be; write \
             less, or have `disk_mib` and `disk_files` raised in palisade.toml",
            mib(bytes),
            mib(self.disk_bytes),
            self.disk_files,
        )
    }
}

/// How a cell's first program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended because its writable layers outgrew their quota, or because the file system
    /// under them was nearly full.
    OverQuota {
        /// What they took on disk when that was seen, in bytes.
        bytes: u64,
        /// How many files and folders they held.
        files: u64,
    },
}

/// An attempt that the kernel refused to a program of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was tried, such as `socket(AF_VSOCK)` or `ptrace`.
    pub what: String,
    /// How often since it was last told.
    pub count: u64,
}

/// The three streams of a cell's first program. All are pipes.
pub struct Streams {
    /// Its standard input; drop it to close.
    pub stdin: Box<dyn Write + Send>,
    /// Its standard output.
    pub stdout: Box<dyn Read + Send>,
    /// Its standard error.
    pub stderr: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Streams")
    }
}

/// One wall of the sandbox, as probed or as active in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Its name, such as `landlock` or `memory limit`.
    pub name: String,
    /// Whether a cell cannot be made without it.
    pub required: bool,
    /// What makes it, such as `ABI 7` or `rlimit`; the error and the mend when it is missing.
    pub state: Result<String, String>,
}

/// Why a cell could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks something that is required. Nothing was run.
    #[error("this machine cannot seal a cell: {wall}: {why}")]
    Unsupported {
        /// Which wall.
        wall: String,
        /// What is missing and how to mend it.
        why: String,
    },
    /// The specification cannot be carried out. Nothing was run.
    #[error("the cell cannot be set up: {doing}: {why}")]
    Setup {
        /// Which step.
        doing: String,
        /// Why it failed.
        why: String,
    },
    /// The program could not be started inside.
    #[error("`{program}` cannot be started in the cell: {why}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        why: String,
    },
    /// Supervision failed.
    #[error("cell: {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The maker of cells.
pub trait Cells: Send + Sync {
    /// Returns every wall this machine can or cannot build, by trying.
    fn probe(&self) -> Vec<Wall>;

    /// Makes a cell and starts the program in it. When this returns, every required wall stands
    /// and the program has been started inside them (the `execve` succeeded).
    ///
    /// # Errors
    /// When a wall or the program is missing: fails closed, with nothing left running.
    fn launch(&self, spec: &CellSpec) -> Result<Launched, Error>;
}

/// A cell with its program running.
#[derive(Debug)]
pub struct Launched {
    /// The program's streams.
    pub streams: Streams,
    /// Its control.
    pub cell: Arc<dyn Cell>,
}

/// A running cell. It dies whole, with everything in it, when it is killed, when its first program
/// ends, or when the engine dies.
pub trait Cell: Send + Sync + std::fmt::Debug {
    /// Waits at most `patience` for the end of the first program; `None` when it still runs.
    /// After the end, every process of the cell is gone; returns the same answer ever after.
    ///
    /// # Errors
    /// When supervision fails.
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error>;

    /// Ends every process of the cell at once. Does nothing when it has ended.
    ///
    /// # Errors
    /// When supervision fails.
    fn kill(&self) -> Result<(), Error>;

    /// Stops every process of the cell (freezer, or SIGSTOP to all) and returns when they stand.
    ///
    /// # Errors
    /// When supervision fails.
    fn pause(&self) -> Result<(), Error>;

    /// Lets a paused cell go on.
    ///
    /// # Errors
    /// When supervision fails.
    fn resume(&self) -> Result<(), Error>;

    /// Returns the walls that stand around this cell, and the limits that are really active.
    fn walls(&self) -> Vec<Wall>;

    /// Returns the attempts that were refused since this was last asked, one for each kind; nothing
    /// where the kernel does not tell. After the end, the last of them.
    fn denied(&self) -> Vec<Denied>;
}
