//! Workspaces: the sealed tree of a work. A tree is a base commit and the changes on it; a session
//! sees it through layers and leaves its own changes in an upper one.

use std::path::PathBuf;

use domain::tree::{Change, Commit, ImportRules, Tree, Violation};
use domain::{Digest, SessionId};

use crate::cells;

/// Why the workspace could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision, branch or path does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The repository is in a state that cannot be worked on; says how to mend it.
    #[error("{0}")]
    Unusable(String),
    /// No space is left.
    #[error("the disk is full while {doing}; free some space and run the command again")]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// Git failed.
    #[error("git {command} failed: {output}")]
    Git {
        /// The subcommand.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// The artifact store failed.
    #[error("{doing}")]
    Artifacts {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: crate::artifacts::Error,
    },
    /// The file system failed.
    #[error("workspace: {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What a session may do with the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Change it; the changes land in the session's upper layer.
    Writable,
    /// Only read it.
    ReadOnly,
    /// Change it, and all changes are thrown away (gates).
    Scratch,
}

/// A tree, ready for a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What the cell mounts at `/workspace`.
    pub tree: cells::Tree,
    /// Whether the declared fallback (a plain copy) is in use instead of an overlay.
    pub fallback: bool,
}

/// One name in a folder of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name, without the folder.
    pub name: String,
    /// Whether it is a folder, and neither a file nor a link.
    pub is_folder: bool,
}

/// What was found in a session's upper layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The tree as it is now: the base, and all changes since, in the artifact store.
    pub tree: Tree,
    /// What the session changed relative to the tree it was opened on, sorted by path.
    pub changes: Vec<Change>,
    /// The sum of the changed files' lengths, in bytes.
    pub bytes: u64,
    /// How long scanning, hashing and storing took, in microseconds.
    pub micros: u64,
}

/// How a session's writable layer looks from outside, without reading any file: two equal stamps
/// mean that nothing was written between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Files and folders in it.
    pub entries: u64,
    /// The sum of the files' lengths, in bytes.
    pub bytes: u64,
    /// A digest of names, kinds, sizes and times.
    pub digest: Digest,
}

/// Where promoted commits land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The branch the operator means, such as `main`.
    pub branch: String,
    /// The full name of the ref that is moved: the branch itself or, while that is checked out in
    /// a working tree (which is never touched), `refs/heads/palisade/<branch>`.
    pub lands_on: String,
    /// What works start from now: whichever of the two refs is ahead.
    pub head: Commit,
    /// What `lands_on` holds now, for compare-and-swap; `None` when it does not exist yet.
    pub expected: Option<Commit>,
}

/// What became of a rebase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebased {
    /// The same changes on the new base.
    Clean(Tree),
    /// These paths were changed on both sides and could not be merged.
    Conflict(Vec<String>),
}

/// What became of a landing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The ref holds the commit (now, or since an earlier attempt).
    Yes,
    /// The ref holds something else than expected; nothing was changed.
    Moved(Option<Commit>),
}

/// Who and what a published commit speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitText {
    /// The author's and committer's name.
    pub name: String,
    /// The author's and committer's e-mail address.
    pub email: String,
    /// The time, in seconds since the epoch: given, so that publishing twice is the same commit.
    pub seconds: u64,
    /// Subject, blank line, body, trailers.
    pub message: String,
}

/// The sealed trees of one repository.
pub trait Workspaces: Send + Sync {
    /// Returns the commit that a revision names.
    ///
    /// # Errors
    /// When there is none.
    fn resolve(&self, revision: &str) -> Result<Commit, Error>;

    /// Returns where changes for `branch` land, and what works on it start from; `None` asks for
    /// the branch the repository is on.
    ///
    /// # Errors
    /// When there is no such branch, or it and its landing branch have diverged.
    fn target(&self, branch: Option<&str>) -> Result<Target, Error>;

    /// Returns the content of a file in a commit, if it is there.
    ///
    /// # Errors
    /// When git fails.
    fn read_at(&self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Returns the paths of the regular files under a folder of a commit (not recursive), sorted.
    ///
    /// # Errors
    /// When git fails.
    fn list_at(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, Error>;

    /// Returns the tree of a bare commit, with the base's layers and its controller-owned git
    /// directory made ready: once per base, incrementally from an earlier base, idempotent.
    /// Secrets by name (`secrets` globs) are left out of both.
    ///
    /// # Errors
    /// When git or the disk fails.
    fn prepare(&self, base: &Commit, secrets: &[String]) -> Result<Tree, Error>;

    /// Returns what a cell sees in a folder of a tree (`""` is the root), sorted by name; nothing
    /// when there is no such folder. Names that are not UTF-8 are left out. The tree's base must have
    /// been prepared.
    ///
    /// # Errors
    /// When the base was not prepared or an artifact is missing.
    fn list(&self, tree: &Tree, folder: &str) -> Result<Vec<Listed>, Error>;

    /// Makes a tree ready for one session's cell. Opening a session again gives it a fresh, empty
    /// upper layer. The tree's base must have been prepared.
    ///
    /// # Errors
    /// When the disk fails or an artifact is missing.
    fn open(&self, session: SessionId, tree: &Tree, mode: Mode) -> Result<Opened, Error>;

    /// Reads what a session left in its upper layer, on top of the tree it was opened with, and
    /// keeps it in the artifact store. The cell must be paused or ended. Files that the *base's*
    /// ignore rules exclude (build output) are not part of the tree; special files and names that
    /// are not UTF-8 appear as [`domain::tree::Entry::Foreign`].
    ///
    /// # Errors
    /// When the disk fails or the session was not opened writable.
    fn capture(&self, session: SessionId) -> Result<Captured, Error>;

    /// Captures a session that goes on afterwards, reading again only what seems to have been
    /// written since the last time. What a program wrote through memory that it shares with a file
    /// may be seen late: what a session is judged by at its end is a [`Workspaces::capture`].
    ///
    /// # Errors
    /// As [`Workspaces::capture`].
    fn recapture(&self, session: SessionId) -> Result<Captured, Error> {
        self.capture(session)
    }

    /// Returns how a session's writable layer looks now. The cell may go on writing: then the next
    /// stamp differs.
    ///
    /// # Errors
    /// When the disk fails or the session was not opened writable.
    fn look(&self, session: SessionId) -> Result<Stamp, Error>;

    /// Judges changes by the import rules and returns everything that is wrong with them, sorted.
    /// Looks only at the changes (and, for case folding, at the base's names), never at diff text.
    ///
    /// # Errors
    /// When a glob is malformed or the base cannot be read.
    fn judge(
        &self,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Vec<Violation>, Error>;

    /// Returns `tree` with `paths` put back to what `before` holds at them.
    ///
    /// # Errors
    /// When the artifact store fails.
    fn restore(&self, tree: &Tree, before: &Tree, paths: &[String]) -> Result<Tree, Error>;

    /// Returns what differs between two trees of the same base, sorted by path.
    ///
    /// # Errors
    /// When the artifact store fails.
    fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, Error>;

    /// Returns the unified diff between two trees of the same base, as git would print it, at most
    /// `bytes_max` bytes (cut with a note).
    ///
    /// # Errors
    /// When git or the artifact store fails.
    fn diff(&self, from: &Tree, to: &Tree, bytes_max: usize) -> Result<String, Error>;

    /// Carries the changes of `tree` over to another base (three-way, per file).
    ///
    /// # Errors
    /// When git or the artifact store fails.
    fn rebase(&self, tree: &Tree, onto: &Commit) -> Result<Rebased, Error>;

    /// Writes the tree as a git commit on its base and returns it; no ref of the user is moved.
    /// The same tree and text give the same commit.
    ///
    /// # Errors
    /// When git fails.
    fn publish(&self, tree: &Tree, text: &CommitText) -> Result<Commit, Error>;

    /// Moves `lands_on` from `expected` to `commit` by compare-and-swap. The user's working tree
    /// and index are not touched.
    ///
    /// # Errors
    /// When git fails; a moved ref is an answer, not an error.
    fn land(&self, target: &Target, commit: &Commit) -> Result<Landed, Error>;

    /// Returns whether the ref contains the commit, read afresh.
    ///
    /// # Errors
    /// When git fails.
    fn contains(&self, target: &Target, commit: &Commit) -> Result<bool, Error>;

    /// Returns what a session left at `path` (relative to the tree, no links followed), if it is a
    /// regular file of at most `bytes_max` bytes. For reports that gates write.
    ///
    /// # Errors
    /// When the disk fails.
    fn read_left(
        &self,
        session: SessionId,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, Error>;

    /// Removes a session's layers. Does nothing when there are none.
    ///
    /// # Errors
    /// When the disk fails.
    fn close(&self, session: SessionId) -> Result<(), Error>;

    /// Returns a private folder for a work's writable cache layer of this name, made if missing:
    /// `(upper, work)` for [`cells::Layered`].
    ///
    /// # Errors
    /// When the disk fails.
    fn cache_layer(&self, owner: &str, name: &str) -> Result<(PathBuf, PathBuf), Error>;

    /// Removes the cache layers of an owner. Does nothing when there are none.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove_caches(&self, owner: &str) -> Result<(), Error>;

    /// Returns digests of artifacts that a tree needs (its manifest and the files in it).
    ///
    /// # Errors
    /// When the artifact store fails.
    fn reachable(&self, tree: &Tree) -> Result<Vec<Digest>, Error>;
}
