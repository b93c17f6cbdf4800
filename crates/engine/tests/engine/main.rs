//! Stories of the whole engine: the work cycle, its crashes, and its catalog.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail by panicking, and look for single events"
)]

mod acting;
mod allowance;
mod boundary;
mod catalog;
mod crash;
mod cycle;
#[expect(dead_code, reason = "the attacks are at home here as well")]
mod house;
mod judges;
mod models;
mod prompts;
mod reserve;
mod room;
mod steering;
mod sweep;
mod tripwire;
