//! Agent programs in real cells, against scripted models on their sessions' sockets.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

mod bridge;
mod claude;
mod codex;
mod scene;
