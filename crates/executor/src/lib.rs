//! The executor: the only one that acts. It accepts a closed list of typed actions with signed
//! approvals, records each before it happens, and answers with receipts: never a raw secret, never
//! what a program printed.
//!
//! Read [`executor`] first: it is the one path of a request.
#![forbid(unsafe_code)]

mod actions;
pub mod audit;
pub mod bridge;
pub mod config;
mod door;
pub mod executor;
mod forge;
pub mod guard;
mod judge;
mod keys;
mod ledger;
mod memory;
mod metrics;
pub mod openapi;
mod paper;
mod peer;
pub mod plans;
pub mod program;
mod rate;
mod reach;
mod relay;
mod revoked;
mod run;
mod scratch;
mod secret;
mod serving;
mod socket;
pub mod stage;
mod tls;
mod web;
