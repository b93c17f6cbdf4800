//! Works: the one unit of delegation. A work owns its budget; terminal is final.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::plan::Budget;
use crate::tree::Commit;
use crate::{GoalId, Millis, PlanId, RunId, WorkId};

/// What a work is about: immutable from its submission on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// A name for people, unique among open works: `add-flag`.
    pub name: String,
    /// The goal it serves.
    pub goal: GoalId,
    /// The plan that bounds it.
    pub plan: PlanId,
    /// The branch it is meant for.
    pub target: String,
    /// The formula to run.
    pub formula: String,
    /// The agent that acts, as given with `--agent`.
    pub agent: String,
    /// Works that must be completed before this one begins.
    pub depends_on: Vec<WorkId>,
    /// What it may spend.
    pub budget: Budget,
    /// Classes of models, as given with `--model`, in place of the operator's settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Vec<Model>>,
}

/// What a work has spent. Never more than its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Sessions started.
    pub sessions: u32,
    /// Rounds begun.
    pub rounds: u32,
    /// Session time, reserved at the launch and given back at the end.
    pub wall: Millis,
}

/// Where an open work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits for its turn or for what it depends on.
    Submitted,
    /// Its base is being made ready.
    Admitted,
    /// A run is going on.
    Working,
    /// The operator is asked.
    InputRequired,
}

/// How a work ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// Its change is promoted.
    Completed {
        /// The commit; none when there was nothing to do.
        commit: Option<Commit>,
    },
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
    /// The operator called it off.
    Canceled {
        /// Why.
        reason: String,
    },
}

/// What is known of a work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never submitted.
    #[default]
    Absent,
    /// Going on.
    Open(Open),
    /// Over; nothing moves it again.
    Closed(Open, Ending),
}

/// A work and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What it is about.
    pub work: Work,
    /// Where it stands (of a closed work: where it stood).
    pub status: Status,
    /// What it has spent.
    pub spent: Spent,
    /// Its run.
    pub run: Option<RunId>,
}

/// What one may ask of a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Hands it over.
    Submit(Work),
    /// Lets it begin: what it depends on is done.
    Admit,
    /// Notes its run.
    Begin {
        /// The run.
        run: RunId,
    },
    /// Takes from the budget, before what it pays for.
    Debit(Spent),
    /// Gives back reserved session time that was not used.
    Refund {
        /// How much.
        wall: Millis,
    },
    /// Notes that the operator is asked.
    RequireInput {
        /// For what.
        what: String,
    },
    /// Notes that the operator has answered.
    TakeInput,
    /// Closes it as done.
    Complete {
        /// The promoted commit.
        commit: Option<Commit>,
    },
    /// Closes it as failed.
    Fail {
        /// Why.
        reason: String,
    },
    /// Calls it off.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// What has happened to a work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was handed over.
    Submitted(Work),
    /// It may begin.
    Admitted,
    /// Its run began.
    Began {
        /// The run.
        run: RunId,
    },
    /// Budget was taken.
    Debited(Spent),
    /// Session time was given back.
    Refunded {
        /// How much.
        wall: Millis,
    },
    /// The operator is asked.
    InputRequired {
        /// For what.
        what: String,
    },
    /// The operator has answered.
    InputTaken,
    /// It is over.
    Closed(Ending),
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Submitted(_) => "io.palisade.work.submitted.v1",
            Self::Admitted => "io.palisade.work.admitted.v1",
            Self::Began { .. } => "io.palisade.work.began.v1",
            Self::Debited(_) => "io.palisade.work.debited.v1",
            Self::Refunded { .. } => "io.palisade.work.refunded.v1",
            Self::InputRequired { .. } => "io.palisade.work.input_required.v1",
            Self::InputTaken => "io.palisade.work.input_taken.v1",
            Self::Closed(_) => "io.palisade.work.closed.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never submitted.
    #[error("there is no such work")]
    Unknown,
    /// Submitted before.
    #[error("the work is already on record")]
    AlreadySubmitted,
    /// Terminal is final.
    #[error("the work is over; submit a new one")]
    Over,
    /// The state does not admit it.
    #[error("the work is not in a state for this")]
    NotNow,
    /// Its change is on the target, or may be any moment: it cannot be called off any more.
    #[error("the change is landed or being landed; the work cannot be called off any more")]
    Landing,
    /// The budget does not reach.
    #[error("the budget is used up: {what} {spent} of {budget}")]
    BudgetExhausted {
        /// Of what.
        what: &'static str,
        /// What is spent.
        spent: u64,
        /// What was allowed.
        budget: u64,
    },
}

impl State {
    /// Returns the work and its progress, open or closed.
    #[must_use]
    pub const fn record(&self) -> Option<&Open> {
        match self {
            Self::Absent => None,
            Self::Open(open) | Self::Closed(open, _) => Some(open),
        }
    }

    /// Returns the word for lists.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Open(open) => match open.status {
                Status::Submitted => "submitted",
                Status::Admitted | Status::Working => "working",
                Status::InputRequired => "input_required",
            },
            Self::Closed(_, Ending::Completed { .. }) => "completed",
            Self::Closed(_, Ending::Failed { .. }) => "failed",
            Self::Closed(_, Ending::Canceled { .. }) => "canceled",
        }
    }
}

impl Open {
    /// Returns the session time that is left.
    #[must_use]
    pub const fn wall_left(&self) -> Millis {
        Millis(self.work.budget.wall.0.saturating_sub(self.spent.wall.0))
    }
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when the state or the budget does not admit the command.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    let open = match (state, &command) {
        (State::Absent, Command::Submit(work)) => return Ok(vec![Event::Submitted(work.clone())]),
        (State::Absent, _) => return Err(Refusal::Unknown),
        (State::Open(_) | State::Closed(..), Command::Submit(_)) => {
            return Err(Refusal::AlreadySubmitted);
        }
        (State::Closed(..), _) => return Err(Refusal::Over),
        (State::Open(open), _) => open,
    };
    let when = |holds: bool, event: Event| {
        if holds {
            Ok(vec![event])
        } else {
            Err(Refusal::NotNow)
        }
    };
    match command {
        Command::Submit(_) => Err(Refusal::AlreadySubmitted),
        Command::Admit => when(open.status == Status::Submitted, Event::Admitted),
        Command::Begin { run } => when(open.status == Status::Admitted, Event::Began { run }),
        Command::Debit(spend) => debit(open, spend),
        Command::Refund { wall } => {
            let wall = wall.min(open.spent.wall);
            Ok(if wall == Millis(0) {
                vec![]
            } else {
                vec![Event::Refunded { wall }]
            })
        }
        Command::RequireInput { what } => when(
            open.status == Status::Working,
            Event::InputRequired { what },
        ),
        Command::TakeInput => when(open.status == Status::InputRequired, Event::InputTaken),
        Command::Complete { commit } => Ok(vec![Event::Closed(Ending::Completed { commit })]),
        Command::Fail { reason } => Ok(vec![Event::Closed(Ending::Failed { reason })]),
        Command::Cancel { reason } => Ok(vec![Event::Closed(Ending::Canceled { reason })]),
    }
}

fn debit(open: &Open, spend: Spent) -> Result<Vec<Event>, Refusal> {
    let (spent, budget) = (open.spent, open.work.budget);
    let checks = [
        (
            "sessions",
            u64::from(spent.sessions),
            u64::from(spend.sessions),
            budget.sessions.into(),
        ),
        (
            "rounds",
            u64::from(spent.rounds),
            u64::from(spend.rounds),
            budget.rounds.into(),
        ),
        (
            "session time (ms)",
            spent.wall.0,
            spend.wall.0,
            budget.wall.0,
        ),
    ];
    for (what, spent, more, budget) in checks {
        if spent.saturating_add(more) > budget {
            return Err(Refusal::BudgetExhausted {
                what,
                spent,
                budget,
            });
        }
    }
    Ok(vec![Event::Debited(spend)])
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(state: State, event: &Event) -> State {
    let mut open = match (state, event) {
        (State::Absent, Event::Submitted(work)) => {
            let (status, spent) = (Status::Submitted, Spent::default());
            return State::Open(Open {
                work: work.clone(),
                status,
                spent,
                run: None,
            });
        }
        (State::Open(open), _) => open,
        (state @ (State::Absent | State::Closed(..)), _) => return state,
    };
    match event {
        Event::Submitted(_) => {}
        Event::Admitted => open.status = Status::Admitted,
        Event::Began { run } => {
            open.status = Status::Working;
            open.run = Some(*run);
        }
        Event::Debited(spend) => {
            open.spent.sessions = open.spent.sessions.saturating_add(spend.sessions);
            open.spent.rounds = open.spent.rounds.saturating_add(spend.rounds);
            open.spent.wall = Millis(open.spent.wall.0.saturating_add(spend.wall.0));
        }
        Event::Refunded { wall } => {
            open.spent.wall = Millis(open.spent.wall.0.saturating_sub(wall.0));
        }
        Event::InputRequired { .. } => open.status = Status::InputRequired,
        Event::InputTaken => open.status = Status::Working,
        Event::Closed(ending) => return State::Closed(open, ending.clone()),
    }
    State::Open(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn work() -> Work {
        Work {
            name: "add-flag".into(),
            goal: GoalId::from_bits(1),
            plan: PlanId::from_bits(2),
            target: "main".into(),
            formula: "work-cycle".into(),
            agent: "scripted".into(),
            depends_on: vec![],
            budget: Budget {
                sessions: 3,
                rounds: 2,
                wall: Millis(1_000),
            },
            models: BTreeMap::new(),
        }
    }

    fn given(events: &[Event]) -> State {
        events.iter().fold(State::default(), evolve)
    }

    #[test]
    fn a_debit_over_the_budget_is_refused_and_names_what_ran_out() {
        let spend = Spent {
            sessions: 3,
            ..Spent::default()
        };
        let state = given(&[Event::Submitted(work()), Event::Debited(spend)]);
        let one = Spent {
            sessions: 1,
            ..Spent::default()
        };
        let refusal = Refusal::BudgetExhausted {
            what: "sessions",
            spent: 3,
            budget: 3,
        };
        assert_eq!(decide(&state, Command::Debit(one)), Err(refusal));
    }

    #[test]
    fn a_run_begins_only_after_admission() {
        let state = given(&[Event::Submitted(work())]);
        let begin = Command::Begin {
            run: RunId::from_bits(1),
        };
        assert_eq!(decide(&state, begin), Err(Refusal::NotNow));
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Submit(work())),
            Just(Command::Admit),
            Just(Command::Begin {
                run: RunId::from_bits(1)
            }),
            (0..4_u32, 0..3_u32, 0..900_u64).prop_map(|(sessions, rounds, wall)| {
                Command::Debit(Spent {
                    sessions,
                    rounds,
                    wall: Millis(wall),
                })
            }),
            (0..2_000_u64).prop_map(|wall| Command::Refund { wall: Millis(wall) }),
            Just(Command::RequireInput {
                what: "answer".into()
            }),
            Just(Command::TakeInput),
            Just(Command::Complete { commit: None }),
            Just(Command::Fail { reason: "x".into() }),
            Just(Command::Cancel { reason: "x".into() }),
        ]
    }

    proptest! {
        #[test]
        fn terminal_is_final_and_budgets_hold(commands in prop::collection::vec(any_command(), 0..40)) {
            let mut state = State::Absent;
            for command in commands {
                let before = state.clone();
                if let Ok(events) = decide(&state, command) {
                    prop_assert!(!matches!(before, State::Closed(..)), "a closed work moved");
                    state = events.iter().fold(state, evolve);
                }
                if let Some(open) = state.record() {
                    prop_assert!(open.spent.sessions <= open.work.budget.sessions);
                    prop_assert!(open.spent.rounds <= open.work.budget.rounds);
                    prop_assert!(open.spent.wall <= open.work.budget.wall);
                }
            }
        }
    }
}
