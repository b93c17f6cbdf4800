//! Stories: the built program as a person would use it, with real cells, real git and no network.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a story says what it assumes by unwrapping, and what it saw by panicking"
)]

#[path = "stories/house.rs"]
mod house;

#[path = "stories/agents.rs"]
mod agents;
#[path = "stories/attack_record.rs"]
mod attack_record;
#[path = "stories/attacks.rs"]
mod attacks;
#[path = "stories/boundary.rs"]
mod boundary;
#[path = "stories/checkpoints.rs"]
mod checkpoints;
#[path = "stories/crash.rs"]
mod crash;
#[path = "stories/cycle.rs"]
mod cycle;
#[path = "stories/hostile.rs"]
mod hostile;
#[path = "stories/housekeeping.rs"]
mod housekeeping;
#[path = "stories/machine.rs"]
mod machine;
#[path = "stories/manners.rs"]
mod manners;
#[path = "stories/models.rs"]
mod models;
#[path = "stories/put_back.rs"]
mod put_back;
#[path = "stories/secrets.rs"]
mod secrets;
