//! A generated repository, workspaces on it, and a worktree in which git does the same.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::tree::{ImportRules, Tree};
use domain::{Digest, SessionId};
use palisade_workspace::GitWorkspaces;
use ports::artifacts::{Artifacts, Error};
use ports::cells::Layers;
use ports::workspaces::{Mode, Secrets, Workspaces as _};
use store::artifacts::DiskArtifacts;

/// Files in one folder.
const FOLDER_FILES: usize = 50;
/// Folders in one folder.
const FOLDER_FOLDERS: usize = 40;

/// The real store, and how long putting took.
pub(crate) struct Timed {
    inner: DiskArtifacts,
    putting_micros: AtomicU64,
}

impl Timed {
    /// Returns how long all putting took since this was last asked.
    pub(crate) fn taken(&self) -> Duration {
        Duration::from_micros(self.putting_micros.swap(0, Ordering::Relaxed))
    }
}

impl Artifacts for Timed {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        let begun = Instant::now();
        let digests = self.inner.put_all(blobs);
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.putting_micros.fetch_add(micros, Ordering::Relaxed);
        digests
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.inner.get(digest)
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        self.inner.contains(digest)
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        self.inner.list()
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        self.inner.remove(digests)
    }
}

pub(crate) struct Ground {
    folder: tempfile::TempDir,
    pub(crate) artifacts: Arc<Timed>,
    files: usize,
    pub(crate) workspaces: GitWorkspaces,
    pub(crate) tree: Tree,
    /// How long the base took.
    pub(crate) prepared: Duration,
    /// How long git took for its worktree.
    pub(crate) worktree: Duration,
}

impl Ground {
    /// Makes all of it in a temporary folder.
    pub(crate) fn make(files: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("repo.git");
        git(folder.path(), &["init", "-q", "--bare", "repo.git"]);
        import(&repo, files);
        let artifacts = Arc::new(Timed {
            inner: DiskArtifacts::open(&folder.path().join("artifacts")).unwrap(),
            putting_micros: AtomicU64::new(0),
        });
        let store: Arc<dyn Artifacts> = Arc::clone(&artifacts) as _;
        let workspaces = GitWorkspaces::open(&repo, &folder.path().join("state"), store);
        let workspaces = workspaces.unwrap();
        let head = workspaces.resolve("main").unwrap();
        let begun = Instant::now();
        let tree = workspaces.prepare(&head, &Secrets::default()).unwrap();
        let prepared = begun.elapsed();
        let worktree = folder.path().join("worktree");
        settle(folder.path());
        let begun = Instant::now();
        let place = worktree.to_str().unwrap();
        git(&repo, &["worktree", "add", "-q", "--detach", place, "main"]);
        let taken = begun.elapsed();
        git(&worktree, &["status", "--porcelain"]);
        Self {
            folder,
            artifacts,
            files,
            workspaces,
            tree,
            prepared,
            worktree: taken,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.folder().join("worktree")
    }

    /// Opens a session on a tree and returns its upper layer.
    pub(crate) fn open(&self, number: u128, tree: &Tree) -> PathBuf {
        let id = SessionId::from_bits(number);
        let opened = self.workspaces.open(id, tree, Mode::Writable).unwrap();
        match opened.tree.layers {
            Layers::Overlay { upper, .. } => upper,
            Layers::Plain { .. } | Layers::ReadOnly { .. } => panic!("overlays were asked for"),
        }
    }

    /// Returns the paths that a round changes: half are in the base, half are new.
    pub(crate) fn paths(&self, changed: usize) -> Vec<String> {
        let edited = changed.div_ceil(2).min(self.files / 2);
        // Spread over the whole repository, as edits are.
        let step = self.files / edited;
        let old = (0..edited).map(|number| path(number * step));
        let new = (edited..changed).map(|number| format!("{}.new", path(number * 7 % self.files)));
        old.chain(new).collect()
    }
}

/// Writes files as an overlay would leave them: whole, and new.
pub(crate) fn write(folder: &Path, paths: &[String], round: usize) {
    for (number, path) in paths.iter().enumerate() {
        let place = folder.join(path);
        let content = content(number, round + 1);
        match fs::write(&place, &content) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(&place, &content).unwrap();
            }
            written => written.unwrap(),
        }
    }
}

/// Lets the disk come to rest, so that nobody pays for what another wrote, and lets the times of
/// files grow old enough to be relied on.
pub(crate) fn settle(folder: &Path) {
    let file = fs::File::open(folder).unwrap();
    rustix::fs::syncfs(&file).unwrap();
    let mark = folder.join("mark");
    let stamped = || {
        fs::write(&mark, "x").unwrap();
        fs::metadata(&mark).unwrap().modified().unwrap()
    };
    let before = stamped();
    while stamped() < before + Duration::from_millis(30) {
        std::thread::yield_now();
    }
}

/// Runs git, with nothing of this machine's configuration.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder)
        .args(["-c", "safe.directory=*", "-c", "gc.auto=0"])
        .args(arguments);
    command
}

/// Rules that let everything pass, with globs as a plan has them.
pub(crate) fn rules() -> ImportRules {
    let globs = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    ImportRules {
        role_paths: globs(&["**"]),
        plan_allowed: globs(&["src/**", "docs/**"]),
        plan_denied: globs(&["src/denied/**"]),
        protected: globs(&[".github/**", "policies/**", "LICENSE"]),
        secrets: globs(&[".env*", "*.pem", "*.key"]),
        accepted_secrets: Vec::new(),
        may_set_executable: false,
        file_bytes_max: 1 << 20,
        total_bytes_max: 1 << 30,
        files_max: 100_000,
        documents_only: false,
        guards_tests: true,
    }
}

fn path(number: usize) -> String {
    let folder = number / FOLDER_FILES;
    format!(
        "src/part{}/mod{}/file{number}.rs",
        folder / FOLDER_FOLDERS,
        folder % FOLDER_FOLDERS
    )
}

/// Text between 400 bytes and 4 KB, another in each round.
fn content(number: usize, round: usize) -> String {
    let lines = 10 + (number * 37 + round * 11) % 90;
    let mut text = format!("//! File {number} in round {round}.\n");
    for line in 0..lines {
        let value = number
            .wrapping_mul(31)
            .wrapping_add(line * 17)
            .wrapping_add(round * 101);
        writeln!(text, "let value_{line} = {value} + other({round});").unwrap();
    }
    text
}

fn import(repo: &Path, files: usize) {
    let mut child = command(repo, &["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufWriter::new(child.stdin.take().unwrap());
    let head =
        "commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 5\nstart\n";
    out.write_all(head.as_bytes()).unwrap();
    for number in 0..files {
        let text = content(number, 0);
        let name = path(number);
        write!(out, "M 100644 inline {name}\ndata {}\n{text}\n", text.len()).unwrap();
    }
    out.flush().unwrap();
    drop(out);
    assert!(child.wait().unwrap().success());
}
