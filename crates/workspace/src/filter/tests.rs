//! Tables and properties of the import filter.

use std::path::PathBuf;

use domain::Digest;
use proptest::prelude::*;

use super::*;
use crate::manifest::Changes;
use crate::names::{Name, Names};

const OBJECT: &str = "0123456789012345678901234567890123456789";

fn base(paths: &[(&str, Kind)]) -> Base {
    let names = paths
        .iter()
        .map(|(path, kind)| Name {
            path: path.as_bytes().to_vec(),
            kind: *kind,
            object: OBJECT.into(),
            bytes: 1,
            seconds: 1,
        })
        .collect();
    Base::in_memory(
        OBJECT.parse().unwrap(),
        PathBuf::new(),
        Names::of(names).unwrap(),
    )
}

fn usual() -> Base {
    base(&[
        ("README.md", Kind::File),
        ("run.sh", Kind::Executable),
        ("src/a.rs", Kind::File),
        ("src/Big/b.rs", Kind::File),
        ("sub", Kind::Submodule),
        ("STRASSE", Kind::File),
    ])
}

fn rules() -> ImportRules {
    let globs = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    ImportRules {
        role_paths: globs(&["**"]),
        plan_allowed: globs(&["**"]),
        plan_denied: globs(&["src/denied/**"]),
        protected: globs(&[".github/**", "policies/"]),
        secrets: globs(&[".env*", "*.pem"]),
        accepted_secrets: vec![],
        may_set_executable: false,
        file_bytes_max: 100,
        total_bytes_max: 150,
        files_max: 4,
        documents_only: false,
        guards_tests: false,
    }
}

fn file(bytes: u64) -> Entry {
    Entry::File {
        content: Digest::ZERO,
        bytes,
        executable: false,
    }
}

fn executable() -> Entry {
    Entry::File {
        content: Digest::ZERO,
        bytes: 1,
        executable: true,
    }
}

fn link(target: &str) -> Entry {
    Entry::Symlink {
        target: target.into(),
    }
}

fn judged(base: &Base, changes: &[(&str, Entry)], rules: &ImportRules) -> Vec<Violation> {
    let all: Changes = changes
        .iter()
        .map(|(path, entry)| ((*path).to_owned(), entry.clone()))
        .collect();
    let changes: Vec<Change> = changes
        .iter()
        .map(|(path, entry)| Change {
            path: (*path).to_owned(),
            entry: entry.clone(),
        })
        .collect();
    judge(&View::of(base, all), &changes, rules).unwrap()
}

/// Returns the names of the rules that one change breaks.
fn broken(path: &str, entry: Entry) -> Vec<&'static str> {
    let found = judged(&usual(), &[(path, entry)], &rules());
    found.iter().map(|it| it.rule.name()).collect()
}

#[test]
fn plain_work_passes() {
    for (path, entry) in [
        ("src/a.rs", file(10)),
        ("src/new/deep.rs", file(100)),
        ("README.md", Entry::Deleted),
        ("run.sh", executable()),
        ("src/link", link("a.rs")),
        ("src/link", link("../README.md")),
        ("a/b/link", link("./../../README.md")),
        (".gitignore", file(1)),
        (".config/x", file(1)),
        ("Datei ü (1).txt", file(1)),
        ("notes~1", file(1)),
        ("environment", file(1)),
    ] {
        assert_eq!(
            broken(path, entry.clone()),
            [] as [&str; 0],
            "{path} {entry:?}"
        );
    }
}

#[test]
fn each_rule_holds_what_it_is_for() {
    let foreign = || Entry::Foreign {
        what: "a FIFO".into(),
    };
    for (path, entry, expected) in [
        ("src/denied/x", file(1), vec!["plan_denied"]),
        (".github/workflows/ci.yml", file(1), vec!["protected"]),
        ("a/policies/x", Entry::Deleted, vec!["protected"]),
        (".env", file(1), vec!["secret"]),
        ("deep/.ENV.local", file(1), vec!["secret"]),
        ("a.pem/inside", file(1), vec!["secret"]),
        (".git/config", file(1), vec!["git_internals"]),
        ("a/.GIT/hooks/x", Entry::Deleted, vec!["git_internals"]),
        (
            ".git\u{200c}/config",
            file(1),
            vec!["git_internals", "path"],
        ),
        (".git. /x", file(1), vec!["git_internals", "path"]),
        ("git~1/x", file(1), vec!["git_internals"]),
        ("x\\.git\\y", file(1), vec!["git_internals", "path"]),
        (".gitmodules", file(1), vec!["git_internals"]),
        ("a/.gitattributes", Entry::Deleted, vec!["git_internals"]),
        ("sub", Entry::Deleted, vec!["git_internals"]),
        ("sub/inside", file(1), vec!["git_internals"]),
        ("src/l", link("/etc/passwd"), vec!["symlink_escape"]),
        ("src/l", link("../../x"), vec!["symlink_escape"]),
        ("l", link(".."), vec!["symlink_escape"]),
        ("src/l", link("a/../../x"), vec!["symlink_escape"]),
        ("src/l", link("a/.."), vec!["symlink_escape"]),
        ("src/l", link(""), vec!["symlink_escape"]),
        ("src/l", link("C:\\x"), vec!["symlink_escape"]),
        ("src/l", link("..\\..\\x"), vec!["symlink_escape"]),
        ("src/l", link("../.git/config"), vec!["git_internals"]),
        ("fifo", foreign(), vec!["file_type"]),
        ("src/a.rs", executable(), vec!["mode"]),
        ("new.sh", executable(), vec!["mode"]),
        ("large", file(101), vec!["size"]),
        ("/abs", file(1), vec!["path"]),
        ("a/../b", file(1), vec!["path"]),
        ("a//b", file(1), vec!["path"]),
        ("./a", file(1), vec!["path"]),
        ("a/", file(1), vec!["path"]),
        ("a\nb", file(1), vec!["path"]),
        ("a\u{1b}[2J", file(1), vec!["path"]),
        ("a\u{202e}txt.exe", file(1), vec!["path"]),
        ("trailing./x", file(1), vec!["path"]),
        ("trailing ", file(1), vec!["path"]),
        ("readme.md", file(1), vec!["path"]),
        ("SRC/new.rs", file(1), vec!["path"]),
        ("src/big/c.rs", file(1), vec!["path"]),
        ("strasse", file(1), vec!["path"]),
    ] {
        assert_eq!(broken(path, entry.clone()), expected, "{path:?} {entry:?}");
    }
}

#[test]
fn nothing_is_allowed_where_nothing_is_given() {
    let mut narrow = rules();
    narrow.role_paths.clear();
    narrow.plan_allowed = vec!["docs/**".into()];
    let found = judged(&usual(), &[("src/a.rs", file(1))], &narrow);
    let names: Vec<&str> = found.iter().map(|it| it.rule.name()).collect();
    assert_eq!(names, ["role_scope", "plan_allowed"]);
    assert!(found[0].detail.contains("nothing"), "{found:?}");
    assert!(found[1].detail.contains("`docs/**`"), "{found:?}");
}

#[test]
fn case_may_change_when_the_old_name_goes() {
    let renamed = [("README.md", Entry::Deleted), ("readme.md", file(1))];
    assert_eq!(judged(&usual(), &renamed, &rules()), []);
    let moved = [("src/Big/b.rs", Entry::Deleted), ("src/big/b.rs", file(1))];
    assert_eq!(judged(&usual(), &moved, &rules()), []);
    let twins = [("new", file(1)), ("NEW", file(1))];
    let found = judged(&usual(), &twins, &rules());
    assert_eq!(found.len(), 2, "{found:?}");
    let folders = [("n/x", file(1)), ("N/y", file(1))];
    assert_eq!(judged(&usual(), &folders, &rules()).len(), 2);
}

#[test]
fn sums_are_told_for_the_whole() {
    let many = [
        ("1", file(50)),
        ("2", file(50)),
        ("3", file(50)),
        ("4", file(1)),
        ("5", Entry::Deleted),
    ];
    let found = judged(&usual(), &many, &rules());
    let told: Vec<(&str, &str)> = found
        .iter()
        .map(|it| (it.path.as_str(), it.rule.name()))
        .collect();
    assert_eq!(told, [(".", "size"), (".", "count")]);
    assert_eq!(judged(&usual(), &many[..3], &rules()), []);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let found = judged(
        &usual(),
        &[(".env", executable()), (".git/x", link("/etc"))],
        &rules(),
    );
    let told: Vec<(&str, &str)> = found
        .iter()
        .map(|it| (it.path.as_str(), it.rule.name()))
        .collect();
    assert_eq!(
        told,
        [
            (".env", "secret"),
            (".env", "mode"),
            (".git/x", "git_internals"),
            (".git/x", "symlink_escape"),
        ]
    );
}

#[test]
fn a_malformed_glob_is_an_error() {
    let mut bad = rules();
    bad.plan_denied = vec!["a[".into()];
    let view = usual();
    let error = judge(&View::of(&view, Changes::new()), &[], &bad).unwrap_err();
    assert!(error.to_string().contains("`a[`"), "{error}");
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(".git".into()),
        Just(".GiT".into()),
        Just("git~1".into()),
        Just("..".into()),
        Just(".".into()),
        Just(String::new()),
        Just("src".into()),
        "[.gGiItT \u{200c}:~1]{1,6}",
        "[a-z]{1,4}",
        "\\PC{0,4}",
    ]
}

proptest! {
    #[test]
    fn no_change_that_passes_touches_git_or_leaves_the_tree(
        parts in proptest::collection::vec(part(), 1..5)
    ) {
        let path = parts.join("/");
        let found = judged(&usual(), &[(path.as_str(), file(1))], &rules());
        if !found.is_empty() {
            return Ok(());
        }
        for part in path.split('/') {
            prop_assert!(!matches!(part, "" | "." | ".."), "{path:?}");
            let letters: String = part
                .chars()
                .filter(char::is_ascii_graphic)
                .collect::<String>()
                .to_ascii_lowercase();
            let stem = letters.split(':').next().unwrap_or_default();
            prop_assert_ne!(stem.trim_end_matches('.'), ".git", "{:?}", path);
            prop_assert!(!part.eq_ignore_ascii_case("git~1"), "{path:?}");
        }
        prop_assert!(!path.starts_with('/') && !path.chars().any(char::is_control));
    }

    #[test]
    fn no_link_that_passes_leads_out(
        parts in proptest::collection::vec(part(), 0..6),
        depth in 0..3_usize,
    ) {
        let target = parts.join("/");
        let path = format!("{}l", "d/".repeat(depth));
        let found = judged(&usual(), &[(path.as_str(), link(&target))], &rules());
        if !found.is_empty() {
            return Ok(());
        }
        prop_assert!(!target.starts_with('/') && !target.is_empty());
        let mut level = i64::try_from(depth).unwrap();
        for part in target.split('/') {
            level += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            prop_assert!(level >= 0, "{target:?} from {path:?}");
        }
    }

    #[test]
    fn what_is_outside_the_plan_never_passes(path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}") {
        let mut narrow = rules();
        narrow.plan_allowed = vec!["src/**".into()];
        let found = judged(&usual(), &[(path.as_str(), file(1))], &narrow);
        let inside = path.starts_with("src/");
        prop_assert_eq!(found.iter().any(|it| it.rule == Rule::PlanAllowed), !inside);
    }

    #[test]
    fn judging_is_the_same_in_any_order(seed in any::<u64>()) {
        let mut changes = [
            ("a", file(seed % 200)),
            ("A", file(1)),
            (".git/x", Entry::Deleted),
            ("l", link("../x")),
        ];
        let first = judged(&usual(), &changes, &rules());
        changes.rotate_left(usize::try_from(seed % 4).unwrap());
        prop_assert_eq!(judged(&usual(), &changes, &rules()), first);
    }
}
