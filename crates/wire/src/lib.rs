//! What engine and broker say to each other: one line of JSON each way over the control socket,
//! the engine's side of it, and how tapes are read.
#![forbid(unsafe_code)]

pub mod client;
pub mod message;
pub mod tape;

pub use client::Client;
