//! The reserve: a file whose blocks are allocated and never written, to be given up on a full disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ports::machine::{Error, Reserve};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::retry_on_intr;

/// How much is held: some thousand events, and what SQLite needs beside them.
const BYTES: u64 = 16 << 20;

/// It is taken back when so many times as much is free.
const PLENTY: u64 = 4;

/// How much is written at once where blocks cannot be allocated otherwise.
const PIECE: usize = 1 << 20;

/// The unit that the kernel counts blocks in, whatever the file system's is.
const BLOCK_BYTES: u64 = 512;

/// A reserve in one file.
#[derive(Debug)]
pub struct DiskReserve {
    path: PathBuf,
    bytes: u64,
}

impl DiskReserve {
    /// Returns the reserve of a state folder. Nothing is made before it is renewed.
    #[must_use]
    pub fn in_folder(state: &Path) -> Self {
        Self::of(state, BYTES)
    }

    fn of(state: &Path, bytes: u64) -> Self {
        let path = state.join("reserve");
        Self { path, bytes }
    }

    /// Makes the file beside its place, so that a death midway leaves nothing that looks whole.
    fn make(&self) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let filled = allocate(&made, self.bytes).and_then(|()| made.sync_all());
        match filled.and_then(|()| fs::rename(&fresh, &self.path)) {
            Ok(()) => Ok(()),
            Err(error) => {
                fs::remove_file(&fresh)?;
                Err(error)
            }
        }
    }

    fn failed(&self, doing: &str) -> impl Fn(io::Error) -> Error {
        let doing = format!("{doing} {}", self.path.display());
        move |source| Error {
            doing: doing.clone(),
            source,
        }
    }
}

impl Reserve for DiskReserve {
    fn held(&self) -> u64 {
        // What takes no blocks reserves nothing.
        fs::symlink_metadata(&self.path).map_or(0, |it| {
            if it.is_file() {
                it.len().min(it.blocks().saturating_mul(BLOCK_BYTES))
            } else {
                0
            }
        })
    }

    fn wanted(&self) -> u64 {
        self.bytes
    }

    fn release(&self) -> Result<bool, Error> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("giving up")(error)),
        }
    }

    fn renew(&self) -> Result<bool, Error> {
        if self.held() >= self.bytes {
            return Ok(true);
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        let disk = rustix::fs::statvfs(folder)
            .map_err(io::Error::from)
            .map_err(self.failed("looking at the disk of"))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.bytes.saturating_mul(PLENTY) {
            return Ok(false);
        }
        match self.make() {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(self.failed("making")(error)),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Allocates blocks: in one go where the file system can, else by writing them.
fn allocate(mut file: &File, bytes: u64) -> io::Result<()> {
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        file.write_all(&piece[..length])?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_blocks_gives_them_up_once_and_takes_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::of(folder.path(), 1 << 20);
        assert_eq!(reserve.held(), 0);
        assert!(!reserve.release().unwrap(), "there is nothing yet");
        assert!(reserve.renew().unwrap());
        assert_eq!(reserve.held(), 1 << 20);
        assert!(reserve.renew().unwrap(), "it is there already");
        assert!(reserve.release().unwrap());
        assert_eq!(reserve.held(), 0);
        assert!(reserve.renew().unwrap());
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1);
    }

    #[test]
    fn it_is_not_taken_from_a_disk_that_has_little() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::of(folder.path(), 1 << 60);
        assert!(!reserve.renew().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sparse_file_and_a_link_reserve_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::of(folder.path(), 1 << 20);
        File::create(&reserve.path)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        assert_eq!(reserve.held(), 0);
        fs::remove_file(&reserve.path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &reserve.path).unwrap();
        assert_eq!(reserve.held(), 0);
        assert!(reserve.renew().unwrap());
        assert_eq!(reserve.held(), 1 << 20, "the link was replaced");
    }
}
