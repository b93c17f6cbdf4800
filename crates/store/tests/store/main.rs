//! The store's adapters, held to the contracts of their ports and to what only a disk can do.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests"
)]

mod artifacts;
mod log;
