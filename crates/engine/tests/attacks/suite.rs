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

/// Where the rest of these groups is tried, because a real cell, driver, log or program is the wall:
/// the file and its tests. Attempts of the command line print rows of the same table.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        include_str!("../../../cli/tests/stories/attacks.rs"),
        &[
            "there_is_no_door_to_the_engine_inside_a_cell",
            "no_line_forges_who_speaks",
            "a_session_ends_once_whatever_it_says_afterwards",
            "no_document_is_code_and_no_test_is_weakened",
            "a_number_in_the_lock_is_not_its_holder",
            "a_record_that_was_changed_is_not_decided_on",
            "a_command_given_twice_acts_once",
            "what_an_agent_wrote_is_shown_as_data",
        ],
    ),
    (
        include_str!("../../../agents/tests/drivers.rs"),
        &[
            "silence_is_ended",
            "a_hang_is_ended_at_the_wall",
            "a_hang_after_done_is_ended_and_stays_done",
            "an_exit_without_a_signal_is_told_with_its_code",
            "garbage_is_ended_at_its_cap",
            "a_flood_is_ended_at_its_cap_and_little_of_it_kept",
            "half_a_line_is_malformed_and_a_whole_one_without_newline_is_heard",
            "hostile_drops_are_told_and_never_followed",
        ],
    ),
    (
        include_str!("../engine/crash.rs"),
        &[
            "a_death_before_any_append_changes_nothing",
            "a_death_after_any_append_changes_nothing",
            "a_disk_that_is_full_at_any_append_changes_nothing",
            "a_disk_that_is_full_before_any_call_of_the_workspace_changes_nothing",
            "a_death_among_works_that_race_changes_nothing",
        ],
    ),
];

/// The fewest attempts that this suite may shrink to.
const ATTEMPTS_MIN: usize = 120;

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

#[test]
fn what_is_tried_elsewhere_is_tried_there() {
    for (text, tests) in ELSEWHERE {
        for test in *tests {
            assert!(text.contains(&format!("fn {test}()")), "{test} is gone");
        }
    }
}
