//! What a pack holds, read from its frames or, once it is sealed, from the index beside it.
//!
//! A writer syncs a frame of blobs before it appends another frame. So of all frames only the last
//! may not be on the disk as it was written; its blobs are checked when it is read, and one that
//! is not whole was never acknowledged and is not there. A sealed pack is never appended to. Its
//! index can be made again, so it is not synced: one that is not whole is as good as missing.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use domain::{Digest, Timestamp};
use ports::artifacts::Error;
use uuid::Uuid;

use super::disk::{create_file, digest, entries, fault, open_file, remove_file, rename, status};
use super::frame::{FIRST_FRAME, Frame, Kind, PACK_MARK, Row, read_whole};

/// What the file of a pack ends with.
pub(super) const PACK: &str = "pack";

/// What the file of a sealed pack's index ends with.
pub(super) const INDEX: &str = "index";

/// What the file of a pack's removed rows ends with.
pub(super) const REMOVED: &str = "removed";

const INDEX_MARK: &[u8; 16] = b"palisade index1\n";
const REMOVED_MARK: &[u8; 16] = b"palisade remove\n";
const BLOB_BYTES: usize = 52;
const RENEWAL_BYTES: usize = 40;

/// Where packs are, and how large they get.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) folder: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) pack_bytes_max: u64,
    pub(super) pack_frames_max: u32,
}

/// A blob in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    /// Where its row stands, which no other row of the pack shares.
    pub(super) row: u32,
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) put: Timestamp,
}

/// What a pack holds, or what was appended to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) blobs: Vec<Blob>,
    pub(super) renewals: Vec<(Digest, Timestamp)>,
    /// Where the last whole frame ends.
    pub(super) end: u64,
    /// What lies before is known to be on the disk.
    pub(super) synced: u64,
    pub(super) frames: u32,
    /// Whether there is nothing but whole frames.
    pub(super) clean: bool,
}

impl Contents {
    /// Takes in a frame that follows on what is there.
    pub(super) fn take(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Blobs => self.blobs.extend(frame.places().filter_map(blob)),
            Kind::Renewals => {
                let renewals = frame.rows.iter().map(|it| (it.digest, it.put));
                self.renewals.extend(renewals);
            }
        }
        self.end = frame.end();
        self.frames += 1;
    }
}

/// Reads the frames of a pack from `from` on. Those before `synced` are known to be on the disk.
pub(super) fn walk(file: &File, from: u64, synced: u64) -> io::Result<Contents> {
    read_frames(file, from, synced, file.metadata()?.len())
}

/// Reads the frames of a pack as far as `end`, which is known to be on the disk.
pub(super) fn walk_to(file: &File, end: u64) -> io::Result<Contents> {
    read_frames(file, 0, end, end)
}

fn read_frames(file: &File, from: u64, synced: u64, file_bytes: u64) -> io::Result<Contents> {
    let mut found = Contents {
        end: from,
        synced: from.min(synced),
        ..Contents::default()
    };
    if from < FIRST_FRAME {
        let mut mark = [0; PACK_MARK.len()];
        if !read_whole(file, &mut mark, 0)? || mark != *PACK_MARK {
            return Ok(found);
        }
        found.end = FIRST_FRAME;
    }
    let mut last = 0;
    while let Some(frame) = Frame::read(file, found.end, file_bytes)? {
        // It was appended after all before it had been synced.
        last = found.blobs.len();
        found.synced = found.end;
        found.take(&frame);
    }
    found.clean = found.end == file_bytes;
    if found.end <= synced {
        found.synced = found.end;
    } else {
        let doubtful = found.blobs.split_off(last);
        let before = doubtful.len();
        for blob in doubtful {
            if read_blob(file, &blob)?.is_some() {
                found.blobs.push(blob);
            }
        }
        found.clean &= found.blobs.len() == last + before;
    }
    Ok(found)
}

/// Reads all that a pack holds, and whether it is sealed; nothing when there is no such pack.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<(Contents, bool)>, Error> {
    if let Some(contents) = read_index(folder, name)? {
        return Ok(Some((contents, true)));
    }
    let path = place(folder, name, PACK);
    let Some(file) = open_file(&path)? else {
        return Ok(None);
    };
    let contents = walk(&file, 0, 0).map_err(|it| fault("reading", &path, it))?;
    Ok(Some((contents, false)))
}

/// Returns the bytes of the blob, or nothing when they are not what its digest says.
pub(super) fn read_blob(file: &File, blob: &Blob) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; usize::try_from(blob.bytes).unwrap_or(usize::MAX)];
    let whole = read_whole(file, &mut bytes, u64::from(blob.at))?;
    Ok((whole && digest(&bytes) == blob.digest).then_some(bytes))
}

/// Returns where a file of the pack is.
pub(super) fn place(folder: &Path, name: &str, ending: &str) -> PathBuf {
    folder.join(format!("{name}.{ending}"))
}

/// Writes the index that seals the pack.
pub(super) fn write_index(room: &Room, name: &str, contents: &Contents) -> Result<(), Error> {
    let (blobs, renewals) = (&contents.blobs, &contents.renewals);
    let mut bytes = Vec::with_capacity(64 + blobs.len() * BLOB_BYTES);
    bytes.extend_from_slice(&contents.end.to_le_bytes());
    bytes.extend_from_slice(&(blobs.len() as u64).to_le_bytes());
    for blob in blobs {
        bytes.extend_from_slice(blob.digest.as_bytes());
        bytes.extend_from_slice(&blob.row.to_le_bytes());
        bytes.extend_from_slice(&blob.at.to_le_bytes());
        bytes.extend_from_slice(&blob.bytes.to_le_bytes());
        bytes.extend_from_slice(&blob.put.0.to_le_bytes());
    }
    for (digest, put) in renewals {
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&put.0.to_le_bytes());
    }
    let path = place(&room.folder, name, INDEX);
    write_checked(&room.scratch, &path, INDEX_MARK, &bytes, |_| Ok(()))
}

/// Reads the index of a sealed pack; there is none when the pack is not sealed, or when either is
/// not as it was written.
pub(super) fn read_index(folder: &Path, name: &str) -> Result<Option<Contents>, Error> {
    let Some(bytes) = read_checked(&place(folder, name, INDEX), INDEX_MARK)? else {
        return Ok(None);
    };
    let Some(mut contents) = decode_index(&bytes) else {
        return Ok(None);
    };
    let pack = place(folder, name, PACK);
    let held = status(&pack)?.map_or(0, |it| it.len());
    contents.synced = contents.end;
    Ok((contents.end <= held).then_some(contents))
}

/// Writes the list of a pack's rows that were removed, durably.
pub(super) fn write_removed(room: &Room, name: &str, rows: &[u32]) -> Result<(), Error> {
    let bytes: Vec<u8> = rows.iter().flat_map(|it| it.to_le_bytes()).collect();
    let path = place(&room.folder, name, REMOVED);
    write_checked(&room.scratch, &path, REMOVED_MARK, &bytes, File::sync_data)
}

/// Reads the list of a pack's rows that were removed, sorted. A list that is not whole is none:
/// what comes back is collected again.
pub(super) fn read_removed(folder: &Path, name: &str) -> Result<Vec<u32>, Error> {
    let bytes = read_checked(&place(folder, name, REMOVED), REMOVED_MARK)?.unwrap_or_default();
    let (rows, _) = bytes.as_chunks();
    let mut rows: Vec<u32> = rows.iter().map(|it| u32::from_le_bytes(*it)).collect();
    rows.sort_unstable();
    Ok(rows)
}

/// Removes what stands beside a pack that is gone.
pub(super) fn sweep(folder: &Path) -> Result<(), Error> {
    for path in entries(folder)? {
        let beside = path
            .extension()
            .is_some_and(|it| it == INDEX || it == REMOVED);
        // Looked for by name: a listing may miss a pack that is made meanwhile.
        if beside && status(&path.with_extension(PACK))?.is_none() {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes a pack and what stands beside it, the pack first: without the list of its removed rows,
/// these would be back.
pub(super) fn remove(folder: &Path, name: &str) -> Result<(), Error> {
    [PACK, INDEX, REMOVED]
        .into_iter()
        .try_for_each(|it| remove_file(&place(folder, name, it)))
}

fn blob((row, at, found): (u64, u64, &Row)) -> Option<Blob> {
    Some(Blob {
        digest: found.digest,
        row: u32::try_from(row).ok()?,
        at: u32::try_from(at).ok()?,
        bytes: found.bytes,
        put: found.put,
    })
}

fn decode_index(bytes: &[u8]) -> Option<Contents> {
    let (end, rest) = bytes.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    let (blobs, renewals) = rest.split_at_checked(count.checked_mul(BLOB_BYTES)?)?;
    Some(Contents {
        blobs: blobs
            .chunks_exact(BLOB_BYTES)
            .filter_map(decode_blob)
            .collect(),
        renewals: renewals
            .chunks_exact(RENEWAL_BYTES)
            .filter_map(decode_renewal)
            .collect(),
        end: u64::from_le_bytes(*end),
        clean: true,
        ..Contents::default()
    })
}

fn decode_blob(bytes: &[u8]) -> Option<Blob> {
    let (digest, rest) = bytes.split_first_chunk()?;
    let (row, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (put, _) = rest.split_first_chunk()?;
    Some(Blob {
        digest: Digest::from_bytes(*digest),
        row: u32::from_le_bytes(*row),
        at: u32::from_le_bytes(*at),
        bytes: u32::from_le_bytes(*length),
        put: Timestamp(u64::from_le_bytes(*put)),
    })
}

fn decode_renewal(bytes: &[u8]) -> Option<(Digest, Timestamp)> {
    let (digest, rest) = bytes.split_first_chunk()?;
    let (put, _) = rest.split_first_chunk()?;
    let put = Timestamp(u64::from_le_bytes(*put));
    Some((Digest::from_bytes(*digest), put))
}

/// Writes mark, digest and bytes beside their place, syncs them as told, and renames them there.
fn write_checked(
    scratch: &Path,
    path: &Path,
    mark: &[u8; 16],
    bytes: &[u8],
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), Error> {
    let beside = scratch.join(Uuid::now_v7().to_string());
    let mut file = create_file(&beside)?;
    let written = [&mark[..], digest(bytes).as_bytes(), bytes]
        .into_iter()
        .try_for_each(|it| file.write_all(it))
        .and_then(|()| sync(&file));
    let outcome = written.map_err(|it| fault("writing", &beside, it));
    outcome
        .and_then(|()| rename(&beside, path))
        .inspect_err(|_| {
            if remove_file(&beside).is_err() {
                // The sweep of a later opening removes it.
            }
        })
}

fn read_checked(path: &Path, mark: &[u8; 16]) -> Result<Option<Vec<u8>>, Error> {
    let Some(mut file) = open_file(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).map_err(|it| fault("reading", path, it))?;
    let body = bytes
        .strip_prefix(mark)
        .and_then(|it| it.split_at_checked(32));
    let Some((stated, body)) = body else {
        return Ok(None);
    };
    Ok((digest(body).as_bytes() == stated).then(|| body.to_vec()))
}
