//! A text that passes by quickly and is not kept: whether a value was seen, at once or across pieces.

use aho_corasick::packed::Searcher;

use super::{Sighting, Watch, letter};

/// Every byte as it is compared, or 0 for what is left out.
const LETTERS: [u8; 256] = letters();

/// What looks through a text that passes by.
#[derive(Debug, Default)]
pub struct Passing {
    /// The last letters and digits of what has passed, and room for those of the next piece.
    letters: Vec<u8>,
    /// How many of them are there.
    kept: usize,
}

impl Passing {
    /// Takes the next piece and returns a value that is now seen, also across pieces.
    pub fn feed(&mut self, watch: &Watch, piece: &[u8]) -> Option<Sighting> {
        if watch.is_empty() {
            return None;
        }
        let room = self.kept + piece.len();
        if self.letters.len() < room {
            self.letters.resize(room, 0);
        }
        let mut count = self.kept;
        for byte in piece {
            let letter = LETTERS[usize::from(*byte)];
            self.letters[count] = letter;
            count += usize::from(letter != 0);
        }
        let seen = watch.find_passing(&self.letters[..count]);
        let kept = count.min(watch.longest.saturating_sub(1));
        self.letters.copy_within(count - kept..count, 0);
        self.kept = kept;
        seen
    }
}

/// Returns what finds marks many bytes at a time, where the machine can do that and they are few.
pub(super) fn quick(patterns: &[Vec<u8>]) -> Option<Searcher> {
    if patterns.is_empty() {
        return None;
    }
    Searcher::new(patterns)
}

const fn letters() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        if let Some(it) = letter(byte) {
            table[byte as usize] = it;
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}
