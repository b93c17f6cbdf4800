//! Hostile agents against the real engine: what they try against the rules, what must be true
//! afterwards, and the same again with the rule's wall switched off, when it must be seen to fail.
//!
//! Walls cannot be switched off in the product. Here a decorator stands before a port, a setting is
//! another one, or an event is put into the log past `decide`. What an attempt is called is in
//! [`suite::GROUPS`]. Deaths and full disks at every edge of the engine are walked in the crash
//! matrix (`tests/engine/crash.rs`); what only a real cell, real git or the program itself can hold
//! is tried in the stories of the command line.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail by panicking, and look for single events"
)]

#[path = "../engine/house.rs"]
#[expect(dead_code, reason = "the house serves other stories as well")]
mod house;

mod altered;
mod approvals;
mod claims;
mod evidence;
mod interruptions;
mod limits;
mod powers;
mod scene;
mod scope;
mod suite;
mod witness;
