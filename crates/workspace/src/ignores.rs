//! The base's own ignore files, which say what is build output. The agent's version of them is
//! never asked: it would let a session hide what it wrote.

use std::collections::HashMap;
use std::fs;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::base::Base;
use crate::names::Kind;

/// The largest ignore file that is read, in bytes; a larger one counts as empty, which only means
/// that less is ignored.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The rules, by the folder that their file lies in.
#[derive(Debug, Default)]
pub(crate) struct Ignores(HashMap<String, Gitignore>);

impl Ignores {
    /// Reads the ignore files of a base.
    pub(crate) fn of(base: &Base) -> Self {
        let mut rules = HashMap::new();
        for name in base.names.all() {
            let Ok(path) = std::str::from_utf8(&name.path) else {
                continue;
            };
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
            let regular = matches!(name.kind, Kind::File | Kind::Executable);
            if file != ".gitignore" || !regular || name.bytes > IGNORE_FILE_BYTES_MAX {
                continue;
            }
            let content = base.file(&name.path).map(fs::read);
            let Some(Ok(content)) = content else {
                continue;
            };
            rules.insert(folder.to_owned(), Self::parse(folder, &content));
        }
        Self(rules)
    }

    fn parse(folder: &str, content: &[u8]) -> Gitignore {
        let mut builder = GitignoreBuilder::new(folder);
        for line in String::from_utf8_lossy(content).lines() {
            // Git, too, passes over a pattern that it cannot read.
            drop(builder.add_line(None, line));
        }
        builder.build().unwrap_or_else(|_| Gitignore::empty())
    }

    /// Returns whether the rules exclude this path itself; its folders are the caller's to ask for.
    pub(crate) fn exclude(&self, path: &str, is_folder: bool) -> bool {
        let folders = path
            .rmatch_indices('/')
            .map(|(at, _)| &path[..at])
            .chain(std::iter::once(""));
        for folder in folders {
            let Some(rules) = self.0.get(folder) else {
                continue;
            };
            match rules.matched(path, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> Ignores {
        let parsed = files
            .iter()
            .map(|(folder, text)| {
                (
                    (*folder).to_owned(),
                    Ignores::parse(folder, text.as_bytes()),
                )
            })
            .collect();
        Ignores(parsed)
    }

    #[test]
    fn rules_are_those_of_git() {
        let rules = rules(&[
            ("", "target/\n*.o\n!keep.o\n/only-root\n# comment\n"),
            ("deep", "!special.o\nlocal\n"),
        ]);
        for (path, is_folder, expected) in [
            ("target", true, true),
            ("target", false, false),
            ("a/target", true, true),
            ("x.o", false, true),
            ("a/b/x.o", false, true),
            ("keep.o", false, false),
            ("only-root", false, true),
            ("a/only-root", false, false),
            ("deep/special.o", false, false),
            ("special.o", false, true),
            ("deep/local", false, true),
            ("deep/er/local", false, true),
            ("local", false, false),
        ] {
            assert_eq!(rules.exclude(path, is_folder), expected, "{path}");
        }
    }
}
