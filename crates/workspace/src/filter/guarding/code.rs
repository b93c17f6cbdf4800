//! Source text without what is no code: comments and the insides of texts become spaces, so that
//! every byte stays where it was.

/// How a language writes what is no code.
#[derive(Debug)]
pub(super) struct Syntax {
    /// What begins a comment that the line ends.
    pub(super) line: &'static [&'static str],
    /// What begins and ends a comment of many lines.
    pub(super) block: &'static [(&'static str, &'static str)],
    /// What begins and ends a text, the longest first.
    pub(super) texts: &'static [Text],
    /// Whether there are raw texts and lifetimes, as in Rust.
    pub(super) rust: bool,
}

/// How a text is written.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) mark: &'static str,
    /// Whether it may hold line breaks.
    pub(super) long: bool,
}

impl Text {
    /// A text that its line ends at the latest.
    pub(super) const fn short(mark: &'static str) -> Self {
        Self { mark, long: false }
    }

    /// A text of many lines.
    pub(super) const fn long(mark: &'static str) -> Self {
        Self { mark, long: true }
    }
}

/// Returns the text with spaces for what is no code.
pub(super) fn bare(text: &str, syntax: &Syntax) -> String {
    let begins = beginnings(syntax);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let code = rest
            .bytes()
            .position(|it| begins[usize::from(it)])
            .unwrap_or(rest.len());
        out.push_str(&rest[..code]);
        rest = &rest[code..];
        // What begins something is ASCII, so that it is one byte long.
        let Some(first) = rest.get(..1) else {
            return out;
        };
        let length = not_code(rest, syntax, out.as_str());
        if length == 0 {
            out.push_str(first);
            rest = &rest[1..];
        } else {
            for byte in rest[..length].bytes() {
                out.push(if byte == b'\n' { '\n' } else { ' ' });
            }
            rest = &rest[length..];
        }
    }
}

/// Returns which bytes can begin what is no code; all others are code.
fn beginnings(syntax: &Syntax) -> [bool; 256] {
    let marks = syntax.line.iter().copied();
    let marks = marks.chain(syntax.block.iter().map(|(begin, _)| *begin));
    let marks = marks.chain(syntax.texts.iter().map(|it| it.mark));
    let marks = marks.chain(syntax.rust.then_some(["r", "'"]).into_iter().flatten());
    let mut begins = [false; 256];
    for first in marks.filter_map(|it| it.bytes().next()) {
        begins[usize::from(first)] = true;
    }
    begins
}

/// Returns how many bytes from here on are no code.
fn not_code(rest: &str, syntax: &Syntax, before: &str) -> usize {
    if syntax.line.iter().any(|it| rest.starts_with(it)) && !rest.starts_with("#[") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    for (begin, end) in syntax.block {
        if rest.starts_with(begin) {
            return block(rest, begin, end, syntax.rust);
        }
    }
    if syntax.rust
        && let Some(length) = rust(rest, before)
    {
        return length;
    }
    let text = syntax.texts.iter().find(|it| rest.starts_with(it.mark));
    text.map_or(0, |it| until(rest, it))
}

fn block(rest: &str, begin: &str, end: &str, nested: bool) -> usize {
    let mut at = begin.len();
    let mut depth = 1;
    while depth > 0 {
        let inner = &rest[at..];
        let Some(close) = inner.find(end) else {
            return rest.len();
        };
        match inner.find(begin).filter(|open| nested && *open < close) {
            Some(open) => {
                depth += 1;
                at += open + begin.len();
            }
            None => {
                depth -= 1;
                at += close + end.len();
            }
        }
    }
    at
}

/// Returns the length of a raw text or a character; lifetimes and raw names are code.
fn rust(rest: &str, before: &str) -> Option<usize> {
    if rest.starts_with('r') && !before.ends_with(|it: char| it.is_alphanumeric() || it == '_')
        || rest.starts_with('r') && before.ends_with(['b', 'c'])
    {
        let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inner = &rest[hashes + 2..];
            return Some(
                inner
                    .find(&end)
                    .map_or(rest.len(), |at| hashes + 2 + at + end.len()),
            );
        }
    }
    let inner = rest.strip_prefix('\'')?;
    let mut characters = inner.chars();
    if characters.next()? == '\\' {
        let escaped = characters.next()?.len_utf8();
        return inner[1 + escaped..]
            .find('\'')
            .map(|at| 1 + 1 + escaped + at + 1);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(first + 2)
}

/// Returns the length of a text with its marks.
fn until(rest: &str, text: &Text) -> usize {
    let mut at = text.mark.len();
    let ends = text.mark.as_bytes().first().copied();
    let matters = |byte: u8| Some(byte) == ends || byte == b'\\' || byte == b'\n';
    while let Some(found) = rest[at..].bytes().position(matters) {
        at += found;
        if rest[at..].starts_with(text.mark) {
            return at + text.mark.len();
        }
        let byte = rest.as_bytes()[at];
        if byte == b'\n' && !text.long {
            return at;
        }
        at += 1;
        if byte == b'\\' {
            at += rest[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    rest.len()
}
