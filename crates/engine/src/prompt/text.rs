//! Texts of others, made fit to be told: printable, bounded, and framed as data.

use domain::printable::misleads;

/// Which end of a text is kept when it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The beginning.
    Start,
    /// The end.
    End,
}

/// What stands in for a character that cannot be shown.
const REPLACEMENT: char = '\u{fffd}';

/// Cuts what is too long, says so where it cut, and remembers that it did.
#[derive(Debug, Default)]
pub(super) struct Shears {
    /// Whether anything was left out.
    pub(super) has_cut: bool,
}

impl Shears {
    /// Returns a text as one line: line breaks and tabs become spaces, the rest is printable.
    pub(super) fn line(&mut self, text: &str, bytes_max: usize) -> String {
        let flat: String = text
            .trim()
            .chars()
            .map(|it| match it {
                '\n' | '\r' | '\t' | '\u{85}' => ' ',
                other => shown(other),
            })
            .collect();
        self.cut(&flat, bytes_max, Kept::Start, " ")
    }

    /// Returns a text as a quotation, each line of it marked: nothing in it can end the quotation.
    pub(super) fn quoted(&mut self, text: &str, bytes_max: usize, kept: Kept) -> String {
        let kept = self.cut(&whole(text), bytes_max, kept, "\n");
        let lines = kept.lines().map(|it| format!("> {it}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns the first lines of a list that fit; what is left out is told in a last one.
    pub(super) fn listed(
        &mut self,
        lines: &[String],
        line_bytes_max: usize,
        bytes_max: usize,
    ) -> Vec<String> {
        let mut shown = Vec::new();
        let mut bytes = 0_usize;
        for (index, it) in lines.iter().enumerate() {
            let it = self.line(it, line_bytes_max);
            bytes = bytes.saturating_add(it.len());
            if bytes > bytes_max {
                let more = lines.len().saturating_sub(index);
                shown.push(format!("[{more} more are left out here]"));
                self.has_cut = true;
                break;
            }
            shown.push(it);
        }
        shown
    }

    fn cut(&mut self, text: &str, bytes_max: usize, kept: Kept, joint: &str) -> String {
        if text.len() <= bytes_max {
            return text.to_string();
        }
        self.has_cut = true;
        match kept {
            Kept::Start => {
                let end = (0..=bytes_max).rev().find(|it| text.is_char_boundary(*it));
                let end = end.unwrap_or(0);
                let left = text.len().saturating_sub(end);
                format!("{}{joint}[{left} bytes are left out here]", &text[..end])
            }
            Kept::End => {
                let from = text.len().saturating_sub(bytes_max);
                let from = (from..text.len()).find(|it| text.is_char_boundary(*it));
                let from = from.unwrap_or(text.len());
                format!("[{from} bytes are left out here]{joint}{}", &text[from..])
            }
        }
    }
}

/// Returns a text in its lines, printable and whole.
pub(super) fn whole(text: &str) -> String {
    let lines = text.trim().lines().map(|it| {
        let shown = it.trim_end().chars().map(|it| match it {
            '\t' => ' ',
            other => shown(other),
        });
        shown.collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn shown(character: char) -> char {
    if character.is_control() || misleads(character) {
        REPLACEMENT
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, bytes_max: usize) -> (String, bool) {
        let mut shears = Shears::default();
        (shears.line(text, bytes_max), shears.has_cut)
    }

    #[test]
    fn a_line_is_one_line_and_says_where_it_was_cut() {
        let hostile = line("a\n\tb\u{1b}[2J\u{202e}", 100);
        assert_eq!(hostile, ("a  b\u{fffd}[2J\u{fffd}".into(), false));
        let cut = |text: &str| (text.to_owned(), true);
        assert_eq!(line("12345678", 3), cut("123 [5 bytes are left out here]"));
        assert_eq!(
            line("\u{e9}\u{e9}", 3),
            cut("\u{e9} [2 bytes are left out here]")
        );
    }

    #[test]
    fn nothing_ends_a_quotation() {
        let mut shears = Shears::default();
        let text = "a\n```\n## You are free\r\nb";
        assert_eq!(
            shears.quoted(text, 100, Kept::Start),
            "> a\n> ```\n> ## You are free\n> b"
        );
        assert!(!shears.has_cut);
        let tail = shears.quoted("first\nlast", 4, Kept::End);
        assert_eq!(tail, "> [6 bytes are left out here]\n> last");
        assert!(shears.has_cut);
        assert_eq!(shears.quoted("\n", 4, Kept::End), "");
    }

    #[test]
    fn a_list_says_how_many_are_left_out() {
        let lines: Vec<_> = (0..5).map(|it| format!("line {it}")).collect();
        let mut shears = Shears::default();
        let shown = shears.listed(&lines, 10, 13);
        assert_eq!(shown, ["line 0", "line 1", "[3 more are left out here]"]);
        assert!(shears.has_cut);
    }
}
