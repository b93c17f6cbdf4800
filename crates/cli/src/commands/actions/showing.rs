//! Actions and receipts, as people and programs read them.

use anstyle::Style;
use domain::ActionId;
use engine::views::actions::{Line, all, troubles};
use serde::Serialize;
use serde_json::Value;

use crate::commands::Common;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::{age, counted, day_and_time};
use crate::table::{Cell, Table};
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, WARN, printable};

/// Actions that are over and still listed without `--all`.
const OVER_SHOWN: usize = 10;

/// An action with its receipt.
#[derive(Serialize)]
pub(crate) struct WithReceipt<'a> {
    #[serde(flatten)]
    line: &'a Line,
    /// The receipt as the executor gave it.
    receipt_text: Option<Value>,
}

/// Returns an action with its receipt.
pub(crate) fn with_receipt<'a>(
    context: &Context,
    line: &'a Line,
) -> Result<WithReceipt<'a>, Failure> {
    let receipt_text = match &line.receipt {
        Some(digest) => {
            let bytes = context.recorder.world().artifacts.get(digest)?;
            Some(serde_json::from_slice(&bytes)?)
        }
        None => None,
    };
    Ok(WithReceipt { line, receipt_text })
}

/// Lists actions.
pub(crate) fn list(common: &Common, context: &Context, every: bool) -> Outcome {
    let board = context.board()?;
    let mut lines = all(&board, &context.settings.operator);
    let over = lines.iter().filter(|it| !it.is_open()).count();
    if !every {
        let mut left_out = over.saturating_sub(OVER_SHOWN);
        lines.retain(|it| {
            let stays = it.is_open() || left_out == 0;
            left_out = left_out.saturating_sub(usize::from(!stays));
            stays
        });
    }
    if common.json {
        terminal::json(&lines)?;
        return Ok(Exit::Done);
    }
    if lines.is_empty() {
        terminal::say("no actions yet; `palisade actions propose NAME` begins one");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["ACTION", "NAME", "STATE", "WORK", "BY", "WHY"])
        .with_whole_first()
        .with_optional(&[4, 3]);
    for line in &lines {
        table.row([
            line.id.to_string().into(),
            (&line.name).into(),
            Cell::styled(line.state, colour(line.state)),
            line.work_name.as_deref().unwrap_or_default().into(),
            (&line.by).into(),
            (&line.why).into(),
        ]);
    }
    table.print(0);
    for trouble in troubles(&board) {
        terminal::say(terminal::styled(&printable(&trouble), WARN));
    }
    let waiting = lines.iter().filter(|it| it.waits()).count();
    if waiting > 0 {
        let count = counted(waiting, "action");
        terminal::say(format!(
            "{count} for you to decide on: palisade decide, or palisade actions show ACTION"
        ));
    }
    Ok(Exit::Done)
}

/// Shows one action with all that is known of it.
pub(crate) fn show(common: &Common, context: &Context, line: &Line) -> Outcome {
    if common.json {
        terminal::json(&with_receipt(context, line)?)?;
        return Ok(Exit::Done);
    }
    print(line);
    if let Some(receipt) = with_receipt(context, line)?.receipt_text {
        row("receipt", &receipt.to_string(), DIM);
    }
    Ok(Exit::Done)
}

/// Prints an action with all that an approver must know.
pub(crate) fn print(line: &Line) {
    let state = terminal::styled(line.state, colour(line.state));
    let name = terminal::styled(&line.name, BOLD);
    terminal::data(format!("{name} {} {state}", line.id));
    row("arguments", &line.arguments.to_string(), BOLD);
    if let Some(subject) = &line.subject {
        row("brings", subject, Style::new());
    }
    let lane = serde_json::json!(line.lane);
    let lane = lane.as_str().unwrap_or_default();
    let needs = format!("a {}, on the lane {lane}", line.needs);
    row("needs", &needs, Style::new());
    row("why", &line.why, Style::new());
    row("asked by", &line.by, Style::new());
    row("made by", &line.authors.join(", "), Style::new());
    if let (Some(work), name) = (line.work, &line.work_name) {
        let name = name.as_deref().unwrap_or_default();
        row("work", &format!("{name} {work}"), Style::new());
    }
    row("digest", &line.digest.to_string(), DIM);
    if let Some(approval) = &line.approval {
        let told = format!(
            "{} by {} for {}, until {}",
            approval.paper,
            approval.by,
            approval.target,
            day_and_time(approval.expires)
        );
        row("approved", &told, GOOD);
        row("policy", &approval.policy.to_string(), DIM);
    }
    if let Some(trouble) = &line.trouble {
        let told = format!(
            "asked {} times without an answer: {}; again from {}",
            trouble.failed,
            trouble.why,
            day_and_time(trouble.next)
        );
        row("trouble", &told, WARN);
    }
    if let Some(reason) = &line.reason {
        row("reason", reason, WARN);
    }
    for block in &line.blocks {
        row("blocked", block, BAD);
    }
}

fn row(word: &str, text: &str, style: Style) {
    let text = terminal::styled(&printable(text).replace('\n', " "), style);
    terminal::data(format!("  {word:<10}{text}"));
}

/// Says in a line how an action stands.
pub(crate) fn sentence(context: &Context, line: &Line) -> Result<(), Failure> {
    let state = terminal::styled(line.state, colour(line.state));
    let mut told = format!("{} {}: {state}", line.name, line.id);
    if let Some(reason) = &line.reason {
        told.push_str(&format_args!(": {}", printable(reason)).to_string());
    }
    if let Some(trouble) = &line.trouble {
        let wait = age(trouble.next.since(context::now()));
        let why = printable(&trouble.why);
        told.push_str(&format_args!(": {why}; asked again in {wait}").to_string());
    }
    if let Some(receipt) = with_receipt(context, line)?.receipt_text {
        let summary = receipt.get("summary").cloned().unwrap_or_default();
        let evidence = receipt
            .pointer("/evidence/sequence")
            .cloned()
            .unwrap_or_default();
        told.push_str(&format_args!(" (audit entry {evidence}) {summary}").to_string());
    }
    terminal::data(told);
    Ok(())
}

/// Shows receipts: of these actions, or of all that have one.
pub(crate) fn receipts(common: &Common, context: &Context, ids: &[ActionId]) -> Outcome {
    let mut lines = all(&context.board()?, &context.settings.operator);
    lines.retain(|it| {
        if ids.is_empty() {
            it.receipt.is_some()
        } else {
            ids.contains(&it.id)
        }
    });
    if common.json {
        let told: Result<Vec<_>, Failure> =
            lines.iter().map(|it| with_receipt(context, it)).collect();
        terminal::json(&told?)?;
        return Ok(exit(&lines));
    }
    for line in &lines {
        sentence(context, line)?;
        if line.receipt.is_none() {
            terminal::say("there is no receipt");
        }
    }
    if lines.is_empty() {
        terminal::say("no receipts yet");
    }
    Ok(exit(&lines))
}

/// Returns the exit code of a command that was about these actions.
pub(crate) fn exit(lines: &[Line]) -> Exit {
    let any = |states: &[&str]| lines.iter().any(|it| states.contains(&it.state));
    if any(&["failed", "unknown", "expired"]) {
        Exit::Failed
    } else if any(&["proposed", "dispatched", "permitted"]) {
        super::WAITS
    } else {
        Exit::Done
    }
}

fn colour(state: &str) -> Style {
    match state {
        "succeeded" => GOOD,
        "failed" | "unknown" | "expired" => BAD,
        "proposed" | "permitted" | "dispatched" => WARN,
        _ => DIM,
    }
}
