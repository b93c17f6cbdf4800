//! Changes carried over to another base: file by file, three ways.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use domain::tree::{Commit, Entry};
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::disk::{self, failed, store_failed};
use crate::git::Git;
use crate::manifest::Changes;
use crate::names::Kind;

/// The largest file that is merged line by line, in bytes.
const MERGE_BYTES_MAX: usize = 16 << 20;

/// Where bases are compared and files merged.
#[derive(Clone, Copy)]
pub(crate) struct Carrying<'a> {
    pub(crate) git: &'a Git,
    /// The controller's own repository.
    pub(crate) own: &'a Path,
    pub(crate) state: &'a Path,
    pub(crate) artifacts: &'a dyn Artifacts,
}

/// One side of a change between bases.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side {
    kind: Kind,
    object: String,
}

/// What happened to a path between the bases.
#[derive(Clone, Debug)]
struct Move {
    before: Option<Side>,
    after: Option<Side>,
}

/// What becomes of one changed path.
enum Outcome {
    /// The new base has it already.
    Same,
    /// This change stands on the new base.
    Entry(Entry),
    /// Both sides changed it.
    Conflict,
}

impl Carrying<'_> {
    /// Returns the changes on the new base, or the paths that conflict, sorted.
    pub(crate) fn carry(
        &self,
        changes: &Changes,
        from: &Commit,
        onto: &Commit,
    ) -> Result<Result<Changes, Vec<String>>, Error> {
        let moves = self.moves(from, onto)?;
        let mut carried = Changes::new();
        let mut conflicts = Vec::new();
        for (path, entry) in changes {
            let outcome = match moves.get(path) {
                None => Outcome::Entry(entry.clone()),
                Some(moved) => self.merge(path, entry, moved)?,
            };
            match outcome {
                Outcome::Conflict => conflicts.push(path.clone()),
                Outcome::Same => {}
                Outcome::Entry(entry) => {
                    if is_present(&entry) && collides(path, changes, &moves) {
                        conflicts.push(path.clone());
                    } else {
                        carried.insert(path.clone(), entry);
                    }
                }
            }
        }
        Ok(if conflicts.is_empty() {
            Ok(carried)
        } else {
            Err(conflicts)
        })
    }

    /// Returns every path that differs between two commits.
    fn moves(&self, from: &Commit, onto: &Commit) -> Result<BTreeMap<String, Move>, Error> {
        let arguments = [
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-renames",
            "--full-index",
            "--no-ext-diff",
            from.as_str(),
            onto.as_str(),
        ];
        let output = self.git.on(self.own, &arguments).output()?;
        let strange = || Error::Git {
            command: "diff-tree".into(),
            output: "its answer cannot be read".into(),
        };
        let mut moves = BTreeMap::new();
        let mut fields = output.split(|byte| *byte == 0);
        while let Some(head) = fields.next().filter(|it| !it.is_empty()) {
            let path = fields.next().ok_or_else(strange)?;
            let head = std::str::from_utf8(head).map_err(|_| strange())?;
            let words: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
            let [before_mode, after_mode, before, after, _] = words[..] else {
                return Err(strange());
            };
            let side = |mode, object: &str| {
                Kind::of_mode(mode).map(|kind| Side {
                    kind,
                    object: object.to_owned(),
                })
            };
            // A tree's changes have names in UTF-8: other names cannot meet them.
            if let Ok(path) = std::str::from_utf8(path) {
                let moved = Move {
                    before: side(before_mode, before),
                    after: side(after_mode, after),
                };
                moves.insert(path.to_owned(), moved);
            }
        }
        Ok(moves)
    }

    fn blob(&self, side: &Side) -> Result<Vec<u8>, Error> {
        self.git
            .on(self.own, &["cat-file", "blob", &side.object])
            .output()
    }

    fn merge(&self, path: &str, ours: &Entry, moved: &Move) -> Result<Outcome, Error> {
        match (ours, &moved.after) {
            (Entry::Deleted, None) => Ok(Outcome::Same),
            (Entry::Symlink { target }, Some(theirs)) if theirs.kind == Kind::Symlink => {
                let same = self.blob(theirs)? == target.as_bytes();
                Ok(if same {
                    Outcome::Same
                } else {
                    Outcome::Conflict
                })
            }
            (
                Entry::File {
                    content,
                    executable,
                    bytes: _,
                },
                Some(theirs),
            ) if is_file(theirs) => {
                let ours = self
                    .artifacts
                    .get(content)
                    .map_err(store_failed(format!("reading `{path}` of the tree")))?;
                self.merge_files(path, &ours, *executable, moved.before.as_ref(), theirs)
            }
            (
                Entry::Deleted | Entry::File { .. } | Entry::Symlink { .. } | Entry::Foreign { .. },
                _,
            ) => Ok(Outcome::Conflict),
        }
    }

    fn merge_files(
        &self,
        path: &str,
        ours: &[u8],
        ours_executable: bool,
        before: Option<&Side>,
        theirs: &Side,
    ) -> Result<Outcome, Error> {
        let theirs_executable = theirs.kind == Kind::Executable;
        let their_bytes = self.blob(theirs)?;
        if ours == their_bytes && ours_executable == theirs_executable {
            return Ok(Outcome::Same);
        }
        let Some(before) = before.filter(|it| is_file(it)) else {
            return Ok(Outcome::Conflict);
        };
        let was_executable = before.kind == Kind::Executable;
        // Of two answers to a yes-or-no question at least one side left it, or both changed alike.
        let executable = if ours_executable == was_executable {
            theirs_executable
        } else {
            ours_executable
        };
        let base = self.blob(before)?;
        let merged = if ours == base {
            their_bytes.clone()
        } else if their_bytes == base || their_bytes == ours {
            ours.to_vec()
        } else {
            match self.merge_lines(ours, &base, &their_bytes)? {
                Some(merged) => merged,
                None => return Ok(Outcome::Conflict),
            }
        };
        if merged == their_bytes && executable == theirs_executable {
            return Ok(Outcome::Same);
        }
        let content = self
            .artifacts
            .put(&merged)
            .map_err(store_failed(format!("keeping the merged `{path}`")))?;
        Ok(Outcome::Entry(Entry::File {
            content,
            bytes: u64::try_from(merged.len()).unwrap_or(u64::MAX),
            executable,
        }))
    }

    /// Merges line by line; `None` when both sides changed the same lines, or it is not text.
    fn merge_lines(
        &self,
        ours: &[u8],
        base: &[u8],
        theirs: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let all = [("ours", ours), ("base", base), ("theirs", theirs)];
        if all
            .iter()
            .any(|(_, it)| it.len() > MERGE_BYTES_MAX || it.contains(&0))
        {
            return Ok(None);
        }
        let _held = disk::lock(&self.state.join("merging.lock"))?;
        let folder = disk::workshop(&self.state.join("merging"))?;
        let mut arguments = vec!["merge-file".into(), "-p".into(), "-q".into()];
        for (name, bytes) in all {
            let file = folder.join(name);
            fs::write(&file, bytes).map_err(failed(format!("writing {}", file.display())))?;
            arguments.push(file.into_os_string());
        }
        let finished = self.git.on(self.own, &arguments).finish()?;
        match finished.code {
            0 => Ok(Some(finished.output)),
            1..=127 => Ok(None),
            _ => Err(finished.error("merge-file")),
        }
    }
}

/// Returns whether the new base needs a folder where this path is a file, or the other way round.
fn collides(path: &str, changes: &Changes, moves: &BTreeMap<String, Move>) -> bool {
    let still_there = |other: &str| {
        moves.get(other).is_some_and(|it| it.after.is_some())
            && !matches!(changes.get(other), Some(Entry::Deleted))
    };
    let above = path
        .match_indices('/')
        .any(|(at, _)| still_there(&path[..at]));
    let prefix = format!("{path}/");
    above
        || moves
            .range(prefix.clone()..)
            .take_while(|(other, _)| other.starts_with(&prefix))
            .any(|(other, _)| still_there(other))
}

fn is_file(side: &Side) -> bool {
    matches!(side.kind, Kind::File | Kind::Executable)
}

fn is_present(entry: &Entry) -> bool {
    !matches!(entry, Entry::Deleted)
}
