//! Capture: from what a session left behind to the tree it made.

use std::ops::ControlFlow;
use std::path::Path;

use domain::Digest;
use domain::tree::Entry;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::fresh::Fresh;
use crate::manifest::{Ahead, Blobs, Changes, Held, View, content_at_base};
use crate::names::{Kind, Name};
use crate::remembered::{Remembered, Status};
use crate::scan::{Caps, Found, Scan, Sink};

/// What was gathered: all changes on the base, and what of them is not kept yet.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    pub(crate) changes: Changes,
    pub(crate) blobs: Blobs<'a>,
}

/// Looks at a changed path and what it holds, and says whether to go on.
pub(crate) type Look<'a> = &'a mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>;

/// Returns all changes on the base after a session on `view` left `top` behind, or `None` when
/// `look` has seen enough before any of what it saw was kept. Files that `memory` knows as they are
/// now are neither read nor looked at.
pub(crate) fn changes<'a>(
    artifacts: &dyn Artifacts,
    (fresh, ahead): (&'a Fresh, &'a Ahead<'a>),
    view: &View<'_>,
    (top, plain): (&Path, bool),
    caps: Caps,
    memory: &mut Remembered,
    look: Look<'_>,
) -> Result<Option<Gathered<'a>>, Error> {
    let mut gathering = Gathering {
        artifacts,
        view,
        changes: (*view.changes).clone(),
        blobs: Blobs::held_in(fresh, ahead),
        memory,
        look,
        is_over: false,
    };
    if plain {
        Scan::copy(top, view, caps, &mut gathering)?;
    } else {
        Scan::upper(top, view, caps, &mut gathering)?;
    }
    Ok((!gathering.is_over).then_some(Gathered {
        changes: gathering.changes,
        blobs: gathering.blobs,
    }))
}

struct Gathering<'a, 'fresh> {
    artifacts: &'a dyn Artifacts,
    view: &'a View<'a>,
    changes: Changes,
    blobs: Blobs<'fresh>,
    memory: &'a mut Remembered,
    look: Look<'a>,
    is_over: bool,
}

impl Sink for Gathering<'_, '_> {
    fn is_known(&self, path: &str, status: &Status) -> bool {
        self.memory.knows(path, status)
    }

    fn recall(&mut self, path: &str, status: &Status) -> bool {
        if matches!(self.changes.get(path), Some(Entry::Foreign { .. })) {
            return false;
        }
        let Some(entry) = self.memory.recall(path, status) else {
            return false;
        };
        self.put(path, entry);
        true
    }

    fn take(&mut self, path: &str, found: Found) -> Result<(), Error> {
        // A foreign thing is the last word on its path, also when an escaped name looks like it.
        if self.is_over || matches!(self.changes.get(path), Some(Entry::Foreign { .. })) {
            return Ok(());
        }
        let base = self.view.base.names.get(path.as_bytes());
        match found {
            Found::File {
                content,
                digest,
                executable,
                status,
            } => {
                let entry = self.file(path, base, (digest, content), executable)?;
                self.memory.keep(path, status, entry.as_ref());
                self.put(path, entry);
            }
            Found::Symlink(target) => {
                let same = match base.filter(|it| it.kind == Kind::Symlink) {
                    Some(name) => content_at_base(self.view.base, name)? == target.as_bytes(),
                    None => false,
                };
                self.look_at(path, target.as_bytes());
                self.put(path, (!same).then_some(Entry::Symlink { target }));
            }
            Found::Gone => {
                self.look_at(path, b"");
                self.put(path, base.map(|_| Entry::Deleted));
            }
            Found::Foreign(what, rule) => {
                self.look_at(path, b"");
                self.put(path, Some(Entry::Foreign { what, rule }));
            }
        }
        Ok(())
    }
}

impl Gathering<'_, '_> {
    fn put(&mut self, path: &str, entry: Option<Entry>) {
        match entry {
            Some(entry) => drop(self.changes.insert(path.to_owned(), entry)),
            None => drop(self.changes.remove(path)),
        }
    }

    fn look_at(&mut self, path: &str, content: &[u8]) {
        self.is_over |= (self.look)(path, content).is_break();
    }

    /// Returns the change that a file is, whose content then waits to be kept; `None` when it is as
    /// in the base.
    fn file(
        &mut self,
        path: &str,
        base: Option<&Name>,
        (digest, content): (Digest, Vec<u8>),
        executable: bool,
    ) -> Result<Option<Entry>, Error> {
        match same_as_before(self.view, path, base, (&digest, &content), executable)? {
            Some(Same::Base) => return Ok(None),
            Some(Same::Earlier) => return Ok(self.view.changes.get(path).cloned()),
            None => {}
        }
        self.look_at(path, &content);
        let bytes = length(&content);
        self.blobs.put(digest, content);
        if self.blobs.is_full() && !self.is_over {
            self.blobs.flush(self.artifacts, "keeping changed files")?;
        }
        Ok(Some(Entry::File {
            content: digest,
            bytes,
            executable,
        }))
    }
}

/// What a file is the same as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Same {
    /// What an earlier session changed it to.
    Earlier,
    /// What the base holds.
    Base,
}

/// Returns what a file is the same as, if it was not changed.
pub(crate) fn same_as_before(
    view: &View<'_>,
    path: &str,
    base: Option<&Name>,
    (digest, content): (&Digest, &[u8]),
    executable: bool,
) -> Result<Option<Same>, Error> {
    if let Some(Held::Changed(Entry::File {
        content: earlier,
        bytes,
        executable: before,
    })) = view.at(path)
    {
        let same = length(content) == *bytes && executable == *before && digest == earlier;
        if same {
            return Ok(Some(Same::Earlier));
        }
    }
    if let Some(name) = base
        && (name.kind == Kind::Executable) == executable
        && matches!(name.kind, Kind::File | Kind::Executable)
        && name.bytes == length(content)
        && content_at_base(view.base, name)? == content
    {
        return Ok(Some(Same::Base));
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Base;
    use crate::names::Names;
    use domain::tree::{Rule, Violation};
    use testkit::artifacts::MemoryArtifacts;

    #[test]
    fn one_entry_stands_for_more_files_than_are_looked_at_and_none_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=10 {
            std::fs::write(folder.path().join(number.to_string()), "read me").unwrap();
        }
        let commit = "0123456789012345678901234567890123456789".parse().unwrap();
        let base = Base::in_memory(commit, folder.path().into(), Names::default());
        let kept = Entry::Symlink { target: "x".into() };
        let before = Changes::from([("kept".to_owned(), kept)]);
        let view = View::of(&base, before.clone());
        let (artifacts, fresh) = (MemoryArtifacts::default(), Fresh::default());
        let caps = Caps {
            entries: 10,
            ..Caps::USUAL
        };
        let mut memory = Remembered::default();
        let left = (folder.path(), false);
        let mut look = |_: &str, _: &[u8]| ControlFlow::Continue(());
        let gathered = changes(
            &artifacts,
            (&fresh, &|_, _| ()),
            &view,
            left,
            caps,
            &mut memory,
            &mut look,
        )
        .unwrap();
        let mut found = gathered.unwrap().changes;
        let whole = found.remove(Violation::WHOLE);
        let counted = |entry| match entry {
            Entry::Foreign { rule, .. } => rule == Rule::Count,
            Entry::File { .. } | Entry::Symlink { .. } | Entry::Deleted => false,
        };
        assert!(whole.is_some_and(counted));
        assert_eq!(found, before, "what the session began with");
        assert_eq!(artifacts.list().unwrap(), []);
    }
}
