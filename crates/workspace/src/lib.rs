//! Git and the sealed tree: materialise, capture, judge, publish, land.
//!
//! The user's repository is read through the `git` program in an environment of our own, and
//! written in three places only: objects of published commits, `refs/palisade/works/<commit>` that
//! keep them, and the one branch that a landing moves. Working trees and indexes are not touched.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod bare;
mod base;
mod blobs;
mod capture;
mod checkout;
mod disk;
mod filter;
mod fresh;
mod git;
mod globs;
mod ignores;
mod layer;
mod leaks;
mod left;
mod looking;
mod manifest;
mod manifests;
mod materialise;
mod names;
mod publish;
mod rebase;
mod remembered;
mod removal;
mod repository;
mod scan;
mod sealed;
mod sessions;
mod showing;
mod spelling;
mod spread;
mod stamp;
mod withheld;
mod workspaces;

pub use checkout::may_differ;
pub use leaks::credentials_at;
pub use workspaces::{Fallback, GitWorkspaces};
