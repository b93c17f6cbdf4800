//! The mount calls a root is built from, all on descriptors: a source is named once, a target is
//! looked up inside the new root and nowhere else.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::kernel::{Reach, restrict_mount};

/// Nobody in a cell gains rights by a set-id file or reaches a device by a file.
pub(crate) const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// The same, and nothing can be written.
pub(crate) const READ_ONLY: MountAttrFlags = PLAIN.union(MountAttrFlags::MOUNT_ATTR_RDONLY);
/// Inodes of one private memory file system.
const MEMORY_INODES_MAX: u32 = 1 << 20;
/// The size, to the kernel, of a file system in memory that may take as much as there is.
pub(crate) const BOUNDLESS: u64 = 0;
/// Longest value that the mount call takes in one piece.
const OPTION_BYTES_MAX: usize = 255;

/// Returns a host path as a mount not yet placed, with every mount beneath it.
pub(crate) fn take(source: &Path, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    take_at(rustix::fs::CWD, source, attributes)
}

/// Returns a path beneath `parent` as a mount not yet placed.
pub(crate) fn take_at(
    parent: impl AsFd,
    source: &Path,
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(parent, source, flags)?;
    restrict_mount(&mount, attributes, Reach::Beneath)?;
    Ok(mount)
}

/// Returns what is opened as a mount not yet placed, with every mount beneath it.
pub(crate) fn take_opened(source: &OwnedFd, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(source, "", flags)?;
    restrict_mount(&mount, attributes, Reach::Beneath)?;
    Ok(mount)
}

/// Returns a new file system in memory, not yet placed.
pub(crate) fn memory(bytes: u64, mode: &str) -> io::Result<OwnedFd> {
    let making = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&making, "size", bytes.to_string())?;
    fsconfig_set_string(&making, "nr_inodes", MEMORY_INODES_MAX.to_string())?;
    fsconfig_set_string(&making, "mode", mode)?;
    finish(&making, PLAIN)
}

/// Returns the processes of this namespace as a file system, not yet placed and still writable.
pub(crate) fn processes() -> io::Result<OwnedFd> {
    let making = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    finish(&making, PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// Where the changes to an overlay go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
}

/// Returns layers joined into one tree, top-most first, not yet placed.
///
/// Layers are named through descriptors, so that no path needs escaping, no path is too long, and
/// none is shown inside the cell.
pub(crate) fn overlay(lowers: &[OwnedFd], changes: Option<Changes<'_>>) -> io::Result<OwnedFd> {
    let making = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    set_lowers(&making, lowers)?;
    // Without the rights of the first namespace, marks are kept in `user.` attributes.
    fsconfig_set_flag(&making, "userxattr")?;
    let Some(Changes { upper, work }) = changes else {
        return finish(&making, READ_ONLY);
    };
    empty_scratch(work)?;
    let upper = open_layer(upper)?;
    let work = open_layer(work)?;
    fsconfig_set_string(&making, "upperdir", name_of(&upper))?;
    fsconfig_set_string(&making, "workdir", name_of(&work))?;
    fsconfig_set_flag(&making, "volatile")?;
    finish(&making, PLAIN)
}

/// Opens a folder to be a layer.
pub(crate) fn open_layer(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("layer {}: {error}", path.display()))
    })
}

fn set_lowers(making: &OwnedFd, lowers: &[OwnedFd]) -> io::Result<()> {
    let mut one_by_one = true;
    for (place, lower) in lowers.iter().enumerate() {
        match fsconfig_set_string(making, "lowerdir+", name_of(lower)) {
            Ok(()) => {}
            Err(Errno::INVAL) if place == 0 => {
                one_by_one = false;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if one_by_one {
        return Ok(());
    }
    let joined = lowers.iter().map(name_of).collect::<Vec<_>>().join(":");
    if joined.len() > OPTION_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{} layers are too many for a kernel before 6.7; flatten them",
            lowers.len()
        )));
    }
    Ok(fsconfig_set_string(making, "lowerdir", joined)?)
}

/// Empties the scratch folder of an overlay. The kernel leaves folders in it that permit nothing to
/// anyone, and refuses a `volatile` overlay whose former mount it cannot vouch for; what is in
/// scratch is never part of the tree.
pub(crate) fn empty_scratch(work: &Path) -> io::Result<()> {
    for left in ["work", "index"] {
        let left = work.join(left);
        for sealed in ["", "incompat", "incompat/volatile"] {
            let sealed = left.join(sealed);
            if sealed.symlink_metadata().is_ok_and(|about| about.is_dir()) {
                std::fs::set_permissions(&sealed, Permissions::from_mode(0o700))?;
            }
        }
        match std::fs::remove_dir_all(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn name_of(layer: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", layer.as_raw_fd())
}

fn finish(making: &OwnedFd, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    fsconfig_create(making)?;
    Ok(fsmount(making, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// The root being built. Paths are looked up in it as if it were `/` already: a symlink planted in
/// a mounted tree cannot lead out.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) dir: OwnedFd,
}

impl Root {
    /// Places a mount at a path, making the path where it is missing.
    pub(crate) fn place(&self, mount: &OwnedFd, target: &Path) -> io::Result<()> {
        let place = if is_folder(mount)? {
            self.folder(target)?
        } else {
            self.file(target)?
        };
        self.place_on(mount, &place)
    }

    /// Places a mount on something already there.
    pub(crate) fn place_on(&self, mount: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(mount, "", place, "", flags)?)
    }

    /// Refuses a path that leads over a symlink, as far as it exists.
    pub(crate) fn refuse_links(&self, target: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.dir, target, flags, Mode::empty(), resolve) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(link_on_the_way(error)),
        }
    }

    /// Opens what is at a path, a symlink itself where it is one, or `None` when nothing is; refuses
    /// a path that leads over a symlink.
    pub(crate) fn entry_without_links(&self, target: &Path) -> io::Result<Option<OwnedFd>> {
        match self.open_without_links(target) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(link_on_the_way(error)),
        }
    }

    /// Makes a folder and those above it where missing; what is there already may be a file, but
    /// no symlink.
    pub(crate) fn folder_without_links(&self, target: &Path) -> io::Result<()> {
        let mut path = PathBuf::from("/");
        let mut folder = self.open(&path)?;
        for part in target.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            path.push(name);
            folder = match self.open_without_links(&path) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))
                        .map_err(|error| no_place(&path, error))?;
                    self.open_without_links(&path).map_err(link_on_the_way)?
                }
                Err(error) => return Err(link_on_the_way(error)),
            };
        }
        let about = rustix::fs::statx(&folder, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
        match FileType::from_raw_mode(about.stx_mode.into()) {
            FileType::Directory | FileType::RegularFile => Ok(()),
            FileType::Symlink => Err(link_on_the_way(Errno::LOOP)),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(io::Error::other("it is neither a folder nor a file")),
        }
    }

    /// Opens what is at a path, or `None` when nothing is.
    pub(crate) fn find(&self, target: &Path) -> io::Result<Option<OwnedFd>> {
        match self.open(target) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a folder, making it and those above it where missing.
    pub(crate) fn folder(&self, target: &Path) -> io::Result<OwnedFd> {
        let mut path = PathBuf::from("/");
        let mut folder = self.open(&path)?;
        for part in target.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            path.push(name);
            folder = match self.open(&path) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))
                        .map_err(|error| no_place(&path, error))?;
                    self.open(&path)?
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(folder)
    }

    /// Writes a file that everyone may read.
    pub(crate) fn write(&self, target: &str, content: &str) -> io::Result<()> {
        let file = self.create(Path::new(target), 0o644)?;
        rustix::io::write(&file, content.as_bytes())?;
        Ok(())
    }

    /// Makes a symlink.
    pub(crate) fn link(&self, target: &str, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(Path::new(target))?;
        Ok(rustix::fs::symlinkat(to, &parent, name)?)
    }

    /// Makes a file.
    pub(crate) fn create(&self, target: &Path, mode: u32) -> io::Result<OwnedFd> {
        let (parent, name) = self.parent(target)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode))
            .map_err(|error| no_place(target, error))
    }

    fn file(&self, target: &Path) -> io::Result<OwnedFd> {
        if let Some(found) = self.find(target)? {
            return Ok(found);
        }
        drop(self.create(target, 0o644)?);
        Ok(self.open(target)?)
    }

    fn parent<'a>(&self, target: &'a Path) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        match (target.parent(), target.file_name()) {
            (Some(parent), Some(name)) => Ok((self.folder(parent)?, name)),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn open_without_links(&self, target: &Path) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(
            &self.dir,
            target,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
        )
    }

    fn open(&self, target: &Path) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(
            &self.dir,
            target,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }
}

fn link_on_the_way(error: Errno) -> io::Error {
    if error == Errno::LOOP {
        io::Error::other("a symlink lies on the way; remove it")
    } else {
        error.into()
    }
}

/// Returns whether a descriptor stands for a folder.
pub(crate) fn is_folder(descriptor: &OwnedFd) -> io::Result<bool> {
    let about = rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(about.stx_mode.into()) == FileType::Directory)
}

fn no_place(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let mend = if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        "; what is mounted above is read-only, so the place must exist in its source"
    } else {
        ""
    };
    io::Error::new(
        error.kind(),
        format!("{} cannot be made: {error}{mend}", path.display()),
    )
}
