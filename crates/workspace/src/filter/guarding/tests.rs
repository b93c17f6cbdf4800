//! What weakens a test, in tables.

use crate::filter::tests::{judged_texts, open_rules};

type Texts<'a> = &'a [(&'a str, &'a str)];
type Changed<'a> = &'a [(&'a str, Option<&'a str>)];

/// Returns what is held against files that become `after`.
fn weakened(before: Texts<'_>, after: Changed<'_>) -> Vec<String> {
    let mut rules = open_rules();
    rules.guards_tests = true;
    let before: Vec<_> = before
        .iter()
        .map(|(path, text)| (*path, text.as_bytes()))
        .collect();
    let after: Vec<_> = after
        .iter()
        .map(|(path, text)| (*path, text.map(str::as_bytes)))
        .collect();
    let found = judged_texts(&before, &after, &rules);
    found.into_iter().map(|(_, detail)| detail).collect()
}

/// Two tests in each language.
const PAIRS: [(&str, &str, &str); 14] = [
    (
        "tests/a.rs",
        "#[test]\nfn one() {}\n",
        "#[tokio::test(flavor = \"x\")]\n#[case(1)]\nasync fn two() {}\n",
    ),
    (
        "tests/test_a.py",
        "def test_one():\n    pass\n",
        "class TestX:\n    async def test_two(self): pass\n",
    ),
    (
        "a.test.ts",
        "it('one', () => {});\n",
        "test.each([1])('two', () => {});\n",
    ),
    (
        "a.spec.js",
        "describe('x', () => { it(`one`) });\n",
        "test(\"two\", f);\n",
    ),
    (
        "a_test.go",
        "func TestOne(t *testing.T) {}\n",
        "func FuzzTwo(f *testing.F) {}\n",
    ),
    (
        "src/ATest.java",
        "class A { @Test void one() {} \n",
        "@ParameterizedTest @ValueSource(ints = {1}) void two() {} }\n",
    ),
    ("ATest.kt", "@Test fun one() {}\n", "@Test fun two() {}\n"),
    ("spec/a_spec.rb", "it 'one' do\nend\n", "it(\"two\") { }\n"),
    (
        "test/a_test.rb",
        "def test_one\nend\n",
        "test 'two' do\nend\n",
    ),
    (
        "ATests.cs",
        "[Fact]\npublic void One() {}\n",
        "[Theory]\npublic async Task Two() {}\n",
    ),
    (
        "ATest.php",
        "public function testOne() {}\n",
        "#[Test]\npublic function two() {}\n",
    ),
    (
        "ATests.swift",
        "func testOne() {}\n",
        "@Test func two() {}\n",
    ),
    (
        "a_test.exs",
        "test \"one\" do\nend\n",
        "test \"two\" do\nend\n",
    ),
    (
        "a_test.cc",
        "TEST(Suite, One) {}\n",
        "TEST_F(Suite, Two) {}\n",
    ),
];

#[test]
fn a_test_that_is_gone_is_told_in_every_language() {
    for (path, one, two) in PAIRS {
        let both = format!("{one}{two}");
        let before = [(path, both.as_str())];
        let held = weakened(&before, &[(path, Some(one))]);
        assert_eq!(held.len(), 1, "{path}: {held:?}");
        assert!(held[0].contains("lost 1 of its tests"), "{held:?}");
        assert!(held[0].to_lowercase().contains("two"), "{held:?}");
        let held = weakened(&before, &[(path, Some("\n"))]);
        assert_eq!(held.len(), 1, "{path}: {held:?}");
        assert!(held[0].contains("emptied"), "{held:?}");
        let held = weakened(&before, &[(path, None)]);
        assert!(held[0].contains("lost 2 of its tests"), "{path}: {held:?}");
        // More tests, changed tests and the same number of others pass.
        let more = format!("{both}{}", both.replace("wo", "hree").replace("ne", "our"));
        assert_eq!(weakened(&before, &[(path, Some(&more))]), [""; 0], "{path}");
        let renamed = both.replace("wo", "hree");
        assert_eq!(
            weakened(&before, &[(path, Some(&renamed))]),
            [""; 0],
            "{path}"
        );
    }
}

#[test]
fn a_test_in_a_comment_or_text_is_gone() {
    for (path, before, after) in [
        (
            "tests/a.rs",
            "#[test]\nfn a() {}\n",
            "// #[test]\n// fn a() {}\n",
        ),
        (
            "tests/a.rs",
            "#[test]\nfn a() {}\n",
            "/* /* */ #[test]\nfn a() {} */ fn b() {}\n",
        ),
        (
            "tests/a.rs",
            "#[test]\nfn a() {}\n",
            "const X: &str = r#\"\"#[test]\nfn a() {}\"#;\n",
        ),
        (
            "test_a.py",
            "def test_a(): pass\n",
            "x = '''\ndef test_a(): pass\n'''\n",
        ),
        (
            "test_a.py",
            "def test_a(): pass\n",
            "#def test_a(): pass\nx = 1\n",
        ),
        ("a.test.js", "it('a')\n", "/* it('a') */ x\n"),
        ("a.test.js", "it('a')\n", "const x = `it('a')`\n"),
        (
            "a_test.go",
            "func TestA(t *testing.T) {}\n",
            "var x = `func TestA(t)`\n",
        ),
        (
            "a_spec.rb",
            "it 'a' do\nend\n",
            "=begin\nit 'a' do\nend\n=end\nx\n",
        ),
    ] {
        let held = weakened(&[(path, before)], &[(path, Some(after))]);
        assert_eq!(held.len(), 1, "{path} {after:?}: {held:?}");
    }
    // And what stands beside a lifetime, a quote or a slash is still there.
    let odd = "fn x<'a>(y: &'a str) -> char { '\"' }\n#[test]\nfn a() { b(\"//\"); }\n";
    let more = format!("{odd}fn helper() {{}}\n");
    assert_eq!(
        weakened(&[("tests/a.rs", odd)], &[("tests/a.rs", Some(&more))]),
        [""; 0]
    );
    let without = odd.replace("#[test]", "");
    let held = weakened(&[("tests/a.rs", odd)], &[("tests/a.rs", Some(&without))]);
    assert_eq!(held.len(), 1, "{held:?}");
}

/// A test, and the same test skipped.
const SKIPPED: [(&str, &str, &str); 28] = [
    (
        "tests/a.rs",
        "#[test]\nfn a() {}\n",
        "#[test]\n#[ignore]\nfn a() {}\n",
    ),
    (
        "tests/a.rs",
        "#[test]\nfn a() {}\n",
        "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n",
    ),
    (
        "tests/a.rs",
        "#[test]\nfn a() {}\n",
        "#[test]\n#[cfg_attr(all(), ignore)]\nfn a() {}\n",
    ),
    (
        "tests/a.rs",
        "#[test]\nfn a() {}\n",
        "#![cfg(windows)]\n#[test]\nfn a() {}\n",
    ),
    (
        "tests/a.rs",
        "#[test]\nfn a() {}\n",
        "#[cfg(any())]\n#[test]\nfn a() {}\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "@pytest.mark.skip\ndef test_a(): pass\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "@pytest.mark.xfail\ndef test_a(): pass\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "@pytest.mark.skipif(True)\ndef test_a(): pass\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "@unittest.skip('x')\ndef test_a(): pass\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "def test_a(): pytest.skip()\n",
    ),
    (
        "test_a.py",
        "def test_a(): pass\n",
        "def test_a(): pass\n__test__ = False\n",
    ),
    ("a.test.js", "it('a')\n", "it.skip('a')\n"),
    ("a.test.js", "it('a')\n", "xit('a'); it('b')\n"),
    ("a.test.js", "it('a')\n", "it.only('a')\n"),
    ("a.test.js", "test('a')\n", "test.todo('a')\n"),
    (
        "a.test.js",
        "it('a')\n",
        "describe.skip('x', () => { it('a') })\n",
    ),
    ("a.test.js", "it('a')\n", "fit('b'); it('a')\n"),
    (
        "a_test.go",
        "func TestA(t *testing.T) {}\n",
        "func TestA(t *testing.T) { t.Skip() }\n",
    ),
    (
        "a_test.go",
        "package a\nfunc TestA(t *testing.T) {}\n",
        "//go:build never\npackage a\nfunc TestA(t *testing.T) {}\n",
    ),
    (
        "ATest.java",
        "@Test void a() {}\n",
        "@Test @Disabled void a() {}\n",
    ),
    (
        "ATest.java",
        "@Test void a() {}\n",
        "@Test @Ignore(\"x\") void a() {}\n",
    ),
    (
        "ATest.java",
        "@Test void a() {}\n",
        "@Test @EnabledIf(\"x\") void a() {}\n",
    ),
    (
        "a_spec.rb",
        "it 'a' do\nend\n",
        "it 'a', skip: 'x' do\nend\n",
    ),
    ("a_spec.rb", "it 'a' do\nend\n", "it 'a', :focus do\nend\n"),
    (
        "ATests.cs",
        "[Fact]\nvoid A() {}\n",
        "[Fact(Skip = \"x\")]\nvoid A() {}\n",
    ),
    (
        "ATest.php",
        "function testA() {}\n",
        "function testA() { $this->markTestSkipped(); }\n",
    ),
    (
        "a_test.exs",
        "test \"a\" do\nend\n",
        "@tag :skip\ntest \"a\" do\nend\n",
    ),
    (
        "a_test.cc",
        "TEST(S, A) {}\n",
        "TEST(S, A) { GTEST_SKIP(); }\n",
    ),
];

#[test]
fn a_mark_that_skips_is_held_in_every_language() {
    for (path, test, skipped) in SKIPPED {
        let held = weakened(&[(path, test)], &[(path, Some(skipped))]);
        assert!(!held.is_empty(), "{path} {skipped:?}");
        assert!(held[0].contains("skips a test"), "{skipped:?}: {held:?}");
        let fresh = weakened(&[], &[(path, Some(skipped))]);
        assert!(!fresh.is_empty(), "new files too: {skipped:?}");
        // A mark that was there may stay, or go.
        let edited = format!("{skipped}\n\n");
        assert_eq!(
            weakened(&[(path, skipped)], &[(path, Some(&edited))]),
            [""; 0],
            "{skipped:?}"
        );
    }
    let said = "#[test]\nfn a() { let x = \"#[ignore]\"; } // #[ignore] is not for us\n";
    assert_eq!(weakened(&[], &[("tests/a.rs", Some(said))]), [""; 0]);
}

#[test]
fn tests_may_move_to_where_they_are_still_found() {
    let one = "#[test]\nfn a() {}\n#[test]\nfn b() {}\n";
    let moved: Changed<'_> = &[("tests/old.rs", None), ("tests/new.rs", Some(one))];
    assert_eq!(weakened(&[("tests/old.rs", one)], moved), [""; 0]);
    let skipped = "#[test]\n#[ignore]\nfn a() {}\n";
    let moved: Changed<'_> = &[("tests/old.rs", None), ("tests/new.rs", Some(skipped))];
    assert_eq!(
        weakened(&[("tests/old.rs", skipped)], moved),
        [""; 0],
        "as it was"
    );
    let split: Changed<'_> = &[
        ("tests/old.rs", None),
        ("tests/x.rs", Some("#[test]\nfn a() {}\n")),
        ("tests/y.rs", Some("#[test]\nfn b() {}\n")),
    ];
    assert_eq!(weakened(&[("tests/old.rs", one)], split), [""; 0]);
    let data: Changed<'_> = &[
        ("tests/data/a.json", None),
        ("tests/data/b.json", Some("{}")),
    ];
    assert_eq!(weakened(&[("tests/data/a.json", "{}")], data), [""; 0]);
}

#[test]
fn a_test_file_may_not_be_renamed_away() {
    for (from, to, text) in [
        ("tests/a.rs", "tests/a.rs.bak", "#[test]\nfn a() {}\n"),
        ("tests/a.rs", "tests/off/a.rs", "#[test]\nfn a() {}\n"),
        ("tests/test_a.py", "tests/a.py", "def test_a(): pass\n"),
        ("a.test.js", "a.off.js", "it('a')\n"),
        ("a_test.go", "a.go", "func TestA(t *testing.T) {}\n"),
    ] {
        let held = weakened(&[(from, text)], &[(from, None), (to, Some(text))]);
        assert!(!held.is_empty(), "{from} to {to}");
    }
    let held = weakened(
        &[("tests/data/a.json", "{}")],
        &[("tests/data/a.json", None)],
    );
    assert_eq!(
        held.len(),
        1,
        "what tests need is not taken away either: {held:?}"
    );
}

#[test]
fn configuration_may_not_deselect_tests() {
    for (path, line) in [
        ("pytest.ini", "addopts = -k 'not slow'"),
        ("tests/pytest.ini", "addopts = --deselect tests/test_a.py"),
        ("setup.cfg", "norecursedirs = tests"),
        (
            "tests/conftest.py",
            "def pytest_collection_modifyitems(items): items.clear()",
        ),
        ("tests/conftest.py", "collect_ignore = ['test_a.py']"),
        ("jest.config.js", "testPathIgnorePatterns: ['a']"),
        ("test/.mocharc.json", "\"grep\": \"x\""),
        ("vitest.config.ts", "exclude: ['**/a.test.ts']"),
        (".config/nextest.toml", "default-filter = 'not test(a)'"),
        ("tests/Cargo.toml", "test = false"),
        (
            "spec/spec_helper.rb",
            "config.filter_run_excluding slow: true",
        ),
        ("phpunit.xml.dist", "<exclude>a</exclude>"),
    ] {
        let held = weakened(
            &[(path, "x = 1\n")],
            &[(path, Some(&format!("x = 1\n{line}\n")))],
        );
        assert!(
            held.iter().any(|it| it.contains("deselects")),
            "{path} {line}: {held:?}"
        );
        let was = format!("{line}\n");
        let more = format!("x = 1\n{line}\n");
        let held = weakened(&[(path, &was)], &[(path, Some(&more))]);
        assert_eq!(held, [""; 0], "{path} {line}");
        let changed = format!("{line} and more\n");
        let held = weakened(&[(path, &was)], &[(path, Some(&changed))]);
        assert!(
            held.iter().any(|it| it.contains("deselects")),
            "{path} {line}: {held:?}"
        );
    }
    assert_eq!(
        weakened(&[], &[("tests/other.ini", Some("addopts = -k x"))]),
        [""; 0]
    );
}
