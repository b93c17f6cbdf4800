//! How the walk opens what it found: beneath one folder, through no link, and without waiting.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd as _, OwnedFd};

use domain::tree::Rule;
use ports::workspaces::Error;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Found;
use crate::disk::failed;

/// Opens a file or folder for reading.
pub(super) fn open(beneath: &OwnedFd, path: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        beneath.as_fd(),
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )
}

/// Reads where a link points.
pub(super) fn link(folder: &OwnedFd, name: &CStr, path: &str) -> Result<Found, Error> {
    let target = rustix::fs::readlinkat(folder, name, Vec::new())
        .map_err(|error| failed(format!("reading the link `{path}`"))(error.into()))?;
    Ok(match target.into_string() {
        Ok(target) => Found::Symlink(target),
        Err(_) => {
            let what = "a link to a name that is not UTF-8".to_owned();
            Found::Foreign(what, Rule::FileType)
        }
    })
}

/// Returns what to call something that is no file, folder or link.
pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown => {
            "an unknown kind of file"
        }
    }
}
