//! The engine's lock: one engine for one repository. The kernel gives it up when the process ends,
//! however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Who holds it, if not we.
#[derive(Debug)]
pub(crate) enum Taken {
    /// We do.
    Ours(Lock),
    /// The process with this number does.
    Theirs(String),
}

/// Tries to take the lock.
pub(crate) fn take(state: &Path) -> anyhow::Result<Taken> {
    let path = state.join("engine.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            Ok(Taken::Ours(Lock { _file: file }))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            Ok(Taken::Theirs(holder))
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

/// Returns the process that holds the lock, without touching it: to look must not stand in the way
/// of an engine that is about to begin.
pub(crate) fn holder(state: &Path) -> Option<String> {
    let path = state.join("engine.lock");
    let written = std::fs::read_to_string(&path).ok()?;
    let inode = std::fs::metadata(&path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    is_held(&locks, inode).then(|| written.trim().to_string())
}

/// Whether a file with this inode is locked as a whole. The device is not compared: file systems
/// report another one there than in a file's status.
fn is_held(locks: &str, inode: u64) -> bool {
    let inode = format!(":{inode}");
    locks
        .lines()
        .any(|it| it.contains(" FLOCK ") && it.split_whitespace().any(|it| it.ends_with(&inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_finds_the_holder_and_takes_nothing() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(holder(state.path()), None);
        let Taken::Ours(lock) = take(state.path()).unwrap() else {
            panic!("nobody else holds it");
        };
        assert_eq!(holder(state.path()), Some(std::process::id().to_string()));
        drop(lock);
        assert_eq!(holder(state.path()), None);
        assert!(matches!(take(state.path()).unwrap(), Taken::Ours(_)));
    }

    #[test]
    fn another_files_lock_is_not_ours() {
        let locks = "1: FLOCK  ADVISORY  WRITE 71 00:2f:1234 0 EOF\n2: POSIX  ADVISORY  WRITE 71 00:2f:99 0 EOF\n";
        assert!(is_held(locks, 1234));
        assert!(!is_held(locks, 234));
        assert!(!is_held(locks, 99));
    }
}
