//! A fake executor: it does nothing but count, and is absent, silent or at a loss as a test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::action::{Needs, Status};
use domain::formula::Lane;
use domain::{Digest, ExecutionId};
use ports::executor::{Described, Description, Error, Executor, Receipt, Request, Understood};
use serde_json::{Map, Value, json};

pub mod contract;

/// As whom it takes everybody.
pub const REQUESTER: &str = "service:engine";

/// What it can do: the name, and what it needs.
const ACTIONS: [(&str, Needs); 3] = [
    ("deploy", Needs::Permit),
    ("publish", Needs::Permit),
    ("test", Needs::Grant),
];

/// How the fake meets one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It does it and says so.
    Willing,
    /// Nobody is there.
    Absent,
    /// It does it and says nothing.
    Silent,
    /// It does it and cannot tell whether.
    AtALoss,
    /// It refuses for good.
    Refusing,
    /// It refuses for now.
    Busy,
}

/// The fake.
#[derive(Debug)]
pub struct FakeExecutor {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    moods: VecDeque<Mood>,
    policy: Digest,
    done: BTreeMap<ExecutionId, (Request, Receipt)>,
    asked: u32,
}

impl Default for FakeExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeExecutor {
    /// Returns an executor that is willing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                moods: VecDeque::new(),
                policy: Digest::from_bytes([9; 32]),
                done: BTreeMap::new(),
                asked: 0,
            }),
        }
    }

    /// Says how it meets the next requests; it is willing after them.
    pub fn meet(&self, moods: &[Mood]) {
        self.lock().moods = moods.iter().cloned().collect();
    }

    /// Has another policy from now on.
    pub fn change_policy(&self, policy: Digest) {
        self.lock().policy = policy;
    }

    /// Returns what it has done, each once.
    #[must_use]
    pub fn effects(&self) -> Vec<Request> {
        let state = self.lock();
        state.done.values().map(|(it, _)| it.clone()).collect()
    }

    /// Returns how often it was asked to do something.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor for FakeExecutor {
    fn understand(&self, name: &str, arguments: &str) -> Result<Understood, Error> {
        let known = ACTIONS.iter().find(|(it, _)| *it == name);
        let (_, needs) = known.ok_or_else(|| Error::Unfit(format!("no action `{name}`")))?;
        // A map of this kind is sorted, and holds no key twice.
        let map: Map<String, Value> = serde_json::from_str(arguments)
            .map_err(|it| Error::Unfit(format!("arguments of `{name}`: {it}")))?;
        let subject = map.get("commit").and_then(Value::as_str);
        let subject = subject.map(|it| format!("git:{it}"));
        let arguments = Value::Object(map).to_string();
        let digest = blake3::hash(format!("{name} {arguments}").as_bytes());
        Ok(Understood {
            name: name.to_owned(),
            digest: Digest::from_bytes(*digest.as_bytes()),
            arguments,
            subject,
            lane: lane(*needs),
            needs: *needs,
        })
    }

    fn describe(&self) -> Result<Description, Error> {
        let state = self.lock();
        if state.moods.front() == Some(&Mood::Absent) {
            return Err(absent());
        }
        let described = |(name, needs): &(&str, Needs)| Described {
            name: (*name).to_owned(),
            lane: lane(*needs),
            needs: *needs,
            arguments: "{}".to_owned(),
        };
        Ok(Description {
            policy: state.policy,
            target: "staging".to_owned(),
            requester: REQUESTER.to_owned(),
            actions: ACTIONS.iter().map(described).collect(),
        })
    }

    fn execute(&self, request: &Request) -> Result<Receipt, Error> {
        let mut state = self.lock();
        let mood = state.moods.pop_front().unwrap_or(Mood::Willing);
        let refused = |code: &str| Error::Refused {
            code: code.to_owned(),
            why: "No.".to_owned(),
        };
        if mood == Mood::Absent {
            return Err(absent());
        }
        state.asked += 1;
        if let Some((known, receipt)) = state.done.get(&request.id) {
            return if known == request {
                Ok(receipt.clone())
            } else {
                Err(refused("conflict"))
            };
        }
        if mood == Mood::Refusing || request.envelope.is_empty() {
            return Err(refused("approval_required"));
        }
        if mood == Mood::Busy {
            let (code, why) = ("busy".to_owned(), "Later.".to_owned());
            return Err(Error::NotNow { code, why });
        }
        let status = if mood == Mood::AtALoss {
            Status::Unknown
        } else {
            Status::Succeeded
        };
        let receipt = Receipt {
            status,
            failure: None,
            text: json!({"request_id": request.id, "status": status}).to_string(),
        };
        let done = (request.clone(), receipt.clone());
        state.done.insert(request.id, done);
        if mood == Mood::Silent {
            return Err(Error::Silent("no answer came".to_owned()));
        }
        Ok(receipt)
    }

    fn receipt(&self, id: ExecutionId) -> Result<Option<Receipt>, Error> {
        let state = self.lock();
        if state.moods.front() == Some(&Mood::Absent) {
            return Err(absent());
        }
        Ok(state.done.get(&id).map(|(_, receipt)| receipt.clone()))
    }
}

const fn lane(needs: Needs) -> Lane {
    match needs {
        Needs::Permit => Lane::Execute,
        Needs::Grant => Lane::DryRun,
    }
}

fn absent() -> Error {
    Error::Absent("nobody is there".to_owned())
}

#[cfg(test)]
mod tests {
    use super::contract::Setting;
    use super::*;
    use std::sync::Arc;

    fn fake() -> impl Fn() -> Setting {
        || {
            let executor = Arc::new(FakeExecutor::new());
            let request = |id: u128, envelope: &str| Request {
                id: ExecutionId::from_bits(id),
                name: "deploy".to_owned(),
                arguments: json!({"artifact": id.to_string()}).to_string(),
                target: "staging".to_owned(),
                envelope: envelope.to_owned(),
            };
            let other = Arc::clone(&executor);
            Setting {
                executor,
                approved: Box::new(move |id| request(id, "signed")),
                unapproved: Box::new(move |id| request(id, "")),
                effects: Box::new(move || other.effects().len()),
            }
        }
    }

    crate::executor_contract!(fake);
}
