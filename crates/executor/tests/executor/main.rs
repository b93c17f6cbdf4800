//! The executor as a program: started, asked, abused, killed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot set up must fail it"
)]

mod abuse;
mod acting;
mod contract;
mod databases;
mod migrating;
mod once;
mod peers;
mod permits;
mod scene;
mod secrecy;
mod sources;
mod stores;
mod tls;
