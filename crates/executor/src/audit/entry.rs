//! What is written into the audit, and how a line is chained to the one before.

use domain::egress::Connection;
use domain::formula::Lane;
use domain::{Digest, ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wire::execution::reply::{Failure, Status, Summary};
use wire::execution::{Action, Code, Word, canonical, strict};

use super::{Head, LINE_BYTES_MAX};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its number, from 1.
    pub sequence: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The link of the line before; zeros before the first.
    pub previous: Digest,
    /// What it says.
    pub entry: Entry,
    /// Its own link: the digest of all that stands above.
    pub digest: Digest,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// An executor began.
    Started {
        /// Its version.
        version: String,
        /// The digest of its configuration.
        policy: Digest,
    },
    /// A request was turned away.
    Refused(Refused),
    /// An action is about to be performed.
    Intent(Box<Intent>),
    /// What a request has reached, or wanted to.
    Reached {
        /// The request.
        request_id: ExecutionId,
        /// Its connections, in the order of their ends.
        connections: Vec<Connection>,
    },
    /// What became of it.
    Settled(Box<Settled>),
    /// A secret was seen where it must not be.
    Incident {
        /// In which request or answer, where it is known.
        request_id: Option<ExecutionId>,
        /// Which secret, by its name.
        secret: String,
        /// How it was written.
        form: String,
        /// Where it was seen.
        place: String,
    },
    /// A death had left a line unfinished; it was taken away.
    Torn {
        /// How many bytes.
        bytes: u64,
    },
}

/// A request that was turned away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Who asked.
    pub peer: String,
    /// Which request, when it could be read.
    pub request_id: Option<ExecutionId>,
    /// Why.
    pub code: Code,
    /// How many of the same are summed up here.
    pub times: u64,
}

/// An action that is about to be performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The request.
    pub request_id: ExecutionId,
    /// Its digest.
    pub request: Digest,
    /// Who asked.
    pub requester: String,
    /// What is done.
    pub action: Action,
    /// The lane.
    pub lane: Lane,
    /// The target.
    pub target: Word,
    /// The approval's identifier.
    pub approval: String,
    /// Who approved.
    pub approver: String,
    /// What the target held before, where the action can tell.
    pub before: Option<String>,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The request.
    pub request_id: ExecutionId,
    /// How it stands.
    pub status: Status,
    /// What it came to.
    pub summary: Option<Summary>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Whether the target was looked at afterwards.
    pub is_reconciled: bool,
}

impl Line {
    /// Returns the line with this entry that follows a head.
    pub(super) fn after(head: Head, at: Timestamp, entry: Entry) -> Self {
        let mut line = Self {
            sequence: head.sequence + 1,
            at,
            previous: head.digest,
            entry,
            digest: Digest::ZERO,
        };
        line.digest = line.link();
        line
    }

    /// Reads a line that must follow a head.
    pub(super) fn read(bytes: &[u8], head: Head) -> Result<Self, &'static str> {
        let most = usize::try_from(LINE_BYTES_MAX).unwrap_or(usize::MAX);
        let value = strict::read(bytes, most).map_err(|_| "it is no JSON of ours")?;
        let line: Self = serde_json::from_value(value).map_err(|_| "it is no entry")?;
        // One text for one line: nothing can be hidden in how it is written.
        if canonical::text(&json!(line)).as_bytes() != bytes {
            return Err("it is not written as we write");
        }
        if line.sequence != head.sequence + 1 {
            return Err("its number does not follow");
        }
        if line.previous != head.digest {
            return Err("it does not follow the line before");
        }
        if line.digest != line.link() {
            return Err("its digest is not that of its content");
        }
        Ok(line)
    }

    fn link(&self) -> Digest {
        canonical::digest(&json!({
            "sequence": self.sequence,
            "at": self.at,
            "previous": self.previous,
            "entry": self.entry,
        }))
    }
}
