//! `palisade tape`: exchanges with language models that were recorded.

use clap::{Parser, Subcommand};
use wire::tape::{self, Exchange, Line};

use super::Common;
use crate::exit::{Exit, Failure, Outcome};
use crate::models::TAPES;
use crate::moment::bytes;
use crate::table::Table;
use crate::terminal;

/// Look at recorded exchanges with language models
///
/// Exchanges are recorded with `tape = "record"` in `[models]` of palisade.toml, one tape for each
/// session; `tape = "replay:NAME"` answers from one, or with a work's identifier from those of all its
/// sessions, and asks no model.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all tapes, and whose they are.
    List,
    /// List a tape's exchanges, or show one of them.
    Show {
        /// The tape: the session that was recorded.
        tape: String,
        /// Which exchange, as it is numbered in the list.
        call: Option<u64>,
    },
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let tapes = context.place.state.join(TAPES);
    let failed = |told: String| Failure::from(anyhow::anyhow!(told));
    match &args.verb {
        Verb::List => {
            let names = tape::names(&tapes).map_err(failed)?;
            if common.json {
                terminal::json(&names)?;
            } else if !names.is_empty() {
                let mut table = Table::new(&["TAPE", "ROLE", "WORK"]);
                for name in &names {
                    let about = tape::about(&tapes, name);
                    let (role, work) = about.map(|it| (it.role, it.work)).unwrap_or_default();
                    let of = |it: &str| terminal::printable(it).into();
                    table.row([name.as_str().into(), of(&role), of(&work)]);
                }
                table.print(0);
            }
        }
        Verb::Show { tape: name, call } => {
            let lines = tape::index(&tapes, name).map_err(failed)?;
            let Some(call) = call else {
                list(common, &lines)?;
                return Ok(Exit::Done);
            };
            let line = lines.iter().find(|it| it.call == *call);
            let line = line
                .ok_or_else(|| Failure::usage(format!("the tape {name} has no exchange {call}")))?;
            let exchange = tape::exchange(&tapes, name, &line.digest).map_err(failed)?;
            if common.json {
                terminal::json(&exchange)?;
            } else {
                show(&exchange)?;
            }
        }
    }
    Ok(Exit::Done)
}

fn list(common: &Common, lines: &[Line]) -> Result<(), Failure> {
    if common.json {
        return Ok(terminal::json(&lines)?);
    }
    let mut table = Table::new(&["CALL", "PATH", "MODEL", "STATUS", "SIZE"]);
    for it in lines {
        table.row([
            it.call.to_string().into(),
            it.path.as_str().into(),
            it.model.as_str().into(),
            it.status.to_string().into(),
            bytes(it.bytes).into(),
        ]);
    }
    table.print(0);
    Ok(())
}

fn show(exchange: &Exchange) -> Result<(), Failure> {
    let request = serde_json::to_string_pretty(&exchange.request)
        .map_err(|it| Failure::from(anyhow::anyhow!(it)))?;
    let by = exchange.served_by.as_ref();
    let by = by.map_or(String::new(), |it| format!(", answered by {it}"));
    terminal::data(format!("{} ({}{by})", exchange.path, exchange.model));
    terminal::data(terminal::printable(&request));
    terminal::data(format!(
        "answered with {}, {}",
        exchange.status, exchange.content_type
    ));
    if let Some(why) = &exchange.withheld {
        terminal::data(format!("the reply was not kept: {why}"));
    }
    for line in exchange.reply.lines() {
        terminal::data(terminal::printable(line));
    }
    if exchange.is_cut {
        terminal::data("(cut)");
    }
    Ok(())
}
