//! Letters: messages as files in a session's brief, which the agent can read while it works.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::MessageId;
use domain::message::State;
use serde::Serialize;

use crate::recorder::Error;

/// The folder in the brief.
const FOLDER: &str = "messages";

/// The messages of one session, as far as they are written.
#[derive(Debug)]
pub(super) struct Letters {
    folder: PathBuf,
    written: BTreeMap<MessageId, (usize, String)>,
}

/// A message as the agent sees it.
#[derive(Serialize)]
struct Letter<'a> {
    id: MessageId,
    topic: &'a str,
    severity: &'a str,
    text: &'a str,
    from: &'a str,
    acknowledge_within_ms: Option<u64>,
    state: &'a str,
    attempts: u32,
}

impl Letters {
    /// Returns the letters of the session with this brief.
    pub(super) fn beneath(brief: &Path) -> Self {
        Self {
            folder: brief.join(FOLDER),
            written: BTreeMap::new(),
        }
    }

    /// Writes what was told and is not written yet, or has changed since.
    pub(super) fn write<'a>(
        &mut self,
        messages: impl Iterator<Item = (&'a MessageId, &'a State)>,
    ) -> Result<(), Error> {
        for (id, state) in messages {
            let attempts = match state {
                State::Absent | State::Queued(_) => continue,
                State::Delivered { attempts, .. } => *attempts,
                State::Acknowledged(..) | State::Escalated(_) | State::Expired(_) => 0,
            };
            let Some(message) = state.message() else {
                continue;
            };
            let letter = Letter {
                id: *id,
                topic: message.topic.name(),
                severity: message.severity.name(),
                text: &message.text,
                from: &message.from,
                acknowledge_within_ms: message.acknowledge_within.map(|it| it.0),
                state: state.name(),
                attempts,
            };
            let text = serde_json::to_string(&letter)
                .map_err(|it| Error::Fault(format!("message {id} cannot be written: {it}")))?;
            let next = self.written.len().saturating_add(1);
            let (number, last) = self.written.entry(*id).or_insert((next, String::new()));
            if *last == text {
                continue;
            }
            let name = format!("{number:04}-{id}.json");
            put(&self.folder, &name, &text)?;
            *last = text;
        }
        Ok(())
    }
}

/// A reader sees all of a letter or nothing of it.
fn put(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    let failed = |source| Error::Io {
        doing: format!("writing the message {name}"),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let fresh = folder.join(format!(".{name}.tmp"));
    fs::write(&fresh, text).map_err(failed)?;
    fs::rename(&fresh, folder.join(name)).map_err(failed)
}
