//! The detail: everything about one work, for `palisade show`. Folded from the work's own events.

use std::collections::BTreeMap;

use domain::ambiguity::{self, Ambiguity, Answer};
use domain::checkpoint::{self, Trigger};
use domain::event::Event;
use domain::finding::{self, Finding, Resolver};
use domain::plan::Plan;
use domain::policy::{Approval, GateFact};
use domain::promotion::{self, Proposal};
use domain::run::{Pin, Status};
use domain::session::{self, End, Judgement, Session, ToolCall};
use domain::tree::{Tree, Violation};
use domain::work::{Spent, Work};
use domain::{
    AmbiguityId, CheckpointId, Digest, FindingId, Millis, PromotionId, SessionId, Timestamp, WorkId,
};
use ports::log::EventLog;
use serde::Serialize;

use super::board::{Board, Line};
use crate::recorder::{Error, decoded};

/// Everything about one work.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// Its line on the board.
    pub line: Line,
    /// What it is about.
    pub work: Work,
    /// The specification, in the artifact store.
    pub spec: Option<Digest>,
    /// Where the specification was read from.
    pub source: String,
    /// What bounds it.
    pub plan: Option<Plan>,
    /// What it has spent.
    pub spent: Spent,
    /// The accepted tree, once a run has begun.
    pub tree: Option<Tree>,
    /// Where formula, roles and gates came from.
    pub pinned: Vec<Pin>,
    /// The steps, in the formula's order.
    pub steps: Vec<StepLine>,
    /// The sessions, in the order of their request.
    pub sessions: Vec<SessionLine>,
    /// The checkpoints, in the order of their capture.
    pub checkpoints: Vec<CheckpointLine>,
    /// The last word of each gate.
    pub gates: Vec<GateFact>,
    /// The findings.
    pub findings: Vec<FindingLine>,
    /// The questions.
    pub questions: Vec<QuestionLine>,
    /// The promotions.
    pub promotions: Vec<PromotionLine>,
}

/// One step of the formula.
#[derive(Clone, Debug, Serialize)]
pub struct StepLine {
    /// Its name.
    pub id: String,
    /// `waiting`, `active`, `passed` or `failed`.
    pub status: String,
    /// Why it failed.
    pub why: Option<String>,
    /// How often it was started since the work last came to it.
    pub attempts: u32,
}

/// One session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionLine {
    /// The session.
    pub id: SessionId,
    /// `requested`, `starting`, `running` or `ended`.
    pub state: String,
    /// What it is for.
    pub about: Session,
    /// How it ended.
    pub end: Option<End>,
    /// The same in a sentence.
    pub told: Option<String>,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When the agent ran.
    pub started: Option<Timestamp>,
    /// Whether the declared fallback for overlays is in use.
    pub fallback: bool,
    /// The walls around it, as `name: state`.
    pub walls: Vec<String>,
    /// Signals that were refused, and why.
    pub refused: Vec<String>,
    /// What the kernel refused to the agent, and how often.
    pub denied: Vec<(String, u64)>,
    /// The tools it called.
    pub calls: Calls,
    /// The artifact that holds the cell's specification.
    pub cell: Option<Digest>,
    /// The artifact that holds what it was told.
    pub prompt: Option<Digest>,
    /// What its judge answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
}

/// The tools that an agent called, as its program told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// How often each was, by its name.
    pub counts: BTreeMap<String, u64>,
    /// What was not permitted, in order.
    pub refused: Vec<ToolCall>,
}

impl Calls {
    fn add(&mut self, call: ToolCall) {
        if call.refused.is_some() {
            self.refused.push(call);
        } else {
            let count = self.counts.entry(call.tool).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// One checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointLine {
    /// The checkpoint.
    pub id: CheckpointId,
    /// `captured`, `validated`, `violated` or `promoted`.
    pub state: String,
    /// The session whose changes it holds.
    pub session: Option<SessionId>,
    /// Why it was taken.
    pub trigger: Trigger,
    /// The tree.
    pub tree: Tree,
    /// Files changed since the checkpoint before.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Everything that is wrong with it.
    pub violations: Vec<Violation>,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct FindingLine {
    /// The finding.
    pub id: FindingId,
    /// What was found.
    pub finding: Finding,
    /// Who resolved it; none while it is open.
    pub resolved: Option<Resolver>,
}

/// One question.
#[derive(Clone, Debug, Serialize)]
pub struct QuestionLine {
    /// The question.
    pub id: AmbiguityId,
    /// `open`, `answered`, `applied` or `closed`.
    pub state: String,
    /// What was asked.
    pub ambiguity: Ambiguity,
    /// What the operator said.
    pub answer: Option<Answer>,
}

/// One promotion.
#[derive(Clone, Debug, Serialize)]
pub struct PromotionLine {
    /// The promotion.
    pub id: PromotionId,
    /// `blocked`, `ready`, `approved`, `dispatched`, `promoted`, `refused` or `stale`.
    pub state: String,
    /// What blocks it, or why it is refused or stale.
    pub reasons: Vec<String>,
    /// What is proposed.
    pub proposal: Proposal,
    /// The operator's yes.
    pub approval: Option<Approval>,
    /// When the effect began.
    pub dispatched: Option<Timestamp>,
    /// The commit on the target.
    pub commit: Option<String>,
}

/// What the events say beyond the case: times and walls.
#[derive(Default)]
struct Told {
    sessions: BTreeMap<SessionId, SessionTold>,
    dispatched: BTreeMap<PromotionId, Timestamp>,
}

#[derive(Default)]
struct SessionTold {
    requested: Timestamp,
    started: Option<Timestamp>,
    fallback: bool,
    walls: Vec<String>,
    refused: Vec<String>,
    denied: Vec<(String, u64)>,
    calls: Calls,
    cell: Option<Digest>,
    prompt: Option<Digest>,
    judgement: Option<Judgement>,
}

/// Reads everything about a work.
///
/// # Errors
/// When the log cannot be read, or the work is not on the board.
pub fn read(log: &dyn EventLog, board: &Board, work: WorkId) -> Result<Detail, Error> {
    let missing = || Error::Invalid(format!("there is no work {work}"));
    let case = board.cases.get(&work).ok_or_else(missing)?;
    let line = board.lines().into_iter().find(|it| it.work == work);
    let record = case.work().and_then(|(_, state)| state.record());
    let record = record.ok_or_else(missing)?;
    let told = told(log, work)?;
    let goal = case.goal().and_then(|(_, state)| state.goal());
    let active = case.active();
    let questions = case.ambiguities.iter();
    Ok(Detail {
        line: line.ok_or_else(missing)?,
        work: record.work.clone(),
        spec: goal.map(|it| it.spec),
        source: goal.map(|it| it.source.clone()).unwrap_or_default(),
        plan: case.plan().cloned(),
        spent: record.spent,
        tree: active.map(|it| it.tree.clone()),
        pinned: active.map(|it| it.run.pinned.clone()).unwrap_or_default(),
        steps: active.map(steps).unwrap_or_default(),
        sessions: sessions(&case.sessions, told.sessions),
        checkpoints: case.checkpoints.iter().filter_map(checkpoint).collect(),
        gates: active.map(|it| it.gates.clone()).unwrap_or_default(),
        findings: case.findings.iter().filter_map(finding).collect(),
        questions: questions.filter_map(question).collect(),
        promotions: case
            .promotions
            .iter()
            .filter_map(|(id, state)| promotion(*id, state, told.dispatched.get(id).copied()))
            .collect(),
    })
}

fn told(log: &dyn EventLog, work: WorkId) -> Result<Told, Error> {
    let mut told = Told::default();
    for recorded in log.read_correlated(&work.to_string(), ports::log::Position(0))? {
        let time = recorded.event.time;
        match decoded(&recorded)? {
            Event::Session(id, event) => told.sessions.entry(id).or_default().apply(event, time),
            Event::Promotion(id, promotion::Event::Dispatched { .. }) => {
                told.dispatched.insert(id, time);
            }
            Event::Ambiguity(..)
            | Event::Breaker(..)
            | Event::Checkpoint(..)
            | Event::Evidence(..)
            | Event::Finding(..)
            | Event::Action(..)
            | Event::Goal(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Message(..)
            | Event::Output(..)
            | Event::Plan(..)
            | Event::Promotion(..)
            | Event::Run(..)
            | Event::Work(..) => {}
        }
    }
    Ok(told)
}

impl SessionTold {
    fn apply(&mut self, event: session::Event, time: Timestamp) {
        match event {
            session::Event::Requested(_) => self.requested = time,
            session::Event::Prepared(it) => {
                self.fallback = it.fallback;
                self.cell = it.cell;
                self.prompt = it.prompt;
            }
            session::Event::Started { walls } => {
                self.started = Some(time);
                self.walls = walls;
            }
            session::Event::SignalRefused { why, .. } => self.refused.push(why),
            session::Event::AttemptDenied { what, count } => {
                match self.denied.iter_mut().find(|(it, _)| *it == what) {
                    Some((_, so_far)) => *so_far = so_far.saturating_add(count),
                    None => self.denied.push((what, count)),
                }
            }
            session::Event::Judged(it) => self.judgement = Some(it),
            session::Event::ToolCalled(call) => self.calls.add(call),
            session::Event::PauseRequested(_)
            | session::Event::Paused
            | session::Event::Resumed { .. }
            | session::Event::Progressed { .. }
            | session::Event::ModelBilled(_)
            | session::Event::ModelFellBack(_)
            | session::Event::Connected(_)
            | session::Event::Wrote(_)
            | session::Event::Ended(_) => {}
        }
    }
}

fn steps(active: &domain::run::Active) -> Vec<StepLine> {
    let line = |id: &String| {
        let status = active.status(id);
        let why = match status {
            Status::Failed(why, _) => Some(why.clone()),
            Status::Waiting | Status::Active(_) | Status::Passed(_) => None,
        };
        StepLine {
            id: id.clone(),
            status: status.name().to_string(),
            why,
            attempts: active.steps.get(id).map_or(0, |it| it.attempts),
        }
    };
    let steps = &active.run.formula.steps;
    steps.iter().map(|it| line(&it.id)).collect()
}

fn sessions(
    states: &BTreeMap<SessionId, session::State>,
    mut told: BTreeMap<SessionId, SessionTold>,
) -> Vec<SessionLine> {
    let lines = states.iter().filter_map(|(id, state)| {
        let seen = told.remove(id).unwrap_or_default();
        let end = state.end().cloned();
        Some(SessionLine {
            id: *id,
            state: state.name().to_string(),
            about: state.session()?.clone(),
            told: end
                .as_ref()
                .map(|it| domain::conclude::sentence(&it.reason)),
            end,
            requested: seen.requested,
            started: seen.started,
            fallback: seen.fallback,
            walls: seen.walls,
            refused: seen.refused,
            denied: seen.denied,
            calls: seen.calls,
            cell: seen.cell,
            prompt: seen.prompt,
            judgement: seen.judgement,
        })
    });
    lines.collect()
}

fn checkpoint((id, state): (&CheckpointId, &checkpoint::State)) -> Option<CheckpointLine> {
    let it = state.checkpoint()?;
    let violations = match state {
        checkpoint::State::Violated(_, violations) => violations.clone(),
        checkpoint::State::Absent
        | checkpoint::State::Requested(_)
        | checkpoint::State::Captured(_)
        | checkpoint::State::Validated(_)
        | checkpoint::State::Promoted(_) => Vec::new(),
    };
    Some(CheckpointLine {
        id: *id,
        state: state.name().to_string(),
        session: it.session,
        trigger: it.trigger,
        tree: it.tree.clone(),
        files: it.files,
        bytes: it.bytes,
        violations,
    })
}

fn finding((id, state): (&FindingId, &finding::State)) -> Option<FindingLine> {
    let (finding, resolved) = match state {
        finding::State::Absent => return None,
        finding::State::Open(finding, ..) => (finding, None),
        finding::State::Resolved(finding, by) => (finding, Some(by.clone())),
    };
    Some(FindingLine {
        id: *id,
        finding: finding.clone(),
        resolved,
    })
}

fn question((id, state): (&AmbiguityId, &ambiguity::State)) -> Option<QuestionLine> {
    Some(QuestionLine {
        id: *id,
        state: state.name().to_string(),
        ambiguity: state.ambiguity()?.clone(),
        answer: state.answer().cloned(),
    })
}

fn promotion(
    id: PromotionId,
    state: &promotion::State,
    dispatched: Option<Timestamp>,
) -> Option<PromotionLine> {
    let reasons = match state {
        promotion::State::Blocked(_, blocks) => {
            blocks.iter().map(domain::policy::Block::sentence).collect()
        }
        promotion::State::Refused(_, why) | promotion::State::Stale(_, why) => vec![why.clone()],
        promotion::State::Absent
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Promoted(..) => Vec::new(),
    };
    let commit = match state {
        promotion::State::Promoted(_, _, commit) => Some(commit.to_string()),
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Refused(..)
        | promotion::State::Stale(..) => None,
    };
    Some(PromotionLine {
        id,
        state: state.name().to_string(),
        reasons,
        proposal: state.proposal()?.clone(),
        approval: state.approval().cloned(),
        dispatched,
        commit,
    })
}

impl SessionLine {
    /// Returns how long it has lasted: its recorded time, or the time since it was asked for.
    #[must_use]
    pub fn wall(&self, now: Timestamp) -> Millis {
        self.end
            .as_ref()
            .map_or_else(|| now.since(self.requested), |it| it.wall)
    }
}
