//! Where each packed artifact is, held in memory: one look-up for a digest, however many packs.
//!
//! Loaded once, from the indexes of sealed packs and the frames of the others; then only what was
//! appended since is read. Ages count the renewals in all packs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use domain::{Digest, Timestamp};
use ports::artifacts::Error;

use super::disk::{entries, fault, open_file, status};
use super::gate::Pass;
use super::pack::{self, Blob, Contents, INDEX, PACK};

/// What is known of the packs of one folder.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The gate's generation when this was loaded; nothing when it never was.
    pub(super) generation: Option<u64>,
    pub(super) packs: Vec<Pack>,
    numbers: HashMap<String, usize>,
    spots: HashMap<Digest, Spot>,
    /// Further copies of what is stored: of two processes that put the same, or of a crash while
    /// packs were rewritten.
    copies: HashMap<(u32, u32), Place>,
    /// Digests whose bytes were found damaged: a put stores them again.
    damaged: HashSet<Digest>,
}

#[derive(Debug)]
pub(super) struct Pack {
    pub(super) name: String,
    pub(super) sealed: bool,
    /// Where the frames that were read end.
    pub(super) end: u64,
    /// What lies before is known to be on the disk.
    pub(super) synced: u64,
    /// Rows that were removed, sorted.
    pub(super) removed: Vec<u32>,
}

/// Where a blob is, and when it was last put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) blob: Blob,
}

/// A place but for its digest, by which it is found: what a million artifacts take in memory.
#[derive(Clone, Copy, Debug)]
struct Spot {
    pack: u32,
    row: u32,
    at: u32,
    bytes: u32,
    put: Timestamp,
}

impl Index {
    /// Reads all packs of the folder.
    pub(super) fn load(folder: &Path, generation: u64, pass: &Pass) -> Result<Self, Error> {
        let mut index = Self::default();
        index.catch_up(folder, pass)?;
        index.generation = Some(generation);
        Ok(index)
    }

    /// Reads what was appended to the packs of the folder since, and packs that are new.
    pub(super) fn catch_up(&mut self, folder: &Path, _pass: &Pass) -> Result<(), Error> {
        let mut renewals = Vec::new();
        let (names, sealed) = names(folder)?;
        for name in names {
            let known = self.number(&name).and_then(|it| self.packs.get(it));
            let (contents, removed, sealed) = match known {
                Some(pack) if pack.sealed => continue,
                Some(pack) => {
                    // What an index leaves out of its pack is not to be trusted.
                    let index = match sealed.contains(&name) {
                        true => pack::read_index(folder, &name)?,
                        false => None,
                    };
                    let sealed = index.is_some();
                    let rest = index.map_or_else(|| read_rest(folder, pack), |it| Ok(Some(it)))?;
                    (rest, Vec::new(), sealed)
                }
                None => {
                    let removed = pack::read_removed(folder, &name)?;
                    match pack::read(folder, &name)? {
                        Some((contents, sealed)) => (Some(contents), removed, sealed),
                        None => continue,
                    }
                }
            };
            let Some(contents) = contents else {
                continue;
            };
            let number = self.note(&name, &contents, removed);
            if let Some(pack) = self.packs.get_mut(number) {
                pack.sealed = sealed;
            }
            renewals.extend(contents.renewals);
        }
        self.renew(&renewals);
        Ok(())
    }

    /// Takes in what a pack holds beyond what was known of it; returns the pack's number.
    pub(super) fn note(&mut self, name: &str, contents: &Contents, removed: Vec<u32>) -> usize {
        let number = *self.numbers.entry(name.to_owned()).or_insert_with(|| {
            self.packs.push(Pack {
                name: name.to_owned(),
                sealed: false,
                end: 0,
                synced: 0,
                removed,
            });
            self.packs.len() - 1
        });
        if let Some(pack) = self.packs.get_mut(number) {
            pack.end = pack.end.max(contents.end);
            pack.synced = pack.synced.max(contents.synced);
        }
        for blob in &contents.blobs {
            self.insert(number, *blob);
        }
        number
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    pub(super) fn pack(&self, place: &Place) -> Option<&Pack> {
        self.packs.get(usize::try_from(place.pack).ok()?)
    }

    /// Returns where the digest is stored.
    pub(super) fn place(&self, digest: &Digest) -> Option<Place> {
        self.spots.get(digest).map(|it| it.place(digest))
    }

    /// Returns where the digest is stored, unless its bytes are known to be damaged.
    pub(super) fn sound(&self, digest: &Digest) -> Option<Place> {
        self.place(digest)
            .filter(|_| !self.damaged.contains(digest))
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.spots.iter().map(|(digest, spot)| spot.place(digest))
    }

    pub(super) fn mark_damaged(&mut self, digest: &Digest) {
        self.damaged.insert(*digest);
    }

    /// Returns the further copies of what is stored.
    pub(super) fn copies(&self) -> impl Iterator<Item = Place> {
        self.copies.values().copied()
    }

    /// Makes these digests as young as they were put again.
    pub(super) fn renew(&mut self, renewals: &[(Digest, Timestamp)]) {
        for (digest, put) in renewals {
            if let Some(spot) = self.spots.get_mut(digest) {
                spot.put = spot.put.max(*put);
            }
        }
    }

    /// Returns whether the blob is known to be on the disk, as it was written.
    pub(super) fn is_synced(&self, place: &Place) -> bool {
        let synced = self.pack(place).map_or(0, |it| it.synced);
        u64::from(place.blob.row) < synced
    }

    pub(super) fn is_damaged(&self, digest: &Digest) -> bool {
        self.damaged.contains(digest)
    }

    pub(super) fn mark_sealed(&mut self, name: &str) {
        if let Some(pack) = self.number(name).and_then(|it| self.packs.get_mut(it)) {
            pack.sealed = true;
        }
    }

    /// Forgets a pack whose file is gone, and each copy in it.
    pub(super) fn forget_pack(&mut self, number: usize) {
        let Ok(here) = u32::try_from(number) else {
            return;
        };
        self.copies.retain(|it, _| it.0 != here);
        self.spots.retain(|_, it| it.pack != here);
        if let Some(pack) = self.packs.get_mut(number) {
            pack.sealed = true;
            pack.end = 0;
            self.numbers.remove(&pack.name);
        }
    }

    /// Forgets this copy.
    pub(super) fn forget(&mut self, copy: &Place) {
        let digest = &copy.blob.digest;
        self.copies.remove(&copy.row());
        if self.place(digest).map(|it| it.row()) == Some(copy.row()) {
            self.spots.remove(digest);
            self.damaged.remove(digest);
        }
    }

    fn insert(&mut self, pack: usize, blob: Blob) {
        let removed = self.packs.get(pack).map(|it| &it.removed);
        if removed.is_some_and(|it| it.binary_search(&blob.row).is_ok()) {
            return;
        }
        let Ok(pack) = u32::try_from(pack) else {
            return;
        };
        let place = Place { pack, blob };
        let Some(held) = self.place(&blob.digest) else {
            self.spots.insert(blob.digest, place.spot());
            return;
        };
        if held.row() == place.row() || self.copies.contains_key(&place.row()) {
            return;
        }
        // The later one is read: it was put because the other was damaged, if either is.
        let later = blob.put >= held.blob.put || self.damaged.contains(&blob.digest);
        let (read, other) = if later { (place, held) } else { (held, place) };
        if later {
            self.damaged.remove(&blob.digest);
        }
        let mut spot = read.spot();
        spot.put = spot.put.max(other.blob.put);
        self.spots.insert(blob.digest, spot);
        self.copies.insert(other.row(), other);
    }
}

impl Pack {
    fn nothing_more(&self) -> Contents {
        Contents {
            end: self.end,
            synced: self.synced,
            ..Contents::default()
        }
    }
}

impl Place {
    /// Returns what tells this copy from every other: its pack, and its row there.
    pub(super) fn row(&self) -> (u32, u32) {
        (self.pack, self.blob.row)
    }

    fn spot(&self) -> Spot {
        let blob = &self.blob;
        Spot {
            pack: self.pack,
            row: blob.row,
            at: blob.at,
            bytes: blob.bytes,
            put: blob.put,
        }
    }
}

impl Spot {
    fn place(&self, digest: &Digest) -> Place {
        Place {
            pack: self.pack,
            blob: Blob {
                digest: *digest,
                row: self.row,
                at: self.at,
                bytes: self.bytes,
                put: self.put,
            },
        }
    }
}

/// Returns the names of all packs, sorted, and of those that have an index.
fn names(folder: &Path) -> Result<(BTreeSet<String>, HashSet<String>), Error> {
    let (mut names, mut sealed) = (BTreeSet::new(), HashSet::new());
    for path in entries(folder)? {
        let (Some(stem), Some(ending)) = (path.file_stem(), path.extension()) else {
            continue;
        };
        let Some(stem) = stem.to_str() else {
            continue;
        };
        if ending == PACK {
            names.insert(stem.to_owned());
        } else if ending == INDEX {
            sealed.insert(stem.to_owned());
        }
    }
    Ok((names, sealed))
}

/// Reads what was appended to a pack; nothing when it is gone.
fn read_rest(folder: &Path, known: &Pack) -> Result<Option<Contents>, Error> {
    let path = pack::place(folder, &known.name, PACK);
    let Some(status) = status(&path)? else {
        return Ok(None);
    };
    if status.len() <= known.end {
        return Ok(Some(known.nothing_more()));
    }
    let Some(file) = open_file(&path)? else {
        return Ok(None);
    };
    pack::walk(&file, known.end, known.synced)
        .map(Some)
        .map_err(|it| fault("reading", &path, it))
}
