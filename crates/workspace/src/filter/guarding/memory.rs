//! What is known of contents, so that a tree that is judged again costs what has changed in it.
//!
//! All that is kept of a content is a function of its bytes and of the language it is in: no rule
//! of a role or plan has a part in it, and so nothing here grows stale.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use domain::Digest;

use super::code;
use super::languages::Language;

/// The most bytes that are kept, counted roughly; over that it begins anew.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// What one content costs beside its names, in bytes.
const FACTS_BYTES: usize = 256;

/// What names a content: itself, or the object of the base that holds it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Digest(Digest),
    Object(String),
}

/// What the guard asks of a content.
pub(super) struct Facts {
    pub(super) digest: Digest,
    /// Whether there is nothing in it but blanks.
    pub(super) is_blank: bool,
    pub(super) tests: Vec<String>,
    pub(super) marks: Vec<&'static str>,
}

/// The facts of contents, in each language that one was read as.
#[derive(Default)]
pub(crate) struct Memory {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    bytes: usize,
    facts: HashMap<(Name, &'static str), Arc<Facts>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Facts {
    pub(super) fn of(
        bytes: &[u8],
        name: Option<&Name>,
        language: Option<&'static Language>,
    ) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (tests, marks) = language.map_or_else(Default::default, |language| {
            let bare = code::bare(&text, &language.syntax);
            (language.tests(&bare, &text), language.marks(&bare, &text))
        });
        Self {
            digest: match name {
                Some(Name::Digest(digest)) => *digest,
                Some(Name::Object(_)) | None => Digest::from_bytes(*blake3::hash(bytes).as_bytes()),
            },
            is_blank: text.trim().is_empty(),
            tests,
            marks,
        }
    }

    fn weight(&self) -> usize {
        let names = self.tests.iter().map(|it| it.len() + size_of::<String>());
        FACTS_BYTES + names.sum::<usize>() + self.marks.len() * size_of::<&str>()
    }
}

impl Memory {
    pub(super) fn recall(
        &self,
        name: &Name,
        language: Option<&'static Language>,
    ) -> Option<Arc<Facts>> {
        let key = (name.clone(), called(language));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.facts.get(&key).map(Arc::clone)
    }

    pub(super) fn keep(&self, name: Name, language: Option<&'static Language>, facts: &Arc<Facts>) {
        let weight = facts.weight();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.bytes.saturating_add(weight) > KEPT_BYTES_MAX {
            *known = Known::default();
        }
        known.bytes += weight;
        known
            .facts
            .insert((name, called(language)), Arc::clone(facts));
    }
}

fn called(language: Option<&'static Language>) -> &'static str {
    language.map_or("", |it| it.name)
}
