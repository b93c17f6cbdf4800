//! Tests about the code itself: each rule is a pure function from what is in the house to a list
//! of breaches, and `tests/tidy.rs` holds every rule against the real files.
//!
//! A breach is one sentence: where, which rule, and how to mend it. Every rule has a test here
//! that feeds it a breach, so that no rule can quietly stop biting.
#![forbid(unsafe_code)]

pub mod documents;
pub mod edges;
pub mod links;
pub mod promises;
pub mod rooms;
pub mod threats;
pub mod trials;

/// One file of the house: its path from the root, `/`-separated, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path.
    pub path: String,
    /// The text.
    pub text: String,
}

impl File {
    /// Returns a file.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Returns whether this is Rust.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns the crate's folder and the path within it, such as `("cell", "src/lib.rs")`.
    #[must_use]
    pub fn room(&self) -> Option<(&str, &str)> {
        self.path.strip_prefix("crates/")?.split_once('/')
    }

    /// Returns whether this is the production side of a crate: under `src/` and not a test module.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.is_rust()
            && !self.path.ends_with("/tests.rs")
            && self
                .room()
                .is_some_and(|(_, within)| within.starts_with("src/"))
    }

    /// Returns the text before the inline test module, if there is one.
    #[must_use]
    pub fn without_inline_tests(&self) -> &str {
        let mut offset = 0;
        let mut marked_at = None;
        for line in self.text.split_inclusive('\n') {
            match line.trim_end() {
                "#[cfg(test)]" => marked_at = Some(offset),
                // Further attributes may stand between the mark and the module.
                code if marked_at.is_some() && code.starts_with("#[") => {}
                code if code.starts_with("mod ") && code.ends_with('{') => {
                    if let Some(start) = marked_at {
                        return &self.text[..start];
                    }
                }
                _ => marked_at = None,
            }
            offset += line.len();
        }
        &self.text
    }
}

/// Returns the lines of `text` with their numbers from 1, without `//` comments and blank lines.
pub(crate) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
}

/// Returns whether `path` is one of the rows of an allow-list: a file, or a folder ending in `/`.
pub(crate) fn is_listed(path: &str, rows: &[(&str, &str)]) -> bool {
    rows.iter()
        .any(|(row, _)| path == *row || (row.ends_with('/') && path.starts_with(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_tests_are_cut_off() {
        let file = File::new(
            "crates/a/src/b.rs",
            "fn a() {}\n\n#[cfg(test)]\n#[expect(x, reason = \"y\")]\nmod tests {\n}\n",
        );
        assert_eq!(file.without_inline_tests(), "fn a() {}\n\n");
    }

    #[test]
    fn a_test_only_import_does_not_hide_what_follows() {
        let text = "#[cfg(test)]\nextern crate std;\nmod inner {\n}\n";
        let file = File::new("crates/a/src/lib.rs", text);
        assert_eq!(file.without_inline_tests(), text);
    }

    #[test]
    fn production_is_src_without_test_modules() {
        assert!(File::new("crates/a/src/b.rs", "").is_production());
        assert!(!File::new("crates/a/src/b/tests.rs", "").is_production());
        assert!(!File::new("crates/a/tests/b.rs", "").is_production());
        assert!(!File::new("docs/b.rs", "").is_production());
    }
}
