//! Documents only: what can be built or run is no documentation, whatever it is called.
//!
//! The rule closes on what it does not know. A changed file must have the name of a document or a
//! picture, and hold one: text without NUL bytes, or a picture with its own signature; neither
//! executable nor a program. Configuration of documentation tools (`conf.py`, `mkdocs.yml`,
//! `book.toml`, `docusaurus.config.js`, notebooks, workflows) has no document's name. In what is
//! left, each of these may stay as it was and may not be new:
//!
//! - what runs in a reader's browser: scripts, frames, handlers; imports and expressions in MDX;
//! - what runs when the document is built: `raw` and executing directives, passthroughs, code cells;
//! - an example that a test runner would run: see [`harness`] for which documents those are.
//!
//! Out of scope: template languages inside Markdown, and what a PDF reader computes.

use std::collections::BTreeMap;

use domain::tree::{Change, Entry, Rule};
use ports::workspaces::Error;

use super::Trees;
use examples::{Example, Runs};

pub(super) use harness::Harness;

mod active;
mod examples;
mod harness;
mod markdown;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Markdown,
    Mdx,
    Restructured,
    Asciidoc,
    Html,
    Plain,
    /// A picture, and how it begins.
    Picture(&'static [&'static [u8]]),
}

const PNG: &[&[u8]] = &[b"\x89PNG\r\n\x1a\n"];
const JPEG: &[&[u8]] = &[b"\xff\xd8\xff"];
const RIFF: &[&[u8]] = &[b"RIFF"];
const ICON: &[&[u8]] = &[b"\0\0\x01\0"];

/// What documents are called.
const FORMS: [(&str, Form); 29] = [
    ("md", Form::Markdown),
    ("markdown", Form::Markdown),
    ("mdx", Form::Mdx),
    ("rst", Form::Restructured),
    ("rest", Form::Restructured),
    ("adoc", Form::Asciidoc),
    ("asciidoc", Form::Asciidoc),
    ("html", Form::Html),
    ("htm", Form::Html),
    ("xhtml", Form::Html),
    ("svg", Form::Html),
    ("drawio", Form::Html),
    ("txt", Form::Plain),
    ("text", Form::Plain),
    ("csv", Form::Plain),
    ("tsv", Form::Plain),
    ("bib", Form::Plain),
    ("po", Form::Plain),
    ("pot", Form::Plain),
    ("mmd", Form::Plain),
    ("puml", Form::Plain),
    ("dot", Form::Plain),
    ("png", Form::Picture(PNG)),
    ("jpg", Form::Picture(JPEG)),
    ("jpeg", Form::Picture(JPEG)),
    ("gif", Form::Picture(&[b"GIF87a", b"GIF89a"])),
    ("webp", Form::Picture(RIFF)),
    ("ico", Form::Picture(ICON)),
    ("pdf", Form::Picture(&[b"%PDF-"])),
];

/// Documents that have no ending; another word may follow, as in `LICENSE-MIT`.
const BARE: [&str; 14] = [
    "authors",
    "changelog",
    "changes",
    "code_of_conduct",
    "contributing",
    "contributors",
    "copying",
    "history",
    "licence",
    "license",
    "maintainers",
    "news",
    "notice",
    "readme",
];

/// How programs begin, and archives that hold them.
const PROGRAMS: [(&[u8], &str); 10] = [
    (b"#!", "begins like a script"),
    (b"\xef\xbb\xbf#!", "begins like a script"),
    (b"\x7fELF", "is a program"),
    (b"\xfe\xed\xfa\xce", "is a program"),
    (b"\xfe\xed\xfa\xcf", "is a program"),
    (b"\xce\xfa\xed\xfe", "is a program"),
    (b"\xcf\xfa\xed\xfe", "is a program"),
    (b"\xca\xfe\xba\xbe", "is a program"),
    (b"\0asm", "is a program"),
    (b"PK\x03\x04", "is an archive"),
];

/// What a PDF asks its reader to run.
const PDF_ACTIONS: [&[u8]; 3] = [b"/JavaScript", b"/JS", b"/Launch"];

/// Judges one change of somebody who writes documents.
pub(super) fn judge(
    trees: &Trees<'_>,
    harness: &Harness,
    change: &Change,
    hold: &mut impl FnMut(Rule, String),
) -> Result<(), Error> {
    let path = change.path.as_str();
    let mut hold = |why: String| hold(Rule::Content, why);
    let Some(form) = form_of(path) else {
        hold(format!(
            "`{path}` has no document's name, and what is built or run is not yours to change; undo the change"
        ));
        return Ok(());
    };
    match &change.entry {
        Entry::Deleted | Entry::Foreign { .. } => {}
        Entry::Symlink { target } => {
            if form_of(target).is_none() {
                hold(format!(
                    "the link `{path}` shows what is no document; write a document instead"
                ));
            }
        }
        Entry::File {
            content,
            executable,
            ..
        } => {
            if *executable {
                hold(format!(
                    "`{path}` is executable, which no document is; run `chmod -x {path}`"
                ));
            }
            let bytes = trees.contents.read(content, path)?;
            match wrong_bytes(&bytes, form) {
                Some(what) => hold(format!("`{path}` {what}; a document is expected")),
                None => text(trees, harness, path, form, &bytes, &mut hold)?,
            }
        }
    }
    Ok(())
}

/// Judges what a text newly holds.
fn text(
    trees: &Trees<'_>,
    harness: &Harness,
    path: &str,
    form: Form,
    bytes: &[u8],
    hold: &mut impl FnMut(String),
) -> Result<(), Error> {
    if matches!(form, Form::Picture(_)) {
        return Ok(());
    }
    let before = trees.contents.at(trees.before, path)?;
    let before = before.map(|it| String::from_utf8_lossy(&it).into_owned());
    let before = before.as_deref().unwrap_or_default();
    let now = String::from_utf8_lossy(bytes);
    for what in new(active::of(before, form), active::of(&now, form)) {
        hold(format!(
            "`{path}` has a new {what}, which runs where the document is read or built; show it as code, or leave it out"
        ));
    }
    let fresh = new(examples::of(before, form), examples::of(&now, form));
    for Example { runs, name, body } in fresh {
        let is_run = match runs {
            Runs::Always => true,
            Runs::InRust => harness.rust(trees, path)?,
            Runs::InPython => harness.python(trees)?,
        };
        if is_run {
            let first = body.lines().next().unwrap_or_default().trim();
            let first: String = first.chars().take(60).collect();
            hold(format!(
                "`{path}` has a new or changed example ({name}, `{}`) that a test run or a build executes; mark it as `text` or `ignore`, or leave it to whoever writes code",
                first.escape_debug()
            ));
        }
    }
    Ok(())
}

/// Returns what is in `now` more often than in `before`, each once.
fn new<T: Ord>(before: Vec<T>, now: Vec<T>) -> Vec<T> {
    let mut known: BTreeMap<T, usize> = BTreeMap::new();
    for it in before {
        *known.entry(it).or_default() += 1;
    }
    let mut fresh: Vec<T> = now
        .into_iter()
        .filter(|it| match known.get_mut(it) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) | None => true,
        })
        .collect();
    fresh.sort();
    fresh.dedup();
    fresh
}

/// Returns how a document of this name is written; `None` when it is not the name of one.
fn form_of(path: &str) -> Option<Form> {
    let lowered = path.to_lowercase();
    let (folder, name) = lowered.rsplit_once('/').unwrap_or(("", &lowered));
    let requires = name.contains("requirements") || name.starts_with("constraints");
    if name.ends_with(".txt")
        && (requires || name == "cmakelists.txt" || folder.ends_with("requirements"))
    {
        return None;
    }
    if let Some((_, ending)) = name.rsplit_once('.') {
        return FORMS
            .iter()
            .find(|(known, _)| *known == ending)
            .map(|(_, form)| *form);
    }
    BARE.iter()
        .any(|it| {
            name.strip_prefix(it)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .then_some(Form::Plain)
}

/// Returns why these bytes are no document of this form.
fn wrong_bytes(bytes: &[u8], form: Form) -> Option<&'static str> {
    let program = PROGRAMS.iter().find(|(begin, _)| bytes.starts_with(begin));
    if let Some((_, what)) = program {
        return Some(what);
    }
    if bytes.starts_with(b"MZ") && bytes.contains(&0) {
        return Some("is a program");
    }
    let Form::Picture(beginnings) = form else {
        let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
        return (!is_text).then_some("is no UTF-8 text");
    };
    if !beginnings.iter().any(|it| bytes.starts_with(it)) {
        return Some("is not what its name says");
    }
    let acts = |it: &&[u8]| bytes.windows(it.len()).any(|part| part == *it);
    (bytes.starts_with(b"%PDF-") && PDF_ACTIONS.iter().any(acts))
        .then_some("asks its reader to run something")
}

#[cfg(test)]
mod tests;
