//! Metrics in the text form of Prometheus: counts, no names and no values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use wire::execution::reply::Status;
use wire::execution::{Code, Kind};

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    actions: BTreeMap<(&'static str, &'static str), u64>,
    refused: BTreeMap<&'static str, u64>,
    incidents: u64,
    replays: u64,
}

impl Metrics {
    /// Counts an action that was settled.
    pub(crate) fn settled(&self, kind: Kind, status: Status) {
        self.with(|it| *it.actions.entry((kind.name(), status.name())).or_default() += 1);
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, code: Code) {
        self.with(|it| *it.refused.entry(code.name()).or_default() += 1);
    }

    /// Counts a secret that was stopped.
    pub(crate) fn incident(&self) {
        self.with(|it| it.incidents += 1);
    }

    /// Counts a request that had been answered before.
    pub(crate) fn replayed(&self) {
        self.with(|it| it.replays += 1);
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail.
        self.with(|counts| write_all(&mut out, counts))
            .unwrap_or_default();
        out
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn write_all(out: &mut String, counts: &Counts) -> std::fmt::Result {
    writeln!(
        out,
        "# HELP palisade_executor_actions_total Actions by how they stand."
    )?;
    writeln!(out, "# TYPE palisade_executor_actions_total counter")?;
    for ((action, status), count) in &counts.actions {
        writeln!(
            out,
            "palisade_executor_actions_total{{action=\"{action}\",status=\"{status}\"}} {count}"
        )?;
    }
    writeln!(
        out,
        "# HELP palisade_executor_refused_total Requests that were turned away."
    )?;
    writeln!(out, "# TYPE palisade_executor_refused_total counter")?;
    for (code, count) in &counts.refused {
        writeln!(
            out,
            "palisade_executor_refused_total{{code=\"{code}\"}} {count}"
        )?;
    }
    writeln!(
        out,
        "# HELP palisade_executor_incidents_total Secrets stopped on their way out or in."
    )?;
    writeln!(out, "# TYPE palisade_executor_incidents_total counter")?;
    writeln!(
        out,
        "palisade_executor_incidents_total {}",
        counts.incidents
    )?;
    writeln!(
        out,
        "# HELP palisade_executor_replays_total Requests answered with an old receipt."
    )?;
    writeln!(out, "# TYPE palisade_executor_replays_total counter")?;
    writeln!(out, "palisade_executor_replays_total {}", counts.replays)
}
