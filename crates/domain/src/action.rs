//! Actions: what is done beyond a commit, by the executor alone. Anybody proposes, an operator approves
//! on paper that the executor believes, it is asked for once, and its receipt settles it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::tree::Commit;
use crate::{ExecutionId, Millis, Timestamp, principal};

pub mod block;
mod papers;

pub use block::{Block, Facts, Landed, Open, blocks};
pub use papers::{Approval, Needs, Paper, Proposal, Settlement, Status, Verdict};

/// The longest name of an action, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest arguments, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;

/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1_000;

/// The most authors of what is brought into the world.
pub const AUTHORS_MAX: usize = 32;

/// How long it takes until an executor that was not reached is asked again; twice as long after
/// each time.
pub const RETRY_AFTER: Millis = Millis::from_secs(1);

/// The longest wait before it is asked again.
pub const RETRY_AFTER_MAX: Millis = Millis::from_mins(5);

/// How often the executor was asked, and with what success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The one request: sent again, it is the same.
    pub request: ExecutionId,
    /// How often no answer came.
    pub failed: u32,
    /// Whether the executor may have heard one of them.
    pub is_unclear: bool,
    /// What was wrong the last time.
    pub why: String,
    /// When it is asked again.
    pub next: Timestamp,
}

/// What is known of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never proposed.
    #[default]
    Absent,
    /// Waits for an operator.
    Proposed(Proposal),
    /// Approved; the executor has not been asked yet.
    Permitted(Proposal, Approval),
    /// The executor is asked.
    Dispatched(Proposal, Approval, Attempt),
    /// It is over, or nobody can say.
    Settled(Proposal, Approval, Settlement),
    /// An operator said no.
    Denied(Proposal, Verdict),
    /// It is not wanted any more; nothing was done.
    Withdrawn(Proposal, Verdict),
    /// Its approval ran out before the executor was reached; nothing was done.
    Expired(Proposal, Approval),
}

/// What one may ask of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Proposes it.
    Propose(Proposal),
    /// Says yes, on paper, in view of these facts.
    Approve(Approval, Facts),
    /// Says no.
    Deny(Verdict),
    /// Takes it back before the executor was asked.
    Withdraw(Verdict),
    /// Begins to ask the executor, if the facts still admit it.
    Dispatch {
        /// As which request.
        request: ExecutionId,
        /// When.
        now: Timestamp,
        /// As they are now.
        facts: Facts,
    },
    /// Notes that no answer came.
    Defer {
        /// What was wrong.
        why: String,
        /// Whether the executor may have heard.
        is_unclear: bool,
        /// When.
        now: Timestamp,
    },
    /// Notes what became of it.
    Settle(Settlement),
    /// Notes that its approval has run out.
    Expire {
        /// When.
        now: Timestamp,
    },
}

/// What has happened to an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was proposed.
    Proposed(Proposal),
    /// An operator said yes.
    Approved {
        /// On which paper.
        approval: Approval,
        /// What was open.
        open: Open,
    },
    /// An operator said no.
    Denied(Verdict),
    /// It was taken back.
    Withdrawn(Verdict),
    /// The executor is asked from now on.
    Dispatched {
        /// As which request.
        request: ExecutionId,
    },
    /// No answer came.
    Deferred {
        /// What was wrong.
        why: String,
        /// Whether the executor may have heard.
        is_unclear: bool,
        /// When it is asked again.
        next: Timestamp,
    },
    /// It is over, or nobody can say.
    Settled(Settlement),
    /// Its approval ran out.
    Expired,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "io.palisade.action.proposed.v1",
            Self::Approved { .. } => "io.palisade.action.approved.v1",
            Self::Denied(_) => "io.palisade.action.denied.v1",
            Self::Withdrawn(_) => "io.palisade.action.withdrawn.v1",
            Self::Dispatched { .. } => "io.palisade.action.dispatched.v1",
            Self::Deferred { .. } => "io.palisade.action.deferred.v1",
            Self::Settled(_) => "io.palisade.action.settled.v1",
            Self::Expired => "io.palisade.action.expired.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the action is {0}, which does not admit this")]
    NotNow(&'static str),
    /// It cannot be meant.
    #[error("the proposal is not taken: {0}")]
    Unfit(&'static str),
    /// Only a human decides.
    #[error("`{by}` is no operator; only an operator decides on an action")]
    NotOperator {
        /// Who tried.
        by: String,
    },
    /// Nobody would know why.
    #[error("it needs a reason of 1 to {REASON_BYTES_MAX} bytes")]
    Unreasoned,
    /// Rules hold it.
    #[error("it is blocked: {}", block::told(.0))]
    Blocked(Vec<Block>),
    /// A grant where a permit is needed.
    #[error("each call of `{name}` needs a permit of its own")]
    PermitNeeded {
        /// The action.
        name: String,
    },
    /// The approval is over.
    #[error("the approval has expired; approve anew")]
    Expired,
    /// The approval goes on.
    #[error("the approval has not expired")]
    NotExpired,
    /// What is known is not given up for less.
    #[error("that nobody can say is known already")]
    NoNews,
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Proposed(_) => "proposed",
            Self::Permitted(..) => "permitted",
            Self::Dispatched(..) => "dispatched",
            Self::Settled(.., it) => it.status.name(),
            Self::Denied(..) => "denied",
            Self::Withdrawn(..) => "withdrawn",
            Self::Expired(..) => "expired",
        }
    }

    /// Returns what is proposed.
    #[must_use]
    pub const fn proposal(&self) -> Option<&Proposal> {
        match self {
            Self::Absent => None,
            Self::Proposed(it)
            | Self::Permitted(it, _)
            | Self::Dispatched(it, ..)
            | Self::Settled(it, ..)
            | Self::Denied(it, _)
            | Self::Withdrawn(it, _)
            | Self::Expired(it, _) => Some(it),
        }
    }

    /// Returns the approval, once given and as long as it was not for nothing.
    #[must_use]
    pub const fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Permitted(_, it)
            | Self::Dispatched(_, it, _)
            | Self::Settled(_, it, _)
            | Self::Expired(_, it) => Some(it),
            Self::Absent | Self::Proposed(_) | Self::Denied(..) | Self::Withdrawn(..) => None,
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state, the paper or the facts do not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Propose(proposal)) => {
            check(&proposal)?;
            Ok(vec![Event::Proposed(proposal)])
        }
        (State::Proposed(proposal), Command::Approve(approval, facts)) => {
            approve(proposal, &approval, &facts)?;
            let open = facts.open;
            Ok(vec![Event::Approved { approval, open }])
        }
        (State::Proposed(_), Command::Deny(verdict)) => {
            operated(&verdict.by)?;
            reasoned(&verdict.reason)?;
            Ok(vec![Event::Denied(verdict)])
        }
        (State::Proposed(_) | State::Permitted(..), Command::Withdraw(verdict)) => {
            reasoned(&verdict.reason)?;
            Ok(vec![Event::Withdrawn(verdict)])
        }
        (
            State::Permitted(proposal, approval),
            Command::Dispatch {
                request,
                now,
                facts,
            },
        ) => {
            dispatch(proposal, approval, &facts, now)?;
            Ok(vec![Event::Dispatched { request }])
        }
        (
            State::Dispatched(.., attempt),
            Command::Defer {
                why,
                is_unclear,
                now,
            },
        ) => Ok(vec![Event::Deferred {
            why,
            is_unclear,
            next: now.after(patience(attempt.failed)),
        }]),
        (State::Dispatched(..), Command::Settle(settlement)) => {
            Ok(vec![Event::Settled(settlement)])
        }
        // The target was looked at later, by the executor or by a person through it.
        (State::Settled(.., known), Command::Settle(settlement))
            if known.status == Status::Unknown =>
        {
            let is_news = settlement.status != Status::Unknown;
            let settled = is_news.then(|| vec![Event::Settled(settlement)]);
            settled.ok_or(Refusal::NoNews)
        }
        (State::Permitted(_, approval), Command::Expire { now }) => expire(approval, now),
        (State::Dispatched(_, approval, attempt), Command::Expire { now })
            if !attempt.is_unclear =>
        {
            expire(approval, now)
        }
        (
            state,
            Command::Propose(_)
            | Command::Approve(..)
            | Command::Deny(_)
            | Command::Withdraw(_)
            | Command::Dispatch { .. }
            | Command::Defer { .. }
            | Command::Settle(_)
            | Command::Expire { .. },
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (State::Absent, Event::Proposed(it)) => State::Proposed(it.clone()),
        (State::Proposed(it), Event::Approved { approval, .. }) => {
            State::Permitted(it, approval.clone())
        }
        (State::Proposed(it), Event::Denied(verdict)) => State::Denied(it, verdict.clone()),
        (State::Proposed(it) | State::Permitted(it, _), Event::Withdrawn(verdict)) => {
            State::Withdrawn(it, verdict.clone())
        }
        (State::Permitted(it, approval), Event::Dispatched { request }) => {
            let attempt = Attempt {
                request: *request,
                failed: 0,
                is_unclear: false,
                why: String::new(),
                next: approval.at,
            };
            State::Dispatched(it, approval, attempt)
        }
        (
            State::Dispatched(it, approval, attempt),
            Event::Deferred {
                why,
                is_unclear,
                next,
            },
        ) => {
            let attempt = Attempt {
                request: attempt.request,
                failed: attempt.failed.saturating_add(1),
                is_unclear: attempt.is_unclear || *is_unclear,
                why: why.clone(),
                next: *next,
            };
            State::Dispatched(it, approval, attempt)
        }
        (
            State::Dispatched(it, approval, _) | State::Settled(it, approval, _),
            Event::Settled(settlement),
        ) => State::Settled(it, approval, settlement.clone()),
        (State::Permitted(it, approval) | State::Dispatched(it, approval, _), Event::Expired) => {
            State::Expired(it, approval)
        }
        (
            state,
            Event::Proposed(_)
            | Event::Approved { .. }
            | Event::Denied(_)
            | Event::Withdrawn(_)
            | Event::Dispatched { .. }
            | Event::Deferred { .. }
            | Event::Settled(_)
            | Event::Expired,
        ) => state,
    }
}

/// Returns the subject that a commit is.
#[must_use]
pub fn subject_of(commit: &Commit) -> String {
    format!("git:{commit}")
}

fn check(proposal: &Proposal) -> Result<(), Refusal> {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    let name = proposal.name.as_bytes();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().copied().all(plain) {
        return Err(Refusal::Unfit("its name is no name of an action"));
    }
    if proposal.arguments.len() > ARGUMENTS_BYTES_MAX {
        return Err(Refusal::Unfit("its arguments are over 16 KiB"));
    }
    let named = |it: &String| !it.trim().is_empty();
    let authors = &proposal.authors;
    if authors.is_empty() || authors.len() > AUTHORS_MAX || !authors.iter().all(named) {
        return Err(Refusal::Unfit("it has no author, or too many"));
    }
    reasoned(&proposal.why)
}

fn reasoned(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::Unreasoned);
    }
    Ok(())
}

fn operated(by: &str) -> Result<(), Refusal> {
    if principal::is_operator(by) {
        return Ok(());
    }
    let by = by.into();
    Err(Refusal::NotOperator { by })
}

fn approve(proposal: &Proposal, approval: &Approval, facts: &Facts) -> Result<(), Refusal> {
    operated(&approval.by)?;
    if approval.expires <= approval.at {
        return Err(Refusal::Expired);
    }
    let is_grant = matches!(approval.paper, Paper::Grant(_));
    if is_grant && proposal.needs == Needs::Permit {
        let name = proposal.name.clone();
        return Err(Refusal::PermitNeeded { name });
    }
    holds(proposal, approval, facts)
}

fn dispatch(
    proposal: &Proposal,
    approval: &Approval,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), Refusal> {
    if now >= approval.expires {
        return Err(Refusal::Expired);
    }
    holds(proposal, approval, facts)
}

fn holds(proposal: &Proposal, approval: &Approval, facts: &Facts) -> Result<(), Refusal> {
    let found = blocks(proposal, approval, facts);
    if found.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Blocked(found))
    }
}

fn expire(approval: &Approval, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if now < approval.expires {
        return Err(Refusal::NotExpired);
    }
    Ok(vec![Event::Expired])
}

/// Returns how long it takes until the executor is asked again after so many failures before.
fn patience(failed: u32) -> Millis {
    let times = 1_u64 << failed.min(20);
    Millis(RETRY_AFTER.0.saturating_mul(times)).min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests;
