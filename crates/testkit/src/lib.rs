//! Fakes, builders and contract suites (development only).
#![forbid(unsafe_code)]

pub mod agents;
pub mod cells;
