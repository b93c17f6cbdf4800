//! The form of a pack: a line that says what it is, then frames, each a checked head and table
//! followed by the bytes of its blobs.
//!
//! ```text
//! pack   palisade pack 1\n · frame · frame · …
//! frame  head · table · bytes of the blobs, one after the other
//! head   mark (8) · kind (4) · rows (4) · bytes of the blobs (8) · digest of the rest of head and
//!        table (32)
//! table  one row for each blob: digest (32) · bytes (4) · when it was put, in ms (8)
//! ```
//!
//! Numbers are little-endian. The head says how long its frame is, so a frame that is being written,
//! or was when its writer died, is known by the file ending before it does. The bytes of a blob are
//! checked by its own digest. A frame of **renewals** has rows and no bytes: these digests, stored
//! elsewhere, were put again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use domain::{Digest, Timestamp};

/// What a pack begins with.
pub(super) const PACK_MARK: &[u8; 16] = b"palisade pack 1\n";

/// Where the first frame begins.
pub(super) const FIRST_FRAME: u64 = PACK_MARK.len() as u64;

/// The most rows of a frame.
pub(super) const FRAME_ROWS_MAX: usize = 65_536;

/// Bytes of a row of the table.
pub(super) const ROW_BYTES: usize = 44;

const FRAME_MARK: &[u8; 8] = b"\x89frame\r\n";
const CHECKED_BYTES: usize = 24;
const HEAD_BYTES: usize = CHECKED_BYTES + 32;

/// Bytes of a frame that are read at once, which is all of the head and table of most.
const FIRST_READ_BYTES: usize = 4_096;

/// A blob, or a renewal of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) digest: Digest,
    pub(super) bytes: u32,
    pub(super) put: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Blobs,
    Renewals,
}

/// The head and table of a frame that is wholly in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) at: u64,
    pub(super) rows: Vec<Row>,
    body: u64,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::Blobs => 1,
            Self::Renewals => 2,
        }
    }

    fn of_number(number: u32) -> Option<Self> {
        [Self::Blobs, Self::Renewals]
            .into_iter()
            .find(|it| it.number() == number)
    }
}

impl Frame {
    /// Returns the frame of these rows that begins at `at`. Renewals have no bytes.
    pub(super) fn new(kind: Kind, at: u64, mut rows: Vec<Row>) -> Self {
        if kind == Kind::Renewals {
            rows.iter_mut().for_each(|it| it.bytes = 0);
        }
        Self {
            kind,
            at,
            body: rows.iter().map(|it| u64::from(it.bytes)).sum(),
            rows,
        }
    }

    /// Returns what stands before the bytes of the blobs.
    pub(super) fn head_and_table(&self) -> Vec<u8> {
        let rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(HEAD_BYTES + self.rows.len() * ROW_BYTES);
        head.extend_from_slice(FRAME_MARK);
        head.extend_from_slice(&self.kind.number().to_le_bytes());
        head.extend_from_slice(&rows.to_le_bytes());
        head.extend_from_slice(&self.body.to_le_bytes());
        let mut table = Vec::with_capacity(self.rows.len() * ROW_BYTES);
        for row in &self.rows {
            table.extend_from_slice(row.digest.as_bytes());
            table.extend_from_slice(&row.bytes.to_le_bytes());
            table.extend_from_slice(&row.put.0.to_le_bytes());
        }
        let stated = check(&head, &table);
        head.extend_from_slice(&stated);
        head.extend_from_slice(&table);
        head
    }

    /// Reads the frame that begins at `at` in a file of `file_bytes`. There is none when the file
    /// ends before the frame does, or when it is not what was written.
    pub(super) fn read(file: &File, at: u64, file_bytes: u64) -> io::Result<Option<Self>> {
        let room = file_bytes.saturating_sub(at);
        let first = usize::try_from(room).map_or(FIRST_READ_BYTES, |it| it.min(FIRST_READ_BYTES));
        let mut bytes = vec![0; first];
        if !read_whole(file, &mut bytes, at)? {
            return Ok(None);
        }
        let Some((kind, rows, body)) = read_head(&bytes) else {
            return Ok(None);
        };
        let table = rows * ROW_BYTES;
        let whole = (HEAD_BYTES + table) as u64;
        if rows > FRAME_ROWS_MAX || whole.saturating_add(body) > room {
            return Ok(None);
        }
        bytes.resize(HEAD_BYTES + table, 0);
        if let Some(rest) = bytes.get_mut(first..)
            && !read_whole(file, rest, at + first as u64)?
        {
            return Ok(None);
        }
        let (head, table) = bytes.split_at(HEAD_BYTES);
        let (checked, stated) = head.split_at(CHECKED_BYTES);
        if check(checked, table).as_slice() != stated {
            return Ok(None);
        }
        let rows: Vec<Row> = table.chunks_exact(ROW_BYTES).filter_map(decode).collect();
        let sum: u64 = rows.iter().map(|it| u64::from(it.bytes)).sum();
        Ok((sum == body).then_some(Self {
            kind,
            at,
            rows,
            body,
        }))
    }

    /// Returns where the frame ends and the next begins.
    pub(super) fn end(&self) -> u64 {
        self.body_at() + self.body
    }

    /// Returns where the bytes of the first blob begin.
    fn body_at(&self) -> u64 {
        self.at + head_bytes(self.rows.len())
    }

    /// Returns each row with where it stands and where its blob begins.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, u64, &Row)> {
        let mut begins = self.body_at();
        self.rows.iter().enumerate().map(move |(number, row)| {
            let at = begins;
            begins += u64::from(row.bytes);
            (self.at + head_bytes(number), at, row)
        })
    }
}

/// Fills `bytes` from the file; false when it ends before.
pub(super) fn read_whole(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        answer => answer.map(|()| true),
    }
}

fn head_bytes(rows: usize) -> u64 {
    (HEAD_BYTES + rows * ROW_BYTES) as u64
}

fn check(head: &[u8], table: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(head)
        .update(table)
        .finalize()
        .as_bytes()
}

/// Returns kind, rows and bytes of the blobs.
fn read_head(bytes: &[u8]) -> Option<(Kind, usize, u64)> {
    let rest = bytes.get(..HEAD_BYTES)?.strip_prefix(FRAME_MARK)?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (rows, rest) = rest.split_first_chunk()?;
    let (body, _) = rest.split_first_chunk()?;
    let kind = Kind::of_number(u32::from_le_bytes(*kind))?;
    let rows = usize::try_from(u32::from_le_bytes(*rows)).ok()?;
    Some((kind, rows, u64::from_le_bytes(*body)))
}

fn decode(row: &[u8]) -> Option<Row> {
    let (digest, rest) = row.split_first_chunk()?;
    let (bytes, rest) = rest.split_first_chunk()?;
    let (put, _) = rest.split_first_chunk()?;
    Some(Row {
        digest: Digest::from_bytes(*digest),
        bytes: u32::from_le_bytes(*bytes),
        put: Timestamp(u64::from_le_bytes(*put)),
    })
}
