//! Small batches to append, made of numbers.

use domain::{EffectId, EventId, Timestamp};
use ports::log::{Append, Batch, NewEffect, NewEvent};

/// Returns an event with this identifier and every field filled.
#[must_use]
pub fn event(id: u128) -> NewEvent {
    NewEvent {
        id: EventId::from_bits(id),
        kind: "io.palisade.test.happened.v1".to_owned(),
        time: Timestamp(1_767_225_600_000),
        actor: "operator:ada".to_owned(),
        epoch: 3,
        correlation: "work_1".to_owned(),
        causation: Some(format!("cause-{id}")),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        data: format!("{{\"number\":{id}}}"),
    }
}

/// Returns events with these identifiers for a stream that holds `expected`.
#[must_use]
pub fn append(stream: &str, expected: u128, ids: impl IntoIterator<Item = u128>) -> Append {
    Append {
        stream: stream.to_owned(),
        expected: u64::try_from(expected).unwrap_or(u64::MAX),
        events: ids.into_iter().map(event).collect(),
    }
}

/// Returns a batch of these appends and nothing else.
#[must_use]
pub fn batch(appends: impl IntoIterator<Item = Append>) -> Batch {
    Batch {
        appends: appends.into_iter().collect(),
        ..Batch::default()
    }
}

/// Returns an effect with this identifier.
#[must_use]
pub fn effect(id: u128) -> NewEffect {
    NewEffect {
        id: EffectId::from_bits(id),
        correlation: "work_1".to_owned(),
        body: format!("{{\"effect\":{id}}}"),
    }
}
