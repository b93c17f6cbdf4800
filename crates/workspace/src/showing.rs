//! Diffs for people: two trees written as commits of our own, compared by git.

use std::io::Read as _;

use domain::tree::{Commit, Entry};
use ports::workspaces::{CommitText, Error};

use crate::disk::failed;
use crate::git::git_error;
use crate::manifest::Changes;
use crate::publish::{Press, is_showable};

/// The most paths that are named because git cannot show them.
const NAMED_MAX: usize = 100;

/// Two trees of one base, about to be compared.
#[derive(Clone, Copy)]
pub(crate) struct Showing<'a> {
    pub(crate) press: Press<'a>,
    pub(crate) base: &'a Commit,
}

impl Showing<'_> {
    /// Returns the unified diff, cut at `bytes_max` bytes with a note. What git cannot hold (a
    /// device, a `.git` folder) is named at its end.
    pub(crate) fn diff(
        &self,
        from: &Changes,
        to: &Changes,
        bytes_max: usize,
    ) -> Result<String, Error> {
        let (before, after) = (self.commit(from)?, self.commit(to)?);
        let mut text = if before == after {
            Vec::new()
        } else {
            self.compare(&before, &after, bytes_max)?
        };
        text.extend_from_slice(unshowable(from, to).as_bytes());
        if text.len() <= bytes_max {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        let note = format!("\n[cut: the diff is longer than {bytes_max} bytes]\n");
        text.truncate(bytes_max.saturating_sub(note.len()));
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        text.truncate(whole);
        Ok(String::from_utf8_lossy(&text).into_owned() + &note)
    }

    fn commit(&self, changes: &Changes) -> Result<Commit, Error> {
        let mut changes = changes.clone();
        changes.retain(|path, entry| is_showable(path, entry));
        if changes.is_empty() {
            return Ok(self.base.clone());
        }
        let text = CommitText {
            name: "Palisade".into(),
            email: "palisade@localhost".into(),
            seconds: 0,
            message: "a tree to compare".into(),
        };
        self.press.print(self.base, &changes, &text)
    }

    /// Returns the diff, at most one byte longer than `bytes_max`.
    fn compare(&self, before: &Commit, after: &Commit, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let arguments = [
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--no-renames",
            before.as_str(),
            after.as_str(),
        ];
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let call = self.press.git.on(self.press.own, &arguments);
        let (text, code, complaint) = call.pipe(
            |_| Ok(()),
            |stdout| {
                let mut kept = Vec::new();
                stdout
                    .take(limit.saturating_add(1))
                    .read_to_end(&mut kept)
                    .map_err(failed("reading the diff"))?;
                Ok(kept)
            },
        )?;
        // A diff that was not read to its end ends git early, which is no failure.
        if code == 0 || text.len() > bytes_max {
            Ok(text)
        } else {
            Err(git_error("diff", code, &complaint))
        }
    }
}

fn unshowable(from: &Changes, to: &Changes) -> String {
    let mut told = String::new();
    let changed = to
        .iter()
        .filter(|(path, entry)| !is_showable(path, entry) && from.get(*path) != Some(entry));
    for (count, (path, entry)) in changed.enumerate() {
        if count == NAMED_MAX {
            told.push_str("[more paths that cannot be shown are left out]\n");
            break;
        }
        let what = match entry {
            Entry::Foreign { what, rule: _ } => what.as_str(),
            Entry::File { .. } | Entry::Symlink { .. } | Entry::Deleted => "git cannot hold it",
        };
        let line = format!("[not shown: `{}`: {what}]\n", path.escape_debug());
        told.push_str(&line);
    }
    told
}
