//! `palisade roles`: check, list and show roles.

use clap::Parser;
use domain::formula::{Lane, Role};
use engine::catalog::{FileFault, SHIPPED_ROLES, roles};
use wire::execution::Kind;

use super::Common;
use super::catalog::{self, Entry, Verb};
use crate::exit::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::terminal::{self, DIM};

/// Check, list and show roles
///
/// A role is a TOML file that says what an agent who plays it may write, in `.palisade/roles` of a
/// repository or shipped. A run takes it from the commit it begins on, never from the working tree.
/// A check names every fault with its place, and exits with 2 if there is one.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let all = || catalog::entries(common, "roles", SHIPPED_ROLES);
    match &args.verb {
        Verb::Check { files } => {
            let entries: Vec<Entry> = if files.is_empty() {
                all()?
            } else {
                let read: Result<_, _> = files.iter().map(|it| catalog::entry(it)).collect();
                read?
            };
            let checked: Vec<_> = entries
                .into_iter()
                .map(|it| {
                    let (role, mut faults) = roles::read(&it.source);
                    faults.extend(unknown_actions(&it, &role));
                    (it, faults)
                })
                .collect();
            catalog::report(common, &checked, "role")
        }
        Verb::List => list(common, &all()?),
        Verb::Show { name } => {
            let entry = catalog::find(all()?, name, "role")?;
            if common.json {
                terminal::json(&roles::read(&entry.source).0)?;
            } else {
                terminal::say(terminal::styled(&entry.source.name, DIM));
                terminal::put(&terminal::printable(&entry.source.text));
            }
            Ok(Exit::Done)
        }
    }
}

/// Returns the actions that a role may propose and that no executor knows.
fn unknown_actions(entry: &Entry, role: &Role) -> Vec<FileFault> {
    let known = Kind::ALL.map(Kind::name).join(", ");
    let unknown = role
        .may_propose
        .iter()
        .filter(|it| Kind::named(it).is_none());
    let place = |name: &String| {
        let lines = entry.source.text.lines();
        let line = lines.take_while(|it| !it.contains(name.as_str())).count();
        FileFault {
            file: entry.source.name.clone(),
            line: line.saturating_add(1),
            column: 1,
            message: format!("there is no action `{name}` to propose; there are {known}"),
        }
    };
    unknown.map(place).collect()
}

fn list(common: &Common, entries: &[Entry]) -> Outcome {
    let roles: Vec<_> = entries.iter().map(|it| roles::read(&it.source).0).collect();
    if common.json {
        terminal::json(&roles)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["ROLE", "LANE", "MAY WRITE", "BUT NOT", "FROM", "FOR"]);
    for (role, entry) in roles.iter().zip(entries) {
        let lane = match role.lane {
            Lane::ReadOnly => "read_only",
            Lane::DryRun => "dry_run",
            Lane::Execute => "execute",
        };
        table.row([
            (&role.name).into(),
            lane.into(),
            role.write.join(" ").into(),
            role.deny.join(" ").into(),
            Cell::styled(&entry.source.name, DIM),
            (&role.description).into(),
        ]);
    }
    table.print(0);
    Ok(Exit::Done)
}
