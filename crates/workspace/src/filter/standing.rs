//! Whether a path can stand where it is: spelled so that it means one thing everywhere, and beside
//! the rest of the tree.

use std::collections::{HashMap, HashSet};

use domain::tree::{Change, Entry, Rule};
use ports::workspaces::Error;

use super::{Filter, Trees, paths};
use crate::manifest::{Held, View};
use crate::names::{Folded, Kind, fold, prefixes};
use crate::spelling::git_name;
use crate::spread;

impl Filter<'_> {
    /// Judges the path's spelling.
    pub(super) fn names(&self, change: &Change, hold: &mut impl FnMut(Rule, String)) {
        let path = change.path.as_str();
        if let Some(why) = git_name(path) {
            hold(Rule::GitInternals, format!("{why}; remove `{path}`"));
        }
        if let Some(why) = paths::not_canonical(path) {
            hold(
                Rule::Path,
                format!("the path `{}` {why}", path.escape_debug()),
            );
            return;
        }
        if matches!(change.entry, Entry::Deleted) {
            return;
        }
        // A name that the base has always had is its owner's to mend.
        let is_new = self.view.base.names.get(path.as_bytes()).is_none();
        if let Some(why) = paths::unportable(path).filter(|_| is_new) {
            hold(
                Rule::Path,
                format!("the path `{}` {why}; rename it", path.escape_debug()),
            );
        }
        if let Some(other) = self.collision(path) {
            hold(
                Rule::Path,
                format!(
                    "`{path}` and `{other}` differ only in case or accents' spelling, and are one file on some systems; rename one"
                ),
            );
        }
    }

    /// Judges whether the path can stand beside the rest of the tree.
    pub(super) fn shape(&self, change: &Change, hold: &mut impl FnMut(Rule, String)) {
        let path = change.path.as_str();
        if matches!(change.entry, Entry::Deleted) {
            return;
        }
        let mut above = prefixes(path).filter(|it| it.len() < path.len());
        if let Some(above) = above.find(|it| self.folders.odd(it).is_some_and(|it| it.is_file)) {
            hold(
                Rule::Path,
                format!("`{path}` lies beneath `{above}`, which is no folder; remove one of them"),
            );
        }
        if self.view.has_under(path) {
            hold(
                Rule::Path,
                format!("`{path}` is no folder, and files lie beneath it; remove one or the other"),
            );
        }
        if let Some(folder) = self.repository(path) {
            hold(
                Rule::GitInternals,
                format!(
                    "with `{path}` the folder `{folder}` is a git repository, whose configuration git would run; remove it"
                ),
            );
        }
    }

    /// Returns the folder that git would take for a repository because of this path: one without
    /// `.git`, which `git status` inside it believes all the same.
    fn repository<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.folders.repositories.is_empty() {
            return None;
        }
        let mut folders = std::iter::once("").chain(above(path));
        folders.find(|it| self.folders.repositories.contains(*it))
    }

    /// Returns another name in the tree that differs only in case, of the path or of a folder. Names
    /// that the base holds side by side already are no news.
    fn collision(&self, path: &str) -> Option<String> {
        let of_a_folder = above(path).find_map(|it| self.folders.odd(it)?.clash.clone());
        of_a_folder.or_else(|| clash(self.view, &self.changed, path))
    }
}

/// What is out of the ordinary about the folders that changed paths lie in: each is looked at once,
/// not once for each path in it.
#[derive(Debug)]
pub(super) struct Folders {
    odd: HashMap<String, Odd>,
    /// Those that git would take for a repository now and did not before.
    repositories: HashSet<String>,
}

/// What is odd about one folder.
#[derive(Debug)]
pub(super) struct Odd {
    /// The tree holds a file or link at its path.
    is_file: bool,
    pub(super) is_submodule: bool,
    /// Another name that some disks take for its own.
    clash: Option<String>,
}

impl Folders {
    /// Looks at the folders of these changes.
    pub(super) fn of(
        trees: &Trees<'_>,
        changes: &[Change],
        changed: &Folded,
    ) -> Result<Self, Error> {
        let (mut folders, mut last) = (Vec::new(), "");
        for change in changes {
            let path = change.path.as_str();
            // Sorted paths share their folders with the one before.
            folders.extend(above(path).filter(|it| !last.starts_with(&path[..=it.len()])));
            last = path;
        }
        let view = trees.after;
        let odd = spread::over_cheap(&folders, |folder| {
            let name = view.base.names.get(folder.as_bytes());
            let odd = Odd {
                is_file: view.at(folder).is_some_and(|it| !it.is_submodule()),
                is_submodule: name.is_some_and(|it| it.kind == Kind::Submodule),
                clash: clash(view, changed, folder),
            };
            let is_odd = odd.is_file || odd.is_submodule || odd.clash.is_some();
            Ok(is_odd.then(|| ((*folder).to_owned(), odd)))
        })?;
        let folders = std::iter::once("").chain(folders);
        let repositories =
            folders.filter(|it| is_repository(view, it) && !is_repository(trees.before, it));
        Ok(Self {
            odd: odd.into_iter().flatten().collect(),
            repositories: repositories.map(str::to_owned).collect(),
        })
    }

    /// Returns what is odd about a folder, if anything is.
    pub(super) fn odd(&self, folder: &str) -> Option<&Odd> {
        self.odd.get(folder)
    }
}

/// Returns the folders that a path lies in, from the top, but for the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    prefixes(path).filter(|it| it.len() < path.len())
}

/// Returns another name in the tree that some disks take for this path. Names that the base holds
/// side by side already are no news.
fn clash(view: &View<'_>, changed: &Folded, path: &str) -> Option<String> {
    let folded = fold(path);
    let spelled = [view.base.folded(), changed];
    let mut spelled = spelled.iter().filter_map(|it| it.get(&folded)).flatten();
    let clash = spelled.find(|it| *it != path && is_alive(view, it) && !are_old(view, it, path));
    clash.cloned()
}

fn is_alive(view: &View<'_>, path: &str) -> bool {
    match view.at(path) {
        Some(Held::Changed(_) | Held::Base(_)) => true,
        None => view.has_under(path),
    }
}

fn are_old(view: &View<'_>, one: &str, other: &str) -> bool {
    let names = &view.base.names;
    let is_old = |it: &[u8]| names.get(it).is_some() || names.beneath(it).next().is_some();
    is_old(one.as_bytes()) && is_old(other.as_bytes())
}

/// Returns whether git would take the folder for a repository; the root's path is empty.
fn is_repository(view: &View<'_>, folder: &str) -> bool {
    let inside = |name: &str| match folder {
        "" => name.to_owned(),
        _ => format!("{folder}/{name}"),
    };
    view.at(&inside("HEAD")).is_some()
        && (view.at(&inside("commondir")).is_some()
            || view.has_under(&inside("objects")) && view.has_under(&inside("refs")))
}
