//! `run_db_migration_plan` and `rehearse_db_migration_plan`: a plan, by its digest, is run against a
//! configured database by a migration library, in one transaction. A rehearsal really runs it, too,
//! and takes everything back: the one needs a permit for each call, the other runs on a grant.

mod database;
mod migrating;
mod plan;
mod postgresql;
mod sqlite;
mod statements;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::DbMigrationPlan;
use wire::execution::reply::{MIGRATION_NAMES_MAX, Migrated};
use wire::execution::{Code, Failure, Summary, Word};

use self::database::{Database, Stop};
use self::migrating::{Applied, History};
use self::postgresql::Postgresql;
use self::sqlite::Sqlite;
use super::{Found, Means, Outcome, Prepared};
use crate::secret::Secret;

pub(crate) use self::plan::{MARK, PLAN_BYTES_MAX, Plan, named};
pub use self::statements::Dialect;
pub(crate) use self::statements::Judged;

/// The longest that locks may be waited for, in seconds.
const LOCK_TIMEOUT_SECONDS_MAX: u64 = 600;

/// The longest that a statement may take, in seconds.
const STATEMENT_TIMEOUT_SECONDS_MAX: u64 = 3_600;

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Plans, each named by the 64 digits of its digest.
    plans: PathBuf,
    databases: BTreeMap<Word, Target>,
}

/// One database.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Target {
    Postgresql(postgresql::Settings),
    Sqlite(sqlite::Settings),
}

/// Whether what was run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing is kept.
    Rehearse,
    /// Everything is, if all of it came to its end.
    Apply,
}

const fn usual_lock_timeout_seconds() -> u64 {
    5
}

const fn usual_statement_timeout_seconds() -> u64 {
    60
}

impl Target {
    const fn dialect(&self) -> Dialect {
        match self {
            Self::Postgresql(_) => Dialect::Postgresql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    const fn timeouts(&self) -> (u64, u64) {
        match self {
            Self::Postgresql(it) => it.timeouts(),
            Self::Sqlite(it) => it.timeouts(),
        }
    }

    fn open(&self, secrets: &BTreeMap<String, Secret>) -> Result<Box<dyn Database>, Stop> {
        match self {
            Self::Sqlite(it) => Ok(Box::new(Sqlite::open(it)?)),
            Self::Postgresql(it) => {
                let password = match &it.password {
                    None => None,
                    Some(name) => {
                        let value = secrets.get(name).and_then(Secret::variable);
                        Some(value.ok_or(Stop::Unreachable)?)
                    }
                };
                Ok(Box::new(Postgresql::open(it, password.as_ref())?))
            }
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.plans.is_absolute() {
            return Err("`run_db_migration_plan`: `plans` must be an absolute path".to_owned());
        }
        for (name, target) in &self.databases {
            let (lock, statement) = target.timeouts();
            if !(1..=LOCK_TIMEOUT_SECONDS_MAX).contains(&lock)
                || !(1..=STATEMENT_TIMEOUT_SECONDS_MAX).contains(&statement)
            {
                return Err(format!(
                    "`run_db_migration_plan`: {name} needs a `lock_timeout_seconds` of 1 to \
                     {LOCK_TIMEOUT_SECONDS_MAX} and a `statement_timeout_seconds` of 1 to \
                     {STATEMENT_TIMEOUT_SECONDS_MAX}"
                ));
            }
            match target {
                Target::Postgresql(it) => it.check()?,
                Target::Sqlite(it) if it.file.is_absolute() => {}
                Target::Sqlite(_) => {
                    return Err(format!(
                        "`run_db_migration_plan`: the `file` of {name} must be an absolute path"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the secrets that are passwords.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.databases.values().filter_map(|it| match it {
            Target::Postgresql(it) => it.password.as_deref(),
            Target::Sqlite(_) => None,
        })
    }

    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a DbMigrationPlan,
        mode: Mode,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let target = self.databases.get(&asked.database);
        let target = target.ok_or(Code::NotAllowed)?;
        let plan = Plan::find(&self.plans, asked.plan)?;
        let judged = Judged::of(plan, target.dialect()).map_err(|_| Code::StatementRefused)?;
        let mut database = target.open(means.secrets).map_err(code)?;
        let history = History::read(&mut *database).map_err(code)?;
        migrating::due(&mut *database, &judged).map_err(code)?;
        let mark = history.mark();
        let before = Some(mark.clone());
        let work = Work {
            settings: self,
            asked,
            judged,
            mode,
            mark,
        };
        Ok(Prepared {
            before,
            perform: Box::new(move || work.perform(&mut *database, means)),
        })
    }

    /// Looks at the history: a plan is one transaction, so it tells exactly.
    pub(super) fn look(
        &self,
        asked: &DbMigrationPlan,
        before: Option<&str>,
        means: Means<'_>,
    ) -> Found {
        self.found(asked, before, means).unwrap_or(Found::Unclear)
    }

    fn found(
        &self,
        asked: &DbMigrationPlan,
        before: Option<&str>,
        means: Means<'_>,
    ) -> Option<Found> {
        let target = self.databases.get(&asked.database)?;
        let mut database = target.open(means.secrets).ok()?;
        // Waits for what is still under way on the server: its lock is held until its end.
        database.begin().ok()?;
        let history = History::read(&mut *database).ok()?;
        let tables_after = database.tables().ok();
        database.take_back();
        let mark = before?;
        let names = history.since(mark)?;
        let judged = Plan::find(&self.plans, asked.plan)
            .ok()
            .and_then(|it| Judged::of(it, target.dialect()).ok());
        if judged.is_some_and(|it| history.is_of(&it)) {
            return Some(Found::Done(Summary::RunDbMigrationPlan(Migrated {
                tables_after,
                applied: u64::try_from(names.len()).unwrap_or(u64::MAX),
                applied_names: first(names),
                version: history.version(),
                taken_back: false,
                ..nothing(asked)
            })));
        }
        names.is_empty().then_some(Found::Nothing)
    }
}

/// A plan that is about to be run.
struct Work<'a> {
    settings: &'a Settings,
    asked: &'a DbMigrationPlan,
    judged: Judged,
    mode: Mode,
    /// The history that it was approved on.
    mark: String,
}

/// What was counted meanwhile.
#[derive(Default)]
struct Counted {
    applied: Applied,
    version_before: Option<u32>,
    version_after: Option<u32>,
    tables_before: Option<u64>,
    tables_after: Option<u64>,
}

impl Work<'_> {
    fn perform(&self, database: &mut dyn Database, means: Means<'_>) -> Outcome {
        let mut counted = Counted::default();
        let mut ran = self.run(database, &mut counted);
        if ran.is_ok() && self.mode == Mode::Rehearse {
            ran = database.nearly_keep();
        }
        if let Err(stop) = ran {
            // Nobody is there to be told; what was not kept is taken back without.
            if stop != Stop::Lost {
                database.take_back();
            }
            return Outcome::Failed(failure(stop), Some(self.summary(counted, true)));
        }
        if self.mode == Mode::Rehearse {
            return Outcome::Done(self.summary(counted, true));
        }
        match database.keep() {
            Ok(()) => Outcome::Done(self.summary(counted, false)),
            // Whether it was kept, only the database can tell.
            Err(Stop::Lost) => match self.settings.look(self.asked, Some(&self.mark), means) {
                Found::Done(_) => Outcome::Done(self.summary(counted, false)),
                Found::Nothing => {
                    let summary = self.summary(counted, true);
                    Outcome::Failed(Failure::ConnectionLost, Some(summary))
                }
                Found::Unclear => Outcome::Unclear,
            },
            Err(stop) => {
                database.take_back();
                Outcome::Failed(failure(stop), Some(self.summary(counted, true)))
            }
        }
    }

    /// Runs everything, and keeps nothing yet.
    fn run(&self, database: &mut dyn Database, counted: &mut Counted) -> Result<(), Stop> {
        database.begin()?;
        let history = History::read(database)?;
        counted.version_before = history.version();
        counted.tables_before = Some(database.tables()?);
        if history.mark() != self.mark {
            return Err(Stop::Diverged);
        }
        let (applied, ended) = migrating::apply(database, &self.judged);
        counted.applied = applied;
        ended?;
        database.settle()?;
        // What a plan does is its own; the history is not.
        let history = History::read(database)?;
        if !history.is_of(&self.judged) {
            return Err(Stop::Refused);
        }
        counted.version_after = history.version();
        counted.tables_after = Some(database.tables()?);
        Ok(())
    }

    fn summary(&self, counted: Counted, taken_back: bool) -> Summary {
        let names = counted.applied.names;
        let migrated = Migrated {
            taken_back,
            applied: u64::try_from(names.len()).unwrap_or(u64::MAX),
            applied_names: first(names),
            version: if taken_back {
                counted.version_before
            } else {
                counted.version_after
            },
            tables_before: counted.tables_before,
            tables_after: counted.tables_after,
            rows: Some(counted.applied.rows),
            stopped: counted.applied.stopped,
            ..nothing(self.asked)
        };
        match self.mode {
            Mode::Rehearse => Summary::RehearseDbMigrationPlan(migrated),
            Mode::Apply => Summary::RunDbMigrationPlan(migrated),
        }
    }
}

/// Returns a summary that tells nothing yet.
fn nothing(asked: &DbMigrationPlan) -> Migrated {
    Migrated {
        database: asked.database.clone(),
        plan: asked.plan,
        taken_back: true,
        applied: 0,
        applied_names: Vec::new(),
        version: None,
        tables_before: None,
        tables_after: None,
        rows: None,
        stopped: None,
    }
}

fn first(mut names: Vec<Word>) -> Vec<Word> {
    names.truncate(MIGRATION_NAMES_MAX);
    names
}

const fn code(stop: Stop) -> Code {
    match stop {
        Stop::RoleTooStrong => Code::RoleTooStrong,
        Stop::Diverged => Code::HistoryDiverged,
        Stop::Refused => Code::StatementRefused,
        Stop::Unreachable
        | Stop::Locked
        | Stop::Syntax
        | Stop::Constraint
        | Stop::Denied
        | Stop::TimedOut
        | Stop::Failed
        | Stop::Lost => Code::Unavailable,
    }
}

const fn failure(stop: Stop) -> Failure {
    match stop {
        Stop::Locked => Failure::LockTimeout,
        Stop::Refused => Failure::StatementRefused,
        Stop::Syntax => Failure::SyntaxError,
        Stop::Constraint => Failure::ConstraintViolated,
        Stop::RoleTooStrong | Stop::Denied => Failure::TargetRefused,
        Stop::TimedOut => Failure::TimedOut,
        Stop::Failed => Failure::StatementFailed,
        Stop::Unreachable | Stop::Lost => Failure::ConnectionLost,
        Stop::Diverged => Failure::HistoryDiverged,
    }
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let digest = json!({"$ref": "#/components/schemas/Digest"});
    let count = json!({"type": "integer", "minimum": 0});
    let maybe = json!({"type": ["integer", "null"], "minimum": 0});
    let place = json!({
        "type": "object", "additionalProperties": false, "required": ["migration", "statement"],
        "properties": {"migration": word, "statement": {"type": "integer", "minimum": 1}},
    });
    let arguments = json!({"database": word, "plan": digest});
    let summary = json!({
        "database": word, "plan": digest, "taken_back": {"type": "boolean"},
        "applied": count,
        "applied_names": {"type": "array", "items": word, "maxItems": MIGRATION_NAMES_MAX},
        "version": maybe, "tables_before": maybe, "tables_after": maybe, "rows": maybe,
        "stopped": {"oneOf": [place, {"type": "null"}]},
    });
    (arguments, summary)
}
