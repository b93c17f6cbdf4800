//! Approvals: a permit is for one call of one action with these very arguments; a grant is for
//! named actions, for a time. Both are signed by an operator, in an envelope.

use std::collections::BTreeSet;

use domain::formula::Lane;
use domain::{Digest, GrantId, PermitId, Timestamp};
use serde::{Deserialize, Serialize};

use super::action::{Kind, Word};
use super::envelope::{self, Envelope, SigningKey, VerifyingKey};
use super::{canonical, strict};

/// The type of an approval in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.palisade.approval+json";

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Approval {
    /// For one call.
    Permit(Permit),
    /// For a time.
    Grant(Grant),
}

/// The form of this version of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// The first.
    #[serde(rename = "1")]
    One,
}

/// An approval for one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// Its form.
    pub version: Version,
    /// Names it: it is used once.
    pub permit_id: PermitId,
    /// The action.
    pub action: Kind,
    /// The digest of action and arguments, see [`super::Action::digest`].
    pub arguments: Digest,
    /// What it brings into the world, see [`super::Action::subject`].
    pub subject: Option<String>,
    /// The lane.
    pub lane: Lane,
    /// The target.
    pub target: Word,
    /// The executor's policy that it was given under: the digest that `GET /actions` tells.
    pub policy: Digest,
    /// Who made what is brought into the world.
    pub author: String,
    /// Who asks the executor.
    pub requester: String,
    /// Who approves.
    pub approver: String,
    /// What was open when it was approved.
    pub open: Open,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// How many grave questions and findings are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Of priority P0.
    pub p0: u32,
    /// Of priority P1.
    pub p1: u32,
}

/// An approval for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its form.
    pub version: Version,
    /// Names it: by this it is counted and revoked.
    pub grant_id: GrantId,
    /// The actions.
    pub actions: BTreeSet<Kind>,
    /// The targets.
    pub targets: BTreeSet<Word>,
    /// The executor's policy that it was given under: the digest that `GET /actions` tells.
    pub policy: Digest,
    /// Who asks the executor.
    pub requester: String,
    /// Who approves.
    pub approver: String,
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// How often.
    pub uses_max: u32,
}

/// Why an approval is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The envelope does not open.
    #[error(transparent)]
    Envelope(#[from] envelope::Fault),
    /// What was signed is no approval.
    #[error("what was signed is no approval")]
    Shape,
}

impl Approval {
    /// Signs it.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Envelope {
        let text = canonical::text(&serde_json::json!(self));
        key.seal(PAYLOAD_TYPE, text.as_bytes())
    }

    /// Reads an approval that this key has signed.
    ///
    /// # Errors
    /// When the signature does not hold, or what was signed is no approval.
    pub fn open(envelope: &Envelope, key: &VerifyingKey) -> Result<Self, Fault> {
        let payload = envelope.open(PAYLOAD_TYPE, key)?;
        let value = strict::read(&payload, envelope::PAYLOAD_BYTES_MAX);
        let value = value.map_err(|_| Fault::Shape)?;
        if !value.is_object() {
            return Err(Fault::Shape);
        }
        serde_json::from_value(value).map_err(|_| Fault::Shape)
    }

    /// Returns the identifier that it is used, counted and revoked by.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Permit(it) => it.permit_id.to_string(),
            Self::Grant(it) => it.grant_id.to_string(),
        }
    }
}
