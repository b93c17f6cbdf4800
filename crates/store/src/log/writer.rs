//! The one thread that writes: it gathers what waits, commits it at once, and answers everybody.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use domain::Digest;
use ports::log::{Append, Batch, Error, NUMBER_MAX, Position};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, TransactionBehavior, params};

use super::chain;
use super::fault::shared;

/// Batches in one transaction at most.
const GROUP_BATCHES_MAX: usize = 256;

/// Bytes of data after which no more batches join a transaction.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// What a failed commit was doing.
const DOING: &str = "appending a batch";

/// A batch that waits, and where its answer goes.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) answer: SyncSender<Result<Position, Error>>,
}

/// Writes until nobody can ask any more.
pub(super) fn run(mut connection: Connection, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let (batches, answers) = gather(first, requests);
        let outcomes = commit(&mut connection, &batches);
        for (answer, outcome) in answers.iter().zip(outcomes) {
            if answer.send(outcome).is_err() {
                // The caller's thread is gone; what it asked for is kept all the same.
            }
        }
    }
}

type Answers = Vec<SyncSender<Result<Position, Error>>>;

fn gather(first: Request, requests: &Receiver<Request>) -> (Vec<Batch>, Answers) {
    let mut bytes = bytes(&first.batch);
    let mut batches = vec![first.batch];
    let mut answers = vec![first.answer];
    while batches.len() < GROUP_BATCHES_MAX
        && bytes < GROUP_BYTES_MAX
        && let Ok(next) = requests.try_recv()
    {
        bytes += self::bytes(&next.batch);
        batches.push(next.batch);
        answers.push(next.answer);
    }
    (batches, answers)
}

fn bytes(batch: &Batch) -> usize {
    let events = batch.appends.iter().flat_map(|it| &it.events);
    let effects = batch.effects.iter();
    events.map(|it| it.data.len()).sum::<usize>() + effects.map(|it| it.body.len()).sum::<usize>()
}

/// Commits the batches together. A batch that is refused does not touch the others; when the
/// store itself fails, nothing of any of them is kept and all are told.
fn commit(connection: &mut Connection, batches: &[Batch]) -> Vec<Result<Position, Error>> {
    match try_commit(connection, batches) {
        Ok(outcomes) => outcomes,
        Err(source) => {
            let source = Arc::new(source);
            let told = |_: &Batch| Err(shared(DOING, &source));
            batches.iter().map(told).collect()
        }
    }
}

type Outcomes = Vec<Result<Position, Error>>;

fn try_commit(connection: &mut Connection, batches: &[Batch]) -> rusqlite::Result<Outcomes> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut head: i64 = transaction
        .prepare_cached("SELECT coalesce(max(position), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut savepoint = transaction.savepoint()?;
        let outcome = match Statements::prepare(&savepoint)?.apply(batch, head) {
            Ok(position) => Ok(position),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Failed(error)) => return Err(error),
        };
        if let Ok(position) = &outcome {
            head = *position;
            savepoint.commit()?;
        } else {
            savepoint.rollback()?;
            savepoint.commit()?;
        }
        outcomes.push(outcome.map(|it| Position(it.unsigned_abs())));
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Why a batch was not applied.
enum Stop {
    /// The batch itself cannot be kept; the others can.
    Refused(Error),
    /// The store failed.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

struct Statements<'c> {
    last: CachedStatement<'c>,
    event: CachedStatement<'c>,
    effect: CachedStatement<'c>,
    settle: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            last: connection.prepare_cached(
                "SELECT version, hash FROM events WHERE stream = ?1 ORDER BY version DESC LIMIT 1",
            )?,
            event: connection.prepare_cached(
                "INSERT INTO events (position, stream, version, id, kind, time, actor, epoch, \
                 correlation, causation, traceparent, data, previous, hash) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
                 ON CONFLICT (id) DO NOTHING",
            )?,
            effect: connection.prepare_cached(
                "INSERT INTO outbox (id, correlation, body, asked_at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (id) DO NOTHING",
            )?,
            settle: connection.prepare_cached(
                "UPDATE outbox SET settled_at = ?2 WHERE id = ?1 AND settled_at IS NULL",
            )?,
        })
    }

    /// Returns the head after the batch.
    fn apply(&mut self, batch: &Batch, mut head: i64) -> Result<i64, Stop> {
        for append in &batch.appends {
            head = self.append(append, head)?;
        }
        for effect in &batch.effects {
            let id = effect.id.to_string();
            self.effect
                .execute(params![id, effect.correlation, effect.body, head])?;
        }
        for id in &batch.settled {
            self.settle.execute(params![id.to_string(), head])?;
        }
        Ok(head)
    }

    fn append(&mut self, append: &Append, mut head: i64) -> Result<i64, Stop> {
        let stream = append.stream.as_str();
        let last: Option<(i64, [u8; 32])> = self
            .last
            .query_row([stream], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (mut version, mut previous) = last.unwrap_or_default();
        if version.unsigned_abs() != append.expected {
            return Err(Stop::Refused(Error::Conflict {
                stream: stream.to_owned(),
                expected: append.expected,
                actual: version.unsigned_abs(),
            }));
        }
        for event in &append.events {
            version += 1;
            head += 1;
            let hash = chain::link(
                &Digest::from_bytes(previous),
                Position(head.unsigned_abs()),
                stream,
                version.unsigned_abs(),
                event,
            );
            let stored = self.event.execute(params![
                head,
                stream,
                version,
                event.id.to_string(),
                event.kind,
                signed(event.time.0)?,
                event.actor,
                signed(event.epoch)?,
                event.correlation,
                event.causation,
                event.traceparent,
                event.data,
                previous,
                hash.as_bytes(),
            ])?;
            if stored == 0 {
                return Err(Stop::Refused(Error::Duplicate(event.id)));
            }
            previous = *hash.as_bytes();
        }
        Ok(head)
    }
}

fn signed(number: u64) -> Result<i64, Stop> {
    i64::try_from(number).map_err(|_| {
        Stop::Refused(Error::Malformed(format!(
            "{number} is over the limit of {NUMBER_MAX}"
        )))
    })
}
