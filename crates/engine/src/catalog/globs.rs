//! Globs as people write them: one that cannot be understood is told where it stands, before
//! anything is run.

/// Says what is wrong with a glob, if anything is.
#[must_use]
pub fn fault(glob: &str) -> Option<String> {
    if glob.is_empty() {
        return Some("an empty glob matches nothing".to_string());
    }
    let built = globset::GlobBuilder::new(glob)
        .literal_separator(true)
        .build();
    built
        .err()
        .map(|error| format!("`{glob}` is no glob: {}", error.kind()))
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
}
