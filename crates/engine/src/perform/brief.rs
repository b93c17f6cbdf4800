//! Briefs: what a session is told, as files. Everything in one comes from the log and the accepted
//! tree, nothing from another agent's untyped words.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::SessionId;
use domain::ambiguity;
use domain::case::Case;
use domain::checkpoint::told;
use domain::conclude::ENGINE;
use domain::formula::Kind;
use domain::run::Note;
use domain::session::Session;
use serde::Serialize;

use super::Bench;
use super::compile::{named_programs, role_of};
use crate::recorder::Error;

/// The most of a diff that is shown to an agent, in bytes.
const DIFF_BYTES_MAX: usize = 512 * 1024;

/// The most of a gate's output that is shown to an agent, in bytes.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// The folders of a session on the host.
#[derive(Clone, Debug)]
pub struct Folders {
    /// What the agent reads.
    pub brief: PathBuf,
    /// Where the agent files.
    pub drop: PathBuf,
    /// The prompt.
    pub prompt: String,
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
    findings: Vec<Finding<'a>>,
    violations: Vec<String>,
    gates: Vec<String>,
    /// What the operator has answered.
    answers: Vec<Answer>,
    /// What is assumed until it is.
    assumed: Vec<Answer>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    id: String,
    file: &'a str,
    line: u32,
    rule: &'a str,
    text: &'a str,
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
/// When the store or the disk fails.
pub fn write(
    bench: &Bench<'_>,
    case: &Case,
    id: SessionId,
    about: &Session,
) -> Result<Folders, Error> {
    let (brief, drop) = folders(bench, id);
    remove(bench, id)?;
    for folder in [&brief, &drop, &drop.join("ambiguities")] {
        fs::create_dir_all(folder).map_err(|it| failed("a session's folders are made", it))?;
    }
    let context = context(case, id, about);
    let prompt = prompt(case, about, &context);
    let text = serde_json::to_string_pretty(&context)
        .map_err(|it| Error::Fault(format!("the brief cannot be written: {it}")))?;
    let put = |name: &str, text: &[u8]| {
        fs::write(brief.join(name), text).map_err(|it| failed("a brief is written", it))
    };
    put("context.json", text.as_bytes())?;
    put("prompt.md", prompt.as_bytes())?;
    put("spec.md", &spec(bench, case)?)?;
    put("findings.md", findings(&context).as_bytes())?;
    put("answers.md", answers(&context).as_bytes())?;
    if let Some(active) = case.active() {
        let workspaces = &bench.recorder.world().workspaces;
        let base = workspaces.prepare(&about.tree.base, &bench.settings.secrets)?;
        let diff = workspaces.diff(&base, &about.tree, DIFF_BYTES_MAX)?;
        put("change.diff", diff.as_bytes())?;
        for (index, note) in active.notes.iter().enumerate() {
            if let Note::Gate { gate, log, .. } = note {
                let log = bench
                    .recorder
                    .world()
                    .artifacts
                    .get(log)
                    .unwrap_or_default();
                let from = log.len().saturating_sub(LOG_BYTES_MAX);
                put(&format!("gate-{}-{gate}.log", index + 1), &log[from..])?;
            }
        }
    }
    Ok(Folders {
        brief,
        drop,
        prompt,
    })
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
    let told = case.ambiguities.values().filter_map(answer_of);
    let (answers, assumed) = told.partition(|it: &Answer| it.confirmed);
    let findings = case.open_findings().map(|(id, it)| Finding {
        id: id.to_string(),
        file: &it.file,
        line: it.line,
        rule: &it.rule,
        text: &it.text,
    });
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
        findings: findings.collect(),
        violations: notes.iter().flat_map(violations_of).collect(),
        gates: notes.iter().filter_map(gate_of).collect(),
        answers,
        assumed,
        notes: notes.iter().filter_map(sentence_of).collect(),
    }
}

fn violations_of(note: &Note) -> Vec<String> {
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
        | Note::Conflict { .. } => Vec::new(),
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
        | Note::Conflict { .. } => None,
    }
}

fn sentence_of(note: &Note) -> Option<String> {
    match note {
        Note::Violations { .. } | Note::Gate { .. } => None,
        Note::Findings => Some("A review has open findings; see findings.md.".to_string()),
        Note::Answers => {
            Some("The operator answered otherwise than assumed; see answers.md.".to_string())
        }
        Note::Operator { text } => Some(format!("The operator says: {text}")),
        Note::Ended { reason } => Some(format!("The session before this one: {reason}.")),
        Note::RolledBack { by, why, reverted } => Some(format!(
            "The tree was put back by {by}: {why}. These are as they were before: {}",
            reverted.join(", ")
        )),
        Note::Conflict { paths } => Some(format!(
            "The target has moved. These files now hold its content and must be done again: {}",
            paths.join(", ")
        )),
    }
}

fn answer_of(state: &ambiguity::State) -> Option<Answer> {
    let asked = state.ambiguity()?;
    let question = asked.report.question.clone();
    Some(match state.answer() {
        Some(answer) => Answer {
            question,
            answer: asked.told(answer),
            confirmed: true,
        },
        None => Answer {
            question,
            answer: asked.report.default_held.clone(),
            confirmed: false,
        },
    })
}

fn prompt(case: &Case, about: &Session, context: &Context<'_>) -> String {
    let active = case.active();
    let step = active
        .and_then(|it| it.run.formula.step(&about.step))
        .map(|it| &it.kind);
    let asked = match step {
        Some(Kind::Session { prompt, .. }) => prompt.trim(),
        Some(Kind::Gate { .. } | Kind::Decision | Kind::Action { .. }) | None => "",
    };
    let role = role_of(case, about);
    let description = role.map(|it| it.description.as_str()).unwrap_or_default();
    let mut parts = vec![
        format!(
            "# You are the {} (round {})\n\n{description}",
            about.role, about.round
        ),
        asked.to_string(),
    ];
    let list = |title: &str, lines: &[String]| {
        let lines: Vec<_> = lines.iter().map(|it| format!("- {it}")).collect();
        format!("## {title}\n\n{}", lines.join("\n"))
    };
    if !context.notes.is_empty() {
        parts.push(list("Why the work is back", &context.notes));
    }
    if !context.violations.is_empty() {
        let title = "Changes that were turned away and taken out; do not make them again";
        parts.push(list(title, &context.violations));
    }
    if !context.gates.is_empty() {
        parts.push(list(
            "Gates that do not pass (their output is in /brief/gate-*.log)",
            &context.gates,
        ));
    }
    if !context.findings.is_empty() {
        parts.push(format!("## Open findings\n\n{}", findings(context)));
    }
    if !context.answers.is_empty() || !context.assumed.is_empty() {
        parts.push(format!("## Questions\n\n{}", answers(context)));
    }
    let scope = format!(
        "Your role may write: {}. The plan allows: {}{}. Everything else is turned away; most of it \
         is read-only in the first place.",
        or_nothing(context.write),
        or_nothing(context.allow),
        if context.deny.is_empty() {
            String::new()
        } else {
            format!("; never {}", context.deny.join(", "))
        },
    );
    parts.push(format!("## Scope\n\n{scope}"));
    if !context.programs.is_empty() {
        let named = context.programs.join(", ");
        parts.push(format!(
            "## Programs you will find\n\nBy name you find these and `palisade-agent`: {named}."
        ));
    }
    parts.push(RULES.trim().to_string());
    parts.join("\n\n") + "\n"
}

/// What every agent is told about the way to speak.
const RULES: &str = r#"
## How to speak

You work in a sealed cell: /workspace is the tree, /brief is this brief, there is no network and
there are no secrets. Commits are made for you; /workspace/.git is read-only.
- `palisade-agent progress TEXT` now and then.
- `palisade-agent ask --help` for a question; hold the default and go on.
- `palisade-agent done SUMMARY` as your last act, or
  `palisade-agent refuse unmet_dependency|too_large|already_done DETAIL`, or
  `palisade-agent fail REASON`. Without one of these the session counts as failed.
- `fail` is tried anew, `refuse` ends the work (`already_done` does not, once something was changed).
- Files that the base's .gitignore excludes are not part of the proposal.
"#;

fn or_nothing(globs: &[String]) -> String {
    if globs.is_empty() {
        "nothing".to_string()
    } else {
        globs.join(", ")
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
