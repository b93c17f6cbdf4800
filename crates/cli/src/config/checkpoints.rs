//! The `[checkpoints]` table: when checkpoints of a running session are taken, and what follows.

use std::time::Duration;

use domain::rollback::Strategy;
use engine::catalog::sheet::Table;
use engine::settings::Checkpoints;

use super::positive;

/// What `on_violation` may say.
const POLICIES: [(&str, Option<Strategy>); 4] = [
    ("paths", Some(Strategy::Paths)),
    ("full", Some(Strategy::Full)),
    ("smart", Some(Strategy::Smart)),
    ("tell", None),
];

/// Reads the table; what it does not say keeps its default.
pub(super) fn read(table: &Table<'_>) -> Checkpoints {
    let defaults = Checkpoints::default();
    let seconds = |key, other| positive(table, key).map_or(other, Duration::from_secs);
    let minutes = |key, other| {
        positive(table, key).map_or(other, |it| Duration::from_secs(it.saturating_mul(60)))
    };
    let checkpoints = Checkpoints {
        quiet: seconds("quiet_seconds", defaults.quiet),
        interval: seconds("interval_seconds", defaults.interval),
        bytes: positive(table, "size_mib").map_or(defaults.bytes, |it| it.saturating_mul(1 << 20)),
        judging: seconds("judging_seconds", defaults.judging),
        on_violation: policy(table, defaults.on_violation),
        pause: minutes("pause_minutes", defaults.pause),
        escalation: minutes("escalation_minutes", defaults.escalation),
    };
    table.finish();
    checkpoints
}

fn policy(table: &Table<'_>, other: Option<Strategy>) -> Option<Strategy> {
    let Some(text) = table.text("on_violation") else {
        return other;
    };
    if let Some((_, policy)) = POLICIES.iter().find(|(name, _)| *name == text) {
        return *policy;
    }
    let names: Vec<_> = POLICIES
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let told = format!(
        "`on_violation` is one of {}, not \"{text}\"",
        names.join(", ")
    );
    table.fault("on_violation", told);
    other
}
