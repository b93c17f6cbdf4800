//! Judgements: what a judge answered, and who acts in a session.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Who acts in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// An agent, in a cell.
    #[default]
    Agent,
    /// A language model, asked once, without a cell.
    Judge,
}

impl Actor {
    /// Returns whether it is an agent.
    #[must_use]
    pub const fn is_agent(&self) -> bool {
        matches!(self, Self::Agent)
    }
}

/// What a judge answered, in the declared form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The model that was asked.
    pub model: String,
    /// What was asked last, in the artifact store.
    pub request: Digest,
    /// The answer, in the artifact store: JSON of the declared form.
    pub answer: Digest,
    /// How often it was asked.
    pub attempts: u32,
    /// Whether the verdict passes.
    pub passes: bool,
    /// Its reasons, each a line.
    pub reasons: Vec<String>,
}
