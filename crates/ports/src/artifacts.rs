//! Content-addressed artifacts: written once, read by digest, never changed.

use std::time::Duration;

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
    /// Keeps `bytes`, durably once this returns, and returns their digest. Idempotent: what is
    /// there is not written again, but its age begins anew, so that a [`Collector`] spares it for
    /// another grace period.
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

    /// Removes those digests that are stored, whatever their age and whoever may be putting them;
    /// what nothing reaches is a [`Collector`]'s to remove.
    ///
    /// # Errors
    /// When the store cannot be changed.
    fn remove(&self, digests: &[Digest]) -> Result<(), Error>;
}

/// What a collection removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Digests that nothing kept and that were old enough.
    pub artifacts: u64,
    /// The bytes of these artifacts.
    pub bytes: u64,
}

/// The right to remove what nothing reaches any more. Only housekeeping is given it.
///
/// **The rule between putting and collecting.** A put and a collection never overlap: either the
/// put came first, and its digest is as young as the put, so the collection spares it; or the
/// collection came first, and the put stores the bytes again. What a put has returned is therefore
/// stored for at least the grace period, whatever was collected meanwhile. The grace period must
/// be longer than the time from a put to the event that names its digest.
pub trait Collector: Artifacts {
    /// Returns what [`Collector::collect`] would remove now, and changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn collectable(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
    ) -> Result<Collected, Error>;

    /// Removes each artifact that `keep` does not want and that was last put at least `grace` ago.
    /// A crash at any moment leaves each artifact whole or gone. `keep` is asked once for each
    /// digest, while nobody can put: it must be quick, and must not use the store.
    ///
    /// # Errors
    /// When the store cannot be read or changed; then some may be removed, which does no harm.
    fn collect(&self, keep: &dyn Fn(&Digest) -> bool, grace: Duration) -> Result<Collected, Error>;
}
