//! Agent programs in real cells, against scripted models on their sessions' sockets.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

mod acp;
mod bridge;
mod claude;
mod codex;
mod gemini;
mod opencode;
mod scene;
