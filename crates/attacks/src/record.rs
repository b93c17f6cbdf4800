//! The record of a run: what was tried on which machine, and what came of it. Kept as an artifact,
//! which runs refer to by its digest.

use std::collections::BTreeMap;

use ports::cells::Wall;
use serde::{Deserialize, Serialize};

use crate::attempt::Oracle;
use crate::list::GROUPS;
use crate::suite::{Missing, Row};

/// What is written under `format`.
pub const FORMAT: &str = "palisade.attacks.v1";

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Always [`FORMAT`].
    pub format: String,
    /// The version of Palisade.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The walls of this machine: what makes each, or why it is missing.
    pub walls: BTreeMap<String, String>,
    /// The walls that were missing and accepted.
    pub accepted: Vec<String>,
    /// Every attempt.
    pub attempts: Vec<Line>,
    /// Whether each oracle was shown to be able to fail: empty, or why not.
    pub oracles: BTreeMap<String, String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// One attempt of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its name.
    pub id: String,
    /// What was tried.
    pub told: String,
    /// What became of it.
    pub outcome: Verdict,
    /// What the program itself said, and how it ended.
    pub said: String,
    /// What the kernel has on record.
    pub denied: Vec<String>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every oracle held.
    Stopped,
    /// Some did not: what they saw.
    Breached(Vec<String>),
    /// This machine cannot show it, and why.
    NotHere(String),
    /// It could not be tried, and why; as bad as a breach.
    Untried(String),
}

impl Line {
    /// Returns the line of a row.
    #[must_use]
    pub fn of(row: &Row) -> Self {
        let (outcome, said, denied) = match &row.held {
            Ok(it) if it.held() => (Verdict::Stopped, it.said.clone(), it.denied.clone()),
            Ok(it) => {
                let breaches = it.breaches.iter();
                let seen = breaches.map(|(oracle, seen)| format!("not {}: {seen}", oracle.told()));
                let seen = seen.collect();
                (Verdict::Breached(seen), it.said.clone(), it.denied.clone())
            }
            Err(Missing::NotHere(why)) => (Verdict::NotHere(why.clone()), String::new(), vec![]),
            Err(Missing::Failed(why)) => (Verdict::Untried(why.clone()), String::new(), vec![]),
            Err(Missing::NoControl(why)) => {
                (Verdict::Untried((*why).to_owned()), String::new(), vec![])
            }
        };
        Self {
            id: row.attempt.id.to_owned(),
            told: row.attempt.told.to_owned(),
            outcome,
            said,
            denied,
        }
    }

    /// Returns its group, such as `S5`.
    #[must_use]
    pub fn group(&self) -> &str {
        self.id.split('-').next().unwrap_or(&self.id)
    }

    /// Returns whether it speaks against the machine.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.outcome {
            Verdict::Stopped | Verdict::NotHere(_) => false,
            Verdict::Breached(_) | Verdict::Untried(_) => true,
        }
    }
}

/// One group of a record, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name, such as `S5`.
    pub name: &'static str,
    /// What it is about.
    pub told: &'static str,
    /// How many attempts were stopped.
    pub stopped: usize,
    /// How many were not, or could not be tried.
    pub failed: usize,
    /// How many this machine cannot show.
    pub not_here: usize,
}

impl Record {
    /// Returns how many attempts were made.
    #[must_use]
    pub fn made(&self) -> usize {
        let not_here = |it: &&Line| !matches!(it.outcome, Verdict::NotHere(_));
        self.attempts.iter().filter(not_here).count()
    }

    /// Returns how many attempts and oracles speak against the machine.
    #[must_use]
    pub fn failed(&self) -> usize {
        let oracles = self.oracles.values().filter(|it| !it.is_empty()).count();
        self.attempts.iter().filter(|it| it.failed()).count() + oracles
    }

    /// Returns the groups, counted.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let count = |name: &'static str, told: &'static str| {
            let of = || self.attempts.iter().filter(|it| it.group() == name);
            let failed = of().filter(|it| it.failed()).count();
            let not_here = of()
                .filter(|it| matches!(it.outcome, Verdict::NotHere(_)))
                .count();
            Group {
                name,
                told,
                stopped: of().count() - failed - not_here,
                failed,
                not_here,
            }
        };
        GROUPS.map(|(name, told)| count(name, told)).to_vec()
    }
}

/// Returns walls as a record keeps them.
#[must_use]
pub fn walls(walls: &[Wall]) -> BTreeMap<String, String> {
    let line = |wall: &Wall| {
        let state = match &wall.state {
            Ok(by) => by.clone(),
            Err(why) => format!("missing: {why}"),
        };
        (wall.name.clone(), state)
    };
    walls.iter().map(line).collect()
}

/// Returns what was shown of the oracles as a record keeps it.
#[must_use]
pub fn oracles(shown: Vec<(Oracle, Result<(), String>)>) -> BTreeMap<String, String> {
    let line = |(oracle, shown): (Oracle, Result<(), String>)| {
        (oracle.told().to_owned(), shown.err().unwrap_or_default())
    };
    shown.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, outcome: Verdict) -> Line {
        Line {
            id: id.to_owned(),
            told: String::new(),
            outcome,
            said: String::new(),
            denied: Vec::new(),
        }
    }

    #[test]
    fn what_could_not_be_tried_counts_as_failed() {
        let mut record = Record {
            format: FORMAT.to_owned(),
            version: "1".to_owned(),
            kernel: "6".to_owned(),
            walls: BTreeMap::new(),
            accepted: Vec::new(),
            attempts: vec![
                line("S1-a", Verdict::Stopped),
                line("S1-b", Verdict::Untried("no".to_owned())),
                line("S10-c", Verdict::Breached(vec!["x".to_owned()])),
                line("S10-d", Verdict::NotHere("no IPv6".to_owned())),
            ],
            oracles: BTreeMap::new(),
            millis: 1,
        };
        assert_eq!((record.made(), record.failed()), (3, 2));
        let groups = record.groups();
        let counts = |name: &str| {
            let group = groups.iter().find(|it| it.name == name).unwrap();
            (group.stopped, group.failed, group.not_here)
        };
        assert_eq!(counts("S1"), (1, 1, 0));
        assert_eq!(counts("S10"), (0, 1, 1));
        record.oracles.insert("x".to_owned(), "blind".to_owned());
        assert_eq!(record.failed(), 3, "a blind oracle proves nothing");
    }
}
