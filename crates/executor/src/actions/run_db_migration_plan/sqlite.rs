//! SQLite: the file is opened in this process, so the wall is in this process, too. SQLite's own
//! authorizer is asked about everything that a statement would do, before it does anything.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "SQLite's lists grow with it; what is not named is refused, or a failure"
)]

mod functions;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use refinery_core::Migration;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Deserialize;

use self::functions::FUNCTIONS;
use super::database::{Database, Stop, applied};
use super::statements::{HISTORY, PRAGMAS};

/// How often it is looked whether a statement took too long, in steps of SQLite's machine.
const STEPS: i32 = 10_000;

/// What is configured of a database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The file; it must exist.
    pub(super) file: PathBuf,
    #[serde(default = "super::usual_lock_timeout_seconds")]
    lock_timeout_seconds: u64,
    #[serde(default = "super::usual_statement_timeout_seconds")]
    statement_timeout_seconds: u64,
}

impl Settings {
    /// Returns how long locks and statements may take, in seconds.
    pub(super) const fn timeouts(&self) -> (u64, u64) {
        (self.lock_timeout_seconds, self.statement_timeout_seconds)
    }
}

/// An open file.
pub(super) struct Sqlite {
    connection: Connection,
    /// Whether a statement of the plan runs.
    is_watched: Arc<AtomicBool>,
    patience: Duration,
}

impl Sqlite {
    pub(super) fn open(settings: &Settings) -> Result<Self, Stop> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&settings.file, flags);
        let mut sqlite = Self {
            connection: connection.map_err(|_| Stop::Unreachable)?,
            is_watched: Arc::default(),
            patience: Duration::from_secs(settings.statement_timeout_seconds),
        };
        let busy = Duration::from_secs(settings.lock_timeout_seconds);
        sqlite.wall(busy).map_err(|_| Stop::Unreachable)?;
        Ok(sqlite)
    }

    fn wall(&mut self, busy: Duration) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.busy_timeout(busy)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        let is_watched = Arc::clone(&self.is_watched);
        let judge = move |asked: AuthContext<'_>| {
            if is_watched.load(Ordering::Relaxed) && !may(asked.action) {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        };
        self.connection.authorizer(Some(judge))
    }

    fn one<T: rusqlite::types::FromSql>(&self, question: &str) -> Result<T, Stop> {
        let told = self.connection.query_row(question, [], |row| row.get(0));
        told.map_err(|it| stop(&it))
    }

    /// Runs one statement to its end, and lets go what it tells.
    fn finish(&self, statement: &str) -> rusqlite::Result<u64> {
        let before = self.connection.total_changes();
        // The authorizer is asked here; a second statement is an error.
        let mut prepared = self.connection.prepare(statement)?;
        let is_data = prepared.column_count() > 0 || !prepared.readonly();
        let mut rows = prepared.raw_query();
        while rows.next()?.is_some() {}
        drop(rows);
        let is_ddl = is_definition(statement);
        let changes = self.connection.total_changes() - before;
        Ok(if is_data && !is_ddl { changes } else { 0 })
    }
}

impl Database for Sqlite {
    fn begin(&mut self) -> Result<(), Stop> {
        // Takes the one lock of writers, so nobody else changes anything meanwhile.
        self.note("BEGIN IMMEDIATE")
    }

    fn run(&mut self, statement: &str) -> Result<u64, Stop> {
        let end = Instant::now() + self.patience;
        let handler = move || Instant::now() >= end;
        let set = self.connection.progress_handler(STEPS, Some(handler));
        set.map_err(|_| Stop::Failed)?;
        self.is_watched.store(true, Ordering::Relaxed);
        let ran = self.finish(statement);
        self.is_watched.store(false, Ordering::Relaxed);
        let unset = self.connection.progress_handler(0, None::<fn() -> bool>);
        unset.map_err(|_| Stop::Failed)?;
        let rows = ran.map_err(|it| stop(&it))?;
        // Whatever it was, the transaction is still the one that was begun.
        if self.connection.is_autocommit() {
            return Err(Stop::Refused);
        }
        Ok(rows)
    }

    fn note(&mut self, statement: &str) -> Result<(), Stop> {
        let ran = self.connection.execute_batch(statement);
        ran.map_err(|it| stop(&it))
    }

    fn has_history(&mut self) -> Result<bool, Stop> {
        self.one(&format!(
            "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '{HISTORY}')"
        ))
    }

    fn history(&mut self, question: &str) -> Result<Vec<Migration>, Stop> {
        let mut prepared = self.connection.prepare(question).map_err(|it| stop(&it))?;
        let rows = prepared.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(3)?)));
        let rows: rusqlite::Result<Vec<(i32, String, String)>> =
            rows.map_err(|it| stop(&it))?.collect();
        let rows = rows.map_err(|_| Stop::Diverged)?;
        rows.into_iter()
            .map(|(version, name, checksum)| applied(version, name, &checksum))
            .collect()
    }

    fn tables(&mut self) -> Result<u64, Stop> {
        let count: i64 = self.one(&format!(
            "SELECT count(*) FROM main.sqlite_schema \
             WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name <> '{HISTORY}'"
        ))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn settle(&mut self) -> Result<(), Stop> {
        // Foreign keys that were put off are looked at only when everything is kept.
        if self.connection.is_autocommit() {
            Err(Stop::Refused)
        } else {
            Ok(())
        }
    }

    fn nearly_keep(&mut self) -> Result<(), Stop> {
        let hooked = self.connection.commit_hook(Some(|| true));
        hooked.map_err(|_| Stop::Failed)?;
        // The hook is asked last, and makes of it that everything is taken back.
        match self.connection.execute_batch("COMMIT") {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK =>
            {
                Ok(())
            }
            Err(error) => Err(stop(&error)),
            Ok(()) => Err(Stop::Failed),
        }
    }

    fn keep(&mut self) -> Result<(), Stop> {
        self.note("COMMIT")
    }

    fn take_back(&mut self) {
        // What cannot be taken back now is when the file is closed.
        self.note("ROLLBACK").unwrap_or_default();
    }
}

/// Returns whether a statement of a plan may do this.
fn may(action: AuthAction<'_>) -> bool {
    let is_free = |table: &str| !table.eq_ignore_ascii_case(HISTORY);
    match action {
        AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTempIndex { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::CreateTempTable { table_name }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::CreateTempTrigger { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::DropTempIndex { table_name, .. }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropTempTable { table_name }
        | AuthAction::DropTrigger { table_name, .. }
        | AuthAction::DropTempTrigger { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::Analyze { table_name } => is_free(table_name),
        AuthAction::CreateView { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropView { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::Read { .. }
        | AuthAction::Recursive
        | AuthAction::Reindex { .. }
        | AuthAction::Select => true,
        AuthAction::CreateVtable { module_name, .. }
        | AuthAction::DropVtable { module_name, .. } => {
            ["fts5", "rtree"].contains(&module_name.to_ascii_lowercase().as_str())
        }
        AuthAction::Function { function_name } => {
            // Those are for SQLite's own use, as when a column is renamed.
            function_name.starts_with("sqlite_")
                || FUNCTIONS.contains(&function_name.to_ascii_lowercase().as_str())
        }
        AuthAction::Pragma { pragma_name, .. } => {
            PRAGMAS.contains(&pragma_name.to_ascii_lowercase().as_str())
        }
        // Attaching, detaching, transactions and savepoints; and whatever comes later.
        _ => false,
    }
}

fn is_definition(statement: &str) -> bool {
    let first = statement.split(|it: char| !it.is_ascii_alphabetic()).next();
    let first = first.unwrap_or_default().to_ascii_lowercase();
    ["create", "alter", "drop", "reindex", "analyze", "pragma"].contains(&first.as_str())
}

/// Returns what of an error may be told.
fn stop(error: &rusqlite::Error) -> Stop {
    let (code, told) = match error {
        rusqlite::Error::MultipleStatement => return Stop::Refused,
        // SQLite tells some of it only in words.
        rusqlite::Error::SqliteFailure(error, told) => {
            (error.code, told.as_deref().unwrap_or_default())
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.code, msg.as_str()),
        _ => return Stop::Failed,
    };
    let says = |words: &[&str]| words.iter().any(|it| told.contains(it));
    match code {
        ErrorCode::AuthorizationForStatementDenied => Stop::Refused,
        _ if says(&["not authorized", "prohibited"]) => Stop::Refused,
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => Stop::Constraint,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Stop::Locked,
        ErrorCode::OperationInterrupted => Stop::TimedOut,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Stop::Denied,
        ErrorCode::CannotOpen | ErrorCode::NotADatabase => Stop::Unreachable,
        _ if says(&["syntax error", "incomplete input", "unrecognized token"]) => Stop::Syntax,
        _ => Stop::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &std::path::Path) -> (Sqlite, PathBuf) {
        let file = folder.join("it.db");
        std::fs::write(&file, "").unwrap();
        let settings = Settings {
            file: file.clone(),
            lock_timeout_seconds: 1,
            statement_timeout_seconds: 60,
        };
        let Ok(mut sqlite) = Sqlite::open(&settings) else {
            panic!("it cannot be opened");
        };
        sqlite.begin().unwrap();
        (sqlite, file)
    }

    /// The wall by itself, as if nobody had read the statements before.
    #[test]
    fn the_authorizer_alone_lets_nothing_out_and_without_it_something_gets_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut sqlite, file) = open(folder.path());
        let out = folder.path().join("out");
        let attach = format!("ATTACH DATABASE '{}' AS x", out.display());
        let vacuum = format!("VACUUM main INTO '{}'", out.display());
        for trick in [
            attach.as_str(),
            vacuum.as_str(),
            "DETACH x",
            "SELECT load_extension('x')",
            "SELECT \"load_extension\"('x')",
            "SELECT fts3_tokenizer('simple')",
            "CREATE VIEW v AS SELECT load_extension('x') AS a; SELECT * FROM v",
            "PRAGMA writable_schema = ON",
            "PRAGMA journal_mode = OFF",
            "PRAGMA temp_store_directory = '/tmp'",
            "SELECT * FROM pragma_journal_mode",
            "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, 'x')",
            "CREATE VIRTUAL TABLE x USING dbstat",
            "CREATE VIRTUAL TABLE x USING fts3(a, tokenize=unicode61)",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT a",
            "BEGIN",
            "SELECT 1; SELECT 2",
        ] {
            let ran = sqlite.run(trick);
            assert!(
                matches!(ran, Err(Stop::Refused | Stop::Failed)),
                "{trick}: {ran:?}"
            );
            assert!(!out.exists(), "{trick}");
        }
        assert!(!sqlite.connection.is_autocommit());
        drop(sqlite);
        for trick in [attach + "; CREATE TABLE x.a (b)", vacuum] {
            let control = Connection::open(&file).unwrap();
            control.execute_batch(&trick).unwrap();
            assert!(out.exists(), "{trick}");
            std::fs::remove_file(&out).unwrap();
        }
    }

    #[test]
    fn what_migrations_do_is_let_through() {
        let folder = tempfile::tempdir().unwrap();
        let (mut sqlite, _) = open(folder.path());
        for (statement, rows) in [
            (
                "CREATE TABLE a (b INTEGER PRIMARY KEY AUTOINCREMENT, c TEXT DEFAULT (lower('X')))",
                0,
            ),
            ("CREATE TABLE d (e REFERENCES a (b) ON DELETE CASCADE)", 0),
            ("INSERT INTO a (c) VALUES ('x'), (json_object('y', 1))", 2),
            ("INSERT INTO d SELECT b FROM a", 2),
            ("ALTER TABLE a RENAME COLUMN c TO f", 0),
            ("ALTER TABLE a RENAME TO g", 0),
            ("ALTER TABLE g ADD COLUMN h TEXT", 0),
            ("ALTER TABLE g DROP COLUMN h", 0),
            (
                "CREATE UNIQUE INDEX i ON g (f COLLATE NOCASE) WHERE f IS NOT NULL",
                0,
            ),
            ("CREATE VIEW v AS SELECT count(*) AS n, max(f) FROM g", 0),
            (
                "CREATE TRIGGER t AFTER INSERT ON g BEGIN UPDATE g SET f = trim(f); END",
                0,
            ),
            ("UPDATE g SET f = upper(f) WHERE f LIKE 'x%'", 1),
            (
                "WITH n(a) AS (SELECT 1) INSERT INTO d SELECT NULL FROM n",
                1,
            ),
            ("CREATE VIRTUAL TABLE s USING fts5(text)", 0),
            ("PRAGMA user_version = 7", 0),
            ("PRAGMA defer_foreign_keys = ON", 0),
            ("ANALYZE", 0),
            ("REINDEX i", 0),
            ("CREATE TEMP TABLE u AS SELECT * FROM g", 0),
            ("DELETE FROM g", 4),
            ("DROP VIEW v", 0),
            ("DROP TABLE u", 0),
        ] {
            assert_eq!(sqlite.run(statement), Ok(rows), "{statement}");
        }
        assert!(sqlite.run("INSERT INTO s VALUES ('full text')").is_ok());
        sqlite.keep().unwrap();
        assert_eq!(sqlite.one("PRAGMA user_version"), Ok(7));
    }
}
