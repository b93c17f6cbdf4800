//! The watch: whether known values turn up in what passes by, also written another way.
//!
//! Values and what passes by are compared by their letters and digits alone, in lower case. So line
//! breaks, spaces, dashes, quotes and escapes between them hide nothing, and both alphabets of
//! base64 are one. What is compressed or encrypted is not recognised.

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::held::VALUE_BYTES_MIN;

mod passing;

pub use passing::Passing;

/// The fewest letters and digits by which a value is recognised, whatever its form.
pub const MARK_BYTES_MIN: usize = 10;

/// The most values watched for at once.
pub const VALUES_MAX: usize = 4_096;

/// The fewest letters and digits at the end of a stream that are taken for the beginning of a value.
const BEGINNING_BYTES_MIN: usize = 4;

/// The most bytes at the end of a stream that are held for being such a beginning.
const HELD_BYTES_MAX: usize = 16 << 10;

/// The way a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it is.
    Plain,
    /// Backwards.
    Reversed,
    /// In hexadecimal.
    Hexadecimal,
    /// In base64, at any of the three offsets.
    Base64,
    /// With its special characters as in an address.
    Percent,
}

impl Form {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "as it is",
            Self::Reversed => "backwards",
            Self::Hexadecimal => "in hexadecimal",
            Self::Base64 => "in base64",
            Self::Percent => "in percent encoding",
        }
    }
}

/// What was seen: where the value belongs, not what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What the value belongs to, such as a file.
    pub of: String,
    /// How it was written.
    pub form: Form,
}

/// Known values, watched for.
#[derive(Default)]
pub struct Watch {
    automaton: Option<AhoCorasick>,
    /// The same, for what passes quickly.
    quick: Option<aho_corasick::packed::Searcher>,
    /// For each mark: which of `names`, and the form.
    marks: Vec<(usize, Form)>,
    names: Vec<String>,
    /// The marks themselves, in the same order.
    patterns: Vec<Vec<u8>>,
    /// And sorted, to recognise a beginning.
    sorted: Vec<Vec<u8>>,
    longest: usize,
}

impl fmt::Debug for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watch")
            .field("marks", &self.marks.len())
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Returns a watch for these values, each with what it belongs to. Values under
    /// [`VALUE_BYTES_MIN`] bytes are left out, and those over [`VALUES_MAX`].
    #[must_use]
    pub fn of<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut watch = Self::default();
        let mut known: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for (name, value) in values.into_iter().take(VALUES_MAX) {
            if value.len() < VALUE_BYTES_MIN {
                continue;
            }
            let at = match watch.names.iter().position(|it| it == name) {
                Some(at) => at,
                None => {
                    watch.names.push(name.to_owned());
                    watch.names.len() - 1
                }
            };
            for (form, mark) in marks(value) {
                if mark.len() >= MARK_BYTES_MIN && known.insert(mark.clone()) {
                    watch.longest = watch.longest.max(mark.len());
                    watch.marks.push((at, form));
                    patterns.push(mark);
                }
            }
        }
        watch.automaton = automaton(&patterns);
        watch.quick = passing::quick(&patterns);
        watch.patterns = patterns;
        watch.sorted = known.into_iter().collect();
        watch
    }

    /// Returns whether nothing is watched for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Returns the first value that is seen in a text.
    #[must_use]
    pub fn look(&self, bytes: &[u8]) -> Option<Sighting> {
        if self.is_empty() {
            return None;
        }
        let mut letters = Vec::with_capacity(bytes.len());
        letters.extend(bytes.iter().filter_map(|it| letter(*it)));
        self.find(&letters)
    }

    /// Returns which of the values' owners are seen in a text, each once.
    #[must_use]
    pub fn all(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let letters: Vec<u8> = bytes.iter().filter_map(|it| letter(*it)).collect();
        let places: Vec<usize> = match &self.automaton {
            Some(automaton) => automaton
                .find_overlapping_iter(&letters)
                .map(|it| it.pattern().as_usize())
                .collect(),
            None => (0..self.patterns.len())
                .filter(|it| holds(&letters, &self.patterns[*it]))
                .collect(),
        };
        let owners = places.into_iter().filter_map(|it| self.marks.get(it));
        owners
            .filter_map(|(at, _)| self.names.get(*at))
            .map(String::as_str)
            .collect()
    }

    fn find_passing(&self, letters: &[u8]) -> Option<Sighting> {
        let Some(quick) = &self.quick else {
            return self.find(letters);
        };
        self.sighting(quick.find(letters)?.pattern().as_usize())
    }

    fn find(&self, letters: &[u8]) -> Option<Sighting> {
        let place = match &self.automaton {
            Some(automaton) => automaton.find(letters)?.pattern().as_usize(),
            // Slow, and the same answer: no fault may end the watch.
            None => self.patterns.iter().position(|it| holds(letters, it))?,
        };
        self.sighting(place)
    }

    fn sighting(&self, place: usize) -> Option<Sighting> {
        let (at, form) = self.marks.get(place)?;
        let of = self.names.get(*at)?.clone();
        Some(Sighting { of, form: *form })
    }

    /// Returns how many letters at the end may be the beginning of a mark.
    fn beginning(&self, letters: &[u8]) -> usize {
        let most = letters.len().min(self.longest.saturating_sub(1));
        (BEGINNING_BYTES_MIN..=most)
            .rev()
            .find(|length| {
                let end = &letters[letters.len() - length..];
                let at = self.sorted.partition_point(|it| it.as_slice() < end);
                self.sorted.get(at).is_some_and(|it| it.starts_with(end))
            })
            .unwrap_or(0)
    }
}

/// A text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The last letters and digits, and how many bytes of the text end with each.
    letters: Vec<u8>,
    places: Vec<u64>,
    /// How many bytes there were so far.
    bytes: u64,
}

impl Stream {
    /// Takes the next piece and returns a value that is now seen, also across pieces.
    pub fn feed(&mut self, watch: &Watch, piece: &[u8]) -> Option<Sighting> {
        if watch.is_empty() {
            return None;
        }
        for byte in piece {
            if let Some(letter) = letter(*byte) {
                self.letters.push(letter);
                self.places.push(self.bytes);
            }
            self.bytes = self.bytes.saturating_add(1);
        }
        let seen = watch.find(&self.letters);
        let over = self.letters.len().saturating_sub(watch.longest);
        self.letters.drain(..over);
        self.places.drain(..over);
        seen
    }

    /// Returns how many bytes at the end of what was fed may be the beginning of a value: whoever
    /// keeps the text waits with these for what comes next.
    #[must_use]
    pub fn unsettled(&self, watch: &Watch) -> usize {
        let length = watch.beginning(&self.letters);
        let Some(from) = self
            .letters
            .len()
            .checked_sub(length)
            .filter(|_| length > 0)
        else {
            return 0;
        };
        let held = self.places.get(from).map_or(0, |it| self.bytes - it);
        usize::try_from(held).map_or(0, |it| if it > HELD_BYTES_MAX { 0 } else { it })
    }
}

fn automaton(patterns: &[Vec<u8>]) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(patterns)
        .or_else(|_| AhoCorasick::new(patterns))
        .ok()
}

fn holds(letters: &[u8], mark: &[u8]) -> bool {
    letters.windows(mark.len().max(1)).any(|it| it == mark)
}

/// Returns every form of a value, by its letters and digits.
fn marks(value: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let reduced = |bytes: &[u8]| {
        bytes
            .iter()
            .filter_map(|it| letter(*it))
            .collect::<Vec<u8>>()
    };
    let reversed: Vec<u8> = value.iter().rev().copied().collect();
    let hexadecimal: Vec<u8> = value.iter().flat_map(|it| hex(*it)).collect();
    let mut marks = vec![
        (Form::Plain, reduced(value)),
        (Form::Reversed, reduced(&reversed)),
        (Form::Hexadecimal, hexadecimal),
    ];
    for offset in 0..3 {
        marks.push((Form::Base64, reduced(&base64(value, offset))));
    }
    if !value.iter().all(u8::is_ascii_alphanumeric) {
        marks.push((Form::Percent, reduced(&percent(value))));
    }
    marks
}

/// Returns the byte as it is compared, if it is a letter or digit.
const fn letter(byte: u8) -> Option<u8> {
    if byte.is_ascii_alphanumeric() {
        Some(byte.to_ascii_lowercase())
    } else {
        None
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Returns the base64 digits that are the same whatever stands around the value, when so many bytes
/// stand before it in its group of three.
fn base64(value: &[u8], offset: usize) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = (offset + value.len()) * 8;
    let bit = |at: usize| {
        let byte = value[at / 8 - offset];
        byte >> (7 - at % 8) & 1
    };
    let first = (offset * 8).div_ceil(6);
    (first..bits / 6)
        .map(|digit| {
            let sextet = (digit * 6..digit * 6 + 6).fold(0_u8, |it, at| it << 1 | bit(at));
            DIGITS[usize::from(sextet)]
        })
        .collect()
}

fn percent(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend(hex(*byte));
        }
    }
    out
}

#[cfg(test)]
mod tests;
