//! Markdown, read twice: strictly for what a renderer surely shows as code, and liberally for what
//! a test runner may take for an example.

/// A fenced block: what its first line says, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) info: String,
    pub(super) body: String,
}

/// HTML that a blank line does not end, with what does.
const LASTING: [(&str, &str); 7] = [
    ("<!--", "-->"),
    ("<script", "</script>"),
    ("<style", "</style>"),
    ("<pre", "</pre>"),
    ("<textarea", "</textarea>"),
    ("<?", "?>"),
    ("<![cdata[", "]]>"),
];

/// Returns every fenced block, also in lists and quotations, also when it is never closed.
pub(super) fn fences(text: &str) -> Vec<Fence> {
    let mut found = Vec::new();
    let mut open: Option<(char, usize, Fence)> = None;
    for line in text.lines() {
        let inner = line.trim_start_matches(|it: char| it.is_whitespace() || it == '>');
        let mark = mark(inner);
        open = match open.take() {
            Some((with, length, fence)) => match mark {
                Some((of, count, "")) if of == with && count >= length => {
                    found.push(fence);
                    None
                }
                Some(_) | None => {
                    let body = format!("{}{inner}\n", fence.body);
                    let info = fence.info;
                    Some((with, length, Fence { info, body }))
                }
            },
            None => self::mark(without_bullet(inner)).map(|(of, count, info)| {
                let info = info.to_owned();
                let body = String::new();
                (of, count, Fence { info, body })
            }),
        };
    }
    found.extend(open.map(|(_, _, fence)| fence));
    found
}

/// Returns the text without what is surely shown as code. A doubt leaves it in.
pub(super) fn without_code(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph: Vec<&str> = Vec::new();
    let mut open: Option<(char, usize)> = None;
    let mut lasting: Option<&str> = None;
    for line in text.lines() {
        if let Some((with, length)) = open {
            if let Some((of, count, "")) = top_mark(line)
                && of == with
                && count >= length
            {
                open = None;
            }
            continue;
        }
        if let Some(end) = lasting {
            out.push_str(line);
            out.push('\n');
            if line.to_lowercase().contains(end) {
                lasting = None;
            }
            continue;
        }
        let in_html = paragraph.iter().any(|it| it.contains('<'));
        let fence = top_mark(line).filter(|(of, _, info)| *of == '~' || !info.contains('`'));
        match fence {
            Some((of, count, _)) if !in_html => {
                flush(&mut paragraph, &mut out);
                open = Some((of, count));
            }
            Some(_) | None => {
                if line.trim().is_empty() {
                    flush(&mut paragraph, &mut out);
                } else {
                    paragraph.push(line);
                }
                let lowered = line.to_lowercase();
                lasting = LASTING
                    .iter()
                    .find(|(begin, end)| {
                        let at = lowered.find(begin);
                        at.is_some_and(|at| !lowered[at + begin.len()..].contains(end))
                    })
                    .map(|(_, end)| *end);
                if lasting.is_some() {
                    flush(&mut paragraph, &mut out);
                }
            }
        }
    }
    flush(&mut paragraph, &mut out);
    out
}

/// Adds a paragraph without its code spans. Where a span might reach over a line, none is taken out.
fn flush(paragraph: &mut Vec<&str>, out: &mut String) {
    let lines = std::mem::take(paragraph);
    let plain: Option<Vec<String>> = lines.iter().map(|it| without_spans(it)).collect();
    match plain {
        Some(plain) => plain.iter().for_each(|it| push(out, it)),
        None => lines.iter().for_each(|it| push(out, it)),
    }
    out.push('\n');
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// Returns the line without its code spans; `None` when one of them is not closed in it.
fn without_spans(line: &str) -> Option<String> {
    if line.contains("\\`") {
        return None;
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        out.push_str(&rest[..at]);
        let opened = &rest[at..];
        let length = opened.len() - opened.trim_start_matches('`').len();
        let mut inner = &opened[length..];
        loop {
            let at = inner.find('`')?;
            let closing = &inner[at..];
            let count = closing.len() - closing.trim_start_matches('`').len();
            inner = &closing[count..];
            if count == length {
                break;
            }
        }
        rest = inner;
    }
    out.push_str(rest);
    Some(out)
}

/// Returns the character, length and rest of a fence's mark.
fn mark(line: &str) -> Option<(char, usize, &str)> {
    let of = line.chars().next().filter(|it| matches!(it, '`' | '~'))?;
    let rest = line.trim_start_matches(of);
    let count = line.len() - rest.len();
    (count >= 3).then_some((of, count, rest.trim()))
}

/// Returns the mark of a line that is a fence wherever it stands at the top level.
fn top_mark(line: &str) -> Option<(char, usize, &str)> {
    let inner = line.trim_start_matches(' ');
    (line.len() - inner.len() < 4)
        .then(|| mark(inner))
        .flatten()
}

fn without_bullet(line: &str) -> &str {
    let numbered = line.trim_start_matches(|it: char| it.is_ascii_digit());
    let rest = line
        .strip_prefix(['-', '*', '+'])
        .or_else(|| numbered.strip_prefix(['.', ')']))
        .unwrap_or(line);
    rest.trim_start()
}
