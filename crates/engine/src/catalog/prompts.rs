//! Prompt templates: Markdown with the facts of a step put in. What a template can do is little by
//! design: facts, `if`, `for`, `join`. No include, no function, no reach outside of its facts.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, Serde, Value};
use minijinja::{Environment, Error, UndefinedBehavior};

use super::sheet::Faults;
use super::{FileFault, Source};
use crate::prompt::{Facts, PROMPT_BYTES_MAX};

/// The largest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 16 * 1024;

/// The most instructions of one rendering.
const FUEL: u64 = 2_000_000;

/// How deep a template may nest.
const DEPTH_MAX: usize = 50;

/// Returns everything that is wrong with a template; after a fault of its syntax, that one alone.
#[must_use]
pub fn faults(source: &Source) -> Vec<FileFault> {
    let faults = Faults::of(source);
    let text = source.text.as_str();
    if text.len() > TEMPLATE_BYTES_MAX {
        let message = format!("a template has at most {TEMPLATE_BYTES_MAX} bytes");
        faults.add(&(0..0), message);
        return faults.sorted();
    }
    let controls = text.char_indices();
    for (at, _) in controls.filter(|(_, it)| it.is_control() && !matches!(it, '\n' | '\r' | '\t')) {
        faults.add(&(at..at), "a control character: take it out");
    }
    let environment = environment();
    let template = match environment.template_from_named_str("prompt", text) {
        Ok(template) => template,
        Err(error) => {
            faults.add(&range(&error, text), told(&error));
            return faults.sorted();
        }
    };
    let unknown = Arc::new(Mutex::new(BTreeSet::new()));
    let known = facts_of(&Facts::sample());
    for name in template.undeclared_variables(false) {
        if known.get(&name).is_none() {
            note(&unknown, (None, name));
        }
    }
    // With something in every fact, and with nothing in any: both ways of each `if`.
    for facts in [Facts::sample(), Facts::default()] {
        let probe = Probe {
            value: facts_of(&facts),
            of: None,
            unknown: Arc::clone(&unknown),
        };
        if let Err(error) = template.render(Value::from_object(probe)) {
            faults.add(&range(&error, text), told(&error));
        }
    }
    let unknown = unknown.lock().unwrap_or_else(PoisonError::into_inner);
    for (of, name) in unknown.iter() {
        let known = match of {
            None => keys(&known),
            Some(of) => keys(&part_of(&known, of)),
        };
        let message = format!("`{name}` is not known here; known are {known}");
        for at in places(text, name, of.is_some()) {
            faults.add(&(at..at), message.clone());
        }
    }
    faults.sorted()
}

/// Returns the names of the facts that a template uses.
///
/// # Errors
/// When it is no template.
pub fn named(source: &Source) -> Result<BTreeSet<String>, String> {
    let environment = environment();
    let template = environment
        .template_from_named_str("prompt", &source.text)
        .map_err(|it| placed(source, &it))?;
    Ok(template.undeclared_variables(false).into_iter().collect())
}

/// Renders a template; returns nothing when that is more than a prompt may be.
///
/// # Errors
/// Says where in the template what went wrong.
pub fn render(source: &Source, facts: &Facts) -> Result<Option<String>, String> {
    let environment = environment();
    let template = environment
        .template_from_named_str("prompt", &source.text)
        .map_err(|it| placed(source, &it))?;
    let mut out = Bounded::default();
    let rendered = template.render_captured_to(Value::from(Serde(facts)), &mut out);
    if out.is_over {
        return Ok(None);
    }
    rendered.map_err(|it| placed(source, &it))?;
    let text = String::from_utf8_lossy(&out.bytes);
    Ok(Some(tidied(&text)))
}

/// What was put in is printable already; what the template says itself may have other line ends.
fn tidied(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut is_blank = true;
    for line in text.lines() {
        let line = line.trim_end().replace('\t', " ");
        if line.is_empty() && is_blank {
            continue;
        }
        is_blank = line.is_empty();
        tidy.extend(line.chars().filter(|it| !it.is_control()));
        tidy.push('\n');
    }
    tidy.truncate(tidy.trim_end().len());
    tidy.push('\n');
    tidy
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    // Nothing is escaped: a prompt is no HTML, and what others wrote was made fit before.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        environment.set_syntax(syntax);
    }
    environment.add_filter("join", |all: Vec<String>, joint: String| all.join(&joint));
    environment
}

/// Takes no more than a prompt may be.
#[derive(Debug, Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_over: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One byte is left for the line end that a template may lack.
        if self.bytes.len().saturating_add(bytes.len()) >= PROMPT_BYTES_MAX {
            self.is_over = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is asked for and is not there: the fact it was asked of, and its name.
type Unknown = Arc<Mutex<BTreeSet<(Option<String>, String)>>>;

fn note(unknown: &Unknown, what: (Option<String>, String)) {
    let mut all = unknown.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(what);
}

/// Facts that remember what was asked of them and is not there.
#[derive(Debug)]
struct Probe {
    value: serde_json::Value,
    /// The fact, or none for all of them.
    of: Option<String>,
    unknown: Unknown,
}

impl Probe {
    fn wrapped(&self, of: &str, value: &serde_json::Value) -> Value {
        match value {
            serde_json::Value::Object(_) => Value::from_object(Self {
                value: value.clone(),
                of: Some(of.to_owned()),
                unknown: Arc::clone(&self.unknown),
            }),
            serde_json::Value::Array(all) => all
                .iter()
                .map(|it| self.wrapped(of, it))
                .collect::<Vec<_>>()
                .into(),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => Value::from(Serde(value)),
        }
    }
}

impl Object for Probe {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if let Some(value) = self.value.get(key) {
            return Some(self.wrapped(key, value));
        }
        note(&self.unknown, (self.of.clone(), key.to_owned()));
        Some(Value::from(""))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = self.value.as_object().into_iter().flatten();
        Enumerator::Values(keys.map(|(key, _)| Value::from(key.as_str())).collect())
    }
}

fn facts_of(facts: &Facts) -> serde_json::Value {
    serde_json::to_value(facts).unwrap_or_default()
}

/// Returns what a fact is made of: itself, or one of its items.
fn part_of(known: &serde_json::Value, name: &str) -> serde_json::Value {
    let value = known.get(name).cloned().unwrap_or_default();
    match value.get(0) {
        Some(item) => item.clone(),
        None => value,
    }
}

fn keys(value: &serde_json::Value) -> String {
    let keys = value.as_object().into_iter().flatten();
    let keys: Vec<_> = keys.map(|(key, _)| format!("`{key}`")).collect();
    keys.join(", ")
}

fn told(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn placed(source: &Source, error: &Error) -> String {
    let (line, column) = super::sheet::place(&source.text, range(error, &source.text).start);
    format!("{}:{line}:{column}: {}", source.name, told(error))
}

/// Returns where an error is, as far as it knows: its place, else its line.
fn range(error: &Error, text: &str) -> std::ops::Range<usize> {
    error.range().unwrap_or_else(|| {
        let before = error.line().unwrap_or(1).saturating_sub(1);
        let at = text.split_inclusive('\n').take(before).map(str::len).sum();
        at..at
    })
}

/// Returns where a name stands within `{{ }}` and `{% %}`: after a dot, or not.
fn places(text: &str, name: &str, after_dot: bool) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find(['{']).map(|it| from + it) {
        let close = match text.get(open..open + 2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            _ => {
                from = open + 1;
                continue;
            }
        };
        let end = text[open..].find(close).map_or(text.len(), |it| open + it);
        for (at, _) in text[open..end].match_indices(name) {
            let at = open + at;
            let is_word = |it: char| it.is_alphanumeric() || it == '_';
            let before = text[..at].chars().next_back();
            let after = text[at + name.len()..].chars().next();
            if !before.is_some_and(is_word)
                && !after.is_some_and(is_word)
                && (before == Some('.')) == after_dot
            {
                found.push(at);
            }
        }
        from = end.max(open + 2);
    }
    if found.is_empty() {
        found.push(0);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            name: "p.md".into(),
            text: text.into(),
        }
    }

    fn faults_of(text: &str) -> Vec<String> {
        let faults = faults(&source(text));
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_unknown_name_is_told_with_its_place() {
        let text = "{{ task }} {{ tusk }}\n{% for it in findings %}\n{{ it.id }} {{ it.idd }}\n\
                    {% endfor %}{% if notes %}{% else %}{{ plan.alowed }}{% endif %}\n";
        let found = faults_of(text);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("p.md:1:15: `tusk` is not known here; known are `"));
        assert!(found[1].starts_with("p.md:3:19: `idd` is not known here; known are `file`"));
        assert!(
            found[2].starts_with("p.md:4:45: `alowed` is not known"),
            "{found:#?}"
        );
    }

    #[test]
    fn a_fault_of_syntax_is_told_with_its_place() {
        let found = faults_of("fine\n{{ task }\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("p.md:2:"), "{found:?}");
        let found = faults_of("fine\n  {{ task | upper }}\n");
        assert!(found[0].starts_with("p.md:2:"), "{found:?}");
        assert!(found[0].contains("upper"), "{found:?}");
    }

    #[test]
    fn nothing_outside_is_reached() {
        for text in [
            "{% include 'session' %}",
            "{% extends 'session' %}",
            "{% import 'session' as x %}",
            "{{ env('HOME') }}",
            "{{ range(10) }}",
            "{% macro x() %}{{ x() }}{% endmacro %}{{ x() }}",
        ] {
            assert!(!faults_of(text).is_empty(), "{text}");
            assert!(render(&source(text), &Facts::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_that_never_ends_is_ended() {
        let inner = "{% for a in turned_away %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
        let facts = Facts {
            turned_away: vec![String::new(); 400],
            ..Facts::default()
        };
        assert!(!matches!(render(&source(&inner), &facts), Ok(Some(_))));
        let deep = "{% if task %}".repeat(400) + &"{% endif %}".repeat(400);
        assert!(!faults_of(&deep).is_empty());
    }

    #[test]
    fn what_is_too_long_or_holds_a_control_character_is_refused() {
        let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
        assert_eq!(faults_of(&long).len(), 1);
        let found = faults_of("a\n\u{1b}[2J");
        assert_eq!(found, ["p.md:2:1: a control character: take it out"]);
    }
}
