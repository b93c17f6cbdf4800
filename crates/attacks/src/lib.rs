//! Scripted hostile agents, and what must hold against them.
//!
//! An [`attempt::Attempt`] is what one hostile agent tries, named once in [`list`]. A [`suite`]
//! stages a scene with planted canaries, listening honeypots and a tree that must not change, lets
//! the [`hostile`] program try it in a real cell, and looks at the world afterwards. A control lets
//! the same program try the same without the walls that are said to stop it: then what was looked
//! at must show it, or it proves nothing.
#![forbid(unsafe_code)]

pub mod attempt;
pub mod hostile;
pub mod list;
pub mod record;
pub mod suite;

mod collecting;
mod honeypots;
mod processes;
mod proof;
mod scene;
mod tree;
mod trial;

pub use collecting::{Engine, Questions};
