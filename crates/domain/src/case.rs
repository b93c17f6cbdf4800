//! A case: all that is known of one work, folded from the events that share its identifier. Every
//! decision about a work is made on its case.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ambiguity::Priority;
use crate::checkpoint::Trigger;
use crate::event::Event;
use crate::policy::Facts;
use crate::principal;
use crate::tree::{Commit, Tree};
use crate::{
    ActionId, AmbiguityId, CheckpointId, FindingId, GoalId, MessageId, PlanId, PromotionId, RunId,
    SessionId, WorkId, action, ambiguity, checkpoint, finding, goal, message, plan, promotion, run,
    session, work,
};

/// What one may ask of the nouns of a case: the whole inner API. Every door maps to it.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Of a question.
    Ambiguity(AmbiguityId, ambiguity::Command),
    /// Of a checkpoint.
    Checkpoint(CheckpointId, checkpoint::Command),
    /// Of a finding.
    Finding(FindingId, finding::Command),
    /// Of a goal.
    Goal(GoalId, goal::Command),
    /// Of a message to an agent.
    Message(MessageId, message::Command),
    /// Of a plan.
    Plan(PlanId, plan::Command),
    /// Of a promotion.
    Promotion(PromotionId, promotion::Command),
    /// Of a run.
    Run(RunId, run::Command),
    /// Of a session.
    Session(SessionId, session::Command),
    /// Of a work.
    Work(WorkId, work::Command),
}

/// Why a command was turned away: the noun's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By a question.
    #[error(transparent)]
    Ambiguity(#[from] ambiguity::Refusal),
    /// By a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Refusal),
    /// By a finding.
    #[error(transparent)]
    Finding(#[from] finding::Refusal),
    /// By a goal.
    #[error(transparent)]
    Goal(#[from] goal::Refusal),
    /// By a message.
    #[error(transparent)]
    Message(#[from] message::Refusal),
    /// By a plan.
    #[error(transparent)]
    Plan(#[from] plan::Refusal),
    /// By a promotion.
    #[error(transparent)]
    Promotion(#[from] promotion::Refusal),
    /// By a run.
    #[error(transparent)]
    Run(#[from] run::Refusal),
    /// By a session.
    #[error(transparent)]
    Session(#[from] session::Refusal),
    /// By a work.
    #[error(transparent)]
    Work(#[from] work::Refusal),
}

/// All that is known of one work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The goals (one, today).
    pub goals: BTreeMap<GoalId, goal::State>,
    /// The plans.
    pub plans: BTreeMap<PlanId, plan::State>,
    /// The work itself.
    pub works: BTreeMap<WorkId, work::State>,
    /// Its runs.
    pub runs: BTreeMap<RunId, run::State>,
    /// Its sessions; identifiers sort by time.
    pub sessions: BTreeMap<SessionId, session::State>,
    /// Its checkpoints.
    pub checkpoints: BTreeMap<CheckpointId, checkpoint::State>,
    /// What its agents were told while they worked.
    pub messages: BTreeMap<MessageId, message::State>,
    /// Its questions.
    pub ambiguities: BTreeMap<AmbiguityId, ambiguity::State>,
    /// Its findings.
    pub findings: BTreeMap<FindingId, finding::State>,
    /// Its promotions.
    pub promotions: BTreeMap<PromotionId, promotion::State>,
    /// What is to be done, or was, beyond its commit.
    pub actions: BTreeMap<ActionId, action::State>,
    /// How many events each stream holds.
    pub versions: BTreeMap<String, u64>,
}

fn fold<Id: Ord + Copy, State: Default, Event>(
    states: &mut BTreeMap<Id, State>,
    id: Id,
    event: &Event,
    evolve: fn(State, &Event) -> State,
) {
    let state = states.remove(&id).unwrap_or_default();
    states.insert(id, evolve(state, event));
}

fn judge<Id: Ord, State: Default, Command, Inner, Refused: Into<Refusal>>(
    states: &BTreeMap<Id, State>,
    id: &Id,
    command: Command,
    decide: fn(&State, Command) -> Result<Vec<Inner>, Refused>,
) -> Result<Vec<Inner>, Refusal> {
    match states.get(id) {
        Some(state) => decide(state, command),
        None => decide(&State::default(), command),
    }
    .map_err(Into::into)
}

fn named<Id: Copy, Inner>(id: Id, events: Vec<Inner>, event: fn(Id, Inner) -> Event) -> Vec<Event> {
    events.into_iter().map(|it| event(id, it)).collect()
}

impl Case {
    /// Takes in an event. Total: it judges nothing and cannot fail.
    pub fn apply(&mut self, event: &Event) {
        let version = self.versions.entry(event.stream()).or_default();
        *version = version.saturating_add(1);
        match event {
            Event::Action(id, it) => fold(&mut self.actions, *id, it, action::evolve),
            Event::Ambiguity(id, it) => fold(&mut self.ambiguities, *id, it, ambiguity::evolve),
            Event::Checkpoint(id, it) => fold(&mut self.checkpoints, *id, it, checkpoint::evolve),
            Event::Finding(id, it) => fold(&mut self.findings, *id, it, finding::evolve),
            Event::Goal(id, it) => fold(&mut self.goals, *id, it, goal::evolve),
            Event::Message(id, it) => fold(&mut self.messages, *id, it, message::evolve),
            Event::Plan(id, it) => fold(&mut self.plans, *id, it, plan::evolve),
            Event::Promotion(id, it) => fold(&mut self.promotions, *id, it, promotion::evolve),
            Event::Run(id, it) => fold(&mut self.runs, *id, it, run::evolve),
            Event::Session(id, it) => fold(&mut self.sessions, *id, it, session::evolve),
            Event::Work(id, it) => fold(&mut self.works, *id, it, work::evolve),
            // Shared between works, or too much to fold: they are read where they are needed.
            Event::Breaker(..)
            | Event::Evidence(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Output(..) => {}
        }
    }

    /// Says what happens when `command` meets the case.
    ///
    /// # Errors
    /// Returns the noun's refusal.
    pub fn decide(&self, command: Command) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Ambiguity(id, it) => named(
                id,
                judge(&self.ambiguities, &id, it, ambiguity::decide)?,
                Event::Ambiguity,
            ),
            Command::Checkpoint(id, it) => named(
                id,
                judge(&self.checkpoints, &id, it, checkpoint::decide)?,
                Event::Checkpoint,
            ),
            Command::Finding(id, it) => named(
                id,
                judge(&self.findings, &id, it, finding::decide)?,
                Event::Finding,
            ),
            Command::Goal(id, it) => {
                named(id, judge(&self.goals, &id, it, goal::decide)?, Event::Goal)
            }
            Command::Message(id, it) => named(
                id,
                judge(&self.messages, &id, it, message::decide)?,
                Event::Message,
            ),
            Command::Plan(id, it) => {
                named(id, judge(&self.plans, &id, it, plan::decide)?, Event::Plan)
            }
            Command::Promotion(_, promotion::Command::Approve { by, .. }) if self.wrote(&by) => {
                return Err(promotion::Refusal::Author { by }.into());
            }
            Command::Promotion(id, it) => named(
                id,
                judge(&self.promotions, &id, it, promotion::decide)?,
                Event::Promotion,
            ),
            Command::Run(id, it) => named(id, judge(&self.runs, &id, it, run::decide)?, Event::Run),
            Command::Session(id, it) => named(
                id,
                judge(&self.sessions, &id, it, session::decide)?,
                Event::Session,
            ),
            Command::Work(_, work::Command::Cancel { .. }) if self.is_past_recall() => {
                return Err(work::Refusal::Landing.into());
            }
            Command::Work(id, it) => {
                named(id, judge(&self.works, &id, it, work::decide)?, Event::Work)
            }
        })
    }

    /// Decides one command after the other, each on what the ones before have made of the case.
    ///
    /// # Errors
    /// Returns the first refusal; then nothing has happened.
    pub fn decide_all(&self, commands: Vec<Command>) -> Result<(Self, Vec<Event>), Refusal> {
        let (mut case, mut all) = (self.clone(), Vec::new());
        for command in commands {
            let events = case.decide(command)?;
            events.iter().for_each(|it| case.apply(it));
            all.extend(events);
        }
        Ok((case, all))
    }

    /// Returns the work.
    #[must_use]
    pub fn work(&self) -> Option<(WorkId, &work::State)> {
        self.works.first_key_value().map(|(id, state)| (*id, state))
    }

    /// Returns the plan that is in force.
    #[must_use]
    pub fn plan(&self) -> Option<&plan::Plan> {
        self.plans.values().rev().find_map(plan::State::approved)
    }

    /// Returns the goal.
    #[must_use]
    pub fn goal(&self) -> Option<(GoalId, &goal::State)> {
        self.goals.first_key_value().map(|(id, state)| (*id, state))
    }

    /// Returns the run.
    #[must_use]
    pub fn run(&self) -> Option<(RunId, &run::State)> {
        self.runs.last_key_value().map(|(id, state)| (*id, state))
    }

    /// Returns the run's progress, going on or over.
    #[must_use]
    pub fn active(&self) -> Option<&run::Active> {
        self.run().and_then(|(_, state)| state.record())
    }

    /// Returns the open findings.
    pub fn open_findings(&self) -> impl Iterator<Item = (FindingId, &finding::Finding)> {
        self.findings.iter().filter_map(|(id, state)| match state {
            finding::State::Open(finding, ..) => Some((*id, finding)),
            finding::State::Absent | finding::State::Resolved(..) => None,
        })
    }

    /// Returns the open questions.
    pub fn open_ambiguities(&self) -> impl Iterator<Item = (AmbiguityId, &ambiguity::Ambiguity)> {
        self.ambiguities
            .iter()
            .filter_map(|(id, state)| match state {
                ambiguity::State::Open(it) => Some((*id, it)),
                ambiguity::State::Absent
                | ambiguity::State::Answered(..)
                | ambiguity::State::Applied(..)
                | ambiguity::State::Closed(..) => None,
            })
    }

    /// Returns the facts that an action of this work is judged on.
    #[must_use]
    pub fn action_facts(&self) -> action::Facts {
        let asked = |priority| {
            let open = self.open_ambiguities();
            open.filter(|(_, it)| it.priority == priority).count()
        };
        let count = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        let grave = asked(Priority::P1).saturating_add(self.open_findings().count());
        action::Facts {
            open: action::Open {
                p0: count(asked(Priority::P0)),
                p1: count(grave),
            },
            landed: self
                .landed()
                .map_or(action::Landed::Nothing, action::Landed::Commit),
        }
    }

    /// Returns the commit that this work has landed.
    #[must_use]
    pub fn landed(&self) -> Option<Commit> {
        self.promotions.values().rev().find_map(|it| match it {
            promotion::State::Promoted(.., commit) => Some(commit.clone()),
            promotion::State::Absent
            | promotion::State::Blocked(..)
            | promotion::State::Ready(_)
            | promotion::State::Approved(..)
            | promotion::State::Dispatched(..)
            | promotion::State::Refused(..)
            | promotion::State::Stale(..) => None,
        })
    }

    /// Returns whether the target holds the change, or may hold it any moment.
    #[must_use]
    pub fn is_past_recall(&self) -> bool {
        let mut promotions = self.promotions.values();
        promotions.any(|it| {
            matches!(
                it,
                promotion::State::Dispatched(..) | promotion::State::Promoted(..)
            )
        })
    }

    /// Returns the checkpoint that judges the accepted tree: the one taken of the whole before a
    /// promotion, else the last of a session.
    #[must_use]
    pub fn checkpoint(&self) -> Option<(CheckpointId, &checkpoint::State)> {
        let tree = &self.active()?.tree;
        let of_tree = self.checkpoints.iter().filter_map(|(id, state)| {
            let it = state
                .checkpoint()
                .filter(|it| it.tree.digest == tree.digest)?;
            Some((it.trigger == Trigger::BeforePromotion, *id, state))
        });
        let best = of_tree.max_by_key(|(whole, id, _)| (*whole, *id));
        best.map(|(_, id, state)| (id, state))
    }

    /// A checkpoint counts what its own session changed. Where the last one changed nothing, an
    /// earlier one of the same tree knows more; and a tree with a manifest changes something.
    fn files_changed(&self, tree: &Tree) -> u64 {
        if tree.manifest.is_none() {
            return 0;
        }
        let checkpoints = self.checkpoints.values();
        checkpoints
            .filter_map(checkpoint::State::checkpoint)
            .filter(|it| it.tree.digest == tree.digest)
            .map(|it| it.files)
            .max()
            .map_or(1, |it| it.max(1))
    }

    /// Returns what the promotion rules look at, for the accepted tree.
    #[must_use]
    pub fn facts(&self, target_head: &Commit) -> Option<Facts> {
        let active = self.active()?;
        let checkpoint = self.checkpoint().map(|(_, state)| state);
        let mut gates_required: Vec<_> = Vec::new();
        for step in &active.run.formula.steps {
            gates_required.extend(active.run.gates_of(&step.kind));
        }
        gates_required.sort();
        gates_required.dedup();
        Some(Facts {
            tree: active.tree.digest,
            base: active.tree.base.clone(),
            target_head: target_head.clone(),
            gates_required,
            gates: active.gates.clone(),
            is_validated: matches!(checkpoint, Some(checkpoint::State::Validated(_))),
            files: self.files_changed(&active.tree),
            open_findings: self.open_findings().map(|(id, _)| id).collect(),
            open_ambiguities: self
                .open_ambiguities()
                .map(|(id, it)| (id, it.priority))
                .collect(),
            authors: self.authors(),
        })
    }

    /// Returns the principals that wrote the change.
    #[must_use]
    pub fn authors(&self) -> Vec<String> {
        let sessions = self.sessions.values().filter_map(session::State::session);
        let mut authors: Vec<_> = sessions
            .map(|it| alloc::format!("agent:{}", it.agent))
            .collect();
        authors.sort();
        authors.dedup();
        authors
    }

    fn wrote(&self, by: &str) -> bool {
        self.authors().iter().any(|it| principal::is_same(it, by))
    }
}
