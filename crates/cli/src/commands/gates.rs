//! `palisade gates`: check and list the gates of a repository.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use engine::catalog::{GATES, gates};

use super::Common;
use super::catalog::{self, Entry};
use crate::exit::{Exit, Failure, Outcome};
use crate::table::Table;
use crate::terminal;

/// Check and list the gates of a repository
///
/// Gates are the deterministic checks that every proposal must pass, in `.palisade/gates.toml`. A
/// run takes them from the commit it begins on or, while that holds none, from the working tree. A
/// check names every fault with its place, and exits with 2 if there is one.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a gates file; names every fault
    Check {
        /// The file, instead of the one of the working tree.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the gates of the working tree
    List,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Check { file } => {
            let entry = match file {
                Some(path) => catalog::entry(path)?,
                None => own(common)?,
            };
            let faults = gates::read(&entry.source).1;
            catalog::report(common, &[(entry, faults)], "gates file")
        }
        Verb::List => list(common),
    }
}

fn own(common: &Common) -> Result<Entry, Failure> {
    let path = common.place()?.root.join(GATES);
    if !path.exists() {
        let text = format!("there is no {GATES}; `palisade init` writes one for review");
        return Err(Failure::usage(text));
    }
    catalog::entry(&path)
}

fn list(common: &Common) -> Outcome {
    let gates = gates::read(&own(common)?.source).0;
    if common.json {
        terminal::json(&gates)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["GATE", "COMMAND", "AT MOST", "TESTS", "JUNIT"]);
    for gate in &gates {
        let tests = match gate.tests_min {
            0 => "none needed".to_string(),
            count => format!("{count} or more"),
        };
        table.row([
            (&gate.name).into(),
            gate.argv.join(" ").into(),
            gate.wall.to_string().into(),
            tests.into(),
            gate.junit.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(0);
    Ok(Exit::Done)
}
