//! What a document makes run where it is read or built, apart from its examples.

use super::{Form, markdown};

/// Elements and addresses that bring something to run.
const ELEMENTS: [&str; 9] = [
    "<script",
    "<iframe",
    "<object",
    "<embed",
    "<applet",
    "<foreignobject",
    "<base",
    "javascript:",
    "data:text/html",
];

/// Directives of reStructuredText that put in what is not text.
const RAW: [&str; 1] = [".. raw::"];

/// Passthroughs of AsciiDoc.
const PASS: [&str; 3] = ["++++", "pass:", "+++<"];

/// Returns everything of that kind, in a few words each.
pub(super) fn of(text: &str, form: Form) -> Vec<String> {
    match form {
        Form::Html => html(text),
        Form::Markdown => html(&markdown::without_code(text)),
        Form::Mdx => {
            let visible = markdown::without_code(text);
            let mut found = html(&visible);
            found.extend(expressions(&visible));
            found
        }
        Form::Restructured => found(text, &RAW),
        Form::Asciidoc => found(text, &PASS),
        Form::Plain | Form::Picture(_) => Vec::new(),
    }
}

fn found(text: &str, words: &[&str]) -> Vec<String> {
    let lowered = text.to_lowercase();
    words
        .iter()
        .flat_map(|word| lowered.matches(word))
        .map(|it| format!("`{it}`"))
        .collect()
}

fn html(text: &str) -> Vec<String> {
    // Browsers pass over control characters in addresses.
    let lowered: String = text
        .to_lowercase()
        .chars()
        .map(|it| if matches!(it, '\n' | '\r') { ' ' } else { it })
        .filter(|it| !it.is_control())
        .collect();
    let mut all = found(&lowered, &ELEMENTS);
    let tags = lowered
        .match_indices('<')
        .map(|(at, _)| &lowered[at + 1..])
        .filter(|it| it.starts_with(|first: char| first.is_ascii_alphabetic()));
    for tag in tags {
        let tag = tag.split('<').next().unwrap_or_default();
        all.extend(handlers(tag));
        if tag.starts_with("meta") && tag.contains("refresh") {
            all.push("`<meta … refresh>`".to_owned());
        }
    }
    all
}

/// Returns the event handlers in the text of a tag: `onload=` and its like.
fn handlers(tag: &str) -> impl Iterator<Item = String> {
    tag.match_indices("on").filter_map(|(at, _)| {
        let before = tag[..at].chars().next_back()?;
        let starts = before.is_whitespace() || matches!(before, '"' | '\'' | '/');
        let word = &tag[at..];
        let end = word.find(|it: char| !it.is_ascii_alphabetic())?;
        let assigned = word[end..].trim_start().starts_with('=');
        (starts && end > 2 && assigned).then(|| format!("`{}=`", &word[..end]))
    })
}

/// Returns what MDX evaluates: imports, exports and everything in braces.
fn expressions(visible: &str) -> Vec<String> {
    visible
        .lines()
        .filter(|line| {
            let word = line.split([' ', '{', '*']).next().unwrap_or_default();
            matches!(word, "import" | "export") || line.contains('{')
        })
        .map(|line| {
            let shown: String = line.trim().chars().take(60).collect();
            format!("expression `{}`", shown.escape_debug())
        })
        .collect()
}
