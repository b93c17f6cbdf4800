//! `palisade timeline`: everything that happened to a work, in one list.

use clap::Parser;
use domain::event::Event;
use domain::{Millis, Timestamp, checkpoint, message, run, session};
use engine::recorder::decoded;
use ports::log::{Position, Recorded};
use serde::Serialize;

use super::{Common, log};
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::{bytes, counted};
use crate::table::one_line;
use crate::terminal::{self, DIM};

/// Show everything that happened to a work, in one list
///
/// Every event of it, with the time since it was submitted: sessions, checkpoints, messages,
/// violations, pauses, what the kernel refused, gates, questions, decisions. What agents printed is
/// in `palisade log SESSION`.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
}

/// One event.
#[derive(Debug, Serialize)]
struct Line {
    /// Milliseconds since the work was submitted.
    after_ms: u64,
    /// Milliseconds since 1970.
    time: Timestamp,
    /// Such as `checkpoint.captured`.
    event: String,
    /// Such as `checkpoint/checkpoint_01…`.
    subject: String,
    /// Who caused it.
    actor: String,
    /// What it means.
    text: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    let log = &context.recorder.world().log;
    let all = log.read_correlated(&work.to_string(), Position::default())?;
    let began = all.first().map_or(Timestamp(0), |it| it.event.time);
    let lines = all.iter().map(|it| line(it, began));
    let lines = lines.collect::<Result<Vec<_>, Failure>>()?;
    if common.json {
        terminal::json(&lines)?;
        return Ok(Exit::Done);
    }
    for line in &lines {
        let after = terminal::styled(&format!("{:>10}", after(Millis(line.after_ms))), DIM);
        terminal::data(format!("{after}  {:<26} {}", line.event, line.text));
    }
    terminal::say(terminal::styled(&counted(lines.len(), "event"), DIM));
    Ok(Exit::Done)
}

fn line(recorded: &Recorded, began: Timestamp) -> Result<Line, Failure> {
    let event = decoded(recorded)?;
    let plain = anstream::adapter::strip_str(&told(&event)).to_string();
    Ok(Line {
        after_ms: recorded.event.time.since(began).0,
        time: recorded.event.time,
        event: short(&event),
        subject: recorded.stream.clone(),
        actor: recorded.event.actor.clone(),
        text: one_line(plain.trim()),
    })
}

/// Returns the stored name of an event without what all have in common.
fn short(event: &Event) -> String {
    let kind = event.kind();
    let kind = kind.strip_prefix("io.palisade.").unwrap_or(kind);
    kind.trim_end_matches(".v1").to_string()
}

/// Returns a span to a tenth of a second.
fn after(span: Millis) -> String {
    let (seconds, tenths) = (span.0 / 1_000, span.0 % 1_000 / 100);
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("+{seconds}.{tenths}s"),
        (0, minutes, seconds) => format!("+{minutes}m{seconds:02}.{tenths}s"),
        (hours, minutes, seconds) => format!("+{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// Returns what any event means in a line: also what is not worth telling while the engine runs.
pub(super) fn told(event: &Event) -> String {
    if let Some(told) = log::told(event) {
        return told;
    }
    match event {
        Event::Checkpoint(_, it) => of_checkpoint(it),
        Event::Message(_, it) => of_message(it),
        Event::Session(_, it) => of_session(it),
        Event::Run(_, it) => of_run(it),
        Event::Ambiguity(..)
        | Event::Breaker(..)
        | Event::Evidence(..)
        | Event::Finding(..)
        | Event::Action(..)
        | Event::Goal(..)
        | Event::Grant(..)
        | Event::Lease(..)
        | Event::Machine(..)
        | Event::Output(..)
        | Event::Plan(..)
        | Event::Promotion(..)
        | Event::Work(..) => spoken(event),
    }
}

/// Returns the stored name of an event as words.
fn spoken(event: &Event) -> String {
    short(event).replace(['.', '_'], " ")
}

fn of_checkpoint(event: &checkpoint::Event) -> String {
    match event {
        checkpoint::Event::Requested(it) => format!("  a checkpoint is wanted by {}", it.by),
        checkpoint::Event::Captured(it) => format!(
            "  captured ({}): {} files, {}; {} files since the base; took {} µs, held {} µs",
            it.trigger.name(),
            it.files,
            bytes(it.bytes),
            it.files_total,
            it.micros,
            it.held_micros,
        ),
        checkpoint::Event::Validated { micros, .. } => format!("  nothing is wrong ({micros} µs)"),
        checkpoint::Event::Violated { violations, .. } => {
            format!("  {} rules broken", violations.len())
        }
        checkpoint::Event::Deferred { why } => format!("  not judged: {why}"),
        checkpoint::Event::Promoted => "  its tree was promoted".to_string(),
    }
}

fn of_message(event: &message::Event) -> String {
    match event {
        message::Event::Queued(it) => format!("  to the agent: {}", it.text),
        message::Event::Delivered { .. } => "  the agent was told".to_string(),
        message::Event::Acknowledged { text } => format!("  the agent understood: {text}"),
        message::Event::Escalated => "  the agent never acknowledged it".to_string(),
        message::Event::Expired => "  its session was over before it mattered".to_string(),
    }
}

fn of_session(event: &session::Event) -> String {
    match event {
        session::Event::Requested(it) => format!("{}: {} is asked for", it.step, it.role),
        session::Event::Prepared(it) if it.cell.is_none() => "  is told its prompt".to_string(),
        session::Event::Prepared(_) => "  its workspace is open".to_string(),
        session::Event::Started { walls } => {
            format!("  the agent runs within {} walls", walls.len())
        }
        session::Event::PauseRequested(it) => format!("  is to stand still: {}", it.why),
        session::Event::Paused => "  every process stands still".to_string(),
        session::Event::Resumed { by } => format!("  goes on: {by}"),
        session::Event::Progressed { text } => format!("  {text}"),
        session::Event::SignalRefused { why, .. } => format!("  refused: {why}"),
        session::Event::AttemptDenied { what, count } => {
            format!("  the kernel refused {what} ({count} times)")
        }
        session::Event::ToolCalled(it) => match &it.refused {
            None => format!("  {}: {}", it.tool, it.subject),
            Some(why) => format!("  {}: {} was not permitted: {why}", it.tool, it.subject),
        },
        session::Event::ModelBilled(it) => format!(
            "  asked {}/{}: {} tokens, {}",
            it.provider,
            it.model,
            it.usage.tokens.total(),
            it.usage.money
        ),
        session::Event::ModelFellBack(it) => format!("  {it}"),
        session::Event::Connected(it) => format!("  {it}"),
        session::Event::Wrote(it) => format!(
            "  wrote: {} files and folders, {} in its layer (before: {}, {})",
            it.entries,
            bytes(it.bytes),
            it.entries_before,
            bytes(it.bytes_before),
        ),
        session::Event::Judged(it) => {
            let verdict = if it.passes { "passes" } else { "does not pass" };
            format!(
                "  {} says that it {verdict}: {}",
                it.model,
                it.reasons.join("; ")
            )
        }
        session::Event::Ended(end) => format!("  ended: {}", end.reason.name()),
    }
}

fn of_run(event: &run::Event) -> String {
    match event {
        run::Event::Started(it) => format!("runs on {}", it.base.base.short()),
        run::Event::StepBegan { step, .. } => format!("{step}: begins"),
        run::Event::Advanced { tree } => format!("the accepted tree is {}", tree.digest.short()),
        run::Event::GatesJudged { facts } => {
            let words: Vec<_> = facts
                .iter()
                .map(|it| format!("{} {}", it.gate, verdict(it.reasons.is_empty())))
                .collect();
            format!("gates: {}", words.join(", "))
        }
        run::Event::StepPassed { step } => format!("{step}: passed"),
        run::Event::StepFailed { step, why, .. } => format!("{step}: {why}"),
        run::Event::StepRetried { step } => format!("{step}: once more"),
        run::Event::SentBack { to, .. } => format!("sent back to `{to}`"),
        run::Event::Reopened { tree } => format!("again, on {}", tree.base.short()),
        run::Event::RollbackRequested(it) => {
            format!(
                "a rollback ({}) is wanted by {}: {}",
                it.strategy.name(),
                it.by,
                it.why
            )
        }
        run::Event::RolledBack(it) => format!("put back: {}", it.reverted.join(", ")),
        run::Event::RollbackAbandoned { why } => format!("not put back: {why}"),
        run::Event::Ended(_) => "the run is over".to_string(),
    }
}

const fn verdict(passed: bool) -> &'static str {
    if passed { "green" } else { "red" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_to_a_tenth_until_hours() {
        let told = [0, 1_250, 61_900, 3_723_000].map(|it| after(Millis(it)));
        assert_eq!(told, ["+0.0s", "+1.2s", "+1m01.9s", "+1h02m03s"]);
    }
}
