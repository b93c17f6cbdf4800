//! The walk through what an agent left behind: hostile input, opened beneath one folder, never
//! through a link, read once.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ports::workspaces::Error;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::disk::failed;
use crate::manifest::View;
use crate::remembered::Status;

/// The largest file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;
/// The most bytes that one capture reads.
pub(crate) const TOTAL_BYTES_MAX: u64 = 2 << 30;
/// The most changed paths of one capture.
pub(crate) const ENTRIES_MAX: usize = 100_000;
/// The most directory entries of one capture, ignored ones included.
const VISITED_MAX: usize = 1_000_000;
/// The most folders in one another.
const DEPTH_MAX: usize = 100;
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4_096;

/// What was found at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file and all its bytes.
    File {
        content: Vec<u8>,
        executable: bool,
        status: Status,
    },
    /// A symbolic link.
    Symlink(String),
    /// What was there is gone.
    Gone,
    /// Something that can never be imported.
    Foreign(String),
}

/// Takes what was found; the walk keeps no content.
pub(crate) trait Sink {
    /// Takes one path.
    fn take(&mut self, path: &str, found: Found) -> Result<(), Error>;

    /// Returns whether this regular file was taken before and is as it was; then it is not read.
    fn recall(&mut self, path: &str, stat: &Stat) -> bool;
}

/// A walk.
#[derive(Debug)]
pub(crate) struct Scan<'a, S> {
    view: &'a View<'a>,
    sink: &'a mut S,
    /// A whole copy rather than an overlay's upper layer: it has no whiteouts.
    plain: bool,
    /// Every path that was told.
    seen: HashSet<String>,
    /// Folders beneath which the earlier tree is hidden.
    hidden: Vec<String>,
    visited: usize,
    bytes: u64,
}

impl<'a, S: Sink> Scan<'a, S> {
    /// Walks through an overlay's upper layer and tells `sink` what changed since `view`.
    pub(crate) fn upper(top: &Path, view: &'a View<'a>, sink: &'a mut S) -> Result<(), Error> {
        Self::new(view, sink, false).walk(top)
    }

    /// Walks through a whole copy and tells `sink` everything in it, and what is missing.
    pub(crate) fn copy(top: &Path, view: &'a View<'a>, sink: &'a mut S) -> Result<(), Error> {
        let mut scan = Self::new(view, sink, true);
        scan.hidden.push(String::new());
        scan.walk(top)
    }

    fn new(view: &'a View<'a>, sink: &'a mut S, plain: bool) -> Self {
        Self {
            view,
            sink,
            plain,
            seen: HashSet::new(),
            hidden: Vec::new(),
            visited: 0,
            bytes: 0,
        }
    }

    fn walk(mut self, top: &Path) -> Result<(), Error> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(top, flags, Mode::empty())
            .map_err(|error| failed(format!("opening {}", top.display()))(error.into()))?;
        self.folder(&folder, "", 0, false)?;
        for folder in std::mem::take(&mut self.hidden) {
            for path in self.view.under(&folder) {
                match String::from_utf8(path) {
                    Ok(path) if self.seen.contains(&path) => {}
                    Ok(path) => self.found(&path, Found::Gone)?,
                    Err(_) if self.plain => {}
                    Err(error) => {
                        let path = error.as_bytes().escape_ascii().to_string();
                        self.foreign(&path, "a deleted name that is not UTF-8")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn folder(
        &mut self,
        folder: &OwnedFd,
        path: &str,
        depth: usize,
        ignored: bool,
    ) -> Result<(), Error> {
        let reading = || failed(format!("reading the folder `{}`", shown(path)));
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(folder).map_err(|error| reading()(error.into()))? {
            let entry = entry.map_err(|error| reading()(error.into()))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            self.visited += 1;
            if self.visited > VISITED_MAX {
                return Err(too_many(VISITED_MAX));
            }
            names.push(entry.file_name().to_owned());
        }
        names.sort_unstable();
        for name in names {
            let bytes = name.to_bytes();
            if path.is_empty() && bytes == b".git" {
                continue;
            }
            let Ok(text) = std::str::from_utf8(bytes) else {
                self.not_text(path, bytes)?;
                continue;
            };
            let below = joined(path, text);
            self.entry(folder, &name, &below, depth, ignored)?;
        }
        Ok(())
    }

    fn not_text(&mut self, folder: &str, name: &[u8]) -> Result<(), Error> {
        let mut path = folder.as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let names = &self.view.base.names;
        // A whole copy holds the base's own odd names as well; they are not changes.
        if self.plain && (names.get(&path).is_some() || !names.under(&path).is_empty()) {
            return Ok(());
        }
        let escaped = joined(folder, &name.escape_ascii().to_string());
        self.foreign(&escaped, "a name that is not UTF-8")
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        path: &str,
        depth: usize,
        ignored: bool,
    ) -> Result<(), Error> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(format!("looking at `{path}`"))(error.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let whiteout = !self.plain && kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if whiteout {
            return self.gone(path);
        }
        let is_folder = kind == FileType::Directory;
        let ignored = ignored || self.view.base.ignores().exclude(path, is_folder);
        let tracked_below = self.view.has_under(path);
        if ignored && !tracked_below && self.view.at(path).is_none() {
            return Ok(());
        }
        if path.len() > PATH_BYTES_MAX || depth >= DEPTH_MAX {
            return self.foreign(path, "nested too deeply");
        }
        if name.to_bytes().eq_ignore_ascii_case(b".git") {
            return self.foreign(path, "a git repository inside the tree");
        }
        if is_folder {
            return self.enter(folder, name, path, depth, ignored);
        }
        if tracked_below {
            self.hidden.push(path.to_owned());
        }
        let found = if kind == FileType::RegularFile {
            let bytes = stat.st_size.cast_unsigned();
            if self.bytes.saturating_add(bytes) <= TOTAL_BYTES_MAX && self.sink.recall(path, &stat)
            {
                self.bytes += bytes;
                return self.see(path);
            }
            self.file(folder, name, path)?
        } else if kind == FileType::Symlink {
            link(folder, name, path)?
        } else {
            Found::Foreign(kind_name(kind).to_owned())
        };
        self.found(path, found)
    }

    fn gone(&mut self, path: &str) -> Result<(), Error> {
        self.hidden.push(path.to_owned());
        if self.view.at(path).is_some() {
            self.found(path, Found::Gone)?;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        path: &str,
        depth: usize,
        ignored: bool,
    ) -> Result<(), Error> {
        let inner = match open(folder, name, OFlags::DIRECTORY) {
            Ok(inner) => inner,
            Err(Errno::ACCESS) => return self.foreign(path, "a folder that cannot be read"),
            Err(error) => return Err(failed(format!("opening `{path}`"))(error.into())),
        };
        if !self.plain {
            if attribute(&inner, "user.overlay.redirect") != Mark::None {
                return self.foreign(path, "a folder moved by overlay redirect");
            }
            match attribute(&inner, "user.overlay.opaque") {
                Mark::Yes => self.hidden.push(path.to_owned()),
                Mark::None => {}
                // `x` marks whiteouts kept in attributes, which no mount of ours makes.
                Mark::Strange => {
                    return self.foreign(path, "a folder with a strange overlay mark");
                }
            }
        }
        let file_before = self.view.at(path).is_some_and(|it| !it.is_submodule());
        if file_before {
            self.found(path, Found::Gone)?;
        }
        self.folder(&inner, path, depth + 1, ignored)
    }

    fn file(&mut self, folder: &OwnedFd, name: &CStr, path: &str) -> Result<Found, Error> {
        let foreign = |what: &str| Ok(Found::Foreign(what.to_owned()));
        let file = match open(folder, name, OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::ACCESS) => return foreign("a file that cannot be read"),
            Err(error) => return Err(failed(format!("opening `{path}`"))(error.into())),
        };
        let stat = rustix::fs::fstat(&file)
            .map_err(|error| failed(format!("looking at `{path}`"))(error.into()))?;
        if let Some(what) = self.refusal(&file, &stat) {
            return Ok(Found::Foreign(what));
        }
        let mut content = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0));
        File::from(file)
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .map_err(failed(format!("reading `{path}`")))?;
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if bytes > FILE_BYTES_MAX {
            return foreign("a file that grew while it was read");
        }
        self.bytes += bytes;
        Ok(Found::File {
            content,
            executable: stat.st_mode & 0o100 != 0,
            status: Status::of(&stat),
        })
    }

    /// Returns why an opened file is not read, if it is not.
    fn refusal(&self, file: &OwnedFd, stat: &Stat) -> Option<String> {
        let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Some("not a regular file".into())
        } else if stat.st_nlink != 1 {
            Some("a hard-linked file; copy it instead".into())
        } else if stat.st_mode & 0o6000 != 0 {
            Some("a set-user-id or set-group-id file".into())
        } else if bytes > FILE_BYTES_MAX {
            Some(format!(
                "a file of {bytes} bytes, over the limit of {FILE_BYTES_MAX}"
            ))
        } else if self.bytes + bytes > TOTAL_BYTES_MAX {
            Some(format!(
                "beyond the first {TOTAL_BYTES_MAX} bytes of one capture"
            ))
        } else if !self.plain && attribute(file, "user.overlay.metacopy") != Mark::None {
            Some("a file whose content the overlay did not copy".into())
        } else {
            None
        }
    }

    fn foreign(&mut self, path: &str, what: &str) -> Result<(), Error> {
        if self.view.has_under(path) {
            self.hidden.push(path.to_owned());
        }
        self.found(path, Found::Foreign(what.to_owned()))
    }

    fn found(&mut self, path: &str, found: Found) -> Result<(), Error> {
        self.see(path)?;
        self.sink.take(path, found)
    }

    fn see(&mut self, path: &str) -> Result<(), Error> {
        self.seen.insert(path.to_owned());
        if self.seen.len() > ENTRIES_MAX && !self.plain {
            return Err(too_many(ENTRIES_MAX));
        }
        Ok(())
    }
}

/// What an attribute of the overlay says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Yes,
    Strange,
}

fn attribute(file: &OwnedFd, name: &str) -> Mark {
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(file, name, &mut value) {
        // A disk without attributes holds none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Mark::None,
        Ok(1) if value[0] == b'y' => Mark::Yes,
        Ok(_) | Err(_) => Mark::Strange,
    }
}

fn link(folder: &OwnedFd, name: &CStr, path: &str) -> Result<Found, Error> {
    let target = rustix::fs::readlinkat(folder, name, Vec::new())
        .map_err(|error| failed(format!("reading the link `{path}`"))(error.into()))?;
    Ok(match target.into_string() {
        Ok(target) => Found::Symlink(target),
        Err(_) => Found::Foreign("a link to a name that is not UTF-8".into()),
    })
}

fn open(folder: &OwnedFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        folder.as_fd(),
        std::ffi::OsStr::from_bytes(name.to_bytes()),
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    )
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown => {
            "an unknown kind of file"
        }
    }
}

fn too_many(limit: usize) -> Error {
    Error::Unusable(format!(
        "the session left more than {limit} changed files; remove build output, or name it in the \
         .gitignore of the base"
    ))
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}
