//! Goals: what the operator wants, captured raw before anything is made of it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Digest, PlanId, WorkId};

/// What is known of a goal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never captured.
    #[default]
    Absent,
    /// On record, untouched.
    Captured(Goal),
    /// A plan was made of it.
    Planned(Goal),
    /// Work is going on.
    Active(Goal),
    /// Reached.
    Done(Goal),
    /// Given up.
    Abandoned(Goal),
}

/// A goal's content: immutable from its capture on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// The first heading of the specification, for lists.
    pub title: String,
    /// The specification as the operator gave it, in the artifact store.
    pub spec: Digest,
    /// Where it was read from, for people.
    pub source: String,
}

/// What one may ask of a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Puts it on record.
    Capture(Goal),
    /// Notes the plan.
    Plan(PlanId),
    /// Notes that work has begun.
    Activate(WorkId),
    /// Notes that it is reached.
    Finish,
    /// Gives it up.
    Abandon {
        /// Why.
        reason: String,
    },
}

/// What has happened to a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was captured.
    Captured(Goal),
    /// A plan was made.
    Planned {
        /// The plan.
        plan: PlanId,
    },
    /// Work began.
    Activated {
        /// The work.
        work: WorkId,
    },
    /// It is reached.
    Done,
    /// It was given up.
    Abandoned {
        /// Why.
        reason: String,
    },
}

impl Event {
    /// Returns the stored name: a literal, so that renaming a variant touches no data.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Captured(_) => "io.palisade.goal.captured.v1",
            Self::Planned { .. } => "io.palisade.goal.planned.v1",
            Self::Activated { .. } => "io.palisade.goal.activated.v1",
            Self::Done => "io.palisade.goal.done.v1",
            Self::Abandoned { .. } => "io.palisade.goal.abandoned.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the goal is {0}, which does not admit this")]
    NotNow(&'static str),
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Captured(_) => "captured",
            Self::Planned(_) => "planned",
            Self::Active(_) => "active",
            Self::Done(_) => "done",
            Self::Abandoned(_) => "abandoned",
        }
    }

    /// Returns the content, once captured.
    #[must_use]
    pub const fn goal(&self) -> Option<&Goal> {
        match self {
            Self::Absent => None,
            Self::Captured(goal)
            | Self::Planned(goal)
            | Self::Active(goal)
            | Self::Done(goal)
            | Self::Abandoned(goal) => Some(goal),
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Capture(goal)) => Ok(vec![Event::Captured(goal)]),
        (State::Captured(_), Command::Plan(plan)) => Ok(vec![Event::Planned { plan }]),
        (State::Planned(_), Command::Activate(work)) => Ok(vec![Event::Activated { work }]),
        (State::Active(_), Command::Finish) => Ok(vec![Event::Done]),
        (
            State::Captured(_) | State::Planned(_) | State::Active(_),
            Command::Abandon { reason },
        ) => Ok(vec![Event::Abandoned { reason }]),
        (
            State::Absent
            | State::Captured(_)
            | State::Planned(_)
            | State::Active(_)
            | State::Done(_)
            | State::Abandoned(_),
            Command::Capture(_)
            | Command::Plan(_)
            | Command::Activate(_)
            | Command::Finish
            | Command::Abandon { .. },
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
#[expect(
    clippy::needless_pass_by_value,
    reason = "every noun's evolve has the same shape"
)]
pub fn evolve(state: State, event: &Event) -> State {
    let goal = state.goal().cloned();
    let moved = |to: fn(Goal) -> State| goal.map_or(State::Absent, to);
    match event {
        Event::Captured(goal) => State::Captured(goal.clone()),
        Event::Planned { .. } => moved(State::Planned),
        Event::Activated { .. } => moved(State::Active),
        Event::Done => moved(State::Done),
        Event::Abandoned { .. } => moved(State::Abandoned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal() -> Goal {
        Goal {
            title: "Add a flag".into(),
            spec: Digest::ZERO,
            source: "spec.md".into(),
        }
    }

    fn given(events: &[Event]) -> State {
        events.iter().fold(State::default(), evolve)
    }

    #[test]
    fn a_goal_is_captured_once_and_its_spec_never_changes() {
        let state = given(&[Event::Captured(goal())]);
        let again = Goal {
            spec: Digest::from_bytes([1; 32]),
            ..goal()
        };
        assert_eq!(
            decide(&state, Command::Capture(again)),
            Err(Refusal::NotNow("captured"))
        );
    }

    #[test]
    fn an_active_goal_can_be_reached_and_a_reached_one_is_final() {
        let work = WorkId::from_bits(1);
        let mut state = given(&[
            Event::Captured(goal()),
            Event::Planned {
                plan: PlanId::from_bits(1),
            },
            Event::Activated { work },
        ]);
        let events = decide(&state, Command::Finish).unwrap();
        state = events.iter().fold(state, evolve);
        assert_eq!(state, State::Done(goal()));
        let abandon = Command::Abandon {
            reason: "late".into(),
        };
        assert_eq!(decide(&state, abandon), Err(Refusal::NotNow("done")));
    }
}
