//! The event log in one SQLite file: streams with a hash chain each, and the outbox beside them.
//!
//! # The chain
//! The hash of an event is BLAKE3 (32 bytes, no key) over these bytes, in this order:
//!
//! 1. the hash of the event before it in its stream, 32 bytes; zeros for the first;
//! 2. thirteen fields, each as its length in bytes (64 bits, little-endian), then its bytes:
//!    the label `palisade.event.v1`, `position`, `stream`, `version`, `id` (as text), `kind`,
//!    `time` (milliseconds since 1970), `actor`, `epoch`, `correlation`, `causation`,
//!    `traceparent`, `data`.
//!
//! Texts are UTF-8 exactly as stored; the four numbers are 64 bits, little-endian. An optional
//! field (`causation`, `traceparent`) that is absent has length 0; one that is present begins with
//! a byte 1, then the text. All of this stands in the columns of the table `events`, so that a
//! stranger with SQLite and BLAKE3 can recompute it. Positions have no holes: a missing one is a
//! removed event. (That events were cut off at the very end shows only against a witness that
//! has seen a later head.)
//!
//! # Writing
//! One thread per open log commits for all callers: it gathers what waits, applies each batch
//! within a savepoint of one transaction, syncs once and then answers everybody. Several processes
//! may open the same file; what a decision depends on is read inside the write transaction.

mod chain;
mod envelope;
mod fault;
mod json;
mod read;
mod schema;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use ports::log::{Batch, Error, EventLog, PendingEffect, Position, Recorded, Verification};
use rusqlite::Connection;

pub use envelope::envelope;

/// Batches that may wait for the writer; further callers wait for a place.
const QUEUE_BATCHES_MAX: usize = 1_024;

/// Connections for reading.
const READERS: usize = 4;

/// The event log in one SQLite file. Dropping it waits for what is being written.
#[derive(Debug)]
pub struct SqliteLog {
    /// `None` only while it is dropped.
    requests: Option<SyncSender<writer::Request>>,
    writer: Option<JoinHandle<()>>,
    readers: [Mutex<Connection>; READERS],
}

/// How large the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Events in it.
    pub events: u64,
    /// Effects that wait in the outbox.
    pub pending: u64,
    /// The main file, in bytes, without the write-ahead log.
    pub bytes: u64,
    /// What of it is free for reuse, in bytes.
    pub bytes_free: u64,
}

impl SqliteLog {
    /// Opens the log at `path`; makes it (and its folder) when missing, readable by its owner only.
    ///
    /// # Errors
    /// When the file is not a log of this format, is damaged, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = schema::open_or_make(path)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(Mutex::new(schema::reader(path)?));
        }
        let readers = readers
            .try_into()
            .map_err(|_| Error::Damaged("no readers".to_owned()))?;
        let (requests, waiting) = sync_channel(QUEUE_BATCHES_MAX);
        let writer = std::thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(move || writer::run(connection, &waiting))
            .map_err(|source| Error::Io {
                doing: "starting the writer".to_owned(),
                source: Box::new(source),
            })?;
        Ok(Self {
            requests: Some(requests),
            writer: Some(writer),
            readers,
        })
    }

    /// Returns how large the log is.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn size(&self) -> Result<Size, Error> {
        read::size(&self.reader())
    }

    /// Returns a connection that nobody uses or, when all are in use, waits for the first.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(free) => return free,
                // A reader holds no state that a panic could have left half done.
                Err(TryLockError::Poisoned(free)) => return free.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.readers[0]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for SqliteLog {
    fn append(&self, batch: Batch) -> Result<Position, Error> {
        batch.check()?;
        json::check(&batch)?;
        let gone = || Error::Io {
            doing: "handing a batch to the writer".to_owned(),
            source: "the writer has ended; open the log again".into(),
        };
        let (answer, answered) = sync_channel(1);
        self.requests
            .as_ref()
            .ok_or_else(gone)?
            .send(writer::Request { batch, answer })
            .map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    fn read_stream(&self, stream: &str, version: u64) -> Result<Vec<Recorded>, Error> {
        read::stream(&self.reader(), stream, version)
    }

    fn read_correlated(&self, correlation: &str, after: Position) -> Result<Vec<Recorded>, Error> {
        read::correlated(&self.reader(), correlation, after)
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, Error> {
        read::all(&self.reader(), after, limit)
    }

    fn head(&self) -> Result<Position, Error> {
        read::head(&self.reader())
    }

    fn pending(&self) -> Result<Vec<PendingEffect>, Error> {
        read::pending(&self.reader())
    }

    fn verify(&self) -> Result<Verification, Error> {
        read::verify(&self.reader())
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        // Without a sender the writer finishes what is queued and ends.
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            // It panicked: every caller has been told that it is gone.
        }
    }
}
