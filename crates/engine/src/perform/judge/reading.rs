//! Reading a judge's answer: the value in its declared form, the verdict, the reasons, and the
//! questions to be filed. All of it is data from outside, bounded and printable.

use domain::ambiguity::{Ambiguity, Report, report};
use domain::formula::Judge;
use domain::printable::misleads;
use domain::session::Session;
use domain::{AmbiguityId, SessionId};
use serde_json::Value;

use super::Bench;
use crate::catalog::schema::{self, Schema};

/// The most reasons that are kept.
const REASONS_MAX: usize = 20;

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// The most questions that one judge may file.
const QUESTIONS_MAX: usize = 20;

/// Returns the value of an answer.
///
/// # Errors
/// Says everything that is wrong with its form, to be told to the judge.
pub(super) fn value(form: &Schema, answer: &str) -> Result<Value, String> {
    let value: Value =
        serde_json::from_str(answer.trim()).map_err(|it| format!("it is not JSON alone: {it}"))?;
    let complaints = schema::complaints(form, &value);
    if complaints.is_empty() {
        Ok(value)
    } else {
        Err(printable(&complaints.join("; ")))
    }
}

/// Returns whether the verdict passes. What is missing does not.
pub(super) fn passes(judge: &Judge, value: &Value) -> bool {
    match &value[judge.verdict.as_str()] {
        Value::Bool(passes) => *passes && judge.passes.is_empty(),
        Value::String(word) => judge.passes.contains(word),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Returns the reasons, each in one line.
pub(super) fn reasons(judge: &Judge, value: &Value) -> Vec<String> {
    let Some(field) = &judge.reasons else {
        return Vec::new();
    };
    let all = value[field.as_str()].as_array().into_iter().flatten();
    let texts = all.filter_map(Value::as_str).take(REASONS_MAX);
    let lines = texts.map(|it| {
        printable(it)
            .chars()
            .take(REASON_CHARS_MAX)
            .collect::<String>()
    });
    lines.filter(|it| !it.trim().is_empty()).collect()
}

/// Returns the questions, by the rules that hold for every filing: a grave one is raised, and one
/// that keeps no form is kept as malformed.
pub(super) fn questions(
    bench: &Bench<'_>,
    judge: &Judge,
    value: &Value,
    (id, about): (SessionId, &Session),
) -> Vec<(AmbiguityId, Ambiguity)> {
    let Some(field) = &judge.files else {
        return Vec::new();
    };
    let all = value[field.as_str()].as_array().into_iter().flatten();
    let questions = all.take(QUESTIONS_MAX).map(|it| {
        let text = |key: &str| one_line(it[key].as_str().unwrap_or_default());
        let options = it["options"].as_array().into_iter().flatten();
        let options = options.filter_map(Value::as_str).map(one_line);
        let written = report::written(&Report {
            question: text("question"),
            why: text("why"),
            options: options.collect(),
            recommended: text("recommended"),
            impact: text("impact"),
            default_held: text("default_held"),
        });
        let filing = report::read(&written, &text("priority"));
        let key = report::normalized(&filing.report.question);
        let question = Ambiguity {
            work: about.work,
            run: about.run,
            session: id,
            step: about.step.clone(),
            role: about.role.clone(),
            priority: filing.priority,
            report: filing.report,
            key,
            malformed: filing.malformed,
        };
        (AmbiguityId::from_bits(bench.recorder.fresh()), question)
    });
    questions.collect()
}

/// A line that began like a heading would end its section.
fn one_line(text: &str) -> String {
    let text = printable(text);
    text.trim()
        .trim_start_matches(['#', '-', '*', ' '])
        .to_string()
}

/// Returns a text as one line that shows all of itself.
pub(super) fn printable(text: &str) -> String {
    let shown = text.chars().map(|it| match it {
        '\n' | '\r' | '\t' => ' ',
        it if it.is_control() || misleads(it) => '\u{fffd}',
        it => it,
    });
    shown.collect()
}
