//! Formula files: `[[step]]` tables, read with every fault at its line and column.

use std::ops::Range;

use domain::Millis;
use domain::formula::{Action, Check, Formula, Gate, Kind, Lane, Role, Step};

use super::sheet::{Faults, Sheet, Table};
use super::{FileFault, Source};

/// How often a session is started anew unless the step says otherwise.
const ATTEMPTS: u32 = 3;

/// How long a session may last unless the step says otherwise, in minutes.
const MINUTES: u64 = 30;

/// A formula and where its parts stand in the file.
#[derive(Clone, Debug)]
pub struct Read {
    /// The formula.
    pub value: Formula,
    source: Source,
    steps: Vec<Vec<(&'static str, Range<usize>)>>,
}

impl Read {
    /// Returns what is wrong with the formula as a whole, given the roles and gates at hand.
    #[must_use]
    pub fn faults(&self, roles: &[Role], gates: &[Gate]) -> Vec<FileFault> {
        let faults = Faults::of(&self.source);
        for fault in self.value.faults(roles, gates) {
            let spans = fault.item.and_then(|it| self.steps.get(it));
            let span = spans.and_then(|it| it.iter().find(|(key, _)| *key == fault.field));
            let whole = spans.and_then(|it| it.first());
            let span = span
                .or(whole)
                .map(|(_, span)| span.clone())
                .unwrap_or_default();
            faults.add(&span, fault.message);
        }
        faults.sorted()
    }
}

/// Reads a formula file. What cannot be read is left out and named.
#[must_use]
pub fn read(source: &Source) -> (Read, Vec<FileFault>) {
    let faults = Faults::of(source);
    let sheet = Sheet::parse(source, &faults);
    let root = sheet.root(&faults);
    let name = root.required_text("name");
    let description = root.text("description").unwrap_or_default();
    let (mut steps, mut spans) = (Vec::new(), Vec::new());
    for table in root.tables("step") {
        if let Some(step) = step(&table) {
            steps.push(step);
            let keys = ["id", "needs", "on_fail", "role", "lane", "gates", "budget"];
            let mut places = vec![("", table.span.clone())];
            places.extend(keys.map(|it| (it, table.span_of(it))));
            spans.push(places);
        }
        table.finish();
    }
    root.finish();
    let value = Formula {
        name,
        description,
        steps,
    };
    (
        Read {
            value,
            source: source.clone(),
            steps: spans,
        },
        faults.sorted(),
    )
}

const LANES: &[(&str, Lane)] = &[
    ("read_only", Lane::ReadOnly),
    ("dry_run", Lane::DryRun),
    ("execute", Lane::Execute),
];

#[derive(Clone, Copy)]
enum Word {
    Session,
    Gate,
    Decision,
    Action,
}

fn step(table: &Table<'_>) -> Option<Step> {
    let id = table.required_text("id");
    let needs = table.texts("needs");
    let on_fail = table.text("on_fail");
    let words = [
        ("session", Word::Session),
        ("gate", Word::Gate),
        ("decision", Word::Decision),
        ("action", Word::Action),
    ];
    if table.required_text("kind").is_empty() {
        return None;
    }
    let kind = match table.one_of("kind", &words)? {
        Word::Session => session(table),
        Word::Gate => Kind::Gate {
            gates: table.texts("gates"),
        },
        Word::Decision => Kind::Decision,
        Word::Action => {
            if table.required_text("action").is_empty() {
                return None;
            }
            Kind::Action {
                action: table.one_of("action", &[("promote", Action::Promote)])?,
            }
        }
    };
    Some(Step {
        id,
        needs,
        kind,
        on_fail,
    })
}

fn session(table: &Table<'_>) -> Kind {
    let budget = table.table("budget");
    let number = |key| budget.as_ref().and_then(|it| it.number(key));
    let attempts = number("attempts")
        .and_then(|it| u32::try_from(it).ok())
        .unwrap_or(ATTEMPTS);
    let wall = Millis::from_mins(number("minutes").unwrap_or(MINUTES));
    if let Some(budget) = &budget {
        budget.finish();
    }
    Kind::Session {
        role: table.required_text("role"),
        // A missing lane means less power, never more.
        lane: table.one_of("lane", LANES).unwrap_or(Lane::ReadOnly),
        prompt: table.required_text("prompt"),
        accept: checks(table),
        attempts,
        wall,
    }
}

fn checks(table: &Table<'_>) -> Vec<Check> {
    let known = [
        ("has_changes", Check::HasChanges),
        ("no_open_findings", Check::NoOpenFindings),
    ];
    let mut checks = Vec::new();
    for text in table.texts("accept") {
        match known.iter().find(|(name, _)| *name == text) {
            Some((_, check)) => checks.push(*check),
            None => {
                let message = format!("`{text}` is none of `has_changes`, `no_open_findings`");
                table.fault("accept", message);
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let source = Source {
            name: "f.toml".into(),
            text: text.into(),
        };
        let (read, mut faults) = read(&source);
        faults.extend(read.faults(&[], &[]));
        faults.sort();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_of_form_and_of_meaning_are_named_together() {
        let text =
            "name = \"f\"\n[[step]]\nid = \"a\"\nkind = \"gate\"\nneeds = [\"b\"]\nodd = 1\n";
        assert_eq!(
            faults_of(text),
            [
                "f.toml:5:9: there is no step `b`",
                "f.toml:6:1: `odd` is not known here; known are `gates`, `id`, `kind`, `needs`, `on_fail`",
            ]
        );
    }

    #[test]
    fn a_step_of_an_unknown_kind_is_named() {
        let found = faults_of("name = \"f\"\n[[step]]\nid = \"a\"\nkind = \"judge\"\n");
        let wanted = "`judge` is none of `session`, `gate`, `decision`, `action`";
        assert!(found.iter().any(|it| it.contains(wanted)), "{found:?}");
    }

    #[test]
    fn a_session_without_a_lane_is_read_only() {
        let text = "name=\"f\"\n[[step]]\nid=\"a\"\nkind=\"session\"\nrole=\"r\"\nprompt=\"p\"\n";
        let source = Source {
            name: "f.toml".into(),
            text: text.into(),
        };
        let (read, faults) = read(&source);
        assert_eq!(faults, []);
        assert!(matches!(
            read.value.steps[0].kind,
            Kind::Session {
                lane: Lane::ReadOnly,
                ..
            }
        ));
    }
}
