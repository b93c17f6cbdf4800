//! Examples in documents: code that may be run by whoever tests or builds them.

use super::{Form, markdown};

/// Who runs an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Runs {
    /// Whoever builds the document: that is what it is written for.
    Always,
    /// Rust's test runner, or one that its tests call, if they take in the document.
    InRust,
    /// A Python test runner that looks for prompts in documents.
    InPython,
}

/// An example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Example {
    pub(super) runs: Runs,
    /// What it is, in a word or two.
    pub(super) name: String,
    pub(super) body: String,
}

/// Words on a fence's first line that make every builder run it.
const CELLS: [&str; 12] = [
    "{code-cell}",
    "{doctest}",
    "{testcode}",
    "{testsetup}",
    "{jupyter-execute}",
    "{ipython}",
    "{plot}",
    "{eval-rst}",
    "{exec}",
    "{program-output}",
    "jldoctest",
    "mdoc",
];

/// Languages of fences in braces that notebooks in Markdown run.
const NOTEBOOKS: [&str; 7] = ["r", "python", "julia", "ojs", "bash", "sql", "js"];

/// Directives of reStructuredText that run what they hold, or show what a command says.
const DIRECTIVES: [&str; 14] = [
    "doctest",
    "testcode",
    "testsetup",
    "testcleanup",
    "testoutput",
    "jupyter-execute",
    "jupyter-kernel",
    "ipython",
    "plot",
    "exec",
    "exec_code",
    "program-output",
    "command-output",
    "runblock",
];

/// What Rust's documentation tests call their code.
const RUST: [&str; 4] = ["rust", "should_panic", "standalone", "test_harness"];

/// What test runners for shell sessions in Markdown call them.
const SESSIONS: [&str; 6] = ["console", "trycmd", "sh", "bash", "shell", "shell-session"];

/// What keeps an example from being run.
const NOT_RUN: [&str; 3] = ["text", "no_run", "compile_fail"];

/// Returns every example of a document.
pub(super) fn of(text: &str, form: Form) -> Vec<Example> {
    let mut found = Vec::new();
    if matches!(form, Form::Markdown | Form::Mdx | Form::Plain) {
        found.extend(markdown::fences(text).into_iter().filter_map(|fence| {
            let runs = fence_runs(&fence.info)?;
            let name = format!("```{}", fence.info);
            let body = fence.body;
            Some(Example { runs, name, body })
        }));
        found.extend(indented(text).into_iter().map(|body| Example {
            runs: Runs::InRust,
            name: "an indented block".to_owned(),
            body,
        }));
    }
    if !matches!(form, Form::Html | Form::Picture(_)) {
        found.extend(directives(text));
        found.extend(prompts(text));
    }
    found
}

/// Returns who runs a fence with this first line.
fn fence_runs(info: &str) -> Option<Runs> {
    let lowered = info.to_lowercase();
    let words: Vec<&str> = lowered
        .split([' ', ',', '\t'])
        .filter(|it| !it.is_empty())
        .collect();
    let cell = |word: &&str| CELLS.iter().any(|it| word.starts_with(it));
    let notebook = lowered
        .strip_prefix('{')
        .and_then(|it| it.split([' ', ',', '}']).next());
    if words.iter().any(cell) || notebook.is_some_and(|it| NOTEBOOKS.contains(&it)) {
        return Some(Runs::Always);
    }
    let kept = |it: &&str| NOT_RUN.contains(it) || it.starts_with("ignore");
    if words.iter().any(kept) {
        return None;
    }
    let of_rust = |it: &&str| RUST.contains(it) || it.starts_with("edition");
    let session = words.first().is_some_and(|it| SESSIONS.contains(it));
    (words.is_empty() || words.iter().any(of_rust) || session).then_some(Runs::InRust)
}

/// Returns the blocks that are code for being indented, which Rust's documentation tests run too.
fn indented(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = String::new();
    let (mut after_blank, mut in_list) = (true, false);
    for line in text.lines() {
        let is_code = line.starts_with("    ") || line.starts_with('\t');
        if line.trim().is_empty() {
            after_blank = true;
            continue;
        }
        if is_code && !in_list && (after_blank || !block.is_empty()) {
            block.push_str(line.trim());
            block.push('\n');
        } else {
            if !block.is_empty() {
                found.push(std::mem::take(&mut block));
            }
            if !is_code {
                let bullet = line.trim_start();
                let number = bullet.trim_start_matches(|it: char| it.is_ascii_digit());
                in_list = bullet.starts_with(['-', '*', '+'])
                    || number.len() < bullet.len() && number.starts_with(['.', ')'])
                    || in_list && line.starts_with(' ');
            }
        }
        after_blank = false;
    }
    if !block.is_empty() {
        found.push(block);
    }
    found
}

fn directives(text: &str) -> Vec<Example> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, _)) = line
            .trim_start()
            .strip_prefix("..")
            .and_then(|it| it.trim_start().split_once("::"))
        else {
            continue;
        };
        let name = name.to_lowercase();
        if !DIRECTIVES.contains(&name.as_str()) {
            continue;
        }
        let depth = depth(line);
        let body: Vec<&str> = lines[at..]
            .iter()
            .enumerate()
            .take_while(|(nth, it)| *nth == 0 || it.trim().is_empty() || self::depth(it) > depth)
            .map(|(_, it)| it.trim())
            .collect();
        found.push(Example {
            runs: Runs::Always,
            name: format!(".. {name}::"),
            body: body.join("\n").trim_end().to_owned(),
        });
    }
    found
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Returns the lines that answer a Python prompt.
fn prompts(text: &str) -> Vec<Example> {
    text.lines()
        .map(|line| line.trim_start_matches([' ', '\t', '>']))
        .zip(text.lines())
        .filter(|(_, line)| {
            let line = line.trim_start();
            line.starts_with(">>> ") || line.starts_with("> >>> ")
        })
        .map(|(_, line)| Example {
            runs: Runs::InPython,
            name: ">>>".to_owned(),
            body: line.trim().to_owned(),
        })
        .collect()
}
