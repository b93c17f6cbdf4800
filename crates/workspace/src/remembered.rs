//! What captures of a running session have read, so that the next one reads only what was written
//! since. It lives in this process alone, and is a matter of speed: whatever is in doubt is read.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::SessionId;
use domain::tree::{Entry, Tree};
use ports::workspaces::Error;
use rustix::fs::Stat;

use crate::disk::failed;

/// How long a file is taken to be as it was read. A program that writes through memory it shares
/// with a file may do so without a new time on the file; and what was put into the artifact store
/// must be named by an event within the store's grace period, or be put again.
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);

/// How much older than the capture a file's times must be, so that a later write has others: more
/// than the tick of the kernel's clock for files.
const SETTLED_AFTER: Duration = Duration::from_millis(20);

/// The most files that are remembered of one session.
const FILES_MAX: usize = 100_000;

/// A moment by the clock of a disk, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DiskTime(i128);

impl DiskTime {
    /// Asks the disk of `folder` for its time. The disk's own, because that is what it stamps files
    /// with: the clock of this machine may be another.
    pub(crate) fn of(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("clock");
        let doing = || {
            failed(format!(
                "asking the disk for its time at {}",
                file.display()
            ))
        };
        let asked = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .map_err(doing())?;
        // Truncating an empty file need not be a change; a new mode always is.
        rustix::fs::fchmod(&asked, rustix::fs::Mode::from_raw_mode(0o600))
            .map_err(|error| doing()(error.into()))?;
        let status = asked.metadata().map_err(doing())?;
        Ok(Self::new(status.ctime(), status.ctime_nsec()))
    }

    fn new(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> Self {
        Self(seconds.into() * 1_000_000_000 + nanoseconds.into())
    }

    fn is_settled_at(self, now: Self) -> bool {
        let margin = i128::try_from(SETTLED_AFTER.as_nanos()).unwrap_or(i128::MAX);
        self.0.saturating_add(margin) < now.0
    }
}

/// What the kernel says of a file: equal ones of settled times are equal files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    device: u64,
    inode: u64,
    mode: u32,
    links: u64,
    bytes: i64,
    modified: DiskTime,
    changed: DiskTime,
}

impl Status {
    /// Returns the length of the file.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes.cast_unsigned()
    }

    /// Returns what the kernel said.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            #[expect(
                clippy::useless_conversion,
                reason = "32 bits wide on some architectures"
            )]
            links: stat.st_nlink.into(),
            bytes: stat.st_size,
            modified: DiskTime::new(stat.st_mtime, stat.st_mtime_nsec),
            changed: DiskTime::new(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

#[derive(Debug)]
struct Known {
    status: Status,
    /// The change that the file is; `None` when it is as in the base.
    entry: Option<Entry>,
    read: Instant,
}

/// What is remembered of one session.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// What the session was opened on.
    of: Option<(Tree, String)>,
    now: DiskTime,
    known: HashMap<String, Known>,
    /// What the capture before knew, until this one comes by it.
    before: HashMap<String, Known>,
}

impl Remembered {
    /// Begins a capture of a session that was opened on this tree and variant of its base.
    pub(crate) fn begin(&mut self, tree: &Tree, variant: &str, now: DiskTime) {
        let same = |(of, kind): &(Tree, String)| of == tree && kind == variant;
        if !self.of.as_ref().is_some_and(same) {
            self.known.clear();
            self.of = Some((tree.clone(), variant.to_owned()));
        }
        self.before = std::mem::take(&mut self.known);
        self.now = now;
    }

    /// Ends a capture: what it did not come by is not there any more.
    pub(crate) fn end(&mut self) {
        self.before = HashMap::new();
    }

    /// Returns whether [`Remembered::recall`] would tell what the file at `path` is.
    pub(crate) fn knows(&self, path: &str, status: &Status) -> bool {
        let known = self.before.get(path);
        known.is_some_and(|it| it.status == *status && it.read.elapsed() <= KNOWN_FOR)
    }

    /// Returns what the file at `path` is, when it is as it was read.
    pub(crate) fn recall(&mut self, path: &str, status: &Status) -> Option<Option<Entry>> {
        let (path, known) = self.before.remove_entry(path)?;
        if known.status != *status || known.read.elapsed() > KNOWN_FOR {
            return None;
        }
        let entry = known.entry.clone();
        self.known.insert(path, known);
        Some(entry)
    }

    /// Remembers what a file is that was read, if its times are old enough to be relied on.
    pub(crate) fn keep(&mut self, path: &str, status: Status, entry: Option<&Entry>) {
        let settled = |it: DiskTime| it.is_settled_at(self.now);
        if settled(status.changed) && settled(status.modified) && self.known.len() < FILES_MAX {
            let known = Known {
                status,
                entry: entry.cloned(),
                read: Instant::now(),
            };
            self.known.insert(path.to_owned(), known);
        }
    }
}

/// What is remembered of every running session.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    sessions: Mutex<HashMap<SessionId, Arc<Mutex<Remembered>>>>,
}

impl Memories {
    /// Returns what is remembered of a session. Holding its lock makes captures wait for each other.
    pub(crate) fn of(&self, session: SessionId) -> Arc<Mutex<Remembered>> {
        Arc::clone(lock(&self.sessions).entry(session).or_default())
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, session: SessionId) {
        lock(&self.sessions).remove(&session);
    }
}

/// Takes the lock. Whoever panicked while holding it left doubtful memories at worst: what they hold of files
/// are compared anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settled_times_are_relied_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        let written = Status::of(&stat).changed;
        let tree = crate::manifest::tree(&"1".repeat(40).parse().unwrap(), None);
        for (after, expected) in [(0, false), (20_000_000, false), (20_000_001, true)] {
            let mut memory = Remembered::default();
            memory.begin(&tree, "", DiskTime(written.0 + after));
            memory.keep("file", Status::of(&stat), None);
            memory.begin(&tree, "", DiskTime(i128::MAX));
            assert_eq!(
                memory.recall("file", &Status::of(&stat)).is_some(),
                expected,
                "{after}"
            );
        }
    }

    #[test]
    fn memories_belong_to_one_tree_and_one_capture() {
        let folder = tempfile::tempdir().unwrap();
        let stat = rustix::fs::stat(folder.path()).unwrap();
        let tree = |digit: &str| crate::manifest::tree(&digit.repeat(40).parse().unwrap(), None);
        let mut memory = Remembered::default();
        let mut round = |of: &Tree, variant: &str, keep: bool| {
            memory.begin(of, variant, DiskTime(i128::MAX));
            let known = memory.recall("a", &Status::of(&stat)).is_some();
            if keep {
                memory.keep("a", Status::of(&stat), None);
            }
            memory.end();
            known
        };
        assert!(!round(&tree("1"), "", true));
        assert!(round(&tree("1"), "", false), "kept once, known on");
        assert!(!round(&tree("2"), "", true));
        assert!(!round(&tree("2"), "other", true));
        assert!(round(&tree("2"), "other", false));
    }

    #[test]
    fn the_disk_tells_a_time_not_before_what_it_stamped() {
        let folder = tempfile::tempdir().unwrap();
        let first = DiskTime::of(folder.path()).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let written = Status::of(&rustix::fs::stat(&file).unwrap()).changed;
        let second = DiskTime::of(folder.path()).unwrap();
        assert!(first <= written && written <= second);
    }
}
