//! Actions as the operator sees them: what waits, what holds it, and what became of the others.

use domain::action::{self, Facts, Paper, State};
use domain::formula::Lane;
use domain::{ActionId, Digest, SessionId, Timestamp, WorkId};
use serde::Serialize;
use serde_json::Value;

use super::board::{Board, name_of};

/// One action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The action.
    pub id: ActionId,
    /// `proposed`, `permitted`, `dispatched`, `succeeded`, `failed`, `unknown`, `denied`, `withdrawn`
    /// or `expired`.
    pub state: &'static str,
    /// What is to be done.
    pub name: String,
    /// With which arguments.
    pub arguments: Value,
    /// The digest of both.
    pub digest: Digest,
    /// What it brings into the world, by content.
    pub subject: Option<String>,
    /// The lane whose credentials it takes.
    pub lane: Lane,
    /// `permit` or `grant`.
    pub needs: &'static str,
    /// Who made what is brought into the world.
    pub authors: Vec<String>,
    /// Who proposed it.
    pub by: String,
    /// The work it comes from.
    pub work: Option<WorkId>,
    /// Its name.
    pub work_name: Option<String>,
    /// The session it was proposed in.
    pub session: Option<SessionId>,
    /// Why it is wanted.
    pub why: String,
    /// What holds it, of what waits; empty when it can be approved.
    pub blocks: Vec<String>,
    /// The approval.
    pub approval: Option<Approved>,
    /// What was wrong when the executor was asked last, and when it is asked again.
    pub trouble: Option<Trouble>,
    /// Why it failed, was denied or taken back, or is not known.
    pub reason: Option<String>,
    /// The receipt, in the artifact store.
    pub receipt: Option<Digest>,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// The human.
    pub by: String,
    /// The permit's or the grant's identifier.
    pub paper: String,
    /// The signed envelope, in the artifact store.
    pub envelope: Digest,
    /// The executor's policy it was given under.
    pub policy: Digest,
    /// Where it takes effect.
    pub target: String,
    /// As whom the executor is asked.
    pub requester: String,
    /// When.
    pub at: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// An executor that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// How often.
    pub failed: u32,
    /// Whether it may have heard.
    pub is_unclear: bool,
    /// What was wrong the last time.
    pub why: String,
    /// When it is asked again.
    pub next: Timestamp,
}

impl Line {
    /// Returns whether an operator must decide on it.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.state == "proposed"
    }

    /// Returns whether it is not over, or nobody can say.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            "proposed" | "permitted" | "dispatched" | "unknown"
        )
    }
}

/// Returns every action, in the order of their proposals; what holds those that wait is told for
/// this approver.
#[must_use]
pub fn all(board: &Board, approver: &str) -> Vec<Line> {
    let line = |(id, state): (&ActionId, &State)| line(board, *id, state, approver);
    board.actions.iter().filter_map(line).collect()
}

/// Returns those that an operator must decide on.
#[must_use]
pub fn waiting(board: &Board, approver: &str) -> Vec<Line> {
    let mut lines = all(board, approver);
    lines.retain(Line::waits);
    lines
}

/// Returns what the executor must be looked after for: what waits for it, and what nobody can say.
#[must_use]
pub fn troubles(board: &Board) -> Vec<String> {
    let mut told = Vec::new();
    for (id, state) in &board.actions {
        match state {
            State::Dispatched(proposal, _, attempt) if attempt.failed > 0 => {
                let (name, why, times) = (&proposal.name, &attempt.why, attempt.failed);
                told.push(format!(
                    "{name} {id}: the executor was asked {times} times and gave no answer ({why}); \
                     it is asked again: palisade actions dispatch"
                ));
            }
            State::Settled(proposal, _, settled) if settled.status == action::Status::Unknown => {
                let name = &proposal.name;
                told.push(format!(
                    "{name} {id}: nobody can say whether it was done; look at the target, then \
                     `palisade actions receipts {id}`; it is never tried again by itself"
                ));
            }
            State::Absent
            | State::Proposed(_)
            | State::Permitted(..)
            | State::Dispatched(..)
            | State::Settled(..)
            | State::Denied(..)
            | State::Withdrawn(..)
            | State::Expired(..) => {}
        }
    }
    told
}

fn line(board: &Board, id: ActionId, state: &State, approver: &str) -> Option<Line> {
    let proposal = state.proposal()?;
    let case = proposal.work.and_then(|it| board.cases.get(&it));
    let blocks = match state {
        State::Proposed(_) => {
            let facts = match (proposal.work, case) {
                (None, _) => Facts::default(),
                (Some(_), Some(case)) => case.action_facts(),
                (Some(_), None) => Facts {
                    landed: action::Landed::Nothing,
                    ..Facts::default()
                },
            };
            action::block::foreseen(proposal, approver, &facts)
        }
        State::Absent
        | State::Permitted(..)
        | State::Dispatched(..)
        | State::Settled(..)
        | State::Denied(..)
        | State::Withdrawn(..)
        | State::Expired(..) => Vec::new(),
    };
    let (reason, receipt) = match state {
        State::Settled(.., it) => (it.why.clone(), it.receipt),
        State::Denied(_, it) | State::Withdrawn(_, it) => {
            (Some(format!("{}: {}", it.by, it.reason)), None)
        }
        State::Expired(..) => {
            let told = "the executor was not reached in time; nothing was done";
            (Some(told.to_owned()), None)
        }
        State::Absent | State::Proposed(_) | State::Permitted(..) | State::Dispatched(..) => {
            (None, None)
        }
    };
    Some(Line {
        id,
        state: state.name(),
        name: proposal.name.clone(),
        arguments: serde_json::from_str(&proposal.arguments).unwrap_or_default(),
        digest: proposal.digest,
        subject: proposal.subject.clone(),
        lane: proposal.lane,
        needs: proposal.needs.name(),
        authors: proposal.authors.clone(),
        by: proposal.by.clone(),
        work: proposal.work,
        work_name: case.map(name_of),
        session: proposal.session,
        why: proposal.why.clone(),
        blocks: blocks.iter().map(action::Block::sentence).collect(),
        approval: state.approval().map(approved),
        trouble: trouble(state),
        reason,
        receipt,
    })
}

fn approved(it: &action::Approval) -> Approved {
    Approved {
        by: it.by.clone(),
        paper: match it.paper {
            Paper::Permit(id) => id.to_string(),
            Paper::Grant(id) => id.to_string(),
        },
        envelope: it.envelope,
        policy: it.policy,
        target: it.target.clone(),
        requester: it.requester.clone(),
        at: it.at,
        expires: it.expires,
    }
}

fn trouble(state: &State) -> Option<Trouble> {
    let State::Dispatched(_, _, attempt) = state else {
        return None;
    };
    (attempt.failed > 0).then(|| Trouble {
        failed: attempt.failed,
        is_unclear: attempt.is_unclear,
        why: attempt.why.clone(),
        next: attempt.next,
    })
}
