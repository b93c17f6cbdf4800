//! Appending to a pack that nobody else appends to.
//!
//! Each writer holds the lock of its pack's file. Who needs a writer takes over a pack that has
//! none any more, or begins a new one. What is taken over is appended to only when all in it is
//! whole. What is not whole is never cut off, since it might be more than the last writer's last
//! frame: such a pack is sealed as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ports::artifacts::Error;
use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::disk::{create_file, fault, remove_file, rename, sync_folder};
use super::frame::{FIRST_FRAME, Frame, Kind, PACK_MARK, Row};
use super::gate::Pass;
use super::index::Index;
use super::pack::{self, Contents, PACK, Room};

/// Bytes that are gathered before they are given to the kernel.
const GATHERED_BYTES: usize = 1 << 20;

/// The only writer of a pack. One that fails is dropped, and never appends again.
#[derive(Debug)]
pub(super) struct Writer {
    name: String,
    path: PathBuf,
    file: File,
    /// Where the next frame begins; what lies before is whole.
    end: u64,
    frames: u32,
    /// Whether the pack's name is known to be on the disk.
    named: bool,
}

impl Writer {
    /// Takes over a pack whose writer is gone, or begins a new one. The index must be up to date.
    pub(super) fn acquire(room: &Room, index: &mut Index, pass: &Pass) -> Result<Self, Error> {
        let free = index.packs.iter().filter(|it| !it.sealed);
        let names: Vec<String> = free.map(|it| it.name.clone()).collect();
        for name in names {
            if let Some((writer, contents)) = Self::take_over(room, &name, pass)? {
                index.note(&name, &contents, Vec::new());
                return Ok(writer);
            }
        }
        Self::begin(room)
    }

    /// Begins a pack; it is locked and has its first line before it can be found.
    fn begin(room: &Room) -> Result<Self, Error> {
        let name = Uuid::now_v7().to_string();
        let path = pack::place(&room.folder, &name, PACK);
        let beside = room.scratch.join(&name);
        let mut file = create_file(&beside)?;
        let begun = lock(&file).and_then(|_| file.write_all(PACK_MARK));
        let begun = begun.map_err(|it| fault("beginning", &beside, it));
        begun
            .and_then(|()| rename(&beside, &path))
            .inspect_err(|_| {
                if remove_file(&beside).is_err() {
                    // The sweep of a later opening removes it.
                }
            })?;
        Ok(Self {
            name,
            path,
            file,
            end: FIRST_FRAME,
            frames: 0,
            named: false,
        })
    }

    /// Takes over a pack when it has no writer and can be appended to; seals it when it cannot.
    fn take_over(room: &Room, name: &str, _pass: &Pass) -> Result<Option<(Self, Contents)>, Error> {
        let path = pack::place(&room.folder, name, PACK);
        let wrong = |source| fault("taking over", &path, source);
        let Some(file) = lock_pack(&path)? else {
            return Ok(None);
        };
        if pack::read_index(&room.folder, name)?.is_some() {
            return Ok(None);
        }
        let mut contents = pack::walk(&file, 0, 0).map_err(wrong)?;
        file.sync_data().map_err(wrong)?;
        contents.synced = contents.end;
        let writer = Self {
            name: name.to_owned(),
            path: path.clone(),
            file,
            end: contents.end,
            frames: contents.frames,
            named: false,
        };
        if contents.clean && !writer.is_full(room) {
            sync_folder(&room.folder)?;
            return Ok(Some((writer, contents)));
        }
        pack::write_index(room, name, &contents)?;
        Ok(None)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_full(&self, room: &Room) -> bool {
        self.end >= room.pack_bytes_max || self.frames >= room.pack_frames_max
    }

    /// Appends these blobs, durably once this returns.
    pub(super) fn append(
        mut self,
        room: &Room,
        rows: Vec<Row>,
        blobs: &[&[u8]],
    ) -> Result<(Self, Contents), Error> {
        let frame = Frame::new(Kind::Blobs, self.end, rows);
        self.write(&frame, blobs)?;
        if let Err(error) = self.file.sync_data() {
            // Nobody knows what of it is on the disk, now or after another sync: the pack ends
            // before this frame for good.
            let outcome = fault("syncing", &self.path, error);
            if self.seal(room).is_err() {
                // Then the disk takes nothing at all; what was asked for fails either way.
            }
            return Err(outcome);
        }
        if !self.named {
            sync_folder(&room.folder)?;
            self.named = true;
        }
        let contents = self.appended(&frame);
        Ok((self, contents))
    }

    /// Appends that these digests were put again. It is not synced: an age means nothing after
    /// the machine has died, for so has whoever put.
    pub(super) fn renew(mut self, rows: Vec<Row>) -> Result<(Self, Contents), Error> {
        let frame = Frame::new(Kind::Renewals, self.end, rows);
        self.write(&frame, &[])?;
        let contents = self.appended(&frame);
        Ok((self, contents))
    }

    /// Seals the pack: nothing is appended to it again.
    pub(super) fn seal(self, room: &Room) -> Result<(), Error> {
        let contents =
            pack::walk_to(&self.file, self.end).map_err(|it| fault("reading", &self.path, it))?;
        pack::write_index(room, &self.name, &contents)
    }

    fn appended(&mut self, frame: &Frame) -> Contents {
        let mut contents = Contents::default();
        contents.take(frame);
        contents.synced = match frame.kind {
            Kind::Blobs => contents.end,
            Kind::Renewals => self.end,
        };
        self.end = contents.end;
        self.frames += 1;
        contents
    }

    fn write(&mut self, frame: &Frame, blobs: &[&[u8]]) -> Result<(), Error> {
        let head = frame.head_and_table();
        let written = (|| {
            self.file.seek(SeekFrom::Start(self.end))?;
            let mut file = BufWriter::with_capacity(GATHERED_BYTES, &self.file);
            file.write_all(&head)?;
            blobs.iter().try_for_each(|it| file.write_all(it))?;
            file.flush()
        })();
        written.map_err(|error| {
            // The frame is not whole, so nobody has seen it.
            if self.file.set_len(self.end).is_err() {
                // Then it stays: whoever takes over seals the pack before it.
            }
            fault("writing", &self.path, error)
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // By name: a child that was forked meanwhile may still hold the opened file.
        if rustix::fs::flock(&self.file, FlockOperation::Unlock).is_err() {}
    }
}

/// Opens and locks a pack's file; nothing when it is gone, or somebody appends to it.
pub(super) fn lock_pack(path: &Path) -> Result<Option<File>, Error> {
    let wrong = |source| fault("locking", path, source);
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(wrong)?,
    };
    Ok(lock(&file).map_err(wrong)?.then_some(file))
}

/// Locks the file, unless somebody else has.
fn lock(file: &File) -> io::Result<bool> {
    let how = FlockOperation::NonBlockingLockExclusive;
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file, how)) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        answer => answer.map(|()| true).map_err(io::Error::from),
    }
}
