//! The broker against a provider that is scripted on the loopback.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

mod attacks;
mod budgets;
mod contract;
mod doors;
mod egress;
mod fallback;
mod keys;
mod passing;
mod peers;
mod program;
mod scene;
mod tapes;
