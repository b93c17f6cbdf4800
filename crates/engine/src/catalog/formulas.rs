//! Formula files: `[[step]]` tables, read with every fault at its line and column.

use std::collections::BTreeSet;
use std::ops::Range;

use domain::Millis;
use domain::formula::{Action, Check, Formula, Gate, Judge, Kind, Lane, Role, Step, is_name};

use super::sheet::{Faults, Sheet, Table};
use super::{FileFault, Source, schema};

/// How often a session is started anew unless the step says otherwise.
const ATTEMPTS: u32 = 3;

/// How long a session may last unless the step says otherwise, in minutes.
const MINUTES: u64 = 30;

/// The attempts, tokens and seconds of a judge unless the step says otherwise.
const JUDGE: (u64, u64, u64) = (3, 50_000, 120);

/// A formula and where its parts stand in the file.
#[derive(Clone, Debug)]
pub struct Read {
    /// The formula. The schema of a judge's answer is a name until [`Read::set_schema`].
    pub value: Formula,
    source: Source,
    steps: Vec<Vec<(&'static str, Range<usize>)>>,
}

impl Read {
    /// Returns the names of the schemas that stand in files of their own.
    #[must_use]
    pub fn schemas(&self) -> BTreeSet<String> {
        let judges = self.value.steps.iter().filter_map(judge_of);
        let names = judges.map(|it| it.schema.as_str()).filter(|it| is_name(it));
        names.map(str::to_string).collect()
    }

    /// Puts a schema in place of its name; returns what is wrong with it, or that there is none.
    pub fn set_schema(&mut self, name: &str, found: Option<&Source>) -> Vec<FileFault> {
        let Some(found) = found else {
            let faults = Faults::of(&self.source);
            for (index, step) in self.value.steps.iter().enumerate() {
                if judge_of(step).is_some_and(|it| it.schema == name) {
                    let message = format!("there is no schema `{name}`");
                    faults.add(&self.place(Some(index), "schema"), message);
                }
            }
            return faults.sorted();
        };
        for step in &mut self.value.steps {
            if let Kind::Judge(judge) = &mut step.kind
                && judge.schema == name
            {
                judge.schema.clone_from(&found.text);
            }
        }
        schema::faults(found)
    }

    /// Returns a fault for each judge whose template is none of these.
    #[must_use]
    pub fn prompt_faults(&self, known: &[String]) -> Vec<FileFault> {
        let faults = Faults::of(&self.source);
        for (index, step) in self.value.steps.iter().enumerate() {
            let prompt = judge_of(step).map(|it| &it.prompt);
            if let Some(name) = prompt.filter(|it| !known.contains(it)) {
                let message = format!("there is no template `{name}` in formulas/prompts");
                faults.add(&self.place(Some(index), "prompt"), message);
            }
        }
        faults.sorted()
    }

    /// Returns what is wrong with the answers that judges are asked for, once all schemas are set.
    fn answer_faults(&self, faults: &Faults<'_>) {
        for (index, step) in self.value.steps.iter().enumerate() {
            let Some(judge) = judge_of(step).filter(|it| !is_name(&it.schema)) else {
                continue;
            };
            match schema::read(&judge.schema) {
                Ok(read) => {
                    for (field, message) in schema::field_faults(&read, judge) {
                        faults.add(&self.place(Some(index), field), message);
                    }
                }
                // A file's own faults are told with the file.
                Err(told) if judge.schema.trim_start().starts_with('{') => {
                    for message in told {
                        faults.add(&self.place(Some(index), "schema"), message);
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn place(&self, step: Option<usize>, field: &str) -> Range<usize> {
        let spans = step.and_then(|it| self.steps.get(it));
        let span = spans.and_then(|it| it.iter().find(|(key, _)| *key == field));
        let whole = spans.and_then(|it| it.first());
        let span = span.or(whole).map(|(_, span)| span.clone());
        span.unwrap_or_default()
    }

    /// Returns what is wrong with the formula as a whole, given the roles and gates at hand.
    #[must_use]
    pub fn faults(&self, roles: &[Role], gates: &[Gate]) -> Vec<FileFault> {
        let faults = Faults::of(&self.source);
        for fault in self.value.faults(roles, gates) {
            faults.add(&self.place(fault.item, fault.field), fault.message);
        }
        self.answer_faults(&faults);
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
            let keys = [
                "id", "needs", "on_fail", "role", "lane", "gates", "budget", "prompt", "schema",
                "verdict", "passes", "reasons", "files",
            ];
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
    Judge,
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
        ("judge", Word::Judge),
        ("gate", Word::Gate),
        ("decision", Word::Decision),
        ("action", Word::Action),
    ];
    if table.required_text("kind").is_empty() {
        return None;
    }
    let kind = match table.one_of("kind", &words)? {
        Word::Session => session(table),
        Word::Judge => Kind::Judge(judge(table)),
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

fn judge(table: &Table<'_>) -> Judge {
    let budget = table.table("budget");
    let number = |key| budget.as_ref().and_then(|it| it.number(key));
    let (attempts, tokens, seconds) = JUDGE;
    let attempts = number("attempts").unwrap_or(attempts);
    let tokens = number("tokens").unwrap_or(tokens);
    let seconds = number("seconds").unwrap_or(seconds);
    if let Some(budget) = &budget {
        budget.finish();
    }
    let schema = table.required_text("schema");
    if !is_name(&schema) && !schema.trim_start().starts_with('{') {
        let message = "the name of a file in formulas/schemas, or JSON Schema as text";
        table.fault("schema", message);
    }
    Judge {
        model: table.text("model").unwrap_or_default(),
        prompt: table.required_text("prompt"),
        schema,
        verdict: table.required_text("verdict"),
        passes: table.texts("passes"),
        reasons: table.text("reasons"),
        files: table.text("files"),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        tokens,
        wall: Millis::from_secs(seconds),
    }
}

fn judge_of(step: &Step) -> Option<&Judge> {
    match &step.kind {
        Kind::Judge(judge) => Some(judge),
        Kind::Session { .. } | Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => None,
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
        let found = faults_of("name = \"f\"\n[[step]]\nid = \"a\"\nkind = \"oracle\"\n");
        let wanted = "`oracle` is none of `session`, `judge`, `gate`, `decision`, `action`";
        assert!(found.iter().any(|it| it.contains(wanted)), "{found:?}");
    }

    #[test]
    fn a_judge_is_held_to_its_schema() {
        let text = "name = \"f\"\n[[step]]\nid = \"t\"\nkind = \"judge\"\nprompt = \"triage\"\n\
                    schema = '{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"}}}'\n\
                    verdict = \"ok\"\nreasons = \"why\"\nbudget = { attempts = 11, tokens = 0 }\n";
        let found = faults_of(text);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0].starts_with("f.toml:7:11: `ok` is no required field"),
            "{found:#?}"
        );
        assert!(
            found[1].starts_with("f.toml:8:11: `why` is no required list"),
            "{found:#?}"
        );
        assert!(
            found[2].starts_with("f.toml:9:10: `attempts` is 1 to 10"),
            "{found:#?}"
        );
        assert!(
            found[3].starts_with("f.toml:9:10: `tokens` is more"),
            "{found:#?}"
        );
        let named = text.replace("schema = '{", "schema = 'no {");
        let found = faults_of(&named);
        assert!(
            found[0].contains("the name of a file in formulas/schemas"),
            "{found:#?}"
        );
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
