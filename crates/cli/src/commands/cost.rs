//! `palisade cost`: what language models took.

use std::collections::BTreeMap;

use clap::{Parser, ValueEnum};
use domain::usage::Usage;
use engine::views::cost::{self, Line};
use serde::Serialize;

use super::Common;
use crate::exit::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::terminal;

/// Show what language models took, by work, goal, role or model
///
/// Counted off the whole log. Tokens are the providers' own counts; calls whose reply did not say
/// are estimated, and how many is said. Money follows the price table of the broker; calls whose
/// price nobody knows are not in it, and how many is said, too.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// By what it is added up.
    #[arg(long, value_enum, default_value_t = By::Work)]
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Work,
    Goal,
    Role,
    Model,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    of: String,
    usage: Usage,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Shown {
    by: Vec<Row>,
    lines: Vec<Line>,
    total: Usage,
    today: Usage,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let world = context.recorder.world();
    let cost = cost::read(world.log.as_ref(), world.clock.now())?;
    let mut by: BTreeMap<String, Usage> = BTreeMap::new();
    for line in &cost.lines {
        let of = match args.by {
            By::Work => line.name.clone(),
            By::Goal => line.goal.to_string(),
            By::Role => line.role.clone(),
            By::Model => format!("{}/{}", line.provider, line.model),
        };
        let sum = by.entry(of).or_default();
        *sum = sum.plus(line.usage);
    }
    let shown = Shown {
        by: by
            .into_iter()
            .map(|(of, usage)| Row { of, usage })
            .collect(),
        lines: cost.lines,
        total: cost.total,
        today: cost.today,
    };
    if common.json {
        terminal::json(&shown)?;
    } else if shown.by.is_empty() {
        terminal::say("no language model was asked");
    } else {
        print(&shown);
    }
    Ok(Exit::Done)
}

fn print(shown: &Shown) {
    let mut table = Table::new(&[
        "OF", "CALLS", "INPUT", "CACHED", "OUTPUT", "THOUGHT", "MONEY",
    ]);
    for row in &shown.by {
        table.row(cells(&row.of, &row.usage));
    }
    table.row(cells("together", &shown.total));
    table.row(cells("today (UTC)", &shown.today));
    table.print(0);
    let total = &shown.total;
    if total.estimated > 0 {
        let told = format!(
            "{} calls are estimated: their replies did not say",
            total.estimated
        );
        terminal::say(told);
    }
    if total.unpriced > 0 {
        let told = format!(
            "{} calls have no known price and are not in it",
            total.unpriced
        );
        terminal::say(told);
    }
}

fn cells(of: &str, usage: &Usage) -> [Cell; 7] {
    let tokens = &usage.tokens;
    [
        of.into(),
        usage.calls.to_string().into(),
        tokens.input.to_string().into(),
        tokens
            .cache_read
            .saturating_add(tokens.cache_write)
            .to_string()
            .into(),
        tokens.output.to_string().into(),
        tokens.reasoning.to_string().into(),
        usage.money.to_string().into(),
    ]
}
