//! The table of all attempts, and how one is made: once with its wall, once without.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::{approvals, claims, evidence, interruptions, limits, powers, scope};

/// Whether the wall that an attempt is about stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    Up,
    Down,
}

/// What the oracle says: nothing, or which breach it saw.
pub(crate) type Seen = Result<(), String>;

/// Something a hostile agent tries.
pub(crate) struct Attempt {
    /// Its name, by which the threat model refers to it.
    pub(crate) id: &'static str,
    /// What it tries, in a line.
    pub(crate) tries: &'static str,
    /// What the oracle says of it when the wall is gone.
    pub(crate) breach: &'static str,
    /// Tries it and asks the oracle.
    pub(crate) play: fn(Wall) -> Seen,
}

/// Every attempt, by the group of the requirements (S6 executor, S7 governance, S8 tests, S9
/// liveness, S11 crash, S12 injection).
pub(crate) const GROUPS: &[&[Attempt]] = &[
    approvals::ATTEMPTS,
    powers::ATTEMPTS,
    scope::ATTEMPTS,
    evidence::ATTEMPTS,
    limits::ATTEMPTS,
    interruptions::ATTEMPTS,
    claims::ATTEMPTS,
];

/// The fewest attempts that this suite may shrink to.
const ATTEMPTS_MIN: usize = 85;

/// Makes all attempts of a group and prints both columns.
pub(crate) fn held(group: &[Attempt]) {
    let mut faults = Vec::new();
    for attempt in group {
        let (with, without) = ((attempt.play)(Wall::Up), (attempt.play)(Wall::Down));
        let fails = matches!(&without, Err(seen) if seen.contains(attempt.breach));
        // Not through `println!`, which the test runner keeps to itself when all is well.
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:<34} {:<70} {:<9} {}",
            attempt.id,
            attempt.tries,
            if with.is_ok() { "held" } else { "BREACHED" },
            if fails {
                "control fails"
            } else {
                "CONTROL PROVES NOTHING"
            },
        )
        .unwrap();
        if let Err(seen) = with {
            faults.push(format!("{}: {seen}", attempt.id));
        }
        if !fails {
            let (id, breach) = (attempt.id, attempt.breach);
            faults.push(format!(
                "{id}: without its wall: {without:?}, not `{breach}`"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_attempt_has_a_name_of_its_own() {
    let all: Vec<_> = GROUPS.iter().copied().flatten().map(|it| it.id).collect();
    let names: BTreeSet<_> = all.iter().collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= ATTEMPTS_MIN, "only {} attempts", all.len());
    let groups = ["S6-", "S7-", "S8-", "S9-", "S11-", "S12-"];
    for id in all {
        assert!(groups.iter().any(|it| id.starts_with(it)), "{id}");
    }
}
