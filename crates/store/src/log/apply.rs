//! One batch, judged and written into the tables within a transaction.

use std::collections::BTreeMap;

use domain::Digest;
use ports::log::{Append, Batch, Error, NUMBER_MAX, NewEvent, Position};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::chain;
use super::heads::{Correlation, Heads, Stream};

/// A batch that was checked, and the content hash of each of its events, in order: what can be
/// computed without the writer.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: Batch,
    contents: Vec<Digest>,
}

impl Prepared {
    /// Computes the content hashes of a batch whose form was checked.
    pub(super) fn new(batch: Batch) -> Self {
        let mut contents = Vec::new();
        for append in &batch.appends {
            for (version, event) in (1..).zip(&append.events) {
                // What passes the largest version is refused: no stream holds as many.
                let version = append.expected.saturating_add(version);
                contents.push(chain::content(&append.stream, version, event));
            }
        }
        Self { batch, contents }
    }
}

/// Why a batch was not applied.
pub(super) enum Stop {
    /// The batch itself cannot be kept, and nothing of it was written.
    Refused(Error),
    /// The batch itself cannot be kept, and some of it was written.
    RefusedLate(Error),
    /// The store failed.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// The statements that write, compiled once.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    event: CachedStatement<'c>,
    effect: CachedStatement<'c>,
    waiting: CachedStatement<'c>,
    settle: CachedStatement<'c>,
    done: CachedStatement<'c>,
}

/// What a batch has changed so far, known to nobody else until it is wholly applied.
struct Step<'b> {
    head: i64,
    place: i64,
    correlations: BTreeMap<&'b str, Correlation>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            event: connection.prepare_cached(
                "INSERT INTO events (position, stream, version, stream_before, correlation, \
                 correlation_before, id, kind, time, actor, epoch, causation, traceparent, \
                 previous, hash, data) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
                 ON CONFLICT (id) DO NOTHING",
            )?,
            effect: connection.prepare_cached(
                "INSERT INTO effects (id, place, asked_at) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (id) DO NOTHING",
            )?,
            waiting: connection.prepare_cached(
                "INSERT INTO outbox (place, id, correlation, body, asked_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            settle: connection.prepare_cached(
                "UPDATE effects SET settled_at = ?2 WHERE id = ?1 AND settled_at IS NULL \
                 RETURNING place",
            )?,
            done: connection.prepare_cached("DELETE FROM outbox WHERE place = ?1 AND id = ?2")?,
        })
    }

    /// Applies the batch and moves the heads. All versions are judged before anything is written.
    pub(super) fn apply(&mut self, heads: &mut Heads, prepared: &Prepared) -> Result<(), Stop> {
        let batch = &prepared.batch;
        let mut ends = Vec::with_capacity(batch.appends.len());
        for append in &batch.appends {
            ends.push(self.end(heads, append)?);
        }
        let mut step = Step {
            head: heads.head,
            place: heads.place,
            correlations: BTreeMap::new(),
        };
        let mut contents = prepared.contents.iter();
        let mut moved = Vec::with_capacity(ends.len());
        for (append, end) in batch.appends.iter().zip(ends) {
            moved.push(self.append(heads, &mut step, append, end, &mut contents)?);
        }
        self.effects(&mut step, batch)?;
        (heads.head, heads.place) = (step.head, step.place);
        for (append, (key, end)) in batch.appends.iter().zip(moved) {
            heads.move_stream(&append.stream, key, end);
        }
        for (name, end) in step.correlations {
            heads.move_correlation(name, end);
        }
        Ok(())
    }

    /// Returns the end of a stream, if it is the one that the append builds on.
    fn end(&self, heads: &mut Heads, append: &Append) -> Result<Stream, Stop> {
        let end = heads.stream(self.connection, &append.stream)?;
        if end.version.unsigned_abs() == append.expected {
            return Ok(end);
        }
        Err(Stop::Refused(Error::Conflict {
            stream: append.stream.clone(),
            expected: append.expected,
            actual: end.version.unsigned_abs(),
        }))
    }

    fn append<'b>(
        &mut self,
        heads: &mut Heads,
        step: &mut Step<'b>,
        append: &'b Append,
        mut end: Stream,
        contents: &mut std::slice::Iter<'_, Digest>,
    ) -> Result<(i64, Stream), Stop> {
        let key = match end.key {
            Some(key) => key,
            None => self.name(
                "INSERT INTO streams (name, last) VALUES (?1, 0)",
                &append.stream,
            )?,
        };
        for (event, content) in append.events.iter().zip(contents) {
            step.head += 1;
            let correlated = self.correlate(heads, step, event)?;
            let hash = chain::link(
                &Digest::from_bytes(end.hash),
                Position(step.head.unsigned_abs()),
                content,
            );
            let stored = self.event.execute(params![
                step.head,
                key,
                end.version + 1,
                end.last,
                correlated.key,
                correlated.last,
                event.id.bits().to_be_bytes(),
                event.kind,
                signed(event.time.0)?,
                event.actor,
                signed(event.epoch)?,
                event.causation,
                event.traceparent,
                end.hash,
                hash.as_bytes(),
                event.data,
            ])?;
            if stored == 0 {
                return Err(Stop::RefusedLate(Error::Duplicate(event.id)));
            }
            end.last = step.head;
            end.version += 1;
            end.hash = *hash.as_bytes();
        }
        Ok((key, end))
    }

    /// Returns the correlation as it was before the event, and moves it to the event.
    fn correlate<'b>(
        &self,
        heads: &mut Heads,
        step: &mut Step<'b>,
        event: &'b NewEvent,
    ) -> Result<Correlation, Stop> {
        let name = event.correlation.as_str();
        let before = match step.correlations.get(name) {
            Some(moved) => *moved,
            None => match heads.correlation(self.connection, name)? {
                Some(known) => known,
                None => Correlation {
                    key: self.name("INSERT INTO correlations (name, last) VALUES (?1, 0)", name)?,
                    last: 0,
                },
            },
        };
        let after = Correlation {
            key: before.key,
            last: step.head,
        };
        step.correlations.insert(name, after);
        Ok(before)
    }

    /// Stores a name that is new and returns its key.
    fn name(&self, insert: &str, name: &str) -> rusqlite::Result<i64> {
        self.connection.prepare_cached(insert)?.insert([name])
    }

    fn effects(&mut self, step: &mut Step<'_>, batch: &Batch) -> rusqlite::Result<()> {
        for effect in &batch.effects {
            let id = effect.id.bits().to_be_bytes();
            step.place += 1;
            if self.effect.execute(params![id, step.place, step.head])? == 1 {
                self.waiting.execute(params![
                    step.place,
                    id,
                    effect.correlation,
                    effect.body,
                    step.head
                ])?;
            }
        }
        for id in &batch.settled {
            let id = id.bits().to_be_bytes();
            let place: Option<i64> = self
                .settle
                .query_row(params![id, step.head], |row| row.get(0))
                .optional()?;
            if let Some(place) = place {
                self.done.execute(params![place, id])?;
            }
        }
        Ok(())
    }
}

fn signed(number: u64) -> Result<i64, Stop> {
    i64::try_from(number).map_err(|_| {
        Stop::RefusedLate(Error::Malformed(format!(
            "{number} is over the limit of {NUMBER_MAX}"
        )))
    })
}
