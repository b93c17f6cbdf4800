//! The import filter: everything that is wrong with a set of changes. It looks at two trees as
//! values, never at diff text or at what a session says of itself.

use domain::tree::{Change, Entry, ImportRules, Rule, Violation};
use ports::workspaces::Error;

use crate::manifest::{Held, View};
use crate::names::{Folded, Kind, fold, folded, prefixes};
use crate::spelling::git_name;
use crate::spread;

pub(crate) use compiled::{Compiled, CompiledRules};
pub(crate) use contents::Contents;
pub(crate) use guarding::Memory;
use standing::Folders;

mod compiled;
mod content;
mod contents;
mod guarding;
mod links;
mod paths;
mod standing;

/// Files that git reads by name, and that it does not read through a link.
const READ_BY_GIT: [&str; 2] = [".gitignore", ".mailmap"];

/// The longest sentence about one violation, in characters: a path of full length fits.
const DETAIL_CHARS_MAX: usize = 5_000;

/// What is judged: the tree that a session began with, and the one it made.
#[derive(Debug)]
pub(crate) struct Trees<'a> {
    pub(crate) before: &'a View<'a>,
    pub(crate) after: &'a View<'a>,
    pub(crate) contents: Contents<'a>,
}

/// Says what else is wrong with one change.
pub(crate) type Besides<'a> = dyn Fn(&Change) -> Result<Vec<Violation>, Error> + Sync + 'a;

/// Judges `changes`, which led from one tree to the other, and returns all violations, sorted, with
/// those that `besides` finds.
pub(crate) fn judge(
    trees: &Trees<'_>,
    changes: &[Change],
    compiled: &Compiled,
    besides: &Besides<'_>,
) -> Result<Vec<Violation>, Error> {
    let rules = &compiled.rules;
    let changed = folded(trees.after.changes.keys().map(String::as_str));
    let filter = Filter {
        trees,
        view: trees.after,
        rules,
        globs: compiled,
        folders: Folders::of(trees, changes, &changed)?,
        changed,
    };
    // All that is asked of one change at once, while its content is at hand.
    let judged = spread::over(changes, |it| {
        let mut found = filter.judge(it)?;
        found.extend(besides(it)?);
        let looked = rules.guards_tests.then(|| guarding::look(trees, it));
        Ok((found, looked.transpose()?))
    })?;
    let (found, looked): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
    let mut found: Vec<Violation> = found.into_iter().flatten().collect();
    if rules.documents_only {
        let harness = content::Harness::default();
        for change in changes.iter().filter(|it| unread(it).is_none()) {
            content::judge(trees, &harness, change, &mut holding(change, &mut found))?;
        }
    }
    let looked: Vec<_> = looked.into_iter().flatten().collect();
    found.extend(guarding::judge(&looked));
    filter.whole(changes, &mut found);
    for violation in &mut found {
        violation.detail = shown(&violation.detail);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Returns what stands for everything that a session left, if the change does.
fn unread(change: &Change) -> Option<(&str, Rule)> {
    match &change.entry {
        Entry::Foreign { what, rule } if change.path == Violation::WHOLE => Some((what, *rule)),
        Entry::File { .. } | Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => None,
    }
}

struct Filter<'a> {
    trees: &'a Trees<'a>,
    /// The tree that the changes led to.
    view: &'a View<'a>,
    rules: &'a ImportRules,
    globs: &'a Compiled,
    /// The changed names by their case-folded form.
    changed: Folded,
    /// The folders of the changes.
    folders: Folders,
}

/// Returns what notes that a change breaks a rule.
fn holding(change: &Change, found: &mut Vec<Violation>) -> impl FnMut(Rule, String) {
    |rule, detail| {
        found.push(Violation {
            path: change.path.clone(),
            rule,
            detail,
        });
    }
}

impl Filter<'_> {
    /// Judges one change by its path, its kind and what stands beside it.
    fn judge(&self, change: &Change) -> Result<Vec<Violation>, Error> {
        let mut found = Vec::new();
        let mut hold = holding(change, &mut found);
        if let Some((what, rule)) = unread(change) {
            hold(rule, format!("the session left {what}"));
            drop(hold);
            return Ok(found);
        }
        self.scope(&change.path, &mut hold);
        self.entry(change, &mut hold)?;
        self.names(change, &mut hold);
        self.shape(change, &mut hold);
        drop(hold);
        Ok(found)
    }

    /// Judges where the change is.
    fn scope(&self, path: &str, hold: &mut impl FnMut(Rule, String)) {
        if !self.globs.role.matches(path) {
            let may = listed(&self.rules.role_paths);
            hold(
                Rule::RoleScope,
                format!("your role may write only {may}; undo the change to `{path}`"),
            );
        }
        if !self.globs.allowed.matches(path) {
            let may = listed(&self.rules.plan_allowed);
            hold(
                Rule::PlanAllowed,
                format!(
                    "the plan allows only {may}; undo the change to `{path}`, or ask for a wider plan"
                ),
            );
        }
        if let Some(glob) = self.globs.denied.matching(path) {
            hold(
                Rule::PlanDenied,
                format!("the plan denies `{glob}`; undo the change to `{path}`"),
            );
        }
        if let Some(glob) = self.globs.protected.matching(path) {
            hold(
                Rule::Protected,
                format!(
                    "`{glob}` is protected and needs an approval of its own; undo the change to `{path}`"
                ),
            );
        }
        if let Some(glob) = self.globs.secrets.matching(path) {
            hold(
                Rule::Secret,
                format!(
                    "`{path}` looks like a secret (`{glob}`); remove it, and use an example file under another name"
                ),
            );
        }
    }

    /// Judges what the path holds now.
    fn entry(&self, change: &Change, hold: &mut impl FnMut(Rule, String)) -> Result<(), Error> {
        let path = change.path.as_str();
        match &change.entry {
            Entry::File {
                bytes, executable, ..
            } => {
                let max = self.rules.file_bytes_max;
                if *bytes > max {
                    hold(
                        Rule::Size,
                        format!("`{path}` has {bytes} bytes; at most {max} are accepted"),
                    );
                }
                self.mode(path, *executable, hold);
            }
            Entry::Symlink { target } => self.link(path, target, hold)?,
            Entry::Foreign { what, rule } => hold(
                *rule,
                format!(
                    "`{path}` is {what}; only regular files and links are accepted, so remove it"
                ),
            ),
            Entry::Deleted => {}
        }
        if let Some(submodule) = self.submodule(path) {
            hold(
                Rule::GitInternals,
                format!(
                    "`{submodule}` is a submodule, which is not changed from a session; undo the change to `{path}`"
                ),
            );
        }
        Ok(())
    }

    /// Judges the executable bit, in both directions: without it, a script no longer runs.
    fn mode(&self, path: &str, executable: bool, hold: &mut impl FnMut(Rule, String)) {
        let before = match self.trees.before.at(path) {
            Some(Held::Base(name)) if name.kind == Kind::File => Some(false),
            Some(Held::Base(name)) if name.kind == Kind::Executable => Some(true),
            Some(Held::Changed(Entry::File { executable, .. })) => Some(*executable),
            Some(Held::Base(_) | Held::Changed(_)) | None => None,
        };
        if self.rules.may_set_executable {
            return;
        }
        if executable && before != Some(true) {
            hold(
                Rule::Mode,
                format!("your role may not make files executable; run `chmod -x {path}`"),
            );
        }
        if !executable && before == Some(true) {
            hold(
                Rule::Mode,
                format!("`{path}` was executable; run `chmod +x {path}`"),
            );
        }
    }

    /// Judges where a link leads.
    fn link(
        &self,
        path: &str,
        target: &str,
        hold: &mut impl FnMut(Rule, String),
    ) -> Result<(), Error> {
        if let Some(why) = links::escape(path, target) {
            hold(
                Rule::SymlinkEscape,
                format!(
                    "the link `{path}` {why}; link to a path inside the tree, relative to the link"
                ),
            );
        } else if let Some(through) = links::escape_through(self.view, path, target)? {
            hold(
                Rule::SymlinkEscape,
                format!(
                    "the link `{path}` leads out of the tree, or nowhere, through the link `{through}`; link to a path inside the tree"
                ),
            );
        }
        if git_name(target).is_some() {
            hold(
                Rule::GitInternals,
                format!("the link `{path}` points into `.git`; remove it"),
            );
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if READ_BY_GIT.contains(&fold(name).as_str()) {
            hold(
                Rule::GitInternals,
                format!("git reads `{name}` only as a regular file; write it instead of linking"),
            );
        }
        Ok(())
    }

    fn submodule<'a>(&self, path: &'a str) -> Option<&'a str> {
        let is_submodule = |it: &&str| {
            if it.len() < path.len() {
                return self.folders.odd(it).is_some_and(|it| it.is_submodule);
            }
            let name = self.view.base.names.get(it.as_bytes());
            name.is_some_and(|it| it.kind == Kind::Submodule)
        };
        prefixes(path).find(is_submodule)
    }

    /// Judges the sums.
    fn whole(&self, changes: &[Change], found: &mut Vec<Violation>) {
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        let max = self.rules.files_max;
        if count > max {
            found.push(Violation {
                path: Violation::WHOLE.into(),
                rule: Rule::Count,
                detail: format!(
                    "{count} paths are changed, at most {max} are accepted; undo some, or ask for a smaller step"
                ),
            });
        }
        let bytes = changes
            .iter()
            .map(|it| match &it.entry {
                Entry::File { bytes, .. } => *bytes,
                Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => 0,
            })
            .fold(0, u64::saturating_add);
        let max = self.rules.total_bytes_max;
        if bytes > max {
            found.push(Violation {
                path: Violation::WHOLE.into(),
                rule: Rule::Size,
                detail: format!(
                    "the changed files have {bytes} bytes together, at most {max} are accepted; remove what is not needed"
                ),
            });
        }
    }
}

/// Returns a sentence as people and agents are shown it: names in it were chosen by whoever broke the
/// rule, and end no line and move no cursor.
fn shown(detail: &str) -> String {
    let cut = detail.chars().take(DETAIL_CHARS_MAX);
    cut.fold(String::new(), |mut out, character| {
        if character.is_control() || paths::is_invisible(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
        out
    })
}

fn listed(globs: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    if globs.is_empty() {
        return "nothing".into();
    }
    let shown: Vec<String> = globs
        .iter()
        .take(SHOWN_MAX)
        .map(|it| format!("`{it}`"))
        .collect();
    let more = globs.len().saturating_sub(SHOWN_MAX);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

/// Finds nothing else.
#[expect(
    clippy::unnecessary_wraps,
    reason = "what may be asked besides may fail"
)]
pub(crate) fn nothing_besides(_: &Change) -> Result<Vec<Violation>, Error> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
