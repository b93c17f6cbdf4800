//! Removing what nothing reaches, while nobody puts, and giving its space back.
//!
//! The rows of a pack that are removed are listed beside it; a pack that is more than half removed
//! is rewritten: what is left is appended to another pack, with its ages, before the file goes. A
//! death in between leaves two copies, of which a later collection removes one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use domain::{Digest, Timestamp};
use ports::artifacts::{Collected, Collector, Error};

use super::disk::{fault, status, sync_folder};
use super::frame::{FIRST_FRAME, ROW_BYTES, Row};
use super::gate::{Alone, Pass};
use super::index::{Index, Place};
use super::pack::{self, PACK};
use super::writer::{Writer, lock_pack};
use super::{DiskArtifacts, Shared};

/// Tells whether a digest that was last put then is to be removed.
type Judge<'a> = &'a dyn Fn(&Digest, Timestamp) -> bool;

/// What is to be removed.
#[derive(Default)]
struct Doomed {
    packed: Vec<Place>,
    loose: Vec<Digest>,
    told: Collected,
}

impl Collector for DiskArtifacts {
    fn collectable(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
    ) -> Result<Collected, Error> {
        let pass = self.shared.gate.share()?;
        let now = self.shared.clock.now();
        let index = self.shared.load(&pass)?;
        let doomed = self.shared.doomed(&index, &|digest, put| {
            is_old(now, put, grace) && !keep(digest)
        })?;
        Ok(doomed.told)
    }

    fn collect(&self, keep: &dyn Fn(&Digest) -> bool, grace: Duration) -> Result<Collected, Error> {
        let now = self.shared.clock.now();
        self.shared
            .discard(&|digest, put| is_old(now, put, grace) && !keep(digest))
    }
}

impl Shared {
    /// Removes what is judged, then gives back the space of packs that are mostly removed.
    pub(super) fn discard(&self, judge: Judge<'_>) -> Result<Collected, Error> {
        let alone = self.gate.alone()?;
        // Loaded anew: an index that grew with what others appended may not know the newest ages.
        let mut index = self.load(alone.as_pass())?;
        let mut doomed = self.doomed(&index, judge)?;
        doomed.packed.extend(self.needless(&index)?);
        if !doomed.packed.is_empty() || !doomed.loose.is_empty() {
            index.generation = Some(self.gate.raise_generation(&alone)?);
            self.strike(&mut index, &doomed.packed)?;
            self.loose.remove(&doomed.loose)?;
        }
        *self.index_mut() = index;
        drop(alone);
        self.rewrite_mostly_removed()?;
        Ok(doomed.told)
    }

    fn load(&self, pass: &Pass) -> Result<Index, Error> {
        Index::load(&self.room.folder, self.gate.generation()?, pass)
    }

    /// Judges each digest once, by the youngest of its copies.
    fn doomed(&self, index: &Index, judge: Judge<'_>) -> Result<Doomed, Error> {
        let files = self.loose.files()?;
        let mut loose: HashMap<Digest, _> = files.iter().map(|it| (it.digest, it)).collect();
        let mut doomed = Doomed::default();
        let mut digests = HashSet::new();
        for place in index.places() {
            let blob = place.blob;
            let file = loose.remove(&blob.digest);
            let put = file.map_or(blob.put, |it| it.put.max(blob.put));
            if judge(&blob.digest, put) {
                doomed.told.artifacts += 1;
                doomed.told.bytes += u64::from(blob.bytes);
                doomed.packed.push(place);
                doomed.loose.extend(file.map(|it| it.digest));
                digests.insert(blob.digest);
            }
        }
        for file in loose.into_values() {
            if judge(&file.digest, file.put) {
                doomed.told.artifacts += 1;
                doomed.told.bytes += file.bytes;
                doomed.loose.push(file.digest);
            }
        }
        let copies = index
            .copies()
            .filter(|it| digests.contains(&it.blob.digest));
        doomed.packed.extend(copies);
        Ok(doomed)
    }

    /// Returns the further copies of what is sound without them.
    fn needless(&self, index: &Index) -> Result<Vec<Place>, Error> {
        let mut needless = Vec::new();
        for copy in index.copies() {
            if let Some(place) = index.place(&copy.blob.digest)
                && self.read_at(index, &place)?.is_some()
            {
                needless.push(copy);
            }
        }
        Ok(needless)
    }

    fn read_at(&self, index: &Index, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        let Some(pack) = index.pack(place) else {
            return Ok(None);
        };
        let path = pack::place(&self.room.folder, &pack.name, PACK);
        let Some(file) = super::open_file(&path)? else {
            return Ok(None);
        };
        pack::read_blob(&file, &place.blob).map_err(|it| fault("reading", &path, it))
    }

    /// Lists these rows as removed.
    fn strike(&self, index: &mut Index, places: &[Place]) -> Result<(), Error> {
        let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for place in places {
            rows.entry(place.pack).or_default().push(place.blob.row);
            index.forget(place);
        }
        for (number, mut rows) in rows {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(pack) = index.packs.get_mut(number) {
                rows.extend_from_slice(&pack.removed);
                rows.sort_unstable();
                rows.dedup();
                pack::write_removed(&self.room, &pack.name, &rows)?;
                pack.removed = rows;
            }
        }
        sync_folder(&self.room.folder)
    }

    /// Rewrites the packs of which less than half is left. Those who put may pass now and then.
    fn rewrite_mostly_removed(&self) -> Result<(), Error> {
        let mut tried = HashSet::new();
        loop {
            let alone = self.gate.alone()?;
            // Their packs may be among these, and only who has the lock may rewrite one.
            self.idle().clear();
            self.refresh(alone.as_pass())?;
            let mut names = self.mostly_removed()?;
            names.retain(|it| !tried.contains(it));
            if names.is_empty() {
                return Ok(());
            }
            let generation = self.gate.raise_generation(&alone)?;
            self.index_mut().generation = Some(generation);
            let mut copied = 0;
            for name in names {
                copied += self.rewrite(&name, &alone)?;
                tried.insert(name);
                if copied >= self.room.pack_bytes_max {
                    break;
                }
            }
        }
    }

    fn mostly_removed(&self) -> Result<Vec<String>, Error> {
        let index = self.index();
        let mut left: HashMap<u32, u64> = HashMap::new();
        for place in index.places().chain(index.copies()) {
            *left.entry(place.pack).or_default() += u64::from(place.blob.bytes) + ROW_BYTES as u64;
        }
        let mut names = Vec::new();
        for (number, pack) in (0..).zip(&index.packs) {
            let path = pack::place(&self.room.folder, &pack.name, PACK);
            let Some(status) = status(&path)? else {
                continue;
            };
            let left = left.get(&number).copied().unwrap_or_default();
            let useless = !pack.removed.is_empty() || pack.end < status.len();
            let held = status.len().saturating_sub(FIRST_FRAME);
            if useless && left * 2 < held {
                names.push(pack.name.clone());
            }
        }
        Ok(names)
    }

    /// Appends what is left of a pack to another and removes it; returns the bytes copied. A pack
    /// that somebody appends to stays, and so does one that holds something damaged: it could not
    /// be told from what is missing.
    fn rewrite(&self, name: &str, alone: &Alone) -> Result<u64, Error> {
        let path = pack::place(&self.room.folder, name, PACK);
        let Some(file) = lock_pack(&path)? else {
            return Ok(0);
        };
        let Some((places, number)) = self.left_in(name) else {
            return Ok(0);
        };
        let mut blobs = Vec::with_capacity(places.len());
        for place in &places {
            let read = pack::read_blob(&file, &place.blob);
            match read.map_err(|it| fault("reading", &path, it))? {
                Some(bytes) => blobs.push((row(place), bytes)),
                None => return Ok(0),
            }
        }
        let renewals = self.renewals_in(name)?;
        let blobs: Vec<(Row, &[u8])> = blobs.iter().map(|it| (it.0, it.1.as_slice())).collect();
        let mut writer: Option<Writer> = None;
        if !renewals.is_empty() {
            writer = Some(self.renew(writer, alone.as_pass(), renewals)?);
        }
        if let Some(writer) = self.append_all(writer, alone.as_pass(), &blobs)? {
            self.release(writer)?;
        }
        pack::remove(&self.room.folder, name)?;
        sync_folder(&self.room.folder)?;
        self.index_mut().forget_pack(number);
        Ok(places.iter().map(|it| u64::from(it.blob.bytes)).sum())
    }

    /// Returns what is left in the pack, in its order; nothing when a copy is among it that is
    /// there because the one that is read may be damaged.
    fn left_in(&self, name: &str) -> Option<(Vec<Place>, usize)> {
        let index = self.index();
        let number = index.number(name)?;
        let here = |it: &Place| usize::try_from(it.pack) == Ok(number);
        if index.copies().any(|it| here(&it)) {
            return None;
        }
        let mut places: Vec<Place> = index.places().filter(here).collect();
        places.sort_unstable_by_key(|it| it.blob.at);
        Some((places, number))
    }

    /// Returns the renewals in the pack that tell the age of what is stored elsewhere.
    fn renewals_in(&self, name: &str) -> Result<Vec<Row>, Error> {
        let Some((contents, _)) = pack::read(&self.room.folder, name)? else {
            return Ok(Vec::new());
        };
        let index = self.index();
        let number = index.number(name);
        let mut renewals = Vec::new();
        for (digest, put) in contents.renewals {
            if let Some(place) = index.place(&digest)
                && place.blob.put == put
                && usize::try_from(place.pack).ok() != number
            {
                renewals.push(row(&place));
            }
        }
        Ok(renewals)
    }
}

fn row(place: &Place) -> Row {
    Row {
        digest: place.blob.digest,
        bytes: place.blob.bytes,
        put: place.blob.put,
    }
}

fn is_old(now: Timestamp, put: Timestamp, grace: Duration) -> bool {
    Duration::from_millis(now.since(put).0) >= grace
}
