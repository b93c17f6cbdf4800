//! Plans: the scope of a work. An approved plan compiles to the cell and to the import rules.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::formula::programs_fault;
use crate::principal;
use crate::{GoalId, Millis};

/// What a work may touch, run and spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The goal it serves.
    pub goal: GoalId,
    /// Globs of paths the work may change; empty allows nothing.
    pub allowed: Vec<String>,
    /// Globs of paths it may not; they win.
    pub denied: Vec<String>,
    /// Files the plan names although policy protects them: approved with the plan.
    pub protected_allowed: Vec<String>,
    /// Programs that sessions find by name, beside those of their role; empty names none.
    pub commands: Vec<String>,
    /// The budget.
    pub budget: Budget,
}

/// What a work may spend, over all its sessions. It belongs to the work, never to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Sessions started.
    pub sessions: u32,
    /// Times the work is sent back to an earlier step.
    pub rounds: u32,
    /// Sum of session time.
    pub wall: Millis,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            sessions: 24,
            rounds: 5,
            wall: Millis::from_mins(240),
        }
    }
}

/// What is known of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never drafted.
    #[default]
    Absent,
    /// Written down, without force.
    Drafted(Plan),
    /// In force.
    Approved(Plan),
    /// Replaced by another.
    Superseded(Plan),
}

/// What one may ask of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes it down.
    Draft(Plan),
    /// Puts it in force.
    Approve {
        /// The human who does.
        by: String,
    },
    /// Takes it out of force.
    Supersede,
}

/// What has happened to a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was written down.
    Drafted(Plan),
    /// It is in force.
    Approved {
        /// By this human.
        by: String,
    },
    /// It is out of force.
    Superseded,
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Drafted(_) => "io.palisade.plan.drafted.v1",
            Self::Approved { .. } => "io.palisade.plan.approved.v1",
            Self::Superseded => "io.palisade.plan.superseded.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not admit it.
    #[error("the plan is {0}, which does not admit this")]
    NotNow(&'static str),
    /// A plan without allowed paths allows nothing; say so on purpose or name some.
    #[error("the plan allows no path at all; name at least one under `allow`")]
    NothingAllowed,
    /// A budget of nothing.
    #[error("the budget allows no session")]
    NothingToSpend,
    /// A program that is none.
    #[error("`commands`: {0}")]
    Program(String),
    /// Only a human widens what a work may do.
    #[error("`{by}` is no operator; only an operator approves a plan")]
    NotOperator {
        /// Who tried.
        by: String,
    },
}

impl State {
    /// Returns the state's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Drafted(_) => "drafted",
            Self::Approved(_) => "approved",
            Self::Superseded(_) => "superseded",
        }
    }

    /// Returns the plan that is in force.
    #[must_use]
    pub const fn approved(&self) -> Option<&Plan> {
        match self {
            Self::Approved(plan) => Some(plan),
            Self::Absent | Self::Drafted(_) | Self::Superseded(_) => None,
        }
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Draft(plan)) if plan.allowed.is_empty() => {
            Err(Refusal::NothingAllowed)
        }
        (State::Absent, Command::Draft(plan)) if plan.budget.sessions == 0 => {
            Err(Refusal::NothingToSpend)
        }
        (State::Absent, Command::Draft(plan)) => match programs_fault(&plan.commands) {
            Some(fault) => Err(Refusal::Program(fault)),
            None => Ok(vec![Event::Drafted(plan)]),
        },
        (State::Drafted(_), Command::Approve { by }) if !principal::is_operator(&by) => {
            Err(Refusal::NotOperator { by })
        }
        (State::Drafted(_), Command::Approve { by }) => Ok(vec![Event::Approved { by }]),
        (State::Drafted(_) | State::Approved(_), Command::Supersede) => Ok(vec![Event::Superseded]),
        (
            State::Absent | State::Drafted(_) | State::Approved(_) | State::Superseded(_),
            Command::Draft(_) | Command::Approve { .. } | Command::Supersede,
        ) => Err(Refusal::NotNow(state.name())),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (_, Event::Drafted(plan)) => State::Drafted(plan.clone()),
        (State::Drafted(plan), Event::Approved { .. }) => State::Approved(plan),
        (State::Drafted(plan) | State::Approved(plan), Event::Superseded) => {
            State::Superseded(plan)
        }
        (
            state @ (State::Absent | State::Approved(_) | State::Superseded(_)),
            Event::Approved { .. },
        )
        | (state @ (State::Absent | State::Superseded(_)), Event::Superseded) => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            goal: GoalId::from_bits(1),
            allowed: vec!["src/**".into()],
            denied: vec![],
            protected_allowed: vec![],
            commands: vec![],
            budget: Budget::default(),
        }
    }

    #[test]
    fn a_plan_is_in_force_only_once_a_human_approved_it() {
        let drafted = evolve(State::Absent, &Event::Drafted(plan()));
        assert_eq!(drafted.approved(), None);
        let approve = Command::Approve {
            by: "operator:ada".into(),
        };
        let by = String::from("agent:scripted");
        assert_eq!(
            decide(&drafted, Command::Approve { by: by.clone() }),
            Err(Refusal::NotOperator { by })
        );
        let approved = decide(&drafted, approve)
            .unwrap()
            .iter()
            .fold(drafted, evolve);
        assert_eq!(approved.approved(), Some(&plan()));
    }

    #[test]
    fn a_plan_that_allows_nothing_is_refused() {
        let empty = Plan {
            allowed: vec![],
            ..plan()
        };
        assert_eq!(
            decide(&State::Absent, Command::Draft(empty)),
            Err(Refusal::NothingAllowed)
        );
    }
}
