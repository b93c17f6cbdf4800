//! What counts as documentation, in tables.

use crate::filter::tests::{judged_texts, open_rules};

/// Returns what is held against documents that become `after`.
fn documents(before: &[(&str, &str)], after: &[(&str, Option<&[u8]>)]) -> Vec<String> {
    let mut rules = open_rules();
    rules.documents_only = true;
    let before: Vec<_> = before
        .iter()
        .map(|(path, text)| (*path, text.as_bytes()))
        .collect();
    let found = judged_texts(&before, after, &rules);
    found.into_iter().map(|(_, detail)| detail).collect()
}

/// Returns what is held against one document that becomes `after`.
fn document(path: &str, before: &str, after: &str) -> Vec<String> {
    documents(&[(path, before)], &[(path, Some(after.as_bytes()))])
}

#[test]
fn documents_and_pictures_pass() {
    let files: [(&str, &[u8]); 14] = [
        ("README.md", b"# Hello\n\nWorld.\n"),
        ("docs/guide.rst", b"Title\n=====\n\n.. note:: x\n"),
        ("docs/a.adoc", b"= A\n"),
        ("docs/notes.txt", b"plain #! words\n"),
        ("LICENSE-MIT", b"free\n"),
        ("docs/Readme", b"x"),
        ("docs/p.png", b"\x89PNG\r\n\x1a\n\0\0"),
        ("docs/p.pdf", b"%PDF-1.7\n"),
        ("docs/p.svg", b"<svg><path d=\"M0 0\"/></svg>"),
        ("docs/p.html", b"<p class=\"one\" data-on=1>x < y</p>"),
        (
            "docs/code.md",
            b"```html\n<script>x</script>\n```\nand `<script>` too\n",
        ),
        ("docs/rust.md", b"```rust\nfn main() {}\n```\n"),
        ("docs/python.md", b"```pycon\n>>> 1\n1\n```\n"),
        ("docs/x.mdx", b"# Hi\n\n```js\nimport x from 'y'\n```\n"),
    ];
    for (path, bytes) in files {
        let found = documents(&[], &[(path, Some(bytes))]);
        assert_eq!(found, [""; 0], "{path}");
    }
}

#[test]
fn what_has_no_documents_name_is_code() {
    for path in [
        "docs/conf.py",
        "mkdocs.yml",
        "docs/hooks.py",
        "book.toml",
        "docusaurus.config.js",
        "docs/_config.rb",
        "docs/_config.yml",
        "docs/Makefile",
        "docs/make.bat",
        "docs/nb.ipynb",
        ".github/workflows/docs.yml",
        "CMakeLists.txt",
        "docs/requirements.txt",
        "requirements-dev.txt",
        "requirements/docs.txt",
        "constraints.txt",
        "package.json",
        "Dockerfile",
        "docs/run",
        "docs/.vitepress/theme/index.ts",
        "readme.sh",
    ] {
        for bytes in [Some(&b"x"[..]), None] {
            let found = documents(&[(path, "before")], &[(path, bytes)]);
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert!(found[0].contains("no document's name"), "{found:?}");
        }
    }
}

#[test]
fn what_is_a_program_by_its_bytes_is_no_document() {
    let cases: [(&str, &[u8], &str); 12] = [
        ("a.md", b"#!/bin/sh\n", "begins like a script"),
        ("a.md", b"\xef\xbb\xbf#!/bin/sh\n", "begins like a script"),
        ("a.txt", b"\x7fELF\x02", "is a program"),
        ("a.png", b"\x7fELF\x02", "is a program"),
        ("a.txt", b"MZ\x90\0", "is a program"),
        ("a.txt", b"\xcf\xfa\xed\xfe", "is a program"),
        ("a.txt", b"\0asm", "is a program"),
        ("a.txt", b"PK\x03\x04", "is an archive"),
        ("a.md", b"a\0b", "is no UTF-8 text"),
        ("a.md", b"a\xff", "is no UTF-8 text"),
        ("a.png", b"GIF89a", "is not what its name says"),
        ("a.pdf", b"%PDF-1.7 /JavaScript", "asks its reader"),
    ];
    for (path, bytes, why) in cases {
        let found = documents(&[], &[(path, Some(bytes))]);
        assert_eq!(found.len(), 1, "{path} {bytes:?}: {found:?}");
        assert!(found[0].contains(why), "{found:?}");
    }
    let found = documents(&[], &[("a.md", Some(b"MZ is how it begins"))]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_document_is_neither_executable_nor_a_link_to_code() {
    use super::super::{Compiled, Contents, Trees, judge};
    use crate::base::Base;
    use crate::manifest::{Changes, View};
    use domain::tree::{Change, Entry, Rule};
    use ports::artifacts::Artifacts as _;
    let artifacts = testkit::artifacts::MemoryArtifacts::default();
    let commit = "0123456789012345678901234567890123456789".parse().unwrap();
    let base = Base::in_memory(
        commit,
        std::path::PathBuf::new(),
        crate::names::Names::default(),
    );
    let link = |target: &str| Entry::Symlink {
        target: target.into(),
    };
    let executable = Entry::File {
        content: artifacts.put(b"x").unwrap(),
        bytes: 1,
        executable: true,
    };
    for (entry, expected) in [
        (link("src/a.rs"), 1),
        (link("docs/other.md"), 0),
        (executable, 1),
    ] {
        let change = Change {
            path: "a.md".into(),
            entry: entry.clone(),
        };
        let trees = Trees {
            before: &View::of(&base, Changes::new()),
            after: &View::of(&base, Changes::from([("a.md".to_owned(), entry.clone())])),
            contents: Contents::of(&artifacts),
        };
        let mut rules = open_rules();
        rules.documents_only = true;
        let found = judge(
            &trees,
            &[change],
            &Compiled::of(&rules).unwrap(),
            &crate::filter::nothing_besides,
        )
        .unwrap();
        assert_eq!(found.len(), expected, "{entry:?}: {found:?}");
        assert!(found.iter().all(|it| it.rule == Rule::Content));
    }
}

#[test]
fn what_newly_runs_where_it_is_read_is_held() {
    for (path, text) in [
        ("a.html", "<SCRIPT src=x></SCRIPT>"),
        ("a.html", "<img src=x onerror=alert(1)>"),
        ("a.html", "<img/onerror =x>"),
        ("a.html", "<p\nonclick='x'>"),
        ("a.html", "<a href=\"java\tscript:x\">"),
        ("a.html", "<meta http-equiv=refresh content=0>"),
        ("a.svg", "<svg onload=\"x\"/>"),
        ("a.svg", "<svg><foreignObject/></svg>"),
        ("a.md", "text <script>x</script>"),
        ("a.md", "<iframe src=x>"),
        ("a.md", "[x](javascript:alert(1))"),
        // What only looks like code.
        ("a.md", "a ` b\n<script>`</script>\n"),
        ("a.md", "- a `\n- <script> ` b\n"),
        ("a.md", "``` not ` a fence\n<script>\n```\n"),
        ("a.md", "<div>\n```\n<script>\n```\n</div>\n"),
        ("a.md", "- <div>\n  ```\n  <script>\n"),
        ("a.md", "<!--\n\n```\n-->\n<script>\n```\n"),
        ("a.md", "\\`<script>`\n"),
        ("a.md", "```\ncode\n```\n<script>\n"),
        ("a.md", "~~~\ncode\n```\n~~~\n<script>\n"),
        ("a.mdx", "import X from './x'\n"),
        ("a.mdx", "export const x = 1\n"),
        ("a.mdx", "Total: {process.env.HOME}\n"),
        ("a.rst", ".. raw:: html\n\n   <script>\n"),
        ("a.adoc", "++++\n<script>\n++++\n"),
        ("a.adoc", "pass:[<script>]\n"),
    ] {
        let found = document(path, "", text);
        assert!(!found.is_empty(), "{path} {text:?}");
        assert!(found[0].contains("runs where"), "{found:?}");
        // What was there may stay, and be written about.
        let more = format!("{text}\n\nmore words\n");
        assert_eq!(document(path, text, &more), [""; 0], "{path} {text:?}");
        let twice = format!("{text}\n\n{text}");
        let known = document(path, text, &twice);
        let fence = text.contains("```") || text.contains("++++") || text.contains("~~~");
        assert!(fence || !known.is_empty(), "{path} {twice:?}");
    }
}

#[test]
fn examples_that_every_build_runs_are_held() {
    for (path, text) in [
        ("a.md", "```{code-cell} ipython3\n1\n```\n"),
        ("a.md", "```{doctest}\n>>> 1\n```\n"),
        ("a.md", "```{python}\n1\n```\n"),
        ("a.md", "```scala mdoc:silent\n1\n```\n"),
        ("a.md", "```jldoctest\n1\n```\n"),
        ("a.rst", ".. testcode::\n\n   print(1)\n"),
        ("a.rst", ".. doctest::\n\n   >>> 1\n"),
        ("a.txt", "  .. program-output:: rm -rf x\n"),
    ] {
        let found = document(path, "", text);
        assert!(!found.is_empty(), "{path} {text:?}");
        assert!(found[0].contains("executes"), "{found:?}");
        assert_eq!(
            document(path, text, &format!("{text}\nmore\n")),
            [""; 0],
            "{text:?}"
        );
    }
    let before = ".. testcode::\n\n   print(1)\n";
    let found = document("a.rst", before, ".. testcode::\n\n   print(2)\n");
    assert_eq!(found.len(), 1, "a changed one is a new one: {found:?}");
}

#[test]
fn an_example_of_rust_is_held_where_tests_take_in_the_document() {
    let fence = "```rust\nassert!(true);\n```\n";
    let judge = |code: (&str, &str), text: &str| {
        documents(
            &[code, ("docs/guide.md", "# Guide\n")],
            &[("docs/guide.md", Some(text.as_bytes()))],
        )
    };
    let lib = |text| ("src/lib.rs", text);
    for code in [
        lib("#![doc = include_str!(\"../docs/guide.md\")]"),
        lib("doctest!(\"../docs/Guide.md\");"),
        lib("trycmd::TestCases::new().case(\"docs/*.md\");"),
        lib("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/docs/guide.md\"))"),
        ("book.toml", ""),
        ("docs/book.toml", ""),
    ] {
        assert_eq!(judge(code, fence).len(), 1, "{code:?}");
    }
    for code in [
        lib("#![doc = include_str!(\"../README.md\")]"),
        lib("path.ends_with(\".md\")"),
        ("other/book.toml", ""),
    ] {
        assert_eq!(judge(code, fence), [""; 0], "{code:?}");
    }
    let code = lib("#![doc = include_str!(\"../docs/guide.md\")]");
    for run in [
        "```\nlet a = 1;\n```\n",
        "```should_panic\npanic!()\n```\n",
        "~~~edition2021\nx\n~~~\n",
        "> ```rust\n> x\n> ```\n",
        "- ```rust\n  x\n  ```\n",
        "text\n\n    let indented = 1;\n",
        "```console\n$ rm -rf x\n```\n",
        "```rust\nnever closed",
    ] {
        assert_eq!(judge(code, run).len(), 1, "{run:?}");
    }
    for kept in [
        "```text\nx\n```\n",
        "```rust,ignore\nx\n```\n",
        "```rust,no_run\nx\n```\n",
        "```rust,compile_fail\nx\n```\n",
        "```toml\nx = 1\n```\n",
        "- item\n\n    more of it\n",
    ] {
        assert_eq!(judge(code, kept), [""; 0], "{kept:?}");
    }
}

#[test]
fn a_prompt_of_python_is_held_where_documents_are_tested() {
    let text = Some(&b"Example:\n\n    >>> import os\n"[..]);
    let judge = |code| documents(&[code], &[("docs/a.rst", text)]);
    assert_eq!(
        judge(("pytest.ini", "addopts = --doctest-glob='*.rst'")).len(),
        1
    );
    assert_eq!(
        judge(("tests/test_docs.py", "doctest.testfile('a.rst')")).len(),
        1
    );
    assert_eq!(
        judge(("docs/conf.py", "extensions = ['sphinx.ext.doctest']")).len(),
        1
    );
    assert_eq!(judge(("pytest.ini", "addopts = -q")), [""; 0]);
}
