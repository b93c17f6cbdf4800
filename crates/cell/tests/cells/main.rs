//! What a cell keeps in and out, tried on the real kernel.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod controls;
mod denials;
mod life;
mod quota;
mod ready;
mod scene;
mod tools;
mod tree;
mod walls;
mod writes;
