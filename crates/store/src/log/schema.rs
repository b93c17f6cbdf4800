//! The file: who may read it, whose it is, its tables, and how connections to it are set up.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use ports::log::Error;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};
use rustix::fs::FlockOperation;

use super::chain;
use super::fault::fault;

/// How long a connection waits for another process before it gives up.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log after which its content is moved into the main file.
const CHECKPOINT_PAGES: u32 = 8_000;

/// The write-ahead log is cut to this after a checkpoint, in bytes.
const WAL_BYTES_KEPT: u32 = 64 << 20;

/// The page cache of one connection, in KiB.
const CACHE_KIB: u32 = 8 << 10;

/// Stands in the header of the file: `PALI`.
const APPLICATION: i32 = 0x5041_4c49;

/// The version of the tables.
const FORMAT: i32 = 1;

const TABLES: &str = "
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    format INTEGER NOT NULL,
    chain TEXT NOT NULL
) STRICT;

CREATE TABLE streams (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL
) STRICT;

CREATE TABLE correlations (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    stream_before INTEGER NOT NULL,
    correlation INTEGER NOT NULL,
    correlation_before INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    causation TEXT,
    traceparent TEXT,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL,
    data TEXT NOT NULL
) STRICT;

CREATE VIEW recorded AS
SELECT position, streams.name AS stream, version, stream_before, id, kind, time, actor, epoch,
    correlations.name AS correlation, correlation_before, causation, traceparent, data,
    previous, hash
FROM events
LEFT JOIN streams ON streams.key = events.stream
LEFT JOIN correlations ON correlations.key = events.correlation;

CREATE TABLE outbox (
    place INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    correlation TEXT NOT NULL,
    body TEXT NOT NULL,
    asked_at INTEGER NOT NULL
) STRICT;

CREATE TABLE effects (
    id BLOB PRIMARY KEY,
    place INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    settled_at INTEGER
) STRICT, WITHOUT ROWID;
";

/// Makes the file if it is missing, refuses one that is not ours, and returns a connection.
pub(super) fn open_or_make(path: &Path) -> Result<Connection, Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let make = |source| io_fault("making the folder of", path, source);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(make)?;
    // Two processes that open at the same moment take turns; the folder itself is the lock. (The
    // database file must not be opened by anyone but SQLite: closing it would drop its locks.)
    let turn = File::open(folder).map_err(make)?;
    rustix::fs::flock(&turn, FlockOperation::LockExclusive)
        .map_err(|it| io_fault("waiting for a turn to open", path, it.into()))?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_made) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_fault("creating", path, error)),
    }
    let mut connection = connect(path)?;
    recognise_or_make(&mut connection)?;
    turn.sync_all()
        .map_err(|it| io_fault("syncing the folder of", path, it))?;
    Ok(connection)
}

/// Returns another connection, to a file that is known to be ours.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path)?;
    set(&connection, "query_only", "ON")?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|it| fault("opening the file", it))?;
    connection
        .busy_timeout(BUSY_WAIT)
        .map_err(|it| fault("setting the patience", it))?;
    connection.set_prepared_statement_cache_capacity(32);
    // Without this a statement is compiled anew whenever its parameters change.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(|it| fault("setting up a connection", it))?;
    for (name, value) in [
        ("trusted_schema", "OFF"),
        ("foreign_keys", "ON"),
        ("synchronous", "FULL"),
        ("cell_size_check", "ON"),
    ] {
        set(&connection, name, value)?;
    }
    set(&connection, "cache_size", &format!("-{CACHE_KIB}"))?;
    set(
        &connection,
        "wal_autocheckpoint",
        &CHECKPOINT_PAGES.to_string(),
    )?;
    set(
        &connection,
        "journal_size_limit",
        &WAL_BYTES_KEPT.to_string(),
    )?;
    Ok(connection)
}

fn recognise_or_make(connection: &mut Connection) -> Result<(), Error> {
    if is_fresh(connection)? {
        make_tables(connection)?;
    }
    recognise(connection)?;
    // Persistent: done once for the file, and only when it is known to be ours.
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(|it| fault("switching to a write-ahead log", it))?;
    if mode == "wal" {
        return Ok(());
    }
    Err(Error::Io {
        doing: format!("the file system allows journal mode {mode} only; use a local disk"),
        source: "no write-ahead log".into(),
    })
}

fn is_fresh(connection: &Connection) -> Result<bool, Error> {
    let things = number(connection, "SELECT count(*) FROM sqlite_schema")?;
    Ok(things == 0 && header(connection)? == (0, 0))
}

fn header(connection: &Connection) -> Result<(i32, i32), Error> {
    Ok((
        number(connection, "PRAGMA application_id")?,
        number(connection, "PRAGMA user_version")?,
    ))
}

fn number(connection: &Connection, query: &str) -> Result<i32, Error> {
    connection
        .query_row(query, [], |row| row.get(0))
        .map_err(|it| fault("reading the header", it))
}

fn recognise(connection: &Connection) -> Result<(), Error> {
    let (application, format) = header(connection)?;
    let found = match (application, format) {
        (APPLICATION, FORMAT) => return recognise_meta(connection),
        (APPLICATION, other) => other.to_string(),
        (other, _) => format!("of another program (application id {other:#010x})"),
    };
    Err(Error::Format {
        found,
        known: FORMAT.to_string(),
    })
}

/// Refuses tables that say themselves that they are others, or chained otherwise.
fn recognise_meta(connection: &Connection) -> Result<(), Error> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i32>(0)?, row.get::<_, String>(1)?));
    let meta = connection
        .query_row("SELECT format, chain FROM meta", [], row)
        .optional()
        .map_err(|it| fault("reading the header", it))?;
    let found = match meta {
        Some((FORMAT, chain)) if chain == chain::LABEL => return Ok(()),
        Some((FORMAT, _)) => "chained otherwise, by its own words".to_owned(),
        Some((other, _)) => format!("{other}, by its own words"),
        None => "without a word of its own".to_owned(),
    };
    Err(Error::Format {
        found,
        known: FORMAT.to_string(),
    })
}

fn make_tables(connection: &mut Connection) -> Result<(), Error> {
    let wrong = |it| fault("making the tables", it);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(wrong)?;
    transaction.execute_batch(TABLES).map_err(wrong)?;
    transaction
        .execute(
            "INSERT INTO meta (only, format, chain) VALUES (1, ?1, ?2)",
            (FORMAT, chain::LABEL),
        )
        .map_err(wrong)?;
    set(&transaction, "application_id", &APPLICATION.to_string())?;
    set(&transaction, "user_version", &FORMAT.to_string())?;
    transaction.commit().map_err(wrong)
}

fn set(connection: &Connection, name: &str, value: &str) -> Result<(), Error> {
    connection
        .pragma_update(None, name, value)
        .map_err(|it| fault("setting up a connection", it))
}

fn io_fault(doing: &str, path: &Path, source: io::Error) -> Error {
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return Error::DiskFull;
    }
    Error::Io {
        doing: format!("{doing} {}", path.display()),
        source: Box::new(source),
    }
}
