//! Stories of the adapter against real git repositories in temporary folders.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stderr,
    reason = "helper functions of tests may fail loudly, and say what they skip"
)]

#[path = "story/accepted.rs"]
mod accepted;
#[path = "story/capture.rs"]
mod capture;
#[path = "story/contract.rs"]
mod contract;
#[path = "story/histories.rs"]
mod histories;
#[path = "story/hostile.rs"]
mod hostile;
#[path = "story/kernel.rs"]
mod kernel;
#[path = "story/landing.rs"]
mod landing;
#[path = "story/prepare.rs"]
mod prepare;
#[path = "story/recapture.rs"]
mod recapture;
#[path = "story/rollback.rs"]
mod rollback;
#[path = "story/sealed.rs"]
mod sealed;
#[path = "story/trees.rs"]
mod trees;
#[path = "story/world.rs"]
mod world;
