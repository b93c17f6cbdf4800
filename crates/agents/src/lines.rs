//! Cuts a stream of bytes into lines of bounded length, and finds its feet after an overlong one.

/// Kept of an overlong line, in bytes: enough to recognise it by.
pub(crate) const HEAD_BYTES_MAX: usize = 1_024;

/// A line, or what is left of one that was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line without its newline.
    Whole(Vec<u8>),
    /// The head of a line over the cap; the rest of it was skipped.
    Overlong(Vec<u8>),
}

/// The cutter: feed it pieces, it returns the lines they complete.
#[derive(Debug)]
pub(crate) struct Lines {
    cap: usize,
    held: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// Makes a cutter for lines of at most `cap` bytes, newline not counted.
    pub(crate) const fn new(cap: usize) -> Self {
        Self {
            cap,
            held: Vec::new(),
            skipping: false,
        }
    }

    /// Takes the next piece of the stream. Blank lines are dropped.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.hold(&piece[..end]);
            lines.extend(self.take());
            piece = &piece[end + 1..];
        }
        self.hold(piece);
        lines
    }

    /// Takes the end of the stream: what is held is the last line.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        self.take()
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        let room = self.cap - self.held.len();
        if piece.len() > room {
            self.held.extend_from_slice(&piece[..room]);
            self.held.truncate(HEAD_BYTES_MAX);
            self.skipping = true;
        } else {
            self.held.extend_from_slice(piece);
        }
    }

    fn take(&mut self) -> Option<Line> {
        let held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.skipping) {
            return Some(Line::Overlong(held));
        }
        let blank = held.iter().all(u8::is_ascii_whitespace);
        (!blank).then_some(Line::Whole(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(cap: usize, pieces: &[&str]) -> Vec<Line> {
        let mut lines = Lines::new(cap);
        let mut all: Vec<Line> = pieces
            .iter()
            .flat_map(|it| lines.push(it.as_bytes()))
            .collect();
        all.extend(lines.finish());
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.into())
    }

    fn overlong(text: &str) -> Line {
        Line::Overlong(text.into())
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        assert_eq!(
            cut(9, &["a\nb", "c\n\n \nd"]),
            [whole("a"), whole("bc"), whole("d")]
        );
    }

    #[test]
    fn an_overlong_line_is_one_line_and_the_next_is_understood() {
        assert_eq!(
            cut(3, &["abc\nabcd", "efgh", "\nxy\n"]),
            [whole("abc"), overlong("abc"), whole("xy")]
        );
        assert_eq!(cut(3, &["abcdefgh"]), [overlong("abc")]);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_into_pieces_changes_nothing(
            text in "[ab\n]{0,60}", at in 0..60_usize, cap in 1..8_usize,
        ) {
            let at = at.min(text.len());
            let expected = cut(cap, &[&text]);
            prop_assert_eq!(cut(cap, &[&text[..at], &text[at..]]), expected);
        }

        #[test]
        fn nothing_over_the_cap_is_held(pieces: Vec<Vec<u8>>, cap in 1..50_usize) {
            let mut lines = Lines::new(cap);
            for piece in pieces {
                for line in lines.push(&piece) {
                    let (Line::Whole(bytes) | Line::Overlong(bytes)) = line;
                    prop_assert!(bytes.len() <= cap);
                }
                prop_assert!(lines.held.len() <= cap);
            }
        }
    }
}
