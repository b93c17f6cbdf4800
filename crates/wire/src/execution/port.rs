//! The executor's client as the engine's port: texts become typed actions here, and coded refusals
//! those that last and those that do not.

use domain::action::{Needs, Status as Settled};
use domain::{Digest, ExecutionId};
use ports::executor::{Described, Description, Error, Executor, Receipt, Request, Understood};
use serde::Deserialize;
use serde_json::{Value, json};

use super::action::{Kind, NoAction, Word};
use super::client::{Client, Fault};
use super::request::REQUEST_BYTES_MAX;
use super::{Action, Code, Envelope, Problem, Status, canonical, strict};
use crate::execution;

/// What `GET /actions` answers.
#[derive(Deserialize)]
struct Told {
    policy: Digest,
    target: Word,
    requester: String,
    actions: Vec<ToldAction>,
}

#[derive(Deserialize)]
struct ToldAction {
    name: String,
    lane: domain::formula::Lane,
    needs: Needs,
    arguments: Value,
}

impl Executor for Client {
    fn understand(&self, name: &str, arguments: &str) -> Result<Understood, Error> {
        let action = action(name, arguments)?;
        let kind = action.kind();
        Ok(Understood {
            name: kind.name().to_owned(),
            arguments: canonical::text(&action.arguments()),
            digest: action.digest(),
            subject: action.subject(),
            lane: kind.lane(),
            needs: needs(kind),
        })
    }

    fn describe(&self) -> Result<Description, Error> {
        let told = self.actions().map_err(fault)?;
        let told: Told = serde_json::from_value(told).map_err(|_| fault(Fault::Odd))?;
        let described = |it: ToldAction| Described {
            name: it.name,
            lane: it.lane,
            needs: it.needs,
            arguments: it.arguments.to_string(),
        };
        Ok(Description {
            policy: told.policy,
            target: told.target.to_string(),
            requester: told.requester,
            actions: told.actions.into_iter().map(described).collect(),
        })
    }

    fn execute(&self, request: &Request) -> Result<Receipt, Error> {
        let action = action(&request.name, &request.arguments)?;
        let envelope = strict::read(request.envelope.as_bytes(), REQUEST_BYTES_MAX);
        let envelope: Option<Envelope> =
            envelope.ok().and_then(|it| serde_json::from_value(it).ok());
        let unfit = |what: &str| Error::Unfit(format!("what is kept as {what} is none"));
        let request = execution::Request {
            request_id: request.id,
            lane: action.kind().lane(),
            action,
            target: request.target.parse().map_err(|_| unfit("the target"))?,
            approval: Some(envelope.ok_or_else(|| unfit("the signed approval"))?),
        };
        let receipt = Self::execute(self, &request).map_err(fault)?;
        Ok(told(&receipt))
    }

    fn receipt(&self, id: ExecutionId) -> Result<Option<Receipt>, Error> {
        match Self::receipt(self, id) {
            Ok(receipt) => Ok(Some(told(&receipt))),
            Err(Fault::Refused(problem)) if problem.code == Code::NoReceipt => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }
}

/// Returns what an action of this kind needs.
#[must_use]
pub const fn needs(kind: Kind) -> Needs {
    if kind.needs_permit() {
        Needs::Permit
    } else {
        Needs::Grant
    }
}

/// Reads an action as people and agents write it, and then once more as the executor will.
fn action(name: &str, arguments: &str) -> Result<Action, Error> {
    let unfit = |it: NoAction| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        Error::Unfit(match it {
            NoAction::Unknown => format!("there is no action `{name}`; there are {names}"),
            NoAction::Arguments(_) => {
                format!("the arguments of `{name}` are not its own: `palisade actions describe`")
            }
        })
    };
    let kind = Kind::named(name).ok_or_else(|| unfit(NoAction::Unknown))?;
    let value = strict::read(arguments.as_bytes(), REQUEST_BYTES_MAX)
        .map_err(|it| Error::Unfit(format!("the arguments of `{name}`: {it}")))?;
    let wrong = || unfit(NoAction::Arguments(kind.name()));
    // An array would be taken as the fields in their order.
    if !value.is_object() {
        return Err(wrong());
    }
    let both = json!({"action": kind.name(), "arguments": value});
    let loose: Action = serde_json::from_value(both)
        .map_err(|it| Error::Unfit(format!("the arguments of `{name}`: {it}")))?;
    Action::read(name, &loose.arguments()).map_err(unfit)
}

fn told(receipt: &execution::Receipt) -> Receipt {
    Receipt {
        status: match receipt.status {
            Status::Succeeded => Settled::Succeeded,
            Status::Failed => Settled::Failed,
            Status::Unknown => Settled::Unknown,
        },
        failure: receipt.failure.map(|it| it.name().to_owned()),
        text: canonical::text(&json!(receipt)),
    }
}

fn fault(fault: Fault) -> Error {
    match fault {
        // It is being done: what becomes of it is not known yet, and the same request tells.
        Fault::Refused(problem) if problem.code == Code::InProgress => {
            Error::Silent(problem.title.clone())
        }
        Fault::Refused(problem) => refused(&problem),
        Fault::Unreachable { doing, .. } if doing == super::client::CONNECTING => {
            Error::Absent(chain(&fault))
        }
        Fault::Unreachable { .. } | Fault::Odd => Error::Silent(chain(&fault)),
    }
}

fn refused(problem: &Problem) -> Error {
    let code = problem.code.name().to_owned();
    let why = problem.title.clone();
    if passes(problem.code) {
        Error::NotNow { code, why }
    } else {
        Error::Refused { code, why }
    }
}

/// Returns whether what is refused now may be taken later, as it is.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::ApprovalNotYetValid
            | Code::AuditFailed
            | Code::Busy
            | Code::ConfigurationChanged
            | Code::ProgramChanged
            | Code::RateLimited
            | Code::TooSlow
            | Code::Unavailable
    )
}

/// Returns an error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new("/nowhere/executor.sock")
    }

    #[test]
    fn arguments_are_understood_as_people_write_them_and_kept_as_the_executor_reads_them() {
        let commit = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";
        let written = format!(r#"{{ "remote":"forge", "commit":"{commit}", "branch": "fix" }}"#);
        let understood = client().understand("publish_change", &written).unwrap();
        assert_eq!(understood.needs, Needs::Permit);
        assert_eq!(understood.subject, Some(format!("git:{commit}")));
        let again = client()
            .understand("publish_change", &understood.arguments)
            .unwrap();
        assert_eq!(again, understood);
        let keys = r#"{"keys": ["B", "A", "B"]}"#;
        let understood = client()
            .understand("get_staging_config_values", keys)
            .unwrap();
        assert_eq!(understood.arguments, r#"{"keys":["A","B"]}"#);
        assert_eq!(understood.needs, Needs::Grant);
    }

    #[test]
    fn what_is_no_action_is_not_understood_and_told_how() {
        for (name, arguments, part) in [
            ("sh", "{}", "there are deploy_staging"),
            ("run_tests", "[\"unit\"]", "not its own"),
            ("run_tests", "{", "not JSON"),
            ("run_tests", r#"{"suite":"a","suite":"b"}"#, "a key twice"),
            ("run_tests", r#"{"suite":"a; id"}"#, "not a word"),
            ("run_tests", r#"{"suit":"a"}"#, "suit"),
            ("get_staging_config_values", r#"{"keys":[]}"#, "not its own"),
        ] {
            let error = client().understand(name, arguments).unwrap_err();
            assert!(matches!(error, Error::Unfit(_)));
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn who_is_not_there_was_not_asked() {
        assert!(matches!(client().describe(), Err(Error::Absent(_))));
        let odd = fault(Fault::Odd);
        assert!(matches!(odd, Error::Silent(_)), "{odd}");
    }

    #[test]
    fn what_is_under_way_is_not_said_to_be_refused() {
        let answer = fault(Fault::Refused(Box::new(Problem::of(Code::InProgress))));
        assert!(matches!(answer, Error::Silent(_)), "{answer}");
    }

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        let busy = fault(Fault::Refused(Box::new(Problem::of(Code::Busy))));
        assert!(matches!(busy, Error::NotNow { .. }));
        for code in [
            Code::ApprovalUsed,
            Code::PolicyChanged,
            Code::ApprovalExpired,
        ] {
            let refused = fault(Fault::Refused(Box::new(Problem::of(code))));
            assert!(matches!(refused, Error::Refused { .. }), "{refused}");
        }
    }
}
