//! The judge: whether an approval is for this very request, given by somebody who may, now, and
//! under the policy that the executor itself was started with. It looks at nothing but its own copy.

use domain::{Timestamp, principal};
use wire::execution::{Approval, Code, Grant, Permit, Request};

use crate::config::Config;

/// A request with an approval that is for it. Only [`judge`] makes one.
#[derive(Debug)]
pub(crate) struct Judged {
    approval: Approval,
    approver: String,
    signer: String,
}

impl Judged {
    /// Returns the approval.
    pub(crate) const fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Judges once more all that time and the operator can change; what was signed does not.
    pub(crate) fn holds(
        &self,
        config: &Config,
        request: &Request,
        requester: &str,
        now: Timestamp,
    ) -> Result<(), Code> {
        match config.first_revoked([&self.signer, &self.approval.id()]) {
            Some(0) => return Err(Code::KeyRevoked),
            Some(_) => return Err(Code::ApprovalRevoked),
            None => {}
        }
        Terms::of(&self.approval).hold(config, &self.approver, requester, now)?;
        match &self.approval {
            Approval::Permit(permit) => permits(permit, request),
            Approval::Grant(grant) => grants(grant, request),
        }
    }

    /// Returns who approved.
    pub(crate) fn approver(&self) -> &str {
        &self.approver
    }
}

/// Judges a request of this requester at this time.
pub(crate) fn judge(
    config: &Config,
    request: &Request,
    requester: &str,
    now: Timestamp,
) -> Result<Judged, Code> {
    let kind = request.action.kind();
    if !config.file.actions.has(kind) {
        return Err(Code::NotConfigured);
    }
    if request.lane != kind.lane() {
        return Err(Code::WrongLane);
    }
    if request.target != config.file.target {
        return Err(Code::WrongTarget);
    }
    let envelope = request.approval.as_ref().ok_or(Code::ApprovalRequired)?;
    let signer = envelope.signer().map_err(|_| Code::ApprovalMalformed)?;
    let (owner, key) = config.keys.get(signer).ok_or(Code::KeyUnknown)?;
    let approval = Approval::open(envelope, key).map_err(|fault| match fault {
        wire::execution::approval::Fault::Envelope(wire::execution::envelope::Fault::Signature) => {
            Code::SignatureInvalid
        }
        wire::execution::approval::Fault::Envelope(
            wire::execution::envelope::Fault::Malformed(_),
        )
        | wire::execution::approval::Fault::Shape => Code::ApprovalMalformed,
    })?;
    let judged = Judged {
        approver: owner.clone(),
        signer: signer.to_owned(),
        approval,
    };
    judged.holds(config, request, requester, now)?;
    Ok(judged)
}

/// What a permit and a grant have in common.
struct Terms<'a> {
    policy: domain::Digest,
    requester: &'a str,
    approver: &'a str,
    not_before: Timestamp,
    expires: Timestamp,
    is_permit: bool,
}

impl<'a> Terms<'a> {
    fn of(approval: &'a Approval) -> Self {
        match approval {
            Approval::Permit(it) => Self {
                policy: it.policy,
                requester: &it.requester,
                approver: &it.approver,
                not_before: it.not_before,
                expires: it.expires,
                is_permit: true,
            },
            Approval::Grant(it) => Self {
                policy: it.policy,
                requester: &it.requester,
                approver: &it.approver,
                not_before: it.not_before,
                expires: it.expires,
                is_permit: false,
            },
        }
    }

    fn hold(
        &self,
        config: &Config,
        owner: &str,
        requester: &str,
        now: Timestamp,
    ) -> Result<(), Code> {
        if self.policy != config.policy {
            return Err(Code::PolicyChanged);
        }
        if self.approver != owner || self.requester != requester {
            return Err(Code::ApprovalMismatch);
        }
        if !principal::is_operator(self.approver) {
            return Err(Code::NotOperator);
        }
        if principal::is_same(self.approver, self.requester) {
            return Err(Code::SamePrincipal);
        }
        if now < self.not_before {
            return Err(Code::ApprovalNotYetValid);
        }
        if now >= self.expires {
            return Err(Code::ApprovalExpired);
        }
        let limits = &config.file.limits;
        let most = if self.is_permit {
            limits.permit_span()
        } else {
            limits.grant_span()
        };
        if self.expires.since(self.not_before) > most {
            return Err(Code::ApprovalTooLong);
        }
        Ok(())
    }
}

fn permits(permit: &Permit, request: &Request) -> Result<(), Code> {
    let matches = permit.action == request.action.kind()
        && permit.arguments == request.action.digest()
        && permit.subject == request.action.subject()
        && permit.lane == request.lane
        && permit.target == request.target;
    if !matches {
        return Err(Code::ApprovalMismatch);
    }
    let (author, approver) = (&permit.author, &permit.approver);
    if author.trim().is_empty()
        || principal::is_same(author, approver)
        || principal::is_same(author, &permit.requester)
    {
        return Err(Code::SamePrincipal);
    }
    // Whatever needs a permit of its own is stopped by what is open.
    if request.action.kind().needs_permit() && (permit.open.p0 > 0 || permit.open.p1 > 0) {
        return Err(Code::Blocked);
    }
    Ok(())
}

fn grants(grant: &Grant, request: &Request) -> Result<(), Code> {
    let kind = request.action.kind();
    if kind.needs_permit() {
        return Err(Code::PermitRequired);
    }
    if !grant.actions.contains(&kind) || !grant.targets.contains(&request.target) {
        return Err(Code::ApprovalMismatch);
    }
    Ok(())
}
