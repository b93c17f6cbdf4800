//! PostgreSQL: what a plan runs as is another process with a file system and programs of its own,
//! so the wall is what the role may do there. It is looked at before each plan, and no setting
//! switches that off.

mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use refinery_core::Migration;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use wire::execution::Word;
use zeroize::Zeroizing;

use super::database::{Database, Stop, applied};
use super::statements::HISTORY;

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How much longer than the server an answer is waited for.
const GRACE: Duration = Duration::from_secs(10);

/// The advisory lock by which no two plans run at once in a database: `palisade` in ASCII.
const LOCK: i64 = 0x7061_6c69_7361_6465;

/// Asks whether the role may, itself or through another, reach files or programs, make itself one
/// that may, or be another one than it logged in as.
const IS_TOO_STRONG: &str = "\
SELECT current_user <> session_user \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles r \
  WHERE (r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolname IN \
    ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')) \
  AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')) \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_proc p \
  WHERE (p.proname IN ('lo_import', 'lo_export', 'pg_read_file', \
    'pg_read_binary_file', 'pg_stat_file', 'pg_ls_dir', 'pg_ls_logdir', 'pg_ls_waldir', \
    'pg_ls_tmpdir', 'pg_ls_archive_statusdir', 'pg_file_write', 'pg_file_read', \
    'pg_file_rename', 'pg_file_unlink', 'pg_file_sync', 'pg_logfile_rotate') \
    OR p.proname LIKE 'dblink%') \
  AND pg_catalog.has_function_privilege(session_user, p.oid, 'EXECUTE'))";

const TRANSACTION: &str = "SELECT pg_catalog.txid_current()";

const TABLES: &str = "\
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
AND c.relname <> $1";

/// What is configured of a database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// A host, or the folder of the server's socket.
    host: String,
    #[serde(default = "usual_port")]
    port: u16,
    database: String,
    user: String,
    /// The secret that is the password, of `[secrets]`.
    #[serde(default)]
    pub(super) password: Option<String>,
    /// The authority that signs the server's certificate: then TLS is spoken, and only then.
    #[serde(default)]
    authority: Option<PathBuf>,
    /// The schema that names without one are in, and the history; `public` if none is said.
    #[serde(default)]
    schema: Option<Word>,
    #[serde(default = "super::usual_lock_timeout_seconds")]
    lock_timeout_seconds: u64,
    #[serde(default = "super::usual_statement_timeout_seconds")]
    statement_timeout_seconds: u64,
}

const fn usual_port() -> u16 {
    5_432
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        let is_near = self.host.starts_with('/')
            || self.host == "localhost"
            || self.host.parse().is_ok_and(|it: IpAddr| it.is_loopback());
        if !is_near && self.authority.is_none() {
            return Err(format!(
                "`run_db_migration_plan`: {} is another machine; name the authority of its \
                 certificate as `authority`, so that TLS is spoken",
                self.host
            ));
        }
        if self.host.starts_with('/') && self.authority.is_some() {
            return Err(
                "`run_db_migration_plan`: no TLS is spoken on a socket; leave out `authority`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Returns how long locks and statements may take, in seconds.
    pub(super) const fn timeouts(&self) -> (u64, u64) {
        (self.lock_timeout_seconds, self.statement_timeout_seconds)
    }

    fn patience(&self) -> Duration {
        // A statement waits for locks and then runs; for many locks, one after the other.
        Duration::from_secs(self.statement_timeout_seconds) + GRACE
    }

    fn config(&self, password: Option<&Zeroizing<String>>) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(&self.user)
            .application_name("palisade-executor")
            .connect_timeout(CONNECT_PATIENCE);
        if let Some(password) = password {
            config.password(password.as_bytes());
        }
        config
    }

    fn preamble(&self) -> String {
        let schema = self.schema.as_ref().map_or("public", Word::as_str);
        format!(
            "SET standard_conforming_strings = on; SET backslash_quote = off; \
             SET lock_timeout = '{}s'; SET statement_timeout = '{}s'; \
             SET search_path = \"{}\"; SET check_function_bodies = on; \
             SET client_min_messages = error",
            self.lock_timeout_seconds, self.statement_timeout_seconds, schema
        )
    }
}

/// A connection, with the runtime that drives it. It is used on a thread that may block.
pub(super) struct Postgresql {
    client: Client,
    runtime: Runtime,
    patience: Duration,
    /// The server's number of the transaction that was begun.
    transaction: i64,
}

impl Postgresql {
    /// Connects, and refuses a role that may reach files or programs.
    pub(super) fn open(
        settings: &Settings,
        password: Option<&Zeroizing<String>>,
    ) -> Result<Self, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| Stop::Unreachable)?;
        let connect = connect(settings, password);
        let client = runtime
            .block_on(async { tokio::time::timeout(2 * CONNECT_PATIENCE, connect).await })
            .map_err(|_| Stop::Unreachable)??;
        let mut it = Self {
            client,
            runtime,
            patience: settings.patience(),
            transaction: 0,
        };
        it.note(&settings.preamble())?;
        // The server ends what nobody waits for any more; before version 14 it cannot.
        it.note(
            "SELECT pg_catalog.set_config(name, '1000', false) FROM pg_catalog.pg_settings \
             WHERE name = 'client_connection_check_interval'",
        )?;
        let is_too_strong: bool = it.one(IS_TOO_STRONG, &[])?;
        if is_too_strong {
            return Err(Stop::RoleTooStrong);
        }
        Ok(it)
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Stop> {
        let patience = self.patience;
        self.runtime
            .block_on(async { tokio::time::timeout(patience, answer).await })
            .map_err(|_| Stop::Lost)?
            .map_err(|it| stop(&it))
    }

    fn one<T>(
        &self,
        question: &str,
        with: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<T, Stop>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.wait(self.client.query_one(question, with))?;
        row.try_get(0).map_err(|_| Stop::Failed)
    }
}

async fn connect(
    settings: &Settings,
    password: Option<&Zeroizing<String>>,
) -> Result<Client, Stop> {
    let config = settings.config(password);
    let Some(authority) = &settings.authority else {
        let (client, connection) = config.connect(NoTls).await.map_err(|_| Stop::Unreachable)?;
        drop(tokio::spawn(connection));
        return Ok(client);
    };
    let tls = tls::connector(authority).ok_or(Stop::Unreachable)?;
    let mut config = config;
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, connection) = config.connect(tls).await.map_err(|_| Stop::Unreachable)?;
    drop(tokio::spawn(connection));
    Ok(client)
}

impl Database for Postgresql {
    fn begin(&mut self) -> Result<(), Stop> {
        self.note("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")?;
        // It is held until the transaction ends, on the server: also when this process is dead.
        self.note(&format!("SELECT pg_catalog.pg_advisory_xact_lock({LOCK})"))?;
        self.transaction = self.one(TRANSACTION, &[])?;
        Ok(())
    }

    fn run(&mut self, statement: &str) -> Result<u64, Stop> {
        // Prepared: the server takes exactly one statement, whatever anybody else has read in it.
        self.wait(self.client.execute(statement, &[]))
    }

    fn note(&mut self, statement: &str) -> Result<(), Stop> {
        self.wait(self.client.batch_execute(statement))
    }

    fn has_history(&mut self) -> Result<bool, Stop> {
        self.one(
            &format!("SELECT pg_catalog.to_regclass('{HISTORY}') IS NOT NULL"),
            &[],
        )
    }

    fn history(&mut self, question: &str) -> Result<Vec<Migration>, Stop> {
        let rows = self.wait(self.client.query(question, &[]))?;
        let rows = rows.iter().map(|row| {
            let wrong = |_| Stop::Diverged;
            let checksum: String = row.try_get(3).map_err(wrong)?;
            let (version, name) = (row.try_get(0).map_err(wrong)?, row.try_get(1));
            applied(version, name.map_err(wrong)?, &checksum)
        });
        rows.collect()
    }

    fn tables(&mut self) -> Result<u64, Stop> {
        let count: i64 = self.one(TABLES, &[&HISTORY])?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn settle(&mut self) -> Result<(), Stop> {
        self.note("SET CONSTRAINTS ALL IMMEDIATE")?;
        // Whatever ran, it is still the transaction that was begun.
        let transaction: i64 = self.one(TRANSACTION, &[])?;
        if transaction == self.transaction {
            Ok(())
        } else {
            Err(Stop::Refused)
        }
    }

    fn nearly_keep(&mut self) -> Result<(), Stop> {
        // Settled is all that there was to do.
        self.take_back();
        Ok(())
    }

    fn keep(&mut self) -> Result<(), Stop> {
        self.note("COMMIT")
    }

    fn take_back(&mut self) {
        // What cannot be taken back now is when the connection ends.
        self.note("ROLLBACK").unwrap_or_default();
    }
}

/// Returns what of an error may be told.
fn stop(error: &tokio_postgres::Error) -> Stop {
    let Some(state) = error.code() else {
        return Stop::Lost;
    };
    if *state == SqlState::LOCK_NOT_AVAILABLE
        || *state == SqlState::T_R_DEADLOCK_DETECTED
        || *state == SqlState::T_R_SERIALIZATION_FAILURE
    {
        return Stop::Locked;
    }
    match *state {
        SqlState::SYNTAX_ERROR => Stop::Syntax,
        SqlState::INSUFFICIENT_PRIVILEGE => Stop::Denied,
        SqlState::QUERY_CANCELED => Stop::TimedOut,
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Stop::Lost,
        _ => match &state.code()[..2] {
            // What the data is, and what it must be.
            "22" | "23" => Stop::Constraint,
            "28" | "3D" => Stop::Unreachable,
            "08" => Stop::Lost,
            _ => Stop::Failed,
        },
    }
}
