//! Fakes, builders and contract suites (development only).
#![forbid(unsafe_code)]

pub mod agents;
pub mod artifacts;
pub mod cells;
pub mod clock;
pub mod executor;
pub mod judges;
pub mod log;
pub mod machine;
pub mod models;
pub mod scripted_model;
pub mod workspaces;
