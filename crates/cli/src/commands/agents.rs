//! `palisade agents`: which agents can be run, and what each guarantees.

use clap::Parser;
use ports::agents::Guarantees;
use serde::Serialize;

use super::Common;
use crate::context;
use crate::exit::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::terminal::{self, DIM, GOOD};

/// Show which agents can be run, and what each guarantees
///
/// GOVERNED: it runs in a cell and is held to its signals. PAUSE: it understands being paused (the
/// kernel can pause every cell, understood or not). FOLLOW-UP: it takes another prompt in the same
/// session. USAGE: it reports tokens and money.
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
    governed: bool,
    speaks_pause: bool,
    follow_up: bool,
    reports_usage: bool,
}

pub(crate) fn run(common: &Common, _args: &Args) -> Outcome {
    let shown: Vec<_> = context::kinds()?
        .into_iter()
        .map(|(agent, what, guarantees)| shown(agent, what, &guarantees))
        .collect();
    if common.json {
        terminal::json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["AGENT", "GOVERNED", "PAUSE", "FOLLOW-UP", "USAGE", "WHAT"])
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
            word(it.governed),
            word(it.speaks_pause),
            word(it.follow_up),
            word(it.reports_usage),
            it.what.into(),
        ]);
    }
    table.print(0);
    Ok(Exit::Done)
}

fn shown(agent: &'static str, what: &'static str, guarantees: &Guarantees) -> Shown {
    Shown {
        agent,
        what,
        governed: guarantees.governed,
        speaks_pause: guarantees.speaks_pause,
        follow_up: guarantees.follow_up,
        reports_usage: guarantees.reports_usage,
    }
}
