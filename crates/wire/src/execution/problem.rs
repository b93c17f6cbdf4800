//! Problems: each refusal has a code that never changes, in the shape of RFC 9457.

use domain::ExecutionId;
use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// Why a request was turned away. Nothing was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {$(
            $(#[$doc])*
            #[serde(rename = $name)]
            $variant,
        )*}

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the stored literal.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(Self::$variant => $name,)*}
            }

            /// Returns the HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {$(Self::$variant => $status,)*}
            }

            /// Returns the sentence, always the same for a code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {$(Self::$variant => $title,)*}
            }
        }
    };
}

codes! {
    /// Not JSON.
    MalformedJson = "malformed_json", 400, "The body is not one JSON document.";
    /// A key twice.
    DuplicateKey = "duplicate_key", 400, "An object of the body has a key twice.";
    /// Too deep, or too many entries.
    TooComplex = "too_complex", 400, "The body is nested too deep or has too many entries.";
    /// Too large.
    TooLarge = "too_large", 413, "The body is larger than a request may be.";
    /// Another type of body.
    MediaType = "media_type", 415, "The body must be application/json.";
    /// Not the fields of a request.
    InvalidRequest = "invalid_request", 400, "The fields are not those of a request.";
    /// No such action.
    UnknownAction = "unknown_action", 400, "There is no such action.";
    /// Not its arguments.
    InvalidArguments = "invalid_arguments", 400, "The arguments are not those of the action.";
    /// No such path.
    NotFound = "not_found", 404, "There is nothing at this path.";
    /// Another method.
    Method = "method", 405, "This path takes another method.";
    /// Too slow.
    TooSlow = "too_slow", 408, "The request took too long to arrive.";
    /// No such receipt.
    NoReceipt = "no_receipt", 404, "There is no receipt of this identifier.";
    /// Not a peer.
    PeerNotAllowed = "peer_not_allowed", 403, "Who is at the other end may not ask.";
    /// Too many.
    RateLimited = "rate_limited", 429, "Too many requests; wait a moment.";
    /// Not configured here.
    NotConfigured = "not_configured", 403, "This executor is not configured for the action.";
    /// The lane is not the action's.
    WrongLane = "wrong_lane", 403, "The action does not run on this lane.";
    /// The target is not the action's.
    WrongTarget = "wrong_target", 403, "The action does not take effect on this target.";
    /// Not in the configured list.
    NotAllowed = "not_allowed", 403, "An argument is not in the configured list.";
    /// No approval.
    ApprovalRequired = "approval_required", 403, "The action needs an approval.";
    /// Not an approval.
    ApprovalMalformed = "approval_malformed", 400, "The approval cannot be read.";
    /// A grant where a permit is needed.
    PermitRequired = "permit_required", 403, "Each call of the action needs a permit of its own.";
    /// Nobody's key.
    KeyUnknown = "key_unknown", 403, "The approval is signed with a key that is not configured.";
    /// A revoked key.
    KeyRevoked = "key_revoked", 403, "The approval is signed with a key that was revoked.";
    /// A wrong signature.
    SignatureInvalid = "signature_invalid", 403, "The approval's signature does not hold.";
    /// Too early.
    ApprovalNotYetValid = "approval_not_yet_valid", 403, "The approval is not valid yet.";
    /// Too late.
    ApprovalExpired = "approval_expired", 403, "The approval has expired.";
    /// For too long.
    ApprovalTooLong = "approval_too_long", 403, "The approval is valid for longer than is allowed.";
    /// Revoked.
    ApprovalRevoked = "approval_revoked", 403, "The approval was revoked.";
    /// Used.
    ApprovalUsed = "approval_used", 403, "The approval was used.";
    /// For something else.
    ApprovalMismatch = "approval_mismatch", 403, "The approval is for something else.";
    /// For another policy.
    PolicyChanged = "policy_changed", 403, "The approval was given under another policy.";
    /// Not three people.
    SamePrincipal = "same_principal", 403, "Author, requester and approver must be different.";
    /// Not a human.
    NotOperator = "not_operator", 403, "Only an operator approves.";
    /// Something is open.
    Blocked = "blocked", 403, "A P0 or P1 is open.";
    /// The same identifier for something else.
    Conflict = "conflict", 409, "The identifier was used for another request.";
    /// The same request is being carried out.
    InProgress = "in_progress", 409, "The same request is under way; send it again to get its receipt.";
    /// No such artifact.
    ArtifactMissing = "artifact_missing", 404, "The artifact is not there.";
    /// Another content.
    ArtifactMismatch = "artifact_mismatch", 409, "The artifact is not what its digest says.";
    /// Not a plan.
    PlanInvalid = "plan_invalid", 422, "The plan is not of the form, or over its limits.";
    /// A statement that may not run.
    StatementRefused = "statement_refused", 403, "The plan holds a statement that may not run; palisade-executor plan check tells which.";
    /// Another history.
    HistoryDiverged = "history_diverged", 409, "What was applied to the database is not what the plan begins with.";
    /// Too many rights.
    RoleTooStrong = "role_too_strong", 403, "The database's role may reach files or programs of its server, so no plan runs as it.";
    /// Something else there.
    TargetMoved = "target_moved", 409, "The target does not hold what the request expects.";
    /// Not a step forward.
    NotForward = "not_forward", 409, "The commit does not follow what the target holds.";
    /// Too few.
    GroupTooSmall = "group_too_small", 403, "Too few are in the group to be summed up.";
    /// A value that is watched for.
    SecretInRequest = "secret_in_request", 403, "The request holds a secret.";
    /// The settings are not what they were.
    ConfigurationChanged = "configuration_changed", 503, "The configuration changed; the executor must be started again.";
    /// A pinned program is another.
    ProgramChanged = "program_changed", 503, "A pinned program is not what it was.";
    /// Nothing can be recorded.
    AuditFailed = "audit_failed", 503, "The audit cannot be written, so nothing is done.";
    /// Too much at once.
    Busy = "busy", 503, "Too much is under way; try again.";
    /// The world failed before anything was done.
    Unavailable = "unavailable", 503, "What the action needs cannot be reached.";
}

/// A refusal as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// `urn:palisade:problem:` and the code.
    pub r#type: String,
    /// The code's sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: Code,
    /// What the executor adds, in words of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request, when it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<ExecutionId>,
}

impl Problem {
    /// Returns the problem with this code.
    #[must_use]
    pub fn of(code: Code) -> Self {
        Self {
            r#type: format!("urn:palisade:problem:{}", code.name()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: None,
            request_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_code_is_written_as_its_name_and_no_name_is_used_twice() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::json!(code), code.name());
            assert!((400..600).contains(&code.status()));
        }
    }
}
