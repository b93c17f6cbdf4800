//! Capture: from what a session left behind to the tree it made.

use std::path::Path;

use domain::Digest;
use domain::tree::Entry;
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::disk::store_failed;
use crate::manifest::{Changes, Held, View, content_at_base};
use crate::names::{Kind, Name};
use crate::scan::{Caps, Found, Scan, Sink};

/// The most bytes that wait to be kept at once.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// The most files that wait to be kept at once.
const BATCH_FILES_MAX: usize = 1_024;

/// Returns all changes on the base after a session on `view` left `top` behind.
pub(crate) fn changes(
    artifacts: &dyn Artifacts,
    view: &View<'_>,
    top: &Path,
    plain: bool,
    caps: Caps,
) -> Result<Changes, Error> {
    let mut gathering = Gathering {
        artifacts,
        view,
        changes: view.changes.clone(),
        waiting: Vec::new(),
        waiting_bytes: 0,
    };
    if plain {
        Scan::copy(top, view, caps, &mut gathering)?;
    } else {
        Scan::upper(top, view, caps, &mut gathering)?;
    }
    gathering.flush()?;
    Ok(gathering.changes)
}

#[derive(Debug)]
struct Waiting {
    path: String,
    content: Vec<u8>,
    executable: bool,
}

struct Gathering<'a> {
    artifacts: &'a dyn Artifacts,
    view: &'a View<'a>,
    changes: Changes,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
}

impl Sink for Gathering<'_> {
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
            } => self.file(path, base, content, executable),
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
            Found::Foreign(what, rule) => {
                self.put(path, Some(Entry::Foreign { what, rule }));
                Ok(())
            }
        }
    }
}

impl Gathering<'_> {
    fn put(&mut self, path: &str, entry: Option<Entry>) {
        self.waiting.retain(|it| it.path != path);
        match entry {
            Some(entry) => drop(self.changes.insert(path.to_owned(), entry)),
            None => drop(self.changes.remove(path)),
        }
    }

    fn file(
        &mut self,
        path: &str,
        base: Option<&Name>,
        content: Vec<u8>,
        executable: bool,
    ) -> Result<(), Error> {
        if let Some(before) = same_as_before(self.view, path, base, &content, executable)? {
            if before == Same::Base {
                self.put(path, None);
            }
            return Ok(());
        }
        self.waiting_bytes += content.len();
        self.waiting.push(Waiting {
            path: path.to_owned(),
            content,
            executable,
        });
        if self.waiting_bytes > BATCH_BYTES_MAX || self.waiting.len() >= BATCH_FILES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let blobs: Vec<&[u8]> = waiting.iter().map(|it| it.content.as_slice()).collect();
        let digests = self
            .artifacts
            .put_all(&blobs)
            .map_err(store_failed("keeping changed files"))?;
        if digests.len() != waiting.len() {
            return Err(Error::Unusable(
                "the artifact store answered with another number of digests than it was given"
                    .into(),
            ));
        }
        for (file, content) in waiting.into_iter().zip(digests) {
            let entry = Entry::File {
                content,
                bytes: length(&file.content),
                executable: file.executable,
            };
            self.changes.insert(file.path, entry);
        }
        Ok(())
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
    content: &[u8],
    executable: bool,
) -> Result<Option<Same>, Error> {
    if let Some(Held::Changed(Entry::File {
        content: digest,
        bytes,
        executable: before,
    })) = view.at(path)
    {
        let same = length(content) == *bytes
            && executable == *before
            && Digest::from_bytes(*blake3::hash(content).as_bytes()) == *digest;
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
        let artifacts = MemoryArtifacts::default();
        let caps = Caps {
            entries: 10,
            ..Caps::USUAL
        };
        let mut found = changes(&artifacts, &view, folder.path(), false, caps).unwrap();
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
