//! The machine: what is free on it now.

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
#[error("what is free on this machine cannot be told: {doing}")]
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
