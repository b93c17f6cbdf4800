//! Workspaces in memory: commits are maps, sessions are real folders, and faults come on demand.
//!
//! [`MemoryWorkspaces`] keeps the port's rules without git. It merges whole files, never lines; a
//! diff shows whole files; and since [`crate::cells::HostCells`] shows only the upper folder of an
//! overlay, a scratch tree is a plain copy of all of it.

pub mod contract;

mod files;
mod globs;
mod held;
mod leaks;
mod looking;
mod port;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use domain::SessionId;
use domain::tree::{Commit, Entry, Manifest, Tree};
use ports::artifacts::Artifacts;
use ports::cells::{self, Layers};
use ports::workspaces::{Captured, CommitText, Error, Mode, Opened, Rebased, Target};

use files::Files;

/// The sealed trees of a repository that lives in memory. Contents of commits lie in the artifact
/// store, too.
pub struct MemoryWorkspaces {
    artifacts: Arc<dyn Artifacts>,
    folder: tempfile::TempDir,
    held: Mutex<Held>,
    let_go: Condvar,
}

impl std::fmt::Debug for MemoryWorkspaces {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("MemoryWorkspaces")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// When a planned disk-full strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Before anything was done.
    Before,
    /// After everything was done: the caller is told that it failed, and it is not so.
    After,
}

#[derive(Debug, Default)]
struct Held {
    commits: BTreeMap<Commit, Stored>,
    refs: BTreeMap<String, Commit>,
    current: String,
    is_checked_out: bool,
    prepared: BTreeSet<Commit>,
    sessions: BTreeMap<SessionId, Session>,
    landings: BTreeMap<Commit, u32>,
    calls: usize,
    fault: Option<(usize, Fault)>,
    fault_of: Option<(&'static str, Fault)>,
    fault_always: Option<&'static str>,
    held_up: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Stored {
    parent: Option<Commit>,
    files: Files,
}

#[derive(Clone, Debug)]
struct Session {
    tree: Tree,
    mode: Mode,
    /// Where changes land.
    left: Option<PathBuf>,
}

impl MemoryWorkspaces {
    /// Makes a bare repository on the branch `main` with one commit that holds these files.
    ///
    /// # Panics
    /// When there is no temporary folder, or the store takes nothing.
    #[must_use]
    pub fn of(artifacts: Arc<dyn Artifacts>, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::within(folder, artifacts, files)
    }

    /// Makes the same with its layers and sessions in this folder.
    ///
    /// # Panics
    /// When the store takes nothing.
    #[must_use]
    pub fn within(
        folder: tempfile::TempDir,
        artifacts: Arc<dyn Artifacts>,
        files: &[(&str, &str)],
    ) -> Self {
        let made = Self {
            artifacts,
            folder,
            held: Mutex::default(),
            let_go: Condvar::new(),
        };
        made.held().current = "main".to_owned();
        let changes: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, Some(*text)))
            .collect();
        made.push("main", &changes);
        made
    }

    /// Puts a commit with these changes (`None` deletes) on top of a branch, as a colleague would,
    /// and returns it. The branch is made if it is missing.
    ///
    /// # Panics
    /// When the store takes nothing.
    pub fn push(&self, branch: &str, changes: &[(&str, Option<&str>)]) -> Commit {
        let parent = match self.look(branch) {
            Ok(target) => Some(target.head),
            Err(_) => None,
        };
        let mut files = parent
            .as_ref()
            .and_then(|it| self.held().commits.get(it).map(|it| it.files.clone()))
            .unwrap_or_default();
        for (path, text) in changes {
            match text {
                None => drop(files.remove(*path)),
                Some(text) => {
                    let content = self.artifacts.put(text.as_bytes()).expect("room");
                    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                    let executable = false;
                    let entry = Entry::File {
                        content,
                        bytes,
                        executable,
                    };
                    files.insert((*path).to_owned(), entry);
                }
            }
        }
        let commit = named(&format!("{parent:?}\n{files:?}"));
        let mut held = self.held();
        let stored = Stored { parent, files };
        held.commits.insert(commit.clone(), stored);
        held.refs
            .insert(format!("refs/heads/{branch}"), commit.clone());
        commit
    }

    /// Checks the current branch out in a working tree, or gives that up: from then on its
    /// changes land elsewhere.
    pub fn check_out(&self, is_checked_out: bool) {
        self.held().is_checked_out = is_checked_out;
    }

    /// Returns the text of each file of a commit.
    ///
    /// # Panics
    /// When there is no such commit.
    #[must_use]
    pub fn texts(&self, commit: &Commit) -> BTreeMap<String, String> {
        let files = self.held().commits[commit].files.clone();
        let text = |entry: &Entry| match entry {
            Entry::File { content, .. } => {
                let bytes = self.artifacts.get(content).expect("content");
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Entry::Symlink { target } => format!("-> {target}"),
            Entry::Deleted | Entry::Foreign { .. } => String::new(),
        };
        files
            .iter()
            .map(|(path, it)| (path.clone(), text(it)))
            .collect()
    }

    /// Returns how often a ref was moved to each commit by a landing.
    #[must_use]
    pub fn landings(&self) -> BTreeMap<Commit, u32> {
        self.held().landings.clone()
    }

    /// Returns the sessions whose layers are still there.
    #[must_use]
    pub fn open_sessions(&self) -> Vec<SessionId> {
        self.held().sessions.keys().copied().collect()
    }

    /// Returns how many calls could have met a full disk so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.held().calls
    }

    /// Lets `calls` more calls succeed; the one after them finds the disk full, once.
    pub fn fail_after(&self, calls: usize, fault: Fault) {
        self.held().fault = Some((calls, fault));
    }

    /// Lets the next call that does this, such as `moving a ref`, find the disk full.
    pub fn fail_next(&self, doing: &'static str) {
        self.held().fault_of = Some((doing, Fault::Before));
    }

    /// Lets the next call that does this be told that the disk is full once it is done.
    pub fn fail_next_after(&self, doing: &'static str) {
        self.held().fault_of = Some((doing, Fault::After));
    }

    /// Lets every call that does this find the disk full, until [`Self::fail_no_more`].
    pub fn fail_always(&self, doing: &'static str) {
        self.held().fault_always = Some(doing);
    }

    /// Lets calls succeed again.
    pub fn fail_no_more(&self) {
        self.held().fault_always = None;
    }

    /// Lets every call that does this take until [`Self::let_go`].
    pub fn hold(&self, doing: &'static str) {
        self.held().held_up = Some(doing);
    }

    /// Lets calls that are held up go on.
    pub fn let_go(&self) {
        self.held().held_up = None;
        self.let_go.notify_all();
    }

    /// Returns whether a planned fault has not struck yet.
    #[must_use]
    pub fn is_fault_left(&self) -> bool {
        let held = self.held();
        held.fault.is_some() || held.fault_of.is_some()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that needs the disk, unless a fault is due.
    fn call<T>(&self, doing: &str, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let mut held = self
            .let_go
            .wait_while(self.held(), |it| it.held_up == Some(doing))
            .unwrap_or_else(PoisonError::into_inner);
        let due = held.due(doing);
        drop(held);
        let doing = doing.to_owned();
        match due {
            None => call(),
            Some(Fault::Before) => Err(Error::DiskFull { doing }),
            Some(Fault::After) => call().and(Err(Error::DiskFull { doing })),
        }
    }

    fn files_of(&self, commit: &Commit) -> Result<Files, Error> {
        let held = self.held();
        let found = held.commits.get(commit).map(|it| it.files.clone());
        found.ok_or_else(|| Error::NotFound(format!("there is no commit {commit}")))
    }

    /// Returns all that a tree holds.
    fn whole(&self, of: &Tree) -> Result<Files, Error> {
        let mut files = self.files_of(&of.base)?;
        if *of != files::tree(&of.base, of.manifest) {
            return Err(Error::Unusable("the tree's digest is another's".to_owned()));
        }
        let Some(digest) = of.manifest else {
            return Ok(files);
        };
        let bytes = self.artifacts.get(&digest).map_err(store("a manifest"))?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|it| Error::Unusable(format!("{digest} is no manifest: {it}")))?;
        files::apply(&mut files, &manifest.changes);
        Ok(files)
    }

    /// Keeps a whole as a tree on this base.
    fn keep(&self, base: &Commit, whole: &Files) -> Result<Tree, Error> {
        let changes = files::difference(&self.files_of(base)?, whole);
        if changes.is_empty() {
            return Ok(files::tree(base, None));
        }
        let text = serde_json::to_vec(&Manifest { changes })
            .map_err(|it| Error::Unusable(format!("a manifest cannot be written: {it}")))?;
        let digest = self.artifacts.put(&text).map_err(store("a manifest"))?;
        Ok(files::tree(base, Some(digest)))
    }

    fn look(&self, branch: &str) -> Result<Target, Error> {
        let held = self.held();
        let (own, landing) = (
            format!("refs/heads/{branch}"),
            format!("refs/heads/palisade/{branch}"),
        );
        let Some(user) = held.refs.get(&own).cloned() else {
            return Err(Error::NotFound(format!("there is no branch `{branch}`")));
        };
        let head = match held.refs.get(&landing).cloned() {
            None => user,
            Some(landed) if held.is_ancestor(&user, &landed) => landed,
            Some(landed) if held.is_ancestor(&landed, &user) => user,
            Some(_) => {
                let text = format!("`{branch}` and `palisade/{branch}` have diverged; merge them");
                return Err(Error::Unusable(text));
            }
        };
        let elsewhere = held.is_checked_out && held.current == branch;
        let lands_on = if elsewhere { landing } else { own };
        let expected = held.refs.get(&lands_on).cloned();
        Ok(Target {
            branch: branch.to_owned(),
            lands_on,
            head,
            expected,
        })
    }

    fn session_folder(&self, session: SessionId) -> PathBuf {
        self.folder
            .path()
            .join("sessions")
            .join(session.to_string())
    }

    /// Returns the folder with all files of a tree, made once.
    fn layer(&self, tree: &Tree) -> Result<PathBuf, Error> {
        let name = tree.digest.to_string().replace(':', "-");
        let folder = self.folder.path().join("layers").join(name);
        let whole = self.whole(tree)?;
        let _held = self.held();
        if !folder.exists() {
            files::write(&folder, &whole, self.artifacts.as_ref())?;
        }
        Ok(folder)
    }

    fn record(&self, session: SessionId) -> Result<Session, Error> {
        let found = self.held().sessions.get(&session).cloned();
        found.ok_or_else(|| Error::NotFound(format!("{session} has no open workspace")))
    }

    fn opened(&self, session: SessionId, tree: &Tree, mode: Mode) -> Result<Opened, Error> {
        if !self.held().prepared.contains(&tree.base) {
            let text = format!("the base {} was never prepared", tree.base);
            return Err(Error::Unusable(text));
        }
        let folder = self.session_folder(session);
        files::remove(&folder)?;
        let (layers, left) = match mode {
            Mode::ReadOnly => (
                Layers::ReadOnly {
                    lowers: vec![self.layer(tree)?],
                },
                None,
            ),
            Mode::Writable => {
                let (upper, work) = (folder.join("upper"), folder.join("work"));
                files::make(&upper)?;
                files::make(&work)?;
                let (lowers, left) = (vec![self.layer(tree)?], Some(upper.clone()));
                let layers = Layers::Overlay {
                    lowers,
                    upper,
                    work,
                };
                (layers, left)
            }
            Mode::Scratch => {
                let dir = folder.join("plain");
                files::write(&dir, &self.whole(tree)?, self.artifacts.as_ref())?;
                (Layers::Plain { dir: dir.clone() }, Some(dir))
            }
        };
        let tree = tree.clone();
        let opened = Session { tree, mode, left };
        self.held().sessions.insert(session, opened);
        let tree = cells::Tree {
            layers,
            git_dir: None,
            writes: cells::Writes::everywhere(),
        };
        Ok(Opened {
            tree,
            fallback: false,
        })
    }

    fn captured(&self, session: SessionId) -> Result<Captured, Error> {
        let began = Instant::now();
        let record = self.record(session)?;
        let (Mode::Writable, Some(upper)) = (record.mode, &record.left) else {
            let text = format!("{session} was not opened writable");
            return Err(Error::Unusable(text));
        };
        let before = self.whole(&record.tree)?;
        let mut after = before.clone();
        files::lay_over(&mut after, upper, self.artifacts.as_ref())?;
        let changes = files::difference(&before, &after);
        Ok(Captured {
            tree: self.keep(&record.tree.base, &after)?,
            bytes: changes.iter().map(|it| files::bytes_of(&it.entry)).sum(),
            changes,
            micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }

    fn rebased(&self, tree: &Tree, onto: &Commit) -> Result<Rebased, Error> {
        let (base, ours) = (self.files_of(&tree.base)?, self.whole(tree)?);
        let mut theirs = self.files_of(onto)?;
        let mut conflicts = Vec::new();
        let mut taken = Vec::new();
        for change in files::difference(&base, &ours) {
            let (old, new) = (base.get(&change.path), ours.get(&change.path));
            match theirs.get(&change.path) {
                their if their == new => {}
                their if their == old => taken.push(change),
                _ => conflicts.push(change.path),
            }
        }
        if !conflicts.is_empty() {
            return Ok(Rebased::Conflict(conflicts));
        }
        files::apply(&mut theirs, &taken);
        self.keep(onto, &theirs).map(Rebased::Clean)
    }

    fn published(&self, tree: &Tree, text: &CommitText) -> Result<Commit, Error> {
        let files = self.whole(tree)?;
        if let Some((path, _)) = files
            .iter()
            .find(|(_, it)| matches!(it, Entry::Foreign { .. }))
        {
            let text = format!("`{path}` cannot be part of a commit; restore it first");
            return Err(Error::Unusable(text));
        }
        let commit = named(&format!("{}\n{text:?}", tree.digest));
        let parent = Some(tree.base.clone());
        let stored = Stored { parent, files };
        self.held().commits.insert(commit.clone(), stored);
        Ok(commit)
    }
}

/// Returns an object name made of what it stands for.
fn named(text: &str) -> Commit {
    let hex = blake3::hash(text.as_bytes()).to_hex();
    hex[..40].parse().expect("40 hexadecimal digits")
}

fn store(what: &str) -> impl Fn(ports::artifacts::Error) -> Error {
    let doing = format!("keeping or reading {what}");
    move |source| Error::Artifacts {
        doing: doing.clone(),
        source,
    }
}

fn same_base(one: &Tree, other: &Tree) -> Result<(), Error> {
    if one.base == other.base {
        Ok(())
    } else {
        Err(Error::Unusable("the trees have different bases".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::MemoryArtifacts;
    use ports::workspaces::{Landed, Secrets, Workspaces};

    struct InMemory(Arc<MemoryWorkspaces>);

    impl contract::Repository for InMemory {
        fn workspaces(&self) -> Arc<dyn Workspaces> {
            Arc::clone(&self.0) as Arc<dyn Workspaces>
        }

        fn push(&self, files: &[(&str, Option<&str>)]) -> Commit {
            self.0.push("main", files)
        }
    }

    fn repository() -> MemoryWorkspaces {
        let files = [("a", "one"), ("d/b", "one")];
        MemoryWorkspaces::of(Arc::new(MemoryArtifacts::default()), &files)
    }

    crate::workspaces_contract!(|| InMemory(Arc::new(repository())));

    #[test]
    fn a_branch_that_is_checked_out_is_left_alone() {
        let workspaces = repository();
        workspaces.check_out(true);
        let target = workspaces.target(None).unwrap();
        assert_eq!(target.lands_on, "refs/heads/palisade/main");
        assert_eq!(target.expected, None);
        let tree = workspaces
            .prepare(&target.head, &Secrets::default())
            .unwrap();
        let text = CommitText {
            name: "Ada".to_owned(),
            email: "ada@example.org".to_owned(),
            seconds: 1,
            message: "m".to_owned(),
        };
        let commit = workspaces.publish(&tree, &text).unwrap();
        assert_eq!(workspaces.land(&target, &commit).unwrap(), Landed::Yes);
        assert_eq!(workspaces.landings(), BTreeMap::from([(commit.clone(), 1)]));
        let target = workspaces.target(None).unwrap();
        assert_eq!(
            (target.head, target.expected),
            (commit.clone(), Some(commit))
        );
    }

    #[test]
    fn a_planned_fault_strikes_once_before_or_after() {
        let workspaces = repository();
        let head = workspaces.resolve("HEAD").unwrap();
        for fault in [Fault::Before, Fault::After] {
            workspaces.fail_after(1, fault);
            workspaces.prepare(&head, &Secrets::default()).unwrap();
            assert!(workspaces.is_fault_left());
            let answer = workspaces.prepare(&head, &Secrets::default());
            assert!(matches!(answer, Err(Error::DiskFull { .. })));
            workspaces.prepare(&head, &Secrets::default()).unwrap();
        }
        assert_eq!(workspaces.calls(), 6);
    }
}
