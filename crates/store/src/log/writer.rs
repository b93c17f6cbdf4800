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

/// Times that the writer gives way to callers that are about to ask.
const YIELDS_MAX: usize = 16;

/// What a failed commit was doing.
const DOING: &str = "appending a batch";

/// A batch that waits, and where its answer goes.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) answer: SyncSender<Result<Position, Error>>,
}

/// Writes until nobody can ask any more.
pub(super) fn run(mut connection: Connection, requests: &Receiver<Request>) {
    let mut before = 1;
    while let Ok(first) = requests.recv() {
        let group = Group::gather(first, requests, before);
        before = group.batches.len();
        let outcomes = commit(&mut connection, &group.batches);
        for (answer, outcome) in group.answers.iter().zip(outcomes) {
            if answer.send(outcome).is_err() {
                // The caller's thread is gone; what it asked for is kept all the same.
            }
        }
    }
}

/// What is committed together.
struct Group {
    batches: Vec<Batch>,
    answers: Vec<SyncSender<Result<Position, Error>>>,
    bytes: usize,
}

impl Group {
    /// Takes what waits. Callers that were answered a moment ago are about to ask again: as long
    /// as fewer wait than the `before` of the last time, and more keep coming, they are given way.
    fn gather(first: Request, requests: &Receiver<Request>, before: usize) -> Self {
        let mut group = Self {
            bytes: bytes(&first.batch),
            batches: vec![first.batch],
            answers: vec![first.answer],
        };
        for _ in 0..YIELDS_MAX {
            group.drain(requests);
            if group.batches.len() >= before {
                break;
            }
            std::thread::yield_now();
        }
        group
    }

    fn drain(&mut self, requests: &Receiver<Request>) {
        while self.batches.len() < GROUP_BATCHES_MAX
            && self.bytes < GROUP_BYTES_MAX
            && let Ok(next) = requests.try_recv()
        {
            self.bytes += bytes(&next.batch);
            self.batches.push(next.batch);
            self.answers.push(next.answer);
        }
    }
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

/// Commits the group. Nearly always nothing is refused after something of it was written; only
/// when that happens the group is begun anew, with a savepoint for each batch, which costs a copy
/// of every page that is touched.
fn try_commit(connection: &mut Connection, batches: &[Batch]) -> rusqlite::Result<Outcomes> {
    if let Some(outcomes) = commit_plainly(connection, batches)? {
        return Ok(outcomes);
    }
    commit_with_savepoints(connection, batches)
}

/// Returns nothing, and keeps nothing, when a batch was refused after it had begun to write.
fn commit_plainly(
    connection: &mut Connection,
    batches: &[Batch],
) -> rusqlite::Result<Option<Outcomes>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut log = Ends::read(&transaction)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    let mut statements = Statements::prepare(&transaction)?;
    for batch in batches {
        match statements.apply(batch, log) {
            Ok(after) => {
                log = after;
                outcomes.push(Ok(after.position()));
            }
            Err(Stop::Refused(error)) => outcomes.push(Err(error)),
            Err(Stop::RefusedLate(_)) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    drop(statements);
    transaction.commit()?;
    Ok(Some(outcomes))
}

fn commit_with_savepoints(
    connection: &mut Connection,
    batches: &[Batch],
) -> rusqlite::Result<Outcomes> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut log = Ends::read(&transaction)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut savepoint = transaction.savepoint()?;
        let outcome = Statements::prepare(&savepoint)?.apply(batch, log);
        match outcome {
            Ok(after) => {
                log = after;
                outcomes.push(Ok(after.position()));
            }
            Err(Stop::Refused(error) | Stop::RefusedLate(error)) => {
                savepoint.rollback()?;
                outcomes.push(Err(error));
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
        savepoint.commit()?;
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Where the log and the outbox end.
#[derive(Clone, Copy)]
struct Ends {
    head: i64,
    /// The last place among the effects that wait; the settled ones have no order to keep.
    place: i64,
}

impl Ends {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |query| {
            connection
                .prepare_cached(query)?
                .query_row([], |row| row.get(0))
        };
        Ok(Self {
            head: number("SELECT coalesce(max(position), 0) FROM events")?,
            place: number("SELECT coalesce(max(place), 0) FROM outbox WHERE settled_at IS NULL")?,
        })
    }

    fn position(self) -> Position {
        Position(self.head.unsigned_abs())
    }
}

/// Why a batch was not applied.
enum Stop {
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
                "INSERT INTO outbox (id, correlation, body, asked_at, place) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING",
            )?,
            settle: connection.prepare_cached(
                "UPDATE outbox SET settled_at = ?2 WHERE id = ?1 AND settled_at IS NULL",
            )?,
        })
    }

    /// Returns the ends after the batch. All versions are judged before anything is written.
    fn apply(&mut self, batch: &Batch, mut log: Ends) -> Result<Ends, Stop> {
        let mut ends = Vec::with_capacity(batch.appends.len());
        for append in &batch.appends {
            ends.push(self.end(append)?);
        }
        for (append, end) in batch.appends.iter().zip(ends) {
            log.head = self.append(append, end, log.head)?;
        }
        for effect in &batch.effects {
            log.place += 1;
            self.effect.execute(params![
                effect.id.to_string(),
                effect.correlation,
                effect.body,
                log.head,
                log.place
            ])?;
        }
        for id in &batch.settled {
            self.settle.execute(params![id.to_string(), log.head])?;
        }
        Ok(log)
    }

    /// Returns the version and hash that the append builds on.
    fn end(&mut self, append: &Append) -> Result<(i64, [u8; 32]), Stop> {
        let end: Option<(i64, [u8; 32])> = self
            .last
            .query_row([&append.stream], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (version, previous) = end.unwrap_or_default();
        if version.unsigned_abs() == append.expected {
            return Ok((version, previous));
        }
        Err(Stop::Refused(Error::Conflict {
            stream: append.stream.clone(),
            expected: append.expected,
            actual: version.unsigned_abs(),
        }))
    }

    fn append(
        &mut self,
        append: &Append,
        (mut version, mut previous): (i64, [u8; 32]),
        mut head: i64,
    ) -> Result<i64, Stop> {
        for event in &append.events {
            version += 1;
            head += 1;
            let hash = chain::link(
                &Digest::from_bytes(previous),
                Position(head.unsigned_abs()),
                &append.stream,
                version.unsigned_abs(),
                event,
            );
            let stored = self.event.execute(params![
                head,
                append.stream,
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
                return Err(Stop::RefusedLate(Error::Duplicate(event.id)));
            }
            previous = *hash.as_bytes();
        }
        Ok(head)
    }
}

fn signed(number: u64) -> Result<i64, Stop> {
    i64::try_from(number).map_err(|_| {
        Stop::RefusedLate(Error::Malformed(format!(
            "{number} is over the limit of {NUMBER_MAX}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use testkit::log::build::{append, batch, effect};

    use super::*;
    use crate::log::{read, schema};

    fn fresh() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open_or_make(&folder.path().join("log.db")).unwrap();
        (folder, connection)
    }

    fn stored(connection: &Connection) -> Vec<u128> {
        let read = read::all(connection, Position(0), usize::MAX).unwrap();
        read.iter().map(|it| it.event.id.bits()).collect()
    }

    #[test]
    fn a_refusal_within_a_group_harms_no_other() {
        let (_folder, mut connection) = fresh();
        let mut torn = batch([append("b", 0, [3, 1])]);
        torn.effects = vec![effect(1)];
        let group = [
            batch([append("a", 0, [1, 2])]),
            torn,
            batch([append("a", 1, [4])]),
            batch([append("a", 2, [5]), append("b", 0, [3])]),
            Batch::default(),
        ];
        let outcomes = commit(&mut connection, &group);
        assert!(matches!(outcomes[0], Ok(Position(2))), "{outcomes:?}");
        assert!(
            matches!(outcomes[1], Err(Error::Duplicate(it)) if it.bits() == 1),
            "{outcomes:?}"
        );
        assert!(
            matches!(outcomes[2], Err(Error::Conflict { actual: 2, .. })),
            "{outcomes:?}"
        );
        assert!(matches!(outcomes[3], Ok(Position(4))), "{outcomes:?}");
        assert!(matches!(outcomes[4], Ok(Position(4))), "{outcomes:?}");
        assert_eq!(stored(&connection), [1, 2, 5, 3]);
        assert_eq!(read::pending(&connection).unwrap(), []);
        assert_eq!(read::verify(&connection).unwrap().broken, []);
    }

    #[test]
    fn a_full_disk_keeps_nothing_of_the_group_and_room_mends_it() {
        let (_folder, mut connection) = fresh();
        commit(&mut connection, &[batch([append("a", 0, [1])])]);
        let pages: u32 = connection
            .query_row("PRAGMA page_count", (), |row| row.get(0))
            .unwrap();
        let limit = |connection: &Connection, pages: u32| {
            let query = format!("PRAGMA max_page_count = {pages}");
            let set: u32 = connection.query_row(&query, (), |row| row.get(0)).unwrap();
            assert_eq!(set, pages);
        };
        limit(&connection, pages + 4);
        let mut large = batch([append("b", 0, [3])]);
        large.appends[0].events[0].data = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let group = [batch([append("a", 1, [2])]), large];
        for outcome in commit(&mut connection, &group) {
            assert!(matches!(outcome, Err(Error::DiskFull)), "{outcome:?}");
        }
        assert_eq!(stored(&connection), [1]);
        limit(&connection, pages + 1_000);
        for outcome in commit(&mut connection, &group) {
            outcome.unwrap();
        }
        assert_eq!(stored(&connection), [1, 2, 3]);
        assert_eq!(read::verify(&connection).unwrap().broken, []);
    }

    #[test]
    fn a_log_that_another_process_holds_is_told_and_mends_itself() {
        let (folder, mut connection) = fresh();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let mut other = schema::open_or_make(&folder.path().join("log.db")).unwrap();
        let held = other
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        let group = [batch([append("a", 0, [1])])];
        let outcome = commit(&mut connection, &group).remove(0);
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("another process"), "{text}");
        drop(held);
        commit(&mut connection, &group).remove(0).unwrap();
        assert_eq!(stored(&connection), [1]);
    }
}
