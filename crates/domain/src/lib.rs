//! The rules of Palisade: for every noun `decide` (judges), `evolve` (records) and, where the
//! world must act, `react` (asks). Nothing here can read a clock, a file or the network.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod digest;
pub mod ids;
pub mod time;
pub mod tree;

pub use digest::Digest;
pub use ids::{
    AmbiguityId, CheckpointId, EffectId, EventId, FindingId, GoalId, LeaseId, PlanId, PromotionId,
    RunId, SessionId, WorkId,
};
pub use time::{Millis, Timestamp};
