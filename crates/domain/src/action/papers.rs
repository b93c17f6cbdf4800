//! What is written of an action: the proposal, the approval, what became of it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::formula::Lane;
use crate::{Digest, GrantId, PermitId, SessionId, Timestamp, WorkId};

/// What an action needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// A permit for each call.
    Permit,
    /// A standing grant; a permit does as well.
    Grant,
}

impl Needs {
    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Grant => "grant",
        }
    }
}

/// What is proposed: immutable from the proposal on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The action's name, such as `deploy_staging`.
    pub name: String,
    /// Its arguments, as canonical JSON.
    pub arguments: String,
    /// The digest of name and arguments: what an approval is bound to.
    pub digest: Digest,
    /// What it brings into the world, by content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The lane whose credentials it takes.
    pub lane: Lane,
    /// What it needs.
    pub needs: Needs,
    /// Who made what is brought into the world; nobody of them may approve.
    pub authors: Vec<String>,
    /// Who proposes it.
    pub by: String,
    /// The work it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkId>,
    /// The session in which it was proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Why.
    pub why: String,
}

/// What an action was approved by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paper {
    /// A permit, for this one call.
    Permit(PermitId),
    /// A standing grant.
    Grant(GrantId),
}

/// An approval: what the executor will be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The human.
    pub by: String,
    /// By which paper.
    pub paper: Paper,
    /// The signed envelope, in the artifact store.
    pub envelope: Digest,
    /// The executor's policy it was given under.
    pub policy: Digest,
    /// Where the executor takes effect.
    pub target: String,
    /// As whom the executor is asked.
    pub requester: String,
    /// When.
    pub at: Timestamp,
    /// Until when it counts.
    pub expires: Timestamp,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// How it stands.
    pub status: Status,
    /// Why it failed, or is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The executor's receipt, in the artifact store; none when it refused or never answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Digest>,
}

/// How an action stands in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Done, and the target shows it.
    Succeeded,
    /// Not done, or it came out badly.
    Failed,
    /// Nobody can say; it is never tried again by itself.
    Unknown,
}

impl Status {
    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A no, or a change of mind, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}
