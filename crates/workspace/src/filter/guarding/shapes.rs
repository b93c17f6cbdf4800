//! The shapes that tests have in source text, and where they are found in it.

use super::languages::Language;

/// How a test is written.
#[derive(Debug)]
pub(super) enum Shape {
    /// A keyword, and a name that begins so: `def test_adds`.
    Named(&'static str, &'static [&'static str]),
    /// A mark above a function: `#[test]`, `@Test`.
    Marked(&'static str, &'static [&'static str]),
    /// A call with a text: `it("adds")`, `TEST(Suite, Adds)`.
    Called(&'static [&'static str]),
}

impl Language {
    /// Returns the names of all tests; one that has none has the name of what it is.
    pub(super) fn tests(&self, bare: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for shape in self.shapes {
            match shape {
                Shape::Named(keyword, beginnings) => found.extend(named(bare, keyword, beginnings)),
                Shape::Marked(open, marks) => found.extend(marked(bare, open, marks)),
                Shape::Called(names) => found.extend(called(bare, text, names)),
            }
        }
        found.sort();
        found
    }

    /// Returns the marks that skip tests, each as often as it is there.
    pub(super) fn marks(&self, bare: &str, text: &str) -> Vec<&'static str> {
        let in_code = self
            .skips
            .iter()
            .flat_map(|mark| starts(bare, mark).map(move |_| *mark));
        let elsewhere = self
            .skips_in_comments
            .iter()
            .flat_map(|mark| text.matches(mark).map(move |_| *mark));
        in_code.chain(elsewhere).collect()
    }
}

/// Returns where a word stands that is not the end or the beginning of a longer one.
fn starts<'a>(bare: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == '$';
    bare.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = bare[..*at].chars().next_back();
            let after = bare[at + word.len()..].chars().next();
            let joined_before = word.starts_with(is_part) && before.is_some_and(is_part);
            let joined_after = word.chars().all(is_part) && after.is_some_and(is_part);
            !joined_before && !joined_after
        })
}

fn identifier(text: &str) -> &str {
    let end = text
        .find(|it: char| !it.is_alphanumeric() && it != '_')
        .unwrap_or(text.len());
    &text[..end]
}

fn named(bare: &str, keyword: &str, beginnings: &[&str]) -> Vec<String> {
    starts(bare, keyword)
        .map(|at| identifier(bare[at + keyword.len()..].trim_start()))
        .filter(|name| beginnings.iter().any(|it| name.starts_with(it)))
        .map(str::to_owned)
        .collect()
}

/// Returns the names of the functions beneath a mark, each once.
fn marked(bare: &str, open: &str, marks: &[&str]) -> Vec<String> {
    const KEYWORDS: [&str; 6] = ["fn", "fun", "void", "func", "function", "Task"];
    let mut functions: Vec<(usize, String)> = Vec::new();
    for (at, _) in bare.match_indices(open) {
        let inner = bare[at + open.len()..].trim_start();
        let end = inner
            .find(|it: char| !it.is_alphanumeric() && !matches!(it, '_' | ':' | '.'))
            .unwrap_or(inner.len());
        let word = inner[..end].rsplit([':', '.']).next().unwrap_or_default();
        if !marks.contains(&word) {
            continue;
        }
        let below = &bare[at..];
        let function = KEYWORDS
            .iter()
            .filter_map(|it| starts(below, it).next().map(|found| (found, it.len())))
            .min();
        let (place, name) = match function {
            Some((found, length)) => {
                let name = identifier(below[found + length..].trim_start());
                (at + found, name.to_owned())
            }
            None => (at, word.to_owned()),
        };
        if !functions.iter().any(|(known, _)| *known == place) {
            functions.push((place, name));
        }
    }
    functions.into_iter().map(|(_, name)| name).collect()
}

/// Returns what tests are called by, in a call: the first text or word in it.
fn called(bare: &str, text: &str, names: &[&str]) -> Vec<String> {
    const NAME_CHARS_MAX: usize = 80;
    let mut found = Vec::new();
    for name in names {
        for at in starts(bare, name) {
            let before = bare[..at].chars().next_back();
            if before.is_some_and(|it| matches!(it, '.' | ':' | '@' | '-' | '>')) {
                continue;
            }
            let from = at + name.len();
            let after = &bare[from..];
            // `it.each(…)(…)`, `it.concurrent(…)`: still a test.
            let chained = after.starts_with('.');
            let opens = after.trim_start_matches(' ').starts_with('(');
            let quoted = text[from..]
                .trim_start_matches(' ')
                .starts_with(['"', '\'']);
            if !(chained || opens || quoted) {
                continue;
            }
            let said: String = text[from..]
                .split(['"', '\'', '`', '\n'])
                .nth(1)
                .unwrap_or_default()
                .chars()
                .take(NAME_CHARS_MAX)
                .collect();
            let macros = name.starts_with(|it: char| it.is_ascii_uppercase());
            let first = text[from..]
                .split(['(', ')', '\n'])
                .nth(1)
                .unwrap_or_default();
            found.push(if macros && said.is_empty() {
                first.trim().to_owned()
            } else {
                said
            });
        }
    }
    found
}
