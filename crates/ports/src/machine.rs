//! The machine: what is free on it now, and a reserve of its disk for what must be recorded.

use std::path::Path;

/// What is free now, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// On the disk that was asked about, for ordinary users.
    pub disk: u64,
    /// All of that disk.
    pub disk_total: u64,
    /// Memory that programs can have without swapping, caches given up included.
    pub memory: u64,
}

/// Why that cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("the machine does not do what is asked of it: {doing}")]
pub struct Error {
    /// What was being done.
    pub doing: String,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// The machine that cells run on.
pub trait Machine: Send + Sync {
    /// Returns what is free now, on the disk that holds `folder` and in memory.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn free(&self, folder: &Path) -> Result<Free, Error>;
}

/// Disk that is held back, so that on a full one it can still be recorded that something ends.
pub trait Reserve: Send + Sync {
    /// Returns how much is held now, in bytes.
    fn held(&self) -> u64;

    /// Returns how much is to be held, in bytes.
    fn wanted(&self) -> u64;

    /// Gives it up; returns whether there was anything.
    ///
    /// # Errors
    /// When the kernel does not let it go.
    fn release(&self) -> Result<bool, Error>;

    /// Takes it back when the disk has plenty of room; returns whether it is held afterwards.
    ///
    /// # Errors
    /// When the disk fails for another reason than that it is full.
    fn renew(&self) -> Result<bool, Error>;
}
