//! What is read back, and the verification of the chain.

use std::collections::BTreeMap;
use std::str::FromStr;

use domain::{Digest, Timestamp};
use ports::log::{Error, NewEffect, NewEvent, PendingEffect, Position, Recorded, Verification};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};

use super::fault::fault;
use super::{Size, chain};

const COLUMNS: &str = "SELECT position, stream, version, id, kind, time, actor, epoch, \
    correlation, causation, traceparent, data, previous, hash FROM events";

/// The name under which a hole in the positions is reported; no stream is called so.
const WHOLE_LOG: &str = "(the whole log)";

/// Returns the events of a stream after `version`.
pub(super) fn stream(
    connection: &Connection,
    stream: &str,
    version: u64,
) -> Result<Vec<Recorded>, Error> {
    let query = format!("{COLUMNS} WHERE stream = ?1 AND version > ?2 ORDER BY version");
    collect(connection, &query, (stream, bound(version)), recorded)
}

/// Returns the events with a correlation after `after`.
pub(super) fn correlated(
    connection: &Connection,
    correlation: &str,
    after: Position,
) -> Result<Vec<Recorded>, Error> {
    let query = format!("{COLUMNS} WHERE correlation = ?1 AND position > ?2 ORDER BY position");
    collect(connection, &query, (correlation, bound(after.0)), recorded)
}

/// Returns at most `limit` events after `after`.
pub(super) fn all(
    connection: &Connection,
    after: Position,
    limit: usize,
) -> Result<Vec<Recorded>, Error> {
    let query = format!("{COLUMNS} WHERE position > ?1 ORDER BY position LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(connection, &query, (bound(after.0), limit), recorded)
}

/// Returns the last position.
pub(super) fn head(connection: &Connection) -> Result<Position, Error> {
    let query = "SELECT coalesce(max(position), 0) FROM events";
    one(connection, query).map(Position)
}

/// Returns the effects that wait.
pub(super) fn pending(connection: &Connection) -> Result<Vec<PendingEffect>, Error> {
    let query = "SELECT id, correlation, body, asked_at FROM outbox \
        WHERE settled_at IS NULL ORDER BY place";
    collect(connection, query, (), |row| {
        Ok(PendingEffect {
            effect: NewEffect {
                id: parsed(row, "id")?,
                correlation: column(row, "correlation")?,
                body: column(row, "body")?,
            },
            asked_at: Position(unsigned(row, "asked_at")?),
        })
    })
}

/// Returns how large the log is.
pub(super) fn size(connection: &Connection) -> Result<Size, Error> {
    let page = one(connection, "PRAGMA page_size")?;
    Ok(Size {
        events: head(connection)?.0,
        pending: one(
            connection,
            "SELECT count(*) FROM outbox WHERE settled_at IS NULL",
        )?,
        bytes: page * one(connection, "PRAGMA page_count")?,
        bytes_free: page * one(connection, "PRAGMA freelist_count")?,
    })
}

/// Walks every chain in one pass over the log.
pub(super) fn verify(connection: &Connection) -> Result<Verification, Error> {
    let wrong = |it| fault("verifying the log", it);
    let query = format!("{COLUMNS} ORDER BY position");
    let mut statement = connection.prepare_cached(&query).map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    let mut walk = Walk::default();
    while let Some(row) = rows.next().map_err(wrong)? {
        walk.step(row)?;
    }
    Ok(walk.finish())
}

#[derive(Default)]
struct Walk {
    found: Verification,
    position: u64,
    /// The version and hash that the next event of each stream builds on; `None` once broken.
    ends: BTreeMap<String, Option<(u64, Digest)>>,
}

impl Walk {
    fn step(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let stream: String = column(row, "stream")?;
        let version = unsigned(row, "version")?;
        let position = unsigned(row, "position")?;
        if position != self.position + 1 {
            let hole = (WHOLE_LOG.to_owned(), self.position + 1);
            self.found.broken.push(hole);
        }
        self.position = position;
        self.found.events += 1;
        let end = self.ends.entry(stream).or_insert(Some((0, Digest::ZERO)));
        let Some((before, previous)) = *end else {
            return Ok(());
        };
        // A row that cannot even be read is a broken link, not a failure to read the log.
        let read = recorded(row).ok();
        let hash = read
            .as_ref()
            .filter(|it| it.version == before + 1 && it.previous == previous)
            .map(|it| chain::link(&previous, it.position, &it.stream, it.version, &it.event));
        let stored = read.as_ref().map(|it| it.hash);
        if hash.is_some() && hash == stored {
            *end = hash.map(|it| (version, it));
        } else {
            // What is missing is the first bad version, if something is.
            *end = None;
            let stream: String = column(row, "stream")?;
            self.found.broken.push((stream, version.min(before + 1)));
        }
        Ok(())
    }

    fn finish(mut self) -> Verification {
        self.found.streams = u64::try_from(self.ends.len()).unwrap_or(u64::MAX);
        self.found.broken.sort();
        self.found
    }
}

fn collect<T>(
    connection: &Connection,
    query: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let wrong = |it| fault("reading the log", it);
    let mut statement = connection.prepare_cached(query).map_err(wrong)?;
    let mut rows = statement.query(params).map_err(wrong)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(wrong)? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn one(connection: &Connection, query: &str) -> Result<u64, Error> {
    let number: i64 = connection
        .prepare_cached(query)
        .and_then(|mut it| it.query_row((), |row| row.get(0)))
        .map_err(|it| fault("reading the log", it))?;
    Ok(number.unsigned_abs())
}

fn recorded(row: &Row<'_>) -> Result<Recorded, Error> {
    Ok(Recorded {
        position: Position(unsigned(row, "position")?),
        stream: column(row, "stream")?,
        version: unsigned(row, "version")?,
        event: NewEvent {
            id: parsed(row, "id")?,
            kind: column(row, "kind")?,
            time: Timestamp(unsigned(row, "time")?),
            actor: column(row, "actor")?,
            epoch: unsigned(row, "epoch")?,
            correlation: column(row, "correlation")?,
            causation: column(row, "causation")?,
            traceparent: column(row, "traceparent")?,
            data: column(row, "data")?,
        },
        previous: Digest::from_bytes(column(row, "previous")?),
        hash: Digest::from_bytes(column(row, "hash")?),
    })
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, Error> {
    row.get(name)
        .map_err(|error| Error::Damaged(format!("column {name}: {error}")))
}

fn unsigned(row: &Row<'_>, name: &str) -> Result<u64, Error> {
    let number: i64 = column(row, name)?;
    u64::try_from(number)
        .map_err(|_| Error::Damaged(format!("column {name} holds {number}, below zero")))
}

fn parsed<T: FromStr>(row: &Row<'_>, name: &str) -> Result<T, Error> {
    let text: String = column(row, name)?;
    text.parse()
        .map_err(|_| Error::Damaged(format!("column {name} holds {text:?}, not an identifier")))
}

/// Returns the number as SQLite holds it: what is beyond is beyond everything stored.
fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
