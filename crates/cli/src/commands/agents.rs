//! `palisade agents`: which agents can be run, and what each guarantees.

use clap::Parser;
use serde::Serialize;

use super::Common;
use crate::context::{self, Kind};
use crate::exit::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::terminal::{self, DIM, GOOD};

/// Show which agents can be run, and what each guarantees
///
/// GUARANTEES: `governed`, it runs in a cell and asks leave of our judge, who answers by role, lane
/// and plan; `governed where it asks`, the same for what it asks; `walls only`, it never asks, and its
/// cell holds it. `no pause protocol`: it does not understand being paused (the kernel can pause every
/// cell, understood or not). FOLLOW-UP: it takes another prompt in the same session. USAGE: it reports
/// tokens and money itself (the broker counts them for all). TRIED: the versions it was tried with;
/// another is refused.
#[derive(Debug, Parser)]
pub(crate) struct Args {}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent promises, shown as a row of yes and no"
)]
#[derive(Serialize)]
struct Shown {
    agent: &'static str,
    what: &'static str,
    guarantees: String,
    governed: bool,
    leave: &'static str,
    asked_to_stop: bool,
    speaks_pause: bool,
    follow_up: bool,
    reports_usage: bool,
    needs_model: bool,
    /// None for a driver of any program.
    found: Option<bool>,
    program: Option<String>,
    missing: Option<String>,
    tried: Option<String>,
}

pub(crate) fn run(common: &Common, _args: &Args) -> Outcome {
    let shown: Vec<_> = context::kinds()?.iter().map(shown).collect();
    if common.json {
        terminal::json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        "AGENT",
        "HERE",
        "GUARANTEES",
        "FOLLOW-UP",
        "USAGE",
        "TRIED",
        "WHAT",
    ])
    .with_whole_first();
    let word = |it: bool| {
        if it {
            Cell::styled("yes", GOOD)
        } else {
            Cell::styled("no", DIM)
        }
    };
    for it in &shown {
        table.row([
            it.agent.into(),
            it.found.map_or_else(|| "–".into(), word),
            it.guarantees.as_str().into(),
            word(it.follow_up),
            word(it.reports_usage),
            it.tried.as_deref().unwrap_or("–").into(),
            it.what.into(),
        ]);
    }
    table.print(0);
    Ok(Exit::Done)
}

fn shown(kind: &Kind) -> Shown {
    let guarantees = kind.driver.guarantees();
    let program = kind.driver.program();
    let found = program.as_ref().map(|it| it.found.as_ref());
    Shown {
        agent: kind.agent,
        what: kind.what,
        guarantees: guarantees.in_words(),
        governed: guarantees.governed,
        leave: guarantees.leave.name(),
        asked_to_stop: guarantees.asked_to_stop,
        speaks_pause: guarantees.speaks_pause,
        follow_up: guarantees.follow_up,
        reports_usage: guarantees.reports_usage,
        needs_model: kind.driver.needs_model(),
        found: found.map(|it| it.is_ok()),
        program: found.and_then(|it| Some(it.ok()?.display().to_string())),
        missing: found.and_then(|it| it.err().cloned()),
        tried: program.as_ref().map(|it| it.tried.clone()),
    }
}
