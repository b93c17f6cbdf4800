//! One overlay layer: changed files, and whiteouts for what is gone. Used alike for the step from
//! one base to the next and for the changes that a tree holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ports::workspaces::Error;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::disk::failed;
use crate::names::{Names, check_path};

/// Writes a layer into an empty folder of the controller's own. Folders are made by the writer and
/// only by it, and files must be new, so that no link in a crafted tree can lead it astray.
#[derive(Debug)]
pub(crate) struct Writer {
    root: PathBuf,
    made: HashSet<Vec<u8>>,
    seconds: Option<u64>,
}

impl Writer {
    /// Starts a layer at `root`, an existing empty folder; files get this modification time.
    pub(crate) fn new(root: &Path, seconds: Option<u64>) -> Self {
        Self {
            root: root.to_path_buf(),
            made: HashSet::new(),
            seconds,
        }
    }

    /// Returns the writer with another modification time; `None` is the time of writing.
    pub(crate) fn at(&mut self, seconds: Option<u64>) -> &mut Self {
        self.seconds = seconds;
        self
    }

    /// Writes a regular file.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<u64, Error> {
        let place = self.place(path)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let mut write = || -> io::Result<u64> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&place)?;
            let bytes = io::copy(content, &mut file)?;
            // The umask does not decide what a workspace looks like.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            Ok(bytes)
        };
        let bytes = write().map_err(writing(path))?;
        self.stamp(&place).map_err(writing(path))?;
        Ok(bytes)
    }

    /// Writes a symbolic link.
    pub(crate) fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        let place = self.place(path)?;
        rustix::fs::symlink(OsStr::from_bytes(target), &place)
            .map_err(io::Error::from)
            .and_then(|()| self.stamp(&place))
            .map_err(writing(path))
    }

    /// Makes a folder.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<(), Error> {
        check_path(path)?;
        self.make(path)
    }

    /// Hides whatever the layers below hold at `path`.
    pub(crate) fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let place = self.place(path)?;
        rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|error| writing(path)(error.into()))
    }

    fn place(&mut self, path: &[u8]) -> Result<PathBuf, Error> {
        check_path(path)?;
        if let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
            self.make(&path[..at])?;
        }
        Ok(self.root.join(OsStr::from_bytes(path)))
    }

    fn make(&mut self, folder: &[u8]) -> Result<(), Error> {
        if self.made.contains(folder) {
            return Ok(());
        }
        if let Some(at) = folder.iter().rposition(|byte| *byte == b'/') {
            self.make(&folder[..at])?;
        }
        let place = self.root.join(OsStr::from_bytes(folder));
        fs::create_dir(&place)
            .and_then(|()| Ok(rustix::fs::chmod(&place, Mode::from_raw_mode(0o755))?))
            .map_err(writing(folder))?;
        self.made.insert(folder.to_vec());
        Ok(())
    }

    fn stamp(&self, place: &Path) -> io::Result<()> {
        let Some(seconds) = self.seconds else {
            return Ok(());
        };
        let time = Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            CWD,
            place,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// Returns where whiteouts must stand so that `gone` disappears from `lower` while `present` is
/// written above it: each as high as possible, so that no emptied folder stays behind.
pub(crate) fn whiteouts(
    lower: &Names,
    gone: &BTreeSet<&[u8]>,
    present: &BTreeSet<&[u8]>,
) -> BTreeSet<Vec<u8>> {
    let mut alive: HashMap<&[u8], bool> = HashMap::new();
    let mut is_alive = |folder: &'_ [u8]| -> bool {
        if let Some(known) = alive.get(folder) {
            return *known;
        }
        let mut prefix = folder.to_vec();
        prefix.push(b'/');
        let kept = present
            .range::<[u8], _>((
                std::ops::Bound::Included(prefix.as_slice()),
                std::ops::Bound::Unbounded,
            ))
            .next()
            .is_some_and(|it| it.starts_with(&prefix))
            || lower
                .under(folder)
                .iter()
                .any(|it| !gone.contains(it.path.as_slice()));
        if let Some(name) = gone_key(gone, &prefix) {
            alive.insert(&name[..folder.len()], kept);
        }
        kept
    };
    let mut found = BTreeSet::new();
    for path in gone {
        // A folder stands where the file was, or a file where one of its folders was: both hide it.
        if present.contains(path) || is_alive(path) || covered(path, present) {
            continue;
        }
        let mut top = *path;
        while let Some(at) = top.iter().rposition(|byte| *byte == b'/') {
            if is_alive(&top[..at]) {
                break;
            }
            top = &top[..at];
        }
        found.insert(top.to_vec());
    }
    found
}

fn gone_key<'a>(gone: &BTreeSet<&'a [u8]>, prefix: &[u8]) -> Option<&'a [u8]> {
    gone.range::<[u8], _>((
        std::ops::Bound::Included(prefix),
        std::ops::Bound::Unbounded,
    ))
    .next()
    .copied()
    .filter(|it| it.starts_with(prefix))
}

fn covered(path: &[u8], present: &BTreeSet<&[u8]>) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes
        .map(|(at, _)| &path[..at])
        .any(|folder| present.contains(folder))
}

fn writing(path: &[u8]) -> impl FnOnce(io::Error) -> Error {
    failed(format!("writing `{}` into a layer", path.escape_ascii()))
}
