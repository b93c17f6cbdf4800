//! The executor as a program: started, asked, abused, killed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot set up must fail it"
)]

mod abuse;
mod acting;
mod authority;
mod beginning;
mod contract;
mod databases;
mod measuring;
mod migrating;
mod once;
mod peers;
mod permits;
mod port;
mod proposing;
mod reaching;
mod remembering;
mod scene;
mod secrecy;
mod service;
mod sources;
mod standing_in;
mod stores;
mod tls;
