//! Models: what a session may ask of language models, what that has cost, and what was stopped.

use std::fmt;
use std::path::PathBuf;

use domain::egress::Connection;
use domain::model::{FellBack, Model};
use domain::usage::{Amount, Cap, ModelUsage, Usage};
use domain::{GoalId, SessionId, WorkId};
use serde::{Deserialize, Serialize};

/// The most values watched for in what one session sends.
pub const WATCHED_MAX: usize = 4_096;

/// The longest such value, in bytes.
pub const WATCHED_BYTES_MAX: usize = 4 << 10;

/// The most classes of models in one grant.
pub const CLASSES_MAX: usize = 32;

/// The most hosts in one grant.
pub const HOSTS_MAX: usize = 64;

/// The most connections of one session, carried and refused together; each is on record.
pub const CONNECTIONS_MAX: usize = 512;

/// The most patterns of models in one grant.
pub const MODELS_MAX: usize = 64;

/// What one session may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The session.
    pub session: SessionId,
    /// The work it is for.
    pub work: WorkId,
    /// The goal that serves.
    pub goal: GoalId,
    /// Its role.
    pub role: String,
    /// Whether it may ask models at all: one that may not has its socket for what else it may reach.
    pub asks_models: bool,
    /// Which models, as patterns over their names; none means every model that the broker allows.
    pub models: Vec<String>,
    /// What it may take.
    pub caps: Caps,
    /// What was taken before, as the log knows it; the broker may know of more.
    pub before: Before,
    /// The most bytes that may leave in its requests, over its whole life.
    pub sent_bytes_max: u64,
    /// Whether its exchanges are kept, or answered from what was kept.
    pub tape: Tape,
    /// What must not leave in a request.
    pub watched: Vec<Watched>,
    /// Fingerprints of what looks like a credential and was accepted as none.
    pub accepted: Vec<String>,
    /// Models that stand in for each other, the wanted one first; the first list that names a model
    /// counts for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Vec<Model>>,
    /// What may be reached beside models; none is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// What a session may reach beside models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Which hosts, as `host:port`; the broker's own list must name each as well.
    pub hosts: Vec<String>,
    /// The most bytes that may leave, over the session's whole life.
    pub sent_bytes_max: u64,
    /// The most bytes that may come in.
    pub received_bytes_max: u64,
}

/// The most that may be taken, each a bound of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// By this session.
    pub session: Cap,
    /// By all sessions of its work.
    pub work: Cap,
    /// By all works of its goal.
    pub goal: Cap,
    /// By everything in one day (UTC).
    pub day: Cap,
}

/// What was taken before the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// By its work.
    pub work: Amount,
    /// By its goal.
    pub goal: Amount,
    /// Today, by everything.
    pub day: Amount,
}

/// What is done with a session's exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tape {
    /// Nothing.
    #[default]
    Off,
    /// They are kept, without credentials.
    Record,
    /// No model is asked: they are answered from the tape of this name.
    Replay(String),
}

/// A value that must not leave, held in memory alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// What it belongs to, such as a file.
    pub of: String,
    /// The value.
    pub value: Vec<u8>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watched")
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

/// How a session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What each model took, sorted by provider and model. What is under way is in it as soon as it
    /// is known.
    pub used: Vec<ModelUsage>,
    /// Bytes that left in requests.
    pub sent_bytes: u64,
    /// Requests that were turned away.
    pub refused: u64,
    /// Why the last of them was.
    pub last_refusal: Option<String>,
    /// Why nothing more goes through, once that is so.
    pub halt: Option<Halt>,
    /// What the operator should know: fallbacks, prices that are unknown.
    pub notes: Vec<String>,
    /// The tape's name, if exchanges were kept.
    pub tape: Option<String>,
    /// Which models stood in for which, and how often so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fell_back: Vec<FellBack>,
    /// Connections that are over, in the order of their ends; at most [`CONNECTIONS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
}

impl Account {
    /// Returns what all models took together.
    #[must_use]
    pub fn total(&self) -> Usage {
        self.used
            .iter()
            .fold(Usage::default(), |sum, it| sum.plus(it.usage))
    }
}

/// Why nothing more goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "halt", rename_all = "snake_case")]
pub enum Halt {
    /// A budget is used up.
    OverBudget {
        /// Which, and how far.
        detail: String,
    },
    /// A request held what must not leave.
    Leak {
        /// What and where, without the thing itself.
        detail: String,
    },
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the broker's control socket.
    #[error("the broker cannot be reached while {doing}; is `palisade-broker` running?")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The session was opened before, and is not closed.
    #[error("session {0} is open at the broker already")]
    AlreadyOpen(SessionId),
    /// Nothing is known of the session.
    #[error("the broker knows nothing of session {0}")]
    NotFound(SessionId),
    /// A budget leaves nothing to the session.
    #[error("no budget is left: {0}")]
    OverBudget(String),
    /// The grant is not acceptable.
    #[error("the broker refuses the grant: {0}")]
    Refused(String),
    /// The broker failed.
    #[error("the broker failed: {0}")]
    Failed(String),
}

/// The way to language models.
pub trait Models: Send + Sync {
    /// Opens a session and returns its socket on the host. What its caps leave it is reserved from
    /// those of its work, goal and day until it is closed.
    ///
    /// # Errors
    /// When it is open already, the grant is over a limit, or no budget is left.
    fn open(&self, grant: &Grant) -> Result<PathBuf, Error>;

    /// Returns how a session stands, also after it was closed.
    ///
    /// # Errors
    /// When nothing is known of it.
    fn account(&self, session: SessionId) -> Result<Account, Error>;

    /// Ends every exchange of a session, removes its socket, gives back what it did not take, and
    /// returns how it stood. Closing it again changes nothing.
    ///
    /// # Errors
    /// When nothing is known of it.
    fn close(&self, session: SessionId) -> Result<Account, Error>;
}
