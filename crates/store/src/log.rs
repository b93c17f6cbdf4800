//! The event log in one SQLite file: streams with a hash chain each, and the outbox beside them.
//!
//! # The chain
//! The hash of an event is BLAKE3 (32 bytes, no key) over 72 bytes: the hash of the event before
//! it in its stream (zeros for the first), its position, and the hash of its content. The content
//! is hashed before the writer knows the rest; its hash is BLAKE3 over twelve fields, each as its
//! length in bytes (64 bits, little-endian), then its bytes: the label `palisade.event.v1`,
//! `stream`, `version`, `id` (16 bytes, as stored), `kind`, `time` (milliseconds since 1970),
//! `actor`, `epoch`, `correlation`, `causation`, `traceparent`, `data`.
//!
//! Texts are UTF-8 exactly as stored; the four numbers are 64 bits, little-endian. An optional
//! field (`causation`, `traceparent`) that is absent has length 0; one that is present begins with
//! a byte 1, then the text. All of this stands in the columns of the view `recorded`, so that a
//! stranger with SQLite and BLAKE3 can recompute it. Positions have no holes: a missing one is a
//! removed event. (That events were cut off at the very end, along with what the tables say of
//! the ends, shows only against a witness that has seen a later head.)
//!
//! # The tables
//! Names of streams and correlations are stored once; `last` is the position of their last event.
//! An event knows the position of the one before it in its stream and in its correlation (zero
//! for none), and reading follows these backwards. An index would cost a page written for nearly
//! every stream that a transaction touches; so new rows all go to the ends of their tables. The
//! links are outside the hashes, yet follow from them, and verification recomputes them all.
//! `outbox` holds what waits, `effects` every effect that was ever asked for.
//!
//! # Writing
//! Whoever appends when nobody else does commits for all who wait by then: it applies each batch
//! within one transaction, syncs once, hands over to the next who waits, and answers everybody.
//! Several processes may open the same file. What a decision depends on is read inside the write
//! transaction; where streams end is remembered from the last one only when `data_version` says
//! that nobody else has written since.

mod apply;
mod chain;
mod envelope;
mod fault;
mod heads;
mod json;
mod read;
mod schema;
mod verify;
mod writer;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use ports::log::{Batch, Error, EventLog, PendingEffect, Position, Recorded, Verification};
use rusqlite::Connection;

pub use envelope::envelope;

/// Connections for reading.
const READERS: usize = 4;

/// The event log in one SQLite file.
#[derive(Debug)]
pub struct SqliteLog {
    writer: writer::Writer,
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
        Ok(Self {
            writer: writer::Writer::new(connection),
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
        self.writer.append(apply::Prepared::new(batch))
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
        verify::verify(&self.reader())
    }
}
