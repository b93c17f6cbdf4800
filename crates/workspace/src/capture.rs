//! Capture: from what a session left behind to the tree it made.

use std::path::Path;

use domain::Digest;
use domain::tree::Entry;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;
use rustix::fs::Stat;

use crate::manifest::{Blobs, Changes, Held, View, content_at_base};
use crate::names::{Kind, Name};
use crate::remembered::Remembered;
use crate::scan::{Found, Scan, Sink};

/// What was gathered: all changes on the base, and what of them is not kept yet.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) changes: Changes,
    pub(crate) blobs: Blobs,
}

/// Returns all changes on the base after a session on `view` left `top` behind. Files that `memory`
/// knows as they are now are not read.
pub(crate) fn changes(
    artifacts: &dyn Artifacts,
    view: &View<'_>,
    top: &Path,
    plain: bool,
    memory: &mut Remembered,
) -> Result<Gathered, Error> {
    let mut gathering = Gathering {
        artifacts,
        view,
        changes: (*view.changes).clone(),
        blobs: Blobs::default(),
        memory,
    };
    if plain {
        Scan::copy(top, view, &mut gathering)?;
    } else {
        Scan::upper(top, view, &mut gathering)?;
    }
    Ok(Gathered {
        changes: gathering.changes,
        blobs: gathering.blobs,
    })
}

struct Gathering<'a> {
    artifacts: &'a dyn Artifacts,
    view: &'a View<'a>,
    changes: Changes,
    blobs: Blobs,
    memory: &'a mut Remembered,
}

impl Sink for Gathering<'_> {
    fn recall(&mut self, path: &str, stat: &Stat) -> bool {
        if matches!(self.changes.get(path), Some(Entry::Foreign { .. })) {
            return false;
        }
        let Some(entry) = self.memory.recall(path, stat) else {
            return false;
        };
        self.put(path, entry);
        true
    }

    fn take(&mut self, path: &str, found: Found) -> Result<(), Error> {
        // A foreign thing is the last word on its path, also when an escaped name looks like it.
        if matches!(self.changes.get(path), Some(Entry::Foreign { .. })) {
            return Ok(());
        }
        let base = self.view.base.names.get(path.as_bytes());
        match found {
            Found::File {
                content,
                executable,
                status,
            } => {
                let entry = self.file(path, base, content, executable)?;
                self.memory.keep(path, status, entry.as_ref());
                self.put(path, entry);
                Ok(())
            }
            Found::Symlink(target) => {
                let same = match base.filter(|it| it.kind == Kind::Symlink) {
                    Some(name) => content_at_base(self.view.base, name)? == target.as_bytes(),
                    None => false,
                };
                self.put(path, (!same).then_some(Entry::Symlink { target }));
                Ok(())
            }
            Found::Gone => {
                self.put(path, base.map(|_| Entry::Deleted));
                Ok(())
            }
            Found::Foreign(what) => {
                self.put(path, Some(Entry::Foreign { what }));
                Ok(())
            }
        }
    }
}

impl Gathering<'_> {
    fn put(&mut self, path: &str, entry: Option<Entry>) {
        match entry {
            Some(entry) => drop(self.changes.insert(path.to_owned(), entry)),
            None => drop(self.changes.remove(path)),
        }
    }

    /// Returns the change that a file is, whose content then waits to be kept; `None` when it is as
    /// in the base.
    fn file(
        &mut self,
        path: &str,
        base: Option<&Name>,
        content: Vec<u8>,
        executable: bool,
    ) -> Result<Option<Entry>, Error> {
        if let Some(name) = base
            && (name.kind == Kind::Executable) == executable
            && matches!(name.kind, Kind::File | Kind::Executable)
            && name.bytes == length(&content)
            && content_at_base(self.view.base, name)? == content
        {
            return Ok(None);
        }
        let digest = Digest::from_bytes(*blake3::hash(&content).as_bytes());
        let entry = Entry::File {
            content: digest,
            bytes: length(&content),
            executable,
        };
        if matches!(self.view.at(path), Some(Held::Changed(before)) if *before == entry) {
            return Ok(Some(entry));
        }
        self.blobs.put(digest, content);
        if self.blobs.is_full() {
            self.blobs.flush(self.artifacts, "keeping changed files")?;
        }
        Ok(Some(entry))
    }
}

impl Held<'_> {
    /// Returns whether this is a commit of another repository: a folder in the workspace.
    pub(crate) fn is_submodule(&self) -> bool {
        matches!(self, Held::Base(name) if name.kind == Kind::Submodule)
    }
}

fn length(content: &[u8]) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}
