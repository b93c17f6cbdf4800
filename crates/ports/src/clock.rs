//! Time and fresh identifiers: the two things the rules may not make for themselves.

use domain::Timestamp;

/// The clock and the source of identifiers.
pub trait Clock: Send + Sync {
    /// Returns the wall-clock time. It may jump; nothing may depend on it going forward.
    fn now(&self) -> Timestamp;

    /// Returns 128 bits that were never returned before, sorted by time where possible (UUIDv7).
    fn fresh_bits(&self) -> u128;
}
