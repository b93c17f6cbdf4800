//! Execute: ask the executor for an approved action. Before it is asked for the first time, the request
//! is on record; whoever comes after a death asks for the same one, which is done once and has one
//! receipt.

use domain::action::{
    self, Approval, Attempt, Command, Facts, Proposal, Settlement, State, Status,
};
use domain::{ActionId, EffectId, ExecutionId};
use ports::executor::{Error as Answer, Executor, Request};

use crate::recorder::{Error, Recorder};

/// Who takes back what the rules hold.
const ENGINE: &str = "engine";

/// Performs the effect, as far as it is time: an executor that was not reached is asked again later.
///
/// # Errors
/// When the log or the store fails; the effect stays in the outbox.
pub(crate) fn perform(recorder: &Recorder, id: ActionId, effect: EffectId) -> Result<(), Error> {
    let world = recorder.world();
    let now = world.clock.now();
    match recorder.action(id)? {
        State::Permitted(proposal, approval) => {
            if now >= approval.expires {
                return expire(recorder, id, effect);
            }
            let facts = facts(recorder, &proposal)?;
            let held = action::blocks(&proposal, &approval, &facts);
            if !held.is_empty() {
                let told: Vec<_> = held.iter().map(action::Block::sentence).collect();
                return take_back(recorder, id, effect, &told.join("; "));
            }
            let Some(executor) = world.executor.as_deref() else {
                return Ok(());
            };
            // One action, one request, in whichever process.
            let request = ExecutionId::from_bits(id.bits());
            let asked = recorder.on_action(id, None, |state| {
                let facts = facts.clone();
                let dispatch = Command::Dispatch {
                    request,
                    now,
                    facts,
                };
                Ok(matches!(state, State::Permitted(..)).then_some(dispatch))
            })?;
            match asked {
                State::Dispatched(proposal, approval, attempt) => {
                    let asked = (&proposal, &approval, &attempt);
                    ask(recorder, executor, (id, effect), asked)
                }
                // Somebody else was faster: the next look tells.
                State::Absent
                | State::Proposed(_)
                | State::Permitted(..)
                | State::Settled(..)
                | State::Denied(..)
                | State::Withdrawn(..)
                | State::Expired(..) => Ok(()),
            }
        }
        State::Dispatched(proposal, approval, attempt) => {
            if now >= approval.expires && !attempt.is_unclear {
                return expire(recorder, id, effect);
            }
            match world.executor.as_deref().filter(|_| now >= attempt.next) {
                Some(executor) => {
                    let asked = (&proposal, &approval, &attempt);
                    ask(recorder, executor, (id, effect), asked)
                }
                None => Ok(()),
            }
        }
        State::Absent
        | State::Proposed(_)
        | State::Settled(..)
        | State::Denied(..)
        | State::Withdrawn(..)
        | State::Expired(..) => recorder.settle(effect),
    }
}

/// Returns what an action is judged on.
///
/// # Errors
/// When the log cannot be read.
pub(crate) fn facts(recorder: &Recorder, proposal: &Proposal) -> Result<Facts, Error> {
    match proposal.work {
        Some(work) => Ok(recorder.load(work)?.action_facts()),
        None => Ok(Facts::default()),
    }
}

fn ask(
    recorder: &Recorder,
    executor: &dyn Executor,
    (id, effect): (ActionId, EffectId),
    (proposal, approval, attempt): (&Proposal, &Approval, &Attempt),
) -> Result<(), Error> {
    let artifacts = &recorder.world().artifacts;
    let envelope = artifacts.get(&approval.envelope)?;
    let request = Request {
        id: attempt.request,
        name: proposal.name.clone(),
        arguments: proposal.arguments.clone(),
        target: approval.target.clone(),
        envelope: String::from_utf8_lossy(&envelope).into_owned(),
    };
    let settlement = match executor.execute(&request) {
        Ok(receipt) => Settlement {
            status: receipt.status,
            why: receipt.failure,
            receipt: Some(artifacts.put(receipt.text.as_bytes())?),
        },
        Err(answer @ (Answer::Refused { .. } | Answer::Unfit(_))) => Settlement {
            status: Status::Failed,
            why: Some(answer.to_string()),
            receipt: None,
        },
        Err(answer @ (Answer::NotNow { .. } | Answer::Absent(_))) => {
            return defer(
                recorder,
                (id, effect),
                approval,
                (&answer, attempt.is_unclear),
            );
        }
        Err(answer @ Answer::Silent(_)) => {
            return defer(recorder, (id, effect), approval, (&answer, true));
        }
    };
    finish(recorder, (id, effect), &settlement)
}

/// Notes that no answer came. When the approval is over as well, and the executor may have heard,
/// nobody can say; then it is the operator's to look.
fn defer(
    recorder: &Recorder,
    (id, effect): (ActionId, EffectId),
    approval: &Approval,
    (answer, is_unclear): (&Answer, bool),
) -> Result<(), Error> {
    let now = recorder.world().clock.now();
    let why = answer.to_string();
    if now >= approval.expires && is_unclear {
        let settlement = Settlement {
            status: Status::Unknown,
            why: Some(why),
            receipt: None,
        };
        return finish(recorder, (id, effect), &settlement);
    }
    recorder.on_action(id, None, |state| {
        let why = why.clone();
        let defer = Command::Defer {
            why,
            is_unclear,
            now,
        };
        Ok(matches!(state, State::Dispatched(..)).then_some(defer))
    })?;
    Ok(())
}

fn finish(
    recorder: &Recorder,
    (id, effect): (ActionId, EffectId),
    settlement: &Settlement,
) -> Result<(), Error> {
    recorder.on_action(id, Some(effect), |state| {
        let settle = Command::Settle(settlement.clone());
        Ok(matches!(state, State::Dispatched(..)).then_some(settle))
    })?;
    Ok(())
}

fn expire(recorder: &Recorder, id: ActionId, effect: EffectId) -> Result<(), Error> {
    let now = recorder.world().clock.now();
    recorder.on_action(id, Some(effect), |state| {
        let is_open = matches!(state, State::Permitted(..) | State::Dispatched(..));
        Ok(is_open.then_some(Command::Expire { now }))
    })?;
    Ok(())
}

fn take_back(
    recorder: &Recorder,
    id: ActionId,
    effect: EffectId,
    reason: &str,
) -> Result<(), Error> {
    recorder.on_action(id, Some(effect), |state| {
        let by = ENGINE.to_owned();
        let reason = reason.to_owned();
        let withdraw = Command::Withdraw(action::Verdict { by, reason });
        Ok(matches!(state, State::Permitted(..)).then_some(withdraw))
    })?;
    Ok(())
}
