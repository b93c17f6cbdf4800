//! The executor as a program: started, asked, abused, killed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot set up must fail it"
)]

mod abuse;
mod acting;
mod contract;
mod once;
mod permits;
mod port;
mod scene;
mod secrecy;
mod tls;
