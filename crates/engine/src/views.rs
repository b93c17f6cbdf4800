//! Views: what people and programs are shown. Folds over events, rebuildable, never needed for a
//! decision.

pub mod actions;
pub mod board;
pub mod cost;
pub mod detail;
pub mod dossier;
pub mod health;
pub mod outside;
pub mod stats;
