//! `palisade formulas`: check, list and show formulas.

use clap::Parser;
use domain::formula::{Formula, Gate, Kind, Role};
use engine::catalog::{
    FileFault, PROMPTS, SCHEMAS, SHIPPED_FORMULAS, SHIPPED_PROMPTS, SHIPPED_SCHEMAS, formulas,
    prompts, schema,
};
use serde::Serialize;

use super::Common;
use super::catalog::{self, Entry, Verb};
use crate::exit::{Exit, Outcome};
use crate::table::{Cell, Table};
use crate::terminal::{self, DIM};

/// Check, list and show formulas
///
/// A formula is a TOML file of steps, in `.palisade/formulas` of a repository or shipped. A run
/// takes it from the commit it begins on, never from the working tree, so commit what you have
/// changed. A check names every fault with its place, and exits with 2 if there is one; it looks
/// at the roles and gates at hand too, and at the templates of prompts in `formulas/prompts`.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    source: String,
    description: String,
    steps: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Check { files } => {
            let entries: Vec<Entry> = if files.is_empty() {
                let mut all = catalog::entries(common, "formulas", SHIPPED_FORMULAS)?;
                all.extend(catalog::entries_of(common, PROMPTS, "md", SHIPPED_PROMPTS)?);
                all.extend(catalog::entries_of(
                    common,
                    SCHEMAS,
                    "json",
                    SHIPPED_SCHEMAS,
                )?);
                all
            } else {
                let read: Result<_, _> = files.iter().map(|it| catalog::entry(it)).collect();
                read?
            };
            let schemas = catalog::entries_of(common, SCHEMAS, "json", SHIPPED_SCHEMAS)?;
            let prompts = catalog::entries_of(common, PROMPTS, "md", SHIPPED_PROMPTS)?;
            let prompts: Vec<_> = prompts.into_iter().map(|it| it.name).collect();
            let roles = catalog::roles_at_hand(common)?;
            let gates = catalog::gates_at_hand(common)?;
            let checked: Vec<_> = entries
                .into_iter()
                .map(|it| {
                    let faults = faults(&it, &roles, &gates, (&schemas, &prompts));
                    (it, faults)
                })
                .collect();
            catalog::report(common, &checked, "file")
        }
        Verb::List => list(common),
        Verb::Show { name } => {
            let entries = catalog::entries(common, "formulas", SHIPPED_FORMULAS)?;
            let entry = catalog::find(entries, name, "formula")?;
            if common.json {
                terminal::json(&value(&entry))?;
            } else {
                terminal::say(terminal::styled(&entry.source.name, DIM));
                terminal::put(&terminal::printable(&entry.source.text));
            }
            Ok(Exit::Done)
        }
    }
}

fn faults(
    entry: &Entry,
    roles: &[Role],
    gates: &[Gate],
    (schemas, prompts): (&[Entry], &[String]),
) -> Vec<FileFault> {
    if is_in(entry, PROMPTS, ".md") {
        return prompts::faults(&entry.source);
    }
    if is_in(entry, SCHEMAS, ".json") {
        return schema::faults(&entry.source);
    }
    let (mut read, mut faults) = formulas::read(&entry.source);
    for name in read.schemas() {
        let found = schemas.iter().find(|it| it.name == name);
        let more = read.set_schema(&name, found.map(|it| &it.source));
        // A schema's own faults are told where it is checked itself.
        faults.extend(more.into_iter().filter(|it| it.file == entry.source.name));
    }
    faults.extend(read.prompt_faults(prompts));
    faults.extend(read.faults(roles, gates));
    faults.sort();
    faults.dedup();
    faults
}

/// Templates of prompts and schemas lie beside the formulas, and are checked with them.
fn is_in(entry: &Entry, folder: &str, ending: &str) -> bool {
    let name = &entry.source.name;
    name.ends_with(ending) || name.starts_with(&format!("shipped:{folder}/"))
}

fn value(entry: &Entry) -> Formula {
    formulas::read(&entry.source).0.value
}

fn list(common: &Common) -> Outcome {
    let entries = catalog::entries(common, "formulas", SHIPPED_FORMULAS)?;
    let listed: Vec<_> = entries
        .iter()
        .map(|it| {
            let formula = value(it);
            Listed {
                name: it.name.clone(),
                source: it.source.name.clone(),
                description: formula.description,
                steps: formula.steps.iter().map(|it| it.id.clone()).collect(),
            }
        })
        .collect();
    if common.json {
        terminal::json(&listed)?;
        return Ok(Exit::Done);
    }
    for (it, entry) in listed.iter().zip(&entries) {
        terminal::data(terminal::styled(&it.name, terminal::BOLD));
        let mut table = Table::new(&["", ""]);
        table.row(["from".into(), Cell::styled(&it.source, DIM)]);
        if !it.description.is_empty() {
            table.row(["for".into(), (&it.description).into()]);
        }
        table.print(2);
        let mut table = Table::new(&["STEP", "KIND", "WHO", "AFTER", "IF NOT"]);
        for step in value(entry).steps {
            let (kind, who) = match &step.kind {
                Kind::Session { role, .. } => ("session", role.clone()),
                Kind::Judge(judge) if judge.model.is_empty() => {
                    ("judge", "[models] judge".to_string())
                }
                Kind::Judge(judge) => ("judge", judge.model.clone()),
                Kind::Gate { gates } if gates.is_empty() => ("gate", "all gates".to_string()),
                Kind::Gate { gates } => ("gate", gates.join(", ")),
                Kind::Decision => ("decision", "the operator".to_string()),
                Kind::Action { .. } => ("action", "promote".to_string()),
            };
            let back = step.on_fail.map(|it| format!("back to {it}"));
            table.row([
                step.id.into(),
                kind.into(),
                who.into(),
                step.needs.join(", ").into(),
                back.unwrap_or_default().into(),
            ]);
        }
        table.print(2);
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::catalog::{SHIPPED_ROLES, Source, roles};

    #[test]
    fn what_is_shipped_has_no_faults() {
        let source = |folder: &str, (name, text): &(&str, &str)| Entry {
            name: (*name).to_string(),
            source: Source {
                name: format!("shipped:{folder}/{name}"),
                text: (*text).to_string(),
            },
        };
        let roles: Vec<_> = SHIPPED_ROLES
            .iter()
            .map(|it| roles::read(&source("roles", it).source).0)
            .collect();
        let entries = |folder: &str, all: &[(&str, &str)]| {
            let all = all.iter().map(|it| source(folder, it));
            all.collect::<Vec<_>>()
        };
        let schemas = entries(SCHEMAS, SHIPPED_SCHEMAS);
        let prompts: Vec<_> = SHIPPED_PROMPTS
            .iter()
            .map(|(name, _)| (*name).to_string())
            .collect();
        let mut all = entries("formulas", SHIPPED_FORMULAS);
        all.extend(entries(PROMPTS, SHIPPED_PROMPTS));
        all.extend(schemas.clone());
        for entry in all {
            assert_eq!(faults(&entry, &roles, &[], (&schemas, &prompts)), []);
        }
    }
}
