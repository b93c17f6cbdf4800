//! Configuration of test runners: the lines in it that say which tests are left out.

use std::collections::BTreeMap;

/// The most characters of a line in a message.
const SHOWN_CHARS_MAX: usize = 100;

/// Files that tell a test runner what to run, by name and words that leave tests out or decide what
/// counts as one. A name may begin or end with `*`.
const FILES: [(&str, &[&str]); 26] = [
    ("pytest.ini", PYTHON),
    (".pytest.ini", PYTHON),
    ("setup.cfg", PYTHON),
    ("tox.ini", PYTHON),
    ("pyproject.toml", PYTHON),
    ("noxfile.py", PYTHON),
    ("conftest.py", CONFTEST),
    ("jest.config.*", SCRIPT),
    ("vitest.config.*", SCRIPT),
    ("vitest.workspace.*", SCRIPT),
    ("vite.config.*", SCRIPT),
    ("playwright.config.*", SCRIPT),
    ("cypress.config.*", SCRIPT),
    ("karma.conf.*", SCRIPT),
    ("ava.config.*", SCRIPT),
    (".mocharc*", SCRIPT),
    ("package.json", SCRIPT),
    ("nextest.toml", RUST),
    ("cargo.toml", RUST),
    (".rspec", RUBY),
    ("*_helper.rb", RUBY),
    ("phpunit*.xml*", MARKUP),
    ("pom.xml", MARKUP),
    ("build.gradle*", MARKUP),
    ("ctesttestfile.cmake", MARKUP),
    ("*.runsettings", MARKUP),
];

const PYTHON: &[&str] = &[
    "--deselect",
    "--ignore",
    "-k ",
    "-k=",
    "\"-k\"",
    "-m ",
    "--maxfail",
    "--exitfirst",
    "--co",
    "addopts",
    "testpaths",
    "norecursedirs",
    "collect_ignore",
    "python_files",
    "python_classes",
    "python_functions",
    "filterwarnings",
    "xfail_strict",
    "-p no:",
];

const CONFTEST: &[&str] = &[
    "collect_ignore",
    "pytest_collection_modifyitems",
    "pytest_collect_file",
    "pytest_ignore_collect",
    "pytest_pycollect",
    "pytest_itemcollected",
    "pytest_deselected",
    "pytest_runtest",
    "pytest_pyfunc_call",
    "pytest_report",
    "pytest_sessionfinish",
    "pytest_exception_interact",
    "hookwrapper",
    "hookimpl",
    "exitstatus",
];

const SCRIPT: &[&str] = &[
    "PathIgnorePatterns",
    "testMatch",
    "testRegex",
    "testNamePattern",
    "testIgnore",
    "exclude",
    "ignore",
    "grep",
    "invert",
    "passWithNoTests",
    "bail",
    "retries",
    "forbidOnly",
    "allowOnly",
    "\"test\"",
    "spec:",
    "\"spec\"",
];

const RUST: &[&str] = &[
    "default-filter",
    "filter",
    "retries",
    "harness",
    "autotests",
    "test = false",
    "doctest",
    "--skip",
    "exclude",
    "required-features",
];

const RUBY: &[&str] = &[
    "--tag",
    "--pattern",
    "--exclude",
    "filter_run",
    "exclusion_filter",
    "exclude_pattern",
    "skip",
];

const MARKUP: &[&str] = &[
    "exclude",
    "skip",
    "Filter",
    "excludeTags",
    "DISABLED",
    "failIfNoTests",
    "ignoreFailures",
    "TestCaseFilter",
];

/// Returns the words that leave tests out, if a test runner is configured by this path.
pub(super) fn words(path: &str) -> Vec<&'static str> {
    let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
    FILES
        .iter()
        .filter(|(file, _)| is_called(&name, file))
        .flat_map(|(_, words)| words.iter().copied())
        .collect()
}

/// Returns the lines that are new in a test runner's configuration and leave tests out.
pub(super) fn new_lines(words: &[&str], before: &str, after: &str) -> Vec<String> {
    let says = |line: &&str| words.iter().any(|it| line.contains(*it));
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for line in before.lines().map(str::trim) {
        *known.entry(line).or_default() += 1;
    }
    after
        .lines()
        .map(str::trim)
        .filter(says)
        .filter(|line| match known.get_mut(line) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) | None => true,
        })
        .map(|line| line.chars().take(SHOWN_CHARS_MAX).collect())
        .collect()
}

fn is_called(name: &str, file: &str) -> bool {
    let mut parts = file.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
