//! How far globs reach: in which folders a list that gives can match anything at all.
//!
//! The dialect is that of the import filter: `*` and `?` within a component, `**` over any number of
//! them, `{a,b}`, `[a-z]`, `\` escapes, `folder/` is short for `folder/**`. What is not understood,
//! and what would take too long to tell apart, reaches everywhere: the filter still judges it.

use std::iter::Peekable;
use std::str::Chars;

/// The most spellings of one glob's braces that are told apart.
const SPELLINGS_MAX: usize = 256;

/// The deepest nesting of braces.
const NESTED_MAX: usize = 8;

/// A list of globs that give.
#[derive(Debug)]
pub(super) struct Reach(Vec<Vec<Part>>);

/// One component of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of components, at the end at least one.
    Deep,
    /// A component that is written out.
    Name(String),
    /// A component with wildcards.
    Pattern(Vec<Letter>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Letter {
    Is(char),
    One,
    Some,
    Of(Class),
}

/// Characters in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Slash,
    Deep,
    Letter(Letter),
    Braces(Vec<Vec<Self>>),
}

impl Reach {
    /// Reads a list.
    pub(super) fn of(globs: &[String]) -> Self {
        Self(globs.iter().flat_map(|it| spelled(it)).collect())
    }

    /// Returns the literal folder of each glob: its longest beginning without wildcards, without the
    /// file's name.
    pub(super) fn folders(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|parts| folder_of(parts).join("/"))
    }

    /// Returns whether a glob whose literal folder is this one, or lies above it, can match
    /// something beneath it.
    pub(super) fn covers(&self, folder: &str) -> bool {
        self.left_in(folder).next().is_some()
    }

    /// Returns whether it covers this folder and every one beneath it.
    pub(super) fn is_free(&self, folder: &str) -> bool {
        self.left_in(folder)
            .any(|it| it.first() == Some(&Part::Deep))
    }

    /// Returns whether a glob could match a file of this name in the root.
    pub(super) fn may_name(&self, file: &str) -> bool {
        self.0.iter().any(|parts| match parts.as_slice() {
            [Part::Deep, ..] => true,
            [Part::Name(own)] => own == file,
            [Part::Pattern(letters)] => matches(letters, file),
            [] | [Part::Name(_) | Part::Pattern(_), ..] => false,
        })
    }

    /// Returns what is left of each glob that covers a folder.
    fn left_in(&self, folder: &str) -> impl Iterator<Item = &[Part]> {
        let names = names(folder);
        let globs = self.0.iter();
        globs.filter_map(move |parts| {
            let covers = folder_of(parts).len() <= names.len();
            left(parts, &names).filter(|_| covers)
        })
    }
}

fn names(folder: &str) -> Vec<&str> {
    folder.split('/').filter(|it| !it.is_empty()).collect()
}

fn folder_of(parts: &[Part]) -> Vec<&str> {
    let above = parts.split_last().map(|(_, above)| above);
    let names = above.unwrap_or_default().iter().map_while(|it| match it {
        Part::Name(name) => Some(name.as_str()),
        Part::Deep | Part::Pattern(_) => None,
    });
    names.collect()
}

/// Returns what is left to match beneath a folder of these names; none when it cannot be in such a
/// folder. What begins with `**` can be in any.
fn left<'a>(parts: &'a [Part], names: &[&str]) -> Option<&'a [Part]> {
    let mut left = parts;
    for name in names {
        let (part, rest) = left.split_first()?;
        let fits = match part {
            Part::Deep => return Some(left),
            Part::Name(own) => own == name,
            Part::Pattern(letters) => matches(letters, name),
        };
        left = if fits { rest } else { return None };
    }
    (!left.is_empty()).then_some(left)
}

fn matches(letters: &[Letter], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name are matched so far.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for letter in letters {
        let mut next = vec![false; name.len() + 1];
        for (at, _) in reached.iter().enumerate().filter(|(_, it)| **it) {
            if *letter == Letter::Some {
                next[at..].fill(true);
            } else if name.get(at).is_some_and(|it| letter.is(*it)) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached[name.len()]
}

impl Letter {
    fn is(&self, character: char) -> bool {
        match self {
            Self::Is(own) => *own == character,
            Self::One | Self::Some => true,
            Self::Of(class) => class.holds(character),
        }
    }
}

impl Class {
    fn holds(&self, character: char) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|(from, to)| (*from..=*to).contains(&character)) != self.negated
    }
}

/// Returns the parts of every spelling of a glob; those that can match no path are left out.
fn spelled(glob: &str) -> Vec<Vec<Part>> {
    let whole = if glob.ends_with('/') {
        format!("{glob}**")
    } else {
        glob.to_owned()
    };
    let mut reading = Reading {
        rest: whole.chars().peekable(),
        before: None,
    };
    let everywhere = || vec![vec![Part::Deep]];
    let Some(tokens) = reading.tokens(0) else {
        return everywhere();
    };
    let Some(spellings) = expanded(&tokens) else {
        return everywhere();
    };
    spellings.iter().filter_map(|it| parts(it)).collect()
}

struct Reading<'a> {
    rest: Peekable<Chars<'a>>,
    before: Option<char>,
}

impl Reading<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.before = next.or(self.before);
        next
    }

    /// Reads to the end, or to the end of one branch of a brace; `None` for what is malformed.
    fn tokens(&mut self, depth: usize) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        let in_brace = depth > 0;
        while let Some(next) = self.rest.peek().copied() {
            if in_brace && matches!(next, ',' | '}') {
                return Some(tokens);
            }
            let before = self.before;
            self.next();
            match next {
                '/' => tokens.push(Token::Slash),
                '?' => tokens.push(Token::Letter(Letter::One)),
                '*' => {
                    let token = self.star(before, tokens.is_empty(), in_brace);
                    tokens.push(token);
                }
                '[' => tokens.push(Token::Letter(Letter::Of(self.class()?))),
                '{' => tokens.push(self.braces(depth + 1)?),
                '}' => return None,
                '\\' => match self.next()? {
                    '/' => tokens.push(Token::Slash),
                    other => tokens.push(Token::Letter(Letter::Is(other))),
                },
                other => tokens.push(Token::Letter(Letter::Is(other))),
            }
        }
        (!in_brace).then_some(tokens)
    }

    /// Reads what follows a `*`: another makes it deep if both stand alone in their component.
    fn star(&mut self, before: Option<char>, is_first: bool, in_brace: bool) -> Token {
        if self.rest.peek() != Some(&'*') {
            return Token::Letter(Letter::Some);
        }
        let mut ahead = self.rest.clone();
        ahead.next();
        let alone = match ahead.peek() {
            None | Some('/') => true,
            Some(',' | '}') => in_brace && !is_first,
            Some(_) => false,
        };
        if alone && (is_first || before == Some('/')) {
            self.next();
            return Token::Deep;
        }
        Token::Letter(Letter::Some)
    }

    fn braces(&mut self, depth: usize) -> Option<Token> {
        if depth > NESTED_MAX {
            return None;
        }
        let mut branches = Vec::new();
        loop {
            branches.push(self.tokens(depth)?);
            match self.next()? {
                ',' => {}
                _ => return Some(Token::Braces(branches)),
            }
        }
    }

    fn class(&mut self) -> Option<Class> {
        let negated = matches!(self.rest.peek(), Some('!' | '^'));
        if negated {
            self.next();
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        let (mut is_first, mut in_range) = (true, false);
        loop {
            let next = self.next()?;
            match next {
                ']' if !is_first => break,
                '-' if !is_first && !in_range => in_range = true,
                other if in_range => {
                    ranges.last_mut()?.1 = other;
                    in_range = false;
                }
                other => ranges.push((other, other)),
            }
            is_first = false;
        }
        if in_range {
            ranges.push(('-', '-'));
        }
        Some(Class { negated, ranges })
    }
}

/// Returns all spellings of a glob with braces; `None` when they are too many.
fn expanded(tokens: &[Token]) -> Option<Vec<Vec<Token>>> {
    let mut spellings: Vec<Vec<Token>> = vec![Vec::new()];
    for token in tokens {
        let Token::Braces(branches) = token else {
            spellings.iter_mut().for_each(|it| it.push(token.clone()));
            continue;
        };
        let mut tails = Vec::new();
        for branch in branches {
            tails.extend(expanded(branch)?);
        }
        if spellings.len().saturating_mul(tails.len()) > SPELLINGS_MAX {
            return None;
        }
        let join = |head: &Vec<Token>, tail: &Vec<Token>| [head.as_slice(), tail].concat();
        spellings = spellings
            .iter()
            .flat_map(|head| tails.iter().map(|tail| join(head, tail)))
            .collect();
    }
    Some(spellings)
}

/// Returns the components of one spelling; `None` when no path is spelled so.
fn parts(tokens: &[Token]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for component in tokens.split(|it| *it == Token::Slash) {
        let letters: Vec<_> = component
            .iter()
            .filter_map(|it| match it {
                Token::Letter(letter) => Some(letter.clone()),
                Token::Slash | Token::Deep | Token::Braces(_) => None,
            })
            .collect();
        let crosses = |it: &Letter| matches!(it, Letter::Of(class) if class.holds('/'));
        if component == [Token::Deep] {
            parts.push(Part::Deep);
        } else if letters.len() < component.len() || letters.iter().any(crosses) {
            // It matches over the ends of components.
            parts.push(Part::Deep);
            return Some(parts);
        } else {
            parts.push(part(letters)?);
        }
    }
    Some(parts)
}

fn part(letters: Vec<Letter>) -> Option<Part> {
    let name: Option<String> = letters
        .iter()
        .map(|it| match it {
            Letter::Is(own) => Some(*own),
            Letter::One | Letter::Some | Letter::Of(_) => None,
        })
        .collect();
    match name {
        Some(name) if matches!(name.as_str(), "" | "." | "..") => None,
        Some(name) => Some(Part::Name(name)),
        None => Some(Part::Pattern(letters)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(glob: &str) -> Reach {
        Reach::of(&[glob.to_owned()])
    }

    #[test]
    fn a_literal_folder_is_what_comes_before_wildcards_and_the_name() {
        for (glob, expected) in [
            ("src/**", &["src"][..]),
            ("src/", &["src"]),
            ("src/lib.rs", &["src"]),
            ("**/*.md", &[""]),
            ("README.md", &[""]),
            ("crates/*/src/**", &["crates"]),
            ("{src,docs/api}/**", &["src", "docs/api"]),
            ("a/{b/**,c}", &["a/b", "a"]),
            (r"a\*/b", &["a*"]),
            ("/src/**", &[]),
            ("a/../b/**", &[]),
            ("a[!x]b/c", &[""]),
            ("a{**/b,c/d}", &["", "ac"]),
            ("src/[", &[""]),
        ] {
            let found: Vec<_> = reach(glob).folders().collect();
            assert_eq!(found, expected, "{glob}");
        }
    }

    #[test]
    fn a_folder_is_covered_where_something_beneath_can_match() {
        for (glob, folder, covered) in [
            ("src/**", "src", true),
            ("src/**", "src/a/b", true),
            ("src/**", "", false),
            ("src/**", "source", false),
            ("src/lib.rs", "src", true),
            ("src/lib.rs", "src/lib.rs", false),
            ("*.md", "", true),
            ("*.md", "docs", false),
            ("**/*.md", "docs/a", true),
            ("crates/*/src/**", "crates", true),
            ("crates/*/src/**", "crates/a", true),
            ("crates/*/src/**", "crates/a/src/b", true),
            ("crates/*/src/**", "crates/a/tests", false),
            ("**/tests/**", "src", true),
            ("a/**/b", "a/x/y", true),
            ("a?[b-d]/x", "axc", true),
            ("a?[b-d]/x", "axe", false),
            ("a*c/x", "abbc", true),
            ("a*c/x", "abb", false),
            ("[!a]/x", "b", true),
        ] {
            assert_eq!(reach(glob).covers(folder), covered, "{glob} {folder}");
        }
    }

    #[test]
    fn a_folder_is_free_when_all_beneath_it_is_covered() {
        for (glob, folder, free) in [
            ("src/**", "src", true),
            ("src/**", "", false),
            ("**/*.md", "", true),
            ("crates/*/src/**", "crates", false),
            ("crates/*/src/**", "crates/a/src", true),
            ("*.md", "", false),
        ] {
            assert_eq!(reach(glob).is_free(folder), free, "{glob} {folder}");
        }
    }

    #[test]
    fn too_many_spellings_reach_everywhere() {
        let glob = "{a,b}".repeat(9) + "/x";
        assert!(reach(&glob).covers("z"));
        assert!(!reach(&"{a,b}".repeat(8)).covers("z"));
    }
}
