//! Which documents a test run takes in, as far as the tree says so. What decides is the tree before
//! the change, in which whoever writes documents has changed no code.
//!
//! Rust: a document that any Rust file names in a string, which is how `include_str!`, `doctest!`
//! and `trycmd` take one in, or that lies beneath a `book.toml`. Python: all documents, once a
//! configuration or a Python file speaks of document tests. What cannot be read counts as a yes.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use domain::tree::Entry;
use ports::workspaces::Error;

use crate::filter::Trees;
use crate::manifest::View;

/// The most bytes of code that are looked through; beyond it, every document counts as taken in.
const CODE_BYTES_MAX: usize = 64 << 20;

/// Endings of documents that code may name.
const ENDINGS: [&str; 6] = [".md", ".markdown", ".mdx", ".txt", ".rst", ".adoc"];

/// Where Python's test runners are told what to run.
const PYTHON_FILES: [&str; 8] = [
    "pytest.ini",
    "setup.cfg",
    "tox.ini",
    "pyproject.toml",
    "noxfile.py",
    "makefile",
    "justfile",
    "tasks.py",
];

/// What a test runner for documents is called there.
const PYTHON_WORDS: [&str; 9] = [
    "doctest",
    "docfilesuite",
    "sybil",
    "markdown-docs",
    "markdown_docs",
    "phmdoctest",
    "codeblocks",
    "byexample",
    "mktestdocs",
];

/// What the code of a tree says, read when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Harness {
    said: OnceCell<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// Names of documents, without folders, that Rust code names.
    named: BTreeSet<String>,
    /// Folders with a `book.toml`; the root is empty.
    books: BTreeSet<String>,
    /// Whether Rust code names documents by a pattern, or could not be read to its end.
    all: bool,
    python: bool,
}

impl Harness {
    /// Returns whether Rust's tests may take in the document.
    pub(super) fn rust(&self, trees: &Trees<'_>, path: &str) -> Result<bool, Error> {
        let said = self.said(trees)?;
        let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
        let beneath = |folder: &String| {
            folder.is_empty()
                || path
                    .strip_prefix(folder.as_str())
                    .is_some_and(|it| it.starts_with('/'))
        };
        Ok(said.all || said.named.contains(&name) || said.books.iter().any(beneath))
    }

    /// Returns whether Python's tests may take in documents.
    pub(super) fn python(&self, trees: &Trees<'_>) -> Result<bool, Error> {
        Ok(self.said(trees)?.python)
    }

    fn said(&self, trees: &Trees<'_>) -> Result<&Said, Error> {
        if let Some(said) = self.said.get() {
            return Ok(said);
        }
        let said = Said::of(trees)?;
        Ok(self.said.get_or_init(|| said))
    }
}

impl Said {
    fn of(trees: &Trees<'_>) -> Result<Self, Error> {
        let mut said = Self::default();
        let mut bytes = 0_usize;
        for path in paths(trees.before) {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let name = name.to_lowercase();
            if name == "book.toml" {
                said.books.insert(folder.to_owned());
            }
            let rust = name.ends_with(".rs");
            let python = name.ends_with(".py") || PYTHON_FILES.contains(&name.as_str());
            if !rust && !python {
                continue;
            }
            let Some(content) = trees.contents.at(trees.before, &path)? else {
                continue;
            };
            bytes = bytes.saturating_add(content.len());
            if bytes > CODE_BYTES_MAX {
                said.all = true;
                said.python = true;
                break;
            }
            let text = String::from_utf8_lossy(&content).to_lowercase();
            if rust {
                said.rust(&text);
            } else {
                said.python |= PYTHON_WORDS.iter().any(|it| text.contains(it));
            }
        }
        Ok(said)
    }

    /// Notes the documents that a Rust file names.
    fn rust(&mut self, text: &str) {
        for ending in ENDINGS {
            for (at, _) in text.match_indices(ending) {
                let after = text[at + ending.len()..].chars().next();
                if !matches!(after, Some('"' | '\'' | '#')) {
                    continue;
                }
                let from = text[..at]
                    .rfind(['/', '"', '\'', ' ', '\n', '\\'])
                    .map_or(0, |it| it + 1);
                let name = &text[from..at];
                // Code that asks for an ending alone takes nothing in.
                self.all |= name.contains(['*', '{', '?']);
                if !name.is_empty() {
                    self.named.insert(format!("{name}{ending}"));
                }
            }
        }
    }
}

/// Returns the path of every file of a tree.
fn paths(view: &View<'_>) -> Vec<String> {
    let of_base = view
        .base
        .names
        .all()
        .iter()
        .filter_map(|it| std::str::from_utf8(&it.path).ok())
        .filter(|it| !view.changes.contains_key(*it))
        .map(str::to_owned);
    let changed = view
        .changes
        .iter()
        .filter(|(_, entry)| matches!(entry, Entry::File { .. }))
        .map(|(path, _)| path.clone());
    of_base.chain(changed).collect()
}
