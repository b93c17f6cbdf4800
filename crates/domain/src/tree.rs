//! Trees as values: a base commit and what was changed on it. The sealed workspace captures them,
//! the import filter judges them, evidence and approvals are bound to their digest.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

/// The object name of a git commit: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

/// A text is not a commit's object name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the object name of a commit")]
pub struct NotACommit(pub String);

impl Commit {
    /// Returns the hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first ten digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl FromStr for Commit {
    type Err = NotACommit;

    fn from_str(text: &str) -> Result<Self, NotACommit> {
        let hex = text
            .bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(String::from(text)))
        } else {
            Err(NotACommit(String::from(text)))
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for Commit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Commit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A tree that something can be bound to: the base commit and the cumulative changes on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    /// Where the work began.
    pub base: Commit,
    /// The artifact that holds the [`Manifest`] of all changes since `base`, as canonical JSON;
    /// `None` for the base itself, unchanged.
    pub manifest: Option<Digest>,
    /// The identity of the whole: BLAKE3 over the base and the manifest. Equal digests are equal
    /// trees; a changed byte, mode or base is another digest.
    pub digest: Digest,
}

/// What a path holds after a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A regular file.
    File {
        /// Its content, in the artifact store.
        content: Digest,
        /// Its length in bytes.
        bytes: u64,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: String,
    },
    /// The path of the base is gone.
    Deleted,
    /// Something that can never be imported and was not read: a device, socket, FIFO, a giant, or a
    /// name that is not UTF-8. At [`Violation::WHOLE`] it stands for everything that was left.
    Foreign {
        /// What it is, in a word or two.
        what: String,
        /// The rule that it breaks.
        #[serde(
            default = "Rule::file_type",
            skip_serializing_if = "Rule::is_file_type"
        )]
        rule: Rule,
    },
}

/// One changed path, relative to the root, `/`-separated, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The path.
    pub path: String,
    /// What it holds now.
    pub entry: Entry,
}

/// All changes on a base, sorted by path, one per path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The changes.
    pub changes: Vec<Change>,
}

/// A rule of the import filter, by the name that messages and the log use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The role may not write here.
    RoleScope,
    /// The plan does not allow this path.
    PlanAllowed,
    /// The plan denies this path.
    PlanDenied,
    /// Policy, CI, role and formula files need their own approval.
    Protected,
    /// Is a secret by its name, or holds what looks like one.
    Secret,
    /// A `.git` component in any of its spellings, or a `.gitmodules`/`.gitattributes` change.
    GitInternals,
    /// A symbolic link that leaves the tree, or is absolute.
    SymlinkEscape,
    /// A path that is not canonical, or collides with another when case is folded.
    Path,
    /// Not a regular file, symlink or deletion.
    FileType,
    /// The executable bit appeared where the role may not set it.
    Mode,
    /// A file, or the whole, is too large.
    Size,
    /// Too many files.
    Count,
    /// Documentation that can be built or run.
    Content,
    /// A test was deleted or is skipped.
    TestWeakened,
}

impl Rule {
    /// Returns what a stored [`Entry::Foreign`] without a rule breaks.
    const fn file_type() -> Self {
        Self::FileType
    }

    const fn is_file_type(&self) -> bool {
        matches!(self, Self::FileType)
    }

    /// Returns the literal used in the log, messages and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoleScope => "role_scope",
            Self::PlanAllowed => "plan_allowed",
            Self::PlanDenied => "plan_denied",
            Self::Protected => "protected",
            Self::Secret => "secret",
            Self::GitInternals => "git_internals",
            Self::SymlinkEscape => "symlink_escape",
            Self::Path => "path",
            Self::FileType => "file_type",
            Self::Mode => "mode",
            Self::Size => "size",
            Self::Count => "count",
            Self::Content => "content",
            Self::TestWeakened => "test_weakened",
        }
    }
}

/// One thing the import filter holds against a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Violation {
    /// The path.
    pub path: String,
    /// The rule it breaks.
    pub rule: Rule,
    /// Why, in a sentence that an agent can act on.
    pub detail: String,
}

impl Violation {
    /// The path of what is held against a set of changes as a whole, and against none of them.
    pub const WHOLE: &str = ".";
}

/// What one session may bring home: made of the role and the plan, judged by the import filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRules {
    /// The role's write globs; empty means it may write nothing.
    pub role_paths: Vec<String>,
    /// The plan's allowed globs; empty means nothing is allowed.
    pub plan_allowed: Vec<String>,
    /// The plan's denied globs; they win over the allowed ones.
    pub plan_denied: Vec<String>,
    /// Protected globs: they always need an approval of their own.
    pub protected: Vec<String>,
    /// Globs of files that are secrets by name.
    pub secrets: Vec<String>,
    /// Fingerprints of what looks like a credential and is accepted.
    pub accepted_secrets: Vec<String>,
    /// Whether new executable bits are accepted.
    pub may_set_executable: bool,
    /// The largest single file, in bytes.
    pub file_bytes_max: u64,
    /// The largest sum of all changed files, in bytes.
    pub total_bytes_max: u64,
    /// The most changed paths.
    pub files_max: u64,
    /// Whether what can be built or run is turned away by its content.
    pub documents_only: bool,
    /// Whether tests may neither be deleted nor skipped.
    pub guards_tests: bool,
}
