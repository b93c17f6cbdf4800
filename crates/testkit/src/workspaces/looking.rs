//! Looking at what a session left: nothing of it is kept.

use std::ops::ControlFlow;

use domain::SessionId;
use domain::tree::Entry;
use ports::artifacts::Artifacts as _;
use ports::workspaces::{Error, Mode, Stamp};

use super::{MemoryWorkspaces, files, store};
use crate::artifacts::MemoryArtifacts;

impl MemoryWorkspaces {
    /// The fake reads everything: it is small, and then no time stamp can hide a change.
    pub(super) fn looked(&self, session: SessionId) -> Result<Stamp, Error> {
        let record = self.record(session)?;
        let (Mode::Writable, Some(upper)) = (record.mode, &record.left) else {
            let text = format!("{session} was not opened writable");
            return Err(Error::Unusable(text));
        };
        let mut files = self.whole(&record.tree)?;
        files::lay_over(&mut files, upper, &MemoryArtifacts::default())?;
        let entries = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let bytes = files.values().map(files::bytes_of).sum();
        let text = format!("{files:?}");
        Ok(Stamp {
            entries,
            bytes,
            digest: domain::Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
        })
    }

    pub(super) fn looked_through(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let record = self.record(session)?;
        let (Mode::Writable, Some(upper)) = (record.mode, &record.left) else {
            let text = format!("{session} was not opened writable");
            return Err(Error::Unusable(text));
        };
        let before = self.whole(&record.tree)?;
        let (mut after, apart) = (before.clone(), MemoryArtifacts::default());
        files::lay_over(&mut after, upper, &apart)?;
        for change in files::difference(&before, &after) {
            let content = match &change.entry {
                Entry::File { content, .. } => apart.get(content).map_err(store(&change.path))?,
                Entry::Symlink { target } => target.clone().into_bytes(),
                Entry::Deleted | Entry::Foreign { .. } => Vec::new(),
            };
            if look(&change.path, &content).is_break() {
                break;
            }
        }
        Ok(())
    }
}
