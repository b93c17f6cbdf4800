//! The import filter: everything that is wrong with a set of changes, by values alone.

use domain::tree::{Change, Entry, ImportRules, Rule, Violation};
use ports::workspaces::Error;

use crate::base::Base;
use crate::globs::{AllowOnly, DenyOnly};
use crate::manifest::{Held, View};
use crate::names::{Folded, Kind, fold, folded, prefixes};
use crate::spelling::{git_name, is_ignorable};

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// The longest component, in bytes.
const COMPONENT_BYTES_MAX: usize = 255;
/// The path that violations of the whole are told under.
const WHOLE: &str = ".";

/// Judges `changes`, which led to `view`, and returns all violations, sorted.
pub(crate) fn judge(
    view: &View<'_>,
    changes: &[Change],
    rules: &ImportRules,
) -> Result<Vec<Violation>, Error> {
    let filter = Filter {
        view,
        rules,
        role: AllowOnly::of(&rules.role_paths)?,
        allowed: AllowOnly::of(&rules.plan_allowed)?,
        denied: DenyOnly::of(&rules.plan_denied)?,
        protected: DenyOnly::of(&rules.protected)?,
        secrets: DenyOnly::of(&rules.secrets)?,
        changed: folded(view.changes.keys().map(String::as_str)),
    };
    let mut found = Vec::new();
    for change in changes {
        let mut hold = |rule: Rule, detail: String| {
            found.push(Violation {
                path: change.path.clone(),
                rule,
                detail,
            });
        };
        filter.scope(&change.path, &mut hold);
        filter.entry(change, &mut hold);
        filter.names(change, &mut hold);
    }
    filter.whole(changes, &mut found);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

struct Filter<'a> {
    view: &'a View<'a>,
    rules: &'a ImportRules,
    role: AllowOnly,
    allowed: AllowOnly,
    denied: DenyOnly,
    protected: DenyOnly,
    secrets: DenyOnly,
    /// The changed names by their case-folded form.
    changed: Folded,
}

impl Filter<'_> {
    /// Judges where the change is.
    fn scope(&self, path: &str, hold: &mut impl FnMut(Rule, String)) {
        if !self.role.matches(path) {
            let may = listed(&self.rules.role_paths);
            hold(
                Rule::RoleScope,
                format!("your role may write only {may}; undo the change to `{path}`"),
            );
        }
        if !self.allowed.matches(path) {
            let may = listed(&self.rules.plan_allowed);
            hold(
                Rule::PlanAllowed,
                format!(
                    "the plan allows only {may}; undo the change to `{path}`, or ask for a wider plan"
                ),
            );
        }
        if let Some(glob) = self.denied.matching(path) {
            hold(
                Rule::PlanDenied,
                format!("the plan denies `{glob}`; undo the change to `{path}`"),
            );
        }
        if let Some(glob) = self.protected.matching(path) {
            hold(
                Rule::Protected,
                format!(
                    "`{glob}` is protected and needs an approval of its own; undo the change to `{path}`"
                ),
            );
        }
        if let Some(glob) = self.secrets.matching(path) {
            hold(
                Rule::Secret,
                format!(
                    "`{path}` looks like a secret (`{glob}`); remove it, and use an example file under another name"
                ),
            );
        }
    }

    /// Judges what the path holds now.
    fn entry(&self, change: &Change, hold: &mut impl FnMut(Rule, String)) {
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
                if *executable
                    && !self.rules.may_set_executable
                    && !was_executable(self.view.base, path)
                {
                    hold(
                        Rule::Mode,
                        format!("your role may not make files executable; run `chmod -x {path}`"),
                    );
                }
            }
            Entry::Symlink { target } => {
                if let Some(why) = escape(path, target) {
                    hold(
                        Rule::SymlinkEscape,
                        format!(
                            "the link `{path}` {why}; link to a path inside the tree, relative to the link"
                        ),
                    );
                }
                if git_name(target).is_some() {
                    hold(
                        Rule::GitInternals,
                        format!("the link `{path}` points into `.git`; remove it"),
                    );
                }
            }
            Entry::Foreign { what } => hold(
                Rule::FileType,
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
    }

    fn submodule<'a>(&self, path: &'a str) -> Option<&'a str> {
        prefixes(path).find(|it| {
            let name = self.view.base.names.get(it.as_bytes());
            name.is_some_and(|name| name.kind == Kind::Submodule)
        })
    }

    /// Judges the path's spelling.
    fn names(&self, change: &Change, hold: &mut impl FnMut(Rule, String)) {
        let path = change.path.as_str();
        if let Some(why) = git_name(path) {
            hold(Rule::GitInternals, format!("{why}; remove `{path}`"));
        }
        if let Some(why) = not_canonical(path) {
            hold(
                Rule::Path,
                format!("the path `{}` {why}", path.escape_debug()),
            );
            return;
        }
        if matches!(change.entry, Entry::Deleted) {
            return;
        }
        if let Some(why) = unportable(path) {
            hold(
                Rule::Path,
                format!("the path `{}` {why}; rename it", path.escape_debug()),
            );
        }
        if let Some(other) = self.collision(path) {
            hold(
                Rule::Path,
                format!(
                    "`{path}` and `{other}` differ only in case, and are one file on some systems; rename one"
                ),
            );
        }
    }

    /// Returns another name in the tree that differs only in case, of the path or of a folder.
    fn collision(&self, path: &str) -> Option<String> {
        for prefix in prefixes(path) {
            let folded = fold(prefix);
            let spelled = [self.view.base.folded(), &self.changed];
            let clash = spelled
                .iter()
                .filter_map(|it| it.get(&folded))
                .flatten()
                .find(|it| *it != prefix && self.is_alive(it));
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

    /// Judges the sums.
    fn whole(&self, changes: &[Change], found: &mut Vec<Violation>) {
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        let max = self.rules.files_max;
        if count > max {
            found.push(Violation {
                path: WHOLE.into(),
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
                path: WHOLE.into(),
                rule: Rule::Size,
                detail: format!(
                    "the changed files have {bytes} bytes together, at most {max} are accepted; remove what is not needed"
                ),
            });
        }
    }
}

fn was_executable(base: &Base, path: &str) -> bool {
    base.names
        .get(path.as_bytes())
        .is_some_and(|name| name.kind == Kind::Executable)
}

/// Returns why a path is not the one way to write it.
fn not_canonical(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.starts_with('/') {
        Some("is absolute; it must be relative to the root of the tree")
    } else if path.split('/').any(|it| matches!(it, "" | "." | "..")) {
        Some("has an empty, `.` or `..` component")
    } else {
        None
    }
}

/// Returns why a path does not mean the same everywhere.
fn unportable(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|it| it.len() > COMPONENT_BYTES_MAX) {
        Some("is too long")
    } else if path.chars().any(char::is_control) {
        Some("has a control character")
    } else if path.chars().any(is_invisible) {
        Some("has an invisible character")
    } else if path.contains('\\') {
        Some("has a backslash, which parts folders on some systems")
    } else if path.split('/').any(|it| it.ends_with(['.', ' '])) {
        Some("has a name that ends in a dot or space, which some systems drop")
    } else {
        None
    }
}

/// Returns whether a character hides or reorders what people read.
fn is_invisible(character: char) -> bool {
    is_ignorable(character)
        || matches!(
            character,
            '\u{200b}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{00ad}'
        )
}

/// Returns why a link leads out of the tree. A `..` may stand only at the front: after a name it
/// would climb from wherever that name leads, which may be another link.
fn escape(path: &str, target: &str) -> Option<&'static str> {
    let drive = target.as_bytes().get(1) == Some(&b':');
    if target.is_empty() {
        return Some("points nowhere");
    }
    if target.starts_with(['/', '\\']) || drive {
        return Some("is absolute");
    }
    if target.contains('\\') || target.chars().any(char::is_control) {
        return Some("has a backslash or control character in its target");
    }
    let depth = path.matches('/').count();
    let mut climbed = 0;
    let mut named = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if named => return Some("climbs with `..` after a name"),
            ".." => climbed += 1,
            _ => named = true,
        }
    }
    (climbed > depth).then_some("leaves the tree")
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

#[cfg(test)]
mod tests;
