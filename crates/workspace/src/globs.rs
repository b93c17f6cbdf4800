//! The globs of roles, plans and policies, in one dialect.
//!
//! `*` and `?` stay within one component, `**` spans any number of them, `{a,b}` and `[a-z]` work
//! as usual, `\` escapes. `folder/` is short for `folder/**`.
//!
//! Lists that give are read narrowly: the whole path must match, from the root, with its case.
//! Lists that take away are read widely: a glob without `/` matches a name at any depth, a match on
//! a folder covers all beneath, `folder/**` covers the folder itself (a link in its place would lead
//! elsewhere), and case does not matter.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use ports::workspaces::Error;

/// The most globs in one list.
const GLOBS_MAX: usize = 10_000;

/// A list that gives.
#[derive(Debug)]
pub(crate) struct AllowOnly(GlobSet);

/// A list that takes away.
#[derive(Debug)]
pub(crate) struct DenyOnly {
    set: GlobSet,
    globs: Vec<String>,
}

impl AllowOnly {
    /// Compiles the list; a malformed glob is an error that names it.
    pub(crate) fn of(globs: &[String]) -> Result<Self, Error> {
        compile(globs, |glob| {
            let all = if glob.ends_with('/') { "**" } else { "" };
            vec![(format!("{glob}{all}"), false)]
        })
        .map(|(set, _)| Self(set))
    }

    /// Returns whether the path is given.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

impl DenyOnly {
    /// Compiles the list; a malformed glob is an error that names it.
    pub(crate) fn of(globs: &[String]) -> Result<Self, Error> {
        let (set, globs) = compile(globs, |glob| {
            let name = glob.trim_end_matches('/');
            let anywhere = if name.contains('/') {
                name.trim_start_matches('/').to_owned()
            } else {
                format!("**/{name}")
            };
            let itself = anywhere.strip_suffix("/**").map(str::to_owned);
            [Some(format!("{anywhere}/**")), itself, Some(anywhere)]
                .into_iter()
                .flatten()
                .filter(|it| !it.is_empty())
                .map(|it| (it, true))
                .collect()
        })?;
        Ok(Self { set, globs })
    }

    /// Returns the glob that takes the path away, if any.
    pub(crate) fn matching(&self, path: &str) -> Option<&str> {
        let path = Candidate::new(path);
        // Hardly any path is taken away, and to say no costs no list.
        if !self.set.is_match_candidate(&path) {
            return None;
        }
        let at = self.set.matches_candidate(&path).into_iter().next()?;
        self.globs.get(at).map(String::as_str)
    }

    /// Returns whether a path of any bytes is taken away.
    pub(crate) fn matches_bytes(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        self.set.is_match(std::ffi::OsStr::from_bytes(path))
    }
}

/// Returns the set, and for each of its members the glob it was written as.
fn compile(
    globs: &[String],
    spellings: impl Fn(&str) -> Vec<(String, bool)>,
) -> Result<(GlobSet, Vec<String>), Error> {
    if globs.len() > GLOBS_MAX {
        return Err(Error::Unusable(format!(
            "a list of {} globs is over the limit of {GLOBS_MAX}",
            globs.len()
        )));
    }
    let mut set = GlobSetBuilder::new();
    let mut written = Vec::new();
    for glob in globs {
        let malformed = |error: &dyn std::fmt::Display| {
            Error::Unusable(format!("the glob `{glob}` is malformed: {error}"))
        };
        if glob.is_empty() {
            return Err(malformed(&"it is empty"));
        }
        for (spelling, fold) in spellings(glob) {
            let compiled = GlobBuilder::new(&spelling)
                .literal_separator(true)
                .backslash_escape(true)
                .case_insensitive(fold)
                .build()
                .map_err(|error| malformed(&error.kind()))?;
            set.add(compiled);
            written.push(glob.clone());
        }
    }
    let set = set
        .build()
        .map_err(|error| Error::Unusable(format!("the globs cannot be compiled: {error}")))?;
    Ok((set, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(glob: &str, path: &str) -> bool {
        AllowOnly::of(&[glob.to_owned()]).unwrap().matches(path)
    }

    fn denies(glob: &str, path: &str) -> bool {
        DenyOnly::of(&[glob.to_owned()])
            .unwrap()
            .matching(path)
            .is_some()
    }

    #[test]
    fn giving_is_narrow() {
        assert!(allows("src/**", "src/a/b.rs"));
        assert!(allows("src/", "src/a/b.rs"));
        assert!(allows("src/*.rs", "src/a.rs"));
        assert!(allows("**", "any/thing"));
        assert!(allows("{a,b}/**", "b/c"));
        for (glob, path) in [
            ("src/**", "src"),
            ("src/*.rs", "src/a/b.rs"),
            ("src/**", "Src/a.rs"),
            ("src", "src/a.rs"),
            ("a.rs", "src/a.rs"),
            ("*", "src/a.rs"),
            ("src/?.rs", "src//.rs"),
        ] {
            assert!(!allows(glob, path), "{glob} gives {path}");
        }
    }

    #[test]
    fn taking_away_is_wide() {
        for (glob, path) in [
            (".env*", ".env"),
            (".env*", "deep/down/.env.local"),
            (".env*", ".ENV"),
            ("*.pem", "keys/Server.PEM"),
            ("secrets", "secrets/a/b"),
            ("secrets/", "a/secrets/b"),
            (".github/workflows/**", ".github/workflows/ci.yml"),
            (".github/workflows", ".github/workflows/ci.yml"),
            (".github/**", ".github"),
            ("**/secrets/**", "a/secrets"),
            ("/ci/**", "ci"),
            ("/ci", "ci/x"),
        ] {
            assert!(denies(glob, path), "{glob} leaves {path}");
        }
        assert!(!denies(".env*", "environment"));
        assert!(!denies("src/a", "lib/src/a"));
    }

    #[test]
    fn a_malformed_glob_is_named() {
        for glob in ["a[", "{a", ""] {
            let text = AllowOnly::of(&[glob.to_owned()]).unwrap_err().to_string();
            assert!(text.contains(&format!("`{glob}`")), "{text}");
            DenyOnly::of(&[glob.to_owned()]).unwrap_err();
        }
    }
}
