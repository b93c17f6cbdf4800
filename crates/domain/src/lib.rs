//! The rules of Palisade: for every noun `decide` (judges) and `evolve` (records);
//! [`effect::react`] says what the world must be asked. Nothing here can read a clock, a file or the network.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod action;
pub mod agent;
pub mod allowance;
pub mod ambiguity;
pub mod breaker;
pub mod case;
pub mod checkpoint;
pub mod conclude;
pub mod digest;
pub mod due;
pub mod effect;
pub mod egress;
pub mod event;
pub mod finding;
pub mod formula;
pub mod gate;
pub mod goal;
pub mod grant;
pub mod ids;
pub mod lease;
pub mod machine;
pub mod message;
pub mod model;
pub mod output;
pub mod plan;
pub mod policy;
pub mod principal;
pub mod printable;
pub mod promotion;
pub mod rollback;
pub mod run;
pub mod session;
pub mod severity;
pub mod time;
pub mod tree;
pub mod usage;
pub mod work;

pub use digest::Digest;
pub use ids::{
    ActionId, AmbiguityId, CheckpointId, EffectId, EventId, ExecutionId, FindingId, GoalId,
    GrantId, MessageId, PermitId, PlanId, PromotionId, RunId, SessionId, WorkId,
};
pub use time::{Millis, Timestamp};
