//! Briefs: what a session is told, as files. Everything in one comes from the log and the accepted
//! tree, nothing from another agent's untyped words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::SessionId;
use domain::case::Case;
use domain::run::Note;
use domain::session::Session;
use serde::Serialize;

use super::Bench;
use super::compile::{named_programs, role_of};
use super::facts;
use crate::catalog::SESSION_PROMPT;
use crate::prompt::{self, Told};
use crate::recorder::Error;

/// The folders of a session on the host, and what it is told.
#[derive(Clone, Debug)]
pub struct Folders {
    /// What the agent reads.
    pub brief: PathBuf,
    /// Where the agent files.
    pub drop: PathBuf,
    /// The prompt.
    pub told: Told,
}

/// What a session is told, for programs.
#[derive(Debug, Serialize)]
struct Context<'a> {
    work: String,
    session: String,
    step: &'a str,
    role: &'a str,
    round: u32,
    epoch: u64,
    base: String,
    tree: String,
    write: &'a [String],
    allow: &'a [String],
    deny: Vec<&'a str>,
    /// The programs it finds by name; empty for all that the machine offers.
    programs: Vec<&'a str>,
    findings: Vec<prompt::facts::Finding>,
    violations: Vec<String>,
    gates: Vec<String>,
    /// What the operator has answered.
    answers: Vec<Answer>,
    /// What is assumed until it is.
    assumed: Vec<Answer>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    question: String,
    answer: String,
    confirmed: bool,
}

/// Writes a session's brief and makes its drop.
///
/// # Errors
/// [`Error::Invalid`] when there is no prompt that could be told; else when the store or the disk
/// fails.
pub fn write(
    bench: &Bench<'_>,
    case: &Case,
    id: SessionId,
    about: &Session,
) -> Result<Folders, Error> {
    let (brief, drop) = folders(bench, id);
    remove(bench, id)?;
    let template = facts::template(bench, case, SESSION_PROMPT)?;
    let told = prompt::tell(&template, &facts::of(bench, case, about)?)
        .map_err(|it| Error::Invalid(it.to_string()))?;
    for folder in [&brief, &drop, &drop.join("ambiguities")] {
        fs::create_dir_all(folder).map_err(|it| failed("a session's folders are made", it))?;
    }
    let context = context(case, id, about);
    let text = serde_json::to_string_pretty(&context)
        .map_err(|it| Error::Fault(format!("the brief cannot be written: {it}")))?;
    let put = |name: &str, text: &[u8]| {
        fs::write(brief.join(name), text).map_err(|it| failed("a brief is written", it))
    };
    put("context.json", text.as_bytes())?;
    put("prompt.md", told.text.as_bytes())?;
    put("spec.md", &spec(bench, case)?)?;
    put("findings.md", findings(&context).as_bytes())?;
    put("answers.md", answers(&context).as_bytes())?;
    let proposable = role_of(case, about).map(|it| it.may_propose.as_slice());
    if let Some(names) = proposable.filter(|it| !it.is_empty()) {
        let text = serde_json::to_string(names)
            .map_err(|it| Error::Fault(format!("the brief cannot be written: {it}")))?;
        put("actions.json", text.as_bytes())?;
    }
    if let Some(active) = case.active() {
        put("change.diff", facts::diff(bench, about)?.as_bytes())?;
        for (index, note) in active.notes.iter().enumerate() {
            if let Note::Gate { gate, log, .. } = note {
                let name = format!("gate-{}-{gate}.log", index + 1);
                put(&name, &facts::log_end(bench, log))?;
            }
        }
    }
    Ok(Folders { brief, drop, told })
}

/// Removes a session's folders; does nothing when there are none.
///
/// # Errors
/// When the disk fails.
pub fn remove(bench: &Bench<'_>, id: SessionId) -> Result<(), Error> {
    let (brief, drop) = folders(bench, id);
    for folder in [brief, drop] {
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("a session's folders are removed", error)),
        }
    }
    Ok(())
}

fn folders(bench: &Bench<'_>, id: SessionId) -> (PathBuf, PathBuf) {
    let of = |kind: &str| {
        bench
            .settings
            .state
            .join(Path::new(kind))
            .join(id.to_string())
    };
    (of("briefs"), of("drops"))
}

fn failed(doing: &str, source: io::Error) -> Error {
    Error::Io {
        doing: doing.to_string(),
        source,
    }
}

fn spec(bench: &Bench<'_>, case: &Case) -> Result<Vec<u8>, Error> {
    let goal = case.goal().and_then(|(_, state)| state.goal());
    match goal {
        Some(goal) => Ok(bench.recorder.world().artifacts.get(&goal.spec)?),
        None => Ok(Vec::new()),
    }
}

fn context<'a>(case: &'a Case, session: SessionId, about: &'a Session) -> Context<'a> {
    let (plan, active) = (case.plan(), case.active());
    let role = role_of(case, about);
    let notes = active.map(|it| it.notes.as_slice()).unwrap_or_default();
    let told = case.ambiguities.values().filter_map(facts::question);
    let told = told.map(|(it, confirmed)| Answer {
        question: it.question,
        answer: it.answer,
        confirmed,
    });
    let (answers, assumed) = told.partition(|it: &Answer| it.confirmed);
    Context {
        work: about.work.to_string(),
        session: session.to_string(),
        step: &about.step,
        role: &about.role,
        round: about.round,
        epoch: about.epoch,
        base: about.tree.base.to_string(),
        tree: about.tree.digest.to_string(),
        write: role.map(|it| it.write.as_slice()).unwrap_or_default(),
        allow: plan.map(|it| it.allowed.as_slice()).unwrap_or_default(),
        deny: plan
            .map(|it| it.denied.as_slice())
            .unwrap_or_default()
            .iter()
            .chain(role.map(|it| it.deny.as_slice()).unwrap_or_default())
            .map(String::as_str)
            .collect(),
        programs: named_programs(case, role).into_iter().collect(),
        findings: facts::findings(case),
        violations: notes.iter().flat_map(facts::turned_away).collect(),
        gates: notes.iter().filter_map(gate_of).collect(),
        answers,
        assumed,
        notes: facts::sentences(notes),
    }
}

fn gate_of(note: &Note) -> Option<String> {
    match note {
        Note::Gate { gate, reasons, .. } => Some(format!("{gate}: {}", reasons.join("; "))),
        Note::Violations { .. }
        | Note::Findings
        | Note::Answers
        | Note::Operator { .. }
        | Note::Ended { .. }
        | Note::RolledBack { .. }
        | Note::Judge { .. }
        | Note::Conflict { .. } => None,
    }
}

fn findings(context: &Context<'_>) -> String {
    let lines: Vec<_> = context
        .findings
        .iter()
        .map(|it| format!("- {}:{} [{}] {}", it.file, it.line, it.rule, it.text))
        .collect();
    if lines.is_empty() {
        "No finding is open.\n".to_string()
    } else {
        lines.join("\n") + "\n"
    }
}

fn answers(context: &Context<'_>) -> String {
    let lines: Vec<_> = context
        .answers
        .iter()
        .chain(&context.assumed)
        .map(|it| {
            let kind = if it.confirmed {
                "answered by the operator"
            } else {
                "assumed, unconfirmed"
            };
            format!(
                "- {}\n  → {} ({kind})",
                it.question.replace('\n', " "),
                it.answer
            )
        })
        .collect();
    if lines.is_empty() {
        "No question was asked.\n".to_string()
    } else {
        lines.join("\n") + "\n"
    }
}
