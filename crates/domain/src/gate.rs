//! Evidence: what a gate found out about one tree. Bound to the digests of the gate and the tree,
//! and good for no other.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::formula::Gate;
use crate::{Digest, Millis};

/// The most names in a reason.
const NAMED_MAX: usize = 5;

/// The longest name in a reason, in characters: names come from what an agent's tests print.
const NAME_CHARS_MAX: usize = 200;

/// What a test runner reported. The lists are sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tests {
    /// Whether a report or a known runner's output was read; else the exit code is all there is.
    pub reported: bool,
    /// Tests that ran, failed ones included.
    pub executed: Vec<String>,
    /// Tests that failed.
    pub failed: Vec<String>,
    /// Tests that were skipped.
    pub skipped: Vec<String>,
}

/// How a gate's command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum Ended {
    /// By itself.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// By a signal.
    Killed {
        /// Which.
        signal: i32,
    },
    /// At its limit of time.
    TimedOut,
    /// What it wrote outgrew its disk quota.
    OverQuota,
    /// It never ran.
    NotStarted,
}

/// What a gate found out about one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The gate's name.
    pub gate: String,
    /// The digest of the gate's definition.
    pub definition: Digest,
    /// The tree.
    pub tree: Digest,
    /// How the command ended.
    pub ended: Ended,
    /// The tests, in the artifact store ([`Tests`] as JSON).
    pub tests: Digest,
    /// How many ran.
    pub executed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were skipped.
    pub skipped: u64,
    /// The end of the output, in the artifact store.
    pub log: Digest,
    /// How long it took.
    pub wall: Millis,
}

/// What is known of a gate and a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Never tried.
    #[default]
    Absent,
    /// Tried.
    Recorded(Evidence),
}

/// What one may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Puts it on record.
    Record(Evidence),
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was put on record.
    Recorded(Evidence),
}

impl Event {
    /// Returns the stored name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(_) => "io.palisade.evidence.recorded.v1",
        }
    }
}

/// Why a command was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Evidence is not rewritten.
    #[error("there is evidence for this gate and tree already")]
    AlreadyRecorded,
}

/// Says what happens when `command` meets `state`.
///
/// # Errors
/// Returns the [`Refusal`] when there is evidence already.
pub fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
    match (state, command) {
        (State::Absent, Command::Record(evidence)) => Ok(vec![Event::Recorded(evidence)]),
        (State::Recorded(_), Command::Record(_)) => Err(Refusal::AlreadyRecorded),
    }
}

/// Says what is true once `event` has happened.
#[must_use]
pub fn evolve(_state: State, event: &Event) -> State {
    match event {
        Event::Recorded(evidence) => State::Recorded(evidence.clone()),
    }
}

/// Judges what a gate saw: returns every reason why it does not pass. `before` is what the same
/// gate saw on the base commit.
#[must_use]
pub fn judge(gate: &Gate, ended: Ended, now: &Tests, before: Option<&Tests>) -> Vec<String> {
    let mut reasons = Vec::new();
    match ended {
        Ended::Exited { code: 0 } => {}
        Ended::Exited { code } => reasons.push(format!("the command ended with exit code {code}")),
        Ended::Killed { signal } => {
            reasons.push(format!("the command was ended by signal {signal}"));
        }
        Ended::TimedOut => reasons.push(format!("the command took longer than {}", gate.wall)),
        Ended::OverQuota => {
            reasons.push(String::from("the command wrote more than its disk quota"));
        }
        Ended::NotStarted => reasons.push(String::from("the command could not be started")),
    }
    if !now.failed.is_empty() {
        reasons.push(format!(
            "failed tests: {} ({})",
            now.failed.len(),
            named(&now.failed)
        ));
    }
    let executed = now.executed.len();
    if gate.tests_min > 0 && executed == 0 {
        reasons.push(String::from("no test was executed"));
    } else if u64::try_from(executed).unwrap_or(u64::MAX) < u64::from(gate.tests_min) {
        reasons.push(format!(
            "executed tests: {executed}, at least {} are expected",
            gate.tests_min
        ));
    }
    // A command that failed may have stopped before most tests; what it did not run is then no news.
    let comparable =
        |it: &&Tests| (it.reported || !now.reported) && ended == Ended::Exited { code: 0 };
    if let Some(before) = before.filter(comparable) {
        let gone = without(&without(&before.executed, &now.executed), &now.skipped);
        if !gone.is_empty() {
            reasons.push(format!(
                "tests of the base that are gone: {} ({})",
                gone.len(),
                named(&gone)
            ));
        }
        let skips = without(&now.skipped, &before.skipped);
        if !skips.is_empty() {
            reasons.push(format!(
                "newly skipped tests: {} ({})",
                skips.len(),
                named(&skips)
            ));
        }
    }
    reasons
}

fn without(all: &[String], some: &[String]) -> Vec<String> {
    all.iter()
        .filter(|it| some.binary_search(it).is_err())
        .cloned()
        .collect()
}

fn named(names: &[String]) -> String {
    let cut = |it: &String| match it.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &it[..end]),
        None => it.clone(),
    };
    let shown: Vec<_> = names.iter().take(NAMED_MAX).map(cut).collect();
    let mut text = shown.join(", ");
    if names.len() > NAMED_MAX {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(tests_min: u32) -> Gate {
        let argv = vec!["true".into()];
        Gate {
            name: "unit".into(),
            argv,
            wall: Millis(1),
            junit: None,
            tests_min,
        }
    }

    fn tests(executed: &[&str], skipped: &[&str]) -> Tests {
        let list = |it: &[&str]| it.iter().map(|it| String::from(*it)).collect();
        Tests {
            reported: true,
            executed: list(executed),
            failed: vec![],
            skipped: list(skipped),
        }
    }

    const GOOD: Ended = Ended::Exited { code: 0 };

    #[test]
    fn green_without_a_single_test_is_red() {
        assert_eq!(
            judge(&gate(1), GOOD, &tests(&[], &[]), None),
            ["no test was executed"]
        );
    }

    #[test]
    fn a_test_of_the_base_that_is_gone_is_named() {
        let reasons = judge(
            &gate(1),
            GOOD,
            &tests(&["a"], &[]),
            Some(&tests(&["a", "b"], &[])),
        );
        assert_eq!(reasons, ["tests of the base that are gone: 1 (b)"]);
    }

    #[test]
    fn a_newly_skipped_test_is_named_and_is_not_called_gone() {
        let reasons = judge(
            &gate(1),
            GOOD,
            &tests(&["a"], &["b"]),
            Some(&tests(&["a", "b"], &[])),
        );
        assert_eq!(reasons, ["newly skipped tests: 1 (b)"]);
    }

    #[test]
    fn more_tests_than_before_pass() {
        let reasons = judge(
            &gate(1),
            GOOD,
            &tests(&["a", "b", "c"], &[]),
            Some(&tests(&["a"], &[])),
        );
        assert_eq!(reasons, [""; 0]);
    }

    #[test]
    fn a_name_without_end_does_not_make_a_reason_without_end() {
        let mut now = tests(&["a"], &[]);
        now.failed = vec!["ä".repeat(1_000_000)];
        let reasons = judge(&gate(1), GOOD, &now, None);
        assert!(reasons[0].len() < 500);
    }

    #[test]
    fn a_failed_test_counts_even_if_the_command_says_zero() {
        let now = Tests {
            failed: vec!["a".into()],
            ..tests(&["a"], &[])
        };
        assert_eq!(judge(&gate(1), GOOD, &now, None), ["failed tests: 1 (a)"]);
    }
}
