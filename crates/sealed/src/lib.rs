//! Secrets at rest: sealed for one identity, in files that are their owner's alone. Broker and
//! executor lean on it, and nobody who reads what agents write.
#![forbid(unsafe_code)]

pub mod age;
pub mod private;
pub mod store;

pub use age::Identity;
pub use store::{Kind, Listed, Store};
