//! The context of a command: the repository it is called in, its state, and the adapters. The only
//! place that names concrete adapters.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use cell::{Launcher, LinuxCells};
use domain::tree::Commit;
use engine::catalog::{FOLDER, GATES};
use engine::recorder::Recorder;
use engine::settings::{Fallback, Settings};
use engine::views::board::Board;
use engine::world::World;
use judges::ModelJudges;
use ports::artifacts;
use ports::cells::{Cells, Wall};
use ports::clock::Clock as _;
use ports::log::Recorded;
use ports::machine::{Machine as _, Reserve};
use store::artifacts::DiskArtifacts;
use store::clock::SystemClock;
use store::log::SqliteLog;
use store::machine::LinuxMachine;
use store::reserve::DiskReserve;
use workspace::GitWorkspaces;

use crate::CELL_ARGUMENT;
use crate::acting;
use crate::boundary;
use crate::config::ground::Ground;
use crate::config::{Config, Environment, Overlays};
use crate::exit::{Exit, Failure};
use crate::models;
use crate::reading;

mod collector;
mod kinds;

pub(crate) use collector::{Collector, private_folder};
pub(crate) use kinds::{Kind, kinds};

/// What the probe calls the wall that tells whether overlays work.
pub(crate) const OVERLAY: &str = "overlay";

/// The folder of the workspaces, in the state.
const TREES: &str = "trees";

/// A disk with less than this free is full, in bytes.
const FULL_BYTES: u64 = 1 << 20;

/// Who the events come from, in their envelopes.
const SOURCE: &str = "urn:palisade:local";

/// Where a command is called.
#[derive(Debug)]
pub(crate) struct Place {
    /// The root of the working tree, or the git directory of a bare repository.
    pub(crate) root: PathBuf,
    /// The git directory, shared by all working trees.
    pub(crate) git: PathBuf,
    /// The private folder of this repository's state.
    pub(crate) state: PathBuf,
    /// What the environment says.
    pub(crate) environment: Environment,
}

impl Place {
    /// Finds the repository at `repo`, or the one that the current folder is in.
    pub(crate) fn find(repo: Option<&Path>) -> Result<Self, Failure> {
        let environment = Environment::read();
        let start = match repo {
            Some(path) => path.to_path_buf(),
            None => std::env::current_dir().context("the current folder cannot be read")?,
        };
        let asked = |argument: &str| git(&start, argument);
        let common = asked("--git-common-dir").map_err(|why| {
            let hint = "give `--repo DIR`, or make one with `git init` and a first commit";
            Failure::usage(format!(
                "{} is in no git repository: {why}; {hint}",
                start.display()
            ))
        })?;
        let common = start.join(common);
        let common = std::path::absolute(&common).context("the git folder has no path")?;
        let root = match asked("--show-toplevel") {
            Ok(root) => PathBuf::from(root),
            Err(_) => common.clone(),
        };
        let state = environment
            .state
            .clone()
            .unwrap_or_else(|| common.join("palisade"));
        let state = std::path::absolute(&state).context("PALISADE_STATE has no path")?;
        for folder in [&common, &state] {
            check_name(folder)?;
        }
        Ok(Self {
            root,
            git: common,
            state,
            environment,
        })
    }

    /// Returns what no mount may show.
    pub(crate) fn ground(&self) -> Ground {
        Ground {
            root: self.root.clone(),
            git: self.git.clone(),
            state: self.state.clone(),
            home: self.environment.home.clone(),
            own: self
                .environment
                .config
                .as_ref()
                .map(|it| it.join("palisade")),
        }
    }

    /// Returns whether tracked files differ from the last commit; no when git cannot tell.
    pub(crate) fn has_uncommitted_changes(&self) -> bool {
        let commit = run_git(&self.root, &["rev-parse", "--verify", "HEAD^{commit}"]);
        let asked = ["rev-parse", "--path-format=absolute", "--git-path", "index"];
        let (Ok(commit), Ok(index)) = (commit, run_git(&self.root, &asked)) else {
            return false;
        };
        let index = Path::new(index.trim_end_matches('\n'));
        workspace::may_differ(&self.state.join(TREES), &self.root, index, commit.trim())
            .unwrap_or(false)
    }

    /// Opens the state and all adapters.
    pub(crate) fn open(self) -> Result<Context, Failure> {
        let config = Config::read(&self.ground()).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Failure::usage(lines.join("\n"))
        })?;
        Context::open(self, config)
    }
}

/// Refuses a folder that git or a cell cannot be told about: git keeps the paths of borrowed objects
/// one a line, and a cell's plan is text.
fn check_name(folder: &Path) -> Result<(), Failure> {
    match folder.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(()),
        Some(_) | None => Err(Failure::usage(format!(
            "the path {folder:?} has a line break, another control character or is not UTF-8; \
             rename the folder, or set PALISADE_STATE if it is the state's"
        ))),
    }
}

/// Asks git about the repository at a folder, in the words of `git rev-parse`.
pub(crate) fn git(start: &Path, argument: &str) -> Result<String, String> {
    let said = run_git(start, &["rev-parse", "--path-format=absolute", argument])?;
    // A folder's name may end in a space.
    Ok(said.strip_suffix('\n').unwrap_or(&said).to_string())
}

/// Returns the version that git says it has.
pub(crate) fn git_version() -> Result<String, String> {
    Ok(answer(Command::new("git").arg("--version"))?
        .trim()
        .to_string())
}

/// Asks git where the operator's repository is, or what a commit of it says.
fn run_git(start: &Path, arguments: &[&str]) -> Result<String, String> {
    answer(Command::new("git").arg("-C").arg(start).args(arguments))
}

fn answer(command: &mut Command) -> Result<String, String> {
    let output = command
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| format!("git cannot be started: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        let said = said(&output.stderr);
        Err(said.trim().trim_start_matches("fatal: ").to_string())
    }
}

/// Everything a command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where it is called.
    pub(crate) place: Place,
    /// What the operator has decided for this machine.
    pub(crate) config: Config,
    /// The same, resolved.
    pub(crate) settings: Settings,
    /// Loads and records, in the operator's name.
    pub(crate) recorder: Recorder,
}

impl Context {
    fn open(place: Place, config: Config) -> Result<Self, Failure> {
        // Specifications and briefs are nobody else's business.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&place.state)
            .with_context(|| format!("{} cannot be made", place.state.display()))?;
        let operator = place.environment.operator.clone();
        let artifacts = Arc::new(DiskArtifacts::open(&place.state.join("artifacts"))?);
        let own = std::env::current_exe().context("this program has no path")?;
        let cells = sealed(&own, Some(&place.state));
        let overlays = if config.plain_copy {
            overlays(&config, &cells.probe())
        } else {
            Overlays::Work
        };
        let fallbacks = fallbacks(&place.root)?;
        let mut settings = config.settings(&place.state, &operator, fallbacks, overlays);
        let workspaces =
            GitWorkspaces::open(&place.root, &place.state.join(TREES), artifacts.clone())?
                .with_fallback(match overlays {
                    Overlays::Work => workspace::Fallback::None,
                    Overlays::Missing => workspace::Fallback::PlainCopy,
                });
        let reserve = DiskReserve::in_folder(&place.state);
        let drivers = kinds::drivers(cells.clone(), own);
        let models = models::way(&place, &config);
        let executor = acting::way(&place, &config);
        let world = World {
            models,
            executor,
            judges: Arc::new(ModelJudges),
            log: Arc::new(open_log(&place.state, &reserve)?),
            artifacts,
            clock: Arc::new(SystemClock),
            machine: Arc::new(LinuxMachine),
            workspaces: Arc::new(workspaces),
            cells,
            drivers: Arc::new(drivers),
        };
        let recorder = Recorder::new(world, &operator).with_reserve(Arc::new(reserve));
        let machine = recorder.machine()?;
        settings.attack_record = boundary::record(&machine);
        settings.accepted_downgrades =
            boundary::downgrade(&machine).map_or_else(Vec::new, |it| it.walls.clone());
        Ok(Self {
            place,
            config,
            settings,
            recorder,
        })
    }

    /// Returns the board as of now.
    pub(crate) fn board(&self) -> Result<Board, Failure> {
        Ok(Board::read(self.recorder.world().log.as_ref())?)
    }

    /// Refuses when this machine cannot seal a cell.
    pub(crate) fn check_walls(&self) -> Result<(), Failure> {
        let walls = self.recorder.world().cells.probe();
        let missing: Vec<_> = walls
            .iter()
            .filter(|it| !self.settings.accepted_downgrades.contains(&it.name))
            // Without overlays sessions need the fallback, and nobody has declared it.
            .filter(|it| it.required || it.name == OVERLAY && !self.config.plain_copy)
            .filter_map(|it| {
                it.state
                    .as_ref()
                    .err()
                    .map(|why| format!("{}: {why}", it.name))
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "this machine cannot seal a cell:\n  {}",
            missing.join("\n  ")
        );
        Err(Failure::new(Exit::Unsupported, text))
    }
}

/// Returns the reserve of a state folder.
pub(crate) fn reserve(state: &Path) -> Box<dyn Reserve> {
    Box::new(DiskReserve::in_folder(state))
}

/// Opens the log; what SQLite needs for that on a full disk, the reserve gives.
fn open_log(state: &Path, reserve: &DiskReserve) -> Result<SqliteLog, Failure> {
    let path = state.join("events.sqlite");
    match SqliteLog::open(&path) {
        Ok(log) => Ok(log),
        Err(error) if is_full(state) && reserve.release()? => {
            drop(error);
            Ok(SqliteLog::open(&path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the disk of a folder has next to nothing left.
fn is_full(state: &Path) -> bool {
    let free = LinuxMachine.free(state);
    free.is_ok_and(|it| it.disk < FULL_BYTES)
}

/// Returns what time it is.
pub(crate) fn now() -> domain::Timestamp {
    SystemClock.now()
}

/// Returns an event as a CloudEvents envelope, for whoever reads the log outside.
pub(crate) fn envelope(recorded: &Recorded) -> serde_json::Value {
    store::log::envelope(recorded, SOURCE)
}

/// Returns how large the event log is.
pub(crate) fn log_size(state: &Path) -> Result<store::log::Size, Failure> {
    Ok(SqliteLog::open(&state.join("events.sqlite"))?.size()?)
}

/// Returns the artifacts with the right to remove what nothing reaches.
pub(crate) fn collector(state: &Path) -> Result<Box<dyn artifacts::Collector>, Failure> {
    Ok(Box::new(DiskArtifacts::open(&state.join("artifacts"))?))
}

/// Returns a commit as git keeps it: headers, an empty line, the message.
pub(crate) fn raw_commit(place: &Place, commit: &Commit) -> Result<String, String> {
    // What stands in place of a commit must not be taken for it.
    let arguments = [
        "--no-replace-objects",
        "cat-file",
        "commit",
        commit.as_str(),
    ];
    run_git(&place.root, &arguments)
}

/// Returns the full name of a branch, if git could have one of that name.
pub(crate) fn branch_ref(place: &Place, name: &str) -> Result<String, String> {
    let full = format!("refs/heads/{name}");
    run_git(&place.root, &["check-ref-format", &full])
        .map(|_| full)
        .map_err(|_| format!("`{name}` is no name for a branch"))
}

/// Returns the maker of cells that launches this very program; it tries overlays where state is.
pub(crate) fn sealed(own: &Path, state: Option<&Path>) -> Arc<dyn Cells> {
    let launcher = Launcher {
        program: own.to_path_buf(),
        argument: CELL_ARGUMENT.into(),
    };
    let cells = LinuxCells::new(launcher).keeping_one_ready();
    Arc::new(match state {
        Some(state) => cells.with_probe_dir(state.to_path_buf()),
        None => cells,
    })
}

/// The fallback needs both: the operator's word, and a machine where overlays really do not work.
pub(crate) fn overlays(config: &Config, probed: &[Wall]) -> Overlays {
    let missing = |it: &Wall| it.name == OVERLAY && it.state.is_err();
    if config.plain_copy && probed.iter().any(missing) {
        Overlays::Missing
    } else {
        Overlays::Work
    }
}

/// A gates file that is not committed yet is the operator's own, and is used until it is.
fn fallbacks(root: &Path) -> Result<Vec<Fallback>, Failure> {
    let path = root.join(GATES);
    match reading::of_repository(root, GATES) {
        Ok(text) => {
            let source = format!("working tree:{GATES}");
            Ok(vec![Fallback {
                path: GATES.to_string(),
                source,
                text,
            }])
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::usage(format!(
            "{FOLDER}: {} cannot be read: {error}",
            path.display()
        ))),
    }
}
