//! The terminal: stdout is data, stderr is talk. The only file that prints.
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use domain::printable::misleads;
use serde::Serialize;

/// Prints a line of data.
pub(crate) fn data(line: impl std::fmt::Display) {
    put(&format!("{line}\n"));
}

/// Prints data for programs.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints one object of data on a line of its own, for programs that read as it comes.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    data(serde_json::to_string(value)?);
    Ok(())
}

/// Prints data without a line feed of its own.
#[expect(
    clippy::exit,
    reason = "whoever read this has gone, as `head` does: nobody is left to tell"
)]
pub(crate) fn put(text: &str) {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            say(format!("error: stdout cannot be written: {error}"));
            std::process::exit(i32::from(crate::exit::Exit::Failed.code()));
        }
    }
}

/// Writes lines over the last `rows` that were written so, on a terminal. The cursor is hidden only
/// within this one write: however the program ends, it is there again.
pub(crate) fn overwrite(rows: usize, lines: &[String]) -> io::Result<()> {
    let styles = anstream::AutoStream::choice(&io::stdout());
    let shown = |line: &String| match styles {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(line).to_string(),
        anstream::ColorChoice::Auto
        | anstream::ColorChoice::Always
        | anstream::ColorChoice::AlwaysAnsi => line.clone(),
    };
    let text: String = lines
        .iter()
        .map(|it| format!("{}\u{1b}[K\n", shown(it)))
        .collect();
    let up = match rows {
        0 => String::new(),
        _ => format!("\u{1b}[{rows}F"),
    };
    let mut out = io::stdout().lock();
    out.write_all(format!("\u{1b}[?25l{up}{text}\u{1b}[J\u{1b}[?25h").as_bytes())?;
    out.flush()
}

/// Returns the width of the terminal that data goes to; none where it goes elsewhere and must not
/// be cut.
pub(crate) fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// Returns the columns and rows of the terminal that data goes to, if it is one.
pub(crate) fn size() -> Option<(usize, usize)> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Prints a line of talk. Work goes on when nobody listens any more.
pub(crate) fn say(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stderr().lock(), "{line}"));
}

/// Prints an error and its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let style = AnsiColor::Red.on_default().bold();
    say(format!("{style}error:{style:#} {error}"));
    for cause in error.chain().skip(1) {
        say(format!("  because: {cause}"));
    }
}

/// Returns whether a person sits at the terminal and can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question and returns the answer without its line feed; none at the end of input.
pub(crate) fn ask(question: &str) -> io::Result<Option<String>> {
    let mut talk = anstream::stderr().lock();
    write!(talk, "{question} ")?;
    talk.flush()?;
    drop(talk);
    let mut line = String::new();
    let count = io::stdin().lock().read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end_matches(['\n', '\r']).to_string()))
}

/// Wraps a text in a style; anstream takes it out where there is no terminal.
pub(crate) fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a text without control characters, and with hidden ones written out, for showing what
/// agents wrote.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if misleads(character) {
            shown.extend(character.escape_unicode());
        } else if !character.is_control() || matches!(character, '\n' | '\t') {
            shown.push(character);
        }
    }
    shown
}

/// Returns a text with every character written out that a terminal would not show as it is: what a
/// decision is made on.
pub(crate) fn exact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if misleads(character) || character.is_control() && !matches!(character, '\n' | '\t') {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A heading.
pub(crate) const BOLD: Style = Style::new().bold();
/// Something good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something to look at.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Something bad.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Something minor.
pub(crate) const DIM: Style = Style::new().dimmed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_written_out() {
        let shown = printable("a\u{202e}b\u{200b}c\u{1b}[2Jd\n\te\u{e9}");
        assert_eq!(shown, r"a\u{202e}b\u{200b}c[2Jd".to_owned() + "\n\te\u{e9}");
    }
}
