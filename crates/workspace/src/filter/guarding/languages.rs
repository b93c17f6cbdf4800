//! Tests and marks that skip them, as each language writes them.

use super::code::{Syntax, Text};
use super::shapes::Shape;

/// A language and its usual test runners.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) name: &'static str,
    endings: &'static [&'static str],
    pub(super) syntax: Syntax,
    pub(super) shapes: &'static [Shape],
    /// Code that skips a test, or leaves out all others.
    pub(super) skips: &'static [&'static str],
    /// The same, where it is written in comments or texts.
    pub(super) skips_in_comments: &'static [&'static str],
    /// What a runner wants of a file's name: a beginning, an ending before the dot, a folder.
    conventions: &'static [Convention],
}

/// What a runner looks for in a path.
#[derive(Debug)]
enum Convention {
    Begins(&'static str),
    Ends(&'static str),
    In(&'static str),
}

const C_LIKE: Syntax = Syntax {
    line: &["//"],
    block: &[("/*", "*/")],
    texts: &[Text::long("\"\"\""), Text::short("\""), Text::short("'")],
    rust: false,
};

const LANGUAGES: [Language; 11] = [
    Language {
        name: "rust",
        endings: &["rs"],
        syntax: Syntax {
            line: &["//"],
            block: &[("/*", "*/")],
            texts: &[Text::long("\"")],
            rust: true,
        },
        shapes: &[Shape::Marked(
            "#[",
            &[
                "test",
                "rstest",
                "test_case",
                "quickcheck",
                "wasm_bindgen_test",
                "bench",
            ],
        )],
        skips: &[
            "#[ignore",
            ", ignore",
            "(ignore",
            "#![cfg(",
            "cfg(any())",
            "cfg(false)",
            "cfg(FALSE)",
            "not(test)",
            "#[should_panic",
            "cfg(feature",
        ],
        skips_in_comments: &[],
        conventions: &[Convention::In("tests")],
    },
    Language {
        name: "python",
        endings: &["py", "pyi"],
        syntax: Syntax {
            line: &["#"],
            block: &[],
            texts: &[
                Text::long("\"\"\""),
                Text::long("'''"),
                Text::short("\""),
                Text::short("'"),
            ],
            rust: false,
        },
        shapes: &[Shape::Named("def", &["test"])],
        skips: &[
            "mark.skip",
            "mark.xfail",
            "pytest.skip",
            "pytest.xfail",
            "pytest.exit",
            "importorskip",
            "unittest.skip",
            "@skip",
            "skipTest(",
            "SkipTest",
            "expectedFailure",
            "__test__",
            "collect_ignore",
            "pytestmark",
            "sys.exit(",
            "os._exit(",
        ],
        skips_in_comments: &[],
        conventions: &[Convention::Begins("test_"), Convention::Ends("_test")],
    },
    Language {
        name: "javascript",
        endings: &[
            "js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte",
        ],
        syntax: Syntax {
            line: &["//"],
            block: &[("/*", "*/")],
            texts: &[Text::long("`"), Text::short("\""), Text::short("'")],
            rust: false,
        },
        shapes: &[Shape::Called(&["it", "test", "specify"])],
        skips: &[
            ".skip(",
            ".skip.",
            ".skip`",
            ".skipIf(",
            ".runIf(",
            ".todo(",
            ".only(",
            ".only.",
            ".only`",
            ".failing(",
            ".failing.",
            ".fails(",
            ".fixme(",
            "xit(",
            "xtest(",
            "xdescribe(",
            "xcontext(",
            "fit(",
            "ftest(",
            "fdescribe(",
            "skip:",
            "only:",
            "todo:",
            "pending(",
            "process.exit(",
        ],
        skips_in_comments: &["@jest-ignore"],
        conventions: &[
            Convention::Ends(".test"),
            Convention::Ends(".spec"),
            Convention::In("__tests__"),
        ],
    },
    Language {
        name: "go",
        endings: &["go"],
        syntax: Syntax {
            line: &["//"],
            block: &[("/*", "*/")],
            texts: &[Text::long("`"), Text::short("\""), Text::short("'")],
            rust: false,
        },
        shapes: &[Shape::Named(
            "func",
            &["Test", "Fuzz", "Example", "Benchmark"],
        )],
        skips: &[
            ".Skip(",
            ".Skipf(",
            ".SkipNow(",
            "testing.Short(",
            "os.Exit(",
        ],
        skips_in_comments: &["//go:build", "// +build"],
        conventions: &[Convention::Ends("_test")],
    },
    Language {
        name: "jvm",
        endings: &["java", "kt", "kts", "groovy", "scala"],
        syntax: C_LIKE,
        shapes: &[Shape::Marked(
            "@",
            &[
                "Test",
                "ParameterizedTest",
                "RepeatedTest",
                "TestFactory",
                "TestTemplate",
                "Property",
            ],
        )],
        skips: &[
            "@Disabled",
            "@Ignore",
            "@Enabled",
            "@EnabledIf",
            "assumeTrue(",
            "assumeFalse(",
            "assumeThat(",
            "assumingThat(",
            "Assume.",
            "enabled = false",
            "@Tag(",
            "System.exit(",
        ],
        skips_in_comments: &[],
        conventions: &[
            Convention::Begins("Test"),
            Convention::Ends("Test"),
            Convention::Ends("Tests"),
            Convention::Ends("IT"),
            Convention::Ends("Spec"),
        ],
    },
    Language {
        name: "ruby",
        endings: &["rb"],
        syntax: Syntax {
            line: &["#"],
            block: &[("=begin", "=end")],
            texts: &[Text::short("\""), Text::short("'")],
            rust: false,
        },
        shapes: &[
            Shape::Called(&["it", "specify", "scenario", "example", "test"]),
            Shape::Named("def", &["test_"]),
        ],
        skips: &[
            "xit",
            "xdescribe",
            "xcontext",
            "xspecify",
            "xscenario",
            "skip",
            "pending",
            "fit",
            "fdescribe",
            "fcontext",
            "focus",
            ":focus",
            "exit!",
        ],
        skips_in_comments: &[],
        conventions: &[
            Convention::Ends("_spec"),
            Convention::Ends("_test"),
            Convention::Begins("test_"),
        ],
    },
    Language {
        name: "dotnet",
        endings: &["cs", "fs", "vb"],
        syntax: C_LIKE,
        shapes: &[Shape::Marked(
            "[",
            &[
                "Fact",
                "Theory",
                "Test",
                "TestCase",
                "TestMethod",
                "DataTestMethod",
            ],
        )],
        skips: &[
            "Skip =",
            "Skip=",
            "[Ignore",
            "[Explicit",
            "Assert.Ignore",
            "Assert.Inconclusive",
            "#if",
        ],
        skips_in_comments: &[],
        conventions: &[Convention::Ends("Tests"), Convention::Ends("Test")],
    },
    Language {
        name: "php",
        endings: &["php", "phpt"],
        syntax: Syntax {
            line: &["//", "#"],
            block: &[("/*", "*/")],
            texts: &[Text::long("\""), Text::long("'")],
            rust: false,
        },
        shapes: &[
            Shape::Named("function", &["test"]),
            Shape::Marked("#[", &["Test"]),
            Shape::Called(&["it", "test"]),
        ],
        skips: &[
            "markTestSkipped",
            "markTestIncomplete",
            "->skip(",
            "->todo(",
            "->only(",
            "Requires",
        ],
        skips_in_comments: &["@requires", "@group"],
        conventions: &[Convention::Ends("Test")],
    },
    Language {
        name: "swift",
        endings: &["swift"],
        syntax: C_LIKE,
        shapes: &[
            Shape::Named("func", &["test"]),
            Shape::Marked("@", &["Test"]),
        ],
        skips: &["XCTSkip", ".disabled(", ".enabled(", "#if"],
        skips_in_comments: &[],
        conventions: &[Convention::Ends("Tests"), Convention::Ends("Test")],
    },
    Language {
        name: "elixir",
        endings: &["exs", "ex"],
        syntax: Syntax {
            line: &["#"],
            block: &[],
            texts: &[Text::long("\"\"\""), Text::long("'''"), Text::short("\"")],
            rust: false,
        },
        shapes: &[Shape::Called(&["test", "property", "doctest"])],
        skips: &[
            "tag :skip",
            "tag skip:",
            "moduletag",
            "describetag",
            "exclude:",
        ],
        skips_in_comments: &[],
        conventions: &[Convention::Ends("_test")],
    },
    Language {
        name: "c",
        endings: &["c", "cc", "cpp", "cxx", "m", "mm", "h", "hpp"],
        syntax: C_LIKE,
        shapes: &[Shape::Called(&[
            "TEST",
            "TEST_F",
            "TEST_P",
            "TYPED_TEST",
            "TYPED_TEST_P",
            "TEST_CASE",
            "SCENARIO",
            "BOOST_AUTO_TEST_CASE",
            "START_TEST",
        ])],
        skips: &[
            "GTEST_SKIP",
            "DISABLED_",
            "SKIP(",
            "#if 0",
            "#ifdef",
            "#ifndef",
            "disabled()",
        ],
        skips_in_comments: &["[.", "[!mayfail]", "[!shouldfail]"],
        conventions: &[Convention::Ends("_test"), Convention::Begins("test_")],
    },
];

/// Returns the language of a file by its ending.
pub(super) fn of(path: &str) -> Option<&'static Language> {
    let (_, ending) = path.rsplit_once('.')?;
    let ending = ending.to_lowercase();
    LANGUAGES
        .iter()
        .find(|it| it.endings.contains(&ending.as_str()))
}

/// Returns whether a test runner that finds a file at the one path finds it at the other.
pub(super) fn are_found_alike(from: &str, to: &str) -> bool {
    let ending = |path: &str| path.rsplit_once('.').map(|(_, it)| it.to_owned());
    if ending(from) != ending(to) {
        return false;
    }
    let keeps = |it: &Convention| !it.holds(from) || it.holds(to);
    of(from).is_none_or(|it| {
        let any = it.conventions.iter().any(|it| it.holds(from));
        it.conventions.iter().all(keeps) || any && it.conventions.iter().any(|it| it.holds(to))
    })
}

impl Convention {
    fn holds(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        match self {
            Self::Begins(begin) => stem.starts_with(begin),
            Self::Ends(end) => stem.ends_with(end),
            // A runner looks at the files of the folder itself.
            Self::In(parent) => folder.rsplit('/').next() == Some(parent),
        }
    }
}
