//! Artifacts on disk: small ones together in packs, large ones in files of their own.
//!
//! A batch of small blobs is appended to a pack as one frame and waits for the disk once. Any
//! number of processes may share a store: each appends to packs of its own, finds what others
//! appended when it looks, and passes a [gate] that lets nobody put while something is
//! removed. The form of a pack is told in [frame].

mod collect;
mod disk;
mod frame;
mod gate;
mod index;
mod loose;
mod pack;
mod writer;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::{Digest, Timestamp};
use ports::artifacts::{Artifacts, Error};
use ports::clock::Clock;

use self::disk::{check_size, digests, fault, length, make_folder, open_file, sync_folder};
use self::frame::{FRAME_ROWS_MAX, Row};
use self::gate::{Gate, Pass};
use self::index::{Index, Place};
use self::loose::Loose;
use self::pack::{PACK, Room};
use self::writer::Writer;
use crate::clock::SystemClock;

/// The folder for what is being written; on the same file system, since it is renamed from there.
const SCRATCH: &str = "tmp";

/// The folder of the packs.
const PACKS: &str = "packs";

/// The most a pack may be told to hold, in bytes: places in a pack are 32 bits.
const PACK_BYTES_CEILING: u64 = 1 << 30;

/// How a store is kept. The default is right but for tests and measurements.
#[derive(Clone)]
pub struct Options {
    /// Tells when something was put.
    pub clock: Arc<dyn Clock>,
    /// Larger artifacts are files of their own, in bytes: to collect one is to remove its file,
    /// and it is never copied when a pack is rewritten.
    pub packed_bytes_max: u64,
    /// A pack of this many bytes is sealed. It bounds what is rewritten at once.
    pub pack_bytes_max: u64,
    /// A pack of this many frames is sealed. It bounds what is read of a pack without an index.
    pub pack_frames_max: u32,
}

/// The artifacts beneath one folder. Any number of processes may share it; its clones share what
/// they know of it.
#[derive(Clone, Debug)]
pub struct DiskArtifacts {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    packed_bytes_max: u64,
    gate: Gate,
    loose: Loose,
    room: Room,
    index: RwLock<Index>,
    /// Writers that nobody uses at the moment: as many as ever put at the same time.
    idle: Mutex<Vec<Writer>>,
}

/// What is to be done for a batch.
#[derive(Default)]
struct Batch<'a> {
    /// Packed already: to be made as young as the batch.
    renewed: Vec<Row>,
    small: Vec<(Row, &'a [u8])>,
    large: Vec<(Digest, &'a [u8])>,
    /// Packed by a writer that may not have synced it yet.
    doubtful: Vec<(Digest, &'a [u8])>,
}

/// What a look into the packs found.
enum Packed {
    Whole(Vec<u8>),
    Damaged,
    Absent,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            packed_bytes_max: 256 << 10,
            pack_bytes_max: 64 << 20,
            pack_frames_max: 4_096,
        }
    }
}

impl DiskArtifacts {
    /// Opens the store beneath `root`; makes it when missing, readable by its owner only, and
    /// removes what writers that died left behind.
    ///
    /// # Errors
    /// When the folders cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_with(root, Options::default())
    }

    /// As [`DiskArtifacts::open`], kept as told.
    ///
    /// # Errors
    /// As [`DiskArtifacts::open`].
    pub fn open_with(root: &Path, options: Options) -> Result<Self, Error> {
        let room = Room {
            folder: root.join(PACKS),
            scratch: root.join(SCRATCH),
            pack_bytes_max: options.pack_bytes_max.min(PACK_BYTES_CEILING),
            pack_frames_max: options.pack_frames_max,
        };
        make_folder(&room.scratch)?;
        make_folder(&room.folder)?;
        let shared = Shared {
            clock: options.clock,
            packed_bytes_max: options.packed_bytes_max.min(room.pack_bytes_max),
            gate: Gate::open(root)?,
            loose: Loose::open(root, &room.scratch)?,
            room,
            index: RwLock::default(),
            idle: Mutex::default(),
        };
        sync_folder(root)?;
        pack::sweep(&shared.room.folder)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }
}

impl Artifacts for DiskArtifacts {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        let shared = &self.shared;
        blobs.iter().try_for_each(|it| check_size(it))?;
        let digests = digests(blobs);
        if blobs.is_empty() {
            return Ok(digests);
        }
        let pass = shared.gate.share()?;
        let now = shared.clock.now();
        shared.refresh(&pass)?;
        let mut batch = shared.sort(&digests, blobs, now)?;
        shared.loose.write(&batch.large, now)?;
        let mut writer = None;
        if !batch.doubtful.is_empty() {
            // Having a writer may mean having taken over the pack in question.
            writer = Some(shared.writer(&pass)?);
            shared.settle(&mut batch, now);
        }
        if !batch.renewed.is_empty() {
            writer = Some(shared.renew(writer, &pass, batch.renewed)?);
        }
        let writer = shared.append_all(writer, &pass, &batch.small)?;
        if let Some(writer) = writer {
            shared.release(writer)?;
        }
        Ok(digests)
    }

    fn get(&self, wanted: &Digest) -> Result<Vec<u8>, Error> {
        let shared = &self.shared;
        if let Packed::Whole(bytes) = shared.read(wanted)? {
            return Ok(bytes);
        }
        match shared.loose.get(wanted) {
            Err(Error::Missing(_) | Error::Damaged(_)) => {}
            answer => return answer,
        }
        // Now while nobody removes or rewrites anything.
        let pass = shared.gate.share()?;
        shared.refresh(&pass)?;
        match shared.read(wanted)? {
            Packed::Whole(bytes) => Ok(bytes),
            Packed::Damaged => Err(Error::Damaged(*wanted)),
            Packed::Absent => shared.loose.get(wanted),
        }
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        let shared = &self.shared;
        let current = shared.gate.generation()?;
        let index = shared.index();
        let known = index.generation == Some(current) && index.place(digest).is_some();
        drop(index);
        if known || shared.loose.contains(digest)? {
            return Ok(true);
        }
        let pass = shared.gate.share()?;
        shared.refresh(&pass)?;
        let packed = shared.index().place(digest).is_some();
        Ok(packed || shared.loose.contains(digest)?)
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        let shared = &self.shared;
        let pass = shared.gate.share()?;
        shared.refresh(&pass)?;
        let mut found = shared.loose.digests()?;
        found.extend(shared.index().places().map(|it| it.blob.digest));
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        let wanted: HashSet<&Digest> = digests.iter().collect();
        self.shared.discard(&|it, _| wanted.contains(it)).map(drop)
    }
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Writer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the index up to date.
    fn refresh(&self, pass: &Pass) -> Result<(), Error> {
        let generation = self.gate.generation()?;
        let mut index = self.index_mut();
        if index.generation == Some(generation) {
            index.catch_up(&self.room.folder, pass)
        } else {
            *index = Index::load(&self.room.folder, generation, pass)?;
            Ok(())
        }
    }

    /// Says for each digest once what is to be done for it; renews those in files of their own.
    fn sort<'a>(
        &self,
        digests: &[Digest],
        blobs: &[&'a [u8]],
        now: Timestamp,
    ) -> Result<Batch<'a>, Error> {
        let index = self.index();
        let mut batch = Batch::default();
        let mut seen = HashSet::with_capacity(digests.len());
        let is_small = |bytes: &[u8]| length(bytes) <= self.packed_bytes_max;
        // Of before there were packs.
        let loose = self.loose.among(
            digests
                .iter()
                .zip(blobs)
                .filter(|(digest, bytes)| is_small(bytes) && index.sound(digest).is_none())
                .map(|(digest, _)| digest),
        )?;
        for (digest, bytes) in digests.iter().zip(blobs) {
            if !seen.insert(digest) {
                continue;
            }
            match index.sound(digest) {
                Some(place) if !index.is_synced(&place) => batch.doubtful.push((*digest, bytes)),
                Some(place) => batch.renewed.extend(renewal(&place, now)),
                None if (!is_small(bytes) || loose.contains(digest))
                    && self.loose.renew(digest, bytes, now)? => {}
                None if is_small(bytes) => batch.small.push((row(digest, bytes, now), bytes)),
                None => batch.large.push((*digest, bytes)),
            }
        }
        Ok(batch)
    }

    /// Decides for what was doubtful: what a living writer may not have synced is stored again.
    fn settle(&self, batch: &mut Batch<'_>, now: Timestamp) {
        let index = self.index();
        for (digest, bytes) in std::mem::take(&mut batch.doubtful) {
            match index.sound(&digest).filter(|it| index.is_synced(it)) {
                Some(place) => batch.renewed.extend(renewal(&place, now)),
                None => batch.small.push((row(&digest, bytes, now), bytes)),
            }
        }
    }

    fn writer(&self, pass: &Pass) -> Result<Writer, Error> {
        let idle = self.idle().pop();
        match idle {
            Some(writer) => Ok(writer),
            None => Writer::acquire(&self.room, &mut self.index_mut(), pass),
        }
    }

    fn renew(
        &self,
        writer: Option<Writer>,
        pass: &Pass,
        mut rows: Vec<Row>,
    ) -> Result<Writer, Error> {
        let mut writer = writer.map_or_else(|| self.writer(pass), Ok)?;
        while !rows.is_empty() {
            let more = rows.split_off(rows.len().min(FRAME_ROWS_MAX));
            let contents;
            (writer, contents) = writer.renew(rows)?;
            let mut index = self.index_mut();
            index.note(writer.name(), &contents, Vec::new());
            index.renew(&contents.renewals);
            rows = more;
        }
        Ok(writer)
    }

    fn append_all(
        &self,
        mut writer: Option<Writer>,
        pass: &Pass,
        mut blobs: &[(Row, &[u8])],
    ) -> Result<Option<Writer>, Error> {
        while !blobs.is_empty() {
            let mut bytes = 0;
            let fits = blobs.iter().take(FRAME_ROWS_MAX).take_while(|it| {
                bytes += length(it.1);
                bytes <= self.room.pack_bytes_max
            });
            let (frame, rest) = blobs.split_at(fits.count().max(1));
            writer = Some(self.append(writer, pass, frame)?);
            blobs = rest;
        }
        Ok(writer)
    }

    fn append(
        &self,
        writer: Option<Writer>,
        pass: &Pass,
        blobs: &[(Row, &[u8])],
    ) -> Result<Writer, Error> {
        let writer = match writer {
            Some(writer) if writer.is_full(&self.room) => {
                self.release(writer)?;
                self.writer(pass)?
            }
            Some(writer) => writer,
            None => self.writer(pass)?,
        };
        let rows = blobs.iter().map(|it| it.0).collect();
        let bytes: Vec<&[u8]> = blobs.iter().map(|it| it.1).collect();
        let (writer, contents) = writer.append(&self.room, rows, &bytes)?;
        self.index_mut().note(writer.name(), &contents, Vec::new());
        Ok(writer)
    }

    /// Keeps the writer for the next who puts, or seals its pack when that is full.
    fn release(&self, writer: Writer) -> Result<(), Error> {
        if !writer.is_full(&self.room) {
            self.idle().push(writer);
            return Ok(());
        }
        let name = writer.name().to_owned();
        writer.seal(&self.room)?;
        self.index_mut().mark_sealed(&name);
        Ok(())
    }

    /// Reads what the index says of the digest, if the index may be believed. Of what is damaged,
    /// every copy is tried, and the next put stores it again.
    fn read(&self, wanted: &Digest) -> Result<Packed, Error> {
        let found = self.read_copies(wanted)?;
        if matches!(found, Packed::Damaged) && !self.index().is_damaged(wanted) {
            self.index_mut().mark_damaged(wanted);
            return self.read_copies(wanted);
        }
        Ok(found)
    }

    fn read_copies(&self, wanted: &Digest) -> Result<Packed, Error> {
        let current = self.gate.generation()?;
        let index = self.index();
        if index.generation != Some(current) {
            return Ok(Packed::Absent);
        }
        let mut places: Vec<Place> = index.place(wanted).into_iter().collect();
        if index.is_damaged(wanted) {
            places.extend(index.copies().filter(|it| it.blob.digest == *wanted));
        }
        let named: Vec<_> = places
            .iter()
            .filter_map(|it| Some((it, index.pack(it)?.name.clone())))
            .map(|(it, name)| (it.blob, pack::place(&self.room.folder, &name, PACK)))
            .collect();
        drop(index);
        let mut found = Packed::Absent;
        for (blob, path) in named {
            // Without its file, the pack was rewritten: the caller looks again.
            if let Some(file) = open_file(&path)? {
                let read = pack::read_blob(&file, &blob);
                match read.map_err(|it| fault("reading", &path, it))? {
                    Some(bytes) => return Ok(Packed::Whole(bytes)),
                    None => found = Packed::Damaged,
                }
            }
        }
        Ok(found)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared")
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("packed_bytes_max", &self.packed_bytes_max)
            .field("pack_bytes_max", &self.pack_bytes_max)
            .field("pack_frames_max", &self.pack_frames_max)
            .finish_non_exhaustive()
    }
}

fn row(digest: &Digest, bytes: &[u8], put: Timestamp) -> Row {
    Row {
        digest: *digest,
        bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        put,
    }
}

/// Returns the row that makes what is stored as young as `now`, unless it is.
fn renewal(place: &Place, now: Timestamp) -> Option<Row> {
    (place.blob.put < now).then(|| row(&place.blob.digest, &[], now))
}
