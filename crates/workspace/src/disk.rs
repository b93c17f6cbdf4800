//! Files of the controller's own: errors with their step, locks, and folders that appear whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ports::artifacts;
use ports::workspaces::Error;
use rustix::fs::FlockOperation;

/// Returns the translation of a file system's failure while `doing` something.
pub(crate) fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |source| {
        if matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        ) {
            Error::DiskFull { doing }
        } else {
            Error::Io { doing, source }
        }
    }
}

/// Returns the translation of the artifact store's failure while `doing` something.
pub(crate) fn store_failed(doing: impl Into<String>) -> impl FnOnce(artifacts::Error) -> Error {
    let doing = doing.into();
    move |source| {
        if let artifacts::Error::DiskFull { doing } = source {
            Error::DiskFull { doing }
        } else {
            Error::Artifacts { doing, source }
        }
    }
}

/// Makes a folder that only its owner may enter, with its parents.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed(format!("making {}", path.display())))
}

/// Makes a folder that shows in cells: with the mode that a checkout would give it.
pub(crate) fn shown_folder(path: &Path) -> Result<(), Error> {
    private_folder(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(failed(format!("making {}", path.display())))
}

/// Waits for the lock and returns it; dropping it lets go. It holds between threads and processes.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let doing = || format!("locking {}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed(doing()))?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(doing())(error.into())),
        }
    }
}

/// Writes a small file so that readers see all of it or what was there before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let doing = || format!("writing {}", path.display());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{count}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // The failure is the one worth telling; a leftover is replaced by nobody and harms nobody.
        drop(fs::remove_file(&beside));
        failed(doing())(error)
    })
}

/// Empties a folder for half-made things and returns a fresh one in it. The caller holds the lock
/// under which all things there are made, so whatever is there was left by a crash.
pub(crate) fn workshop(folder: &Path) -> Result<PathBuf, Error> {
    crate::removal::remove_folder(folder)?;
    private_folder(folder)?;
    let fresh = folder.join("new");
    private_folder(&fresh)?;
    Ok(fresh)
}

/// Makes everything beneath `folder` durable.
pub(crate) fn sync(folder: &Path) -> Result<(), Error> {
    let doing = || format!("syncing {}", folder.display());
    let file = File::open(folder).map_err(failed(doing()))?;
    rustix::fs::syncfs(&file).map_err(|error| failed(doing())(error.into()))
}
