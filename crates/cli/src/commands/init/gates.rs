//! Gates: the checks that a repository most likely has, guessed from its files.

use serde_json::Value;

use super::probe::{Probe, text};

/// What npm writes into a new package: no test at all.
const NO_TEST: &str = "no test specified";

/// One guessed gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guess {
    name: &'static str,
    argv: Vec<String>,
    junit: Option<String>,
    remarks: Vec<String>,
}

impl Guess {
    fn new(name: &'static str, words: &[&str]) -> Self {
        let argv = words.iter().map(ToString::to_string).collect();
        Self {
            name,
            argv,
            ..Self::default()
        }
    }

    fn shell(name: &'static str, line: &str) -> Self {
        let argv = ["/bin/sh", "-c", line].map(ToString::to_string).to_vec();
        Self {
            name,
            argv,
            ..Self::default()
        }
    }

    fn remark(mut self, text: impl Into<String>) -> Self {
        self.remarks.push(text.into());
        self
    }
}

/// Returns the gates that fit the repository.
pub(crate) fn guess(probe: &Probe) -> Vec<Guess> {
    let mut found: Vec<_> = [
        rust(probe),
        node(probe),
        python(probe),
        go(probe),
        java(probe),
        ruby(probe),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Where a language has its own runner, `make test` mostly calls just that.
    if found.is_empty() {
        found.extend(make(probe));
    }
    found
}

fn rust(probe: &Probe) -> Option<Guess> {
    let manifest = probe.text("Cargo.toml")?;
    let mut options = vec!["--offline"];
    if manifest.lines().any(|it| it.trim() == "[workspace]") {
        options.push("--workspace");
    }
    let Some((profile, junit)) = nextest_report(probe) else {
        let mut words = vec!["cargo", "test"];
        words.extend(options);
        return Some(Guess::new("tests", &words));
    };
    let mut words = vec!["cargo", "nextest", "run", "--profile", &profile];
    words.extend(options);
    let mut guess = Guess::new("tests", &words);
    guess.junit = Some(junit);
    Some(
        guess.remark(
            "cargo-nextest runs no doc tests; add a gate with `cargo test --doc` for those.",
        ),
    )
}

/// Returns the profile of nextest that writes a JUnit report, and where it writes it.
fn nextest_report(probe: &Probe) -> Option<(String, String)> {
    let installed = probe.program("cargo-nextest").is_some()
        || probe.at_home(".cargo/bin/cargo-nextest").is_some();
    let settings: toml::Table = probe.text(".config/nextest.toml")?.parse().ok()?;
    let profiles = settings.get("profile")?.as_table()?;
    let store = settings.get("store").and_then(|it| it.get("dir")?.as_str());
    let store = store.unwrap_or("target/nextest");
    let report = |(name, profile): (&String, &toml::Value)| {
        let path = profile.get("junit")?.get("path")?.as_str()?;
        Some((name.clone(), format!("{store}/{name}/{path}")))
    };
    profiles.iter().find_map(report).filter(|_| installed)
}

fn node(probe: &Probe) -> Option<Guess> {
    let package: Value = serde_json::from_str(&probe.text("package.json")?).ok()?;
    let script = package.get("scripts")?.get("test")?.as_str()?;
    if script.contains(NO_TEST) {
        return None;
    }
    let needs = ["dependencies", "devDependencies"].into_iter().any(|it| {
        package
            .get(it)
            .and_then(Value::as_object)
            .is_some_and(|it| !it.is_empty())
    });
    if !needs {
        return Some(Guess::new("tests", &["npm", "test"]));
    }
    let (install, run) = match probe.first(&["pnpm-lock.yaml", "yarn.lock", "package-lock.json"]) {
        Some("pnpm-lock.yaml") => ("pnpm install --offline --frozen-lockfile", "pnpm test"),
        Some("yarn.lock") => ("yarn install --offline --frozen-lockfile", "yarn test"),
        Some(_) => ("npm ci --offline", "npm test"),
        None => ("npm install --offline --no-save", "npm test"),
    };
    let guess = Guess::shell("tests", &format!("{install} && {run}"));
    Some(guess.remark("node_modules is not committed, so it is installed from the cache first."))
}

fn python(probe: &Probe) -> Option<Guess> {
    let marks = [
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "requirements.txt",
        "tox.ini",
        "pytest.ini",
    ];
    probe.first(&marks)?;
    let says = |name: &str| probe.text(name).is_some_and(|it| it.contains("pytest"));
    let pytest = marks
        .into_iter()
        .chain(["requirements-dev.txt", "uv.lock"])
        .any(says)
        || probe
            .first(&["pytest.ini", "conftest.py", "tests/conftest.py"])
            .is_some();
    if !pytest {
        probe.first(&["tests", "test"])?;
        let words = ["python3", "-m", "unittest", "discover", "--verbose"];
        let guess = Guess::new("tests", &words);
        return Some(guess.remark(
            "unittest writes no report, so the whole run counts as one test; pytest does better.",
        ));
    }
    let report = ".palisade-pytest.xml";
    let option = format!("--junitxml={report}");
    let uv = probe.has("uv.lock") && probe.program("uv").is_some();
    let words: &[&str] = if uv {
        &["uv", "run", "--offline", "--frozen", "pytest", &option]
    } else {
        &["python3", "-m", "pytest", &option]
    };
    let mut guess = Guess::new("tests", words);
    guess.junit = Some(report.to_string());
    Some(guess)
}

fn go(probe: &Probe) -> Option<Guess> {
    probe.first(&["go.mod"])?;
    Some(Guess::new("tests", &["go", "test", "-v", "./..."]))
}

fn java(probe: &Probe) -> Option<Guess> {
    if probe.has("pom.xml") {
        let program = if probe.has("mvnw") {
            "/workspace/mvnw"
        } else {
            "mvn"
        };
        return Some(Guess::new(
            "tests",
            &[program, "--batch-mode", "--offline", "test"],
        ));
    }
    probe.first(&["build.gradle", "build.gradle.kts"])?;
    let program = if probe.has("gradlew") {
        "/workspace/gradlew"
    } else {
        "gradle"
    };
    Some(Guess::new(
        "tests",
        &[program, "--no-daemon", "--offline", "test"],
    ))
}

fn ruby(probe: &Probe) -> Option<Guess> {
    probe.first(&["Gemfile"])?;
    let task = if probe.has("spec") { "rspec" } else { "rake" };
    (task == "rspec" || probe.has("Rakefile"))
        .then(|| Guess::new("tests", &["bundle", "exec", task]))
}

fn make(probe: &Probe) -> Option<Guess> {
    let file = probe.first(&["GNUmakefile", "makefile", "Makefile"])?;
    let rules = text(&probe.repo.join(file))?;
    let target = ["test", "check"]
        .into_iter()
        .find(|it| rules.lines().any(|line| is_rule(line, it)))?;
    let guess = Guess::new("tests", &["make", target]);
    Some(guess.remark(
        "Only its exit code counts, unless it prints as `cargo test`, `go test -v` or TAP do.",
    ))
}

/// Returns whether a line of a makefile is the rule of a target.
fn is_rule(line: &str, target: &str) -> bool {
    let Some((targets, rest)) = line.split_once(':') else {
        return false;
    };
    let is_assignment = rest.starts_with('=') || rest.starts_with(":=");
    !is_assignment
        && !line.starts_with(['\t', '#'])
        && targets.split_whitespace().any(|it| it == target)
}

const HEAD: &str = "\
# The gates of this repository: the checks that every proposed change must pass. Written by
# `palisade init` for your review.
#
# A gate is run by Palisade, not by an agent, in a fresh cell without a network, on exactly the tree
# that is proposed, and on the tree it started from: a change that makes tests disappear is blocked.
#
# Commit this file: gates are read from the commit a work starts from, so that no agent can change
# the gates it must pass. Until it is committed, your copy here is used.
#
#   name       lower-case letters, digits, `-`
#   argv       the program, found on the cell's PATH (or a full path, such as /workspace/run-tests),
#              and its arguments; no shell line, but [\"/bin/sh\", \"-c\", \"...\"] is one
#   junit      where the run leaves a JUnit report, if it does. Without one, what `cargo test`,
#              `go test -v` and TAP print is understood; of others only the exit code counts
#   tests_min  how many tests must have run, 1 unless said
#   minutes    how long it may take, 15 unless said
";

const NONE: &str = "
# NOTHING WAS RECOGNISED, so there is no gate yet. Until there is one, no change can be promoted:
# without a check there is no evidence. Name what checks this repository, for example:
#
# [[gate]]
# name = \"tests\"
# argv = [\"make\", \"test\"]
";

/// Returns the text of the gates file.
pub(crate) fn render(guesses: &[Guess]) -> String {
    let mut text = HEAD.to_string();
    if guesses.is_empty() {
        text.push_str(NONE);
    }
    let names = super::render::quoted;
    let mut taken: Vec<&str> = Vec::new();
    for guess in guesses {
        text.push('\n');
        for remark in &guess.remarks {
            text.push_str(&super::render::comment(remark));
        }
        let again = taken.iter().filter(|it| **it == guess.name).count();
        let name = match again {
            0 => guess.name.to_string(),
            more => format!("{}-{}", guess.name, more + 1),
        };
        taken.push(guess.name);
        let argv: Vec<_> = guess.argv.iter().map(|it| names(it)).collect();
        let lines = format!(
            "[[gate]]\nname = {}\nargv = [{}]\n",
            names(&name),
            argv.join(", ")
        );
        text.push_str(&lines);
        if let Some(junit) = &guess.junit {
            let line = format!("junit = {}\n", names(junit));
            text.push_str(&line);
        }
    }
    text
}

/// Returns the program that a gate calls, if this machine's `PATH` does not name it.
pub(crate) fn missing_program(probe: &Probe, guess: &Guess) -> Option<String> {
    let mut words = guess.argv.iter().flat_map(|it| it.split_whitespace());
    let name = words.find(|it| !["/bin/sh", "-c", "exec"].contains(it))?;
    let absent = !name.contains('/') && probe.program(name).is_none();
    absent.then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use engine::catalog::Source;

    use super::super::probe::fake::Machine;
    use super::*;

    /// The words of every guessed gate, with `->` and its report if it has one; checked by reading
    /// the file back.
    fn guessed(machine: &Machine) -> Vec<String> {
        let (name, text) = ("gates.toml".to_string(), render(&guess(&machine.probe)));
        let (gates, faults) = engine::catalog::gates::read(&Source { name, text });
        assert_eq!(faults, []);
        let told = gates.into_iter().map(|it| {
            let junit = it.junit.map(|it| format!(" -> {it}"));
            format!("{}{}", it.argv.join(" "), junit.unwrap_or_default())
        });
        told.collect()
    }

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let machine = Machine::new();
        for (path, text) in files {
            machine.repo(path, text);
        }
        assert_eq!(guessed(&machine), expected, "{files:?}");
    }

    #[test]
    fn every_kind_of_repository_gets_its_gate() {
        check(&[("Cargo.toml", "[package]")], &["cargo test --offline"]);
        check(
            &[("Cargo.toml", "[workspace]")],
            &["cargo test --offline --workspace"],
        );
        check(
            &[("package.json", r#"{"scripts":{"test":"node --test"}}"#)],
            &["npm test"],
        );
        check(
            &[
                (
                    "package.json",
                    r#"{"scripts":{"test":"vitest"},"devDependencies":{"vitest":"1"}}"#,
                ),
                ("package-lock.json", "{}"),
            ],
            &["/bin/sh -c npm ci --offline && npm test"],
        );
        check(
            &[("pyproject.toml", "[tool.pytest.ini_options]")],
            &["python3 -m pytest --junitxml=.palisade-pytest.xml -> .palisade-pytest.xml"],
        );
        check(
            &[("setup.py", ""), ("tests/test_a.py", "")],
            &["python3 -m unittest discover --verbose"],
        );
        check(&[("go.mod", "module x")], &["go test -v ./..."]);
        check(&[("pom.xml", "")], &["mvn --batch-mode --offline test"]);
        check(
            &[("build.gradle", ""), ("gradlew", "")],
            &["/workspace/gradlew --no-daemon --offline test"],
        );
        check(
            &[("Makefile", "VAR := 1\nall: x\ncheck test2: all\n\tx\n")],
            &["make check"],
        );
    }

    #[test]
    fn what_is_no_check_is_not_guessed() {
        check(&[], &[]);
        check(&[("README.md", "")], &[]);
        check(
            &[(
                "package.json",
                r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#,
            )],
            &[],
        );
        check(&[("Makefile", "test := 1\nall:\n\ttest: x\n")], &[]);
    }

    #[test]
    fn nextest_is_used_when_it_is_there_and_writes_a_report() {
        let machine = Machine::new();
        machine.repo("Cargo.toml", "");
        machine.repo(
            ".config/nextest.toml",
            "[profile.ci.junit]\npath = \"junit.xml\"\n",
        );
        assert_eq!(guessed(&machine), ["cargo test --offline"]);
        machine.home(".cargo/bin/cargo-nextest", "");
        assert_eq!(
            guessed(&machine),
            ["cargo nextest run --profile ci --offline -> target/nextest/ci/junit.xml"]
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let machine = Machine::new();
        machine.repo("Cargo.toml", "");
        let missing = || missing_program(&machine.probe, &guess(&machine.probe)[0]);
        assert_eq!(missing().as_deref(), Some("cargo"));
        machine.system("usr/bin/cargo", "");
        assert_eq!(missing(), None);
    }

    #[test]
    fn two_languages_have_two_gates() {
        let machine = Machine::new();
        machine.repo("Cargo.toml", "");
        machine.repo("go.mod", "");
        assert_eq!(guessed(&machine).len(), 2);
    }

    #[test]
    fn without_a_gate_the_file_says_what_follows() {
        assert!(render(&[]).contains("no change can be promoted"));
    }
}
