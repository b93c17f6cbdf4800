//! What a crate and its files look like: attributes, names, first lines and lengths.

use std::collections::BTreeSet;

use crate::{File, code_lines, is_listed};

/// The one crate that talks to the kernel without a safe wrapper.
pub const UNSAFE_ROOM: &str = "cell";

/// Above this many lines of code (tests, comments and blank lines not counted) a file explains
/// itself in [`LONG`].
pub const LONG_FROM: usize = 400;

/// How far a listed file may shrink before its ceiling follows.
pub const LONG_SLACK: usize = 50;

/// Files that want to be long: path, ceiling in lines of code, and why. Ceilings only go down.
pub const LONG: &[(&str, usize, &str)] = &[(
    "crates/secrets/src/rules.rs",
    700,
    "a table: one row for each format, whose order counts",
)];

/// Crates whose production code may start processes, and why.
pub const MAY_START_PROCESSES: &[(&str, &str)] = &[
    (
        "crates/agents/src/client/",
        "the scripted agent runs programs inside its cell",
    ),
    (
        "crates/executor/src/bridge.rs",
        "inside a cell it becomes the program, and leaves the copying to a process beside it",
    ),
    (
        "crates/attacks/",
        "its hostile program starts others, and its controls run it outside of a cell",
    ),
    ("crates/cell/", "it launches what runs inside a cell"),
    ("crates/workspace/", "it runs git"),
    ("crates/testkit/", "it builds repositories for tests"),
    (
        "crates/cli/src/models.rs",
        "it starts the broker of its own",
    ),
    (
        "crates/cli/src/again.rs",
        "it starts this program again, to attack itself",
    ),
    (
        "crates/cli/src/context.rs",
        "it asks git where the operator's repository is",
    ),
    (
        "crates/cli/src/commands/demo.rs",
        "it makes the repository that it shows",
    ),
    (
        "crates/cli/src/commands/demo/",
        "the demo's executor is a program of its own, and cargo builds it",
    ),
    ("crates/tidy/", "it says what it looks for"),
];

/// What may run a launcher that leaves walls out, and why.
pub const MAY_BE_WEAK: &[(&str, &str)] = &[
    (
        "crates/attacks/src/bin/",
        "the attack suite shows that each of its oracles can fail",
    ),
    (
        "crates/cell/src/bin/palisade-weak-cell.rs",
        "the cell's own tests show what each wall stops",
    ),
    ("crates/cell/src/launcher.rs", "it hands the function on"),
    ("crates/cell/src/launcher/weak.rs", "it is the function"),
    ("crates/tidy/", "it says what it looks for"),
];

const VAGUE: &[&str] = &[
    "common", "helper", "helpers", "imp", "manager", "misc", "mod", "shared", "stuff", "traits",
    "types", "util", "utils",
];

/// Returns whether `domain` says `no_std`: then the compiler keeps clock, files and network out.
#[must_use]
pub fn domain_with_std(files: &[File]) -> Vec<String> {
    let root = files
        .iter()
        .find(|it| it.path == "crates/domain/src/lib.rs");
    let Some(root) = root else {
        return vec!["crates/domain/src/lib.rs is gone".to_owned()];
    };
    ["#![no_std]", "#![forbid(unsafe_code)]"]
        .iter()
        .filter(|wanted| !has_line(root, wanted))
        .map(|wanted| format!("{}: the rules are pure; put `{wanted}` back", root.path))
        .collect()
}

/// Returns every crate root that does not forbid `unsafe`; [`UNSAFE_ROOM`] alone may use it.
/// A root without any code yet has nothing to forbid.
#[must_use]
pub fn unsafe_rooms(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| is_crate_root(file))
        .filter(|file| file.room().is_some_and(|(room, _)| room != UNSAFE_ROOM))
        .filter(|file| code_lines(&file.text).next().is_some())
        .filter(|file| !has_line(file, "#![forbid(unsafe_code)]"))
        .map(|file| {
            format!(
                "{}: add `#![forbid(unsafe_code)]`; what needs unsafe lives in `{UNSAFE_ROOM}`",
                file.path
            )
        })
        .collect()
}

/// Returns every manifest of a crate that does not take the lints of the workspace.
#[must_use]
pub fn lintless_rooms(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| {
            file.room()
                .is_some_and(|(_, within)| within == "Cargo.toml")
        })
        .filter(|file| {
            let mut lines = file.text.lines().map(str::trim);
            lines.find(|it| *it == "[lints]").is_none()
                || !lines
                    .take_while(|it| !it.starts_with('['))
                    .any(|it| it == "workspace = true")
        })
        .map(|file| format!("{}: add `[lints]` with `workspace = true`", file.path))
        .collect()
}

/// Returns every Rust file that does not open with a sentence about itself.
#[must_use]
pub fn silent_files(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.is_rust() && !file.text.starts_with("//! "))
        .map(|file| {
            format!(
                "{}: open it with one `//! ` sentence on what it is for",
                file.path
            )
        })
        .collect()
}

/// Returns every file or folder of a crate whose name says what it is, not what it holds.
#[must_use]
pub fn vague_names(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| it.is_rust()) {
        let Some((room, within)) = file.room() else {
            continue;
        };
        let parts = within.trim_end_matches(".rs").split('/').chain([room]);
        let vague = parts
            .flat_map(|part| part.split(['_', '-']))
            .find(|word| VAGUE.contains(word));
        if let Some(word) = vague {
            breaches.push(format!(
                "{}: `{word}` names a drawer; name it after what it holds (`foo.rs` and `foo/`, \
                 no `mod.rs`)",
                file.path
            ));
        }
    }
    breaches
}

/// Returns every production file that grew past its ceiling, or shrank well below it.
#[must_use]
pub fn overgrown_files(files: &[File], long: &[(&str, usize, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| it.is_production()) {
        let code = code_lines(file.without_inline_tests()).count();
        let path = &file.path;
        match long.iter().find(|(it, ..)| it == path) {
            None if code > LONG_FROM => breaches.push(format!(
                "{path}: {code} lines of code; find the seam, or list it in LONG and say why \
                 there is none"
            )),
            Some((_, ceiling, _)) if code > *ceiling => breaches.push(format!(
                "{path}: {code} lines of code, over its ceiling of {ceiling} in LONG"
            )),
            Some((_, ceiling, _)) if code + LONG_SLACK < *ceiling => breaches.push(format!(
                "{path}: shrank to {code} lines of code; lower its ceiling of {ceiling} in LONG"
            )),
            None | Some(_) => {}
        }
    }
    for (path, ..) in long {
        if !files.iter().any(|it| it.path == *path) {
            breaches.push(format!("{path}: is gone; remove its row from LONG"));
        }
    }
    breaches
}

/// Returns every file of a crate that no `mod` brings in: it would be neither compiled nor run.
#[must_use]
pub fn forgotten_files(files: &[File]) -> Vec<String> {
    let declared: BTreeSet<(&str, &str)> = files
        .iter()
        .filter(|it| it.is_rust())
        .filter_map(|file| Some((file.room()?.0, &file.text)))
        .flat_map(|(room, text)| {
            code_lines(text).filter_map(move |(_, line)| Some((room, declaration(line)?)))
        })
        .collect();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|it| it.is_rust()) {
        let Some((room, within)) = file.room() else {
            continue;
        };
        let parts: Vec<&str> = within.trim_end_matches(".rs").split('/').collect();
        let is_target = match parts.as_slice() {
            ["build"] | ["src", "lib" | "main"] | ["src", "bin", _] => true,
            ["tests" | "benches" | "examples", rest @ ..] => {
                matches!(rest, [_] | [_, "main"])
            }
            _ => false,
        };
        let stem = parts.last().copied().unwrap_or_default();
        if !is_target && !declared.contains(&(room, stem)) {
            breaches.push(format!(
                "{}: no `mod {stem};` in `{room}` brings it in; it is not compiled",
                file.path
            ));
        }
    }
    breaches
}

/// Returns every production file that starts processes in a crate that may not.
#[must_use]
pub fn process_starters(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|it| it.is_production() && !is_listed(&it.path, MAY_START_PROCESSES))
        .filter(|file| {
            let code = file.without_inline_tests();
            code.contains("std::process")
                && code_lines(code).any(|it| it.1.contains("Command::new"))
        })
        .map(|file| {
            format!(
                "{}: starts a process; ask a port (`Cells`, `Workspaces`), or list the place in \
                 MAY_START_PROCESSES with a reason",
                file.path
            )
        })
        .collect()
}

/// Returns every file that names the weak launcher and is no program made for tests: the product
/// has no way to leave a wall out.
#[must_use]
pub fn weak_launchers(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|it| it.is_rust() && !is_listed(&it.path, MAY_BE_WEAK))
        .filter(|file| code_lines(&file.text).any(|it| it.1.contains("main_weak")))
        .map(|file| {
            format!(
                "{}: runs a launcher without walls; only programs made for tests may, see \
                 MAY_BE_WEAK",
                file.path
            )
        })
        .collect()
}

fn is_crate_root(file: &File) -> bool {
    file.room().is_some_and(|(_, within)| {
        matches!(within, "src/lib.rs" | "src/main.rs") || within.starts_with("src/bin/")
    })
}

fn has_line(file: &File, wanted: &str) -> bool {
    file.text.lines().any(|line| line.trim() == wanted)
}

/// Returns the module that a line such as `pub mod name;` brings in.
fn declaration(line: &str) -> Option<&str> {
    let (visibility, rest) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let visible = matches!(
        visibility.trim_end(),
        "" | "pub" | "pub(crate)" | "pub(super)"
    );
    visible.then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(path: &str, text: &str) -> Vec<File> {
        vec![File::new(path, text)]
    }

    #[test]
    fn a_domain_with_std_is_found() {
        let path = "crates/domain/src/lib.rs";
        let commented = "//! X.\n// #![no_std]\n#![forbid(unsafe_code)]\n";
        assert_eq!(domain_with_std(&only(path, commented)).len(), 1);
        let pure = "//! X.\n#![no_std]\n#![forbid(unsafe_code)]\n";
        assert_eq!(domain_with_std(&only(path, pure)), Vec::<String>::new());
        assert_eq!(domain_with_std(&[]).len(), 1);
    }

    #[test]
    fn a_room_that_does_not_forbid_unsafe_is_found() {
        let code = "//! X.\npub mod a;\n";
        assert_eq!(
            unsafe_rooms(&only("crates/store/src/lib.rs", code)).len(),
            1
        );
        assert_eq!(
            unsafe_rooms(&only("crates/cli/src/bin/x.rs", code)).len(),
            1
        );
        assert_eq!(unsafe_rooms(&only("crates/cell/src/lib.rs", code)).len(), 0);
        assert_eq!(
            unsafe_rooms(&only("crates/store/src/lib.rs", "//! X.\n")).len(),
            0
        );
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        let path = "crates/a/Cargo.toml";
        for text in ["[package]\n", "[lints]\n[dependencies]\nworkspace = true\n"] {
            assert_eq!(lintless_rooms(&only(path, text)).len(), 1);
        }
        assert_eq!(
            lintless_rooms(&only(path, "[lints]\nworkspace = true\n")).len(),
            0
        );
    }

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert_eq!(
            silent_files(&only("crates/a/src/b.rs", "use x;\n")).len(),
            1
        );
        assert_eq!(
            silent_files(&only("crates/a/src/b.rs", "//! B.\n")).len(),
            0
        );
    }

    #[test]
    fn a_drawer_is_found() {
        for path in [
            "crates/a/src/utils.rs",
            "crates/a/src/work/mod.rs",
            "crates/a/src/wire_types.rs",
            "crates/common/src/lib.rs",
            "crates/a/tests/common/git.rs",
        ] {
            assert_eq!(vague_names(&only(path, "")).len(), 1, "{path}");
        }
        assert_eq!(vague_names(&only("crates/a/src/model.rs", "")).len(), 0);
    }

    #[test]
    fn growth_and_shrinking_are_found() {
        let path = "crates/a/src/b.rs";
        let lines = |count| only(path, &"let a = 1;\n".repeat(count));
        assert_eq!(overgrown_files(&lines(LONG_FROM), &[]).len(), 0);
        assert_eq!(overgrown_files(&lines(LONG_FROM + 1), &[]).len(), 1);
        let long = &[(path, 500, "a table")];
        assert_eq!(overgrown_files(&lines(501), long).len(), 1);
        assert_eq!(overgrown_files(&lines(480), long).len(), 0);
        assert_eq!(overgrown_files(&lines(449), long).len(), 1);
        assert_eq!(overgrown_files(&[], long).len(), 1);
    }

    #[test]
    fn comments_and_inline_tests_do_not_count() {
        let text = format!(
            "{}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "// why\n".repeat(LONG_FROM + 1),
            "let a = 1;\n".repeat(LONG_FROM + 1)
        );
        let files = only("crates/a/src/b.rs", &text);
        assert_eq!(overgrown_files(&files, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_forgotten_file_is_found() {
        let mut files = only("crates/a/src/lib.rs", "pub mod kept;\n// mod lost;\n");
        files.extend(only("crates/a/src/kept.rs", ""));
        files.extend(only("crates/a/tests/story.rs", ""));
        files.extend(only("crates/a/tests/stories/main.rs", ""));
        assert_eq!(forgotten_files(&files), Vec::<String>::new());
        files.extend(only("crates/a/src/lost.rs", ""));
        files.extend(only("crates/a/tests/stories/lost_too.rs", ""));
        assert_eq!(forgotten_files(&files).len(), 2);
    }

    #[test]
    fn a_weak_launcher_is_found() {
        let text = "//! X; not `main_weak`.\nfn main() { cell::launcher::main_weak() }\n";
        for path in ["crates/cli/src/main.rs", "crates/cell/src/main.rs"] {
            assert_eq!(weak_launchers(&only(path, text)).len(), 1, "{path}");
        }
        let made_for_tests = "crates/attacks/src/bin/weak.rs";
        assert_eq!(weak_launchers(&only(made_for_tests, text)).len(), 0);
    }

    #[test]
    fn a_process_in_the_wrong_room_is_found() {
        let text = "use std::process::Command;\nfn a() { Command::new(\"git\"); }\n";
        assert_eq!(
            process_starters(&only("crates/engine/src/a.rs", text)).len(),
            1
        );
        assert_eq!(
            process_starters(&only("crates/cell/src/a.rs", text)).len(),
            0
        );
        assert_eq!(
            process_starters(&only("crates/engine/tests/a.rs", text)).len(),
            0
        );
    }
}
