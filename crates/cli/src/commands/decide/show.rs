//! A dossier as a person reads it.

use domain::policy::GateFact;
use engine::views::board::OpenDecision;
use engine::views::dossier::{Dossier, SessionLine};

use crate::terminal::{self, BAD, BOLD, DIM, GOOD, WARN, printable};

/// Prints a dossier and what blocks it.
pub(super) fn dossier(dossier: &Dossier, decision: &OpenDecision) {
    let title = format!("{} — {}", dossier.name, printable(&dossier.title));
    terminal::data(terminal::styled(&title, BOLD));
    let proposal = &decision.proposal;
    terminal::data(format!(
        "  for       {} (lands on {})",
        proposal.target, proposal.lands_on
    ));
    terminal::data(format!("  base      {}", dossier.facts.base.short()));
    terminal::data(format!(
        "  spent     {} sessions, {} of session time, {} rounds",
        dossier.spent.sessions, dossier.spent.wall, dossier.rounds
    ));
    section(
        "changes",
        dossier.changes.iter().map(|it| {
            let size = if it.kind == "file" {
                format!("{} bytes", it.bytes)
            } else {
                it.kind.clone()
            };
            format!("{} ({size})", printable(&it.path))
        }),
    );
    section("why", dossier.sessions.iter().map(session));
    section(
        "gates",
        dossier.facts.gates.iter().map(|it| gate(dossier, it)),
    );
    section(
        "findings",
        dossier.findings.iter().map(|it| {
            let (place, text) = (printable(&it.place), printable(&it.text));
            format!("{place} [{}] {text} — {}", printable(&it.rule), it.state)
        }),
    );
    section(
        "questions",
        dossier.questions.iter().map(|it| {
            let kind = if it.is_answered {
                "answered"
            } else {
                "assumed, unconfirmed"
            };
            format!(
                "{} {} → {} ({kind})",
                it.priority,
                printable(&it.question),
                printable(&it.held)
            )
        }),
    );
    section("degraded", dossier.degraded.iter().map(|it| printable(it)));
    section("egress", dossier.egress.iter().map(|it| printable(it)));
    for block in &decision.blocks {
        terminal::data(format!("  {} {block}", terminal::styled("blocked:", BAD)));
    }
    let digest = proposal.dossier;
    let whole = terminal::styled(&digest.to_string(), DIM);
    terminal::data(format!("  dossier   {} {whole}", digest.short()));
    terminal::data(terminal::styled(
        "  (`--diff` shows the change itself)",
        DIM,
    ));
}

fn gate(dossier: &Dossier, fact: &GateFact) -> String {
    let seen = dossier.evidence.iter().find(|it| it.gate == fact.gate);
    let counts = seen.map_or_else(String::new, |it| {
        format!(
            " ({} tests, {} skipped, {})",
            it.executed, it.skipped, it.wall
        )
    });
    let word = if fact.reasons.is_empty() {
        terminal::styled("passes", GOOD)
    } else {
        terminal::styled(&printable(&fact.reasons.join("; ")), BAD)
    };
    format!("{}: {word}{counts}", fact.gate)
}

fn session(line: &SessionLine) -> String {
    let told = printable(&line.summary);
    let end = if line.end == "done" {
        String::new()
    } else {
        format!(" {}", terminal::styled(&format!("[{}]", line.end), WARN))
    };
    let mut text = format!("round {} {}{end}: {told}", line.round, line.role);
    if !line.denied.is_empty() {
        let denied = printable(&line.denied.join(", "));
        text.push('\n');
        text.push_str(&terminal::styled(
            &format!("the kernel refused it {denied}"),
            WARN,
        ));
    }
    text
}

fn section(title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        terminal::data(format!("  {title}"));
    }
    for line in lines {
        terminal::data(format!("    {}", line.replace('\n', "\n      ")));
    }
}
