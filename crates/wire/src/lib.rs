//! What the engine says to broker and executor, and what they answer: the broker's control socket,
//! how tapes are read, and what is asked of the executor with the approvals for it.
#![forbid(unsafe_code)]

pub mod client;
pub mod execution;
pub mod message;
pub mod tape;

pub use client::Client;
