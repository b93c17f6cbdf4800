//! Removes a folder that an agent has filled: however deep it is, and whatever its modes forbid.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ports::workspaces::Error;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, chmodat, openat, renameat_with, statat,
    unlinkat,
};
use rustix::io::Errno;

use crate::disk::failed;

/// Removes a folder with all in it; does nothing when there is none.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    match remove(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("removing {}", folder.display()))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A walk down would need a stack, or a path, as deep as the folders are. Instead each folder's own
/// folders are moved up to the top before it is removed, so that nothing is ever deeper than two.
fn remove(folder: &Path) -> io::Result<()> {
    let about = folder.symlink_metadata()?;
    if !about.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let top = open(CWD, folder)?;
    let mut moved = 0_u64;
    loop {
        let folders = empty(&top)?;
        if folders.is_empty() {
            break;
        }
        for name in folders {
            let inner = open(&top, &name)?;
            for below in empty(&inner)? {
                // Moving a folder changes it, which its mode may forbid.
                permit(&inner, &below)?;
                move_up(&inner, &below, &top, &mut moved)?;
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    std::fs::remove_dir(folder)
}

/// Removes everything in a folder but its folders, and returns their names.
fn empty(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    let mut folders = Vec::new();
    for name in names {
        let about = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(about.st_mode) == FileType::Directory {
            folders.push(name);
        } else {
            unlinkat(folder, &name, AtFlags::empty())?;
        }
    }
    Ok(folders)
}

fn open<P: rustix::path::Arg + Copy>(parent: impl AsFd + Copy, name: P) -> io::Result<OwnedFd> {
    permit(parent, name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

fn permit<P: rustix::path::Arg + Copy>(parent: impl AsFd, name: P) -> io::Result<()> {
    Ok(chmodat(parent, name, Mode::RWXU, AtFlags::empty())?)
}

/// Moves a folder to the top under a name that is free there.
fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let free = format!(".removing-{moved}");
        match renameat_with(from, name, top, free, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn no_depth_is_too_deep() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut folder = open(CWD, &top).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = open(&folder, "d").unwrap();
        }
        drop(folder);
        // Far less of a stack than one frame for each folder would need.
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let removed = small.spawn(move || remove_folder(&top)).unwrap();
        removed.join().unwrap().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn modes_forbid_nothing_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::create_dir(top.join(".removing-1")).unwrap();
        std::fs::write(top.join("a/b/file"), "x").unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        symlink(dir.path(), top.join("a/out")).unwrap();
        for sealed in ["a/b/c", "a/b", "a", ""] {
            let mode = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(top.join(sealed), mode).unwrap();
        }
        remove_folder(&top).unwrap();
        assert!(!top.exists() && dir.path().join("kept").exists());
        remove_folder(&top).unwrap();
        symlink(dir.path(), &top).unwrap();
        assert!(remove_folder(&top).is_err());
        assert!(dir.path().join("kept").exists());
    }
}
