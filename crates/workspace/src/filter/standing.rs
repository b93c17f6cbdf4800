//! Whether a path can stand where it is: spelled so that it means one thing everywhere, and beside
//! the rest of the tree.

use domain::tree::{Change, Entry, Rule};

use super::{Filter, paths};
use crate::manifest::{Held, View};
use crate::names::{fold, prefixes};
use crate::spelling::git_name;

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
        let above = prefixes(path)
            .filter(|it| it.len() < path.len())
            .find(|it| self.view.at(it).is_some_and(|held| !held.is_submodule()));
        if let Some(above) = above {
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
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        std::iter::once("").chain(folders).find(|folder| {
            is_repository(self.view, folder) && !is_repository(self.trees.before, folder)
        })
    }

    /// Returns another name in the tree that differs only in case, of the path or of a folder. Names
    /// that the base holds side by side already are no news.
    fn collision(&self, path: &str) -> Option<String> {
        for prefix in prefixes(path) {
            let folded = fold(prefix);
            let spelled = [self.view.base.folded(), &self.changed];
            let clash = spelled
                .iter()
                .filter_map(|it| it.get(&folded))
                .flatten()
                .find(|it| *it != prefix && self.is_alive(it) && !self.are_old(it, prefix));
            if let Some(clash) = clash {
                return Some(clash.clone());
            }
        }
        None
    }

    fn is_alive(&self, path: &str) -> bool {
        match self.view.at(path) {
            Some(Held::Changed(_) | Held::Base(_)) => true,
            None => self.view.has_under(path),
        }
    }

    fn are_old(&self, one: &str, other: &str) -> bool {
        let names = &self.view.base.names;
        [one, other]
            .iter()
            .all(|it| names.get(it.as_bytes()).is_some() || !names.under(it.as_bytes()).is_empty())
    }
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
