//! Runs: one execution of a formula for a work. The formula is pinned; its steps form a checked
//! graph; one step at a time is under way, since all of them work on one tree.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::formula::{Formula, Gate, Role};
use crate::policy::GateFact;
use crate::rollback::{self, Rollback};
use crate::tree::{Tree, Violation};
use crate::{Digest, PromotionId, SessionId, WorkId};

mod pinned;
mod progress;
mod standing;

pub use pinned::{Pin, Prompt};

use progress::{reopen, roll_back, set, started};

/// What a run executes: immutable from its start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The work.
    pub work: WorkId,
    /// The formula, as read from the trusted base or the shipped defaults.
    pub formula: Formula,
    /// The roles it names.
    pub roles: Vec<Role>,
    /// The gates it can use.
    pub gates: Vec<Gate>,
    /// Where formula, roles and gates came from, and their digests, for the dossier.
    pub pinned: Vec<Pin>,
    /// The templates of what agents and judges are told; a run of an older version has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Prompt>,
    /// The base, unchanged.
    pub base: Tree,
}

/// What is under way for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "activity", rename_all = "snake_case")]
pub enum Activity {
    /// An agent works.
    Session {
        /// Which session.
        session: SessionId,
    },
    /// Gates run.
    Gates,
    /// A dossier is put together, then the operator decides.
    Decision {
        /// On which promotion.
        promotion: PromotionId,
    },
    /// The change is landed.
    Landing {
        /// Which promotion.
        promotion: PromotionId,
    },
}

/// What would mend a failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mend {
    /// Starting it anew.
    Retry,
    /// Starting it anew; the attempt does not count.
    Again,
    /// Sending the work back to the step's `on_fail`.
    SendBack,
    /// Nothing.
    Nothing,
}

/// Something the next session must know: why the work is back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// The import filter turned changes away; they were taken out of the tree.
    Violations {
        /// All of them.
        violations: Vec<Violation>,
    },
    /// A gate did not pass.
    Gate {
        /// Which.
        gate: String,
        /// Why.
        reasons: Vec<String>,
        /// The end of its output, in the artifact store.
        log: Digest,
    },
    /// Findings of a review are open (they are read from the log).
    Findings,
    /// The operator has answered questions otherwise than assumed.
    Answers,
    /// The operator wants something else.
    Operator {
        /// What.
        text: String,
    },
    /// An earlier session ended badly.
    Ended {
        /// How.
        reason: String,
    },
    /// The tree was put back to an earlier checkpoint.
    RolledBack {
        /// Who wanted it.
        by: String,
        /// Why.
        why: String,
        /// The paths that were put back.
        reverted: Vec<String>,
    },
    /// A judge does not pass it.
    Judge {
        /// In which step.
        step: String,
        /// Why.
        reasons: Vec<String>,
    },
    /// The target moved and these files could not be carried over; they hold the target's content.
    Conflict {
        /// Which.
        paths: Vec<String>,
    },
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not begun.
    Waiting,
    /// Under way.
    Active(Activity),
    /// Passed, on this tree.
    Passed(Digest),
    /// Did not pass.
    Failed(String, Mend),
}

/// A step's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands.
    pub status: Status,
    /// How often it was started since the work last came to it.
    pub attempts: u32,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Every step passed.
    Completed,
    /// An agent found nothing left to do, and nothing was changed.
    NothingToDo {
        /// What it said.
        detail: String,
    },
    /// A step could not be mended.
    Failed {
        /// Which and why.
        reason: String,
    },
    /// The operator refused the promotion.
    Refused {
        /// Why.
        reason: String,
    },
    /// The operator called it off.
    Canceled,
}

/// What is known of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never started.
    #[default]
    Absent,
    /// Going on.
    Active(Active),
    /// Over.
    Ended(Active, Outcome),
}

/// A run and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What it executes.
    pub run: Run,
    /// The accepted tree.
    pub tree: Tree,
    /// The steps' progress.
    pub steps: BTreeMap<String, Progress>,
    /// The round, from 1.
    pub round: u32,
    /// Why the work is back.
    pub notes: Vec<Note>,
    /// What gates said, the last word of each.
    pub gates: Vec<GateFact>,
    /// A rollback that is wanted and not yet carried out.
    pub rollback: Option<Rollback>,
}

/// What one may ask of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Starts it.
    Start(Run),
    /// Begins a step.
    Begin {
        /// Which.
        step: String,
        /// With what.
        activity: Activity,
    },
    /// Takes in the tree of a session that the import filter found clean.
    Advance {
        /// The tree.
        tree: Tree,
    },
    /// Notes what gates said.
    JudgeGates {
        /// Their words.
        facts: Vec<GateFact>,
    },
    /// Notes that the active step passed.
    Pass {
        /// Which.
        step: String,
    },
    /// Notes that the active step did not pass.
    Fail {
        /// Which.
        step: String,
        /// Why.
        why: String,
        /// What would mend it.
        mend: Mend,
        /// What the next session must know.
        notes: Vec<Note>,
    },
    /// Starts a failed step anew.
    Retry {
        /// Which.
        step: String,
    },
    /// Sends the work back to a session; all that leans on it is to be done again.
    SendBack {
        /// Where to.
        to: String,
        /// What that session must know.
        notes: Vec<Note>,
    },
    /// Puts the work on another base, or leaves it there: gates and decision are to be done again.
    Reopen {
        /// The tree there.
        tree: Tree,
    },
    /// Wants the tree put back to a checkpoint.
    RequestRollback(Rollback),
    /// Puts it back.
    RollBack(rollback::Done),
    /// Gives a wanted rollback up: it cannot be carried out.
    AbandonRollback {
        /// Why.
        why: String,
    },
    /// Ends it.
    End(Outcome),
}

/// What has happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was started.
    Started(Run),
    /// A step began.
    StepBegan {
        /// Which.
        step: String,
        /// With what.
        activity: Activity,
    },
    /// A session's tree was taken in.
    Advanced {
        /// The tree.
        tree: Tree,
    },
    /// Gates spoke.
    GatesJudged {
        /// Their words.
        facts: Vec<GateFact>,
    },
    /// A step passed.
    StepPassed {
        /// Which.
        step: String,
    },
    /// A step did not pass.
    StepFailed {
        /// Which.
        step: String,
        /// Why.
        why: String,
        /// What would mend it.
        mend: Mend,
        /// What the next session must know.
        notes: Vec<Note>,
    },
    /// A failed step is started anew.
    StepRetried {
        /// Which.
        step: String,
    },
    /// The work was sent back.
    SentBack {
        /// Where to.
        to: String,
        /// What that session must know.
        notes: Vec<Note>,
    },
    /// Gates and decision are to be done again, on this tree.
    Reopened {
        /// The tree.
        tree: Tree,
    },
    /// The tree is to be put back to a checkpoint.
    RollbackRequested(Rollback),
    /// It was.
    RolledBack(rollback::Done),
    /// It could not be.
    RollbackAbandoned {
        /// Why.
        why: String,
    },
    /// It is over.
    Ended(Outcome),
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "io.palisade.run.started.v1",
            Self::StepBegan { .. } => "io.palisade.run.step_began.v1",
            Self::Advanced { .. } => "io.palisade.run.advanced.v1",
            Self::GatesJudged { .. } => "io.palisade.run.gates_judged.v1",
            Self::StepPassed { .. } => "io.palisade.run.step_passed.v1",
            Self::StepFailed { .. } => "io.palisade.run.step_failed.v1",
            Self::StepRetried { .. } => "io.palisade.run.step_retried.v1",
            Self::SentBack { .. } => "io.palisade.run.sent_back.v1",
            Self::Reopened { .. } => "io.palisade.run.reopened.v1",
            Self::RollbackRequested(_) => "io.palisade.run.rollback_requested.v1",
            Self::RolledBack(_) => "io.palisade.run.rolled_back.v1",
            Self::RollbackAbandoned { .. } => "io.palisade.run.rollback_abandoned.v1",
            Self::Ended(_) => "io.palisade.run.ended.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never started.
    #[error("there is no such run")]
    Unknown,
    /// Started before.
    #[error("the run is already on record")]
    AlreadyStarted,
    /// Terminal is final.
    #[error("the run is over")]
    Over,
    /// The formula has no such step.
    #[error("the formula has no step `{0}`")]
    NoSuchStep(String),
    /// The step does not stand where the command needs it.
    #[error("step `{step}` is {status}, which does not admit this")]
    NotNow {
        /// Which.
        step: String,
        /// Where it stands.
        status: &'static str,
    },
    /// Something it leans on has not passed.
    #[error("step `{step}` needs `{need}` first")]
    NotReady {
        /// Which.
        step: String,
        /// What it needs.
        need: String,
    },
    /// Another step is under way.
    #[error("step `{0}` is under way")]
    Busy(String),
    /// One rollback at a time.
    #[error("another rollback is wanted already: {0}")]
    RollbackPending(String),
    /// Nobody wants one.
    #[error("no rollback is wanted")]
    NoRollback,
    /// The change is being landed, or may be.
    #[error("the change is landed, or is being; what is promoted is not rolled back but reverted")]
    Landing,
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    let active = match (state, &command) {
        (State::Absent, Command::Start(run)) => return Ok(vec![Event::Started(run.clone())]),
        (State::Absent, _) => return Err(Refusal::Unknown),
        (State::Ended(..), _) => return Err(Refusal::Over),
        (State::Active(active), _) => active,
    };
    let event = match command {
        Command::Start(_) => return Err(Refusal::AlreadyStarted),
        Command::Begin { step, activity } => {
            active.can_begin(&step)?;
            Event::StepBegan { step, activity }
        }
        Command::Advance { tree } => Event::Advanced { tree },
        Command::JudgeGates { facts } => Event::GatesJudged { facts },
        Command::Pass { step } => {
            active.expect_active(&step)?;
            Event::StepPassed { step }
        }
        Command::Fail {
            step,
            why,
            mend,
            notes,
        } => {
            active.expect_active(&step)?;
            Event::StepFailed {
                step,
                why,
                mend,
                notes,
            }
        }
        Command::Retry { step } => match active.status(&step) {
            Status::Failed(_, Mend::Retry | Mend::Again) => Event::StepRetried { step },
            other @ (Status::Waiting
            | Status::Active(_)
            | Status::Passed(_)
            | Status::Failed(..)) => {
                return Err(Refusal::NotNow {
                    status: other.name(),
                    step,
                });
            }
        },
        Command::SendBack { to, notes } => {
            active.can_send_back(&to)?;
            Event::SentBack { to, notes }
        }
        Command::Reopen { tree } => {
            active.expect_idle()?;
            Event::Reopened { tree }
        }
        Command::RequestRollback(wanted) => active.admit_rollback(wanted)?,
        Command::RollBack(done) => {
            if active.rollback.as_ref() != Some(&done.rollback) {
                return Err(Refusal::NoRollback);
            }
            active.expect_idle()?;
            Event::RolledBack(done)
        }
        Command::AbandonRollback { .. } if active.rollback.is_none() => {
            return Err(Refusal::NoRollback);
        }
        Command::AbandonRollback { why } => Event::RollbackAbandoned { why },
        Command::End(outcome) => Event::Ended(outcome),
    };
    Ok(vec![event])
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    let mut active = match (state, event) {
        (State::Absent, Event::Started(run)) => return State::Active(started(run)),
        (State::Active(active), _) => active,
        (state @ (State::Absent | State::Ended(..)), _) => return state,
    };
    match event {
        Event::Started(_) => {}
        Event::StepBegan { step, activity } => {
            if let Some(progress) = active.steps.get_mut(step) {
                progress.status = Status::Active(*activity);
                progress.attempts = progress.attempts.saturating_add(1);
            }
        }
        Event::Advanced { tree } => active.tree = tree.clone(),
        Event::GatesJudged { facts } => {
            active
                .gates
                .retain(|it| !facts.iter().any(|new| new.gate == it.gate));
            active.gates.extend(facts.iter().cloned());
        }
        Event::StepPassed { step } => {
            let digest = active.tree.digest;
            set(&mut active, step, Status::Passed(digest));
            if active.is_session(step) {
                active.notes.clear();
            }
        }
        Event::StepFailed {
            step,
            why,
            mend,
            notes,
        } => {
            set(&mut active, step, Status::Failed(why.clone(), *mend));
            if let (Mend::Again, Some(progress)) = (mend, active.steps.get_mut(step)) {
                progress.attempts = progress.attempts.saturating_sub(1);
            }
            // Only a session reads notes. One that is started anew has to read them again.
            if active.is_session(step) && !matches!(mend, Mend::Retry | Mend::Again) {
                active.notes.clear();
            }
            for note in notes {
                if !active.notes.contains(note) {
                    active.notes.push(note.clone());
                }
            }
        }
        Event::StepRetried { step } => set(&mut active, step, Status::Waiting),
        Event::SentBack { to, notes } => {
            for step in active.run.formula.downstream(to) {
                active.steps.insert(
                    step,
                    Progress {
                        status: Status::Waiting,
                        attempts: 0,
                    },
                );
            }
            active.round = active.round.saturating_add(1);
            active.notes.clone_from(notes);
        }
        Event::Reopened { tree } => {
            active.tree = tree.clone();
            reopen(&mut active);
        }
        Event::RollbackRequested(wanted) => active.rollback = Some(wanted.clone()),
        Event::RolledBack(done) => roll_back(&mut active, done),
        Event::RollbackAbandoned { .. } => active.rollback = None,
        Event::Ended(outcome) => return State::Ended(active, outcome.clone()),
    }
    State::Active(active)
}

#[cfg(test)]
mod tests;
