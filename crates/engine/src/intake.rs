//! Intake: how an operator's specification becomes a goal, a plan and a submitted work, in one
//! transaction. The specification is captured raw before anything is made of it.

use std::collections::BTreeMap;

use domain::case::Command;
use domain::model::Model;
use domain::plan::Plan;
use domain::work::Work;
use domain::{GoalId, PlanId, WorkId, goal, plan, work};

use crate::catalog::spec::Spec;
use crate::recorder::{Error, Recorder};

/// What the operator asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The specification, understood.
    pub spec: Spec,
    /// The specification, raw.
    pub raw: Vec<u8>,
    /// Where it was read from.
    pub source: String,
    /// The branch it is meant for.
    pub target: String,
    /// The formula to run.
    pub formula: String,
    /// The agent that acts.
    pub agent: String,
    /// Works that must be completed first.
    pub depends_on: Vec<WorkId>,
    /// Classes of models, in place of the operator's settings.
    pub models: BTreeMap<String, Vec<Model>>,
}

/// Puts a work on record and returns it. The operator who runs this approves the plan.
///
/// # Errors
/// When a rule refuses, or the log fails; then nothing but the raw specification is kept.
pub fn submit(recorder: &Recorder, request: &Request) -> Result<WorkId, Error> {
    let spec = recorder.world().artifacts.put(&request.raw)?;
    let (goal_id, plan_id) = (
        GoalId::from_bits(recorder.fresh()),
        PlanId::from_bits(recorder.fresh()),
    );
    let work_id = WorkId::from_bits(recorder.fresh());
    recorder.submit(work_id, None, |_| {
        let title = request.spec.title.clone();
        let goal = goal::Goal {
            title,
            spec,
            source: request.source.clone(),
        };
        let plan = Plan {
            goal: goal_id,
            allowed: request.spec.allow.clone(),
            denied: request.spec.deny.clone(),
            protected_allowed: request.spec.protected.clone(),
            commands: request.spec.commands.clone(),
            budget: request.spec.budget,
        };
        let work = Work {
            name: request.spec.name.clone(),
            goal: goal_id,
            plan: plan_id,
            target: request.target.clone(),
            formula: request.formula.clone(),
            agent: request.agent.clone(),
            depends_on: request.depends_on.clone(),
            budget: request.spec.budget,
            models: request.models.clone(),
        };
        let by = recorder.actor().to_string();
        Ok(vec![
            Command::Goal(goal_id, goal::Command::Capture(goal)),
            Command::Plan(plan_id, plan::Command::Draft(plan)),
            Command::Plan(plan_id, plan::Command::Approve { by }),
            Command::Goal(goal_id, goal::Command::Plan(plan_id)),
            Command::Work(work_id, work::Command::Submit(work)),
        ])
    })?;
    Ok(work_id)
}
