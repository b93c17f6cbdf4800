//! Configuration: the environment, read once and only here, and `palisade.toml`, resolved into
//! settings that are total. A missing setting always means less power.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::allowance::Allowance;
use engine::Settings;
use engine::catalog::globs;
use engine::catalog::sheet::{Faults, Sheet, Table};
use engine::catalog::{FileFault, Source};
use engine::settings::{Checkpoints, Fallback, Mount, Room};
use ports::workspaces::Secrets;
use ports::{agents, cells};

use crate::reading;
use ground::Ground;
use limits::Limits;

mod checkpoints;
mod executor;
pub(crate) mod ground;
mod limits;
pub(crate) mod models;
mod mounts;
mod protected;
mod secrets;

/// The operator's file, at the root of the repository.
pub(crate) const FILE: &str = "palisade.toml";

/// The home of whoever runs in a cell: private memory, empty but for what is mounted into it.
pub(crate) const CELL_HOME: &str = "/home/agent";

/// The system's own programs, last on the `PATH` of every cell.
pub(crate) const SYSTEM_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The most files that one proposal may change, unless the operator says otherwise.
pub(crate) const FILES_MAX: u64 = 10_000;

/// The most bytes of changed files, unless the operator says otherwise.
pub(crate) const TOTAL_BYTES_MAX: u64 = 256 << 20;

/// What tells where toolchains are; `palisade init` looks there before it looks in the usual places.
const TOOLCHAINS: [&str; 15] = [
    "CARGO_HOME",
    "RUSTUP_HOME",
    "NVM_DIR",
    "N_PREFIX",
    "VIRTUAL_ENV",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "UV_CACHE_DIR",
    "GOROOT",
    "GOPATH",
    "GOMODCACHE",
    "JAVA_HOME",
    "GRADLE_USER_HOME",
    "RBENV_ROOT",
    "ASDF_DATA_DIR",
];

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `PALISADE_STATE`: where state is kept instead of in the git directory.
    pub(crate) state: Option<PathBuf>,
    /// `PALISADE_OPERATOR`, else `USER`, else `LOGNAME`: who the operator is.
    pub(crate) operator: String,
    /// `PALISADE_EXECUTOR`: the executor's socket, instead of the one in palisade.toml.
    pub(crate) executor: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, else `.config` at home: where the operator's keys are.
    pub(crate) config: Option<PathBuf>,
    /// `HOME`: where toolchains are looked for by `palisade init`, and what no mount may show.
    pub(crate) home: Option<PathBuf>,
    /// `PATH`, for the same.
    pub(crate) path: Vec<PathBuf>,
    /// `CARGO` and `CARGO_MANIFEST_DIR`: by what this program is run, if `cargo run` does so.
    pub(crate) cargo: Option<(PathBuf, PathBuf)>,
    /// The variables that tell where toolchains are, as far as they are set.
    pub(crate) toolchains: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Reads the environment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub(crate) fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
        let user = text("PALISADE_OPERATOR")
            .or_else(|| text("USER"))
            .or_else(|| text("LOGNAME"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folder = |name| {
            std::env::var_os(name)
                .filter(|it| !it.is_empty())
                .map(PathBuf::from)
        };
        let home = folder("HOME").filter(|it| it.is_absolute());
        let own = folder("XDG_CONFIG_HOME").filter(|it| it.is_absolute());
        Self {
            executor: folder("PALISADE_EXECUTOR"),
            config: own.or_else(|| home.as_ref().map(|it| it.join(".config"))),
            state: folder("PALISADE_STATE"),
            operator: format!("operator:{}", user.unwrap_or_else(uid)),
            home,
            path: std::env::split_paths(&path)
                .filter(|it| it.is_absolute())
                .collect(),
            cargo: folder("CARGO").zip(folder("CARGO_MANIFEST_DIR")),
            toolchains: TOOLCHAINS
                .into_iter()
                .filter_map(|name| Some((name, text(name)?)))
                .collect(),
        }
    }
}

fn uid() -> String {
    format!("uid-{}", rustix::process::getuid().as_raw())
}

/// `palisade.toml`, understood.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    slots: Option<u64>,
    mounts: Vec<Mount>,
    masks: Vec<PathBuf>,
    env: BTreeMap<String, String>,
    path: Vec<String>,
    protected: Vec<String>,
    /// What agents may not see.
    pub(crate) secrets: Secrets,
    limits: Limits,
    checkpoints: Checkpoints,
    /// What sessions may ask of language models, and of whom.
    pub(crate) models: models::Models,
    /// The executor's socket, if there is one.
    pub(crate) executor: Option<PathBuf>,
    /// Whether a plain copy may stand in where overlays are not to be had.
    pub(crate) plain_copy: bool,
    /// The agent that acts when none is named, as with `--agent`.
    pub(crate) agent: Option<String>,
    /// Whether the file is there.
    pub(crate) exists: bool,
}

/// Whether this machine can lay a writable layer over a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlays {
    /// It can.
    Work,
    /// It cannot, and the operator has declared the fallback.
    Missing,
}

impl Config {
    /// Reads the file at the root of a working tree; a missing one grants nothing.
    ///
    /// # Errors
    /// Every fault, with line and column.
    pub(crate) fn read(ground: &Ground) -> Result<Self, Vec<FileFault>> {
        let (text, exists) = match reading::of_repository(&ground.root, FILE) {
            Ok(text) => (text, true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (String::new(), false),
            Err(error) => {
                let (file, message) = (FILE.to_string(), format!("cannot be read: {error}"));
                return Err(vec![FileFault {
                    file,
                    line: 1,
                    column: 1,
                    message,
                }]);
            }
        };
        Self::parse(text, exists, ground)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every fault, with line and column.
    pub(crate) fn parse(
        text: String,
        exists: bool,
        ground: &Ground,
    ) -> Result<Self, Vec<FileFault>> {
        let name = FILE.to_string();
        let source = Source { name, text };
        let faults = Faults::of(&source);
        let sheet = Sheet::parse(&source, &faults);
        let root = sheet.root(&faults);
        let config = Self::from(&root, exists, ground);
        root.finish();
        let found = faults.sorted();
        if found.is_empty() {
            Ok(config)
        } else {
            Err(found)
        }
    }

    fn from(root: &Table<'_>, exists: bool, ground: &Ground) -> Self {
        let env = root.table("env").map(|it| variables(&it));
        let limits = root
            .table("limits")
            .map(|it| Limits::from(&it))
            .unwrap_or_default();
        Self {
            slots: positive(root, "slots"),
            mounts: mounts::read(root, ground),
            masks: masks(root),
            env: env.unwrap_or_default(),
            path: path(root),
            protected: globs_of(root, "protected"),
            secrets: secrets::read(root),
            limits,
            checkpoints: root
                .table("checkpoints")
                .map(|it| checkpoints::read(&it))
                .unwrap_or_default(),
            models: root
                .table("models")
                .map(|it| models::read(&it))
                .unwrap_or_default()
                .with(root.table("egress").map(|it| models::egress(&it))),
            executor: root.table("executor").and_then(|it| executor::read(&it)),
            plain_copy: root.truth("plain_copy_fallback", false),
            agent: root.text("agent"),
            exists,
        }
    }

    /// Returns the settings that follow. Without overlays there are no writable layers either, and
    /// every mount is read-only.
    pub(crate) fn settings(
        &self,
        state: &Path,
        operator: &str,
        fallbacks: Vec<Fallback>,
        overlays: Overlays,
    ) -> Settings {
        let mib = |it: u64| it.saturating_mul(1 << 20);
        let cell = cells::Limits::default();
        let agent = agents::Limits::default();
        let limits = &self.limits;
        let memory_bytes = limits.memory_mib.map_or(cell.memory_bytes, mib);
        let seconds = |it: Option<u64>, other: Duration| it.map_or(other, Duration::from_secs);
        let minutes = |it: Option<u64>, other| seconds(it.map(|it| it.saturating_mul(60)), other);
        Settings {
            state: state.to_path_buf(),
            operator: operator.to_string(),
            slots: self.slots_of(memory_bytes),
            mounts: self.mounts_with(overlays),
            masks: self.masks.clone(),
            env: self.cell_env(),
            protected: protected::globs()
                .iter()
                .map(ToString::to_string)
                .chain(self.protected.iter().cloned())
                .collect(),
            secrets: self.secrets.clone(),
            accepted_downgrades: Vec::new(),
            attack_record: None,
            cell_limits: cells::Limits {
                memory_bytes,
                processes: limits.processes.unwrap_or(cell.processes),
                file_bytes: limits.file_mib.map_or(cell.file_bytes, mib),
                tmp_bytes: limits.tmp_mib.map_or(cell.tmp_bytes, mib),
                disk_bytes: limits.disk_mib.map_or(cell.disk_bytes, mib),
                disk_files: limits.disk_files.unwrap_or(cell.disk_files),
                ..cell
            },
            room: room(limits, memory_bytes),
            allowance: allowance(limits),
            agent_limits: agents::Limits {
                wall: minutes(limits.session_minutes, agent.wall),
                first_word: seconds(limits.first_word_seconds, agent.first_word),
                idle: seconds(limits.idle_seconds, agent.idle),
                stall: minutes(limits.stall_minutes, agent.stall),
                ..agent
            },
            fallbacks,
            file_bytes_max: 32 << 20,
            total_bytes_max: limits.changed_mib.map_or(TOTAL_BYTES_MAX, mib),
            files_max: limits.changed_files.unwrap_or(FILES_MAX),
            checkpoints: self.checkpoints,
            models: self.models.settings.clone(),
        }
    }

    fn mounts_with(&self, overlays: Overlays) -> Vec<Mount> {
        let mounts = self.mounts.iter().cloned();
        match overlays {
            Overlays::Work => mounts.collect(),
            Overlays::Missing => mounts.map(|it| Mount { layer: None, ..it }).collect(),
        }
    }

    /// As many cells as there are cores, but no more than memory admits.
    fn slots_of(&self, memory_bytes: u64) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = self
            .slots
            .and_then(|it| usize::try_from(it).ok())
            .unwrap_or(cores);
        let info = rustix::system::sysinfo();
        let unit = u64::from(info.mem_unit);
        #[expect(
            clippy::useless_conversion,
            reason = "the width differs between architectures"
        )]
        let total = u64::try_from(info.totalram)
            .unwrap_or(0)
            .saturating_mul(unit);
        // A cell rarely uses its whole limit; a quarter of it is reserved for each.
        let fits = total / (memory_bytes / 4).max(1);
        wanted
            .min(usize::try_from(fits).unwrap_or(usize::MAX))
            .max(1)
    }

    fn cell_env(&self) -> BTreeMap<String, String> {
        let mut path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        path.extend(SYSTEM_PATH);
        let mut env = BTreeMap::from(
            [
                ("HOME", CELL_HOME),
                ("LANG", "C.UTF-8"),
                ("PATH", &path.join(":")),
                ("TERM", "dumb"),
                ("TMPDIR", "/tmp"),
                ("USER", "agent"),
            ]
            .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        env.extend(self.env.clone());
        env
    }
}

fn room(limits: &Limits, cell_memory_bytes: u64) -> Room {
    let mib = |it: Option<u64>, other: u64| it.map_or(other, |it| it.saturating_mul(1 << 20));
    let usual = Room::of(cell_memory_bytes);
    Room {
        disk_bytes: mib(limits.disk_free_mib, usual.disk_bytes),
        memory_bytes: mib(limits.memory_free_mib, usual.memory_bytes),
        ..usual
    }
}

fn allowance(limits: &Limits) -> Allowance {
    let mib = |it: Option<u64>, other: u64| it.map_or(other, |it| it.saturating_mul(1 << 20));
    let usual = Allowance::default();
    Allowance {
        disk_bytes: mib(limits.work_disk_mib, usual.disk_bytes),
        files: limits.work_files.unwrap_or(usual.files),
        output_bytes: mib(limits.work_output_mib, usual.output_bytes),
    }
}

fn globs_of(table: &Table<'_>, key: &'static str) -> Vec<String> {
    let list = table.texts(key);
    for told in list.iter().filter_map(|it| globs::fault(it)) {
        table.fault(key, told);
    }
    list
}

fn positive(table: &Table<'_>, key: &'static str) -> Option<u64> {
    let number = table.number(key);
    if number == Some(0) {
        table.fault(key, format!("`{key}` must be more than 0"));
    }
    number
}

fn masks(root: &Table<'_>) -> Vec<PathBuf> {
    let masks = root.texts("masks").into_iter().map(PathBuf::from);
    let masks: Vec<_> = masks.collect();
    for mask in masks.iter().filter(|it| !ground::is_plain(it)) {
        let mask = mask.display();
        let message = format!("`{mask}` must be an absolute path in the cell, without `..`");
        root.fault("masks", message);
    }
    masks
}

fn path(root: &Table<'_>) -> Vec<String> {
    let path = root.texts("path");
    let wrong = |it: &&String| it.contains(':') || !ground::is_plain(Path::new(it));
    for folder in path.iter().filter(wrong) {
        let message = format!("`{folder}` must be an absolute path in the cell, without `:`");
        root.fault("path", message);
    }
    path
}

fn variables(table: &Table<'_>) -> BTreeMap<String, String> {
    let variables = table.all_texts();
    for name in variables.keys() {
        let letter = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
        if name.is_empty() || !name.bytes().all(letter) {
            let message = format!("`{name}` is no name of a variable: letters, digits, `_`");
            table.fault(name, message);
        } else if name == "PATH" {
            table.fault(name, "list the folders in `path` instead");
        } else if name.starts_with("PALISADE_") {
            table.fault(
                name,
                format!("`{name}` is set by Palisade for each session"),
            );
        }
    }
    variables
}

#[cfg(test)]
mod tests;
