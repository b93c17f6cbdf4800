//! Collecting what a session left: as the engine does it, and as a careless one would.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use domain::SessionId;
use domain::tree::{Entry, Tree};
use ports::artifacts::Artifacts;
use ports::cells;
use ports::workspaces::{Mode, Secrets, Workspaces};

use crate::scene::careful_git;

/// Where gates' reports are looked for.
const REPORTS: [&str; 2] = ["report.xml", "reports/junit.xml"];
/// Most bytes of a report, and of a diff.
const REPORT_BYTES_MAX: u64 = 1 << 20;
/// Longest that the engine may take; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest that the careless engine is waited for: it hangs where the engine does not.
const CARELESS_PATIENCE: Duration = Duration::from_millis(700);
/// Room for a walk as deep as a path can be: it must fail by itself, not end the suite.
const CARELESS_STACK_BYTES: usize = 64 << 20;
/// Globs of what is left out of trees.
const SECRET_GLOBS: [&str; 2] = ["**/.env", "**/*.pem"];
/// Most of a diff that is looked at, in bytes.
const DIFF_BYTES_MAX: usize = 4 << 20;

/// Reads the question files in a session's drop, as the engine does: texts, and complaints.
pub type Questions = fn(&Path) -> Vec<String>;

/// The parts of an engine that collect.
pub struct Engine<'a> {
    /// Opens and captures sessions' trees; of the template's repository.
    pub workspaces: &'a dyn Workspaces,
    /// Keeps what was captured.
    pub artifacts: &'a (dyn Artifacts + Sync),
    /// Reads questions.
    pub questions: Questions,
}

impl std::fmt::Debug for Engine<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Engine")
    }
}

/// A session opened for one trial.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    before: Tree,
    /// What its cell mounts.
    pub(crate) tree: cells::Tree,
}

impl Engine<'_> {
    /// Prepares the tree that every session starts from.
    pub(crate) fn prepare(&self) -> Result<Tree, ports::workspaces::Error> {
        let base = self.workspaces.resolve("HEAD")?;
        let secrets = Secrets {
            globs: SECRET_GLOBS.map(str::to_owned).to_vec(),
            accepted: Vec::new(),
        };
        self.workspaces.prepare(&base, &secrets)
    }

    /// Opens a session.
    pub(crate) fn open(&self, id: u128, tree: &Tree) -> Result<Session, ports::workspaces::Error> {
        let id = SessionId::from_bits(id);
        let opened = self.workspaces.open(id, tree, Mode::Writable)?;
        Ok(Session {
            id,
            before: tree.clone(),
            tree: opened.tree,
        })
    }

    /// Takes all that the engine would take from what a session left, and closes it. Returns it as
    /// text to look for canaries in.
    pub(crate) fn collect(&self, session: &Session, folder: &Path) -> Result<Vec<u8>, String> {
        let collected = std::thread::scope(|scope| {
            let (told, heard) = mpsc::channel();
            scope.spawn(move || {
                let taken = self.take(session, folder);
                // Nobody listens any more when it took too long.
                drop(told.send(taken));
            });
            heard
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| Err("collecting hangs".to_owned()))
        });
        let closed = self.workspaces.close(session.id);
        let collected = collected?;
        closed.map_err(|error| format!("closing: {error}"))?;
        Ok(collected)
    }

    /// Closes a session that somebody else collected.
    pub(crate) fn close(&self, session: &Session) {
        // What is left of it goes with the suite's own folder.
        drop(self.workspaces.close(session.id));
    }

    /// Returns the questions of a drop, and the complaints about it, as text.
    pub(crate) fn read_questions(&self, folder: &Path) -> Vec<u8> {
        (self.questions)(folder).concat().into_bytes()
    }

    fn take(&self, session: &Session, folder: &Path) -> Result<Vec<u8>, String> {
        let told = |error: ports::workspaces::Error| error.to_string();
        let mut taken = Vec::new();
        let captured = self.workspaces.capture(session.id).map_err(told)?;
        for change in &captured.changes {
            taken.extend(format!("{change:?}\n").into_bytes());
            if let Entry::File { content, .. } = &change.entry {
                taken.extend(self.artifacts.get(content).map_err(|it| it.to_string())?);
            }
        }
        let diff = self
            .workspaces
            .diff(&session.before, &captured.tree, DIFF_BYTES_MAX)
            .map_err(told)?;
        taken.extend(diff.into_bytes());
        for report in REPORTS {
            let read = self
                .workspaces
                .read_left(session.id, report, REPORT_BYTES_MAX)
                .map_err(told)?;
            taken.extend(read.unwrap_or_default());
        }
        taken.extend(self.read_questions(folder));
        Ok(taken)
    }
}

/// Collects as a careless engine would: follows links, opens whatever is there, takes all names for
/// text and all sizes for good, and lets git look at what the agent wrote.
pub(crate) fn carelessly(
    upper: PathBuf,
    folder: PathBuf,
    own_git: Option<PathBuf>,
) -> Result<Vec<u8>, String> {
    let (told, heard) = mpsc::channel();
    let places = [upper.clone(), folder.clone()];
    let reader = std::thread::Builder::new().stack_size(CARELESS_STACK_BYTES);
    let reader = reader.spawn(move || {
        let mut taken = Vec::new();
        let read = read_all(&upper, &mut taken)
            .and_then(|()| read_all(&folder, &mut taken))
            .and_then(|()| ask_git(&upper, own_git.as_deref()));
        drop(told.send(read.map(|()| taken).map_err(|it| it.to_string())));
    });
    let reader = reader.map_err(|error| format!("starting a reader: {error}"))?;
    let heard = heard.recv_timeout(CARELESS_PATIENCE);
    if heard.is_err() {
        // It waits for somebody to write to a pipe: let it go.
        while !reader.is_finished() {
            places.iter().for_each(|place| release(place));
            std::thread::yield_now();
        }
    }
    drop(reader.join());
    heard.unwrap_or_else(|_| Err("collecting hangs".to_owned()))
}

fn read_all(path: &Path, taken: &mut Vec<u8>) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let Some(name) = path.to_str() else {
            return Err(io::Error::other(format!("{} is no text", path.display())));
        };
        taken.extend(name.as_bytes());
        let about = fs::metadata(&path)?;
        if about.is_dir() {
            read_all(&path, taken)?;
        } else {
            taken.extend(fs::read(&path)?);
        }
    }
    Ok(())
}

/// Looks for changes and commits them, where there is something for git to look at.
fn ask_git(tree: &Path, own_git: Option<&Path>) -> io::Result<()> {
    let ask = |git_dir: &Path, tree: &Path| -> io::Result<()> {
        for words in [
            &["status", "--porcelain"][..],
            &["add", "--all"],
            &["commit", "--quiet", "--allow-empty", "--message", "x"],
        ] {
            careful_git(tree)
                .arg("--git-dir")
                .arg(git_dir)
                .arg("--work-tree")
                .arg(tree)
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
        }
        Ok(())
    };
    if let Some(git_dir) = own_git {
        ask(git_dir, tree)?;
    }
    let nested = tree.join("nested");
    if nested.join(".git").is_dir() {
        ask(&nested.join(".git"), &nested)?;
    }
    Ok(())
}

/// Opens every pipe for writing, so that whoever waits for that goes on.
fn release(folder: &Path) {
    use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            release(&entry.path());
        } else if kind.is_fifo() {
            let waits_not = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
            let mut options = fs::File::options();
            options.write(true).custom_flags(waits_not);
            drop(options.open(entry.path()));
        }
    }
}
