//! Configuration: the environment, read once and only here, and `palisade.toml`, resolved into
//! settings that are total. A missing setting always means less power.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Settings;
use engine::catalog::sheet::{Faults, Sheet, Table};
use engine::catalog::{FileFault, Source};
use engine::settings::{Fallback, Mount};
use ports::{agents, cells};

/// The operator's file, at the root of the repository.
pub(crate) const FILE: &str = "palisade.toml";

/// Files that need their own approval wherever they change: who controls them controls the gates.
const PROTECTED: [&str; 14] = [
    "palisade.toml",
    ".palisade/**",
    ".github/**",
    ".gitlab-ci.yml",
    ".ci/**",
    ".circleci/**",
    "Jenkinsfile",
    ".woodpecker/**",
    ".woodpecker.yml",
    ".pre-commit-config.yaml",
    ".husky/**",
    ".cargo/config.toml",
    "**/.cargo/config.toml",
    "CODEOWNERS",
];

/// Files that are secrets by their name: they are not shown to agents, and not taken in.
const SECRETS: [&str; 16] = [
    "**/.env",
    "**/.env.*",
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/*.jks",
    "**/*.keystore",
    "**/id_rsa",
    "**/id_ed25519",
    "**/id_ecdsa",
    "**/.netrc",
    "**/.npmrc",
    "**/.pypirc",
    "**/credentials.json",
    "**/.git-credentials",
];

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `PALISADE_STATE`: where state is kept instead of in the git directory.
    pub(crate) state: Option<PathBuf>,
    /// `PALISADE_OPERATOR`, else `USER`, else `LOGNAME`: who the operator is.
    pub(crate) operator: String,
    /// `HOME`: where toolchains are looked for by `palisade init`.
    pub(crate) home: Option<PathBuf>,
    /// `PATH`, for the same.
    pub(crate) path: Vec<PathBuf>,
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
        Self {
            state: std::env::var_os("PALISADE_STATE")
                .filter(|it| !it.is_empty())
                .map(PathBuf::from),
            operator: format!("operator:{}", user.unwrap_or_else(uid)),
            home: std::env::var_os("HOME").map(PathBuf::from),
            path: std::env::split_paths(&path).collect(),
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
    secrets: Vec<String>,
    limits: Limits,
    /// Whether a plain copy may stand in where overlays are not to be had.
    pub(crate) plain_copy: bool,
    /// Whether the file is there.
    pub(crate) exists: bool,
}

#[derive(Clone, Debug, Default)]
struct Limits {
    memory_mib: Option<u64>,
    processes: Option<u64>,
    file_mib: Option<u64>,
    tmp_mib: Option<u64>,
    idle_seconds: Option<u64>,
    session_minutes: Option<u64>,
    changed_files: Option<u64>,
    changed_mib: Option<u64>,
}

impl Config {
    /// Reads the file at the root of a working tree; a missing one grants nothing.
    ///
    /// # Errors
    /// Every fault, with line and column.
    pub(crate) fn read(root: &Path) -> Result<Self, Vec<FileFault>> {
        let path = root.join(FILE);
        let (text, exists) = match std::fs::read_to_string(&path) {
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
        let source = Source {
            name: FILE.to_string(),
            text,
        };
        let faults = Faults::of(&source);
        let sheet = Sheet::parse(&source, &faults);
        let root = sheet.root(&faults);
        let config = Self::from(&root, exists);
        root.finish();
        let found = faults.sorted();
        if found.is_empty() {
            Ok(config)
        } else {
            Err(found)
        }
    }

    fn from(root: &Table<'_>, exists: bool) -> Self {
        let mut env = BTreeMap::new();
        if let Some(table) = root.table("env") {
            env = table.all_texts();
        }
        let limits = root
            .table("limits")
            .map(|it| Limits::from(&it))
            .unwrap_or_default();
        Self {
            slots: root.number("slots"),
            mounts: root.tables("mount").iter().filter_map(mount).collect(),
            masks: root.texts("masks").into_iter().map(PathBuf::from).collect(),
            env,
            path: root.texts("path"),
            protected: root.texts("protected"),
            secrets: root.texts("secrets"),
            limits,
            plain_copy: root.truth("plain_copy_fallback", false),
            exists,
        }
    }

    /// Returns the settings that follow.
    pub(crate) fn settings(
        &self,
        state: &Path,
        operator: &str,
        fallbacks: Vec<Fallback>,
    ) -> Settings {
        let mib = |it: u64| it.saturating_mul(1 << 20);
        let cell = cells::Limits::default();
        let agent = agents::Limits::default();
        let limits = &self.limits;
        let memory_bytes = limits.memory_mib.map_or(cell.memory_bytes, mib);
        let seconds = |it: Option<u64>, other: Duration| it.map_or(other, Duration::from_secs);
        let listed = |ours: &[&str], more: &[String]| {
            ours.iter()
                .map(ToString::to_string)
                .chain(more.iter().cloned())
                .collect()
        };
        Settings {
            state: state.to_path_buf(),
            operator: operator.to_string(),
            slots: self.slots_of(memory_bytes),
            mounts: self.mounts.clone(),
            masks: self.masks.clone(),
            env: self.cell_env(),
            protected: listed(&PROTECTED, &self.protected),
            secrets: listed(&SECRETS, &self.secrets),
            cell_limits: cells::Limits {
                memory_bytes,
                processes: limits.processes.unwrap_or(cell.processes),
                file_bytes: limits.file_mib.map_or(cell.file_bytes, mib),
                tmp_bytes: limits.tmp_mib.map_or(cell.tmp_bytes, mib),
                ..cell
            },
            agent_limits: agents::Limits {
                wall: seconds(
                    limits.session_minutes.map(|it| it.saturating_mul(60)),
                    agent.wall,
                ),
                idle: seconds(limits.idle_seconds, agent.idle),
                ..agent
            },
            fallbacks,
            file_bytes_max: 32 << 20,
            total_bytes_max: limits.changed_mib.map_or(256 << 20, mib),
            files_max: limits.changed_files.unwrap_or(10_000),
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
        path.extend(["/usr/local/bin", "/usr/bin", "/bin"]);
        let mut env = BTreeMap::from(
            [
                ("HOME", "/home/agent"),
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

impl Limits {
    fn from(table: &Table<'_>) -> Self {
        let limits = Self {
            memory_mib: table.number("memory_mib"),
            processes: table.number("processes"),
            file_mib: table.number("file_mib"),
            tmp_mib: table.number("tmp_mib"),
            idle_seconds: table.number("idle_seconds"),
            session_minutes: table.number("session_minutes"),
            changed_files: table.number("changed_files"),
            changed_mib: table.number("changed_mib"),
        };
        table.finish();
        limits
    }
}

fn mount(table: &Table<'_>) -> Option<Mount> {
    let source = PathBuf::from(table.required_text("source"));
    let target = table
        .text("target")
        .map_or_else(|| source.clone(), PathBuf::from);
    let layer = table.text("layer");
    table.finish();
    if !source.is_absolute() {
        table.fault("source", "must be an absolute path");
        return None;
    }
    if !target.is_absolute() {
        table.fault("target", "must be an absolute path");
        return None;
    }
    Some(Mount {
        source,
        target,
        layer,
    })
}
