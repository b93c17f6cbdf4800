//! A configured program, run in a cell of its own: by its content, with an empty environment but for
//! what the action gives it, with no folder but what the action needs, and no network but a door to
//! the hosts of its action.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Digest;
use ports::cells::{Access, Bind, CellSpec, Exit, Layers, Limits, Tree, Writes};
use sealed::private;
pub(crate) use sealed::private::folder as private_folder;

use crate::actions::Means;
use crate::bridge;
use crate::config::ProgramRow;
use crate::paper::{self, Readers};
use crate::reach::Reach;
use crate::relay::Relay;

/// The largest program, in bytes.
const PROGRAM_BYTES_MAX: u64 = 256 << 20;

/// The most that is read of what a program prints, in bytes; the rest is let go.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// Where the program is in its cell.
const PROGRAM: &str = "/program";

/// Programs by their names, each a private copy that is what its digest says.
#[derive(Debug)]
pub(crate) struct Programs {
    copies: BTreeMap<String, (PathBuf, Digest)>,
}

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The program cannot be believed.
    #[error("the program `{name}`")]
    Paper {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: paper::Fault,
    },
    /// It is another one than was pinned.
    #[error("the program `{name}` has the digest {found}; executor.toml pins another")]
    Changed {
        /// Which.
        name: String,
        /// What it has.
        found: Digest,
    },
    /// Its copy cannot be made.
    #[error("the program `{name}` cannot be copied into the state folder")]
    Copy {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: private::Fault,
    },
}

impl Programs {
    /// Takes private copies of all programs, so that what runs is what was looked at.
    pub(crate) fn pin(rows: &BTreeMap<String, ProgramRow>, state: &Path) -> Result<Self, Fault> {
        let folder = state.join("programs");
        let mut copies = BTreeMap::new();
        for (name, row) in rows {
            let bytes = paper::read(&row.path, PROGRAM_BYTES_MAX, Readers::Anybody);
            let bytes = bytes.map_err(|source| Fault::Paper {
                name: name.clone(),
                source,
            })?;
            let found = paper::digest(&bytes);
            if found != row.digest {
                let name = name.clone();
                return Err(Fault::Changed { name, found });
            }
            let copy = copy(&folder, found, &bytes).map_err(|source| Fault::Copy {
                name: name.clone(),
                source,
            })?;
            copies.insert(name.clone(), (copy, found));
        }
        Ok(Self { copies })
    }

    /// Returns a program's copy, if it is still what was pinned.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        let (path, pinned) = self.copies.get(name)?;
        let bytes = paper::read(path, PROGRAM_BYTES_MAX, Readers::Anybody).ok()?;
        (paper::digest(&bytes) == *pinned).then_some(path)
    }
}

fn copy(folder: &Path, digest: Digest, bytes: &[u8]) -> Result<PathBuf, private::Fault> {
    private_folder(folder)?;
    let path = folder.join(digest.to_string().replace(':', "-"));
    private::replace(&path, bytes, 0o500)?;
    Ok(path)
}

/// One run of a program.
pub(crate) struct Run<'a> {
    /// The program's copy.
    pub(crate) program: &'a Path,
    /// Its arguments: of the configuration, or our own.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// A folder shown read-only at `/workspace`.
    pub(crate) workspace: Option<PathBuf>,
    /// What else is shown: where from, where to, and what may be done with it.
    pub(crate) shown: Vec<(PathBuf, &'static str, Access)>,
    /// What it may reach; without it there is no network but the cell's own.
    pub(crate) reach: Option<&'a Reach>,
    /// How long it may take.
    pub(crate) patience: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// The beginning of what it printed to standard output.
    pub(crate) output: Vec<u8>,
}

/// A program did not come to an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// It could not be started in its cell.
    NotStarted,
    /// It took too long, and was ended.
    TimedOut,
}

impl Run<'_> {
    /// Runs the program to its end.
    pub(crate) fn finish(self, means: Means<'_>) -> Result<Ended, Unfinished> {
        let patience = self.patience;
        let door = match self.reach {
            None => None,
            Some(reach) => {
                let connections = Arc::clone(means.connections);
                let folder = means.scratch.path().map_err(|_| Unfinished::NotStarted)?;
                let door = Relay::open(folder.join("door"), reach, connections);
                Some(door.map_err(|_| Unfinished::NotStarted)?)
            }
        };
        let spec = self.spec(door.as_ref().map(|it| (it.path(), means.bridge)));
        let launched = means
            .cells
            .launch(&spec)
            .map_err(|_| Unfinished::NotStarted)?;
        let mut streams = launched.streams;
        drop(streams.stdin);
        let complaints = std::thread::spawn(move || drain(&mut streams.stderr));
        let output = std::thread::spawn(move || drain(&mut streams.stdout));
        let ended = wait(&launched.cell, patience);
        // After the end of the cell both streams end, and whatever went through its door.
        drop(complaints.join());
        let output = output.join().unwrap_or_default();
        drop(door);
        match ended? {
            Exit::Code(code) => Ok(Ended { code, output }),
            Exit::Signal(_) | Exit::OverQuota { .. } => Ok(Ended { code: -1, output }),
        }
    }

    /// Returns the cell; with a door also what leads to it.
    fn spec(self, door: Option<(&Path, &Path)>) -> CellSpec {
        let bind = |source: PathBuf, target: &str, access| Bind {
            source,
            target: target.into(),
            access,
        };
        let mut binds = vec![bind(self.program.to_path_buf(), PROGRAM, Access::ReadOnly)];
        binds.extend(
            self.shown
                .into_iter()
                .map(|(from, to, access)| bind(from, to, access)),
        );
        let workspace = self.workspace.map(|folder| Tree {
            layers: Layers::ReadOnly {
                lowers: vec![folder],
            },
            git_dir: None,
            writes: Writes::default(),
        });
        let mut argv = Vec::new();
        if let Some((door, bridge)) = door {
            binds.push(bind(door.to_path_buf(), bridge::DOOR, Access::ReadOnly));
            binds.push(bind(
                bridge.to_path_buf(),
                bridge::PROGRAM,
                Access::ReadOnly,
            ));
            argv.extend([bridge::PROGRAM, bridge::BRIDGE].map(str::to_owned));
        }
        argv.push(PROGRAM.to_owned());
        argv.extend(self.arguments);
        let mut env = self.env;
        env.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        env.insert("LC_ALL".to_owned(), "C".to_owned());
        CellSpec {
            argv,
            env,
            cwd: if workspace.is_some() {
                "/workspace"
            } else {
                "/tmp"
            }
            .into(),
            workspace,
            binds,
            layered: Vec::new(),
            masks: Vec::new(),
            programs: None,
            accepted: Vec::new(),
            limits: Limits::default(),
        }
    }
}

fn wait(cell: &Arc<dyn ports::cells::Cell>, patience: Duration) -> Result<Exit, Unfinished> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match cell.wait(left) {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) if !left.is_zero() => {}
            // Also when supervision fails: nothing is left running.
            Ok(None) | Err(_) => {
                drop(cell.kill());
                drop(cell.wait(Duration::from_secs(30)));
                return Err(Unfinished::TimedOut);
            }
        }
    }
}

/// Reads to the end, so that the program never blocks, and keeps the beginning.
fn drain(stream: &mut dyn Read) -> Vec<u8> {
    let mut kept = Vec::new();
    drop((&mut *stream).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept));
    drop(std::io::copy(stream, &mut std::io::sink()));
    kept
}
