//! Globs of roles and plans, matched plainly: `*` and `?` within a component, `**` over any number.

/// Returns whether a glob that gives matches the path.
pub(super) fn gives(glob: &str, path: &str) -> bool {
    let glob = match glob.strip_suffix('/') {
        Some(folder) => format!("{folder}/**"),
        None => glob.to_owned(),
    };
    let (glob, path): (Vec<_>, Vec<_>) = (glob.split('/').collect(), path.split('/').collect());
    components(&glob, &path)
}

/// Returns whether a glob that takes away matches the path: at any depth when it has no `/`, with
/// all beneath, whatever the case.
pub(super) fn takes(glob: &str, path: &str) -> bool {
    let (glob, path) = (glob.to_lowercase(), path.to_lowercase());
    let name = glob.trim_end_matches('/');
    let anywhere = if name.contains('/') {
        name.trim_start_matches('/').to_owned()
    } else {
        format!("**/{name}")
    };
    gives(&anywhere, &path) || gives(&format!("{anywhere}/**"), &path)
}

fn components(glob: &[&str], path: &[&str]) -> bool {
    match (glob, path) {
        ([], []) => true,
        // At the end, `**` stands for one component or more: `a/**` is not `a`.
        (["**"], _) => !path.is_empty(),
        (["**", rest @ ..], _) => (0..=path.len()).any(|it| components(rest, &path[it..])),
        ([first, glob @ ..], [name, path @ ..]) => {
            let (first, name): (Vec<_>, Vec<_>) = (first.chars().collect(), name.chars().collect());
            letters(&first, &name) && components(glob, path)
        }
        ([], _) | (_, []) => false,
    }
}

fn letters(glob: &[char], name: &[char]) -> bool {
    match (glob, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|it| letters(rest, &name[it..])),
        (['?', glob @ ..], [_, name @ ..]) => letters(glob, name),
        ([one, glob @ ..], [other, name @ ..]) => one == other && letters(glob, name),
        ([], _) | (_, []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_they_are_documented() {
        for (glob, path, expected) in [
            ("**", "a/b", true),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "src", false),
            ("src/**", "source/a", false),
            ("**/*.md", "README.md", true),
            ("**/*.md", "docs/a/b.md", true),
            ("*.md", "docs/a.md", false),
            ("**/test_*.*", "a/test_x.py", true),
            ("a?c", "abc", true),
            ("docs/", "docs/x", true),
        ] {
            assert_eq!(gives(glob, path), expected, "{glob} {path}");
        }
        for (glob, path, expected) in [
            (".env", "a/.ENV", true),
            ("secrets", "x/secrets/key", true),
            ("/ci/a", "ci/a/b", true),
            ("ci/a", "x/ci/a", false),
        ] {
            assert_eq!(takes(glob, path), expected, "{glob} {path}");
        }
    }
}
