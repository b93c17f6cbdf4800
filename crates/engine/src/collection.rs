//! Collection: which artifacts the log still reaches, and the removal of those that nothing does.
//!
//! Reached is what any event and any effect that waits names, whatever its field is called: a new
//! kind of event needs no line here. Of what is reached, all is followed but the contents of a
//! tree: what an agent wrote has no say. A doubt keeps: text that merely looks like a digest keeps
//! what has it, and a reached artifact that cannot be read ends the collection before anything is
//! removed.

use std::collections::HashSet;
use std::time::Duration;

use domain::Digest;
use domain::tree::Manifest;
use ports::artifacts::{self, Artifacts, Collected, Collector};
use ports::log::{EventLog, Position};
use serde::Serialize;

use crate::recorder::Error;

/// How long an artifact stays that nothing names. Far longer than any time from a put to the event
/// that names it, and than a capture goes by what it put earlier instead of putting it again.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many events are read at once.
const PAGE: usize = 4_096;

/// How often what was appended meanwhile is read as well before it is left to the grace period.
const ROUNDS_MAX: usize = 8;

/// What a digest begins with.
const PREFIX: &[u8] = b"b3:";

/// The length of a digest's text, in bytes.
const DIGEST_BYTES: usize = 3 + 64;

/// What a collection came to, or would come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Digests that the log reaches; some name no artifact, as that of a tree.
    pub reached: u64,
    /// Artifacts that nothing reaches and that were older than the grace period.
    pub artifacts: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is to be done with what nothing reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Only counted.
    Count,
    /// Removed.
    Remove,
}

/// Collects what the log does not reach. It may run beside an engine: what is put meanwhile is as
/// young as that, and what the log names now it named before, or was put within the grace period.
///
/// # Errors
/// When the log, or an artifact that it reaches, cannot be read; then nothing is removed.
pub fn collect(
    log: &dyn EventLog,
    store: &dyn Collector,
    grace: Duration,
    intent: Intent,
) -> Result<Outcome, Error> {
    let mut reach = Reach::default();
    for _ in 0..ROUNDS_MAX {
        if !reach.read_on(log)? {
            break;
        }
        reach.follow(store)?;
    }
    let keep = |it: &Digest| reach.digests.contains(it);
    let Collected { artifacts, bytes } = match intent {
        Intent::Count => store.collectable(&keep, grace)?,
        Intent::Remove => store.collect(&keep, grace)?,
    };
    Ok(Outcome {
        reached: u64::try_from(reach.digests.len()).unwrap_or(u64::MAX),
        artifacts,
        bytes,
    })
}

/// What is reached.
#[derive(Debug, Default)]
struct Reach {
    digests: HashSet<Digest>,
    /// Those whose bytes have been searched, or will be.
    followed: HashSet<Digest>,
    waiting: Vec<Digest>,
    position: Position,
}

impl Reach {
    /// Takes what was appended since the last time; returns whether there was anything.
    fn read_on(&mut self, log: &dyn EventLog) -> Result<bool, Error> {
        let began = self.position;
        loop {
            let page = log.read_all(self.position, PAGE)?;
            for recorded in &page {
                self.position = recorded.position;
                self.name_all(recorded.event.data.as_bytes());
            }
            if page.len() < PAGE {
                break;
            }
        }
        for pending in log.pending()? {
            self.name_all(pending.effect.body.as_bytes());
        }
        Ok(self.position != began)
    }

    /// Takes everything that a text names, to be followed.
    fn name_all(&mut self, text: &[u8]) {
        for digest in named(text) {
            self.digests.insert(digest);
            if self.followed.insert(digest) {
                self.waiting.push(digest);
            }
        }
    }

    /// Takes what is reached by what waits to be followed.
    fn follow(&mut self, store: &dyn Artifacts) -> Result<(), Error> {
        while let Some(digest) = self.waiting.pop() {
            let bytes = match store.get(&digest) {
                Ok(bytes) => bytes,
                // The digest of a tree or of rules, or one that merely stood in a text.
                Err(artifacts::Error::Missing(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            if serde_json::from_slice::<Manifest>(&bytes).is_ok() {
                self.digests.extend(named(&bytes));
            } else {
                self.name_all(&bytes);
            }
        }
        Ok(())
    }
}

/// Returns every digest whose text is in these bytes.
fn named(bytes: &[u8]) -> impl Iterator<Item = Digest> {
    bytes
        .windows(DIGEST_BYTES)
        .filter(|it| it.starts_with(PREFIX))
        .filter_map(|it| std::str::from_utf8(it).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::tree::{Change, Entry};
    use domain::{EffectId, EventId, Timestamp};
    use ports::log::{Append, Batch, NewEffect, NewEvent};
    use testkit::artifacts::MemoryArtifacts;
    use testkit::clock::FakeClock;
    use testkit::log::MemoryLog;

    const NONE: Duration = Duration::ZERO;

    fn append(log: &MemoryLog, number: u128, data: &str, effect: Option<&str>) {
        let event = NewEvent {
            id: EventId::from_bits(number),
            kind: "io.palisade.test.v1".into(),
            time: Timestamp(0),
            actor: "engine".into(),
            epoch: 0,
            correlation: "work".into(),
            causation: None,
            traceparent: None,
            data: data.into(),
        };
        let effects = effect.into_iter().map(|body| NewEffect {
            id: EffectId::from_bits(number),
            correlation: "work".into(),
            body: body.into(),
        });
        log.append(Batch {
            appends: vec![Append {
                stream: format!("test/{number}"),
                expected: 0,
                events: vec![event],
            }],
            effects: effects.collect(),
            settled: Vec::new(),
        })
        .unwrap();
    }

    fn manifest(content: Digest) -> Vec<u8> {
        let entry = Entry::File {
            content,
            bytes: 1,
            executable: false,
        };
        let changes = vec![Change {
            path: "file".into(),
            entry,
        }];
        serde_json::to_vec(&Manifest { changes }).unwrap()
    }

    #[test]
    fn what_events_and_effects_name_is_reached_through_texts_and_trees() {
        let (log, store) = (MemoryLog::default(), MemoryArtifacts::default());
        let never = store.put(b"never named").unwrap();
        // The content of a file names what nothing else does: an agent has no say.
        let content = store.put(format!("see {never}").as_bytes()).unwrap();
        let tree = store.put(&manifest(content)).unwrap();
        let told = store.put(b"told by the dossier").unwrap();
        let dossier = store
            .put(format!("tree {tree} and {told}").as_bytes())
            .unwrap();
        let asked = store.put(b"asked for").unwrap();
        let data = format!(r#"{{"a field nobody knows": ["x{dossier}y"]}}"#);
        append(&log, 1, &data, Some(&format!(r#"{{"wanted": "{asked}"}}"#)));
        let counted = collect(&log, &store, NONE, Intent::Count).unwrap();
        assert_eq!((counted.artifacts, counted.reached), (1, 5));
        assert!(store.contains(&never).unwrap(), "it was only counted");
        let removed = collect(&log, &store, NONE, Intent::Remove).unwrap();
        assert_eq!(removed, counted);
        let mut left = vec![content, tree, told, dossier, asked];
        left.sort_unstable();
        assert_eq!(store.list().unwrap(), left);
    }

    #[test]
    fn a_content_that_an_event_names_as_well_is_followed() {
        let (log, store) = (MemoryLog::default(), MemoryArtifacts::default());
        let last = store.put(b"last").unwrap();
        let both = store.put(last.to_string().as_bytes()).unwrap();
        let tree = store.put(&manifest(both)).unwrap();
        append(&log, 1, &format!(r#"{{"tree": "{tree}"}}"#), None);
        append(&log, 2, &format!(r#"{{"log": "{both}"}}"#), None);
        let removed = collect(&log, &store, NONE, Intent::Remove).unwrap();
        assert_eq!(removed.artifacts, 0);
        assert!(store.contains(&last).unwrap());
    }

    #[test]
    fn what_is_young_stays_without_a_name() {
        let (log, clock) = (MemoryLog::default(), FakeClock::default());
        let store = MemoryArtifacts::with_clock(clock.clone());
        let old = store.put(b"old").unwrap();
        let renewed = store.put(b"put again").unwrap();
        clock.advance(domain::Millis(u64::try_from(GRACE.as_millis()).unwrap()));
        store.put(b"put again").unwrap();
        let removed = collect(&log, &store, GRACE, Intent::Remove).unwrap();
        assert_eq!((removed.artifacts, removed.bytes), (1, 3));
        assert!(!store.contains(&old).unwrap());
        assert!(store.contains(&renewed).unwrap());
    }

    #[test]
    fn a_tree_that_cannot_be_read_ends_it_before_anything_is_removed() {
        let (log, store) = (MemoryLog::default(), MemoryArtifacts::default());
        let content = store.put(b"content").unwrap();
        let tree = store.put(&manifest(content)).unwrap();
        append(&log, 1, &format!(r#"{{"tree": "{tree}"}}"#), None);
        store.damage(&tree);
        let refused = collect(&log, &store, NONE, Intent::Remove);
        let damaged = |it: &Error| matches!(it, Error::Artifacts(artifacts::Error::Damaged(_)));
        assert!(refused.is_err_and(|it| damaged(&it)));
        assert_eq!(store.list().unwrap().len(), 2);
    }

    #[test]
    fn only_whole_digests_are_names() {
        let digest = Digest::from_bytes([0xab; 32]);
        let text = digest.to_string();
        let found = |text: &str| named(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(found(&text), [digest]);
        assert_eq!(found(&format!("b3:b3:{text}{text}")), [digest, digest]);
        assert!(found(&text[..text.len() - 1]).is_empty());
        assert!(found(&text.to_uppercase()).is_empty());
        assert!(found("").is_empty());
    }
}
