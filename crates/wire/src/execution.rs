//! What is asked of the executor and what it answers: typed requests, signed approvals, replies and
//! coded problems. The executor judges by these, the operator's side signs by them.

pub mod action;
pub mod approval;
pub mod canonical;
pub mod client;
pub mod envelope;
pub mod plain;
pub mod port;
pub mod problem;
pub mod reply;
pub mod request;
pub mod strict;

pub use action::{Action, Kind, Word};
pub use approval::{Approval, Grant, Permit};
pub use client::Client;
pub use envelope::{Envelope, SigningKey, VerifyingKey};
pub use plain::Plain;
pub use problem::{Code, Problem};
pub use reply::{Failure, Receipt, Status, Summary};
pub use request::Request;
