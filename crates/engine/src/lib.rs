//! The engine: the only place that loads, decides, appends and performs.
//!
//! `command → decide → append → evolve → react → effect → perform → outcome as command`. Begin with
//! [`recorder`] (how a decision becomes durable), then [`coordinator`] (who does what when), then
//! [`perform`] (one file for each effect).
#![forbid(unsafe_code)]

pub mod actions;
pub mod answers;
pub mod catalog;
pub mod collection;
pub mod coordinator;
pub mod intake;
pub mod perform;
pub mod prompt;
pub mod recorder;
mod restraint;
pub mod room;
pub mod settings;
pub mod steering;
pub mod sweep;
pub mod views;
pub mod world;

pub use recorder::Error;
pub use settings::Settings;
pub use world::World;
