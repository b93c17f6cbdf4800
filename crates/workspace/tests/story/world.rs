//! A world for stories: a user's repository, the workspaces on it, and artifacts in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use domain::tree::{Commit, ImportRules, Tree};
use domain::{Digest, SessionId};
use palisade_workspace::{Fallback, GitWorkspaces};
use ports::artifacts::{Artifacts, Error};
use ports::cells::Layers;
use ports::workspaces::{Mode, Opened, Secrets, Workspaces as _};

/// Artifacts in memory, and what was put since somebody asked.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Mutex<BTreeMap<Digest, Vec<u8>>>,
    puts: Mutex<Vec<Vec<u8>>>,
    fails: AtomicBool,
}

impl Memory {
    /// Returns what was put since the last time, manifests left out, sorted.
    pub(crate) fn taken(&self) -> Vec<String> {
        let put = std::mem::take(&mut *self.puts.lock().unwrap());
        let mut texts: Vec<String> = put
            .into_iter()
            .map(|it| String::from_utf8_lossy(&it).into_owned())
            .filter(|it| !it.starts_with("{\"changes\":"))
            .collect();
        texts.sort();
        texts
    }

    /// Notes these as put, as if nobody had asked.
    pub(crate) fn put_back(&self, texts: Vec<String>) {
        let bytes = texts.into_iter().map(String::into_bytes);
        self.puts.lock().unwrap().extend(bytes);
    }

    /// Makes every put fail, or lets them pass again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }
}

impl Artifacts for Memory {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        if self.fails.load(Ordering::Relaxed) {
            let doing = "keeping what a test keeps".to_owned();
            return Err(Error::DiskFull { doing });
        }
        let mut kept = self.kept.lock().unwrap();
        let mut puts = self.puts.lock().unwrap();
        Ok(blobs
            .iter()
            .map(|blob| {
                puts.push(blob.to_vec());
                let digest = Digest::from_bytes(*blake3::hash(blob).as_bytes());
                kept.insert(digest, blob.to_vec());
                digest
            })
            .collect())
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let kept = self.kept.lock().unwrap();
        kept.get(digest).cloned().ok_or(Error::Missing(*digest))
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.kept.lock().unwrap().contains_key(digest))
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.kept.lock().unwrap().keys().copied().collect())
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap();
        digests.iter().for_each(|it| drop(kept.remove(it)));
        Ok(())
    }
}

/// What a path holds, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    File(Vec<u8>, bool),
    Link(PathBuf),
}

/// Files and links by path.
pub(crate) type Things = BTreeMap<String, Thing>;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) artifacts: Arc<Memory>,
    pub(crate) workspaces: GitWorkspaces,
}

/// Rules that give everything: what they turn away is turned away from everybody.
pub(crate) fn rules() -> ImportRules {
    ImportRules {
        role_paths: vec!["**".into()],
        plan_allowed: vec!["**".into()],
        plan_denied: Vec::new(),
        protected: Vec::new(),
        secrets: Vec::new(),
        accepted_secrets: Vec::new(),
        may_set_executable: true,
        file_bytes_max: u64::MAX,
        total_bytes_max: u64::MAX,
        files_max: u64::MAX,
        documents_only: false,
        guards_tests: false,
    }
}

pub(crate) fn session(number: u128) -> SessionId {
    SessionId::from_bits(number)
}

/// Returns what withholds the files of these globs.
pub(crate) fn hidden(globs: &[&str]) -> Secrets {
    Secrets {
        globs: globs.iter().map(|it| (*it).to_owned()).collect(),
        accepted: Vec::new(),
    }
}

pub(crate) fn file(text: &str) -> Thing {
    Thing::File(text.as_bytes().to_vec(), false)
}

/// Runs git as the user would, without anything from this machine, and returns what it prints.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_command(folder, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn git_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .current_dir(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(["-c", "init.defaultBranch=main", "-c", "safe.directory=*"])
        .args(arguments);
    command
}

impl World {
    /// A repository on `main` with one commit that holds `files`.
    pub(crate) fn of(files: &[(&str, Thing)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("repo");
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q"]);
        put_all(&repo, files);
        git(&repo, &["add", "-A", "-f"]);
        git(&repo, &["commit", "-q", "--allow-empty", "-m", "start"]);
        Self::on(folder)
    }

    /// The workspaces of whatever lies in `repo`.
    pub(crate) fn on(folder: tempfile::TempDir) -> Self {
        let artifacts = Arc::new(Memory::default());
        let store: Arc<dyn Artifacts> = artifacts.clone();
        let state = folder.path().join("state");
        let workspaces = GitWorkspaces::open(&folder.path().join("repo"), &state, store).unwrap();
        Self {
            folder,
            artifacts,
            workspaces,
        }
    }

    pub(crate) fn plain(mut self) -> Self {
        let store: Arc<dyn Artifacts> = self.artifacts.clone();
        self.workspaces = GitWorkspaces::open(&self.repo(), &self.state(), store)
            .unwrap()
            .with_fallback(Fallback::PlainCopy);
        self
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.repo(), arguments)
    }

    pub(crate) fn head(&self) -> Commit {
        self.workspaces.resolve("HEAD").unwrap()
    }

    /// Commits these files on top of what the user has checked out.
    pub(crate) fn commit(&self, files: &[(&str, Thing)]) -> Commit {
        put_all(&self.repo(), files);
        self.commit_all()
    }

    pub(crate) fn commit_all(&self) -> Commit {
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "next"]);
        self.head()
    }

    pub(crate) fn prepared(&self) -> Tree {
        self.workspaces
            .prepare(&self.head(), &Secrets::default())
            .unwrap()
    }

    /// Opens a tree for a session and returns its layers.
    pub(crate) fn open(&self, number: u128, tree: &Tree) -> (Opened, PathBuf) {
        let opened = self
            .workspaces
            .open(session(number), tree, Mode::Writable)
            .unwrap();
        let place = match &opened.tree.layers {
            Layers::Overlay { upper, .. } => upper.clone(),
            Layers::Plain { dir } => dir.clone(),
            Layers::ReadOnly { .. } => panic!("writable was asked for"),
        };
        (opened, place)
    }

    /// Returns what a cell would see of a tree.
    pub(crate) fn seen(&self, tree: &Tree) -> Things {
        let opened = self
            .workspaces
            .open(session(0xFFFF), tree, Mode::ReadOnly)
            .unwrap();
        let Layers::ReadOnly { lowers } = opened.tree.layers else {
            panic!("read-only was asked for");
        };
        merged(&lowers)
    }
}

/// Writes files and links into a folder.
pub(crate) fn put_all(folder: &Path, files: &[(&str, Thing)]) {
    for (path, thing) in files {
        put(folder, path, thing);
    }
}

pub(crate) fn put(folder: &Path, path: &str, thing: &Thing) {
    let place = folder.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    if place.symlink_metadata().is_ok() {
        fs::remove_file(&place).unwrap();
    }
    match thing {
        Thing::File(content, executable) => {
            fs::write(&place, content).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        }
        Thing::Link(target) => std::os::unix::fs::symlink(target, &place).unwrap(),
    }
}

/// Makes a whiteout, as the kernel does.
pub(crate) fn whiteout(folder: &Path, path: &str) {
    use rustix::fs::{CWD, FileType, Mode};
    let place = folder.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Marks a folder opaque, as the kernel does.
pub(crate) fn opaque(folder: &Path, path: &str) {
    let place = folder.join(path);
    fs::create_dir_all(&place).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&place, "user.overlay.opaque", b"y", flags).unwrap();
}

/// Returns the files and links in a folder, `.git` at the root left out.
pub(crate) fn things(folder: &Path) -> Things {
    merged(&[folder.to_path_buf()])
}

/// Returns the merged view of overlay layers, top-most first: a model of what the kernel shows.
pub(crate) fn merged(lowers: &[PathBuf]) -> Things {
    let mut seen = Things::new();
    merge(lowers, "", &mut seen);
    seen
}

fn merge(layers: &[PathBuf], path: &str, seen: &mut Things) {
    let mut names: Vec<String> = Vec::new();
    for layer in layers {
        let Ok(entries) = fs::read_dir(layer.join(path)) else {
            continue;
        };
        names.extend(entries.map(|it| it.unwrap().file_name().into_string().unwrap()));
    }
    names.sort();
    names.dedup();
    for name in names {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}/{name}")
        };
        if below == ".git" {
            continue;
        }
        let mut folders = Vec::new();
        for layer in layers {
            let place = layer.join(&below);
            let Ok(found) = place.symlink_metadata() else {
                // A parent that is no folder in this layer hides all layers beneath it.
                continue;
            };
            if found.is_dir() {
                folders.push(layer.clone());
                let mut mark = [0; 4];
                if rustix::fs::getxattr(&place, "user.overlay.opaque", &mut mark).is_ok() {
                    break;
                }
                continue;
            }
            let whiteout = found.file_type().is_char_device() && found.rdev() == 0;
            if folders.is_empty() && !whiteout {
                seen.insert(below.clone(), thing(&place));
            }
            break;
        }
        if !folders.is_empty() {
            merge(&folders, &below, seen);
        }
    }
}

fn thing(place: &Path) -> Thing {
    let found = place.symlink_metadata().unwrap();
    if found.is_symlink() {
        Thing::Link(fs::read_link(place).unwrap())
    } else {
        assert!(found.is_file(), "{} is strange", place.display());
        let executable = found.permissions().mode() & 0o100 != 0;
        Thing::File(fs::read(place).unwrap(), executable)
    }
}

/// Runs the user's git on a sealed git directory with these files as its working tree.
pub(crate) fn sealed_git(git_dir: &Path, files: &Path, arguments: &[&str]) -> String {
    let output = git_command(files, arguments)
        .env("GIT_DIR", git_dir)
        .env("GIT_WORK_TREE", files)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
