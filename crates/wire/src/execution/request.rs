//! A request: what is to be done, on which lane and target, and the approval for it. Who asks is
//! not said in it: the kernel or the certificate tells.

use domain::formula::Lane;
use domain::{Digest, ExecutionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::action::{Action, NoAction, Word};
use super::envelope::Envelope;
use super::{canonical, strict};

/// The largest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A request that was read and is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names it: the same request sent again gets the same answer.
    pub request_id: ExecutionId,
    /// What is to be done.
    pub action: Action,
    /// The lane whose credentials it takes.
    pub lane: Lane,
    /// Where it takes effect, such as `staging`.
    pub target: Word,
    /// The approval.
    pub approval: Option<Envelope>,
}

/// Why a request is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON that is taken.
    #[error(transparent)]
    Json(#[from] strict::Fault),
    /// A field is missing, unknown or of another type.
    #[error("the request's fields are not as /openapi.json describes them")]
    Shape,
    /// It is no action with its arguments.
    #[error(transparent)]
    Action(#[from] NoAction),
}

/// The fields as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    request_id: ExecutionId,
    action: String,
    arguments: Value,
    lane: Lane,
    target: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approval: Option<Envelope>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is no JSON that is taken, or not the fields of a request. Nothing of what was read
    /// is repeated in the error.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let value = strict::read(bytes, REQUEST_BYTES_MAX)?;
        // An array would be taken as the fields in their order.
        if !value.is_object() {
            return Err(Fault::Shape);
        }
        let fields: Fields = serde_json::from_value(value).map_err(|_| Fault::Shape)?;
        Ok(Self {
            request_id: fields.request_id,
            action: Action::read(&fields.action, &fields.arguments)?,
            lane: fields.lane,
            target: fields.target,
            approval: fields.approval,
        })
    }

    /// Returns the request as JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        json!(Fields {
            request_id: self.request_id,
            action: self.action.kind().name().to_owned(),
            arguments: self.action.arguments(),
            lane: self.lane,
            target: self.target.clone(),
            approval: self.approval.clone(),
        })
    }

    /// Returns the digest of the whole request: another one of the same identifier is refused.
    #[must_use]
    pub fn digest(&self) -> Digest {
        canonical::digest(&self.value())
    }
}
