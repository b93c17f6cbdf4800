//! The end: what a run that is over, or a work that is closed, takes along.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use super::{Due, Wait, overtake_open};
use crate::case::{Case, Command};
use crate::run::{Activity, Outcome};
use crate::work::Ending;
use crate::{WorkId, ambiguity, goal, promotion, run, work};

/// A run that is over closes its work. What is on the target is on the target: a run that was
/// called off after its landing still completes the work.
pub(super) fn run_ended(case: &Case, id: WorkId, outcome: &Outcome) -> Due {
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
    if commit.is_none() && case.is_past_recall() {
        return Due::Wait(Wait::Effect);
    }
    let command = match outcome {
        Outcome::Completed => work::Command::Complete { commit },
        Outcome::Refused { .. } | Outcome::Canceled if commit.is_some() => {
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
pub(super) fn after_end(case: &Case, id: WorkId, ending: &Ending) -> Due {
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
    commands.extend(overtake_open(case, "the work is over"));
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
