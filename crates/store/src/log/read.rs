//! What is read back.

use domain::{Digest, EffectId, EventId, Timestamp};
use ports::log::{Error, NewEffect, NewEvent, PendingEffect, Position, Recorded};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::Size;
use super::chain;
use super::fault::fault;

pub(super) const COLUMNS: &str = "SELECT position, stream, version, stream_before, id, kind, time, actor, \
    epoch, correlation, correlation_before, causation, traceparent, data, previous, hash \
    FROM recorded";

/// Returns the events of a stream after `version`.
pub(super) fn stream(
    connection: &Connection,
    stream: &str,
    version: u64,
) -> Result<Vec<Recorded>, Error> {
    let last = "SELECT last FROM streams WHERE name = ?1";
    backwards(connection, last, stream, "stream_before", &|it| {
        belongs(it, stream, &it.stream)?;
        Ok(it.version > version)
    })
}

/// Returns the events with a correlation after `after`.
pub(super) fn correlated(
    connection: &Connection,
    correlation: &str,
    after: Position,
) -> Result<Vec<Recorded>, Error> {
    let last = "SELECT last FROM correlations WHERE name = ?1";
    backwards(connection, last, correlation, "correlation_before", &|it| {
        belongs(it, correlation, &it.event.correlation)?;
        Ok(it.position > after)
    })
}

/// Walks from the last event of `name`, which the query `last` finds, to the one that the column
/// `before` names, and so on, while events are `wanted`; returns them in log order.
fn backwards(
    connection: &Connection,
    last: &str,
    name: &str,
    before: &str,
    wanted: &dyn Fn(&Recorded) -> Result<bool, Error>,
) -> Result<Vec<Recorded>, Error> {
    let wrong = |it| fault("reading the log", it);
    // One snapshot for all steps; it ends when this is dropped.
    let snapshot = connection.unchecked_transaction().map_err(wrong)?;
    let mut position: i64 = snapshot
        .prepare_cached(last)
        .and_then(|mut it| it.query_row([name], |row| row.get(0)).optional())
        .map_err(wrong)?
        .unwrap_or(0);
    let query = format!("{COLUMNS} WHERE position = ?1");
    let mut statement = snapshot.prepare_cached(&query).map_err(wrong)?;
    let mut found = Vec::new();
    while position != 0 {
        let mut rows = statement.query([position]).map_err(wrong)?;
        let Some(row) = rows.next().map_err(wrong)? else {
            return Err(Error::Damaged(format!(
                "event {position} of {name} is missing"
            )));
        };
        let next: i64 = column(row, before)?;
        if next < 0 || next >= position {
            return Err(Error::Damaged(format!(
                "event {position} of {name} is said to follow {next}"
            )));
        }
        let event = recorded(row)?;
        if !wanted(&event)? {
            break;
        }
        found.push(event);
        position = next;
    }
    found.reverse();
    Ok(found)
}

fn belongs(event: &Recorded, wanted: &str, found: &str) -> Result<(), Error> {
    if wanted == found {
        return Ok(());
    }
    let position = event.position.0;
    Err(Error::Damaged(format!(
        "event {position} was linked as one of {wanted} but is one of {found}"
    )))
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
        ORDER BY place";
    collect(connection, query, (), |row| {
        Ok(PendingEffect {
            effect: NewEffect {
                id: identifier(row).map(EffectId::from_bits)?,
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
        pending: one(connection, "SELECT count(*) FROM outbox")?,
        bytes: page * one(connection, "PRAGMA page_count")?,
        bytes_free: page * one(connection, "PRAGMA freelist_count")?,
    })
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

/// Reads an event, and refuses one that is not what was recorded: nobody decides on it.
pub(super) fn recorded(row: &Row<'_>) -> Result<Recorded, Error> {
    let found = as_stored(row)?;
    let content = chain::content(&found.stream, found.version, &found.event);
    if found.hash == chain::link(&found.previous, found.position, &content) {
        return Ok(found);
    }
    Err(Error::Damaged(format!(
        "event {} ({} version {}) is not what was recorded; `palisade audit verify` lists all that \
         was changed",
        found.position.0, found.stream, found.version
    )))
}

fn as_stored(row: &Row<'_>) -> Result<Recorded, Error> {
    Ok(Recorded {
        position: Position(unsigned(row, "position")?),
        stream: column(row, "stream")?,
        version: unsigned(row, "version")?,
        event: NewEvent {
            id: identifier(row).map(EventId::from_bits)?,
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

pub(super) fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, Error> {
    row.get(name)
        .map_err(|error| Error::Damaged(format!("column {name}: {error}")))
}

pub(super) fn unsigned(row: &Row<'_>, name: &str) -> Result<u64, Error> {
    let number: i64 = column(row, name)?;
    u64::try_from(number)
        .map_err(|_| Error::Damaged(format!("column {name} holds {number}, below zero")))
}

fn identifier(row: &Row<'_>) -> Result<u128, Error> {
    column(row, "id").map(u128::from_be_bytes)
}

/// Returns the number as SQLite holds it: what is beyond is beyond everything stored.
fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
