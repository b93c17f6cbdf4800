//! A work, section by section.

use domain::Timestamp;
use domain::checkpoint::Trigger;
use domain::finding::Resolver;
use engine::views::detail::{Detail, PromotionLine};

use super::super::status::{colour, is_over};
use super::{depends_on, heading, paragraph, tree};
use crate::context::Context;
use crate::moment::{age, bytes, day_and_time};
use crate::table::{Cell, Table, one_line};
use crate::terminal::{self, BAD, BOLD, DIM, GOOD, WARN};

/// Prints everything about a work.
pub(super) fn print(context: &Context, detail: &Detail, now: Timestamp) {
    head(context, detail, now);
    scope(detail);
    steps(detail);
    sessions(detail, now);
    checkpoints(detail);
    gates(detail);
    findings(detail);
    questions(detail);
    promotions(detail);
}

fn head(context: &Context, detail: &Detail, now: Timestamp) {
    let line = &detail.line;
    let title = format!("{} — {}", line.name, one_line(&line.title));
    terminal::data(terminal::styled(&title, BOLD));
    let state = terminal::styled(&line.state, colour(&line.state));
    let said = if line.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", one_line(&line.detail))
    };
    terminal::data(format!("  {:<10} {state}{said}", "state"));
    let mut table = Table::new(&["", ""]);
    let submitted = format!(
        "{} ({} ago)",
        day_and_time(line.submitted),
        age(now.since(line.submitted))
    );
    for trouble in &line.troubles {
        table.row(["degraded".into(), Cell::styled(trouble, WARN)]);
    }
    table.row(["work      ".into(), line.work.to_string().into()]);
    table.row(["submitted".into(), submitted.into()]);
    table.row(["from".into(), (&detail.source).into()]);
    table.row(["agent".into(), (&detail.work.agent).into()]);
    table.row(["formula".into(), (&detail.work.formula).into()]);
    table.row(["target".into(), (&detail.work.target).into()]);
    let needed = depends_on(context, detail);
    if !needed.is_empty() {
        table.row(["after".into(), needed.join(", ").into()]);
    }
    if let Some(it) = &detail.tree {
        table.row(["tree".into(), tree(it).into()]);
    }
    table.print(2);
}

fn scope(detail: &Detail) {
    heading("Scope and budget");
    let list = |globs: &[String]| globs.join(" ");
    let mut table = Table::new(&["", ""]);
    if let Some(plan) = &detail.plan {
        table.row(["may change".into(), list(&plan.allowed).into()]);
        let globs = [
            ("may not", &plan.denied),
            ("protected, allowed", &plan.protected_allowed),
        ];
        for (word, globs) in globs.into_iter().filter(|(_, it)| !it.is_empty()) {
            table.row([word.into(), list(globs).into()]);
        }
    }
    let (spent, budget) = (detail.spent, detail.work.budget);
    let left = |spent: u64, all: u64| {
        let style = if spent >= all { WARN } else { DIM };
        (format!("{spent} of {all}"), style)
    };
    let (text, style) = left(spent.sessions.into(), budget.sessions.into());
    table.row(["sessions".into(), Cell::styled(text, style)]);
    let (text, style) = left(spent.rounds.into(), budget.rounds.into());
    table.row(["rounds back".into(), Cell::styled(text, style)]);
    let text = format!("{} of {}", spent.wall, budget.wall);
    table.row(["session time".into(), Cell::styled(text, DIM)]);
    table.print(2);
}

fn steps(detail: &Detail) {
    if detail.steps.is_empty() {
        return;
    }
    heading("Steps");
    let mut table = Table::new(&["STEP", "STATUS", "ATTEMPTS", "WHY"]);
    for step in &detail.steps {
        let attempts = match step.attempts {
            0 => String::new(),
            count => count.to_string(),
        };
        // What was under way when the work was called off goes on no more.
        let status = match step.status.as_str() {
            "active" if is_over(&detail.line) => "stopped",
            status => status,
        };
        table.row([
            (&step.id).into(),
            Cell::styled(status, colour(status)),
            attempts.into(),
            step.why.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(2);
}

fn sessions(detail: &Detail, now: Timestamp) {
    if detail.sessions.is_empty() {
        return;
    }
    heading("Sessions");
    let mut table = Table::new(&[
        "SESSION", "ROLE", "ROUND", "END", "WALL", "OUTPUT", "WALLS", "SAID",
    ])
    .with_whole_first();
    for line in &detail.sessions {
        let end = line.end.as_ref();
        let state = end.map_or(line.state.as_str(), |it| it.reason.name());
        let missing = line
            .walls
            .iter()
            .filter(|it| it.contains(": missing"))
            .count();
        let walls = match (line.walls.len(), missing) {
            (0, _) => Cell::from(""),
            (all, 0) => Cell::from(format!("{all}/{all}")),
            (all, missing) => Cell::styled(format!("{}/{all}", all - missing), WARN),
        };
        table.row([
            line.id.to_string().into(),
            (&line.about.role).into(),
            line.about.round.to_string().into(),
            Cell::styled(state, colour(state)),
            line.wall(now).to_string().into(),
            end.map(|it| bytes(it.output_bytes))
                .unwrap_or_default()
                .into(),
            walls,
            line.told.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(2);
    for line in &detail.sessions {
        for (what, count) in &line.denied {
            let text = format!("{what} ({count} times), to the {}", line.about.role);
            paragraph("denied", &text);
        }
    }
}

fn checkpoints(detail: &Detail) {
    if detail.checkpoints.is_empty() {
        return;
    }
    heading("Checkpoints");
    let mut table =
        Table::new(&["CHECKPOINT", "STATE", "FILES", "BYTES", "TREE", "TAKEN"]).with_whole_first();
    for line in &detail.checkpoints {
        let taken = match line.trigger {
            Trigger::TurnEnd => "at a session's end",
            Trigger::Recovery => "after a crash",
            Trigger::BeforePromotion => "before promotion",
            Trigger::Quiet => "when it grew quiet",
            Trigger::Interval => "after a while",
            Trigger::Size => "after much was written",
            Trigger::Manual => "on request",
            Trigger::BeforeRollback => "before a rollback",
        };
        table.row([
            line.id.to_string().into(),
            Cell::styled(&line.state, colour(&line.state)),
            line.files.to_string().into(),
            bytes(line.bytes).into(),
            line.tree.digest.short().into(),
            taken.into(),
        ]);
    }
    table.print(2);
    // The same is often tried again: each is told once.
    let mut told: Vec<(String, usize)> = Vec::new();
    for violation in detail.checkpoints.iter().flat_map(|it| &it.violations) {
        let (path, rule) = (&violation.path, violation.rule.name());
        let text = one_line(&format!("{path} [{rule}]: {}", violation.detail));
        match told.iter_mut().find(|(it, _)| *it == text) {
            Some((_, count)) => *count += 1,
            None => told.push((text, 1)),
        }
    }
    for (text, count) in told {
        let times = if count > 1 {
            format!(" ({count} times)")
        } else {
            String::new()
        };
        let word = terminal::styled("turned away", BAD);
        terminal::data(format!("  {word}{times} {text}"));
    }
}

fn gates(detail: &Detail) {
    if detail.gates.is_empty() {
        return;
    }
    heading("Gates");
    let current = detail.tree.as_ref().map(|it| it.digest);
    for gate in &detail.gates {
        let word = if gate.reasons.is_empty() {
            terminal::styled("passes", GOOD)
        } else {
            terminal::styled("does not pass", BAD)
        };
        let stale = if current == Some(gate.tree) {
            String::new()
        } else {
            terminal::styled(", on an earlier tree", DIM)
        };
        terminal::data(format!("  {:<10} {word}{stale}", gate.gate));
        for reason in &gate.reasons {
            paragraph("", reason);
        }
    }
}

fn findings(detail: &Detail) {
    if detail.findings.is_empty() {
        return;
    }
    heading("Findings");
    for line in &detail.findings {
        let word = match &line.resolved {
            None => terminal::styled("open", WARN),
            Some(Resolver::Recheck { .. }) => terminal::styled("mended", GOOD),
            Some(Resolver::Operator { name, reason }) => {
                let text = format!("resolved by {name}: {reason}");
                terminal::styled(&one_line(&text), GOOD)
            }
        };
        let it = &line.finding;
        let place = match it.line {
            0 => it.file.clone(),
            number => format!("{}:{number}", it.file),
        };
        let text = format!("{} {place} [{}]", line.id, it.rule);
        terminal::data(format!("  {} {word}", one_line(&text)));
        paragraph("", &it.text);
    }
}

fn questions(detail: &Detail) {
    if detail.questions.is_empty() {
        return;
    }
    heading("Questions");
    for line in &detail.questions {
        let it = &line.ambiguity;
        let state = terminal::styled(&line.state, colour(&line.state));
        terminal::data(format!(
            "  {} {} {state} (asked by {})",
            line.id,
            it.priority.name(),
            it.role
        ));
        paragraph("", &it.report.question);
        match &line.answer {
            Some(answer) => paragraph("answer", &it.told(answer)),
            None => paragraph("assumed", &it.report.default_held),
        }
    }
}

fn promotions(detail: &Detail) {
    if detail.promotions.is_empty() {
        return;
    }
    heading("Promotions");
    for line in &detail.promotions {
        promotion(line);
    }
}

fn promotion(line: &PromotionLine) {
    let state = terminal::styled(&line.state, colour(&line.state));
    let (proposal, target) = (&line.proposal, &line.proposal.target);
    terminal::data(format!(
        "  {} {state} for {target}, dossier {}",
        line.id,
        proposal.dossier.short()
    ));
    for reason in &line.reasons {
        paragraph("because", reason);
    }
    if let Some(it) = &line.approval {
        let (at, expires) = (day_and_time(it.at), day_and_time(it.expires));
        paragraph(
            "approved",
            &format!("by {} at {at}, until {expires}", it.by),
        );
    }
    if let Some(commit) = &line.commit {
        paragraph("landed", &format!("{commit} on {}", proposal.lands_on));
    }
}
