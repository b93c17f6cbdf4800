//! Large artifacts, one file each, named by their digest: `ab/cdef…`.
//!
//! A blob is written beside its place, synced, and renamed, so that a name never holds half of
//! it. Each file is synced by itself, after the kernel was asked to begin writing all of them: a
//! sync of the whole file system (`syncfs`) was no faster for a thousand files and would also wait
//! for whatever else is being written there, such as an agent's build. A file's modification time
//! is when it was last put.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{Digest, Timestamp};
use ports::artifacts::{ARTIFACT_BYTES_MAX, Error};
use rustix::fs::Advice;
use uuid::Uuid;

use super::disk::{
    create_file, digest, entries, fault, length, make_folder, open_file, remove_file, rename,
    status, sync_folder,
};

/// A file that was being written this long ago has no writer any more.
const SCRATCH_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Files written before they are synced together: a bound for open file descriptors.
const TOGETHER_MAX: usize = 128;

/// A name younger than this may have been made by a writer that has not synced the folder yet.
const NAME_SETTLES: Duration = Duration::from_secs(60);

/// The loose files of a store.
#[derive(Debug)]
pub(super) struct Loose {
    root: PathBuf,
    scratch: PathBuf,
    /// The names that each folder had when it was first asked for.
    names: Mutex<HashMap<u8, HashSet<Digest>>>,
}

/// A loose file as a listing finds it.
#[derive(Debug)]
pub(super) struct LooseFile {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) put: Timestamp,
}

impl Loose {
    /// Makes the folders beneath `root`, and removes what writers that died left in `scratch`.
    pub(super) fn open(root: &Path, scratch: &Path) -> Result<Self, Error> {
        for first in 0..=u8::MAX {
            make_folder(&root.join(format!("{first:02x}")))?;
        }
        let loose = Self {
            root: root.to_owned(),
            scratch: scratch.to_owned(),
            names: Mutex::default(),
        };
        loose.sweep()?;
        Ok(loose)
    }

    /// Returns which of these digests had a file when their folder was first looked into: each is
    /// listed once. One that came later is missed, which costs a second copy; one that is gone
    /// since is told all the same, and is for [`Loose::renew`] to look at.
    pub(super) fn among<'a>(
        &self,
        digests: impl Iterator<Item = &'a Digest>,
    ) -> Result<HashSet<Digest>, Error> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashSet::new();
        for digest in digests {
            let first = digest.as_bytes()[0];
            let listed = match names.entry(first) {
                Entry::Occupied(listed) => listed.into_mut(),
                Entry::Vacant(unlisted) => unlisted.insert(self.digests_in(first)?.collect()),
            };
            if listed.contains(digest) {
                found.insert(*digest);
            }
        }
        Ok(found)
    }

    /// Returns whether these bytes are stored, durably once this returns; if so, they are as young
    /// as `now`.
    pub(super) fn renew(
        &self,
        digest: &Digest,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let place = self.place(digest);
        let stored = status(&place)?;
        // Another length is a torn file of a lying disk: it is written anew.
        let Some(stored) = stored.filter(|it| it.is_file() && it.len() == length(bytes)) else {
            return Ok(false);
        };
        if put_at(&stored) < now {
            File::open(&place)
                .and_then(|it| it.set_modified(moment(now)))
                .map_err(|it| fault("renewing the age of", &place, it))?;
        }
        if settles(&stored) {
            sync_folder(&self.folder(digest))?;
        }
        Ok(true)
    }

    /// Writes the blobs, each of which is missing, durably once this returns.
    pub(super) fn write(&self, blobs: &[(Digest, &[u8])], now: Timestamp) -> Result<(), Error> {
        for blobs in blobs.chunks(TOGETHER_MAX) {
            let mut written = Scratch::default();
            for (_, bytes) in blobs {
                written.write(self.scratch.join(Uuid::now_v7().to_string()), bytes, now)?;
            }
            written.sync()?;
            for (digest, _) in blobs {
                written.rename(&self.place(digest))?;
            }
        }
        let folders: BTreeSet<PathBuf> = blobs.iter().map(|it| self.folder(&it.0)).collect();
        folders.iter().try_for_each(|it| sync_folder(it))
    }

    /// Returns the bytes with this digest, verified against it.
    pub(super) fn get(&self, wanted: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.place(wanted);
        let file = open_file(&path)?.ok_or(Error::Missing(*wanted))?;
        let mut bytes = Vec::new();
        file.take(ARTIFACT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|it| fault("reading", &path, it))?;
        if digest(&bytes) == *wanted {
            Ok(bytes)
        } else {
            Err(Error::Damaged(*wanted))
        }
    }

    pub(super) fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(status(&self.place(digest))?.is_some_and(|it| it.is_file()))
    }

    pub(super) fn digests(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            found.extend(self.digests_in(first)?);
        }
        Ok(found)
    }

    fn digests_in(&self, first: u8) -> Result<impl Iterator<Item = Digest> + use<>, Error> {
        let folder = format!("{first:02x}");
        let paths = entries(&self.root.join(&folder))?;
        // What is not named by a digest was not put here by us.
        Ok(paths.into_iter().filter_map(move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("b3:{folder}{name}").parse::<Digest>().ok()
        }))
    }

    pub(super) fn files(&self) -> Result<Vec<LooseFile>, Error> {
        let mut files = Vec::new();
        for digest in self.digests()? {
            if let Some(status) = status(&self.place(&digest))?.filter(fs::Metadata::is_file) {
                files.push(LooseFile {
                    digest,
                    bytes: status.len(),
                    put: put_at(&status),
                });
            }
        }
        Ok(files)
    }

    pub(super) fn remove<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<(), Error> {
        let mut folders = BTreeSet::new();
        for digest in digests {
            remove_file(&self.place(digest))?;
            folders.insert(self.folder(digest));
        }
        folders.iter().try_for_each(|it| sync_folder(it))
    }

    fn folder(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("{:02x}", digest.as_bytes()[0]))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        let text = digest.to_string();
        // `b3:`, two digits for the folder, the rest for the file.
        self.folder(digest).join(&text[5..])
    }

    fn sweep(&self) -> Result<(), Error> {
        for path in entries(&self.scratch)? {
            let Some(status) = status(&path)? else {
                continue;
            };
            let written = status.modified().unwrap_or(UNIX_EPOCH);
            if age(written) > SCRATCH_AGE_MAX {
                remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Files that are being written; what is left of them is removed when this is dropped.
#[derive(Default)]
struct Scratch {
    files: Vec<File>,
    /// First in, first renamed.
    paths: VecDeque<PathBuf>,
}

impl Scratch {
    fn write(&mut self, path: PathBuf, bytes: &[u8], now: Timestamp) -> Result<(), Error> {
        let mut file = create_file(&path)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.set_modified(moment(now)));
        let outcome = written.map_err(|it| fault("writing", &path, it));
        self.paths.push_back(path);
        self.files.push(file);
        outcome
    }

    fn sync(&mut self) -> Result<(), Error> {
        let wrong = |source| fault("syncing what was written to", Path::new("tmp"), source);
        if let [_, _, ..] = self.files.as_slice() {
            for file in &self.files {
                // Begins the writing without waiting for it; a hint, so its failure means nothing.
                if rustix::fs::fadvise(file, 0, None, Advice::DontNeed).is_err() {}
            }
        }
        for file in self.files.drain(..) {
            file.sync_data().map_err(wrong)?;
        }
        Ok(())
    }

    fn rename(&mut self, place: &Path) -> Result<(), Error> {
        let Some(path) = self.paths.front() else {
            return Ok(());
        };
        rename(path, place)?;
        self.paths.pop_front();
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in &self.paths {
            if remove_file(path).is_err() {
                // The sweep of a later opening removes it.
            }
        }
    }
}

fn moment(at: Timestamp) -> SystemTime {
    let since = Duration::from_millis(at.0);
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

fn put_at(status: &fs::Metadata) -> Timestamp {
    let modified = status.modified().unwrap_or(UNIX_EPOCH);
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Returns whether the name may not be on the disk yet. The kernel's own time of the last change
/// counts: the other one is set by whoever puts.
fn settles(status: &fs::Metadata) -> bool {
    let seconds = u64::try_from(status.ctime()).unwrap_or(0);
    age(UNIX_EPOCH + Duration::from_secs(seconds)) <= NAME_SETTLES
}

/// Returns how long ago that was; nothing when the clock went backwards.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file on this disk, by its own clock"
)]
fn age(moment: SystemTime) -> Duration {
    SystemTime::now().duration_since(moment).unwrap_or_default()
}
