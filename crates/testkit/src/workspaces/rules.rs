//! The import rules, written a second time and plainly.

use domain::tree::{Change, Entry, ImportRules, Rule, Violation};

use super::files::{Files, bytes_of};
use super::globs::{gives, takes};

/// Returns everything that is wrong with the changes that led to `whole`, sorted.
pub(super) fn judge(
    base: &Files,
    whole: &Files,
    changes: &[Change],
    rules: &ImportRules,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for change in changes {
        for (rule, detail) in faults(base, whole, change, rules) {
            found.push(Violation {
                path: change.path.clone(),
                rule,
                detail: format!("{detail}; undo the change to `{}`", change.path),
            });
        }
    }
    let mut hold = |rule, detail: String| {
        let path = ".".to_owned();
        found.push(Violation { path, rule, detail });
    };
    let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
    if count > rules.files_max {
        hold(Rule::Count, format!("{count} paths are changed"));
    }
    let bytes: u64 = changes.iter().map(|it| bytes_of(&it.entry)).sum();
    if bytes > rules.total_bytes_max {
        hold(Rule::Size, format!("{bytes} bytes are changed"));
    }
    found.sort();
    found.dedup();
    found
}

fn faults(
    base: &Files,
    whole: &Files,
    change: &Change,
    rules: &ImportRules,
) -> Vec<(Rule, String)> {
    let path = change.path.as_str();
    let given = |globs: &[String]| globs.iter().any(|it| gives(it, path));
    let taken = |globs: &[String]| globs.iter().any(|it| takes(it, path));
    let mut found = Vec::new();
    let mut hold = |is_wrong: bool, rule, why: &str| {
        if is_wrong {
            found.push((rule, why.to_owned()));
        }
    };
    hold(
        !given(&rules.role_paths),
        Rule::RoleScope,
        "the role may not write it",
    );
    hold(
        !given(&rules.plan_allowed),
        Rule::PlanAllowed,
        "the plan does not allow it",
    );
    hold(
        taken(&rules.plan_denied),
        Rule::PlanDenied,
        "the plan denies it",
    );
    hold(taken(&rules.protected), Rule::Protected, "it is protected");
    hold(
        taken(&rules.secrets),
        Rule::Secret,
        "it looks like a secret",
    );
    let lowered = path.to_lowercase();
    let mut parts = lowered.split('/');
    let git = parts.any(|it| matches!(it, ".git" | ".gitmodules" | ".gitattributes"));
    hold(git, Rule::GitInternals, "it belongs to git");
    let strange = path.split('/').any(|it| matches!(it, "" | "." | ".."));
    hold(strange, Rule::Path, "the path is not canonical");
    match &change.entry {
        Entry::File {
            bytes, executable, ..
        } => {
            hold(*bytes > rules.file_bytes_max, Rule::Size, "it is too large");
            let was = matches!(
                base.get(path),
                Some(Entry::File {
                    executable: true,
                    ..
                })
            );
            let surprise = *executable && !was && !rules.may_set_executable;
            hold(surprise, Rule::Mode, "it may not be executable");
        }
        Entry::Symlink { target } => {
            let depth = path.matches('/').count();
            let climbs = target.split('/').filter(|it| *it == "..").count();
            let leaves = target.starts_with('/') || climbs > depth;
            hold(leaves, Rule::SymlinkEscape, "the link leaves the tree");
        }
        Entry::Foreign { what, rule } => hold(true, *rule, what),
        Entry::Deleted => return found,
    }
    let clash = whole
        .keys()
        .any(|it| it != path && it.to_lowercase() == lowered);
    hold(clash, Rule::Path, "another path differs only in case");
    found
}
