//! The manifests in memory, so that one is read once and not again at each checkpoint on it.

use std::sync::{Arc, Mutex};

use domain::Digest;
use domain::tree::Tree;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::manifest::{self, Changes};
use crate::remembered::lock;

/// The most manifests kept in memory.
const MANIFESTS_MAX: usize = 64;
/// The most changes in all of them.
const CHANGES_MAX: usize = 200_000;

/// Manifests by their digest, the one used last at the end. What has a digest never changes.
#[derive(Debug, Default)]
pub(crate) struct Manifests(Mutex<Vec<(Digest, Arc<Changes>)>>);

impl Manifests {
    /// Returns the changes that a tree holds, from memory or else from the store.
    pub(crate) fn load(
        &self,
        artifacts: &dyn Artifacts,
        tree: &Tree,
    ) -> Result<Arc<Changes>, Error> {
        let Some(digest) = tree.manifest else {
            return manifest::load(artifacts, tree).map(Arc::new);
        };
        manifest::check(tree)?;
        if let Some(known) = self.known(&digest) {
            return Ok(known);
        }
        let loaded = Arc::new(manifest::load(artifacts, tree)?);
        self.keep(tree, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Keeps the changes that a tree holds in memory.
    pub(crate) fn keep(&self, tree: &Tree, changes: Arc<Changes>) {
        let Some(digest) = tree.manifest else {
            return;
        };
        if changes.len() > CHANGES_MAX {
            return;
        }
        let mut kept = lock(&self.0);
        kept.retain(|(other, _)| *other != digest);
        kept.push((digest, changes));
        let mut total: usize = kept.iter().map(|(_, it)| it.len()).sum();
        while kept.len() > MANIFESTS_MAX || total > CHANGES_MAX {
            let (_, oldest) = kept.remove(0);
            total -= oldest.len();
        }
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Changes>> {
        let mut kept = lock(&self.0);
        let at = kept.iter().position(|(other, _)| other == digest)?;
        let found = kept.remove(at);
        let changes = Arc::clone(&found.1);
        kept.push(found);
        Some(changes)
    }
}
