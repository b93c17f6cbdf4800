//! Where in the tree the program may write, made ready: which folders are made, which views are
//! mounted over the tree, and whether the tree itself is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use ports::cells::{Error, Writes};
use serde::{Deserialize, Serialize};

use super::{WORKSPACE, refused};

/// Most views of one tree; each is a mount.
const VIEWS_MAX: usize = 4_096;

/// Where a writable tree is written. All paths are inside the cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// Folders that are made where they are missing.
    pub(crate) made: Vec<PathBuf>,
    /// Whether nothing but the views can be written.
    pub(crate) is_closed: bool,
    /// What is mounted over the tree, those above first.
    pub(crate) views: Vec<View>,
}

/// A part of the tree, mounted over itself.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) path: PathBuf,
    pub(crate) is_writable: bool,
    /// Folders on the way that could otherwise be renamed, and with them what is mounted beneath:
    /// a place where something is mounted cannot be.
    pub(crate) pinned: Vec<PathBuf>,
}

impl Scope {
    /// Returns what there is to do for a writable tree; nothing when all of it can be written.
    pub(super) fn compile(writes: &Writes) -> Result<Option<Self>, Error> {
        let mut access = BTreeMap::new();
        for (paths, is_writable) in [(&writes.writable, true), (&writes.read_only, false)] {
            for path in paths {
                check(path)?;
                access.insert(path.as_path(), is_writable);
            }
        }
        if access.len() > VIEWS_MAX {
            return Err(refused(
                "scoping the writes",
                format!("{} paths are more than {VIEWS_MAX}", access.len()),
            ));
        }
        let root = access.get(Path::new("")).copied().unwrap_or(false);
        // What says the same as the path above it needs no view.
        let differing: BTreeMap<&Path, bool> = access
            .iter()
            .filter(|(path, is_writable)| {
                governing(&access, path).map_or(root, |(_, above)| above) != **is_writable
            })
            .map(|(path, is_writable)| (*path, *is_writable))
            .collect();
        if root && differing.is_empty() {
            return Ok(None);
        }
        let mut views: Vec<View> = differing
            .iter()
            .map(|(path, is_writable)| View {
                path: Path::new(WORKSPACE).join(path),
                is_writable: *is_writable,
                pinned: if *is_writable {
                    Vec::new()
                } else {
                    pinned(&differing, path)
                },
            })
            .collect();
        views.sort_by_key(|view| view.path.components().count());
        let made: BTreeSet<_> = writes
            .writable
            .iter()
            .filter(|path| access.get(path.as_path()) == Some(&true) && **path != Path::new(""))
            .map(|path| Path::new(WORKSPACE).join(path))
            .collect();
        Ok(Some(Self {
            made: made.into_iter().collect(),
            is_closed: !root,
            views,
        }))
    }

    /// Returns the paths beneath which anything can be written.
    pub(crate) fn writable(&self) -> impl Iterator<Item = &Path> {
        let views = self.views.iter().filter(|view| view.is_writable);
        let root = (!self.is_closed).then(|| Path::new(WORKSPACE));
        root.into_iter()
            .chain(views.map(|view| view.path.as_path()))
    }
}

/// Returns the deepest entry strictly above a path.
fn governing<'a>(access: &BTreeMap<&'a Path, bool>, path: &Path) -> Option<(&'a Path, bool)> {
    path.ancestors()
        .skip(1)
        .find_map(|above| access.get_key_value(above))
        .map(|(above, is_writable)| (*above, *is_writable))
}

/// Returns the folders between what is writable and a read-only path in it.
fn pinned(differing: &BTreeMap<&Path, bool>, path: &Path) -> Vec<PathBuf> {
    let mut between: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|above| *above != Path::new("") && !differing.contains_key(above))
        .map(|above| Path::new(WORKSPACE).join(above))
        .collect();
    between.reverse();
    between
}

fn check(path: &Path) -> Result<(), Error> {
    let doing = || format!("scoping the writes to {}", path.display());
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_text = path
        .to_str()
        .is_some_and(|text| !text.contains('\0') && !text.ends_with("/."));
    if !is_plain || !is_text {
        return Err(refused(
            doing(),
            "a path in the tree must be relative, UTF-8 and without `.` and `..`".to_owned(),
        ));
    }
    if path.starts_with(".git") {
        return Err(refused(
            doing(),
            "the git directory is never written by a cell".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(writable: &[&str], read_only: &[&str]) -> Result<Option<Scope>, Error> {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Scope::compile(&Writes {
            writable: paths(writable),
            read_only: paths(read_only),
        })
    }

    fn views(writable: &[&str], read_only: &[&str]) -> Vec<(String, bool, usize)> {
        let scope = compile(writable, read_only).unwrap().unwrap();
        let show = |view: View| {
            let path = view.path.display().to_string();
            (path, view.is_writable, view.pinned.len())
        };
        scope.views.into_iter().map(show).collect()
    }

    #[test]
    fn everywhere_needs_nothing() {
        assert!(compile(&[""], &[]).unwrap().is_none());
        assert!(compile(&["", "src"], &[]).unwrap().is_none());
        let nowhere = compile(&[], &["a"]).unwrap().unwrap();
        assert!(nowhere.is_closed && nowhere.views.is_empty());
    }

    #[test]
    fn the_deepest_decides_and_read_only_wins_a_tie() {
        assert_eq!(
            views(&["a", "a/b/c", "a/x"], &["a/b", "a/b/c/d", "q"]),
            [
                ("/workspace/a".to_owned(), true, 0),
                ("/workspace/a/b".to_owned(), false, 0),
                ("/workspace/a/b/c".to_owned(), true, 0),
                ("/workspace/a/b/c/d".to_owned(), false, 0),
            ]
        );
        let tie = compile(&["", "a"], &["a"]).unwrap().unwrap();
        assert_eq!(tie.views.len(), 1);
        assert!(!tie.views[0].is_writable && !tie.is_closed && tie.made.is_empty());
    }

    #[test]
    fn what_lies_between_is_pinned() {
        assert_eq!(
            views(&[""], &["a/b/c"]),
            [("/workspace/a/b/c".to_owned(), false, 2)]
        );
        assert_eq!(
            views(&["a"], &["a/b/c"])[1],
            ("/workspace/a/b/c".to_owned(), false, 1)
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for path in [
            "/etc",
            "../x",
            "a/../b",
            "./a",
            "a/.",
            ".git",
            ".git/hooks",
            "a\0b",
        ] {
            assert!(compile(&[path], &[]).is_err(), "{path:?}");
            assert!(
                compile(&[""], &[path]).is_err() || path.starts_with(".git"),
                "{path:?}"
            );
        }
    }
}
