//! Content-addressed artifacts: written once, read by digest, never changed.

use domain::Digest;

/// The largest single artifact, in bytes.
pub const ARTIFACT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why an artifact could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is stored under this digest.
    #[error("no artifact {0} in the store")]
    Missing(Digest),
    /// What is stored does not have the digest it is stored under.
    #[error("artifact {0} is damaged on disk; restore it from a backup or remove it")]
    Damaged(Digest),
    /// Over [`ARTIFACT_BYTES_MAX`].
    #[error("an artifact of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// No space is left.
    #[error("the disk is full while {doing}; free some space and run the command again")]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// The store failed.
    #[error("artifact store: {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The artifact store.
pub trait Artifacts: Send + Sync {
    /// Keeps `bytes`, durably once this returns, and returns their digest. Idempotent.
    ///
    /// # Errors
    /// When they are too large, or the disk fails or is full; then nothing is stored.
    fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digests = self.put_all(&[bytes])?;
        digests
            .into_iter()
            .next()
            .ok_or(Error::Missing(Digest::ZERO))
    }

    /// Keeps each of `blobs` with one wait for the disk, and returns their digests in order.
    ///
    /// # Errors
    /// As [`Artifacts::put`]; then some may be stored, which does no harm.
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error>;

    /// Returns the bytes with this digest, verified against it.
    ///
    /// # Errors
    /// When they are missing, damaged or unreadable.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>, Error>;

    /// Returns whether the digest is stored (not verified).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn contains(&self, digest: &Digest) -> Result<bool, Error>;

    /// Returns every stored digest, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self) -> Result<Vec<Digest>, Error>;

    /// Removes those digests that are stored; for garbage collection by reachability only.
    ///
    /// # Errors
    /// When the store cannot be changed.
    fn remove(&self, digests: &[Digest]) -> Result<(), Error>;
}
