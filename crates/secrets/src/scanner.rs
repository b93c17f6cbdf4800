//! The scanner: where bytes hold what looks like a credential.
//!
//! One pass finds the words that rules ask for; each rule then looks only at the text around its
//! words, once. So the time is linear in the length, whatever the bytes are.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::bytes::{Regex, RegexBuilder};

use crate::plausible;
use crate::rules::{Check, RULES, Rule};

/// The most bytes of one file that callers hand in; what is over is not searched.
pub const SCAN_BYTES_MAX: usize = 32 << 20;

/// The most hits told of one file.
pub const HITS_MAX: usize = 100;

/// The rule of what stands for more hits than are told.
pub const TOO_MANY: &str = "too-many-hits";

/// How far before a word a rule looks, in bytes, within the word's own line.
const BEFORE_BYTES: usize = 256;

/// How far after a word a rule looks, in bytes.
const AFTER_BYTES: usize = 1_024;

/// How far after the beginning of a key its body may reach, in bytes.
const KEY_BYTES: usize = 16 << 10;

/// How much of a file is looked at to tell whether it is text, in bytes.
const HEAD_BYTES: usize = 8 << 10;

/// The size up to which an expression is compiled, in bytes.
const EXPRESSION_BYTES_MAX: usize = 8 << 20;

/// Counted up when the way of searching changes, so that what was found before is found anew.
const WAY: u32 = 1;

/// What looks like a credential. The value itself is not in here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The line, from 1.
    pub line: u64,
    /// The column in bytes, from 1.
    pub column: u64,
    /// The rule's name.
    pub rule: &'static str,
    /// The value, in 16 hexadecimal digits that do not tell it: two equal values have equal ones.
    pub fingerprint: String,
}

/// All rules, ready.
pub struct Scanner {
    words: AhoCorasick,
    /// The rule of each word.
    owners: Vec<usize>,
    rules: Vec<(&'static Rule, Regex)>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scanner")
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

/// A rule of the table cannot be compiled: a mistake of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule(pub String);

impl fmt::Display for BadRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the secret scanner cannot be built: {}", self.0)
    }
}

impl std::error::Error for BadRule {}

impl Scanner {
    /// Returns a scanner with all rules.
    ///
    /// # Errors
    /// When a row of the table is wrong, which a test rules out.
    pub fn standard() -> Result<Self, BadRule> {
        let (mut words, mut owners, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in RULES.iter().enumerate() {
            let expression = RegexBuilder::new(rule.pattern)
                .unicode(false)
                .size_limit(EXPRESSION_BYTES_MAX)
                .dfa_size_limit(EXPRESSION_BYTES_MAX)
                .build()
                .map_err(|it| BadRule(format!("{}: {it}", rule.id)))?;
            rules.push((rule, expression));
            for word in rule.near {
                words.push(*word);
                owners.push(at);
            }
        }
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words)
            .map_err(|it| BadRule(it.to_string()))?;
        Ok(Self {
            words,
            owners,
            rules,
        })
    }

    /// Returns what is found, by its place. After [`HITS_MAX`] of them comes one more, of the rule
    /// [`TOO_MANY`], for all the rest of the bytes together.
    #[must_use]
    pub fn scan(&self, bytes: &[u8]) -> Vec<Hit> {
        let bytes = &bytes[..bytes.len().min(SCAN_BYTES_MAX)];
        let is_text = !bytes[..bytes.len().min(HEAD_BYTES)].contains(&0);
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, windows) in self.windows(bytes, is_text) {
            let (rule, expression) = &self.rules[at];
            for window in windows {
                for groups in expression.captures_iter(&bytes[window.clone()]) {
                    if let Some(value) = value_of(rule, &groups) {
                        found.push((window.start + value.start..window.start + value.end, at));
                    }
                }
            }
        }
        // Of several rules for the same bytes, the one that stands first in the table counts.
        found.sort_by_key(|(value, at)| (*at, value.start));
        let mut taken: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (value, at) in found {
            let before = taken.range(..value.end).next_back();
            if before.is_none_or(|(_, (end, _))| *end <= value.start) {
                taken.insert(value.start, (value.end, at));
            }
        }
        let mut lines = Lines::of(bytes);
        let mut hit = |range: Range<usize>, rule| {
            let (line, column) = lines.place(range.start);
            Hit {
                line,
                column,
                rule,
                fingerprint: fingerprint(&bytes[range]),
            }
        };
        let mut hits: Vec<Hit> = Vec::new();
        for (start, (end, at)) in taken {
            if hits.len() == HITS_MAX {
                // Whoever accepts all that are told must not accept unseen what is not.
                hits.push(hit(start..bytes.len(), TOO_MANY));
                break;
            }
            hits.push(hit(start..end, self.rules[at].0.id));
        }
        hits
    }

    /// Returns what a rule looks for, in a few words.
    #[must_use]
    pub fn title(rule: &str) -> &'static str {
        RULES
            .iter()
            .find(|it| it.id == rule)
            .map_or("a secret", |it| it.title)
    }

    /// Returns a short name of the whole table and the way it is searched with: another name means
    /// that what was searched before must be searched again.
    #[must_use]
    pub fn version() -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&WAY.to_le_bytes());
        for rule in RULES {
            hasher.update(rule.id.as_bytes());
            hasher.update(rule.pattern.as_bytes());
            hasher.update(&rule.entropy.to_bits().to_le_bytes());
            for word in rule.near {
                hasher.update(word.as_bytes());
            }
            hasher.update(format!("{:?}{}", rule.check, rule.in_binary).as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Returns for each rule the places its words point to, merged where they touch.
    fn windows(&self, bytes: &[u8], is_text: bool) -> BTreeMap<usize, Vec<Range<usize>>> {
        let mut windows: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        for word in self.words.find_overlapping_iter(bytes) {
            let at = self.owners[word.pattern().as_usize()];
            if !is_text && !self.rules[at].0.in_binary {
                continue;
            }
            let list = windows.entry(at).or_default();
            let end = bytes.len().min(word.end() + reach(self.rules[at].0));
            let from = word.start().saturating_sub(BEFORE_BYTES);
            let from = bytes[from..word.start()]
                .iter()
                .rposition(|it| *it == b'\n')
                .map_or(from, |line| from + line + 1);
            // Words come in order: what touches the last window only makes it longer, so that no
            // byte is searched twice for one rule.
            match list.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(end),
                Some(_) | None => list.push(from..end),
            }
        }
        windows
    }
}

/// Returns a short name of a value, which does not tell it.
#[must_use]
pub fn fingerprint(value: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("palisade 2026 fingerprint of a secret");
    hasher.update(value);
    hasher.finalize().to_hex()[..16].to_owned()
}

/// How far after its word a rule looks.
fn reach(rule: &Rule) -> usize {
    if rule.id.ends_with("private-key") {
        KEY_BYTES
    } else {
        AFTER_BYTES
    }
}

/// Returns where the value lies in the window, if it is one.
fn value_of(rule: &Rule, groups: &regex::bytes::Captures<'_>) -> Option<Range<usize>> {
    let (first, second) = (groups.get(1)?, groups.get(2));
    let value = match (rule.check, second) {
        // Of a named variable, the first group is the name.
        (Check::Random, Some(value)) => {
            if is_telling_of_something_else(first.as_bytes()) {
                return None;
            }
            value
        }
        _ => first,
    };
    let bytes = value.as_bytes();
    if plausible::entropy(bytes) < rule.entropy {
        return None;
    }
    // A key's body may hold any run; nobody types one.
    if !rule.id.ends_with("private-key") && plausible::is_placeholder(bytes) {
        return None;
    }
    let holds = match rule.check {
        Check::Format => true,
        Check::Checksum => plausible::has_checksum(bytes),
        Check::Random => plausible::is_random(bytes),
        Check::Address => second.is_some_and(|it| plausible::is_on_a_network(it.as_bytes())),
    };
    holds.then(|| value.range())
}

/// Variables whose names speak of secrets and hold none: `token_type`, `password_hash`.
fn is_telling_of_something_else(name: &[u8]) -> bool {
    const OTHER: [&str; 14] = [
        "hash", "digest", "checksum", "sha256", "public", "url", "uri", "path", "file", "name",
        "type", "regex", "pattern", "tokeniz",
    ];
    let name = String::from_utf8_lossy(name).to_lowercase();
    OTHER.iter().any(|it| name.contains(it)) || name.ends_with("_id")
}

/// Counts lines up to places that only move forward.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
    begins: usize,
}

impl<'a> Lines<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            line: 1,
            begins: 0,
        }
    }

    fn place(&mut self, to: usize) -> (u64, u64) {
        for (offset, byte) in self.bytes[self.at..to].iter().enumerate() {
            if *byte == b'\n' {
                self.line += 1;
                self.begins = self.at + offset + 1;
            }
        }
        self.at = to;
        let column = u64::try_from(to - self.begins).unwrap_or(u64::MAX);
        (self.line, column.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
