//! The way to models: a broker that runs as a service, or one of our own, started when the first
//! session needs it and ended with this process.

use std::fs::{DirBuilder, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::SessionId;
use engine::collection::Intent;
use ports::models::{Account, Error, Grant, Models};
use rustix::fs::{FlockOperation, flock};
use wire::Client;

use crate::config::Config;
use crate::context::Place;

/// The broker's settings, in the state folder or in the operator's own configuration; never in the
/// repository, where they could come from somebody else.
pub(crate) const FILE: &str = "broker.toml";

/// Where tapes are kept in the state folder.
pub(crate) const TAPES: &str = "tapes";

/// The program.
const PROGRAM: &str = "palisade-broker";

/// The most that a broker that cannot start says, in bytes.
const TOLD_BYTES_MAX: u64 = 4 << 10;

/// Returns the way to models, if the operator has set one up.
pub(crate) fn way(place: &Place, config: &Config) -> Option<Arc<dyn Models>> {
    if let Some(control) = &config.models.broker {
        return Some(Arc::new(Client::new(control)));
    }
    let home = place.environment.home.as_ref();
    let own = home.map(|it| it.join(".config/palisade").join(FILE));
    let settings = [Some(place.state.join(FILE)), own];
    let settings = settings.into_iter().flatten().find(|it| it.is_file())?;
    Some(Arc::new(OwnBroker {
        settings,
        tapes: place.state.join(TAPES),
        running: Mutex::default(),
    }))
}

/// A broker of our own.
#[derive(Debug)]
struct OwnBroker {
    settings: PathBuf,
    tapes: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    client: Client,
    child: Child,
    /// The broker ends when this does, and so however this process ends.
    input: Option<ChildStdin>,
    folder: RunFolder,
}

/// A folder for sockets, locked as long as this process lives: that, and no number of a process,
/// which is another one's in another namespace, says whether it is still used.
#[derive(Debug)]
struct RunFolder {
    path: PathBuf,
    _held: File,
}

impl OwnBroker {
    fn client(&self) -> Result<Client, Error> {
        let mut running = lock(&self.running);
        if let Some(running) = &*running {
            return Ok(running.client.clone());
        }
        let started = self.start().map_err(Error::Failed)?;
        let client = started.client.clone();
        *running = Some(started);
        Ok(client)
    }

    fn start(&self) -> Result<Running, String> {
        let own = std::env::current_exe().map_err(|it| it.to_string())?;
        let program = own.with_file_name(PROGRAM);
        if !program.is_file() {
            let program = program.display();
            return Err(format!(
                "{program} is not there; install it with `cargo install --path crates/broker`"
            ));
        }
        let folder =
            run_folder(&run_parent()).map_err(|it| format!("its folder cannot be made: {it}"))?;
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&self.settings)
            .arg("--run")
            .arg(&folder.path)
            .arg("--tapes")
            .arg(&self.tapes)
            .arg("--until-input-ends")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|it| format!("{} cannot be started: {it}", program.display()))?;
        let (input, output, error) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut line = String::new();
        // It says so, or it ends and its output with it.
        let ready = output.is_some_and(|it| {
            let read = BufReader::new(it.take(TOLD_BYTES_MAX)).read_line(&mut line);
            read.is_ok() && line == "ready\n"
        });
        let running = Running {
            client: Client::new(folder.path.join(wire::message::CONTROL)),
            child,
            input,
            folder,
        };
        if ready {
            return Ok(running);
        }
        drop(running);
        let mut told = String::new();
        if let Some(error) = error {
            drop(error.take(TOLD_BYTES_MAX).read_to_string(&mut told));
        }
        Err(format!("it did not start: {}", told.trim()))
    }

    /// Returns the broker, if it runs: what was never opened is not known to it.
    fn asked(&self, session: SessionId) -> Result<Client, Error> {
        let running = lock(&self.running);
        let running = running.as_ref().ok_or(Error::NotFound(session))?;
        Ok(running.client.clone())
    }
}

impl Models for OwnBroker {
    fn open(&self, grant: &Grant) -> Result<PathBuf, Error> {
        self.client()?.open(grant)
    }

    fn account(&self, session: SessionId) -> Result<Account, Error> {
        self.asked(session)?.account(session)
    }

    fn close(&self, session: SessionId) -> Result<Account, Error> {
        self.asked(session)?.close(session)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself now; what it leaves is empty sockets.
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder.path));
    }
}

/// Returns the run folders of brokers whose engine is dead, and removes them if that is intended.
/// Ours to remove is what has our name, belongs to this user and is locked by nobody.
pub(crate) fn sweep(intent: Intent) -> Vec<PathBuf> {
    sweep_in(&run_parent(), intent)
}

fn sweep_in(parent: &Path, intent: Intent) -> Vec<PathBuf> {
    let own = rustix::process::getuid().as_raw();
    let prefix = format!("palisade-{own}-");
    let mut stale = Vec::new();
    let entries = std::fs::read_dir(parent).into_iter().flatten();
    for entry in entries.flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| {
            let numbers = name.strip_prefix(&prefix).and_then(|it| it.split_once('-'));
            let is_number = |it: &str| it.parse::<u32>().is_ok();
            numbers.is_some_and(|(process, attempt)| is_number(process) && is_number(attempt))
        });
        let is_ours = entry
            .metadata()
            .is_ok_and(|it| it.is_dir() && it.uid() == own);
        if !is_named || !is_ours {
            continue;
        }
        let Some(held) = held(&entry.path()) else {
            continue;
        };
        // What cannot be removed now is found by the next sweep.
        if intent == Intent::Count || std::fs::remove_dir_all(entry.path()).is_ok() {
            stale.push(entry.path());
        }
        drop(held);
    }
    stale
}

/// Locks a folder; nothing when somebody else has, or it is gone.
fn held(folder: &Path) -> Option<File> {
    let opened = File::open(folder).ok()?;
    flock(&opened, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Between its making and its lock it may have been swept.
    let (mine, there) = (opened.metadata().ok()?, std::fs::metadata(folder).ok()?);
    ((mine.dev(), mine.ino()) == (there.dev(), there.ino())).then_some(opened)
}

/// Returns where run folders are made: where paths are short enough for sockets.
fn run_parent() -> PathBuf {
    let own = rustix::process::getuid().as_raw();
    let runtime = PathBuf::from(format!("/run/user/{own}"));
    if runtime.is_dir() {
        runtime
    } else {
        Path::new("/tmp").to_path_buf()
    }
}

/// Makes a private folder with a path short enough for sockets.
fn run_folder(within: &Path) -> std::io::Result<RunFolder> {
    let own = rustix::process::getuid().as_raw();
    let number = std::process::id();
    for attempt in 0..100 {
        let path = within.join(format!("palisade-{own}-{number}-{attempt}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                if let Some(held) = held(&path) {
                    return Ok(RunFolder { path, _held: held });
                }
            }
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_swept_when_nobody_holds_it_whoever_made_it() {
        let parent = tempfile::tempdir().unwrap();
        let held = run_folder(parent.path()).unwrap();
        let own = rustix::process::getuid().as_raw();
        // Of another namespace: its number is a living process here.
        let dead = parent.path().join(format!("palisade-{own}-1-0"));
        let other = parent.path().join(format!("palisade-{own}-notes-0"));
        for folder in [&dead, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        let stale = std::slice::from_ref(&dead);
        assert_eq!(sweep_in(parent.path(), Intent::Count), stale);
        assert!(dead.exists(), "looking removes nothing");
        assert_eq!(sweep_in(parent.path(), Intent::Remove), stale);
        assert!(!dead.exists() && other.exists() && held.path.exists());
        let path = held.path.clone();
        drop(held);
        assert_eq!(sweep_in(parent.path(), Intent::Remove), [path]);
    }
}
