//! The audit: one file that only grows, each line chained to the one before. It is the truth about
//! what was asked, refused, begun and done; what is remembered is read from it at the start.

mod entry;
mod file;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use domain::{Digest, Timestamp};
use wire::execution::canonical;
use wire::execution::reply::Evidence;

pub use entry::{Entry, Intent, Line, Refused, Settled};
pub(crate) use file::{AuditFile, Sink};

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: u64 = 256 << 10;

/// The most entries that are made durable together.
const TOGETHER_MAX: usize = 64;

/// Why the audit cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened or read.
    #[error("the audit {path}: {doing}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not a private file.
    #[error("the audit {0} must be a regular file of the executor's own user with mode 600")]
    NotPrivate(PathBuf),
    /// Another executor writes it.
    #[error("the audit {0} is in use by another executor")]
    InUse(PathBuf),
    /// A line is not what was written.
    #[error(
        "the audit {path} was changed at line {line}: {why}. Nothing is executed on a record that \
         does not hold; keep the file as evidence; before you begin a new one, change executor.toml (a note is \
         enough), since a new one does not know which permits were used"
    )]
    Broken {
        /// Where.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What does not hold.
        why: &'static str,
    },
    /// The last line was not finished.
    #[error("the audit {path} ends in {bytes} bytes without a line's end, left by a death")]
    Torn {
        /// Where.
        path: PathBuf,
        /// How many.
        bytes: u64,
    },
}

/// Something could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit cannot be written")]
pub struct NotRecorded;

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last entry's number; 0 before the first.
    pub sequence: u64,
    /// The last entry's link.
    pub digest: Digest,
    /// How many bytes the whole lines take.
    pub bytes: u64,
    /// How many bytes follow without a line's end.
    pub torn_bytes: u64,
}

/// Reads and verifies an audit, and hands each line on.
///
/// # Errors
/// When it cannot be read, or a line does not hold.
pub fn read(path: &Path, take: &mut dyn FnMut(Line)) -> Result<Head, Fault> {
    let io = |doing| {
        move |source| Fault::Io {
            path: path.to_path_buf(),
            doing,
            source,
        }
    };
    let mut file = BufReader::new(std::fs::File::open(path).map_err(io("opening"))?);
    let mut head = Head {
        sequence: 0,
        digest: Digest::ZERO,
        bytes: 0,
        torn_bytes: 0,
    };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut limited = (&mut file).take(LINE_BYTES_MAX);
        let length = limited
            .read_until(b'\n', &mut bytes)
            .map_err(io("reading"))?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length == 0 {
            return Ok(head);
        }
        let broken = |why| Fault::Broken {
            path: path.to_path_buf(),
            line: head.sequence + 1,
            why,
        };
        if bytes.pop() != Some(b'\n') {
            if length == LINE_BYTES_MAX {
                return Err(broken("it is too long"));
            }
            head.torn_bytes = length;
            return Ok(head);
        }
        let line = Line::read(&bytes, head).map_err(broken)?;
        head.sequence = line.sequence;
        head.digest = line.digest;
        head.bytes += length;
        take(line);
    }
}

/// The audit of a running executor. Entries of several requests are made durable together.
#[derive(Debug)]
pub struct Audit {
    orders: Mutex<Sender<Order>>,
}

struct Order {
    at: Timestamp,
    entry: Entry,
    done: mpsc::SyncSender<Result<Evidence, NotRecorded>>,
}

impl Audit {
    /// Opens or begins an audit, hands on what it holds, and returns it.
    ///
    /// # Errors
    /// When it is not private, in use, or a line does not hold.
    pub fn open(
        path: &Path,
        bytes_max: u64,
        take: &mut dyn FnMut(Line),
    ) -> Result<(Self, Head), Fault> {
        let (file, head) = AuditFile::open(path, take)?;
        Ok((Self::begin(Box::new(file), head, bytes_max), head))
    }

    /// Begins to write to a sink, after this head.
    pub(crate) fn begin(sink: Box<dyn Sink>, head: Head, bytes_max: u64) -> Self {
        let (orders, inbox) = mpsc::channel();
        let mut scribe = Scribe {
            sink,
            head,
            bytes_max,
            is_lost: false,
        };
        // It ends when the last sender is gone.
        drop(std::thread::spawn(move || scribe.serve(&inbox)));
        Self {
            orders: Mutex::new(orders),
        }
    }

    /// Records an entry and returns its place once it is on disk.
    ///
    /// # Errors
    /// When it could not be made durable; nothing may be done on the strength of it then.
    pub fn record(&self, at: Timestamp, entry: Entry) -> Result<Evidence, NotRecorded> {
        let (done, answer) = mpsc::sync_channel(1);
        let orders = self.orders.lock().map_err(|_| NotRecorded)?.clone();
        orders
            .send(Order { at, entry, done })
            .map_err(|_| NotRecorded)?;
        answer.recv().map_err(|_| NotRecorded)?
    }
}

/// The one thread that writes.
struct Scribe {
    sink: Box<dyn Sink>,
    head: Head,
    bytes_max: u64,
    /// Whether what is on disk is not known any more: then nothing is written ever after.
    is_lost: bool,
}

impl Scribe {
    fn serve(&mut self, inbox: &Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let mut together = vec![first];
            while together.len() < TOGETHER_MAX {
                match inbox.try_recv() {
                    Ok(next) => together.push(next),
                    Err(_) => break,
                }
            }
            self.write(together);
        }
    }

    fn write(&mut self, together: Vec<Order>) {
        let mut head = self.head;
        let mut bytes = Vec::new();
        let mut answers = Vec::new();
        for order in together {
            let line = Line::after(head, order.at, order.entry);
            let mut text = canonical::text(&serde_json::json!(line)).into_bytes();
            text.push(b'\n');
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let is_over = length >= LINE_BYTES_MAX || head.bytes + length > self.bytes_max;
            if is_over || self.is_lost {
                answers.push((order.done, Err(NotRecorded)));
                continue;
            }
            head.sequence = line.sequence;
            head.digest = line.digest;
            head.bytes += length;
            bytes.extend_from_slice(&text);
            let evidence = Evidence {
                sequence: line.sequence,
                digest: line.digest,
                at: line.at,
            };
            answers.push((order.done, Ok(evidence)));
        }
        let is_written = bytes.is_empty() || self.append(&bytes);
        if is_written {
            self.head = head;
        }
        for (done, answer) in answers {
            let answer = if is_written { answer } else { Err(NotRecorded) };
            // Whoever asked may be gone; the record stands.
            drop(done.send(answer));
        }
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        if self.sink.append(bytes).is_err() {
            // A full disk may become free again: what was half written is taken back.
            self.is_lost = self.sink.shorten(self.head.bytes).is_err();
            return false;
        }
        // After a failed sync nobody knows what is on disk, and a second one proves nothing.
        self.is_lost = self.sink.sync().is_err();
        !self.is_lost
    }
}

#[cfg(test)]
mod tests;
