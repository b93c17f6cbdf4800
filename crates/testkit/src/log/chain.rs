//! The chain of the event log, written a second time from its documentation alone: a store that
//! strays from what it documents disagrees with this one.

use std::collections::BTreeMap;

use domain::Digest;
use ports::log::{Recorded, Verification};

/// Returns the hash that the event must have, from its own fields and `previous`.
#[must_use]
pub fn link(recorded: &Recorded) -> Digest {
    let event = &recorded.event;
    let present = |text: &Option<String>| match text {
        Some(text) => [b"\x01", text.as_bytes()].concat(),
        None => Vec::new(),
    };
    let fields: [Vec<u8>; 12] = [
        b"palisade.event.v1".to_vec(),
        recorded.stream.clone().into_bytes(),
        recorded.version.to_le_bytes().to_vec(),
        event.id.bits().to_be_bytes().to_vec(),
        event.kind.clone().into_bytes(),
        event.time.0.to_le_bytes().to_vec(),
        event.actor.clone().into_bytes(),
        event.epoch.to_le_bytes().to_vec(),
        event.correlation.clone().into_bytes(),
        present(&event.causation),
        present(&event.traceparent),
        event.data.clone().into_bytes(),
    ];
    let mut content = blake3::Hasher::new();
    for field in fields {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        content.update(&length.to_le_bytes());
        content.update(&field);
    }
    let mut link = blake3::Hasher::new();
    link.update(recorded.previous.as_bytes());
    link.update(&recorded.position.0.to_le_bytes());
    link.update(content.finalize().as_bytes());
    Digest::from_bytes(*link.finalize().as_bytes())
}

/// Walks every chain of these events, which are in log order.
#[must_use]
pub fn verify(events: &[Recorded]) -> Verification {
    let mut streams: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
    for event in events {
        streams.entry(&event.stream).or_default().push(event);
    }
    let broken = streams.iter().filter_map(|(stream, events)| {
        let mut previous = Digest::ZERO;
        for (version, event) in (1..).zip(events) {
            if event.version != version || event.previous != previous || link(event) != event.hash {
                return Some(((*stream).to_owned(), version));
            }
            previous = event.hash;
        }
        None
    });
    Verification {
        broken: broken.collect(),
        streams: u64::try_from(streams.len()).unwrap_or(u64::MAX),
        events: u64::try_from(events.len()).unwrap_or(u64::MAX),
    }
}
