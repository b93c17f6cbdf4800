//! One trait for each thing asked of the world, with its errors and limits. Every port has one
//! contract suite in `testkit`, which the fake and each real adapter pass.
//!
//! Ports block: a session lasts minutes and there are tens of them, so each has a thread of its
//! own (ADR 0001). A port never retries by itself and never hides an error.
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
pub mod workspaces;
