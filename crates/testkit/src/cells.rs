//! Cells for tests: [`HostCells`], which seals nothing, and the [`contract`] of all cells.
//!
//! [`HostCells`] runs the program as a plain child of the test, on the host, with the host's files
//! and network, WITHOUT ANY SANDBOX. It is for testing what is built upon cells, with programs the
//! test wrote itself; it must never run an agent.
//!
//! A cell has its own paths (`/brief`, `/.agent`, `/workspace`, …). Here they are made of links: a
//! folder of its own for each cell holds one link per bind, and every such path in the arguments,
//! the environment and the working directory is rewritten to lie beneath it. Paths inside files
//! are not rewritten: programs must go by their environment and working directory. Of an overlay
//! only the upper folder is shown, `/workspace/.git` and masks are left out, limits do not hold.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ports::cells::{Cell, CellSpec, Cells, Denied, Error, Exit, Launched, Layers, Streams, Wall};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

pub mod contract;

mod kin;

/// Tries to start a program that is being written.
const BUSY_TRIES: u32 = 1_000;

/// Between two of them.
const BUSY_AGAIN: Duration = Duration::from_millis(5);

/// Cells without walls, for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostCells;

impl Cells for HostCells {
    fn probe(&self) -> Vec<Wall> {
        vec![no_wall()]
    }

    fn launch(&self, spec: &CellSpec) -> Result<Launched, Error> {
        let view = View::make(spec)?;
        let mut argv = spec.argv.iter().map(|word| view.rewrite(word));
        let program = argv.next().ok_or_else(|| Error::Setup {
            doing: "reading the program".to_owned(),
            why: "there is none".to_owned(),
        })?;
        let env: BTreeMap<&String, String> = spec
            .env
            .iter()
            .map(|(name, value)| (name, view.rewrite(value)))
            .collect();
        let mut command = Command::new(&program);
        command
            .args(argv)
            .env_clear()
            .envs(env)
            .current_dir(view.rewrite(&spec.cwd.to_string_lossy()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = spawn(&mut command).map_err(|error| Error::Program {
            program,
            why: error.to_string(),
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::Setup {
                doing: "taking the streams".to_owned(),
                why: "they are not pipes".to_owned(),
            });
        };
        let cell = Arc::new(Leash(HostCell::watch(child, view)?));
        Ok(Launched {
            streams: Streams {
                stdin: Box::new(stdin),
                stdout: Box::new(stdout),
                stderr: Box::new(stderr),
            },
            cell,
        })
    }
}

/// Starts a program. A script that a test has just written may be held open for writing by a child
/// that another thread is about to start; that passes.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                thread::sleep(BUSY_AGAIN);
            }
            other => return other,
        }
    }
}

fn no_wall() -> Wall {
    Wall {
        name: "sandbox".to_owned(),
        required: false,
        state: Err("none: this is the fake for tests".to_owned()),
    }
}

/// The folder of links that stands for the inside of one cell.
#[derive(Debug)]
struct View {
    folder: tempfile::TempDir,
    targets: Vec<PathBuf>,
}

impl View {
    fn make(spec: &CellSpec) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(|error| setup("making its folder", &error))?;
        let mut view = Self {
            folder,
            targets: Vec::new(),
        };
        for bind in &spec.binds {
            view.link(&bind.source, &bind.target)?;
        }
        for layered in &spec.layered {
            view.link(&layered.upper, &layered.target)?;
        }
        if let Some(tree) = &spec.workspace {
            let shown = match &tree.layers {
                Layers::Overlay { upper, .. } => upper,
                Layers::Plain { dir } => dir,
                Layers::ReadOnly { lowers } => lowers.first().ok_or_else(|| Error::Setup {
                    doing: "showing /workspace".to_owned(),
                    why: "it has no layers".to_owned(),
                })?,
            };
            view.link(shown, Path::new("/workspace"))?;
        }
        Ok(view)
    }

    fn link(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        if source == target {
            return Ok(());
        }
        let doing = || format!("showing {} at {}", source.display(), target.display());
        let nested = |it: &PathBuf| target.starts_with(it) || it.starts_with(target);
        if !target.is_absolute() || self.targets.iter().any(nested) {
            return Err(Error::Setup {
                doing: doing(),
                why: "this fake takes absolute targets, none inside another".to_owned(),
            });
        }
        // A link to nothing would be found out only later, and as something else.
        fs::symlink_metadata(source).map_err(|error| setup(&doing(), &error))?;
        let link = self.host(target);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(|error| setup(&doing(), &error))?;
        }
        symlink(source, link).map_err(|error| setup(&doing(), &error))?;
        self.targets.push(target.to_owned());
        Ok(())
    }

    fn host(&self, target: &Path) -> PathBuf {
        let plain = target
            .components()
            .filter(|it| matches!(it, Component::Normal(_)));
        self.folder.path().join(plain.collect::<PathBuf>())
    }

    /// Returns the text with every path of the cell's own put beneath the folder.
    fn rewrite(&self, text: &str) -> String {
        // Roots such as `/palisade`, so that folders of several binds are found too.
        let mut roots: Vec<String> = self
            .targets
            .iter()
            .filter_map(|target| target.components().nth(1))
            .map(|root| format!("/{}", root.as_os_str().to_string_lossy()))
            .collect();
        roots.sort();
        roots.dedup();
        let folder = self.folder.path().to_string_lossy();
        let mut written = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('/') {
            let (before, path) = rest.split_at(at);
            written.push_str(before);
            let length = path.find(|it: char| !is_path(it)).unwrap_or(path.len());
            let (path, after) = path.split_at(length);
            let inner = written.ends_with(is_path);
            let shown = roots.iter().any(|root| Path::new(path).starts_with(root));
            if shown && !inner {
                written.push_str(&folder);
            }
            written.push_str(path);
            rest = after;
        }
        written + rest
    }
}

fn is_path(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '/' | '.' | '_' | '-')
}

fn setup(doing: &str, error: &std::io::Error) -> Error {
    Error::Setup {
        doing: doing.to_owned(),
        why: error.to_string(),
    }
}

/// A process group on the host and what is known to descend from it.
#[derive(Debug)]
struct HostCell {
    pid: Pid,
    view: View,
    exit: Mutex<Option<Result<Exit, String>>>,
    ended: Condvar,
}

impl HostCell {
    fn watch(child: Child, view: View) -> Result<Arc<Self>, Error> {
        let cell = Arc::new(Self {
            pid: Pid::from_child(&child),
            view,
            exit: Mutex::new(None),
            ended: Condvar::new(),
        });
        let watched = Arc::clone(&cell);
        thread::Builder::new()
            .name("host-cell".to_owned())
            .spawn(move || watched.end(child))
            .map_err(|error| setup("starting its watcher", &error))?;
        Ok(cell)
    }

    /// Waits for the program, ends what it left behind, and tells.
    fn end(&self, mut child: Child) {
        // Leaves the dead process in place: its number names this cell until all are gone.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(self.pid), options).is_err_and(|it| it == Errno::INTR) {}
        kin::kill_all(self.pid, self.view.folder.path());
        let mut exit = self.exit();
        *exit = Some(
            child
                .wait()
                .map_err(|error| error.to_string())
                .map(|status| match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                }),
        );
        self.ended.notify_all();
    }

    fn exit(&self) -> MutexGuard<'_, Option<Result<Exit, String>>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to all, unless the cell has ended and its number may be another's.
    fn signal(&self, signal: Signal) {
        let exit = self.exit();
        if exit.is_none() {
            kin::signal_all(self.pid, self.view.folder.path(), signal);
        }
    }
}

/// What is handed out: a cell that nobody holds any more is killed.
#[derive(Debug)]
struct Leash(Arc<HostCell>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

impl Cell for Leash {
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
        let until = Instant::now().checked_add(patience);
        let mut exit = self.0.exit();
        loop {
            match &*exit {
                Some(Ok(exit)) => return Ok(Some(*exit)),
                Some(Err(why)) => {
                    return Err(Error::Io {
                        doing: "waiting for the program".to_owned(),
                        source: std::io::Error::other(why.clone()),
                    });
                }
                None => {}
            }
            let left = until.map_or(Duration::MAX, |it| {
                it.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Ok(None);
            }
            exit = self
                .0
                .ended
                .wait_timeout(exit, left.min(Duration::from_secs(3_600)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn kill(&self) -> Result<(), Error> {
        self.0.signal(Signal::KILL);
        Ok(())
    }

    fn pause(&self) -> Result<(), Error> {
        self.0.signal(Signal::STOP);
        Ok(())
    }

    fn resume(&self) -> Result<(), Error> {
        self.0.signal(Signal::CONT);
        Ok(())
    }

    fn walls(&self) -> Vec<Wall> {
        vec![no_wall()]
    }

    fn denied(&self) -> Vec<Denied> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ports::cells::{Access, Bind, Tree, Writes};
    use std::io::Read as _;

    #[test]
    fn host_cells_keep_the_contract() {
        contract::all(&HostCells);
    }

    #[test]
    fn paths_of_the_cell_are_rewritten_and_others_are_not() {
        let host = tempfile::tempdir().unwrap();
        let tree = host.path().join("workspace");
        fs::create_dir(&tree).unwrap();
        fs::write(host.path().join("tool"), "").unwrap();
        let mut spec = contract::spec(&["/bin/true"]);
        spec.binds.push(Bind {
            source: host.path().join("tool"),
            target: "/palisade/bin/tool".into(),
            access: Access::ReadOnly,
        });
        spec.workspace = Some(Tree {
            layers: Layers::Plain { dir: tree.clone() },
            git_dir: None,
            writes: Writes::everywhere(),
        });
        let view = View::make(&spec).unwrap();
        let at = view.folder.path().display().to_string();
        for (text, expected) in [
            ("/workspace", format!("{at}/workspace")),
            (
                "cat /workspace/a /etc/b",
                format!("cat {at}/workspace/a /etc/b"),
            ),
            (
                "/palisade/bin:/usr/bin",
                format!("{at}/palisade/bin:/usr/bin"),
            ),
            ("--at=/workspace", format!("--at={at}/workspace")),
            ("/workspaces", "/workspaces".to_owned()),
            ("/home/workspace", "/home/workspace".to_owned()),
            ("a/workspace", "a/workspace".to_owned()),
        ] {
            assert_eq!(view.rewrite(text), expected);
        }
        assert_eq!(
            fs::read_link(view.host(Path::new("/workspace"))).unwrap(),
            tree
        );
    }

    #[test]
    fn the_workspace_is_the_working_directory() {
        let host = tempfile::tempdir().unwrap();
        fs::write(host.path().join("file"), "hello").unwrap();
        let mut spec = contract::spec(&["/bin/cat", "file"]);
        spec.workspace = Some(Tree {
            layers: Layers::Plain {
                dir: host.path().to_owned(),
            },
            git_dir: None,
            writes: Writes::everywhere(),
        });
        spec.cwd = "/workspace".into();
        let mut launched = HostCells.launch(&spec).unwrap();
        let mut text = String::new();
        launched.streams.stdout.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_bind_of_nothing_is_refused() {
        let mut spec = contract::spec(&["/bin/true"]);
        spec.binds.push(Bind {
            source: "/nonexistent/source".into(),
            target: "/brief".into(),
            access: Access::ReadOnly,
        });
        assert!(matches!(HostCells.launch(&spec), Err(Error::Setup { .. })));
    }
}
