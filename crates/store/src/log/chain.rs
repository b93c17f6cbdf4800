//! The hash chain: one link over the link before it and the content of an event.

use domain::Digest;
use ports::log::{NewEvent, Position};

/// Says which encoding was hashed, so that a later one can never be mistaken for it.
pub(super) const LABEL: &str = "palisade.event.v1";

/// Returns the hash of what an event says and where in its stream, as laid down in the
/// documentation of [`super`]. It needs nothing that only the writer knows.
pub(super) fn content(stream: &str, version: u64, event: &NewEvent) -> Digest {
    let mut bytes = Vec::with_capacity(512 + event.data.len());
    field(&mut bytes, LABEL.as_bytes());
    field(&mut bytes, stream.as_bytes());
    field(&mut bytes, &version.to_le_bytes());
    field(&mut bytes, &event.id.bits().to_be_bytes());
    field(&mut bytes, event.kind.as_bytes());
    field(&mut bytes, &event.time.0.to_le_bytes());
    field(&mut bytes, event.actor.as_bytes());
    field(&mut bytes, &event.epoch.to_le_bytes());
    field(&mut bytes, event.correlation.as_bytes());
    optional(&mut bytes, event.causation.as_deref());
    optional(&mut bytes, event.traceparent.as_deref());
    field(&mut bytes, event.data.as_bytes());
    Digest::from_bytes(*blake3::hash(&bytes).as_bytes())
}

/// Returns the hash of an event with this content.
pub(super) fn link(previous: &Digest, position: Position, content: &Digest) -> Digest {
    let mut bytes = [0; 72];
    bytes[..32].copy_from_slice(previous.as_bytes());
    bytes[32..40].copy_from_slice(&position.0.to_le_bytes());
    bytes[40..].copy_from_slice(content.as_bytes());
    Digest::from_bytes(*blake3::hash(&bytes).as_bytes())
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    // usize is at most 64 bits wide wherever this builds.
    bytes.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
}

fn field(bytes: &mut Vec<u8>, content: &[u8]) {
    length(bytes, content.len());
    bytes.extend_from_slice(content);
}

fn optional(bytes: &mut Vec<u8>, content: Option<&str>) {
    match content {
        None => length(bytes, 0),
        Some(text) => {
            length(bytes, 1 + text.len());
            bytes.push(1);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}
