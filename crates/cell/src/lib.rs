//! The sandbox: a program sealed by namespaces, mounts, seccomp, Landlock and limits.
//!
//! Three processes take part. The **engine** compiles a [`ports::cells::CellSpec`] into a plan and
//! spawns the **launcher**, a copy of its own program with an empty environment and one socket.
//! The launcher stays outside as supervisor: when the socket closes, however the engine died, it
//! kills the cell. Its only child is the cell's **init**, PID 1 of a new PID namespace, which builds
//! the root, drops every right it has, and only then starts the program. Nothing is dropped later
//! than that, so the program never runs with more than it will keep. Where the cell can write on disk,
//! the launcher has a second child, the **meter**, which says when the quota is spent.
//!
//! This is the only crate where unsafe code is permitted; all of it is in `kernel.rs`, and in
//! `attempts.rs` for what hostile programs of the attack suite try.

pub mod attempts;
mod control;
mod freeze;
mod kernel;
mod launch;
pub mod launcher;
mod link;
mod plan;
mod spare;

pub use launch::{Launcher, LinuxCells};
