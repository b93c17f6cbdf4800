//! A capture, from the record of a session to the tree it left.

use std::sync::Arc;
use std::time::Instant;

use domain::tree::Entry;
use domain::{Digest, SessionId};
use ports::workspaces::{Captured, Error};

use super::GitWorkspaces;
use crate::capture;
use crate::manifest::{self, View};
use crate::remembered::{DiskTime, Remembered};
use crate::scan::Caps;

impl GitWorkspaces {
    /// Captures a session by what is remembered of it; `None` when `look` has seen enough.
    pub(super) fn take(
        &self,
        session: SessionId,
        memory: &mut Remembered,
        look: capture::Look<'_>,
    ) -> Result<Option<Captured>, Error> {
        let started = Instant::now();
        let record = self.writable(session)?;
        let base = self.base_variant(&record.tree.base, &record.variant)?;
        let before = self.load(&record.tree)?;
        let view = View::of(&base, Arc::clone(&before));
        let rooms = self.rooms();
        let now = DiskTime::of(&rooms.folder(session))?;
        memory.begin(&record.tree, &record.variant, now);
        let left = rooms.left_behind(session, &record);
        let left = (left.as_path(), record.plain);
        let ahead = |digest: &Digest, content: &[u8]| self.proposals.search_ahead(digest, content);
        let gathered = capture::changes(
            &*self.artifacts,
            (&self.fresh, &ahead),
            &view,
            left,
            Caps::USUAL,
            memory,
            look,
        )?;
        let Some(gathered) = gathered else {
            return Ok(None);
        };
        memory.end();
        let tree = self.store(&base.commit, gathered)?;
        let after = self.load(&tree)?;
        let changes = manifest::difference(&*self.artifacts, &base, &before, &after)?;
        let bytes = changes
            .iter()
            .map(|it| match &it.entry {
                Entry::File { bytes, .. } => *bytes,
                Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => 0,
            })
            .sum();
        Ok(Some(Captured {
            tree,
            changes,
            bytes,
            micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }))
    }
}
