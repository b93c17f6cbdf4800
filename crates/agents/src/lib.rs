//! Drivers: how an agent program is run in its cell, held to its signals and understood.
//!
//! An agent is any program. It reads `/brief`, works in `/workspace`, and speaks through a named
//! pipe, one JSON object a line; what it prints is output and never an instruction.
//! [`command`] runs any program so, [`scripted`] acts out a [`story`] of known steps, and
//! [`client`] is the program that agents call to speak.
#![forbid(unsafe_code)]

pub mod acp;
pub mod claude;
pub mod client;
pub mod codex;
pub mod command;
pub mod gemini;
pub mod opencode;
pub mod question_files;
pub mod scripted;
pub mod signal_line;
pub mod story;

mod active_clock;
mod calls;
mod channel;
mod conduct;
mod dialogue;
mod follow_up;
mod json_rpc;
mod lines;
mod package;
mod permission;
mod report;
mod session;
mod surroundings;

pub use acp::AcpDriver;
pub use claude::ClaudeDriver;
pub use codex::CodexDriver;
pub use command::CommandDriver;
pub use gemini::GeminiDriver;
pub use opencode::OpenCodeDriver;
pub use scripted::ScriptedDriver;
pub use story::Story;
