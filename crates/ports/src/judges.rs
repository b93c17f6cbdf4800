//! Judges: a language model asked one question over a session's socket, for an answer of a declared
//! form. Whoever asks checks the form; nothing of it is taken on trust.

use std::path::PathBuf;
use std::time::Duration;

/// The longest answer that is taken, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The socket of the session that asks.
    pub socket: PathBuf,
    /// The model, as the formula or the operator names it.
    pub model: String,
    /// What it is told.
    pub prompt: String,
    /// The form of the answer: JSON Schema, as text.
    pub schema: String,
    /// What it answered before in this session, and what is wrong with each.
    pub earlier: Vec<Attempt>,
    /// The most tokens that the answer may have.
    pub tokens_max: u64,
    /// How long it may take.
    pub patience: Duration,
}

/// An answer that was not of the declared form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The answer.
    pub answer: String,
    /// What is wrong with it.
    pub complaint: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody knows how to speak to the model.
    #[error("{0}")]
    Unknown(String),
    /// The question was turned away, by the broker or by the provider.
    #[error("the model was not asked: {status}: {detail}")]
    Refused {
        /// The status of the reply.
        status: u16,
        /// Why.
        detail: String,
    },
    /// The way to the model broke.
    #[error("the way to the model broke while {doing}")]
    Broken {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the model did not answer within {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// What came back is no answer.
    #[error("what came back is no answer: {0}")]
    Odd(String),
}

/// Who can be asked.
pub trait Judges: Send + Sync {
    /// Says what is wrong with the name of a model, if nobody could be asked by it.
    ///
    /// # Errors
    /// [`Error::Unknown`], which says how to mend the name.
    fn knows(&self, model: &str) -> Result<(), Error>;

    /// Asks once, and returns the answer's text as it came, at most [`ANSWER_BYTES_MAX`] of it.
    ///
    /// # Errors
    /// When there is no answer. It comes back within the patience and a little more.
    fn ask(&self, question: &Question) -> Result<String, Error>;
}
