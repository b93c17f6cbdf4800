//! Agent programs in real cells: against scripted models on their sessions' sockets, and on the whole
//! road from a specification to its promotion.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it assumes by unwrapping, and what it saw by panicking"
)]

#[expect(dead_code, reason = "stories use the rest of it")]
#[path = "../stories/house.rs"]
mod house;

mod acp;
mod actions;
mod attacks;
mod bridge;
mod budget;
mod claude;
mod codex;
mod cycle;
mod gemini;
mod keys;
mod opencode;
mod road;
mod scene;
