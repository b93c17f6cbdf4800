//! Workspaces: the sealed tree of a work. A tree is a base commit and the changes on it; a session
//! sees it through layers and leaves its own changes in an upper one.

use std::fmt;
use std::ops::ControlFlow;
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
    /// A base holds what looks like credentials. Nothing of it was made ready.
    #[error("{}", told(base, found))]
    Secrets {
        /// The base.
        base: Commit,
        /// All of them, by path and line.
        found: Vec<Leak>,
    },
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

/// The most leaks that an error lists; it says how many more there are.
pub const LEAKS_TOLD_MAX: usize = 50;

/// What is kept from agents, and what the operator has looked at and found to be no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Globs of files that are secrets by name.
    pub globs: Vec<String>,
    /// Fingerprints of what looks like a credential and is accepted.
    pub accepted: Vec<String>,
}

/// What looks like a credential in a file that agents would see. The thing itself is not in here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The file, or what else of the commit it is in.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// The rule that found it.
    pub rule: String,
    /// What the operator names to accept it.
    pub fingerprint: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            fingerprint,
        } = self;
        write!(out, "{path}:{line} {rule} {fingerprint}")
    }
}

/// A value that no agent may see, and the withheld file that holds it. It is kept in memory alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Withheld {
    /// The file.
    pub path: String,
    /// The value.
    pub value: Vec<u8>,
}

impl fmt::Debug for Withheld {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Withheld")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Returns what was found, and the three ways to mend it.
fn told(base: &Commit, found: &[Leak]) -> String {
    let mut text = format!(
        "agents would see what looks like credentials in {}, so nothing was made ready:",
        base.short()
    );
    for leak in found.iter().take(LEAKS_TOLD_MAX) {
        text.push_str("\n  ");
        text.push_str(&leak.to_string());
    }
    let more = found.len().saturating_sub(LEAKS_TOLD_MAX);
    if more > 0 {
        text.push_str("\n  and more of them: ");
        text.push_str(&more.to_string());
    }
    text.push_str(
        "\nfor each of them: remove it in a commit, and give the credential up; or withhold the file with a \
         glob in `secrets` of palisade.toml; or, if it is none, accept it there with\n  \
         [[accepted_secret]]\n  fingerprint = \"…\"\n  reason = \"…\"\nand begin again",
    );
    text
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

/// What a judgement found, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Everything that is wrong with the changes, sorted.
    pub violations: Vec<Violation>,
    /// How often what a rule asks of a content was known from an earlier judgement.
    pub remembered: u64,
    /// How often it was not, so that the content was read.
    pub read: u64,
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

/// A session's layers that are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOpen {
    /// The session.
    pub session: SessionId,
    /// Whether it was opened writable: then it may hold work.
    pub writable: bool,
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
    /// Secrets by name are left out of both. What is left is searched for credentials, once per
    /// file's content; a base with one that is not accepted is not made ready.
    ///
    /// # Errors
    /// When there are secrets, or git or the disk fails.
    fn prepare(&self, base: &Commit, secrets: &Secrets) -> Result<Tree, Error>;

    /// Returns the values in files that are secrets by name, of a prepared base and of the
    /// operator's working tree, as far as nothing that agents see of the base holds them: whoever
    /// finds one outside has found a leak. What is plainly no secret is left out, and the number is
    /// limited.
    ///
    /// # Errors
    /// When git or the disk fails.
    fn withheld(&self, base: &Commit, secrets: &Secrets) -> Result<Vec<Withheld>, Error>;

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
    /// ignore rules exclude (build output) are not part of the tree; special files, giants and names
    /// that are not UTF-8 are not read and appear as [`domain::tree::Entry::Foreign`]. Where there
    /// are too many paths to look at, one such entry stands for all of them.
    ///
    /// # Errors
    /// When the disk fails or the session was not opened writable.
    fn capture(&self, session: SessionId) -> Result<Captured, Error>;

    /// Captures a session that goes on afterwards, reading again only what seems to have been
    /// written since the last time, and shows `look` that much, as [`Workspaces::look_through`]
    /// does. When `look` has seen enough, none of what it saw last is kept, and the answer is
    /// `None`. What a program wrote through memory that it shares with a file may be seen late: what
    /// a session is judged by at its end is a [`Workspaces::capture`].
    ///
    /// # Errors
    /// As [`Workspaces::capture`].
    fn recapture(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<Option<Captured>, Error> {
        let mut is_over = false;
        self.look_through(session, &mut |path, content| {
            let word = look(path, content);
            is_over |= word.is_break();
            word
        })?;
        if is_over {
            return Ok(None);
        }
        self.capture(session).map(Some)
    }

    /// Returns how a session's writable layer looks now. The cell may go on writing: then the next
    /// stamp differs.
    ///
    /// # Errors
    /// When the disk fails or the session was not opened writable.
    fn look(&self, session: SessionId) -> Result<Stamp, Error>;

    /// Shows `look` what [`Workspaces::capture`] would take in: each changed path with the content
    /// of the file or the target of the link there, until `look` has seen enough. Nothing is kept.
    ///
    /// # Errors
    /// As [`Workspaces::capture`].
    fn look_through(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// Judges the changes that led from `before` to `tree` by the import rules, and returns
    /// everything that is wrong with them, sorted. Looks at trees, never at diff text: what a
    /// change does to a test or a document is told by what both trees hold.
    /// Changed files are searched for credentials; no detail tells one.
    ///
    /// # Errors
    /// When a glob is malformed, or the base or an artifact cannot be read.
    fn judge(
        &self,
        before: &Tree,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Vec<Violation>, Error> {
        self.judgement(before, tree, changes, rules)
            .map(|it| it.violations)
    }

    /// As [`Workspaces::judge`], and tells what of it was remembered.
    ///
    /// # Errors
    /// As [`Workspaces::judge`].
    fn judgement(
        &self,
        before: &Tree,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Judgement, Error>;

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

    /// Returns the sessions whose layers are still there, sorted. What cannot be read is told as
    /// writable: there may be work in it.
    ///
    /// # Errors
    /// When the disk fails.
    fn left_open(&self) -> Result<Vec<LeftOpen>, Error>;

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

    /// Returns the owners that have cache layers, sorted; what is of no owner's is not told.
    ///
    /// # Errors
    /// When the disk fails.
    fn cached(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

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
