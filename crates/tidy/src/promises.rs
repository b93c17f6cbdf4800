//! What the program promises to the outside: stored event types, environment variables and the
//! reasons for which sessions end.

use std::collections::BTreeSet;

use crate::{File, code_lines, is_listed};

/// Where the golden form of each event is kept.
pub const GOLDEN: &str = "crates/domain/tests/golden/";

/// Where every environment variable is listed for the operator.
pub const ENVIRONMENT: &str = "docs/ENVIRONMENT.md";

/// Where the reasons for which a session ends are named.
pub const END_REASONS: &str = "crates/domain/src/agent.rs";

/// Where every reason is told to who writes agents.
pub const AGENTS: &str = "docs/AGENTS-IN-CELLS.md";

/// What may read or change the environment, and why.
pub const MAY_READ_ENVIRONMENT: &[(&str, &str)] = &[
    (
        "crates/cli/src/config.rs",
        "the one place that resolves settings",
    ),
    (
        "crates/broker/src/main.rs",
        "a provider's key may be in the broker's own environment",
    ),
    (
        "crates/agents/src/client/",
        "it runs in a cell, which is told everything by its environment",
    ),
    (
        "crates/cell/tests/",
        "programs that show what environment they were given",
    ),
    (
        "crates/domain/tests/golden.rs",
        "`PALISADE_BLESS=1` writes the stored forms anew",
    ),
    (
        "crates/wire/tests/execution.rs",
        "`PALISADE_BLESS=1` writes the signed and stored forms anew",
    ),
    (
        "crates/executor/src/main.rs",
        "a secret may be in the executor's own environment, or in a folder it names",
    ),
    (
        "crates/executor/src/bin/",
        "the program that tests kill takes its secrets as the product does",
    ),
    (
        "crates/executor/tests/",
        "git is looked for on the tester's PATH",
    ),
    (
        "crates/workspace/src/git.rs",
        "git is looked for on the operator's PATH",
    ),
    (
        "crates/store/tests/",
        "a test tells its own child process where to write",
    ),
    (
        "crates/workspace/tests/",
        "git is looked for on the tester's PATH",
    ),
    ("crates/tidy/", "it says what it looks for"),
];

const READS: &[&str] = &[
    "env::var(",
    "env::var_os(",
    "env::vars(",
    "env::vars_os(",
    "env::set_var(",
    "env::remove_var(",
    "option_env!(",
];

/// Returns every stored event type without a golden file, and every golden file without a type.
#[must_use]
pub fn events_without_golden_file(files: &[File]) -> Vec<String> {
    let types: BTreeSet<String> = files
        .iter()
        .filter(|it| it.path.starts_with("crates/domain/") && it.is_production())
        .flat_map(|it| event_types(it.without_inline_tests()))
        .collect();
    let golden: BTreeSet<String> = files
        .iter()
        .filter_map(|it| it.path.strip_prefix(GOLDEN)?.strip_suffix(".json"))
        .map(str::to_owned)
        .collect();
    let missing = types.difference(&golden).map(|it| {
        format!("event `{it}` has no golden file: keep its stored form in {GOLDEN}{it}.json")
    });
    let orphaned = golden.difference(&types).map(|it| {
        format!(
            "{GOLDEN}{it}.json: no literal of the domain names this event; stored forms are never \
             dropped, so keep its reader, or rename the file"
        )
    });
    missing.chain(orphaned).collect()
}

/// Returns every golden file that is no JSON.
#[must_use]
pub fn unreadable_golden_files(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|it| it.path.starts_with(GOLDEN))
        .filter_map(|file| {
            let error = serde_json::from_str::<serde_json::Value>(&file.text).err()?;
            Some(format!("{}: {error}", file.path))
        })
        .collect()
}

/// Returns every place that reads the environment and is not listed.
#[must_use]
pub fn stray_environment_reads(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files
        .iter()
        .filter(|it| it.is_rust() && !is_listed(&it.path, MAY_READ_ENVIRONMENT))
    {
        for (number, line) in code_lines(&file.text) {
            if let Some(read) = READS.iter().find(|it| line.contains(**it)) {
                breaches.push(format!(
                    "{}:{number}: `{read}…)`; the environment is read once, in \
                     crates/cli/src/config.rs: take the value as a parameter",
                    file.path
                ));
            }
        }
    }
    breaches
}

/// Returns every variable of ours that production code names and the operator's list does not.
#[must_use]
pub fn unlisted_variables(files: &[File]) -> Vec<String> {
    let list = files.iter().find(|it| it.path == ENVIRONMENT);
    let list = list.map_or("", |it| it.text.as_str());
    let mut breaches = Vec::new();
    for file in files
        .iter()
        .filter(|it| it.is_production() && !it.path.starts_with("crates/tidy/"))
    {
        let names: BTreeSet<&str> = code_lines(file.without_inline_tests())
            .flat_map(|(_, line)| variables(line))
            .collect();
        for name in names {
            if !list.contains(&format!("`{name}`")) {
                breaches.push(format!("{}: list `{name}` in {ENVIRONMENT}", file.path));
            }
        }
    }
    breaches
}

/// Returns every reason for which a session ends that is not told to who writes agents.
#[must_use]
pub fn untold_end_reasons(files: &[File]) -> Vec<String> {
    let text = |path| files.iter().find(|it| it.path == path).map(|it| &it.text);
    let (Some(code), Some(told)) = (text(END_REASONS), text(AGENTS)) else {
        return vec![format!("{END_REASONS} or {AGENTS} is not there")];
    };
    let section = told.split("\n## ");
    let section = section.filter(|it| it.starts_with("How a session ends\n"));
    let section: String = section.collect();
    let reasons = code.split_once("impl EndReason {").map_or("", |it| it.1);
    let reasons = reasons.split_once("\n}\n").map_or(reasons, |it| it.0);
    let names: Vec<&str> = code_lines(reasons)
        .filter_map(|(_, line)| line.trim().strip_prefix("Self::")?.split_once("=> \""))
        .filter_map(|(_, name)| name.strip_suffix("\","))
        .collect();
    if names.is_empty() {
        return vec![format!("{END_REASONS}: no name of an `EndReason` is found")];
    }
    names
        .iter()
        .filter(|it| !section.contains(&format!("`{it}`")))
        .map(|it| format!("{AGENTS}: \"How a session ends\" does not name `{it}`"))
        .collect()
}

/// Returns the literals `"io.palisade.<noun>.<event>.v<number>"`.
fn event_types(text: &str) -> Vec<String> {
    code_lines(text)
        .flat_map(|(_, line)| line.split('"').skip(1).step_by(2))
        .filter(|it| {
            let mut parts = it.split('.');
            let version = parts.next_back().and_then(|it| it.strip_prefix('v'));
            it.starts_with("io.palisade.")
                && parts.count() == 4
                && version.is_some_and(|it| it.parse::<u32>().is_ok())
        })
        .map(str::to_owned)
        .collect()
}

/// Returns the words of `line` that are names of our environment variables.
fn variables(line: &str) -> impl Iterator<Item = &str> {
    line.split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .filter(|it| {
            it.strip_prefix("PALISADE_").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|it| !it.is_ascii_lowercase())
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str) -> File {
        let text = format!("const A: &str = \"{kind}\";\n");
        File::new("crates/domain/src/work.rs", &text)
    }

    fn golden(kind: &str) -> File {
        File::new(&format!("{GOLDEN}{kind}.json"), "{}")
    }

    #[test]
    fn an_event_and_its_golden_file_belong_together() {
        let kind = "io.palisade.work.submitted.v1";
        let check = |files: &[File]| events_without_golden_file(files).len();
        assert_eq!(check(&[event(kind), golden(kind)]), 0);
        assert_eq!(check(&[event(kind)]), 1);
        assert_eq!(check(&[golden(kind)]), 1);
        assert_eq!(
            check(&[event(kind), golden("io.palisade.work.submitted.v2")]),
            2
        );
        assert_eq!(check(&[event("io.palisade.work")]), 0);
    }

    #[test]
    fn a_golden_file_that_is_no_json_is_found() {
        let bad = File::new(&format!("{GOLDEN}x.json"), "{");
        assert_eq!(unreadable_golden_files(&[bad, golden("y")]).len(), 1);
    }

    #[test]
    fn a_stray_read_of_the_environment_is_found() {
        let text = "fn a() { std::env::var_os(\"HOME\"); }\n// env::var(\n";
        let check = |path| stray_environment_reads(&[File::new(path, text)]).len();
        assert_eq!(check("crates/engine/src/a.rs"), 1);
        assert_eq!(check("crates/engine/tests/a.rs"), 1);
        assert_eq!(check("crates/cli/src/config.rs"), 0);
    }

    #[test]
    fn a_reason_that_is_not_told_is_found() {
        let code = File::new(
            END_REASONS,
            "impl EndReason {\n  Self::Done { .. } => \"done\",\n  Self::Flood => \"flood\",\n\n}\n",
        );
        let check = |told: &str| {
            let told = File::new(
                AGENTS,
                &format!("# A\n\n`done`\n\n## How a session ends\n{told}"),
            );
            untold_end_reasons(&[code.clone(), told]).len()
        };
        assert_eq!(check("`done` · `flood`\n"), 0);
        assert_eq!(check("`done`\n\n## B\n`flood`\n"), 1);
        assert_eq!(check(""), 2);
        assert_eq!(untold_end_reasons(&[code]).len(), 1);
        let none = [File::new(END_REASONS, ""), File::new(AGENTS, "")];
        assert_eq!(untold_end_reasons(&none).len(), 1);
    }

    #[test]
    fn an_unlisted_variable_is_found() {
        let code = File::new(
            "crates/cli/src/config.rs",
            "const A: &str = \"PALISADE_HOME\"; // PALISADE_ is a prefix\n",
        );
        let list = File::new(ENVIRONMENT, "| `PALISADE_HOME` | where |\n");
        assert_eq!(unlisted_variables(std::slice::from_ref(&code)).len(), 1);
        assert_eq!(unlisted_variables(&[code, list]).len(), 0);
    }
}
