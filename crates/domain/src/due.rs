//! What is due: recomputed from stored facts whenever something may have changed. A lost or
//! doubled notification changes nothing, and a restarted engine needs no memory.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use crate::ambiguity::Priority;
use crate::case::{Case, Command};
use crate::formula::{Kind, Lane, Step};
use crate::run::{Active, Activity, Mend, Outcome, Status};
use crate::session::Actor;
use crate::work::{Ending, Spent};
use crate::{
    AmbiguityId, Millis, PromotionId, RunId, SessionId, Timestamp, WorkId, goal, promotion, run,
    session, work,
};

mod answering;
mod closing;
mod promoting;

/// What a judge's session bears as its role.
pub const JUDGE: &str = "judge";

/// What a decision about a case needs from outside of it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// Bits for one new identifier.
    pub fresh: u128,
    /// The works this one depends on.
    pub dependencies: &'a [(WorkId, work::State)],
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// These commands, together.
    Do(Vec<Command>),
    /// Nothing, until this.
    Wait(Wait),
    /// Nothing ever again.
    Over,
}

/// What a work waits for. Each has an owner: the engine, another work, or the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The engine performs an effect.
    Effect,
    /// Another work must be completed.
    Dependency(WorkId),
    /// The operator must answer these.
    Answers(Vec<AmbiguityId>),
    /// The operator must decide on this.
    Decision(PromotionId),
    /// The operator must look at what blocks this.
    Blocked(PromotionId),
}

/// Says what is due for a case.
#[must_use]
pub fn due(case: &Case, context: &Context<'_>) -> Due {
    match case.work() {
        None => Due::Over,
        Some((_, work::State::Absent)) => Due::Over,
        Some((id, work::State::Closed(_, ending))) => closing::after_end(case, id, ending),
        Some((id, work::State::Open(open))) => match open.status {
            work::Status::Submitted => admission(case, id, open, context),
            work::Status::Admitted => Due::Wait(Wait::Effect),
            work::Status::Working | work::Status::InputRequired => match case.run() {
                Some((run, run::State::Active(active))) => {
                    let step = progress(&Desk {
                        case,
                        work: id,
                        open,
                        run,
                        active,
                        context,
                    });
                    with_input_flag(id, open, step)
                }
                Some((_, run::State::Ended(_, outcome))) => closing::run_ended(case, id, outcome),
                Some((_, run::State::Absent)) | None => Due::Wait(Wait::Effect),
            },
        },
    }
}

/// All that the questions below look at.
struct Desk<'a> {
    case: &'a Case,
    work: WorkId,
    open: &'a work::Open,
    run: RunId,
    active: &'a Active,
    context: &'a Context<'a>,
}

impl Desk<'_> {
    fn run(&self, command: run::Command) -> Command {
        Command::Run(self.run, command)
    }

    fn end(&self, reason: String) -> Due {
        Due::Do(vec![
            self.run(run::Command::End(Outcome::Failed { reason })),
        ])
    }

    fn refused(&self, reason: &str) -> Due {
        let reason = reason.to_string();
        Due::Do(vec![
            self.run(run::Command::End(Outcome::Refused { reason })),
        ])
    }

    fn pass(&self, step: &str) -> Due {
        let step = step.to_string();
        Due::Do(vec![self.run(run::Command::Pass { step })])
    }

    /// Has gates and decision done again, on the tree as it is.
    fn reopen(&self, why: &str) -> Due {
        let mut commands: Vec<_> = overtake_open(self.case, why).collect();
        let tree = self.active.tree.clone();
        commands.push(self.run(run::Command::Reopen { tree }));
        Due::Do(commands)
    }

    /// Returns whether an action that leans on the step has been carried out.
    fn has_acted(&self, step: &str) -> bool {
        let formula = &self.active.run.formula;
        let is_action = |it: &Step| matches!(it.kind, Kind::Action { .. });
        let mut leaning = formula.downstream(step).into_iter();
        leaning.any(|it| self.active.has_passed(&it) && formula.step(&it).is_some_and(is_action))
    }
}

/// A work is let in when all it depends on is completed: a dependency that nobody could say
/// anything about is waited for, and one that is lost is told at once, whatever the others do.
fn admission(case: &Case, id: WorkId, open: &work::Open, context: &Context<'_>) -> Due {
    let mut missing = None;
    for other in &open.work.depends_on {
        let known = context.dependencies.iter().find(|(it, _)| it == other);
        match known.map(|(_, state)| state) {
            Some(work::State::Closed(_, Ending::Completed { .. })) => {}
            Some(work::State::Closed(lost, Ending::Failed { .. } | Ending::Canceled { .. })) => {
                let reason = format!(
                    "it depends on `{}`, which was not completed",
                    lost.work.name
                );
                return Due::Do(vec![Command::Work(id, work::Command::Fail { reason })]);
            }
            Some(work::State::Absent | work::State::Open(_)) | None => {
                missing = missing.or(Some(*other));
            }
        }
    }
    if let Some(other) = missing {
        return Due::Wait(Wait::Dependency(other));
    }
    let mut commands = vec![Command::Work(id, work::Command::Admit)];
    if let Some((goal, goal::State::Planned(_))) = case.goal() {
        commands.push(Command::Goal(goal, goal::Command::Activate(id)));
    }
    Due::Do(commands)
}

/// Keeps the work's flag for people in step with what it waits for.
fn with_input_flag(id: WorkId, open: &work::Open, due: Due) -> Due {
    let asked = open.status == work::Status::InputRequired;
    let wanted = match &due {
        Due::Wait(Wait::Answers(_)) => Some("answers"),
        Due::Wait(Wait::Decision(_)) => Some("a decision"),
        Due::Wait(Wait::Blocked(_)) => Some("a look at what blocks the promotion"),
        Due::Wait(Wait::Effect | Wait::Dependency(_)) | Due::Do(_) | Due::Over => None,
    };
    match (wanted, asked) {
        (Some(what), false) => {
            let what = what.to_string();
            Due::Do(vec![Command::Work(
                id,
                work::Command::RequireInput { what },
            )])
        }
        (None, true) => Due::Do(vec![Command::Work(id, work::Command::TakeInput)]),
        (Some(_), true) | (None, false) => due,
    }
}

fn progress(desk: &Desk<'_>) -> Due {
    let current = desk.active.current();
    if let Some((_, Activity::Session { .. } | Activity::Gates)) = current {
        return Due::Wait(Wait::Effect);
    }
    // Whatever else would be due is due on the tree as it will be.
    if desk.active.rollback.is_some() {
        return Due::Wait(Wait::Effect);
    }
    if let Some(due) = settled(desk, current) {
        return due;
    }
    if let Some(due) = answering::answers(desk) {
        return due;
    }
    let parked: Vec<_> = desk
        .case
        .open_ambiguities()
        .filter(|(_, it)| it.priority == Priority::P0)
        .map(|(id, _)| id)
        .collect();
    if !parked.is_empty() {
        return Due::Wait(Wait::Answers(parked));
    }
    match current {
        Some((step, Activity::Decision { promotion })) => {
            promoting::decision(desk, step, promotion)
        }
        Some((step, Activity::Landing { promotion })) => promoting::landing(desk, step, promotion),
        Some((_, Activity::Session { .. } | Activity::Gates)) => Due::Wait(Wait::Effect),
        None => failed(desk).unwrap_or_else(|| begin(desk)),
    }
}

/// Some things no answer can change any more: an effect under way is waited for, a landing is read
/// from the target, and the operator's no is final.
fn settled(desk: &Desk<'_>, current: Option<(&str, Activity)>) -> Option<Due> {
    let promotion = match current? {
        (step, Activity::Landing { promotion }) => {
            return Some(promoting::landing(desk, step, promotion));
        }
        (_, Activity::Session { .. } | Activity::Gates) => return Some(Due::Wait(Wait::Effect)),
        (_, Activity::Decision { promotion }) => promotion,
    };
    match desk.case.promotions.get(&promotion)? {
        promotion::State::Refused(_, reason) => Some(desk.refused(reason)),
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Promoted(..)
        | promotion::State::Stale(..) => None,
    }
}

/// Takes every promotion that is still open out of force. A dispatched one is left to its effect:
/// what it has done must be read, not guessed.
pub(crate) fn overtake_open<'a>(
    case: &'a Case,
    why: &'a str,
) -> impl Iterator<Item = Command> + 'a {
    let open = case.promotions.iter().filter(|(_, state)| {
        matches!(
            state,
            promotion::State::Blocked(..)
                | promotion::State::Ready(_)
                | promotion::State::Approved(..)
        )
    });
    open.map(move |(id, _)| {
        let why = why.to_string();
        Command::Promotion(*id, promotion::Command::Overtake { why })
    })
}

fn failed(desk: &Desk<'_>) -> Option<Due> {
    let formula = &desk.active.run.formula;
    let (step, why, mend) =
        formula
            .steps
            .iter()
            .find_map(|it| match desk.active.status(&it.id) {
                Status::Failed(why, mend) => Some((it, why, *mend)),
                Status::Waiting | Status::Active(_) | Status::Passed(_) => None,
            })?;
    let lost = || desk.end(format!("step `{}`: {why}", step.id));
    Some(match mend {
        Mend::Nothing => lost(),
        // The budget of sessions bounds it.
        Mend::Again => Due::Do(vec![desk.run(run::Command::Retry {
            step: step.id.clone(),
        })]),
        Mend::Retry => {
            let limit = match &step.kind {
                Kind::Session { attempts, .. } => *attempts,
                Kind::Judge(_) | Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => 1,
            };
            let tried = desk.active.steps.get(&step.id).map_or(0, |it| it.attempts);
            if tried < limit {
                Due::Do(vec![desk.run(run::Command::Retry {
                    step: step.id.clone(),
                })])
            } else {
                lost()
            }
        }
        Mend::SendBack => match &step.on_fail {
            None => lost(),
            Some(to) => send_back(desk, step, to, why),
        },
    })
}

fn send_back(desk: &Desk<'_>, step: &Step, to: &str, why: &str) -> Due {
    let spend = Spent {
        rounds: 1,
        ..Spent::default()
    };
    let debit = Command::Work(desk.work, work::Command::Debit(spend));
    if let Err(refusal) = desk
        .case
        .decide(Command::Work(desk.work, work::Command::Debit(spend)))
    {
        return desk.end(format!("step `{}`: {why}; {refusal}", step.id));
    }
    let (to, notes) = (to.to_string(), desk.active.notes.clone());
    let mut commands = vec![debit];
    commands.extend(overtake_open(desk.case, "the work was sent back"));
    commands.push(desk.run(run::Command::SendBack { to, notes }));
    Due::Do(commands)
}

fn begin(desk: &Desk<'_>) -> Due {
    let Some(step) = desk
        .active
        .next()
        .and_then(|it| desk.active.run.formula.step(it))
    else {
        return finish(desk);
    };
    let with = |activity| {
        desk.run(run::Command::Begin {
            step: step.id.clone(),
            activity,
        })
    };
    match &step.kind {
        Kind::Session {
            role, lane, wall, ..
        } => {
            let actor = (Actor::Agent, desk.open.work.agent.as_str());
            begin_session(desk, step, actor, (role, *lane), *wall)
        }
        Kind::Judge(judge) => {
            let actor = (Actor::Judge, judge.model.as_str());
            begin_session(desk, step, actor, (JUDGE, Lane::ReadOnly), judge.wall)
        }
        Kind::Gate { .. } => Due::Do(vec![with(Activity::Gates)]),
        Kind::Decision if promoting::lacks_evidence(desk) => {
            desk.reopen("gates have not looked at this tree")
        }
        Kind::Decision => {
            let promotion = PromotionId::from_bits(desk.context.fresh);
            Due::Do(vec![with(Activity::Decision { promotion })])
        }
        Kind::Action { .. } => promoting::begin(desk, step),
    }
}

fn begin_session(
    desk: &Desk<'_>,
    step: &Step,
    (actor, agent): (Actor, &str),
    (role, lane): (&str, Lane),
    wall: Millis,
) -> Due {
    let wall = wall.min(desk.open.wall_left());
    if wall == Millis(0) {
        let total = desk.open.work.budget.wall;
        return desk.end(format!(
            "step `{}`: all {total} of session time are used up",
            step.id
        ));
    }
    let spend = Spent {
        sessions: 1,
        rounds: 0,
        wall,
    };
    if let Err(refusal) = desk
        .case
        .decide(Command::Work(desk.work, work::Command::Debit(spend)))
    {
        return desk.end(format!("step `{}`: {refusal}", step.id));
    }
    let id = SessionId::from_bits(desk.context.fresh);
    let request = session::Session {
        work: desk.work,
        run: desk.run,
        step: step.id.clone(),
        role: role.to_string(),
        lane,
        agent: agent.to_string(),
        round: desk.active.round,
        epoch: u64::from(desk.open.spent.sessions).saturating_add(1),
        tree: desk.active.tree.clone(),
        wall,
        actor,
    };
    let activity = Activity::Session { session: id };
    Due::Do(vec![
        Command::Work(desk.work, work::Command::Debit(spend)),
        desk.run(run::Command::Begin {
            step: step.id.clone(),
            activity,
        }),
        Command::Session(id, session::Command::Request(request)),
    ])
}

/// A step that can never begin must not make a completed run.
fn finish(desk: &Desk<'_>) -> Due {
    let steps = &desk.active.run.formula.steps;
    let left = steps.iter().find(|it| !desk.active.has_passed(&it.id));
    match left {
        Some(step) => desk.end(format!(
            "step `{}` can never begin: what it needs never passes",
            step.id
        )),
        None => Due::Do(vec![desk.run(run::Command::End(Outcome::Completed))]),
    }
}

#[cfg(test)]
mod tests;
