//! Telling what is wrong with a file that may hold a secret: where, which field and what is expected,
//! and never what stands there. A key is easily written where its file's name belongs.

use std::fmt;
use std::ops::Range;

/// The longest name of a field that is told, in bytes.
const FIELD_BYTES_MAX: usize = 40;

/// The shortest value that is not repeated, in bytes.
const VALUE_BYTES_MIN: usize = 6;

/// The longest piece of a value that may be repeated by chance, in bytes: no key is as short.
const PIECE_BYTES: usize = 12;

/// What a parser says before what it expects instead.
const EXPECTED: &str = ", expected ";

/// What is wrong with a text, and where, without a word of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, what } = self;
        write!(out, "{line}:{column}: {what}")
    }
}

/// Returns line and column of a byte of a text, both from 1.
#[must_use]
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |it| it + 1);
    (line, before[start..].chars().count() + 1)
}

/// Returns what a parser of a text says about a part of it, without any of that part.
#[must_use]
pub fn plainly(text: &str, span: Option<Range<usize>>, said: &str) -> Told {
    let span = span.unwrap_or(0..0);
    let (line, column) = place(text, span.start);
    // Further lines say where, in other words.
    let said = said.trim().lines().next().unwrap_or_default();
    let what = what(text, &span, said);
    Told { line, column, what }
}

fn what(text: &str, span: &Range<usize>, said: &str) -> String {
    let begins = |words: &[&str]| words.iter().any(|it| said.starts_with(it));
    // The value stands before it and may hold the same words; what is expected holds none of it.
    let expected = said.rsplit_once(EXPECTED).map(|(_, it)| it);
    let instead = expected.map_or_else(String::new, |it| format!("; expected {it}"));
    let field = field(text, span.start);
    let field = field.map_or_else(String::new, |it| format!("`{it}`: "));
    if begins(&["unknown variant"]) {
        format!("{field}this is none of what may stand here{instead}")
    } else if begins(&["unknown field"]) {
        format!("there is no such field{instead}")
    } else if begins(&["invalid type", "invalid value", "invalid length"]) {
        format!("{field}this is of the wrong form{instead}")
    } else if begins(&["duplicate "]) {
        "this is said twice".to_owned()
    } else if let Some(rest) = said.strip_prefix("missing field `") {
        let name = rest.split('`').next().unwrap_or_default();
        format!("the field `{name}` is missing")
    } else if is_apart(text, span, said) {
        format!("{field}{said}")
    } else {
        format!("{field}this cannot be read; it is not repeated here, since it may be a secret")
    }
}

/// Returns the name of the field whose value begins at a byte, if it can be nothing but a name.
fn field(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?;
    let line = before.rsplit('\n').next()?;
    let line = line.trim_end().strip_suffix('=')?.trim_end();
    let letter = |it: char| it.is_ascii_lowercase() || matches!(it, '_' | '.');
    let name = &line[line.trim_end_matches(letter).len()..];
    let rest = &line[..line.len() - name.len()];
    let is_whole = rest.is_empty() || rest.ends_with([' ', '\t', '{', ',']);
    (is_whole && (1..=FIELD_BYTES_MAX).contains(&name.len())).then_some(name)
}

/// Returns whether what is said repeats nothing of what it is said about: no whole value, and no piece
/// that is as long as a key.
fn is_apart(text: &str, span: &Range<usize>, said: &str) -> bool {
    let Some(about) = text.get(span.clone()) else {
        return false;
    };
    let mut values = about.split(['"', '\'', ' ', '\n']);
    let mut pieces = about.as_bytes().windows(PIECE_BYTES);
    let said_bytes = said.as_bytes();
    let repeats = |piece: &[u8]| said_bytes.windows(PIECE_BYTES).any(|it| it == piece);
    // What is escaped in the file is told otherwise than it is written.
    !about.contains('\\')
        && !values.any(|it| it.len() >= VALUE_BYTES_MIN && said.contains(it))
        && !pieces.any(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-ant-api03-PLANTED";

    fn told(text: &str, said: &str) -> String {
        let start = text.find(KEY).unwrap_or(1) - 1;
        plainly(text, Some(start..start + KEY.len() + 2), said).to_string()
    }

    #[test]
    fn place_field_and_what_is_expected_are_told_and_no_value() {
        let text = format!("[anthropic]\nkey = \"{KEY}\"\n");
        for (said, wanted) in [
            (
                format!("unknown variant `{KEY}`, expected one of `environment`, `file`"),
                "2:7: `key`: this is none of what may stand here; expected one of `environment`, \
                 `file`",
            ),
            (
                format!("invalid type: string \"{KEY}, expected x\", expected a map"),
                "2:7: `key`: this is of the wrong form; expected a map",
            ),
            (
                format!("unknown field `{KEY}`, expected `models`"),
                "2:7: there is no such field; expected `models`",
            ),
            (format!("duplicate key `{KEY}`"), "2:7: this is said twice"),
            (
                "missing field `models`".to_owned(),
                "2:7: the field `models` is missing",
            ),
            (
                "it must begin with https".to_owned(),
                "2:7: `key`: it must begin with https",
            ),
            (
                format!("`{KEY}` is no word"),
                "2:7: `key`: this cannot be read; it is not repeated here, since it may be a \
                 secret",
            ),
        ] {
            assert_eq!(told(&text, &said), wanted);
        }
    }

    #[test]
    fn what_is_escaped_or_a_name_is_not_told_either() {
        let text = "key = \"\\u0073k-ant-api03-PLANTED\"\n";
        let all = plainly(
            text,
            Some(6..text.len() - 1),
            &format!("`{KEY}` is no word"),
        );
        assert!(!all.to_string().contains("PLANTED"), "{all}");
        // A name that could be a value is none.
        let text = format!("{KEY} = \"{KEY}\"\n");
        let named = plainly(
            &text,
            Some(KEY.len() + 3..text.len() - 1),
            "invalid type: x",
        );
        assert_eq!(named.to_string(), "1:24: this is of the wrong form");
    }
}
