//! The walk through what an agent left behind: hostile input, opened beneath one folder, never
//! through a link, read once. First all names are counted, so that a million files cost no reading;
//! only then are files opened, and none is read that is too large or not what it should be.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use domain::Digest;
use domain::tree::{Rule, Violation};
use ports::workspaces::Error;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::disk::failed;
use crate::manifest::View;
use crate::remembered::Status;
use marks::Marks;
use opening::{kind_name, link, open};
use reading::Reading;

mod marks;
mod opening;
mod reading;

/// What one walk may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// The largest file that is read, in bytes.
    pub(crate) file_bytes: u64,
    /// The most bytes that one capture reads.
    pub(crate) total_bytes: u64,
    /// The most changed paths of one capture.
    pub(crate) entries: usize,
    /// The most directory entries of one capture, ignored ones included.
    pub(crate) visited: usize,
}

impl Caps {
    /// What every capture is held to.
    pub(crate) const USUAL: Self = Self {
        file_bytes: 64 << 20,
        total_bytes: 2 << 30,
        entries: 100_000,
        visited: 1_000_000,
    };
}

/// What is said of names in a folder that may be listed and not entered.
const NOT_ENTERED: &str = "in a folder that cannot be entered";
/// What is said of a folder that may not be listed.
const NOT_READ: &str = "a folder that cannot be read";

/// The most folders in one another.
const DEPTH_MAX: usize = 100;
/// The longest path, in bytes: the kernel's own limit, without the NUL at its end.
const PATH_BYTES_MAX: usize = 4_095;

/// How much of a folder's list is asked for at once, in bytes.
const LISTING_BYTES: usize = 32 << 10;

/// What was found at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file and all its bytes.
    File {
        content: Vec<u8>,
        digest: Digest,
        executable: bool,
        status: Status,
    },
    /// A symbolic link.
    Symlink(String),
    /// What was there is gone.
    Gone,
    /// Something that can never be imported, and the rule that it breaks.
    Foreign(String, Rule),
}

/// Takes what was found; the walk keeps no content.
pub(crate) trait Sink {
    /// Takes one path.
    fn take(&mut self, path: &str, found: Found) -> Result<(), Error>;

    /// Returns whether a regular file is likely to be recalled; it is read beforehand if not.
    fn is_known(&self, path: &str, status: &Status) -> bool;

    /// Returns whether this regular file was taken before and is as it was; then it is not taken
    /// again.
    fn recall(&mut self, path: &str, status: &Status) -> bool;
}

/// A walk.
#[derive(Debug)]
pub(crate) struct Scan<'a, S> {
    view: &'a View<'a>,
    sink: &'a mut S,
    caps: Caps,
    /// A whole copy rather than an overlay's upper layer: it has no whiteouts.
    plain: bool,
    /// What is to be told, in the order of the walk.
    seen: Vec<(String, Seen)>,
    /// Folders beneath which the earlier tree is hidden.
    hidden: Vec<String>,
    visited: usize,
    /// Where the kernel lists the names of a folder.
    listing: Vec<MaybeUninit<u8>>,
}

/// What the first look says of a path.
#[derive(Debug)]
enum Seen {
    /// To be opened and read, if it is not known as it is.
    File(Status),
    /// Known already.
    Told(Found),
}

/// Where a name was listed.
#[derive(Clone, Copy, Debug)]
struct Inside<'a> {
    folder: &'a OwnedFd,
    /// How many folders lie above.
    depth: usize,
    /// Whether all in the folder is ignored.
    ignored: bool,
}

/// Why a walk ends early.
#[derive(Debug)]
enum Stop {
    /// There is more than is looked at.
    TooMany(usize),
    /// The root itself is not what it should be.
    Root(&'static str),
    /// The disk failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a, S: Sink> Scan<'a, S> {
    /// Walks through an overlay's upper layer and tells `sink` what changed since `view`.
    pub(crate) fn upper(
        top: &Path,
        view: &'a View<'a>,
        caps: Caps,
        sink: &'a mut S,
    ) -> Result<(), Error> {
        Self::new(view, sink, caps, false).walk(top)
    }

    /// Walks through a whole copy and tells `sink` everything in it, and what is missing.
    pub(crate) fn copy(
        top: &Path,
        view: &'a View<'a>,
        caps: Caps,
        sink: &'a mut S,
    ) -> Result<(), Error> {
        let mut scan = Self::new(view, sink, caps, true);
        scan.hidden.push(String::new());
        scan.walk(top)
    }

    fn new(view: &'a View<'a>, sink: &'a mut S, caps: Caps, plain: bool) -> Self {
        Self {
            view,
            sink,
            caps,
            plain,
            seen: Vec::new(),
            hidden: Vec::new(),
            visited: 0,
            listing: vec![MaybeUninit::uninit(); LISTING_BYTES],
        }
    }

    fn walk(mut self, top: &Path) -> Result<(), Error> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::open(top, flags, Mode::empty())
            .map_err(|error| failed(format!("opening {}", top.display()))(error.into()))?;
        match self.look(&top) {
            Ok(()) => {}
            Err(Stop::TooMany(limit)) => {
                let what = format!(
                    "more than {limit} paths: nothing of it was read; remove build output, or have \
                     the .gitignore of the base name it"
                );
                return self
                    .sink
                    .take(Violation::WHOLE, Found::Foreign(what, Rule::Count));
            }
            Err(Stop::Root(what)) => {
                let found = Found::Foreign(what.to_owned(), Rule::FileType);
                return self.sink.take(Violation::WHOLE, found);
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
        let reading = Reading {
            top: &top,
            caps: self.caps,
            plain: self.plain,
        };
        reading.all(std::mem::take(&mut self.seen), self.sink)
    }

    /// Looks at every name, and opens no file.
    fn look(&mut self, top: &OwnedFd) -> Result<(), Stop> {
        if !self.plain {
            match marks::of(top) {
                Marks::None => {}
                Marks::Opaque => return Err(Stop::Root("a root that hides its base")),
                Marks::Strange(what) => return Err(Stop::Root(what)),
            }
        }
        self.folder(top, "", 0, false)?;
        let told: HashSet<String> = if self.hidden.is_empty() {
            HashSet::new()
        } else {
            self.seen.iter().map(|(path, _)| path.clone()).collect()
        };
        for folder in std::mem::take(&mut self.hidden) {
            for path in self.view.under(&folder) {
                match String::from_utf8(path) {
                    Ok(path) if told.contains(&path) => {}
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
    ) -> Result<(), Stop> {
        let reading = || failed(format!("reading the folder `{}`", shown(path)));
        let mut names: Vec<(CString, FileType)> = Vec::new();
        // Not opened once more: a folder without `x` is one that `.` cannot be looked up in.
        let mut entries = RawDir::new(folder, &mut self.listing);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| reading()(error.into()))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            self.visited += 1;
            if self.visited > self.caps.visited {
                return Err(Stop::TooMany(self.caps.visited));
            }
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (name, listed_as) in names {
            let bytes = name.to_bytes();
            if path.is_empty() && bytes == b".git" {
                continue;
            }
            let Ok(text) = std::str::from_utf8(bytes) else {
                self.not_text(path, bytes)?;
                continue;
            };
            let below = joined(path, text);
            let inside = Inside {
                folder,
                depth,
                ignored,
            };
            // Of a folder nothing more is asked: what is opened must be one.
            if listed_as == FileType::Directory {
                self.enter(inside, &name, &below)?;
            } else {
                self.entry(inside, &name, &below)?;
            }
        }
        Ok(())
    }

    fn not_text(&mut self, folder: &str, name: &[u8]) -> Result<(), Stop> {
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

    fn entry(&mut self, inside: Inside<'_>, name: &CStr, path: &str) -> Result<(), Stop> {
        let stat = match rustix::fs::statat(inside.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // The folder may be listed and not entered: `chmod -x` must not end a capture.
            Err(Errno::ACCESS) => return self.foreign(path, NOT_ENTERED),
            Err(error) => return Err(failed(format!("looking at `{path}`"))(error.into()).into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let whiteout = !self.plain && kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if whiteout {
            return self.gone(path);
        }
        if kind == FileType::Directory {
            return self.enter(inside, name, path);
        }
        let ignored = inside.ignored || self.view.base.ignores().exclude(path, false);
        if self.is_passed_over(inside, name, path, ignored)? {
            return Ok(());
        }
        if self.view.has_under(path) {
            self.hidden.push(path.to_owned());
        }
        if kind == FileType::RegularFile {
            self.seen(path, Seen::File(Status::of(&stat)))
        } else if kind == FileType::Symlink {
            let link = link(inside.folder, name, path)?;
            self.found(path, link)
        } else {
            let what = kind_name(kind).to_owned();
            self.found(path, Found::Foreign(what, Rule::FileType))
        }
    }

    /// Returns whether a path needs no further look: ignored ones that were never taken in, and
    /// those that are turned away for their name alone.
    fn is_passed_over(
        &mut self,
        inside: Inside<'_>,
        name: &CStr,
        path: &str,
        ignored: bool,
    ) -> Result<bool, Stop> {
        if ignored && !self.view.has_under(path) && self.view.at(path).is_none() {
            return Ok(true);
        }
        if path.len() > PATH_BYTES_MAX || inside.depth >= DEPTH_MAX {
            self.foreign(path, "nested too deeply")?;
            return Ok(true);
        }
        if name.to_bytes().eq_ignore_ascii_case(b".git") {
            self.foreign(path, "a git repository inside the tree")?;
            return Ok(true);
        }
        Ok(false)
    }

    fn gone(&mut self, path: &str) -> Result<(), Stop> {
        self.hidden.push(path.to_owned());
        if self.view.at(path).is_some() {
            self.found(path, Found::Gone)?;
        }
        Ok(())
    }

    fn enter(&mut self, inside: Inside<'_>, name: &CStr, path: &str) -> Result<(), Stop> {
        let ignored = inside.ignored || self.view.base.ignores().exclude(path, true);
        if self.is_passed_over(inside, name, path, ignored)? {
            return Ok(());
        }
        let folder = inside.folder;
        let inner = match open(
            folder,
            OsStr::from_bytes(name.to_bytes()),
            OFlags::DIRECTORY,
        ) {
            Ok(inner) => inner,
            Err(Errno::ACCESS) => {
                let looked = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
                let is_barred = matches!(looked, Err(Errno::ACCESS));
                let why = if is_barred { NOT_ENTERED } else { NOT_READ };
                return self.foreign(path, why);
            }
            Err(error) => return Err(failed(format!("opening `{path}`"))(error.into()).into()),
        };
        if !self.plain {
            match marks::of(&inner) {
                Marks::None => {}
                Marks::Opaque => self.hidden.push(path.to_owned()),
                Marks::Strange(what) => return self.foreign(path, what),
            }
        }
        let file_before = self.view.at(path).is_some_and(|it| !it.is_submodule());
        if file_before {
            self.found(path, Found::Gone)?;
        }
        self.folder(&inner, path, inside.depth + 1, ignored)
    }

    fn foreign(&mut self, path: &str, what: &str) -> Result<(), Stop> {
        if self.view.has_under(path) {
            self.hidden.push(path.to_owned());
        }
        self.found(path, Found::Foreign(what.to_owned(), Rule::FileType))
    }

    fn found(&mut self, path: &str, found: Found) -> Result<(), Stop> {
        self.seen(path, Seen::Told(found))
    }

    fn seen(&mut self, path: &str, seen: Seen) -> Result<(), Stop> {
        if self.seen.len() >= self.caps.entries && !self.plain {
            return Err(Stop::TooMany(self.caps.entries));
        }
        self.seen.push((path.to_owned(), seen));
        Ok(())
    }
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

#[cfg(test)]
mod tests;
