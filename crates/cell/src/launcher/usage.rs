//! What writable layers take on disk, measured exactly, however hostile what lies in them.

use std::collections::HashSet;
use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstatfs, openat,
    openat2, statx,
};
use rustix::io::Errno;

use crate::freeze;

/// Unit of what the kernel says a file takes, in bytes.
const BLOCK_BYTES: u64 = 512;
/// Above this many bytes of a path, a folder is opened by itself: the kernel takes no longer ones.
const PATH_BYTES: usize = 2_048;
/// Most descriptors of a cell's processes that one measure looks at.
const DESCRIPTORS_MAX: u64 = 65_536;
/// File systems whose files take memory and no disk: tmpfs and hugetlbfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x9584_58f6];

/// What something takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Blocks, so that a hole takes nothing; a file with several names counts once.
    pub(crate) bytes: u64,
    /// Names of files and folders, so that a file with several names counts as often.
    pub(crate) files: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.files = self.files.saturating_add(other.files);
    }
}

impl Usage {
    /// Returns what is left of `self` when `other` is taken.
    pub(crate) fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }

    /// Returns whether either number is above the other's.
    pub(crate) fn exceeds(self, most: Self) -> bool {
        self.bytes > most.bytes || self.files > most.files
    }
}

/// Measures folders and files, and stops as soon as they exceed `most`.
///
/// What is being changed meanwhile may be missed or counted twice; no link is followed. Where this
/// process may not look, it counts nothing.
pub(crate) fn measure<'a>(
    places: impl IntoIterator<Item = &'a Path>,
    most: Usage,
) -> io::Result<Usage> {
    let mut walk = Walk {
        most,
        ..Walk::default()
    };
    for place in places {
        walk.count_place(place)?;
    }
    Ok(walk.usage)
}

/// Measures the files on disk that have no name any more and are held open by a process of this
/// `/proc`; what cannot be looked at counts nothing.
pub(crate) fn held_without_name(proc: &OwnedFd) -> Usage {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut looks = 0;
    for process in freeze::numbers(proc).unwrap_or_default() {
        let Ok(descriptors) = freeze::open_folder(proc, &format!("{process}/fd")) else {
            continue;
        };
        for number in freeze::numbers(&descriptors).unwrap_or_default() {
            looks += 1;
            if looks > DESCRIPTORS_MAX {
                return usage;
            }
            if let Ok(about) = nameless(&descriptors, &number)
                && seen.insert(identity(&about))
            {
                usage += Usage {
                    bytes: about.stx_blocks.saturating_mul(BLOCK_BYTES),
                    files: 1,
                };
            }
        }
    }
    usage
}

fn nameless(descriptors: &OwnedFd, number: &str) -> Result<Statx, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat(descriptors, number, flags, Mode::empty())?;
    let about = statx(&file, "", AtFlags::EMPTY_PATH, wanted())?;
    let is_file = FileType::from_raw_mode(about.stx_mode.into()) == FileType::RegularFile;
    let kind = u64::try_from(fstatfs(&file)?.f_type).unwrap_or_default();
    if is_file && about.stx_nlink == 0 && !IN_MEMORY.contains(&kind) {
        Ok(about)
    } else {
        Err(Errno::NOENT)
    }
}

#[derive(Debug, Default)]
struct Walk {
    usage: Usage,
    most: Usage,
    /// Files with several names that have been counted.
    counted: HashSet<Identity>,
    pending: Vec<Folder>,
}

/// A folder to be read, by its path beneath one that is open.
#[derive(Debug)]
struct Folder {
    above: Rc<OwnedFd>,
    path: PathBuf,
}

impl Walk {
    fn count_place(&mut self, place: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(opened) = tolerate(rustix::fs::open(place, flags, Mode::empty()))? else {
            return Ok(());
        };
        let about = statx(&opened, "", AtFlags::EMPTY_PATH, wanted())?;
        if FileType::from_raw_mode(about.stx_mode.into()) != FileType::Directory {
            self.count(&about);
            return Ok(());
        }
        // The place itself is not the work's.
        self.pending.push(Folder {
            above: Rc::new(opened),
            path: PathBuf::from("."),
        });
        while let Some(folder) = self.pending.pop() {
            self.read(&folder)?;
            if self.usage.exceeds(self.most) {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, folder: &Folder) -> io::Result<()> {
        let opened = openat2(
            &*folder.above,
            &folder.path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        let Some(opened) = tolerate(opened)? else {
            return Ok(());
        };
        let (above, path) = if folder.path.as_os_str().len() > PATH_BYTES {
            (Rc::new(opened.try_clone()?), PathBuf::new())
        } else {
            (Rc::clone(&folder.above), folder.path.clone())
        };
        let mut entries = Dir::new(opened)?;
        while let Some(entry) = entries.read() {
            let Some(entry) = tolerate(entry)? else {
                break;
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let looked = statx(
                entries.fd()?.as_fd(),
                name,
                AtFlags::SYMLINK_NOFOLLOW,
                wanted(),
            );
            let Some(about) = tolerate(looked)? else {
                continue;
            };
            self.count(&about);
            if self.usage.exceeds(self.most) {
                break;
            }
            if FileType::from_raw_mode(about.stx_mode.into()) == FileType::Directory {
                let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
                self.pending.push(Folder {
                    above: Rc::clone(&above),
                    path: path.join::<&std::ffi::OsStr>(name),
                });
            }
        }
        Ok(())
    }

    fn count(&mut self, about: &Statx) {
        let is_folder = FileType::from_raw_mode(about.stx_mode.into()) == FileType::Directory;
        let is_new = is_folder || about.stx_nlink < 2 || self.counted.insert(identity(about));
        self.usage += Usage {
            bytes: if is_new {
                about.stx_blocks.saturating_mul(BLOCK_BYTES)
            } else {
                0
            },
            files: 1,
        };
    }
}

/// Device and inode.
type Identity = (u32, u32, u64);

fn identity(about: &Statx) -> Identity {
    (about.stx_dev_major, about.stx_dev_minor, about.stx_ino)
}

fn wanted() -> StatxFlags {
    StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::BLOCKS
}

/// What goes, moves or becomes a link while it is looked at is no error, nor is what this process
/// may not read.
fn tolerate<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::AGAIN) => Ok(None),
        Err(Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Usage = Usage {
        bytes: u64::MAX,
        files: u64::MAX,
    };

    fn of(place: &Path) -> Usage {
        measure([place], ALL).unwrap()
    }

    #[test]
    fn a_hole_takes_nothing_and_a_second_name_no_bytes() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("folder")).unwrap();
        let empty = of(place.path());
        assert_eq!(empty.files, 1);
        let sparse = std::fs::File::create(place.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let with_hole = of(place.path());
        assert!(with_hole.bytes < empty.bytes + 65_536, "{with_hole:?}");
        std::fs::write(place.path().join("folder/file"), vec![1; 1 << 20]).unwrap();
        let with_file = of(place.path());
        assert!(
            with_file.bytes >= with_hole.bytes + (1 << 20),
            "{with_file:?}"
        );
        for name in ["folder/second", "third"] {
            std::fs::hard_link(place.path().join("folder/file"), place.path().join(name)).unwrap();
        }
        let with_names = of(place.path());
        assert_eq!(with_names.files, 5);
        assert!(
            with_names.bytes < with_file.bytes + 65_536,
            "{with_names:?}"
        );
    }

    #[test]
    fn links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let inside = place.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(place.path().join("big"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("../big", inside.join("file")).unwrap();
        std::os::unix::fs::symlink("..", inside.join("folder")).unwrap();
        let usage = of(&inside);
        assert!(usage.bytes < 65_536 && usage.files == 2, "{usage:?}");
        std::os::unix::fs::symlink(&inside, place.path().join("place")).unwrap();
        assert_eq!(of(&place.path().join("place")).files, 1);
        assert_eq!(of(&place.path().join("absent")), Usage::default());
    }

    #[test]
    fn no_depth_is_too_deep() {
        const DEPTH: u64 = 3_000;
        let place = tempfile::tempdir().unwrap();
        let mut folder: OwnedFd = std::fs::File::open(place.path()).unwrap().into();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&folder, "abc", Mode::RWXU).unwrap();
            folder = openat(&folder, "abc", OFlags::RDONLY, Mode::empty()).unwrap();
        }
        assert_eq!(of(place.path()).files, DEPTH);
    }

    #[test]
    fn a_measure_ends_when_it_has_seen_enough() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..100 {
            std::fs::write(place.path().join(number.to_string()), "").unwrap();
        }
        let most = Usage {
            bytes: u64::MAX,
            files: 10,
        };
        assert_eq!(measure([place.path()], most).unwrap().files, 11);
    }
}
