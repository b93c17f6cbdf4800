//! The gate between those who put and those who remove: many may put at once, who removes is alone.
//!
//! The gate is a file lock, so the kernel opens it when its holder dies. The file also holds the
//! store's **generation**, a number that is raised before anything is removed: an index of another
//! generation may name what is gone, and is loaded anew before it is believed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ports::artifacts::Error;
use rustix::fs::FlockOperation;

use super::disk::fault;

/// The file of the lock and the generation.
const GATE: &str = "gate";

/// The file of a lock that everybody passes through on the way to the gate, held while waiting:
/// whoever wants to be alone stops those behind, and is not overtaken for ever.
const TURN: &str = "turn";

#[derive(Debug)]
pub(super) struct Gate {
    path: PathBuf,
    turn: PathBuf,
    file: File,
}

/// Proof that nobody removes anything meanwhile.
#[derive(Debug)]
pub(super) struct Pass(File);

/// Proof that nobody else puts or removes anything meanwhile.
#[derive(Debug)]
pub(super) struct Alone(Pass);

impl Gate {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let (path, turn) = (root.join(GATE), root.join(TURN));
        open_lock(&turn)?;
        let file = open_lock(&path)?;
        Ok(Self { path, turn, file })
    }

    /// Returns the number that was last raised before something was removed.
    pub(super) fn generation(&self) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        let read = self.file.read_at(&mut bytes, 0);
        match read.map_err(|it| fault("reading", &self.path, it))? {
            8 => Ok(u64::from_le_bytes(bytes)),
            _ => Ok(0),
        }
    }

    /// Waits until nobody removes anything.
    pub(super) fn share(&self) -> Result<Pass, Error> {
        self.pass(FlockOperation::LockShared)
    }

    /// Waits until nobody puts or removes anything.
    pub(super) fn alone(&self) -> Result<Alone, Error> {
        self.pass(FlockOperation::LockExclusive).map(Alone)
    }

    /// Makes every index that was loaded before now unbelievable; comes before any removal.
    pub(super) fn raise_generation(&self, _alone: &Alone) -> Result<u64, Error> {
        let next = self.generation()?.wrapping_add(1);
        self.file
            .write_all_at(&next.to_le_bytes(), 0)
            .map_err(|it| fault("writing", &self.path, it))?;
        Ok(next)
    }

    fn pass(&self, how: FlockOperation) -> Result<Pass, Error> {
        // Locks belong to an opened file, not to a thread: each holder opens its own.
        let turn = Pass(open_lock(&self.turn)?);
        lock(&turn.0, FlockOperation::LockExclusive, &self.turn)?;
        let pass = Pass(open_lock(&self.path)?);
        lock(&pass.0, how, &self.path)?;
        drop(turn);
        Ok(pass)
    }
}

impl Alone {
    /// Returns the weaker proof that this is as well.
    pub(super) fn as_pass(&self) -> &Pass {
        &self.0
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // Unlocked by name: a child that was forked meanwhile may still hold the opened file. The
        // kernel unlocks it at the latest when the last holder closes it.
        if rustix::fs::flock(&self.0, FlockOperation::Unlock).is_err() {}
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|it| fault("opening", path, it))
}

fn lock(file: &File, how: FlockOperation, path: &Path) -> Result<(), Error> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, how))
        .map_err(|it| fault("locking", path, it.into()))
}
