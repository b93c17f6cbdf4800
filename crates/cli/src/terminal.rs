//! The terminal: stdout is data, stderr is talk. The only file that prints.
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// Prints a line of data.
pub(crate) fn data(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Prints data for programs.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints raw data without a line feed of its own.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    io::stdout().lock().write_all(bytes)
}

/// Prints a line of talk.
pub(crate) fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

/// Prints an error and its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let style = AnsiColor::Red.on_default().bold();
    eprintln!("{style}error:{style:#} {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// Returns whether a person sits at the terminal and can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question and returns the answer without its line feed; none at the end of input.
pub(crate) fn ask(question: &str) -> io::Result<Option<String>> {
    anstream::eprint!("{question} ");
    io::stderr().flush()?;
    let mut line = String::new();
    let count = io::stdin().lock().read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end_matches(['\n', '\r']).to_string()))
}

/// Wraps a text in a style; anstream takes it out where there is no terminal.
pub(crate) fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a text without control characters, for showing what agents wrote.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|it| !it.is_control() || matches!(it, '\n' | '\t'))
        .collect()
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
