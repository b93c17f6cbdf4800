//! Reading what the walk has seen: in windows of bounded size, each on all processors, and told in
//! the order of the walk.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use domain::Digest;
use domain::tree::Rule;
use ports::workspaces::Error;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::marks::{self, Marks};
use super::opening::open;
use super::{Caps, Found, Seen, Sink};
use crate::disk::failed;
use crate::remembered::Status;
use crate::spread;

/// The most bytes of files that are read before they are told; a single file may be larger.
const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// The most files that are read before they are told.
const WINDOW_FILES_MAX: usize = 1_024;

/// How much room is made for a file that holds more than it was said to, in bytes.
const MORE_BYTES: usize = 64 << 10;

/// How the files of one walk are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) top: &'a OwnedFd,
    pub(super) caps: Caps,
    pub(super) plain: bool,
}

/// A file that was read beforehand.
struct Read {
    /// How many bytes were thought to come before it.
    before: u64,
    found: Found,
}

impl Reading<'_> {
    /// Tells `sink` all that was seen, and reads what it does not know.
    pub(super) fn all(self, seen: Vec<(String, Seen)>, sink: &mut impl Sink) -> Result<(), Error> {
        let mut seen = VecDeque::from(seen);
        let mut bytes = 0;
        while !seen.is_empty() {
            let window: Vec<(String, Seen)> = seen.drain(..window(&seen)).collect();
            let mut read = self.ahead(&window, bytes, sink)?.into_iter();
            for (path, seen) in window {
                let ahead = read.next().flatten();
                let found = match seen {
                    Seen::File(status) => {
                        let after = status.bytes().saturating_add(bytes);
                        if after <= self.caps.total_bytes && sink.recall(&path, &status) {
                            bytes = after;
                            continue;
                        }
                        let found = match ahead.filter(|it| self.holds(it.before, bytes, &status)) {
                            Some(read) => read.found,
                            None => self.file(&path, bytes)?,
                        };
                        if let Found::File { content, .. } = &found {
                            bytes += length(content);
                        }
                        found
                    }
                    Seen::Told(found) => found,
                };
                sink.take(&path, found)?;
            }
        }
        Ok(())
    }

    /// Returns whether what was read after `guess` bytes is what is read after so many: files that
    /// turned out to be no files count for nothing.
    fn holds(self, guess: u64, bytes: u64, status: &Status) -> bool {
        let most = guess.max(bytes).saturating_add(status.bytes());
        guess == bytes || most <= self.caps.total_bytes
    }

    /// Reads the files of a window that the sink does not seem to know.
    fn ahead(
        self,
        window: &[(String, Seen)],
        mut bytes: u64,
        sink: &impl Sink,
    ) -> Result<Vec<Option<Read>>, Error> {
        let mut wanted = Vec::with_capacity(window.len());
        for (path, seen) in window {
            let Seen::File(status) = seen else {
                wanted.push(None);
                continue;
            };
            let is_wanted = !sink.is_known(path, status);
            wanted.push(is_wanted.then_some((path, bytes)));
            // What is too large is not read, and counts for nothing.
            if status.bytes() <= self.caps.file_bytes {
                bytes = bytes.saturating_add(status.bytes());
            }
        }
        spread::over(&wanted, |it| {
            let Some((path, before)) = *it else {
                return Ok(None);
            };
            let found = self.file(path, before)?;
            Ok(Some(Read { before, found }))
        })
    }

    /// Opens a file that was seen, and reads it if it is what it should be.
    fn file(self, path: &str, before: u64) -> Result<Found, Error> {
        let foreign = |what: &str| Ok(Found::Foreign(what.to_owned(), Rule::FileType));
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open(self.top, OsStr::new(path), flags) {
            Ok(file) => file,
            Err(Errno::ACCESS) => return foreign("a file that cannot be read"),
            Err(error) => return Err(failed(format!("opening `{path}`"))(error.into())),
        };
        let stat = rustix::fs::fstat(&file)
            .map_err(|error| failed(format!("looking at `{path}`"))(error.into()))?;
        if let Some((what, rule)) = self.refusal(&file, &stat, before) {
            return Ok(Found::Foreign(what, rule));
        }
        let content = content(&file, stat.st_size, self.caps.file_bytes)
            .map_err(|error| failed(format!("reading `{path}`"))(error.into()))?;
        if length(&content) > self.caps.file_bytes {
            return foreign("a file that grew while it was read");
        }
        Ok(Found::File {
            digest: Digest::from_bytes(*blake3::hash(&content).as_bytes()),
            content,
            executable: stat.st_mode & 0o100 != 0,
            status: Status::of(&stat),
        })
    }

    /// Returns why an opened file is not read, if it is not, and the rule that says so.
    fn refusal(self, file: &OwnedFd, stat: &Stat, before: u64) -> Option<(String, Rule)> {
        let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let (file_max, total_max) = (self.caps.file_bytes, self.caps.total_bytes);
        let kind = |what: &str| Some((what.to_owned(), Rule::FileType));
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            kind("not a regular file")
        } else if stat.st_nlink != 1 {
            kind("a hard-linked file; copy it instead")
        } else if stat.st_mode & 0o6000 != 0 {
            let what = "a set-user-id or set-group-id file";
            Some((what.to_owned(), Rule::Mode))
        } else if stat.st_mode & 0o1000 != 0 {
            Some(("a file with the sticky bit".to_owned(), Rule::Mode))
        } else if bytes > file_max {
            let what = format!("a file of {bytes} bytes, over the limit of {file_max}");
            Some((what, Rule::Size))
        } else if before.saturating_add(bytes) > total_max {
            let what = format!("beyond the first {total_max} bytes of one capture");
            Some((what, Rule::Size))
        } else {
            match marks::of(file) {
                Marks::Strange(what) if !self.plain => kind(what),
                Marks::Opaque if !self.plain => kind("a file with a mark of folders"),
                Marks::Strange(what @ "a file with capabilities") => kind(what),
                Marks::None | Marks::Opaque | Marks::Strange(_) => None,
            }
        }
    }
}

/// Returns what a file holds that should have so many bytes; of one that holds more than `most`,
/// more than that.
fn content(file: &OwnedFd, expected: i64, most: u64) -> Result<Vec<u8>, Errno> {
    let expected = usize::try_from(expected).unwrap_or(0);
    // One more than it holds: the end is seen without asking for it.
    let mut content = Vec::with_capacity(expected.saturating_add(1));
    loop {
        let read = retry_on_intr(|| rustix::io::read(file, spare_capacity(&mut content)))?;
        let is_all = content.len() == expected && content.len() < content.capacity();
        if read == 0 || is_all || length(&content) > most {
            return Ok(content);
        }
        content.reserve(MORE_BYTES);
    }
}

/// Returns how many of what was seen fit into one window; at least one.
fn window(seen: &VecDeque<(String, Seen)>) -> usize {
    let mut bytes = 0_u64;
    let fits = seen.iter().take(WINDOW_FILES_MAX).take_while(|(_, seen)| {
        if let Seen::File(status) = seen {
            bytes = bytes.saturating_add(status.bytes());
        }
        bytes <= WINDOW_BYTES_MAX
    });
    fits.count().max(1)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_file_is_read_whatever_length_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        for length in [0, 1, 2, 1_000, MORE_BYTES, 3 * MORE_BYTES] {
            let text = vec![b'x'; length];
            std::fs::write(&place, &text).unwrap();
            for told in [0, 1, 999, 1_000, 1_001, 4 * MORE_BYTES] {
                let file = std::fs::File::open(&place).unwrap().into();
                let told = i64::try_from(told).unwrap();
                assert_eq!(content(&file, told, u64::MAX).unwrap(), text);
                let file = std::fs::File::open(&place).unwrap().into();
                let some = content(&file, told, 10).unwrap();
                assert!(some == text || some.len() > 10, "{length} {told}");
            }
        }
    }
}
