//! Health: what of a work is degraded now, and which services are left alone. Nothing that is told
//! here can be promoted unnoticed.

use std::collections::BTreeMap;

use domain::breaker;
use domain::case::Case;
use domain::checkpoint::{self, Trigger};
use domain::event::Event;
use domain::message;
use ports::log::{EventLog, Recorded};

use crate::recorder::{Error, decoded};

/// The services that have breakers, by the names of their streams.
const SERVICES: [&str; 2] = [
    crate::perform::checkpoint::CHECKPOINTER,
    crate::perform::checkpoint::VALIDATOR,
];

/// Returns what of a work is not as it should be now, a sentence each.
#[must_use]
pub fn troubles(case: &Case) -> Vec<String> {
    let mut told = Vec::new();
    if let Some((_, state)) = case.live_session()
        && let Some(pause) = state.pause()
    {
        told.push(format!("paused by {}: {}", pause.by, pause.why));
    }
    if let Some(wanted) = case.active().and_then(|it| it.rollback.as_ref()) {
        told.push(format!("about to be put back: {}", wanted.why));
    }
    told.extend(lasting(case));
    told
}

/// Returns what stays wrong with a work's record whatever happens next, a sentence each: what could
/// not be judged, and what an agent never acknowledged.
#[must_use]
pub fn lasting(case: &Case) -> Vec<String> {
    let mut told = Vec::new();
    let unjudged = case.checkpoints.values().filter(|state| match state {
        // A tree that is put back, or kept before that, is judged with what comes of it.
        checkpoint::State::Captured(it) => it.trigger != Trigger::BeforeRollback,
        checkpoint::State::Absent
        | checkpoint::State::Requested(_)
        | checkpoint::State::Validated(_)
        | checkpoint::State::Violated(..)
        | checkpoint::State::Promoted(_) => false,
    });
    let unjudged = unjudged.count();
    if unjudged > 0 {
        told.push(format!("{unjudged} checkpoints could not be judged"));
    }
    let escalated = case
        .messages
        .values()
        .filter(|it| matches!(it, message::State::Escalated(_)));
    for message in escalated.filter_map(message::State::message) {
        let first = message.text.lines().next().unwrap_or_default();
        told.push(format!("never acknowledged by the agent: {first}"));
    }
    told
}

/// Returns the breakers that are not closed, with why.
///
/// # Errors
/// When the log cannot be read.
pub fn open_breakers(log: &dyn EventLog) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    for service in SERVICES {
        let stream = format!("breaker/{service}");
        let state = fold(&log.read_stream(&stream, 0)?)?;
        match state.get(service) {
            Some(breaker::State::Open { why, rest, .. }) => told.push(format!(
                "the {service} is left alone for {rest} (what it would vouch for is not promotable): {why}"
            )),
            Some(breaker::State::HalfOpen { .. }) => {
                told.push(format!("the {service} is being tried again"));
            }
            Some(breaker::State::Closed { .. }) | None => {}
        }
    }
    Ok(told)
}

fn fold(recorded: &[Recorded]) -> Result<BTreeMap<String, breaker::State>, Error> {
    let mut states: BTreeMap<String, breaker::State> = BTreeMap::new();
    for it in recorded {
        if let Event::Breaker(service, event) = decoded(it)? {
            let state = states.remove(&service).unwrap_or_default();
            states.insert(service, breaker::evolve(state, &event));
        }
    }
    Ok(states)
}
