//! Globs as people write them: one that cannot be understood is told where it stands, before
//! anything is run.

/// Says what is wrong with a glob, if anything is.
#[must_use]
pub fn fault(glob: &str) -> Option<String> {
    if glob.is_empty() {
        return Some("an empty glob matches nothing".to_string());
    }
    if let Some(told) = misunderstood(glob) {
        return Some(format!("`{glob}` would match nothing: {told}"));
    }
    let built = globset::GlobBuilder::new(glob)
        .literal_separator(true)
        .build();
    built
        .err()
        .map(|error| format!("`{glob}` is no glob: {}", error.kind()))
}

/// Says why a glob that can be built means something else than it seems to: paths of a tree have no
/// blanks around them, and nothing in them stands for a folder itself or the one above.
fn misunderstood(glob: &str) -> Option<&'static str> {
    if glob.trim() != glob || glob.contains(char::is_control) {
        return Some("take the blanks around it away, and what cannot be seen in it");
    }
    if glob.starts_with('!') {
        return Some(
            "a `!` turns nothing around here; use the other list, or write `[!]` for the sign",
        );
    }
    let dotted = |it: &str| it == "." || it == "..";
    if glob.split('/').any(dotted) {
        return Some("paths begin at the root of the tree, without `.` or `..`");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_is_told() {
        assert_eq!(fault("src/**/*.{rs,toml}"), None);
        assert!(fault("src/[a").is_some_and(|it| it.contains("src/[a")));
        assert!(fault("").is_some());
    }

    #[test]
    fn what_would_match_nothing_is_no_rule() {
        for glob in [
            "./docs/**",
            "!docs/**",
            " docs/**",
            "docs/** ",
            "../**",
            "a/../b",
            "a/./b",
            "a\t",
        ] {
            assert!(
                fault(glob).is_some_and(|it| it.contains("nothing")),
                "{glob}"
            );
        }
        for glob in [
            "docs/**",
            "/docs/**",
            ".github/**",
            "**/..*",
            "a b",
            "[!a]*",
        ] {
            assert_eq!(fault(glob), None, "{glob}");
        }
    }
}
