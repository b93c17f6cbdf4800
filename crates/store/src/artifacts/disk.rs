//! Files and folders, with failures in the words of the port.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use domain::Digest;
use ports::artifacts::{ARTIFACT_BYTES_MAX, Error};

/// Fewer bytes than this are not worth another thread.
const TOGETHER_BYTES_MAX: u64 = 1 << 20;

/// The most threads that compute digests at once.
const THREADS_MAX: usize = 8;

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// Returns the digests of all, computed on several processors when that is worth it.
pub(super) fn digests(blobs: &[&[u8]]) -> Vec<Digest> {
    let bytes: u64 = blobs.iter().map(|it| length(it)).sum();
    let threads = if bytes < TOGETHER_BYTES_MAX {
        1
    } else {
        thread::available_parallelism().map_or(1, usize::from)
    };
    let mut digests = vec![Digest::ZERO; blobs.len()];
    let portion = blobs.len().div_ceil(threads.min(THREADS_MAX)).max(1);
    let fill = |digests: &mut [Digest], blobs: &[&[u8]]| {
        for (place, blob) in digests.iter_mut().zip(blobs) {
            *place = digest(blob);
        }
    };
    thread::scope(|scope| {
        let mut portions = digests.chunks_mut(portion).zip(blobs.chunks(portion));
        let own = portions.next();
        for (digests, blobs) in portions {
            scope.spawn(move || fill(digests, blobs));
        }
        if let Some((digests, blobs)) = own {
            fill(digests, blobs);
        }
    });
    digests
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

pub(super) fn check_size(bytes: &[u8]) -> Result<(), Error> {
    let (bytes, max) = (length(bytes), ARTIFACT_BYTES_MAX);
    if bytes > max {
        return Err(Error::TooLarge { bytes, max });
    }
    Ok(())
}

/// Makes the folder when it is missing, readable by its owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|it| fault("making", path, it))
}

/// Creates a file that must not be there, readable by its owner only.
pub(super) fn create_file(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|it| fault("creating", path, it))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|it| fault("renaming into place", to, it))
}

pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|it| it.sync_all())
        .map_err(|it| fault("syncing", path, it))
}

/// Removes the file; one that is not there does no harm.
pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
    found(fs::remove_file(path))
        .map(drop)
        .map_err(|it| fault("removing", path, it))
}

/// Returns what is known of the file, or nothing when it is not there.
pub(super) fn status(path: &Path) -> Result<Option<fs::Metadata>, Error> {
    found(fs::symlink_metadata(path)).map_err(|it| fault("looking at", path, it))
}

/// Opens the file for reading, or returns nothing when it is not there.
pub(super) fn open_file(path: &Path) -> Result<Option<File>, Error> {
    found(File::open(path)).map_err(|it| fault("opening", path, it))
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |source| fault("listing", folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        paths.push(entry.map_err(wrong)?.path());
    }
    Ok(paths)
}

/// Turns the answer that there is no such file into nothing.
fn found<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn fault(doing: &str, path: &Path, source: io::Error) -> Error {
    let doing = format!("{doing} {}", path.display());
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return Error::DiskFull { doing };
    }
    Error::Io { doing, source }
}
