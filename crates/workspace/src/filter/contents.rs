//! What files hold, for the rules that look inside: read from the artifact store by digest, once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use domain::Digest;
use domain::tree::Entry;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use super::guarding::Memory;
use crate::base::Base;
use crate::disk::store_failed;
use crate::manifest::{Held, View, content_at_base};
use crate::names::Kind;

/// The most bytes that are kept for a second look.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Reads contents and keeps them for the length of one judgement.
pub(crate) struct Contents<'a> {
    artifacts: &'a dyn Artifacts,
    kept: RefCell<Kept>,
    memory: Option<&'a Memory>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    by_digest: HashMap<Digest, Rc<[u8]>>,
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
            kept: RefCell::default(),
            memory: None,
        }
    }

    /// Returns the same reader with what is known of contents from earlier judgements.
    pub(crate) fn remembering(self, memory: &'a Memory) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    pub(super) fn memory(&self) -> Option<&'a Memory> {
        self.memory
    }

    /// Returns the content with this digest.
    pub(crate) fn read(&self, digest: &Digest, path: &str) -> Result<Rc<[u8]>, Error> {
        if let Some(known) = self.kept.borrow().by_digest.get(digest) {
            return Ok(Rc::clone(known));
        }
        let content: Rc<[u8]> = self
            .artifacts
            .get(digest)
            .map_err(store_failed(format!("reading `{path}` of a tree")))?
            .into();
        let mut kept = self.kept.borrow_mut();
        let bytes = kept.bytes.saturating_add(content.len());
        if bytes <= KEPT_BYTES_MAX {
            kept.bytes = bytes;
            kept.by_digest.insert(*digest, Rc::clone(&content));
        }
        Ok(content)
    }

    /// Returns what the regular file at `path` holds in a tree; `None` when there is none.
    pub(crate) fn at(&self, view: &View<'_>, path: &str) -> Result<Option<Rc<[u8]>>, Error> {
        self.held(view.base, view.at(path), path)
    }

    /// Returns the content of a regular file that is held at `path`; `None` when it is none.
    pub(crate) fn held(
        &self,
        base: &Base,
        held: Option<Held<'_>>,
        path: &str,
    ) -> Result<Option<Rc<[u8]>>, Error> {
        match held {
            Some(Held::Changed(Entry::File { content, .. })) => self.read(content, path).map(Some),
            Some(Held::Base(name)) if matches!(name.kind, Kind::File | Kind::Executable) => {
                content_at_base(base, name).map(|it| Some(it.into()))
            }
            Some(Held::Changed(_) | Held::Base(_)) | None => Ok(None),
        }
    }
}
