//! The event log and the artifacts, kept in SQLite and on disk.
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod clock;
pub mod log;
pub mod machine;
pub mod reserve;
