//! Tables and properties of the import filter.

use std::path::PathBuf;

use domain::Digest;
use ports::artifacts::Artifacts as _;
use proptest::prelude::*;
use testkit::artifacts::MemoryArtifacts;

use super::*;
use crate::base::Base;
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

fn compiled(rules: &ImportRules) -> Compiled {
    Compiled::of(rules).unwrap()
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
    let artifacts = MemoryArtifacts::default();
    let trees = Trees {
        before: &View::of(base, Changes::new()),
        after: &View::of(base, all),
        contents: Contents::of(&artifacts),
    };
    judge(&trees, &changes, &compiled(rules), &nothing_besides).unwrap()
}

/// Returns what is held against texts and their absence (`None`), after a tree that holds `before`.
pub(super) fn judged_texts(
    before: &[(&str, &[u8])],
    after: &[(&str, Option<&[u8]>)],
    rules: &ImportRules,
) -> Vec<(String, String)> {
    let artifacts = MemoryArtifacts::default();
    let base = base(&[]);
    let entry = |bytes: &[u8]| Entry::File {
        content: artifacts.put(bytes).unwrap(),
        bytes: u64::try_from(bytes.len()).unwrap(),
        executable: false,
    };
    let held: Changes = before
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), entry(bytes)))
        .collect();
    let mut whole = held.clone();
    let mut changes = Vec::new();
    for (path, bytes) in after {
        let path = (*path).to_owned();
        let entry = bytes.map_or(Entry::Deleted, entry);
        whole.remove(&path);
        if entry != Entry::Deleted {
            whole.insert(path.clone(), entry.clone());
        }
        changes.push(Change { path, entry });
    }
    let trees = Trees {
        before: &View::of(&base, held),
        after: &View::of(&base, whole),
        contents: Contents::of(&artifacts),
    };
    let found = judge(&trees, &changes, &compiled(rules), &nothing_besides).unwrap();
    found.into_iter().map(|it| (it.path, it.detail)).collect()
}

/// Rules that give everything.
pub(super) fn open_rules() -> ImportRules {
    ImportRules {
        role_paths: vec!["**".into()],
        plan_allowed: vec!["**".into()],
        plan_denied: Vec::new(),
        protected: Vec::new(),
        secrets: Vec::new(),
        may_set_executable: true,
        file_bytes_max: u64::MAX,
        total_bytes_max: u64::MAX,
        files_max: u64::MAX,
        accepted_secrets: Vec::new(),
        documents_only: false,
        guards_tests: false,
    }
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
        ("console/com10.rs", file(1)),
        ("src/Big/b.rs", file(1)),
        ("HEAD", file(1)),
        ("src/objects/x", file(1)),
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
    let foreign = |rule| Entry::Foreign {
        what: "a FIFO".into(),
        rule,
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
        ("fifo", foreign(Rule::FileType), vec!["file_type"]),
        ("giant", foreign(Rule::Size), vec!["size"]),
        ("suid", foreign(Rule::Mode), vec!["mode"]),
        (".", foreign(Rule::Count), vec!["count"]),
        (".", file(1), vec!["path"]),
        ("src/.gitignore", link("a.rs"), vec!["git_internals"]),
        ("run.sh", file(1), vec!["mode"]),
        ("a:b", file(1), vec!["path"]),
        ("src/aux.c", file(1), vec!["path"]),
        ("LPT1", file(1), vec!["path"]),
        ("gi7eba~1", file(1), vec!["git_internals"]),
        ("README.md/inside", file(1), vec!["path"]),
        ("src", file(1), vec!["path"]),
        ("stra\u{df}e", file(1), vec!["path"]),
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
fn accents_have_one_spelling() {
    let twins = [("caf\u{e9}", file(1)), ("cafe\u{301}", file(1))];
    assert_eq!(judged(&usual(), &twins, &rules()).len(), 2);
    assert_eq!(judged(&usual(), &twins[..1], &rules()), []);
}

#[test]
fn what_the_base_has_always_had_is_no_fault_of_a_change() {
    let odd = base(&[
        ("net/xt_DSCP.h", Kind::File),
        ("net/xt_dscp.h", Kind::File),
        ("aux.c", Kind::File),
        ("fixture/HEAD", Kind::File),
        ("fixture/objects/x", Kind::File),
        ("fixture/refs/x", Kind::File),
    ]);
    for path in ["net/xt_dscp.h", "aux.c", "fixture/HEAD", "fixture/config"] {
        assert_eq!(judged(&odd, &[(path, file(1))], &rules()), [], "{path}");
    }
    let third = judged(&odd, &[("net/XT_dscp.h", file(1))], &rules());
    assert_eq!(third.len(), 1, "{third:?}");
}

#[test]
fn a_folder_that_git_would_take_for_a_repository_is_found_by_each_of_its_files() {
    let loose = [
        ("d/HEAD", file(1)),
        ("d/config", file(1)),
        ("d/objects/x", file(1)),
        ("d/refs/x", file(1)),
    ];
    let found = judged(&usual(), &loose, &rules());
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|it| it.rule == Rule::GitInternals));
    let shared = [("d/HEAD", file(1)), ("d/commondir", file(1))];
    assert_eq!(judged(&usual(), &shared, &rules()).len(), 2);
    assert_eq!(judged(&usual(), &loose[..3], &rules()), []);
}

#[test]
fn a_link_is_followed_through_the_links_of_the_tree() {
    let fine = [("a", link("src")), ("b", link("a/a.rs"))];
    assert_eq!(judged(&usual(), &fine, &rules()), []);
    let round = [("a", link("b")), ("b", link("a"))];
    let found = judged(&usual(), &round, &rules());
    assert_eq!(found.len(), 2, "{found:?}");
    let out = [("a", link("/etc")), ("b", link("a/passwd"))];
    let found = judged(&usual(), &out, &rules());
    assert!(
        found[1].detail.contains("through the link `a`"),
        "{found:?}"
    );
}

#[test]
fn an_executable_of_the_tree_before_may_stay_one() {
    let artifacts = MemoryArtifacts::default();
    let base = usual();
    let all = |entry| Changes::from([("tool".to_owned(), entry)]);
    let trees = Trees {
        before: &View::of(&base, all(executable())),
        after: &View::of(&base, all(executable())),
        contents: Contents::of(&artifacts),
    };
    let change = |entry| Change {
        path: "tool".into(),
        entry,
    };
    assert_eq!(
        judge(
            &trees,
            &[change(executable())],
            &compiled(&rules()),
            &nothing_besides
        )
        .unwrap(),
        []
    );
    let found = judge(
        &trees,
        &[change(file(1))],
        &compiled(&rules()),
        &nothing_besides,
    )
    .unwrap();
    assert_eq!(found[0].rule, Rule::Mode, "{found:?}");
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
    let error = Compiled::of(&bad).unwrap_err();
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
