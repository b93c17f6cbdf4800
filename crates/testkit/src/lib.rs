//! Fakes, builders and contract suites (development only).
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod clock;
pub mod log;
