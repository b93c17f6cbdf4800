//! Secrets from AWS Systems Manager: parameters by their exact names, each read once at the start by
//! the role of its lane. Built in with the feature `aws`; without it, who names one is told so.

#[cfg(feature = "aws")]
mod client;

use zeroize::Zeroizing;

use super::source::Sources;

/// Values, by the names of their secrets.
type Values = Vec<(String, Zeroizing<Vec<u8>>)>;

/// Why AWS gives no secret. What AWS itself says of it is never repeated but for its code.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// This program cannot.
    #[error(
        "the secret `{0}` is at AWS, and this program was built without it: build it with `cargo build \
         --release -p palisade-executor --features aws`, or take the secret from `age`"
    )]
    NotBuilt(String),
    /// The machine does not let us ask.
    #[error("nobody can be asked")]
    Runtime(#[source] std::io::Error),
    /// There is nothing to prove who we are with.
    #[error("there are no credentials for AWS: {0}")]
    Credentials(String),
    /// A role is not ours to take.
    #[error("the role {role} cannot be assumed: {refusal}")]
    Role {
        /// Which.
        role: String,
        /// Why not.
        refusal: Refusal,
    },
    /// A role does not get the parameters.
    #[error("the parameters {names} cannot be read by the role {role}: {refusal}")]
    Parameters {
        /// Which, by name.
        names: String,
        /// By whom.
        role: String,
        /// Why not.
        refusal: Refusal,
    },
    /// There is no such parameter.
    #[error(
        "the secret `{name}` is not there: AWS has no parameter {parameter} in the region of [aws], or \
         not that version; put it there as a SecureString"
    )]
    Missing {
        /// The secret.
        name: String,
        /// The parameter.
        parameter: String,
    },
    /// It lies there for whoever may read parameters at all.
    #[error(
        "the secret `{name}` is no secret: the parameter {parameter} is no SecureString; put it there \
         again as one, and change its value"
    )]
    NotSecure {
        /// The secret.
        name: String,
        /// The parameter.
        parameter: String,
    },
}

/// What became of a question to AWS that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// AWS says no, for a reason that has a code.
    #[error("AWS answers `{0}`{hint}", hint = hint(.0))]
    Code(String),
    /// It says no without one, as AWS itself never does.
    #[error(
        "what answers is not AWS: it has the status {0} and no code; look at `endpoint` of [aws], and at \
         proxies on the way"
    )]
    Status(u16),
    /// Nobody answers at all.
    #[error("AWS cannot be reached; look at `region` and `endpoint` of [aws], and at the network")]
    Unreachable,
    /// It takes too long.
    #[error("AWS did not answer in time; look at the network, and start again")]
    TimedOut,
    /// The answer is none.
    #[error("what answers is not AWS; look at `endpoint` of [aws]")]
    Malformed,
}

/// Returns what to do about a code.
fn hint(code: &str) -> &'static str {
    match code {
        "AccessDenied" | "AccessDeniedException" => {
            "; compare the policies of role and caller with those of deploy/iam, and `external_id`"
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature" => {
            "; the access key is none of AWS, look at `credentials` of [aws]"
        }
        "ExpiredToken" | "ExpiredTokenException" | "InvalidIdentityToken" => {
            "; the credentials of the service have expired, give it new ones"
        }
        "ThrottlingException" | "Throttling" => "; it was asked too often, start again later",
        _ => "",
    }
}

/// Reads every parameter that is wanted.
pub(super) fn load(
    sources: &Sources<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Values, Fault> {
    match (sources.parameters().next(), sources.aws) {
        (None, _) => Ok(Values::new()),
        (Some((_, _)), Some(aws)) if cfg!(feature = "aws") => ask(sources, aws, lookup),
        (Some((name, _)), _) => Err(Fault::NotBuilt(name.to_owned())),
    }
}

#[cfg(feature = "aws")]
use client::ask;

#[cfg(not(feature = "aws"))]
fn ask(
    sources: &Sources<'_>,
    _aws: &super::source::Aws,
    _lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Values, Fault> {
    let first = sources.parameters().next();
    Err(Fault::NotBuilt(
        first.map(|it| it.0.to_owned()).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_to_do_about_it() {
        let told = |code: &str| Refusal::Code(code.to_owned()).to_string();
        assert!(told("AccessDeniedException").contains("deploy/iam"));
        assert!(told("UnrecognizedClientException").contains("`credentials` of [aws]"));
        assert!(told("ExpiredTokenException").contains("expired"));
        assert_eq!(told("InternalFailure"), "AWS answers `InternalFailure`");
        assert!(Refusal::Status(502).to_string().contains("502"));
    }
}
