//! The facts of a prompt, assembled from the log, the accepted tree and the pinned formula; nothing
//! comes from another agent's untyped words.

use domain::ambiguity;
use domain::case::Case;
use domain::checkpoint::told;
use domain::conclude::ENGINE;
use domain::formula::Kind;
use domain::run::Note;
use domain::session::Session;
use domain::tree::{Change, Entry};

use super::Bench;
use super::compile::{named_programs, role_of};
use crate::catalog::{SHIPPED_PROMPTS, Source};
use crate::prompt::Facts;
use crate::prompt::facts;
use crate::recorder::Error;

/// The most of a gate's output that is shown, in bytes.
pub(super) const LOG_BYTES_MAX: usize = 16 * 1024;

/// The most of a diff that is shown as a file, in bytes.
pub(super) const DIFF_BYTES_MAX: usize = 512 * 1024;

/// What may be cut and is read for a prompt alone, in bytes: a prompt shows less of it.
const SPECIFICATION_BYTES_MAX: usize = 1024 * 1024;

/// Returns what is known for a session that is about to begin.
///
/// # Errors
/// When the store or the workspace fails.
pub(super) fn of(bench: &Bench<'_>, case: &Case, about: &Session) -> Result<Facts, Error> {
    let active = case.active();
    let notes = active.map(|it| it.notes.as_slice()).unwrap_or_default();
    let kind = active
        .and_then(|it| it.run.formula.step(&about.step))
        .map(|it| &it.kind);
    let task = match kind {
        Some(Kind::Session { prompt, .. }) => prompt.trim(),
        Some(Kind::Judge(_) | Kind::Gate { .. } | Kind::Decision | Kind::Action { .. }) | None => {
            ""
        }
    };
    let role = role_of(case, about);
    let goal = case.goal().and_then(|(_, state)| state.goal());
    let told = case.ambiguities.values().filter_map(question);
    let (answered, held): (Vec<_>, Vec<_>) = told.partition(|(_, is_answered)| *is_answered);
    let questions = |all: Vec<(facts::Question, bool)>| all.into_iter().map(|(it, _)| it);
    Ok(Facts {
        task: task.to_string(),
        step: about.step.clone(),
        round: about.round,
        role: facts::Role {
            name: about.role.clone(),
            description: role.map(|it| it.description.clone()).unwrap_or_default(),
            may_propose: role.map(|it| it.may_propose.join(", ")).unwrap_or_default(),
        },
        title: goal.map(|it| it.title.clone()).unwrap_or_default(),
        specification: specification(bench, case)?,
        notes: notes.iter().filter_map(note).collect(),
        turned_away: notes.iter().flat_map(turned_away).collect(),
        gates: gates(bench, notes),
        findings: findings(case),
        answered: questions(answered).collect(),
        held: questions(held).collect(),
        change: change(bench, about)?,
        diff: diff(bench, about)?,
        plan: plan(case, about),
        schema: String::new(),
    })
}

/// Returns the template that a run was pinned to; one of an older version has what is shipped.
///
/// # Errors
/// When the store fails, or there is none of this name.
pub(super) fn template(bench: &Bench<'_>, case: &Case, name: &str) -> Result<Source, Error> {
    let pinned = case
        .active()
        .and_then(|it| it.run.prompts.iter().find(|it| it.name == name));
    if let Some(pinned) = pinned {
        let bytes = bench.recorder.world().artifacts.get(&pinned.text)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Fault(format!("the prompt `{name}` is not UTF-8")))?;
        return Ok(Source {
            name: pinned.source.clone(),
            text,
        });
    }
    let shipped = SHIPPED_PROMPTS.iter().find(|(it, _)| *it == name);
    let (_, text) =
        shipped.ok_or_else(|| Error::Invalid(format!("there is no prompt `{name}`")))?;
    Ok(Source {
        name: format!("shipped:formulas/prompts/{name}"),
        text: (*text).to_string(),
    })
}

/// Returns the specification, as far as a prompt could show it.
fn specification(bench: &Bench<'_>, case: &Case) -> Result<String, Error> {
    let Some(goal) = case.goal().and_then(|(_, state)| state.goal()) else {
        return Ok(String::new());
    };
    let bytes = bench.recorder.world().artifacts.get(&goal.spec)?;
    let end = bytes.len().min(SPECIFICATION_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn note(note: &Note) -> Option<facts::Note> {
    let (kind, text) = match note {
        Note::Violations { .. } | Note::Gate { .. } => return None,
        Note::Findings => (
            "findings",
            "A review has open findings; see findings.md.".to_string(),
        ),
        Note::Answers => (
            "answers",
            "The operator answered otherwise than assumed; see answers.md.".to_string(),
        ),
        Note::Operator { text } => ("operator", format!("The operator says: {text}")),
        Note::Ended { reason } => ("ended", format!("The session before this one: {reason}.")),
        Note::RolledBack { by, why, reverted } => (
            "rolled_back",
            format!(
                "The tree was put back by {by}: {why}. These are as they were before: {}",
                reverted.join(", ")
            ),
        ),
        Note::Judge { step, reasons } => (
            "judge",
            format!(
                "The judge of `{step}` does not pass it: {}",
                reasons.join("; ")
            ),
        ),
        Note::Conflict { paths } => (
            "conflict",
            format!(
                "The target has moved. These files now hold its content and must be done again: {}",
                paths.join(", ")
            ),
        ),
    };
    let kind = kind.to_string();
    Some(facts::Note { kind, text })
}

/// Returns the sentences of notes, for programs.
pub(super) fn sentences(notes: &[Note]) -> Vec<String> {
    let notes = notes.iter().filter_map(note);
    notes.map(|it| it.text).collect()
}

/// Returns the changes that a note turned away or put back, a line each.
pub(super) fn turned_away(note: &Note) -> Vec<String> {
    match note {
        Note::Violations { violations } => told(violations),
        // The engine puts back what breaks rules, and nothing else.
        Note::RolledBack { by, why, reverted } if by == ENGINE => reverted
            .iter()
            .map(|path| format!("{path} [put back]: {why}"))
            .collect(),
        Note::Gate { .. }
        | Note::Findings
        | Note::Answers
        | Note::Operator { .. }
        | Note::Ended { .. }
        | Note::RolledBack { .. }
        | Note::Judge { .. }
        | Note::Conflict { .. } => Vec::new(),
    }
}

fn gates(bench: &Bench<'_>, notes: &[Note]) -> Vec<facts::Gate> {
    let gates = notes.iter().filter_map(|it| match it {
        Note::Gate { gate, reasons, log } => Some(facts::Gate {
            name: gate.clone(),
            reasons: reasons.join("; "),
            output: String::from_utf8_lossy(&log_end(bench, log)).into_owned(),
        }),
        Note::Violations { .. }
        | Note::Findings
        | Note::Answers
        | Note::Operator { .. }
        | Note::Ended { .. }
        | Note::RolledBack { .. }
        | Note::Judge { .. }
        | Note::Conflict { .. } => None,
    });
    gates.collect()
}

/// Returns the end of a gate's output; one that is gone is empty.
pub(super) fn log_end(bench: &Bench<'_>, log: &domain::Digest) -> Vec<u8> {
    let mut log = bench
        .recorder
        .world()
        .artifacts
        .get(log)
        .unwrap_or_default();
    log.split_off(log.len().saturating_sub(LOG_BYTES_MAX))
}

/// Returns the open findings.
pub(super) fn findings(case: &Case) -> Vec<facts::Finding> {
    let findings = case.open_findings().map(|(id, it)| facts::Finding {
        id: id.to_string(),
        file: it.file.clone(),
        line: it.line,
        rule: it.rule.clone(),
        text: it.text.clone(),
    });
    findings.collect()
}

/// Returns a question with its answer or its default, and whether it is answered.
pub(super) fn question(state: &ambiguity::State) -> Option<(facts::Question, bool)> {
    let asked = state.ambiguity()?;
    let answer = match state.answer() {
        Some(answer) => asked.told(answer),
        None => asked.report.default_held.clone(),
    };
    let question = asked.report.question.clone();
    let told = facts::Question { question, answer };
    Some((told, state.answer().is_some()))
}

fn change(bench: &Bench<'_>, about: &Session) -> Result<facts::Change, Error> {
    let changes = bench.changes_of(&about.tree)?;
    Ok(facts::Change {
        files: changes.len(),
        stat: changes.iter().map(stat).collect(),
    })
}

/// Returns what the work has changed so far, as git would print it.
pub(super) fn diff(bench: &Bench<'_>, about: &Session) -> Result<String, Error> {
    if about.tree.manifest.is_none() {
        return Ok(String::new());
    }
    let workspaces = &bench.recorder.world().workspaces;
    let base = workspaces.prepare(&about.tree.base, &bench.settings.secrets)?;
    Ok(workspaces.diff(&base, &about.tree, DIFF_BYTES_MAX)?)
}

fn stat(change: &Change) -> String {
    let path = &change.path;
    match &change.entry {
        Entry::File { bytes, .. } => format!("{path} ({bytes} bytes)"),
        Entry::Symlink { .. } => format!("{path} (a link)"),
        Entry::Deleted => format!("{path} (deleted)"),
        Entry::Foreign { what, .. } => format!("{path} ({what})"),
    }
}

fn plan(case: &Case, about: &Session) -> facts::Plan {
    let (role, plan) = (role_of(case, about), case.plan());
    let denied = plan.map(|it| it.denied.as_slice()).unwrap_or_default();
    let denied = denied
        .iter()
        .chain(role.map(|it| it.deny.as_slice()).unwrap_or_default());
    let denied: Vec<_> = denied.map(String::as_str).collect();
    let programs: Vec<_> = named_programs(case, role).into_iter().collect();
    facts::Plan {
        role_writes: or_nothing(role.map(|it| it.write.as_slice()).unwrap_or_default()),
        allowed: or_nothing(plan.map(|it| it.allowed.as_slice()).unwrap_or_default()),
        denied: denied.join(", "),
        programs: programs.join(", "),
    }
}

fn or_nothing(globs: &[String]) -> String {
    if globs.is_empty() {
        "nothing".to_string()
    } else {
        globs.join(", ")
    }
}
