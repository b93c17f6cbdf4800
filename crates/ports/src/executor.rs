//! The executor, as the engine asks it: what it can do, what a proposal comes to, and one request with
//! the operator's signed approval.

use domain::action::{Needs, Status};
use domain::formula::Lane;
use domain::{Digest, ExecutionId};

/// The longest receipt, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 1 << 20;

/// What an executor can be asked for, and under which policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The digest of its policy: approvals name it.
    pub policy: Digest,
    /// Where it takes effect.
    pub target: String,
    /// As whom it takes us.
    pub requester: String,
    /// What is configured there.
    pub actions: Vec<Described>,
}

/// An action that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The lane whose credentials it takes.
    pub lane: Lane,
    /// What it needs.
    pub needs: Needs,
    /// The schema of its arguments, as JSON.
    pub arguments: String,
}

impl Description {
    /// Returns the action of this name, if it is configured.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&Described> {
        self.actions.iter().find(|it| it.name == name)
    }
}

/// A proposal that is one of the executor's actions, in the only form it is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// The action's name.
    pub name: String,
    /// Its arguments, as canonical JSON.
    pub arguments: String,
    /// The digest of name and arguments that an approval names.
    pub digest: Digest,
    /// What it brings into the world, by content.
    pub subject: Option<String>,
    /// The lane whose credentials it takes.
    pub lane: Lane,
    /// What it needs.
    pub needs: Needs,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names it: sent again, it is done once.
    pub id: ExecutionId,
    /// The action's name.
    pub name: String,
    /// Its arguments, as canonical JSON.
    pub arguments: String,
    /// Where it is to take effect.
    pub target: String,
    /// The signed envelope, as JSON.
    pub envelope: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How it stands.
    pub status: Status,
    /// Why it failed, in the executor's word.
    pub failure: Option<String>,
    /// All that the executor tells, as JSON.
    pub text: String,
}

/// Why there is no answer, or a no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none of the executor's actions, or not their arguments.
    #[error("{0}")]
    Unfit(String),
    /// The executor refused, and does so again: nothing was done.
    #[error("the executor refused ({code}): {why}")]
    Refused {
        /// The code.
        code: String,
        /// Its sentence.
        why: String,
    },
    /// The executor cannot now: nothing was done, and it may be asked again.
    #[error("the executor cannot now ({code}): {why}")]
    NotNow {
        /// The code.
        code: String,
        /// Its sentence.
        why: String,
    },
    /// Nobody is there: nothing was asked.
    #[error("{0}")]
    Absent(String),
    /// It was asked, and no answer came that can be understood: whether something was done is not
    /// known. The same request sent again tells.
    #[error("{0}")]
    Silent(String),
}

/// An executor.
pub trait Executor: Send + Sync {
    /// Returns what an action's name and arguments come to, without asking anybody: arguments in
    /// another order, or with something left out that may be, come to the same.
    ///
    /// # Errors
    /// When there is no such action, or the arguments are not its own.
    fn understand(&self, name: &str, arguments: &str) -> Result<Understood, Error>;

    /// Returns what can be asked for, and under which policy.
    ///
    /// # Errors
    /// When the executor does not answer.
    fn describe(&self) -> Result<Description, Error>;

    /// Has a request executed. The same one sent again is not done again, and gets the same receipt;
    /// another one of the same identifier is refused.
    ///
    /// # Errors
    /// When it is refused, or no answer comes.
    fn execute(&self, request: &Request) -> Result<Receipt, Error>;

    /// Returns the receipt of a request, if there is one.
    ///
    /// # Errors
    /// When the executor does not answer.
    fn receipt(&self, id: ExecutionId) -> Result<Option<Receipt>, Error>;
}
