//! Stamps: whether anything was written to a layer, from what the kernel knows of its files alone.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use domain::Digest;
use ports::workspaces::{Error, Stamp};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::failed;

/// The most entries that are looked at. A layer with more is told apart by their count up to here;
/// the capture refuses it anyway.
const ENTRIES_MAX: u64 = 1_000_000;
/// The most folders in one another.
const DEPTH_MAX: usize = 100;

/// Looks at everything beneath `top`. What vanishes meanwhile is left out: the next stamp differs.
pub(crate) fn of(top: &Path) -> Result<Stamp, Error> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(top, flags, Mode::empty())
        .map_err(|error| failed(format!("opening {}", top.display()))(error.into()))?;
    let mut looking = Looking {
        hash: blake3::Hasher::new(),
        entries: 0,
        bytes: 0,
    };
    looking
        .folder(&folder, 0)
        .map_err(|error| failed(format!("looking at {}", top.display()))(error.into()))?;
    Ok(Stamp {
        entries: looking.entries,
        bytes: looking.bytes,
        digest: Digest::from_bytes(*looking.hash.finalize().as_bytes()),
    })
}

struct Looking {
    hash: blake3::Hasher,
    entries: u64,
    bytes: u64,
}

impl Looking {
    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            if self.entries >= ENTRIES_MAX {
                return Ok(());
            }
            let stat = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            self.entries += 1;
            let kind = FileType::from_raw_mode(stat.st_mode);
            self.hash.update(name.to_bytes_with_nul());
            for number in [
                u64::from(stat.st_mode),
                stat.st_ino,
                stat.st_size.cast_unsigned(),
                stat.st_mtime.cast_unsigned(),
                stat.st_mtime_nsec,
                stat.st_ctime.cast_unsigned(),
                stat.st_ctime_nsec,
            ] {
                self.hash.update(&number.to_le_bytes());
            }
            if kind == FileType::RegularFile {
                self.bytes = self.bytes.saturating_add(stat.st_size.cast_unsigned());
            }
            if kind == FileType::Directory && depth < DEPTH_MAX {
                self.enter(folder, &name, depth)?;
            }
        }
        // The end of a folder, so that what is in it cannot be taken for what is beside it.
        self.hash.update(b"/");
        Ok(())
    }

    fn enter(
        &mut self,
        folder: &OwnedFd,
        name: &std::ffi::CStr,
        depth: usize,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = std::ffi::OsStr::from_bytes(name.to_bytes());
        match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(inner) => self.folder(&inner, depth + 1),
            // Replaced or closed meanwhile: its own entry tells.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_kind_of_write_changes_the_stamp_and_reading_does_not() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        let mut last = of(top.path()).unwrap();
        assert_eq!((last.entries, last.bytes), (0, 0));
        let mut must_differ = |what: &str| {
            let now = of(top.path()).unwrap();
            assert_ne!(now, last, "{what}");
            last = now;
            assert_eq!(of(top.path()).unwrap(), last, "{what}: looked at twice");
        };
        fs::create_dir(path("a")).unwrap();
        must_differ("a folder");
        fs::write(path("a/file"), "one").unwrap();
        must_differ("a file");
        fs::rename(path("a/file"), path("file")).unwrap();
        must_differ("a rename");
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        must_differ("a link");
        fs::remove_file(path("link")).unwrap();
        must_differ("a removal");
        fs::remove_dir(path("a")).unwrap();
        must_differ("a removed folder");
        fs::write(path("file"), "longer").unwrap();
        must_differ("more content");
        drop(fs::read(path("file")).unwrap());
        assert_eq!(of(top.path()).unwrap(), last, "reading is no writing");
        assert_eq!((last.entries, last.bytes), (1, 6));
    }
}
