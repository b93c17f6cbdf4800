//! What is due: recomputed from stored facts whenever something may have changed. A lost or
//! doubled notification changes nothing, and a restarted engine needs no memory.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use crate::ambiguity::Priority;
use crate::case::{Case, Command};
use crate::formula::{Kind, Step};
use crate::run::{Active, Activity, Mend, Note, Outcome, Status};
use crate::work::{Ending, Spent};
use crate::{
    AmbiguityId, Millis, PromotionId, RunId, SessionId, Timestamp, WorkId, ambiguity, goal, policy,
    promotion, run, session, work,
};

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
        Some((id, work::State::Closed(_, ending))) => after_end(case, id, ending),
        Some((id, work::State::Open(open))) => match open.status {
            work::Status::Submitted => admission(case, id, context),
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
                Some((_, run::State::Ended(_, outcome))) => closing(case, id, outcome),
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
}

fn admission(case: &Case, id: WorkId, context: &Context<'_>) -> Due {
    for (other, state) in context.dependencies {
        match state {
            work::State::Closed(_, Ending::Completed { .. }) => {}
            work::State::Absent | work::State::Open(_) => {
                return Due::Wait(Wait::Dependency(*other));
            }
            work::State::Closed(open, Ending::Failed { .. } | Ending::Canceled { .. }) => {
                let reason = format!(
                    "it depends on `{}`, which was not completed",
                    open.work.name
                );
                return Due::Do(vec![Command::Work(id, work::Command::Fail { reason })]);
            }
        }
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
    if let Some((_, Activity::Landing { promotion })) = current
        && matches!(
            desk.case.promotions.get(&promotion),
            Some(promotion::State::Dispatched(..))
        )
    {
        return Due::Wait(Wait::Effect);
    }
    if let Some(due) = answers(desk) {
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
        Some((step, Activity::Decision { promotion })) => decision(desk, step, promotion),
        Some((step, Activity::Landing { promotion })) => landing(desk, step, promotion),
        Some((_, Activity::Session { .. } | Activity::Gates)) => Due::Wait(Wait::Effect),
        None => failed(desk).unwrap_or_else(|| begin(desk)),
    }
}

/// An answer that equals the held default is applied at once; another sends the work back to the
/// step that leaned on the default.
fn answers(desk: &Desk<'_>) -> Option<Due> {
    let (mut applied, mut steps) = (Vec::new(), Vec::new());
    for (id, state) in &desk.case.ambiguities {
        if let ambiguity::State::Answered(asked, answer) = state {
            applied.push(Command::Ambiguity(*id, ambiguity::Command::Apply));
            if asked.overturns(answer) {
                steps.push(asked.step.as_str());
            }
        }
    }
    if applied.is_empty() {
        return None;
    }
    let formula = &desk.active.run.formula;
    if let Some(to) = formula
        .steps
        .iter()
        .find(|it| steps.contains(&it.id.as_str()))
    {
        // Whatever was proposed, approved ones included, is built on what no longer holds.
        for promotion in desk.case.promotions.keys() {
            applied.extend(overtake(
                desk.case,
                *promotion,
                "an answer changed what it is built on",
            ));
        }
        let notes = vec![Note::Answers];
        applied.push(desk.run(run::Command::SendBack {
            to: to.id.clone(),
            notes,
        }));
    }
    Some(Due::Do(applied))
}

fn overtake(case: &Case, promotion: PromotionId, why: &str) -> Option<Command> {
    match case.promotions.get(&promotion)? {
        promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..) => {
            let command = promotion::Command::Overtake {
                why: why.to_string(),
            };
            Some(Command::Promotion(promotion, command))
        }
        promotion::State::Absent
        | promotion::State::Promoted(..)
        | promotion::State::Refused(..)
        | promotion::State::Stale(..) => None,
    }
}

fn decision(desk: &Desk<'_>, step: &str, promotion: PromotionId) -> Due {
    let again = |why: &str| {
        let mut commands: Vec<_> = overtake(desk.case, promotion, why).into_iter().collect();
        let tree = desk.active.tree.clone();
        commands.push(desk.run(run::Command::Reopen { tree }));
        Due::Do(commands)
    };
    match desk.case.promotions.get(&promotion) {
        None | Some(promotion::State::Absent) => Due::Wait(Wait::Effect),
        Some(promotion::State::Blocked(proposal, _)) => {
            let facts = desk.case.facts(&proposal.target_head);
            if facts.is_some_and(|it| policy::blocks(&it).is_empty()) {
                return again("what blocked it is settled");
            }
            let asked: Vec<_> = desk
                .case
                .open_ambiguities()
                .filter(|(_, it)| it.priority <= Priority::P1)
                .map(|(id, _)| id)
                .collect();
            Due::Wait(if asked.is_empty() {
                Wait::Blocked(promotion)
            } else {
                Wait::Answers(asked)
            })
        }
        Some(promotion::State::Ready(_)) => Due::Wait(Wait::Decision(promotion)),
        Some(
            promotion::State::Approved(..)
            | promotion::State::Dispatched(..)
            | promotion::State::Promoted(..),
        ) => Due::Do(vec![desk.run(run::Command::Pass {
            step: step.to_string(),
        })]),
        Some(promotion::State::Refused(_, reason)) => {
            let outcome = Outcome::Refused {
                reason: reason.clone(),
            };
            Due::Do(vec![desk.run(run::Command::End(outcome))])
        }
        Some(promotion::State::Stale(_, why)) => again(why),
    }
}

fn landing(desk: &Desk<'_>, step: &str, promotion: PromotionId) -> Due {
    match desk.case.promotions.get(&promotion) {
        Some(promotion::State::Promoted(..)) => Due::Do(vec![desk.run(run::Command::Pass {
            step: step.to_string(),
        })]),
        Some(promotion::State::Dispatched(..)) => Due::Wait(Wait::Effect),
        None
        | Some(
            promotion::State::Absent
            | promotion::State::Blocked(..)
            | promotion::State::Ready(_)
            | promotion::State::Approved(..)
            | promotion::State::Refused(..)
            | promotion::State::Stale(..),
        ) => {
            let tree = desk.active.tree.clone();
            Due::Do(vec![desk.run(run::Command::Reopen { tree })])
        }
    }
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
                Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => 1,
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
    let notes = desk.active.notes.clone();
    Due::Do(vec![
        debit,
        desk.run(run::Command::SendBack {
            to: to.to_string(),
            notes,
        }),
    ])
}

fn begin(desk: &Desk<'_>) -> Due {
    let Some(step) = desk
        .active
        .next()
        .and_then(|it| desk.active.run.formula.step(it))
    else {
        return Due::Do(vec![desk.run(run::Command::End(Outcome::Completed))]);
    };
    let with = |activity| {
        desk.run(run::Command::Begin {
            step: step.id.clone(),
            activity,
        })
    };
    match &step.kind {
        Kind::Session { .. } => begin_session(desk, step),
        Kind::Gate { .. } => Due::Do(vec![with(Activity::Gates)]),
        Kind::Decision => {
            let promotion = PromotionId::from_bits(desk.context.fresh);
            Due::Do(vec![with(Activity::Decision { promotion })])
        }
        Kind::Action { .. } => begin_landing(desk, step),
    }
}

fn begin_session(desk: &Desk<'_>, step: &Step) -> Due {
    let Kind::Session {
        role, lane, wall, ..
    } = &step.kind
    else {
        return desk.end(format!("step `{}` is no session", step.id));
    };
    let wall = (*wall).min(desk.open.wall_left());
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
        role: role.clone(),
        lane: *lane,
        agent: desk.open.work.agent.clone(),
        round: desk.active.round,
        epoch: u64::from(desk.open.spent.sessions).saturating_add(1),
        tree: desk.active.tree.clone(),
        wall,
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

/// Nothing is landed but what was approved: the permit is made here, from the facts of this moment.
fn begin_landing(desk: &Desk<'_>, step: &Step) -> Due {
    let approved = desk
        .case
        .promotions
        .iter()
        .rev()
        .find_map(|(id, state)| match state {
            promotion::State::Approved(proposal, approval) => Some((*id, proposal, approval)),
            promotion::State::Absent
            | promotion::State::Blocked(..)
            | promotion::State::Ready(_)
            | promotion::State::Dispatched(..)
            | promotion::State::Promoted(..)
            | promotion::State::Refused(..)
            | promotion::State::Stale(..) => None,
        });
    let reopen = || {
        desk.run(run::Command::Reopen {
            tree: desk.active.tree.clone(),
        })
    };
    let Some((id, proposal, approval)) = approved else {
        // A no that came after the yes, before it was acted upon, is a no.
        let refused = desk.case.promotions.values().find_map(|it| match it {
            promotion::State::Refused(_, reason) => Some(reason.clone()),
            promotion::State::Absent
            | promotion::State::Blocked(..)
            | promotion::State::Ready(_)
            | promotion::State::Approved(..)
            | promotion::State::Dispatched(..)
            | promotion::State::Promoted(..)
            | promotion::State::Stale(..) => None,
        });
        return Due::Do(vec![match refused {
            Some(reason) => desk.run(run::Command::End(Outcome::Refused { reason })),
            None => reopen(),
        }]);
    };
    let Some(facts) = desk.case.facts(&proposal.target_head) else {
        return desk.end(format!("step `{}`: there is nothing to judge", step.id));
    };
    match policy::judge(&facts, proposal.dossier, Some(approval), desk.context.now) {
        Ok(permit) => {
            let activity = Activity::Landing { promotion: id };
            Due::Do(vec![
                desk.run(run::Command::Begin {
                    step: step.id.clone(),
                    activity,
                }),
                Command::Promotion(id, promotion::Command::Dispatch(permit)),
            ])
        }
        Err(blocks) => {
            let why: Vec<_> = blocks.iter().map(policy::Block::sentence).collect();
            let mut commands: Vec<_> = overtake(desk.case, id, &why.join("; "))
                .into_iter()
                .collect();
            commands.push(reopen());
            Due::Do(commands)
        }
    }
}

fn closing(case: &Case, id: WorkId, outcome: &Outcome) -> Due {
    let command = match outcome {
        Outcome::Completed => {
            let commit = case.promotions.values().find_map(|it| match it {
                promotion::State::Promoted(.., commit) => Some(commit.clone()),
                promotion::State::Absent
                | promotion::State::Blocked(..)
                | promotion::State::Ready(_)
                | promotion::State::Approved(..)
                | promotion::State::Dispatched(..)
                | promotion::State::Refused(..)
                | promotion::State::Stale(..) => None,
            });
            work::Command::Complete { commit }
        }
        Outcome::NothingToDo { .. } => work::Command::Complete { commit: None },
        Outcome::Failed { reason } => work::Command::Fail {
            reason: reason.clone(),
        },
        Outcome::Refused { reason } => work::Command::Cancel {
            reason: format!("the promotion was refused: {reason}"),
        },
        Outcome::Canceled => work::Command::Cancel {
            reason: "called off".to_string(),
        },
    };
    Due::Do(vec![Command::Work(id, command)])
}

/// A closed work takes what belongs to it along.
fn after_end(case: &Case, id: WorkId, ending: &Ending) -> Due {
    let mut commands = Vec::new();
    for (ambiguity, state) in &case.ambiguities {
        match state {
            ambiguity::State::Open(_)
            | ambiguity::State::Answered(..)
            | ambiguity::State::Applied(..) => {
                commands.push(Command::Ambiguity(*ambiguity, ambiguity::Command::Close));
            }
            ambiguity::State::Absent | ambiguity::State::Closed(..) => {}
        }
    }
    // A dispatched promotion is left to its effect: what it has done must be read, not guessed.
    for (promotion, state) in &case.promotions {
        if !matches!(state, promotion::State::Dispatched(..)) {
            commands.extend(overtake(case, *promotion, "the work is over"));
        }
    }
    if let Some((run, run::State::Active(active))) = case.run() {
        let waits = !matches!(active.current(), Some((_, Activity::Session { .. })));
        if waits {
            commands.push(Command::Run(run, run::Command::End(Outcome::Canceled)));
        }
    }
    if let Some((
        goal,
        goal::State::Captured(_) | goal::State::Planned(_) | goal::State::Active(_),
    )) = case.goal()
    {
        let command = match (ending, case.goal()) {
            (Ending::Completed { .. }, Some((_, goal::State::Active(_)))) => goal::Command::Finish,
            (Ending::Completed { .. } | Ending::Failed { .. } | Ending::Canceled { .. }, _) => {
                goal::Command::Abandon {
                    reason: format!("work {id} was not completed"),
                }
            }
        };
        commands.push(Command::Goal(goal, command));
    }
    if commands.is_empty() {
        Due::Over
    } else {
        Due::Do(commands)
    }
}

#[cfg(test)]
mod tests;
