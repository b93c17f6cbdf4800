//! Tests are not weakened: whoever writes tests may add and change them, and may not take any away.
//!
//! Both trees are read, never a diff. What is turned away: a test file that is deleted, emptied or
//! renamed to where no runner looks; a file that holds fewer tests than before, unless they moved to
//! another; a new mark that skips a test or leaves all others out; a line of configuration that
//! deselects tests. Comments and texts are no code: a test that is commented out is gone.
//!
//! Gates compare the names of the tests that really ran with those of the base: that is the wall,
//! this is the earlier and clearer word. Out of scope here: a test that returns early or no longer
//! asserts, and fewer rows in a table of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::Digest;
use domain::tree::{Change, Entry, Rule, Violation};
use ports::workspaces::Error;

use super::Trees;
use crate::manifest::Held;
use languages::Language;
use memory::{Facts, Name};

mod code;
mod configuration;
mod languages;
mod memory;
mod shapes;

pub(crate) use memory::Memory;

/// The most names in one message.
const NAMED_MAX: usize = 5;

/// Returns what is to be known of a changed path.
pub(super) fn look<'a>(trees: &Trees<'_>, change: &'a Change) -> Result<Looked<'a>, Error> {
    Looked::of(trees, change)
}

/// Returns everything in these changes that weakens a test.
pub(super) fn judge(files: &[Looked<'_>]) -> Vec<Violation> {
    let mut guard = Guard::of(files);
    let mut found = Vec::new();
    for file in files {
        for detail in guard.held_against(file) {
            found.push(Violation {
                path: file.path.to_owned(),
                rule: Rule::TestWeakened,
                detail,
            });
        }
    }
    found
}

/// A changed path, before and after.
pub(super) struct Looked<'a> {
    path: &'a str,
    before: Option<Arc<Facts>>,
    after: Option<Arc<Facts>>,
    /// Lines of a test runner's configuration that are new and leave tests out.
    deselecting: Vec<String>,
    language: Option<&'static Language>,
}

impl<'a> Looked<'a> {
    fn of(trees: &Trees<'_>, change: &'a Change) -> Result<Self, Error> {
        let path = change.path.as_str();
        let language = languages::of(path);
        let before = trees.before.at(path);
        let after = Some(Held::Changed(&change.entry));
        let facts = |held| facts(trees, held, path, language);
        Ok(Self {
            path,
            before: facts(before)?,
            after: facts(after)?,
            deselecting: deselecting(trees, [before, after], path)?,
            language,
        })
    }

    /// Returns the tests that are new in this file.
    fn gained(&self) -> Vec<&str> {
        without(self.tests_after(), self.tests_before())
    }

    fn tests_before(&self) -> &[String] {
        self.before.as_ref().map_or(&[], |it| &it.tests)
    }

    fn tests_after(&self) -> &[String] {
        self.after.as_ref().map_or(&[], |it| &it.tests)
    }
}

/// Returns what is to be known of a regular file, read only if it never was; `None` without one.
fn facts(
    trees: &Trees<'_>,
    held: Option<Held<'_>>,
    path: &str,
    language: Option<&'static Language>,
) -> Result<Option<Arc<Facts>>, Error> {
    let name = match held {
        Some(Held::Changed(Entry::File { content, .. })) => Some(Name::Digest(*content)),
        // A base that was not made of git's objects has no names for its contents.
        Some(Held::Base(name)) if !name.object.is_empty() => {
            Some(Name::Object(name.object.clone()))
        }
        Some(Held::Changed(_) | Held::Base(_)) | None => None,
    };
    let memory = trees.contents.memory();
    if let Some(known) = name.as_ref().and_then(|it| memory?.recall(it, language)) {
        trees.contents.count(true);
        return Ok(Some(known));
    }
    let Some(bytes) = trees.contents.held(trees.before.base, held, path)? else {
        return Ok(None);
    };
    trees.contents.count(false);
    let facts = Arc::new(Facts::of(&bytes, name.as_ref(), language));
    if let (Some(name), Some(memory)) = (name, memory) {
        memory.keep(name, language, &facts);
    }
    Ok(Some(facts))
}

/// Returns the lines of configuration that are new at a path and deselect tests.
fn deselecting(
    trees: &Trees<'_>,
    [before, after]: [Option<Held<'_>>; 2],
    path: &str,
) -> Result<Vec<String>, Error> {
    let words = configuration::words(path);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let text = |held| -> Result<String, Error> {
        let bytes = trees.contents.held(trees.before.base, held, path)?;
        Ok(bytes.map_or_else(String::new, |it| String::from_utf8_lossy(&it).into_owned()))
    };
    let (before, after) = (text(before)?, text(after)?);
    Ok(configuration::new_lines(&words, &before, &after))
}

/// What other files of the same changes make up for.
struct Guard<'a> {
    /// The files in which a test of this language and name is new, each as often as it is.
    gained: BTreeMap<(&'static str, &'a str), Vec<&'a str>>,
    /// What is new at which path, by its digest.
    copies: BTreeMap<Digest, Vec<&'a str>>,
    /// What is gone, by its digest.
    gone: BTreeSet<Digest>,
}

impl<'a> Guard<'a> {
    fn of(files: &'a [Looked<'a>]) -> Self {
        let mut gained: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        let mut copies: BTreeMap<Digest, Vec<&str>> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        for file in files {
            if let Some(language) = file.language {
                for name in file.gained() {
                    let key = (language.name, name);
                    gained.entry(key).or_default().push(file.path);
                }
            }
            if let Some(after) = &file.after {
                copies.entry(after.digest).or_default().push(file.path);
            } else {
                gone.extend(file.before.as_ref().map(|it| it.digest));
            }
        }
        Self {
            gained,
            copies,
            gone,
        }
    }

    fn held_against(&mut self, file: &'a Looked<'a>) -> Vec<String> {
        let path = file.path;
        let mut found = Vec::new();
        match (&file.before, &file.after) {
            (Some(_), None) => found.extend(self.removal(file)),
            (Some(before), Some(after)) => {
                if after.is_blank && !before.is_blank {
                    found.push(format!("`{path}` was emptied; put its tests back"));
                } else {
                    found.extend(self.losses(file));
                }
            }
            (None, _) => {}
        }
        let Some(after) = &file.after else {
            return found;
        };
        // What was moved as it was brings no mark that was not there.
        let moved = self.gone.contains(&after.digest);
        if file.before.is_none() && moved {
            return found;
        }
        let known = file.before.as_ref().map_or(&[][..], |it| &it.marks);
        for mark in BTreeSet::from_iter(without(&after.marks, known)) {
            found.push(format!(
                "`{path}` has a new `{mark}`, which skips a test or leaves others out; let the test run, and report what it finds"
            ));
        }
        for line in &file.deselecting {
            found.push(format!(
                "`{path}` has a new or changed line that deselects tests (`{}`); take it back",
                line.escape_debug()
            ));
        }
        found
    }

    /// Judges a file that is gone: it may only have moved.
    fn removal(&mut self, file: &'a Looked<'a>) -> Option<String> {
        let path = file.path;
        let before = file.before.as_ref();
        let copies = before.and_then(|it| self.copies.get(&it.digest));
        let moved = copies
            .into_iter()
            .flatten()
            .any(|it| languages::are_found_alike(path, it));
        if moved {
            return None;
        }
        if file.tests_before().is_empty() {
            return Some(format!(
                "`{path}` is deleted or no longer a file, or moved to where no test runner looks; put it back"
            ));
        }
        self.losses(file)
    }

    /// Takes a test for moved if it is new in another file that a runner looks at, once.
    fn moved(&mut self, language: &Language, name: &'a str, from: &str) -> bool {
        let Some(places) = self.gained.get_mut(&(language.name, name)) else {
            return false;
        };
        let place = places
            .iter()
            .position(|it| *it != from && languages::are_found_alike(from, it));
        place.is_some_and(|at| {
            places.remove(at);
            true
        })
    }

    /// Judges the tests that a file no longer holds.
    fn losses(&mut self, file: &'a Looked<'a>) -> Option<String> {
        let language = file.language?;
        let lost = without(file.tests_before(), file.tests_after());
        let renamed = file.gained().len();
        let gone: Vec<&str> = lost
            .into_iter()
            .filter(|name| !self.moved(language, name, file.path))
            .collect();
        // A test may be renamed where it stands: as many as are new here.
        if gone.len() <= renamed {
            return None;
        }
        let named: Vec<&str> = gone.iter().take(NAMED_MAX).copied().collect();
        Some(format!(
            "`{}` lost {} of its tests ({}{}); put them back",
            file.path,
            gone.len() - renamed,
            named.join(", "),
            if gone.len() > NAMED_MAX { ", …" } else { "" }
        ))
    }
}

/// Returns what is in `all` more often than in `some`.
fn without<'a, T: AsRef<str>>(all: &'a [T], some: &[T]) -> Vec<&'a str> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for it in some {
        *known.entry(it.as_ref()).or_default() += 1;
    }
    all.iter()
        .map(AsRef::as_ref)
        .filter(|it| match known.get_mut(it) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) | None => true,
        })
        .collect()
}

#[cfg(test)]
mod tests;
