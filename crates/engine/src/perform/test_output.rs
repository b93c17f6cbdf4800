//! Test output: where a runner writes no JUnit report, what it prints is read instead. libtest
//! (`cargo test`), TAP and `go test -v` are understood; of any other runner only its exit code
//! counts, as one synthetic test.

use std::collections::BTreeMap;

use domain::gate::{Ended, Tests};

/// Reads what a gate's command printed on its standard output. What it says elsewhere (`cargo`
/// names the test programs on its standard error) arrives in no reliable order and is not used:
/// equal names of several programs are counted instead.
#[must_use]
pub fn read(output: &str, gate: &str, ended: Ended) -> Tests {
    let mut found = Found::default();
    for line in output.lines() {
        found.line(line.trim_end());
    }
    found.tests(gate).unwrap_or_else(|| synthetic(gate, ended))
}

fn synthetic(gate: &str, ended: Ended) -> Tests {
    let name = gate.to_string();
    match ended {
        Ended::Exited { code: 0 } => Tests {
            executed: vec![name],
            ..Tests::default()
        },
        Ended::Exited { .. } | Ended::Killed { .. } | Ended::TimedOut | Ended::OverQuota => Tests {
            executed: vec![name.clone()],
            failed: vec![name],
            ..Tests::default()
        },
        Ended::NotStarted => Tests::default(),
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// What runners announce, and what came of it: output that breaks off is no evidence.
#[derive(Default)]
struct Announced {
    /// Programs of libtest that began, and those that told their result.
    begun: usize,
    finished: usize,
    /// Their tests, as announced and as told.
    tests: usize,
    told: usize,
    /// The sum of TAP's plans, if there is one.
    planned: Option<usize>,
    /// TAP's points that are no part of another.
    points: usize,
    bailed_out: bool,
}

impl Announced {
    fn line(&mut self, line: &str) {
        let begins = line.strip_prefix("running ").and_then(|rest| {
            let count = rest
                .strip_suffix(" tests")
                .or_else(|| rest.strip_suffix(" test"))?;
            count.parse::<usize>().ok()
        });
        if let Some(count) = begins {
            self.begun += 1;
            self.tests += count;
        } else if line.starts_with("test result: ") {
            self.finished += 1;
        } else if libtest(line).is_some() {
            self.told += 1;
        } else if line.starts_with("Bail out!") {
            self.bailed_out = true;
        } else if !line.starts_with(' ') && tap(line).is_some() {
            self.points += 1;
        } else if let Some(count) = line.strip_prefix("1..") {
            let count = count.split(' ').next().unwrap_or_default();
            if let Ok(count) = count.parse::<usize>() {
                self.planned = Some(self.planned.unwrap_or_default().saturating_add(count));
            }
        }
    }

    /// Says what is missing.
    fn broken(&self) -> Option<String> {
        if self.bailed_out {
            return Some("the runner bailed out".to_owned());
        }
        if self.told < self.tests {
            let (tests, told) = (self.tests, self.told);
            return Some(format!("{tests} tests were announced and {told} told of"));
        }
        if self.finished < self.begun {
            return Some("a test program did not tell its result".to_owned());
        }
        let planned = self.planned?;
        let points = self.points;
        (planned != points).then(|| format!("{planned} tests were planned and {points} told of"))
    }
}

#[derive(Default)]
struct Found {
    runner_seen: bool,
    announced: Announced,
    verdicts: Vec<(String, Verdict)>,
    seen: BTreeMap<String, usize>,
}

impl Found {
    fn line(&mut self, line: &str) {
        self.announced.line(line);
        if line.starts_with("running ") && line.ends_with(" tests")
            || line == "running 1 test"
            || line.starts_with("TAP version ")
        {
            self.runner_seen = true;
        } else if let Some((name, verdict)) =
            libtest(line).or_else(|| tap(line)).or_else(|| go(line))
        {
            self.runner_seen = true;
            let count = self.seen.entry(name.clone()).or_default();
            *count += 1;
            let name = if *count > 1 {
                format!("{name} #{count}")
            } else {
                name
            };
            self.verdicts.push((name, verdict));
        }
    }

    fn tests(mut self, gate: &str) -> Option<Tests> {
        if !self.runner_seen {
            return None;
        }
        if let Some(why) = self.announced.broken() {
            let name = format!("{gate}: {why}");
            self.verdicts.push((name, Verdict::Failed));
        }
        let mut tests = Tests {
            reported: true,
            ..Tests::default()
        };
        for (name, verdict) in self.verdicts {
            match verdict {
                Verdict::Passed => tests.executed.push(name),
                Verdict::Skipped => tests.skipped.push(name),
                Verdict::Failed => {
                    tests.failed.push(name.clone());
                    tests.executed.push(name);
                }
            }
        }
        for list in [&mut tests.executed, &mut tests.failed, &mut tests.skipped] {
            list.sort();
        }
        Some(tests)
    }
}

/// `test a::b ... ok`, `test src/lib.rs - f (line 3) ... ignored`.
fn libtest(line: &str) -> Option<(String, Verdict)> {
    let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    // Doc tests carry the line they begin at, which moves with every edit above them.
    let name = name.split(" (line ").next().unwrap_or(name);
    let name = name.trim_end_matches(" - should panic").to_string();
    match verdict.split([',', ' ']).next()? {
        "ok" => Some((name, Verdict::Passed)),
        "FAILED" => Some((name, Verdict::Failed)),
        "ignored" => Some((name, Verdict::Skipped)),
        _ => None,
    }
}

/// `ok 1 - name`, `not ok 2 - name # TODO`, `ok 3 - name # SKIP`.
fn tap(line: &str) -> Option<(String, Verdict)> {
    let line = line.trim_start();
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let (name, directive) = name.split_once(" # ").unwrap_or((name, ""));
    let name = name.trim_start_matches("- ").to_string();
    let directive = directive.to_ascii_uppercase();
    if directive.starts_with("SKIP") || directive.starts_with("TODO") {
        return Some((name, Verdict::Skipped));
    }
    Some((
        name,
        if passed {
            Verdict::Passed
        } else {
            Verdict::Failed
        },
    ))
}

/// `--- PASS: TestName (0.00s)`.
fn go(line: &str) -> Option<(String, Verdict)> {
    let (verdict, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let name = rest.split(" (").next()?.to_string();
    match verdict {
        "PASS" => Some((name, Verdict::Passed)),
        "FAIL" => Some((name, Verdict::Failed)),
        "SKIP" => Some((name, Verdict::Skipped)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Ended = Ended::Exited { code: 0 };

    #[test]
    fn libtest_is_understood() {
        let output = "\nrunning 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
            test d ... ignored, slow\n\ntest result: FAILED. 1 passed\n\
            running 2 tests\ntest a::b ... ok\n\
            test src/lib.rs - f (line 3) ... ok\n\ntest result: ok. 2 passed\n";
        let tests = read(output, "unit", GOOD);
        assert!(tests.reported);
        assert_eq!(
            tests.executed,
            ["a::b", "a::b #2", "a::c", "src/lib.rs - f"]
        );
        assert_eq!(tests.failed, ["a::c"]);
        assert_eq!(tests.skipped, ["d"]);
    }

    #[test]
    fn a_runner_that_ran_nothing_is_seen() {
        let tests = read(
            "running 0 tests\n\ntest result: ok. 0 passed\n",
            "unit",
            GOOD,
        );
        assert!(tests.reported && tests.executed.is_empty());
    }

    #[test]
    fn tap_is_understood() {
        let output = "TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP\n1..3\n";
        let tests = read(output, "unit", GOOD);
        assert_eq!(
            (
                tests.executed.len(),
                tests.failed.len(),
                tests.skipped.len()
            ),
            (2, 1, 1)
        );
    }

    #[test]
    fn output_that_breaks_off_is_red() {
        for (output, why) in [
            ("1..9\nok 1 - a\n", "9 tests were planned and 1 told of"),
            ("ok 1 - a\n1..1\nBail out! no disk\n", "bailed out"),
            ("1..1\nok 1 - a\nok 2 - b\n", "1 tests were planned and 2"),
            (
                "running 3 tests\ntest a ... ok\n",
                "3 tests were announced and 1 told of",
            ),
            ("running 1 test\ntest a ... ok\n", "did not tell its result"),
        ] {
            let tests = read(output, "unit", GOOD);
            assert!(
                tests.failed.iter().any(|it| it.contains(why)),
                "{output}: {tests:?}"
            );
        }
        let whole = "1..1\n    ok 1 - inner\n    1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n";
        assert!(read(whole, "unit", GOOD).failed.is_empty());
    }

    #[test]
    fn equal_names_are_told_apart() {
        let tests = read(
            "running 2 tests\ntest a ... ok\ntest a ... ok\ntest result: ok. 2 passed\n",
            "unit",
            GOOD,
        );
        assert_eq!(tests.executed, ["a", "a #2"]);
    }

    #[test]
    fn of_an_unknown_runner_only_the_exit_code_counts() {
        let tests = read("all fine\n", "lint", GOOD);
        assert!(!tests.reported);
        assert_eq!(tests.executed, ["lint"]);
        assert_eq!(read("", "lint", Ended::Exited { code: 2 }).failed, ["lint"]);
    }
}
