//! What files hold, for the rules that look inside: read from the artifact store by digest, once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use domain::Digest;
use domain::tree::Entry;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use super::guarding::Memory;
use crate::base::Base;
use crate::disk::store_failed;
use crate::fresh::{Content, Fresh};
use crate::manifest::{Held, View, content_at_base};
use crate::names::Kind;
use crate::remembered::lock;

/// The most bytes that are kept for a second look.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Reads contents and keeps them for the length of one judgement.
pub(crate) struct Contents<'a> {
    artifacts: &'a dyn Artifacts,
    fresh: Option<&'a Fresh>,
    kept: Mutex<Kept>,
    memory: Option<&'a Memory>,
    remembered: AtomicU64,
    anew: AtomicU64,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    by_digest: HashMap<Digest, Content>,
}

impl fmt::Debug for Contents<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl<'a> Contents<'a> {
    /// Returns a reader of this store that has read nothing yet.
    pub(crate) fn of(artifacts: &'a dyn Artifacts) -> Self {
        Self {
            artifacts,
            fresh: None,
            kept: Mutex::default(),
            memory: None,
            remembered: AtomicU64::new(0),
            anew: AtomicU64::new(0),
        }
    }

    /// Returns the same reader with what is known of contents from earlier judgements, and those
    /// that were kept just now.
    pub(crate) fn remembering(self, memory: &'a Memory, fresh: &'a Fresh) -> Self {
        Self {
            memory: Some(memory),
            fresh: Some(fresh),
            ..self
        }
    }

    pub(super) fn memory(&self) -> Option<&'a Memory> {
        self.memory
    }

    /// Counts a question about a content: whether its answer was remembered, or was found anew.
    pub(crate) fn count(&self, is_remembered: bool) {
        let counted = if is_remembered {
            &self.remembered
        } else {
            &self.anew
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many answers were remembered, and how many were found anew.
    pub(crate) fn asked(&self) -> (u64, u64) {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        (count(&self.remembered), count(&self.anew))
    }

    /// Returns the content with this digest.
    pub(crate) fn read(&self, digest: &Digest, path: &str) -> Result<Content, Error> {
        if let Some(held) = self.fresh.and_then(|it| it.get(digest)) {
            return Ok(held);
        }
        if let Some(known) = lock(&self.kept).by_digest.get(digest) {
            return Ok(Arc::clone(known));
        }
        let content = self
            .artifacts
            .get(digest)
            .map(Arc::new)
            .map_err(store_failed(format!("reading `{path}` of a tree")))?;
        let mut kept = lock(&self.kept);
        let bytes = kept.bytes.saturating_add(content.len());
        if bytes <= KEPT_BYTES_MAX {
            kept.bytes = bytes;
            kept.by_digest.insert(*digest, Arc::clone(&content));
        }
        Ok(content)
    }

    /// Returns what the regular file at `path` holds in a tree; `None` when there is none.
    pub(crate) fn at(&self, view: &View<'_>, path: &str) -> Result<Option<Content>, Error> {
        self.held(view.base, view.at(path), path)
    }

    /// Returns the content of a regular file that is held at `path`; `None` when it is none.
    pub(crate) fn held(
        &self,
        base: &Base,
        held: Option<Held<'_>>,
        path: &str,
    ) -> Result<Option<Content>, Error> {
        match held {
            Some(Held::Changed(Entry::File { content, .. })) => self.read(content, path).map(Some),
            Some(Held::Base(name)) if matches!(name.kind, Kind::File | Kind::Executable) => {
                content_at_base(base, name).map(|it| Some(Arc::new(it)))
            }
            Some(Held::Changed(_) | Held::Base(_)) | None => Ok(None),
        }
    }
}
