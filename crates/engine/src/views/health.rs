//! Health: what of a work is degraded now, and which services are left alone. Nothing that is told
//! here can be promoted unnoticed.

use domain::allowance::{Allowance, Used};
use domain::breaker;
use domain::case::Case;
use domain::checkpoint::{self, Trigger};
use domain::event::Event;
use domain::message;
use ports::log::EventLog;

use crate::perform::checkpoint::services::SERVICES;
use crate::recorder::{Error, decoded};

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

/// How much of an allowance is worth a word, in hundredths.
const STRAIN: u64 = 80;

/// Returns what of its allowance a work has used nearly or altogether, a sentence each.
#[must_use]
pub fn strained(case: &Case, of: &Allowance) -> Vec<String> {
    let used = Used::of(case);
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    let rows = [
        (
            used.disk_bytes,
            of.disk_bytes,
            mib(used.disk_bytes),
            mib(of.disk_bytes),
            "of disk (`work_disk_mib`)",
        ),
        (
            used.files,
            of.files,
            used.files.to_string(),
            of.files.to_string(),
            "files (`work_files`)",
        ),
        (
            used.output_bytes,
            of.output_bytes,
            mib(used.output_bytes),
            mib(of.output_bytes),
            "of output (`work_output_mib`)",
        ),
    ];
    let strained = rows
        .into_iter()
        .filter(|(used, of, ..)| *used >= of.saturating_mul(STRAIN) / 100);
    strained
        .map(|(_, _, used, of, what)| format!("{used} of {of} {what} are used by the work"))
        .collect()
}

/// Returns the breakers that are not closed, with why.
///
/// # Errors
/// When the log cannot be read.
pub fn open_breakers(log: &dyn EventLog) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    for service in SERVICES {
        match breaker_of(log, service)? {
            breaker::State::Open { why, rest, .. } => told.push(format!(
                "the {service} is left alone for {rest} (what it would vouch for is not promotable, \
                 and then one session starts to try it, while the others wait): {why}"
            )),
            breaker::State::HalfOpen { .. } => {
                told.push(format!("the {service} is being tried again"));
            }
            breaker::State::Closed { .. } => {}
        }
    }
    Ok(told)
}

/// Returns how the breaker of a service stands.
///
/// # Errors
/// When the log cannot be read.
pub fn breaker_of(log: &dyn EventLog, service: &str) -> Result<breaker::State, Error> {
    let mut state = breaker::State::default();
    for recorded in log.read_stream(&format!("breaker/{service}"), 0)? {
        if let Event::Breaker(_, event) = decoded(&recorded)? {
            state = breaker::evolve(state, &event);
        }
    }
    Ok(state)
}
