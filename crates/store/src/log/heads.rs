//! Where everything ends: the log, the outbox, each stream and each correlation. The writer
//! remembers it between transactions for as long as no other process has written.

use std::collections::{BTreeMap, HashMap};

use ports::log::Position;
use rusqlite::{Connection, OptionalExtension as _};

/// Streams and correlations that are remembered; beyond, all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 20_000;

/// Where a stream ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// Its row; `None` for a stream that is not there yet.
    pub(super) key: Option<i64>,
    /// The position of its last event; zero when it has none.
    pub(super) last: i64,
    pub(super) version: i64,
    pub(super) hash: [u8; 32],
}

/// Where a correlation ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlation {
    pub(super) key: i64,
    /// The position of its last event.
    pub(super) last: i64,
}

/// All ends. What a transaction changes of streams and correlations is remembered here and
/// written once, by [`Heads::flush`], however many batches moved them.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// What `data_version` said when the rest was learnt; `None` when nothing is known.
    seen: Option<i64>,
    /// The last position.
    pub(super) head: i64,
    /// The last place among the effects that wait.
    pub(super) place: i64,
    streams: HashMap<String, Stream>,
    correlations: HashMap<String, Correlation>,
    /// New ends by key, not yet written.
    moved_streams: BTreeMap<i64, i64>,
    moved_correlations: BTreeMap<i64, i64>,
}

impl Heads {
    /// Makes sure, within a write transaction, that what is remembered is what is stored.
    pub(super) fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let number = |query| {
            connection
                .prepare_cached(query)?
                .query_row([], |row| row.get::<_, i64>(0))
        };
        // It changes when, and only when, another connection has committed something.
        let now = number("PRAGMA data_version")?;
        if self.seen == Some(now) {
            if self.streams.len().max(self.correlations.len()) > REMEMBERED_MAX {
                self.streams.clear();
                self.correlations.clear();
            }
            return Ok(());
        }
        self.forget();
        self.head = number("SELECT coalesce(max(position), 0) FROM events")?;
        self.place = number("SELECT coalesce(max(place), 0) FROM outbox")?;
        self.seen = Some(now);
        Ok(())
    }

    /// Forgets everything: the transaction that it was learnt in was not kept.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns the last position.
    pub(super) fn position(&self) -> Position {
        Position(self.head.unsigned_abs())
    }

    /// Returns the end of a stream.
    pub(super) fn stream(
        &mut self,
        connection: &Connection,
        name: &str,
    ) -> rusqlite::Result<Stream> {
        if let Some(known) = self.streams.get(name) {
            return Ok(*known);
        }
        let found = connection
            .prepare_cached(
                "SELECT key, last, version, hash FROM streams \
                 JOIN events ON position = last WHERE name = ?1",
            )?
            .query_row([name], |row| {
                Ok(Stream {
                    key: Some(row.get(0)?),
                    last: row.get(1)?,
                    version: row.get(2)?,
                    hash: row.get(3)?,
                })
            })
            .optional()?;
        if let Some(stream) = found {
            self.streams.insert(name.to_owned(), stream);
        }
        Ok(found.unwrap_or_default())
    }

    /// Returns the end of a correlation, if it has any event.
    pub(super) fn correlation(
        &mut self,
        connection: &Connection,
        name: &str,
    ) -> rusqlite::Result<Option<Correlation>> {
        if let Some(known) = self.correlations.get(name) {
            return Ok(Some(*known));
        }
        let found = connection
            .prepare_cached("SELECT key, last FROM correlations WHERE name = ?1")?
            .query_row([name], |row| {
                Ok(Correlation {
                    key: row.get(0)?,
                    last: row.get(1)?,
                })
            })
            .optional()?;
        if let Some(correlation) = found {
            self.correlations.insert(name.to_owned(), correlation);
        }
        Ok(found)
    }

    /// Notes where a batch that was applied has left a stream.
    pub(super) fn move_stream(&mut self, name: &str, key: i64, to: Stream) {
        let to = Stream {
            key: Some(key),
            ..to
        };
        self.moved_streams.insert(key, to.last);
        remember(&mut self.streams, name, to);
    }

    /// Notes where a batch that was applied has left a correlation.
    pub(super) fn move_correlation(&mut self, name: &str, to: Correlation) {
        self.moved_correlations.insert(to.key, to.last);
        remember(&mut self.correlations, name, to);
    }

    /// Writes what was moved.
    pub(super) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut stream =
            connection.prepare_cached("UPDATE streams SET last = ?2 WHERE key = ?1")?;
        for end in std::mem::take(&mut self.moved_streams) {
            stream.execute(end)?;
        }
        let mut correlation =
            connection.prepare_cached("UPDATE correlations SET last = ?2 WHERE key = ?1")?;
        for end in std::mem::take(&mut self.moved_correlations) {
            correlation.execute(end)?;
        }
        Ok(())
    }
}

fn remember<T>(ends: &mut HashMap<String, T>, name: &str, end: T) {
    match ends.get_mut(name) {
        Some(known) => *known = end,
        None => drop(ends.insert(name.to_owned(), end)),
    }
}
