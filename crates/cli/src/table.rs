//! Tables: aligned columns without borders, cut to the width of the terminal.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::terminal::{self, DIM, printable};

/// What stands between columns.
const GAP: usize = 2;

/// A column is not cut below this width.
const COLUMN_MIN: usize = 6;

/// What a column needs to say something, if it has as much to say.
const READABLE_MIN: usize = 24;

/// What a cut text ends with.
const ELLIPSIS: char = '…';

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Returns a cell in a style. What cannot be printed is left out; it is one line.
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        let text = one_line(text.as_ref());
        Self { text, style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// How many columns from the left are never cut: identifiers are of use only as a whole.
    whole: usize,
    /// Columns that are left out where there is no room, the first of them first.
    optional: Vec<usize>,
}

impl Table {
    /// Returns an empty table with these heads. A column whose cells are all empty is left out.
    pub(crate) fn new(heads: &[&str]) -> Self {
        let heads = heads.iter().map(ToString::to_string).collect();
        Self {
            heads,
            ..Self::default()
        }
    }

    /// Keeps the first column whole, whatever the width.
    pub(crate) const fn with_whole_first(mut self) -> Self {
        self.whole = 1;
        self
    }

    /// Leaves these columns out where the terminal is narrow, the first of them first.
    pub(crate) fn with_optional(mut self, columns: &[usize]) -> Self {
        self.optional = columns.to_vec();
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it, `indent` columns from the left.
    pub(crate) fn print(&self, indent: usize) {
        for line in self.lines(terminal::width(), indent) {
            terminal::data(line);
        }
    }

    /// Returns its lines, the heads first, at most `width` wide.
    fn lines(&self, width: Option<usize>, indent: usize) -> Vec<String> {
        let empty = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|it| it.get(column));
            cells.all(|it| it.text.is_empty())
        };
        let mut columns: Vec<_> = (0..self.heads.len()).filter(|it| !empty(*it)).collect();
        if let Some(width) = width {
            self.leave_out(&mut columns, width.saturating_sub(indent));
        }
        let mut widths: Vec<_> = columns.iter().map(|it| self.widest(*it)).collect();
        if let Some(width) = width {
            let whole = columns.iter().filter(|it| **it < self.whole).count();
            fit(&mut widths, whole, width.saturating_sub(indent));
        }
        let heads: Vec<_> = self.heads.iter().map(|it| Cell::styled(it, DIM)).collect();
        let with_heads = self.heads.iter().any(|it| !it.is_empty());
        let rows = with_heads.then_some(&heads).into_iter().chain(&self.rows);
        rows.map(|row| line(row, &columns, &widths, indent))
            .collect()
    }

    fn leave_out(&self, columns: &mut Vec<usize>, width: usize) {
        for column in &self.optional {
            let widths = columns.iter().map(|it| self.widest(*it).min(READABLE_MIN));
            if widths.map(|it| it + GAP).sum::<usize>() <= width + GAP {
                return;
            }
            columns.retain(|it| it != column);
        }
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|it| it.get(column));
        let widths = cells.map(|it| it.text.width());
        widths
            .chain(self.heads.get(column).map(|it| it.width()))
            .max()
            .unwrap_or(0)
    }
}

fn line(row: &[Cell], columns: &[usize], widths: &[usize], indent: usize) -> String {
    let mut line = " ".repeat(indent);
    let mut missing = 0;
    for (column, width) in columns.iter().zip(widths) {
        let Some(cell) = row.get(*column) else {
            continue;
        };
        let text = cut(&cell.text, *width);
        // Spaces are written before the next text, so that no line ends with them.
        if !text.is_empty() {
            line.push_str(&" ".repeat(missing));
            line.push_str(&terminal::styled(&text, cell.style));
            missing = 0;
        }
        missing += width.saturating_sub(text.width()) + GAP;
    }
    line
}

/// Takes from the widest column, but for the first `whole` ones, until all fit.
fn fit(widths: &mut [usize], whole: usize, width: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let cuttable = widths.iter_mut().skip(whole);
        let widest = cuttable.filter(|it| **it > COLUMN_MIN).max();
        match widest {
            Some(widest) => *widest -= 1,
            None => return,
        }
    }
}

/// Returns a text as one printable line.
pub(crate) fn one_line(text: &str) -> String {
    let printable = printable(text);
    let words: Vec<_> = printable.split_whitespace().collect();
    words.join(" ")
}

/// Returns a text of at most `width` columns; one that was cut ends with an ellipsis.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut cut = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(character);
    }
    let mut cut = cut.trim_end().to_string();
    if width > 0 {
        cut.push(ELLIPSIS);
    }
    cut
}

/// Returns the lines of a text, wrapped at spaces to `width` columns.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let printable = printable(text);
    let mut lines = Vec::new();
    for paragraph in printable.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "ASKS", "DETAIL"]);
        table.row(["a".into(), "".into(), "waits for your decision".into()]);
        table.row(["long-name".into(), "".into(), "done".into()]);
        table
    }

    fn plain(lines: Vec<String>) -> Vec<String> {
        let strip = |it: String| anstream::adapter::strip_str(&it).to_string();
        lines.into_iter().map(strip).collect()
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        assert_eq!(
            plain(table().lines(None, 2)),
            [
                "  NAME       DETAIL",
                "  a          waits for your decision",
                "  long-name  done",
            ]
        );
    }

    #[test]
    fn the_widest_column_is_cut_to_the_terminal() {
        let lines = plain(table().lines(Some(24), 0));
        assert_eq!(lines[1], "a          waits for yo…");
        assert!(lines.iter().all(|it| it.width() <= 24));
    }

    #[test]
    fn identifiers_stay_whole() {
        let mut table = Table::new(&["ID", "SAID"]).with_whole_first();
        table.row(["sess_0123456789".into(), "something longer".into()]);
        let lines = plain(table.lines(Some(25), 0));
        assert_eq!(lines[1], "sess_0123456789  somethi…");
    }

    #[test]
    fn optional_columns_go_first_when_it_gets_narrow() {
        let mut table = Table::new(&["NAME", "ROUND", "AGE", "NOW"]).with_optional(&[1, 2]);
        table.row([
            "a-work".into(),
            "1".into(),
            "3m".into(),
            "waits for you".into(),
        ]);
        let head = |width| plain(table.lines(Some(width), 0))[0].clone();
        assert_eq!(head(33), "NAME    ROUND  AGE  NOW");
        assert_eq!(head(32), "NAME    AGE  NOW");
        assert_eq!(head(25), "NAME    NOW");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn control_characters_never_reach_a_cell() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\u{1b}[2Jb\nc".into()]);
        assert_eq!(plain(table.lines(None, 0))[1], "a[2Jb c");
    }

    #[test]
    fn texts_wrap_at_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a\n\nb", 7), ["a", "", "b"]);
    }
}
