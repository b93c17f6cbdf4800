//! Effects: what the world shall be asked for, as data. A closed list; each leaves nothing to
//! choose, is performed by the engine, and returns its outcome as commands.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::run::Activity;
use crate::session::Actor;
use crate::{
    ActionId, PromotionId, RunId, SessionId, WorkId, action, checkpoint, run, session, work,
};

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Pin formula, roles and gates, make the base ready, and start the run.
    Prepare {
        /// For which work.
        work: WorkId,
    },
    /// Run an agent in a cell, and take in what it leaves.
    RunSession {
        /// Which session.
        session: SessionId,
    },
    /// Ask a language model once, and take in its answer.
    Judge {
        /// In which session.
        session: SessionId,
    },
    /// Run the gates of the active step.
    RunGates {
        /// Of which run.
        run: RunId,
    },
    /// Put a dossier together and propose the promotion.
    Assemble {
        /// Of which run.
        run: RunId,
        /// As which promotion.
        promotion: PromotionId,
    },
    /// Land an approved change.
    Land {
        /// Which promotion.
        promotion: PromotionId,
    },
    /// Put the tree back to a checkpoint.
    RollBack {
        /// Of which run.
        run: RunId,
    },
    /// Remove what a closed work left in the workspace.
    CleanUp {
        /// Which work.
        work: WorkId,
    },
    /// Ask the executor for an approved action.
    Execute {
        /// Which action.
        action: ActionId,
    },
}

/// Says what the world must now be asked for.
#[must_use]
pub fn react(event: &Event) -> Vec<Effect> {
    match event {
        Event::Work(work, work::Event::Admitted) => vec![Effect::Prepare { work: *work }],
        Event::Work(work, work::Event::Closed(_)) => vec![Effect::CleanUp { work: *work }],
        Event::Session(session, session::Event::Requested(about)) => vec![match about.actor {
            Actor::Agent => Effect::RunSession { session: *session },
            Actor::Judge => Effect::Judge { session: *session },
        }],
        Event::Run(run, event) => react_to_run(*run, event),
        Event::Action(action, action::Event::Approved { .. }) => {
            vec![Effect::Execute { action: *action }]
        }
        Event::Work(
            _,
            work::Event::Submitted(_)
            | work::Event::Began { .. }
            | work::Event::Debited(_)
            | work::Event::Refunded { .. }
            | work::Event::InputRequired { .. }
            | work::Event::InputTaken,
        )
        | Event::Session(
            _,
            session::Event::Prepared(_)
            | session::Event::Started { .. }
            | session::Event::PauseRequested(_)
            | session::Event::Paused
            | session::Event::Resumed { .. }
            | session::Event::Progressed { .. }
            | session::Event::SignalRefused { .. }
            | session::Event::AttemptDenied { .. }
            | session::Event::ToolCalled(_)
            | session::Event::ModelBilled(_)
            | session::Event::ModelFellBack(_)
            | session::Event::Connected(_)
            | session::Event::Wrote(_)
            | session::Event::Judged(_)
            | session::Event::Ended(_),
        )
        | Event::Checkpoint(
            _,
            checkpoint::Event::Requested(_)
            | checkpoint::Event::Captured(_)
            | checkpoint::Event::Validated { .. }
            | checkpoint::Event::Violated { .. }
            | checkpoint::Event::Deferred { .. }
            | checkpoint::Event::Promoted,
        )
        | Event::Action(
            _,
            action::Event::Proposed(_)
            | action::Event::Denied(_)
            | action::Event::Withdrawn(_)
            | action::Event::Dispatched { .. }
            | action::Event::Deferred { .. }
            | action::Event::Settled(_)
            | action::Event::Expired,
        )
        | Event::Ambiguity(..)
        | Event::Breaker(..)
        | Event::Evidence(..)
        | Event::Finding(..)
        | Event::Goal(..)
        | Event::Grant(..)
        | Event::Lease(..)
        | Event::Machine(..)
        | Event::Message(..)
        | Event::Output(..)
        | Event::Plan(..)
        | Event::Promotion(..) => vec![],
    }
}

fn react_to_run(run: RunId, event: &run::Event) -> Vec<Effect> {
    match event {
        run::Event::RollbackRequested(_) => vec![Effect::RollBack { run }],
        run::Event::StepBegan { activity, .. } => match activity {
            // The session's own request asks for it.
            Activity::Session { .. } => vec![],
            Activity::Gates => vec![Effect::RunGates { run }],
            Activity::Decision { promotion } => vec![Effect::Assemble {
                run,
                promotion: *promotion,
            }],
            Activity::Landing { promotion } => vec![Effect::Land {
                promotion: *promotion,
            }],
        },
        run::Event::Started(_)
        | run::Event::Advanced { .. }
        | run::Event::GatesJudged { .. }
        | run::Event::StepPassed { .. }
        | run::Event::StepFailed { .. }
        | run::Event::StepRetried { .. }
        | run::Event::SentBack { .. }
        | run::Event::Reopened { .. }
        | run::Event::RolledBack(_)
        | run::Event::RollbackAbandoned { .. }
        | run::Event::Ended(_) => vec![],
    }
}
