//! `run_tests`: runs a configured suite in a cell and tells counts and the names of what failed.
//! The suite sees its folder read-only at `/workspace` and leaves a JUnit report at
//! `/out/report.xml`; what it prints is let go.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ports::cells::Access;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::RunTests;
use wire::execution::{Code, Failure, Summary, Word};

use super::{Means, Outcome, Prepared, environment, unfinished};
use crate::run::{Run, private_folder};

/// The largest report, in bytes.
const REPORT_BYTES_MAX: u64 = 8 << 20;

/// The most names that are told.
const NAMES_MAX: usize = 20;

/// The longest name that is told, in characters.
const NAME_CHARACTERS_MAX: usize = 120;

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(super) suites: BTreeMap<Word, Suite>,
}

/// One suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// The program, of `[programs]`.
    pub(super) program: String,
    #[serde(default)]
    arguments: Vec<String>,
    /// What is tested: shown read-only.
    folder: PathBuf,
    /// Variables of the program, each with the secret that it holds.
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, String>,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    1_800
}

/// What a report counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    failed_names: Vec<String>,
}

impl Settings {
    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a RunTests,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let suite = self.suites.get(&asked.suite).ok_or(Code::NotAllowed)?;
        let program = means
            .programs
            .get(&suite.program)
            .ok_or(Code::ProgramChanged)?;
        let env = environment(&suite.secrets, means.secrets)?;
        let out = means.scratch.path()?.join("out");
        private_folder(&out).map_err(|_| Code::Unavailable)?;
        let run = Run {
            program,
            arguments: suite.arguments.clone(),
            env,
            workspace: Some(suite.folder.clone()),
            shown: vec![(out.clone(), "/out", Access::Writable)],
            reach: None,
            patience: Duration::from_secs(suite.timeout_seconds),
        };
        Ok(Prepared {
            before: None,
            perform: Box::new(move || perform(asked, run, &out.join("report.xml"), means)),
        })
    }
}

fn perform(asked: &RunTests, run: Run<'_>, report: &Path, means: Means<'_>) -> Outcome {
    let ended = match run.finish(means) {
        Ok(ended) => ended,
        Err(how) => return unfinished(how),
    };
    let Some(text) = read(report) else {
        // A suite that failed before it could report is a failed program, not zero tests.
        return Outcome::Failed(
            if ended.code == 0 {
                Failure::Unreadable
            } else {
                Failure::ProgramFailed
            },
            None,
        );
    };
    // The whole report, before names are cut: half a secret is one, too.
    if means.guard.look(text.as_bytes()).is_some() {
        return Outcome::Failed(Failure::Withheld, None);
    }
    let Some(counts) = count(&text) else {
        return Outcome::Failed(Failure::Unreadable, None);
    };
    let is_green = counts.failed == 0 && counts.passed > 0;
    let summary = Summary::RunTests {
        suite: asked.suite.clone(),
        passed: counts.passed,
        failed: counts.failed,
        skipped: counts.skipped,
        failed_names: counts.failed_names,
    };
    match (is_green, ended.code) {
        (true, 0) => Outcome::Done(summary),
        // A green report of a program that failed is not believed.
        (true, _) => Outcome::Failed(Failure::ProgramFailed, Some(summary)),
        (false, _) => Outcome::Failed(Failure::TestsFailed, Some(summary)),
    }
}

fn read(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > REPORT_BYTES_MAX {
        return None;
    }
    let mut text = String::new();
    file.take(REPORT_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Counts the cases of a JUnit report: each for itself, never what an attribute sums up.
fn count(text: &str) -> Option<Counts> {
    // Entities of a document type could grow without end; they are refused by default.
    let document = roxmltree::Document::parse(text).ok()?;
    let mut counts = Counts::default();
    for case in document
        .descendants()
        .filter(|it| it.has_tag_name("testcase"))
    {
        let has = |name| case.children().any(|it| it.has_tag_name(name));
        if has("failure") || has("error") {
            counts.failed += 1;
            if counts.failed_names.len() < NAMES_MAX {
                counts.failed_names.push(name(&case));
            }
        } else if has("skipped") {
            counts.skipped += 1;
        } else {
            counts.passed += 1;
        }
    }
    Some(counts)
}

/// Returns a case's name, of plain characters only.
fn name(case: &roxmltree::Node<'_, '_>) -> String {
    let of = |name| case.attribute(name).unwrap_or_default();
    let whole = match of("classname") {
        "" => of("name").to_owned(),
        class => format!("{class}::{}", of("name")),
    };
    let plain = |it: char| {
        if it.is_ascii_graphic() || it == ' ' {
            it
        } else {
            '?'
        }
    };
    whole.chars().take(NAME_CHARACTERS_MAX).map(plain).collect()
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let count = json!({"type": "integer", "minimum": 0});
    let arguments = json!({"suite": word});
    let summary = json!({
        "suite": word, "passed": count, "failed": count, "skipped": count,
        "failed_names": {
            "type": "array", "maxItems": NAMES_MAX,
            "items": {"type": "string", "maxLength": NAME_CHARACTERS_MAX},
        },
    });
    (arguments, summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_and_attributes_are_not_believed() {
        let text = r#"<testsuites tests="9" failures="0"><testsuite name="s" failures="0">
            <testcase classname="a" name="one"/>
            <testcase classname="a" name="two"><failure message="x">what it printed</failure></testcase>
            <testcase name="three"><error/></testcase>
            <testcase name="four"><skipped/></testcase>
        </testsuite></testsuites>"#;
        let counts = count(text).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 2, 1));
        assert_eq!(counts.failed_names, ["a::two", "three"]);
    }

    #[test]
    fn names_are_few_short_and_plain() {
        let case = |name: &str| format!("<testcase name=\"{name}\"><failure/></testcase>");
        let many: String = (0..50).map(|it| case(&format!("{it}"))).collect();
        let counts = count(&format!("<t>{many}</t>")).unwrap();
        assert_eq!((counts.failed, counts.failed_names.len()), (50, NAMES_MAX));
        let odd = case(&format!("\u{202e}&#10;{}", "x".repeat(500)));
        let counts = count(&format!("<t>{odd}</t>")).unwrap();
        let name = &counts.failed_names[0];
        assert!(
            name.starts_with("??x") && name.len() == NAME_CHARACTERS_MAX,
            "{name}"
        );
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in [
            "",
            "no xml",
            "<t>",
            "<!DOCTYPE t [<!ENTITY a \"b\">]><t>&a;</t>",
        ] {
            assert_eq!(count(text), None, "{text}");
        }
        assert_eq!(count("<t/>"), Some(Counts::default()));
    }
}
