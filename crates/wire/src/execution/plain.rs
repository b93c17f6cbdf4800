//! Text for people that goes along with an action: bounded, printable and looked through, shown to
//! who approves and part of what is approved. It is data: nothing of it is ever read by a program of
//! ours, nor part of a path, an option or a command line.

use std::fmt;
use std::str::FromStr;

use domain::printable::misleads;
use serde::{Deserialize, Deserializer, Serialize};

/// A text of at most so many bytes, none of which hides: with `LINES` more than one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Plain<const BYTES_MAX: usize, const LINES: bool>(String);

/// A text is not plain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a plain text: 1 to {bytes_max} bytes without control characters, characters that hide or \
     reorder, or blanks at its ends"
)]
pub struct NotPlain {
    bytes_max: usize,
}

impl<const BYTES_MAX: usize, const LINES: bool> Plain<BYTES_MAX, LINES> {
    /// The longest, in bytes.
    pub const BYTES_MAX: usize = BYTES_MAX;

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const BYTES_MAX: usize, const LINES: bool> FromStr for Plain<BYTES_MAX, LINES> {
    type Err = NotPlain;

    fn from_str(text: &str) -> Result<Self, NotPlain> {
        let is_shown = |it: char| !misleads(it) && (!it.is_control() || LINES && it == '\n');
        let fits = (1..=BYTES_MAX).contains(&text.len()) && text.trim() == text;
        if fits && text.chars().all(is_shown) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotPlain {
                bytes_max: BYTES_MAX,
            })
        }
    }
}

impl<const BYTES_MAX: usize, const LINES: bool> fmt::Display for Plain<BYTES_MAX, LINES> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de, const BYTES_MAX: usize, const LINES: bool> Deserialize<'de> for Plain<BYTES_MAX, LINES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_is_what_is_seen() {
        type Line = Plain<16, false>;
        type Lines = Plain<16, true>;
        for text in ["Fix it", "R\u{e9}pare \u{4e2d}", "a -- $(b)"] {
            assert_eq!(text.parse::<Line>().unwrap().as_str(), text);
        }
        assert!("a\nb".parse::<Lines>().is_ok() && "a\nb".parse::<Line>().is_err());
        for text in [
            "",
            " a",
            "a\n",
            "a\0b",
            "a\rb",
            "a\tb",
            "a\u{1b}[2Jb",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{85}b",
            "12345678901234567",
        ] {
            assert!(text.parse::<Lines>().is_err(), "{text:?}");
        }
    }
}
