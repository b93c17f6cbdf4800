//! What engine and broker say to each other: one line of JSON each way over the control socket, and
//! the engine's side of it.
#![forbid(unsafe_code)]

pub mod client;
pub mod message;

pub use client::Client;
