//! Cost: what models took, by goal, work, role and model, counted off the whole log.

use std::collections::BTreeMap;

use domain::event::Event;
use domain::usage::{Amount, Usage};
use domain::{GoalId, SessionId, Timestamp, WorkId, session, work};
use ports::log::{EventLog, Position};
use ports::models::Before;
use serde::Serialize;

use crate::recorder::{Error, decoded};

/// How many events are read at once.
const PAGE: usize = 4_096;

const DAY_MILLIS: u64 = 86_400_000;

/// What was taken, for one key of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The goal.
    pub goal: GoalId,
    /// The work.
    pub work: WorkId,
    /// The work's name.
    pub name: String,
    /// The role.
    pub role: String,
    /// Who answered.
    pub provider: String,
    /// The model.
    pub model: String,
    /// What it took.
    pub usage: Usage,
}

/// Everything that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// One line for each work, role and model, in the order of the works.
    pub lines: Vec<Line>,
    /// All of it.
    pub total: Usage,
    /// What was taken today (UTC).
    pub today: Usage,
}

#[derive(Default)]
struct Count {
    works: BTreeMap<WorkId, (GoalId, String)>,
    sessions: BTreeMap<SessionId, (WorkId, String)>,
    taken: BTreeMap<(WorkId, String, String, String), Usage>,
    today: Usage,
}

/// Counts the whole log.
///
/// # Errors
/// When the log cannot be read.
pub fn read(log: &dyn EventLog, now: Timestamp) -> Result<Cost, Error> {
    let count = counted(log, now)?;
    let mut cost = Cost {
        today: count.today,
        ..Cost::default()
    };
    for ((work, role, provider, model), usage) in count.taken {
        let Some((goal, name)) = count.works.get(&work) else {
            continue;
        };
        cost.total = cost.total.plus(usage);
        cost.lines.push(Line {
            goal: *goal,
            work,
            name: name.clone(),
            role,
            provider,
            model,
            usage,
        });
    }
    Ok(cost)
}

/// Returns what was taken before a session of a work begins.
///
/// # Errors
/// When the log cannot be read.
pub fn before(
    log: &dyn EventLog,
    work: WorkId,
    goal: GoalId,
    now: Timestamp,
) -> Result<Before, Error> {
    let count = counted(log, now)?;
    let mut before = Before {
        day: count.today.amount(),
        ..Before::default()
    };
    for ((of, ..), usage) in &count.taken {
        let add = |sum: &mut Amount| *sum = sum.plus(usage.amount());
        if *of == work {
            add(&mut before.work);
        }
        if count.works.get(of).is_some_and(|(it, _)| *it == goal) {
            add(&mut before.goal);
        }
    }
    Ok(before)
}

fn counted(log: &dyn EventLog, now: Timestamp) -> Result<Count, Error> {
    let mut count = Count::default();
    let mut position = Position::default();
    loop {
        let page = log.read_all(position, PAGE)?;
        for recorded in &page {
            position = recorded.position;
            let is_today = recorded.event.time.0 / DAY_MILLIS == now.0 / DAY_MILLIS;
            count.take(decoded(recorded)?, is_today);
        }
        if page.len() < PAGE {
            return Ok(count);
        }
    }
}

impl Count {
    fn take(&mut self, event: Event, is_today: bool) {
        match event {
            Event::Work(id, work::Event::Submitted(it)) => {
                self.works.insert(id, (it.goal, it.name));
            }
            Event::Session(id, session::Event::Requested(it)) => {
                self.sessions.insert(id, (it.work, it.role));
            }
            Event::Session(id, session::Event::ModelBilled(it)) => {
                let Some((work, role)) = self.sessions.get(&id).cloned() else {
                    return;
                };
                let sum = self
                    .taken
                    .entry((work, role, it.provider, it.model))
                    .or_default();
                *sum = sum.plus(it.usage);
                if is_today {
                    self.today = self.today.plus(it.usage);
                }
            }
            Event::Session(..)
            | Event::Work(..)
            | Event::Ambiguity(..)
            | Event::Breaker(..)
            | Event::Checkpoint(..)
            | Event::Evidence(..)
            | Event::Finding(..)
            | Event::Action(..)
            | Event::Goal(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Message(..)
            | Event::Output(..)
            | Event::Plan(..)
            | Event::Promotion(..)
            | Event::Run(..) => {}
        }
    }
}
