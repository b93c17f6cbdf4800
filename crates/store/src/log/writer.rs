//! The writing: whoever comes first commits for all who wait, and then hands over to the next.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ports::log::{Batch, Error, Position};
use rusqlite::{Connection, TransactionBehavior};

use super::apply::{Prepared, Statements, Stop};
use super::fault::shared;
use super::heads::Heads;

/// Batches in one transaction at most.
const GROUP_BATCHES_MAX: usize = 256;

/// Bytes of data after which no more batches join a transaction.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Times that a leader gives way to callers that are about to ask.
const YIELDS_MAX: usize = 16;

/// What a failed commit was doing.
const DOING: &str = "appending a batch";

type Outcomes = Vec<Result<Position, Error>>;

/// What a caller that waits is told.
enum Answer {
    /// Its batch was committed by another, or refused.
    Outcome(Result<Position, Error>),
    /// It is the first of those that wait: it leads the next group, its own batch among them.
    Lead,
}

/// A batch that waits, and where its answer goes.
struct Request {
    batch: Arc<Prepared>,
    answer: SyncSender<Answer>,
}

/// Who waits. It holds at most one batch of each thread that appends, since each waits.
#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    /// Whether somebody commits, or has been told to.
    led: bool,
    /// A leader has panicked: what it left behind cannot be trusted.
    abandoned: bool,
}

/// The connection that writes, and what it remembers; only the leader uses it.
struct Pen {
    connection: Connection,
    heads: Heads,
    /// How many batches the last group had.
    before: usize,
}

/// The writer of one log.
pub(super) struct Writer {
    queue: Mutex<Queue>,
    pen: Mutex<Pen>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            queue: Mutex::default(),
            pen: Mutex::new(Pen {
                connection,
                heads: Heads::default(),
                before: 1,
            }),
        }
    }

    /// Commits the batch, alone or with others, and returns once it is durable.
    pub(super) fn append(&self, batch: Prepared) -> Result<Position, Error> {
        let (answer, answered) = sync_channel(1);
        // Both hold it, so that the caller, not the leader, takes it apart in the end.
        let batch = Arc::new(batch);
        let mut queue = self.queue();
        if queue.abandoned {
            return Err(gone());
        }
        queue.waiting.push(Request {
            batch: Arc::clone(&batch),
            answer,
        });
        let leads = !std::mem::replace(&mut queue.led, true);
        drop(queue);
        if leads {
            self.lead();
        }
        self.wait(&answered)
    }

    fn wait(&self, answered: &Receiver<Answer>) -> Result<Position, Error> {
        loop {
            match answered.recv() {
                Ok(Answer::Outcome(outcome)) => return outcome,
                Ok(Answer::Lead) => self.lead(),
                Err(_) => return Err(gone()),
            }
        }
    }

    /// Commits one group of those that wait, hands over to the next leader, and answers the group.
    fn lead(&self) {
        let leading = Leading(self);
        let Ok(mut pen) = self.pen.lock() else {
            return; // Its leader panicked; whoever waits is told so.
        };
        let pen_now = &mut *pen;
        let group = self.gather(pen_now.before);
        pen_now.before = group.len();
        let (batches, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|it| (it.batch, it.answer)).unzip();
        let outcomes = commit(&mut pen_now.connection, &mut pen_now.heads, &batches);
        drop(batches);
        drop(pen);
        leading.hand_over();
        for (answer, outcome) in answers.iter().zip(outcomes) {
            tell(answer, Answer::Outcome(outcome));
        }
    }

    /// Takes what waits. Callers that were answered a moment ago are about to ask again: as long
    /// as fewer wait than the `before` of the last time, they are given way.
    fn gather(&self, before: usize) -> Vec<Request> {
        for _ in 0..YIELDS_MAX {
            if self.queue().waiting.len() >= before.min(GROUP_BATCHES_MAX) {
                break;
            }
            std::thread::yield_now();
        }
        let mut queue = self.queue();
        let mut taken = 0;
        let mut bytes = 0;
        for request in queue.waiting.iter().take(GROUP_BATCHES_MAX) {
            if bytes >= GROUP_BYTES_MAX {
                break;
            }
            bytes += size(&request.batch.batch);
            taken += 1;
        }
        queue.waiting.drain(..taken).collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the lock can panic half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Being the leader. When it is dropped without handing over, a panic has ended it: all who wait,
/// and all who come, are told.
struct Leading<'w>(&'w Writer);

impl Leading<'_> {
    fn hand_over(self) {
        let mut queue = self.0.queue();
        match queue.waiting.first() {
            Some(next) => tell(&next.answer, Answer::Lead),
            None => queue.led = false,
        }
        drop(queue);
        std::mem::forget(self);
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.abandoned = true;
        // Their senders go with them, and so their receivers are woken.
        queue.waiting.clear();
    }
}

fn tell(caller: &SyncSender<Answer>, answer: Answer) {
    if caller.send(answer).is_err() {
        // The caller's thread is gone; what it asked for is kept all the same.
    }
}

fn gone() -> Error {
    Error::Io {
        doing: "handing a batch to the writer".to_owned(),
        source: "the writer has panicked; open the log again".into(),
    }
}

fn size(batch: &Batch) -> usize {
    let events = batch.appends.iter().flat_map(|it| &it.events);
    let effects = batch.effects.iter();
    events.map(|it| it.data.len()).sum::<usize>() + effects.map(|it| it.body.len()).sum::<usize>()
}

/// Commits the batches together. A batch that is refused does not touch the others; when the
/// store itself fails, nothing of any of them is kept and all are told.
fn commit(connection: &mut Connection, heads: &mut Heads, batches: &[Arc<Prepared>]) -> Outcomes {
    match try_commit(connection, heads, batches) {
        Ok(outcomes) => outcomes,
        Err(source) => {
            heads.forget();
            let source = Arc::new(source);
            let told = |_: &Arc<Prepared>| Err(shared(DOING, &source));
            batches.iter().map(told).collect()
        }
    }
}

/// Commits the group. Nearly always nothing is refused after something of it was written; only
/// when that happens the group is begun anew, with a savepoint for each batch, which costs a copy
/// of every page that is touched.
fn try_commit(
    connection: &mut Connection,
    heads: &mut Heads,
    batches: &[Arc<Prepared>],
) -> rusqlite::Result<Outcomes> {
    if let Some(outcomes) = commit_plainly(connection, heads, batches)? {
        return Ok(outcomes);
    }
    heads.forget();
    commit_with_savepoints(connection, heads, batches)
}

/// Returns nothing, and keeps nothing, when a batch was refused after it had begun to write.
fn commit_plainly(
    connection: &mut Connection,
    heads: &mut Heads,
    batches: &[Arc<Prepared>],
) -> rusqlite::Result<Option<Outcomes>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    heads.refresh(&transaction)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    let mut statements = Statements::prepare(&transaction)?;
    for batch in batches {
        match statements.apply(heads, batch) {
            Ok(()) => outcomes.push(Ok(heads.position())),
            Err(Stop::Refused(error)) => outcomes.push(Err(error)),
            Err(Stop::RefusedLate(_)) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    drop(statements);
    heads.flush(&transaction)?;
    transaction.commit()?;
    Ok(Some(outcomes))
}

fn commit_with_savepoints(
    connection: &mut Connection,
    heads: &mut Heads,
    batches: &[Arc<Prepared>],
) -> rusqlite::Result<Outcomes> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    heads.refresh(&transaction)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut savepoint = transaction.savepoint()?;
        let outcome = Statements::prepare(&savepoint)?.apply(heads, batch);
        match outcome {
            Ok(()) => outcomes.push(Ok(heads.position())),
            Err(Stop::Refused(error) | Stop::RefusedLate(error)) => {
                savepoint.rollback()?;
                outcomes.push(Err(error));
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
        savepoint.commit()?;
    }
    heads.flush(&transaction)?;
    transaction.commit()?;
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use testkit::log::build::{append, batch, effect};

    use super::*;
    use crate::log::{read, schema, verify};

    fn fresh() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open_or_make(&folder.path().join("log.db")).unwrap();
        (folder, connection)
    }

    fn prepared(batches: impl IntoIterator<Item = Batch>) -> Vec<Arc<Prepared>> {
        batches
            .into_iter()
            .map(|it| Arc::new(Prepared::new(it)))
            .collect()
    }

    fn stored(connection: &Connection) -> Vec<u128> {
        let read = read::all(connection, Position(0), usize::MAX).unwrap();
        read.iter().map(|it| it.event.id.bits()).collect()
    }

    #[test]
    fn a_refusal_within_a_group_harms_no_other() {
        let (_folder, mut connection) = fresh();
        let mut heads = Heads::default();
        let mut torn = batch([append("b", 0, [3, 1])]);
        torn.effects = vec![effect(1)];
        let group = prepared([
            batch([append("a", 0, [1, 2])]),
            torn,
            batch([append("a", 1, [4])]),
            batch([append("a", 2, [5]), append("b", 0, [3])]),
            Batch::default(),
        ]);
        let outcomes = commit(&mut connection, &mut heads, &group);
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
        assert_eq!(verify::verify(&connection).unwrap().broken, []);
    }

    #[test]
    fn a_full_disk_keeps_nothing_of_the_group_and_room_mends_it() {
        let (_folder, mut connection) = fresh();
        let mut heads = Heads::default();
        commit(
            &mut connection,
            &mut heads,
            &prepared([batch([append("a", 0, [1])])]),
        );
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
        let group = prepared([batch([append("a", 1, [2])]), large]);
        for outcome in commit(&mut connection, &mut heads, &group) {
            assert!(matches!(outcome, Err(Error::DiskFull)), "{outcome:?}");
        }
        assert_eq!(stored(&connection), [1]);
        limit(&connection, pages + 1_000);
        for outcome in commit(&mut connection, &mut heads, &group) {
            outcome.unwrap();
        }
        assert_eq!(stored(&connection), [1, 2, 3]);
        assert_eq!(verify::verify(&connection).unwrap().broken, []);
    }

    #[test]
    fn a_log_that_another_process_holds_is_told_and_mends_itself() {
        let (folder, mut connection) = fresh();
        let mut heads = Heads::default();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let mut other = schema::open_or_make(&folder.path().join("log.db")).unwrap();
        let held = other
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        let group = prepared([batch([append("a", 0, [1])])]);
        let outcome = commit(&mut connection, &mut heads, &group).remove(0);
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains("another process"), "{text}");
        drop(held);
        commit(&mut connection, &mut heads, &group)
            .remove(0)
            .unwrap();
        assert_eq!(stored(&connection), [1]);
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let (_folder, connection) = fresh();
        let writer = Writer::new(connection);
        let (answer, answered) = sync_channel(1);
        writer.queue().waiting.push(Request {
            batch: prepared([batch([append("a", 0, [1])])]).remove(0),
            answer,
        });
        writer.queue().led = true;
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| {
                let _leading = Leading(&writer);
                panic!("as a fault in the writer would");
            });
            assert!(leader.join().is_err());
        });
        assert!(writer.wait(&answered).is_err());
        let late = Prepared::new(batch([append("a", 0, [1])]));
        assert!(matches!(writer.append(late), Err(Error::Io { .. })));
    }

    #[test]
    fn those_who_wait_are_committed_by_one_and_led_by_the_next() {
        let (_folder, connection) = fresh();
        let writer = Writer::new(connection);
        let mut answers = Vec::new();
        for number in 0..GROUP_BATCHES_MAX as u128 + 2 {
            let (answer, answered) = sync_channel(1);
            let name = format!("s/{number}");
            writer.queue().waiting.push(Request {
                batch: prepared([batch([append(&name, 0, [number])])]).remove(0),
                answer,
            });
            answers.push(answered);
        }
        writer.queue().led = true;
        writer.lead();
        for (position, answered) in (1..).zip(&answers[..GROUP_BATCHES_MAX]) {
            assert_eq!(writer.wait(answered).unwrap(), Position(position));
        }
        // The first of the rest was told to lead, and commits for the last one too.
        let next = GROUP_BATCHES_MAX as u64 + 1;
        let first = writer.wait(&answers[GROUP_BATCHES_MAX]).unwrap();
        assert_eq!(first, Position(next));
        assert!(!writer.queue().led);
        let last = writer.wait(&answers[GROUP_BATCHES_MAX + 1]).unwrap();
        assert_eq!(last, Position(next + 1));
    }
}
