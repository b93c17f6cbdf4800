//! Artifacts as files named by their digest: `ab/cdef…` beneath one folder.
//!
//! A blob is written beside its place, synced, and renamed, so that a name never holds half of
//! it. Each file is synced by itself, after the kernel was asked to begin writing all of them: a
//! sync of the whole file system (`syncfs`) was no faster for a thousand files and would also wait
//! for whatever else is being written there, such as an agent's build.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use domain::Digest;
use ports::artifacts::{ARTIFACT_BYTES_MAX, Artifacts, Error};
use rustix::fs::Advice;
use uuid::Uuid;

/// The folder for what is being written; on the same file system, since it is renamed from there.
const SCRATCH: &str = "tmp";

/// A file that was being written this long ago has no writer any more.
const SCRATCH_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Files written before they are synced together: a bound for open file descriptors.
const TOGETHER_MAX: usize = 128;

/// A name younger than this may have been made by a writer that has not synced the folder yet.
const NAME_SETTLES: Duration = Duration::from_secs(60);

/// The artifacts beneath one folder. Any number of processes may share it.
#[derive(Clone, Debug)]
pub struct DiskArtifacts {
    root: PathBuf,
}

impl DiskArtifacts {
    /// Opens the store beneath `root`; makes it when missing, readable by its owner only, and
    /// removes what writers that died left behind.
    ///
    /// # Errors
    /// When the folders cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let store = Self {
            root: root.to_owned(),
        };
        make_folder(&store.scratch())?;
        for first in 0..=u8::MAX {
            make_folder(&root.join(format!("{first:02x}")))?;
        }
        sync_folder(root)?;
        store.sweep()?;
        Ok(store)
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(SCRATCH)
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
        let scratch = self.scratch();
        for path in entries(&scratch)? {
            let Some(status) = status(&path)? else {
                continue;
            };
            if age(&status) > SCRATCH_AGE_MAX {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Writes the blobs and renames them into place; the folders are the caller's to sync.
    fn write(&self, blobs: &[(&Digest, &[u8])]) -> Result<(), Error> {
        let mut written = Scratch::default();
        for (_, bytes) in blobs {
            written.write(self.scratch().join(Uuid::now_v7().to_string()), bytes)?;
        }
        written.sync()?;
        for (digest, _) in blobs {
            written.rename(&self.place(digest))?;
        }
        Ok(())
    }
}

impl Artifacts for DiskArtifacts {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        blobs.iter().try_for_each(|it| check_size(it))?;
        let digests: Vec<Digest> = blobs.iter().map(|it| digest(it)).collect();
        let mut missing = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for (digest, bytes) in digests.iter().zip(blobs) {
            let stored = status(&self.place(digest))?;
            // Another length is a torn file of a lying disk: it is written anew.
            match stored.filter(|it| it.is_file() && it.len() == length(bytes)) {
                Some(stored) if age(&stored) > NAME_SETTLES => {}
                Some(_) => {
                    touched.insert(self.folder(digest));
                }
                None => {
                    touched.insert(self.folder(digest));
                    missing.insert(digest, *bytes);
                }
            }
        }
        let missing: Vec<(&Digest, &[u8])> = missing.into_iter().collect();
        for blobs in missing.chunks(TOGETHER_MAX) {
            self.write(blobs)?;
        }
        touched.iter().try_for_each(|it| sync_folder(it))?;
        Ok(digests)
    }

    fn get(&self, wanted: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.place(wanted);
        let wrong = |source| fault("reading", &path, source);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(*wanted));
            }
            opened => opened.map_err(wrong)?,
        };
        let mut bytes = Vec::new();
        file.take(ARTIFACT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(wrong)?;
        if digest(&bytes) == *wanted {
            Ok(bytes)
        } else {
            Err(Error::Damaged(*wanted))
        }
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(status(&self.place(digest))?.is_some_and(|it| it.is_file()))
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            let folder = format!("{first:02x}");
            for path in entries(&self.root.join(&folder))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // What is not named by a digest was not put here by us.
                found.extend(format!("b3:{folder}{name}").parse::<Digest>());
            }
        }
        found.sort();
        Ok(found)
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        for digest in digests {
            remove_file(&self.place(digest))?;
        }
        let folders: BTreeSet<PathBuf> = digests.iter().map(|it| self.folder(it)).collect();
        folders.iter().try_for_each(|it| sync_folder(it))
    }
}

/// Files that are being written; what is left of them is removed when this is dropped.
#[derive(Default)]
struct Scratch {
    files: Vec<File>,
    /// First in, first renamed.
    paths: std::collections::VecDeque<PathBuf>,
}

impl Scratch {
    fn write(&mut self, path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let mut file = opened.map_err(|it| fault("creating", &path, it))?;
        let written = file.write_all(bytes);
        let outcome = written.map_err(|it| fault("writing", &path, it));
        self.paths.push_back(path);
        self.files.push(file);
        outcome
    }

    fn sync(&mut self) -> Result<(), Error> {
        let wrong = |source| fault("syncing what was written to", Path::new(SCRATCH), source);
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
        fs::rename(path, place).map_err(|it| fault("renaming into place", place, it))?;
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

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn check_size(bytes: &[u8]) -> Result<(), Error> {
    let (bytes, max) = (length(bytes), ARTIFACT_BYTES_MAX);
    if bytes > max {
        return Err(Error::TooLarge { bytes, max });
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|it| fault("making", path, it))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|it| it.sync_all())
        .map_err(|it| fault("syncing", path, it))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(fault("removing", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn status(path: &Path) -> Result<Option<fs::Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("looking at", path, error)),
    }
}

/// Returns how long ago the file was written; nothing when the clock went backwards.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file on this disk, by its own clock"
)]
fn age(status: &fs::Metadata) -> Duration {
    let written = status.modified().unwrap_or_else(|_| SystemTime::now());
    written.elapsed().unwrap_or_default()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |source| fault("listing", folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        paths.push(entry.map_err(wrong)?.path());
    }
    Ok(paths)
}

fn fault(doing: &str, path: &Path, source: io::Error) -> Error {
    let doing = format!("{doing} {}", path.display());
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return Error::DiskFull { doing };
    }
    Error::Io { doing, source }
}
