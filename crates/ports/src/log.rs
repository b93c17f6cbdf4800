//! The event log: streams of events with optimistic versions, a hash chain per stream, and an
//! outbox that shares the transaction. It is the truth; everything else is derived or performed.

use std::collections::BTreeSet;
use std::fmt;

use domain::{Digest, EffectId, EventId, Timestamp};

/// The largest batch, in events: a decision is small.
pub const BATCH_EVENTS_MAX: usize = 1_000;

/// The largest data of one event, in bytes; what is larger belongs into an artifact.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The largest batch, in bytes of data and effect bodies.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most effects a batch may ask for, and the most it may settle.
pub const BATCH_EFFECTS_MAX: usize = 1_000;

/// The longest stream, kind, actor, correlation, causation or trace, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// The last moment an event can carry: 9999-12-30T22:00:00.999Z, the end of RFC 3339 in any zone.
pub const TIME_MAX: Timestamp = Timestamp(253_402_207_200_999);

/// The largest epoch, version or position: stores keep signed 64-bit integers.
pub const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// A place in the whole log: 1 for the first event, and one more for each after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// An event as the engine hands it over. The store adds version, position and chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The only key for deduplication.
    pub id: EventId,
    /// The CloudEvents `type`, a literal such as `io.palisade.work.submitted.v1`.
    pub kind: String,
    /// When it was decided.
    pub time: Timestamp,
    /// Who caused it, such as `operator:ada` or `engine`.
    pub actor: String,
    /// The fencing epoch it was decided under.
    pub epoch: u64,
    /// What belongs together: the work's identifier.
    pub correlation: String,
    /// The event or effect it follows from.
    pub causation: Option<String>,
    /// W3C Trace Context, if there is one.
    pub traceparent: Option<String>,
    /// The event itself: one JSON object.
    pub data: String,
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream, such as `work/work_01j…`.
    pub stream: String,
    /// How many events the stream holds: the version the decision was made on.
    pub expected: u64,
    /// What to add, at least one.
    pub events: Vec<NewEvent>,
}

/// An effect that the world shall be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEffect {
    /// The idempotency key.
    pub id: EffectId,
    /// What it belongs to: the work's identifier.
    pub correlation: String,
    /// The effect itself: one JSON object.
    pub body: String,
}

/// All that one decision changes: everything or nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Events, by stream; a stream appears once.
    pub appends: Vec<Append>,
    /// Effects to perform.
    pub effects: Vec<NewEffect>,
    /// Effects whose outcome this batch records.
    pub settled: Vec<EffectId>,
}

impl Batch {
    /// Checks the form and every limit, all but that data and bodies are JSON objects, which
    /// needs a parser and is the adapter's to check.
    ///
    /// # Errors
    /// When something is malformed: the first thing found, with its place.
    pub fn check(&self) -> Result<(), Error> {
        let events: usize = self.appends.iter().map(|it| it.events.len()).sum();
        at_most(events, BATCH_EVENTS_MAX, "events")?;
        at_most(self.effects.len(), BATCH_EFFECTS_MAX, "effects")?;
        at_most(self.settled.len(), BATCH_EFFECTS_MAX, "settled effects")?;
        let mut streams = BTreeSet::new();
        let mut bytes = 0_usize;
        for append in &self.appends {
            let stream = append.stream.as_str();
            name("stream", stream)?;
            if !streams.insert(stream) {
                return malformed(format!("stream {stream} appears twice"));
            }
            if append.events.is_empty() {
                return malformed(format!("no event for stream {stream}"));
            }
            for event in &append.events {
                event.check()?;
                bytes = bytes.saturating_add(event.data.len());
            }
        }
        for effect in &self.effects {
            name("correlation", &effect.correlation)?;
            document("effect", &effect.id, &effect.body)?;
            bytes = bytes.saturating_add(effect.body.len());
        }
        at_most(bytes, BATCH_BYTES_MAX, "bytes")
    }
}

impl NewEvent {
    fn check(&self) -> Result<(), Error> {
        name("kind", &self.kind)?;
        // The kind is part of the schema's URI.
        let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-');
        if !self.kind.bytes().all(plain) {
            return malformed(format!(
                "kind {:?} is not letters, digits, . _ -",
                self.kind
            ));
        }
        name("actor", &self.actor)?;
        name("correlation", &self.correlation)?;
        if let Some(causation) = &self.causation {
            name("causation", causation)?;
        }
        if let Some(traceparent) = &self.traceparent {
            name("traceparent", traceparent)?;
        }
        if self.time > TIME_MAX {
            return malformed(format!("event {} is after the year 9999", self.id));
        }
        if self.epoch > NUMBER_MAX {
            return malformed(format!("event {} has epoch {}", self.id, self.epoch));
        }
        document("event", &self.id, &self.data)
    }
}

fn malformed(what: String) -> Result<(), Error> {
    Err(Error::Malformed(what))
}

fn at_most(count: usize, max: usize, what: &str) -> Result<(), Error> {
    if count > max {
        return malformed(format!("{count} {what}, at most {max} are allowed"));
    }
    Ok(())
}

fn name(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        let bytes = text.len();
        return malformed(format!(
            "{what} of {bytes} bytes, 1 to {NAME_BYTES_MAX} are allowed"
        ));
    }
    // CloudEvents attributes hold no control characters.
    if text.chars().any(char::is_control) {
        return malformed(format!("{what} {text:?} holds a control character"));
    }
    Ok(())
}

fn document(what: &str, id: &dyn fmt::Display, text: &str) -> Result<(), Error> {
    if text.len() > EVENT_BYTES_MAX {
        let bytes = text.len();
        return malformed(format!(
            "{what} {id} of {bytes} bytes, at most {EVENT_BYTES_MAX} are allowed"
        ));
    }
    Ok(())
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the whole log.
    pub position: Position,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream, from 1.
    pub version: u64,
    /// The event as handed over.
    pub event: NewEvent,
    /// The hash of the event before it in the stream; zero for the first.
    pub previous: Digest,
    /// BLAKE3 over `previous` and the canonical form of this event.
    pub hash: Digest,
}

/// An effect that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEffect {
    /// The effect.
    pub effect: NewEffect,
    /// The position of the last event of the batch that asked for it.
    pub asked_at: Position,
}

/// What a verification of the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// How many streams were walked.
    pub streams: u64,
    /// How many events.
    pub events: u64,
    /// Streams whose chain is broken, with the first bad version.
    pub broken: Vec<(String, u64)>,
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else appended first: load again and decide again.
    #[error("stream {stream} holds {actual} events, the decision was made on {expected}")]
    Conflict {
        /// The stream.
        stream: String,
        /// What the batch expected.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// An event with this identifier is already stored: nothing was appended.
    #[error("event {0} is already in the log")]
    Duplicate(EventId),
    /// The batch breaks a limit or its own form; a mistake of the caller.
    #[error("the batch is malformed: {0}")]
    Malformed(String),
    /// No space is left: nothing was appended.
    #[error("the disk is full; nothing was recorded. Free some space and run the command again")]
    DiskFull,
    /// What is stored cannot be understood.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The log was written by a newer or foreign program.
    #[error("the log has format {found}, this program reads {known}; use a matching version")]
    Format {
        /// What is written in the file.
        found: String,
        /// What this program knows.
        known: String,
    },
    /// The log failed.
    #[error("event log: {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The event log.
pub trait EventLog: Send + Sync {
    /// Keeps the batch, wholly and durably once this returns, and returns the position of its
    /// last event (the head, if it held none). Settling an effect twice, or one that is unknown,
    /// does nothing; an effect whose identifier is already known is not stored again.
    ///
    /// # Errors
    /// On a version conflict, a duplicate event, a malformed batch, or when the disk fails; then
    /// nothing of the batch is kept.
    fn append(&self, batch: Batch) -> Result<Position, Error>;

    /// Returns the events of one stream after `version` (0 for all), in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn read_stream(&self, stream: &str, version: u64) -> Result<Vec<Recorded>, Error>;

    /// Returns the events with this correlation after `position`, in log order.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn read_correlated(&self, correlation: &str, after: Position) -> Result<Vec<Recorded>, Error>;

    /// Returns at most `limit` events after `position`, in log order.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, Error>;

    /// Returns the position of the last event; zero for an empty log. Cheap: it is polled.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn head(&self) -> Result<Position, Error>;

    /// Returns the effects that are not settled, in the order in which they were asked for.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn pending(&self) -> Result<Vec<PendingEffect>, Error>;

    /// Walks every chain and recomputes it.
    ///
    /// # Errors
    /// When the log cannot be read; a broken chain is a result, not an error.
    fn verify(&self) -> Result<Verification, Error>;
}
