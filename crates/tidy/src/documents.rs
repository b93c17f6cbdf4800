//! The documents: short, honest about the code, and free of the machine they were written on.

use std::collections::BTreeSet;

use crate::{File, is_listed};

/// The most lines of a document, and what to do with the rest. A row ending in `/` is a folder.
pub const SHORT: &[(&str, usize)] = &[
    ("README.md", 120),
    ("ARCHITECTURE.md", 250),
    ("CONTRIBUTING.md", 150),
    ("AGENTS.md", 20),
    ("docs/adr/", 60),
];

/// The sections of a decision record, in this order.
pub const ADR_SECTIONS: &[&str] = &["## Status", "## Context", "## Decision", "## Consequences"];

/// Absolute folders that belong to one machine.
pub const MACHINE_FOLDERS: &[&str] = &["/work/", "/root/"];

/// Files that may name such folders, and why.
pub const MAY_NAME_MACHINE_FOLDERS: &[(&str, &str)] = &[
    ("crates/tidy/", "it says what it looks for"),
    (
        "crates/cell/tests/",
        "they show that a cell cannot see the operator's home",
    ),
];

/// Returns every document over its number of lines.
#[must_use]
pub fn long_documents(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| it.path.ends_with(".md")) {
        let row = SHORT
            .iter()
            .find(|(row, _)| is_listed(&file.path, &[(*row, "")]));
        let lines = file.text.lines().count();
        if let Some((_, most)) = row
            && lines > *most
        {
            breaches.push(format!(
                "{}: {lines} lines, {most} are enough; move what is detail to docs/",
                file.path
            ));
        }
    }
    breaches
}

/// Returns everything that is wrong with the form of the decision records.
#[must_use]
pub fn malformed_records(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut numbers = BTreeSet::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("docs/adr/") else {
            continue;
        };
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u16>().is_err() {
            breaches.push(format!("{}: call it NNNN-slug.md", file.path));
        } else if !numbers.insert(number) {
            breaches.push(format!(
                "{}: the number {number} is taken; take the next",
                file.path
            ));
        }
        let sections: Vec<&str> = file
            .text
            .lines()
            .filter(|it| it.starts_with("## "))
            .collect();
        if sections != ADR_SECTIONS {
            breaches.push(format!(
                "{}: its sections are {ADR_SECTIONS:?}, in this order and no others",
                file.path
            ));
        }
    }
    breaches
}

/// Returns every invariant of ARCHITECTURE.md that names no test, or one that does not exist.
///
/// An invariant is a paragraph, list item or table row that holds its number in bold; somewhere
/// behind it a test file in backticks, and behind that the names of its tests in backticks:
/// ``**I7** Nothing expires into approval. — `crates/x/tests/y.rs` `nothing_expires` ``.
#[must_use]
pub fn untested_invariants(architecture: &str, files: &[File]) -> Vec<String> {
    let invariants = invariants(architecture);
    if invariants.is_empty() {
        return vec!["ARCHITECTURE.md: states no invariant (`**I1** …`)".to_owned()];
    }
    let mut breaches = Vec::new();
    for (index, (number, text)) in invariants.iter().enumerate() {
        if *number != index + 1 {
            breaches.push(format!(
                "ARCHITECTURE.md: **I{number}** stands where I{} is due; number them from 1",
                index + 1
            ));
        }
        let mut file = None;
        let mut tests = 0;
        for word in text.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = Some(word);
            } else if let Some(path) = file
                && is_function_name(word)
            {
                tests += 1;
                if !has_test(files, path, word) {
                    breaches.push(format!(
                        "ARCHITECTURE.md: **I{number}** relies on the test `{word}` in `{path}`, \
                         which is not there"
                    ));
                }
            }
        }
        if tests == 0 {
            breaches.push(format!(
                "ARCHITECTURE.md: **I{number}** names no test; end it with — `crates/…/x.rs` \
                 `name_of_the_test`"
            ));
        }
    }
    breaches
}

/// Returns every file that names a folder of somebody's machine.
#[must_use]
pub fn machine_paths(files: &[File], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| !is_listed(&it.path, allowed)) {
        for (index, line) in file.text.lines().enumerate() {
            for folder in MACHINE_FOLDERS.iter().filter(|it| names_folder(line, it)) {
                breaches.push(format!(
                    "{}:{}: names `{folder}`, which only exists on one machine",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    breaches
}

/// Returns whether `line` holds `folder` as the beginning of an absolute path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || "_-./}>*…)$".contains(it))
    })
}

/// Returns the numbered invariants with their text.
fn invariants(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let number = line
            .trim_start_matches([' ', '-', '*', '|'])
            .strip_prefix('I')
            .filter(|_| line.contains("**I"))
            .and_then(|it| it.split_once("**"))
            .and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            found.push((number, String::new()));
            open = true;
        } else if line.trim().is_empty() || line.starts_with('#') {
            open = false;
        }
        if open && let Some((_, text)) = found.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    found
}

pub(crate) fn is_function_name(word: &str) -> bool {
    word.contains('_')
        && word
            .bytes()
            .all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Returns whether the file has a test of this name: the function, and `#[test]` just above it.
pub(crate) fn has_test(files: &[File], path: &str, name: &str) -> bool {
    let Some(file) = files.iter().find(|it| it.path == path) else {
        return false;
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(index, line)| {
        line.starts_with(&format!("fn {name}("))
            && lines[..index]
                .iter()
                .rev()
                .take_while(|it| it.starts_with("#[") || it.starts_with("//"))
                .any(|it| *it == "#[test]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_found() {
        let text = |lines: usize| "x\n".repeat(lines);
        for (path, most) in [("README.md", 120), ("docs/adr/0007-x.md", 60)] {
            assert_eq!(long_documents(&[File::new(path, &text(most))]).len(), 0);
            assert_eq!(long_documents(&[File::new(path, &text(most + 1))]).len(), 1);
        }
    }

    #[test]
    fn a_malformed_record_is_found() {
        let whole = "# X\n## Status\n## Context\n## Decision\n## Consequences\n";
        let good = File::new("docs/adr/0001-x.md", whole);
        assert_eq!(malformed_records(std::slice::from_ref(&good)).len(), 0);
        for bad in [
            File::new("docs/adr/x.md", whole),
            File::new("docs/adr/0001-y.md", whole),
            File::new("docs/adr/0002-x.md", "# X\n## Status\n## Decision\n"),
        ] {
            assert_eq!(malformed_records(&[good.clone(), bad]).len(), 1);
        }
    }

    #[test]
    fn an_invariant_without_its_test_is_found() {
        let files = [File::new(
            "crates/x/tests/y.rs",
            "#[test]\nfn it_holds() {}\n\nfn not_a_test() {}\n",
        )];
        let check = |text: &str| untested_invariants(text, &files).len();
        let path = "`crates/x/tests/y.rs`";
        assert_eq!(
            check(&format!("**I1** It `holds_well`. — {path} `it_holds`\n")),
            0
        );
        assert_eq!(
            check(&format!(
                "- **I1** It holds,\n  always: {path}\n  `it_holds`.\n"
            )),
            0
        );
        assert_eq!(
            check(&format!("| **I1** | It holds | {path} `it_holds` |\n")),
            0
        );
        for bad in [
            "no invariant at all\n".to_owned(),
            "**I1** It holds.\n".to_owned(),
            format!("**I1** It holds.\n\n{path} `it_holds`\n"),
            format!("**I1** It holds. — {path} `it_does_not`\n"),
            format!("**I1** It holds. — {path} `not_a_test`\n"),
            "**I1** It holds. — `crates/x/tests/z.rs` `it_holds`\n".to_owned(),
            format!("**I2** It holds. — {path} `it_holds`\n"),
        ] {
            assert_eq!(check(&bad), 1, "{bad}");
        }
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        let check = |text: &str| machine_paths(&[File::new("docs/a.md", text)], &[]).len();
        assert_eq!(check("cd /work/main"), 1);
        assert_eq!(check("`/root/.cargo`"), 1);
        assert_eq!(check("layers/work/x, {dir}/work/y, /workspace/a"), 0);
        let listed = machine_paths(&[File::new("docs/a.md", "/root/")], &[("docs/", "why")]);
        assert_eq!(listed.len(), 0);
    }
}
