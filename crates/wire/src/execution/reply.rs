//! Receipts: what became of an action, in typed fields. Never what a program printed, never a value
//! that the action's summary does not name.

use std::collections::BTreeMap;

use domain::tree::Commit;
use domain::{Digest, ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::action::{Kind, Window, Word};

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The request.
    pub request_id: ExecutionId,
    /// What was asked for.
    pub action: Kind,
    /// Whether it was done and came out well.
    pub ok: bool,
    /// How it stands.
    pub status: Status,
    /// What it came to; of what failed only counts, where a plan stopped, and a commit that was pushed
    /// although its pull request was not opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Why it failed; none unless it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether it was found out afterwards, by looking at the target.
    pub is_reconciled: bool,
    /// Where it is recorded.
    pub evidence: Evidence,
}

/// A place in the executor's audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The entry's number.
    pub sequence: u64,
    /// The entry's link in the chain.
    pub digest: Digest,
    /// When it was recorded.
    pub at: Timestamp,
}

/// How an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Done.
    Succeeded,
    /// Not done, or it came out badly; `failure` says which.
    Failed,
    /// The executor died in its middle and the target does not tell. It is never tried again.
    Unknown,
}

impl Status {
    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an action failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It did not happen: the executor died before, and the target shows it.
    NotPerformed,
    /// The configured program said no.
    ProgramFailed,
    /// The configured program could not be started in its cell.
    ProgramNotStarted,
    /// It took too long and was ended.
    TimedOut,
    /// The program said yes, and the target does not show it.
    NotSeen,
    /// The target refused it.
    TargetRefused,
    /// The target could not be reached, and nothing was asked of it.
    TargetUnreachable,
    /// What it came to cannot be read.
    Unreadable,
    /// What it came to held a secret: nothing of it is told.
    Withheld,
    /// Tests are red; `summary` says how many.
    TestsFailed,
    /// Others held what it needs for too long.
    LockTimeout,
    /// A statement is not one that may run; `summary` says which.
    StatementRefused,
    /// The database does not understand a statement; `summary` says which.
    SyntaxError,
    /// The database's data does not allow a statement; `summary` says which.
    ConstraintViolated,
    /// The database said no to a statement; `summary` says which.
    StatementFailed,
    /// What was applied before is not what the plan begins with.
    HistoryDiverged,
    /// The target was lost in the middle, and kept nothing of it.
    ConnectionLost,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NotPerformed,
        Self::ProgramFailed,
        Self::ProgramNotStarted,
        Self::TimedOut,
        Self::NotSeen,
        Self::TargetRefused,
        Self::TargetUnreachable,
        Self::Unreadable,
        Self::Withheld,
        Self::TestsFailed,
        Self::LockTimeout,
        Self::StatementRefused,
        Self::SyntaxError,
        Self::ConstraintViolated,
        Self::StatementFailed,
        Self::HistoryDiverged,
        Self::ConnectionLost,
    ];

    /// Returns the stored literal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotPerformed => "not_performed",
            Self::ProgramFailed => "program_failed",
            Self::ProgramNotStarted => "program_not_started",
            Self::TimedOut => "timed_out",
            Self::NotSeen => "not_seen",
            Self::TargetRefused => "target_refused",
            Self::TargetUnreachable => "target_unreachable",
            Self::Unreadable => "unreadable",
            Self::Withheld => "withheld",
            Self::TestsFailed => "tests_failed",
            Self::LockTimeout => "lock_timeout",
            Self::StatementRefused => "statement_refused",
            Self::SyntaxError => "syntax_error",
            Self::ConstraintViolated => "constraint_violated",
            Self::StatementFailed => "statement_failed",
            Self::HistoryDiverged => "history_diverged",
            Self::ConnectionLost => "connection_lost",
        }
    }
}

/// What an action came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::enum_variant_names,
    reason = "each bears the name of its action, one of which ends like this"
)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub enum Summary {
    /// An artifact is on staging.
    DeployStaging {
        /// The artifact.
        version: Digest,
        /// The configured name of where it is to be seen.
        url_id: Word,
    },
    /// A metric in sum.
    FetchMetricsSummary {
        /// Which.
        metric: Word,
        /// Over which span.
        window: Window,
        /// How many samples.
        samples: u64,
        /// How many groups they come from.
        groups: u64,
        /// The least.
        minimum: f64,
        /// The greatest.
        maximum: f64,
        /// The mean.
        mean: f64,
        /// The 95th percentile.
        p95: f64,
    },
    /// Values of staging's configuration.
    GetStagingConfigValues {
        /// Each key with what may be told.
        values: BTreeMap<Word, Told>,
    },
    /// A commit is on a remote.
    PublishChange {
        /// Which remote.
        remote: Word,
        /// The whole name of the branch.
        branch: String,
        /// The commit.
        commit: Commit,
        /// Its pull request, if one was asked for and is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pull_request: Option<Opened>,
    },
    /// A plan of migrations was run and taken back.
    RehearseDbMigrationPlan(Migrated),
    /// A plan of migrations was run.
    RunDbMigrationPlan(Migrated),
    /// Tests were run.
    RunTests {
        /// Which.
        suite: Word,
        /// How many passed.
        passed: u64,
        /// How many failed.
        failed: u64,
        /// How many were left out.
        skipped: u64,
        /// The first of those that failed.
        failed_names: Vec<String>,
    },
}

/// The most migrations that are named in a summary; `applied` counts all.
pub const MIGRATION_NAMES_MAX: usize = 20;

/// What a plan of migrations came to: counts and names, nothing of the data and no SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migrated {
    /// The configured database.
    pub database: Word,
    /// The plan.
    pub plan: Digest,
    /// Whether everything was taken back, as a rehearsal is and what failed.
    pub taken_back: bool,
    /// How many migrations ran to their end.
    pub applied: u64,
    /// The first of them, by the names of their files.
    pub applied_names: Vec<Word>,
    /// The version of the database's history afterwards; none when it has no history.
    pub version: Option<u32>,
    /// How many tables there were before; none when it was found out afterwards.
    pub tables_before: Option<u64>,
    /// How many there were at the end of the plan; none when it did not get there.
    pub tables_after: Option<u64>,
    /// How many rows its statements wrote or read; none when it was found out afterwards.
    pub rows: Option<u64>,
    /// The statement that it did not get past.
    pub stopped: Option<Statement>,
}

/// A statement of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The migration.
    pub migration: Word,
    /// Its number in it, from one.
    pub statement: u32,
}

/// A pull request that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Its number at the forge.
    pub number: u64,
    /// The configured name of where it is to be seen.
    pub url_id: Word,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Told {
    /// Its value; none when it is not set.
    Value(Option<String>),
    /// Of a secret: whether there is one.
    IsPresent(bool),
}
