//! The engine's lock: one engine for one repository. The kernel gives it up when the process ends,
//! however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
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
