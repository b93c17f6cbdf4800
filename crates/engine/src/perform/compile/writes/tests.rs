//! What is compiled, held against what the import filter would say.

use std::convert::Infallible;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use proptest::prelude::*;

use super::*;

fn rules(role: &[&str], plan: &[&str], denied: &[&str], protected: &[&str]) -> ImportRules {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    ImportRules {
        role_paths: owned(role),
        plan_allowed: owned(plan),
        plan_denied: owned(denied),
        protected: owned(protected),
        secrets: Vec::new(),
        may_set_executable: false,
        file_bytes_max: 1,
        total_bytes_max: 1,
        files_max: 1,
        accepted_secrets: vec![],
        documents_only: false,
        guards_tests: false,
    }
}

/// Lists a folder of a tree of these files.
fn look(files: &[&str], folder: &str) -> Vec<Listed> {
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let inside = files.iter().filter_map(|it| it.strip_prefix(&prefix));
    let listed = inside.map(|it| Listed {
        name: it.split('/').next().unwrap().to_owned(),
        is_folder: it.contains('/'),
    });
    listed.collect::<BTreeSet<_>>().into_iter().collect()
}

fn compiled(rules: &ImportRules, ignore: &str, files: &[&str]) -> Writes {
    let Ok(writes) = compile(rules, ignore, |folder| {
        Ok::<_, Infallible>(look(files, folder))
    });
    writes
}

fn told(writes: &Writes) -> (Vec<&str>, Vec<&str>) {
    let words = |list: &'_ [PathBuf]| -> Vec<&'static str> {
        let texts = list.iter().map(|it| it.to_str().unwrap().to_owned());
        texts.map(|it| &*it.leak()).collect()
    };
    (words(&writes.writable), words(&writes.read_only))
}

#[test]
fn a_plan_of_two_folders_leaves_a_third_read_only() {
    let files = ["src/a", "docs/b", "ci/c", "README.md"];
    let rules = rules(&["**"], &["src/**", "docs/**"], &[], &[]);
    let writes = compiled(&rules, "", &files);
    assert_eq!(told(&writes), (vec!["docs", "src"], vec![]));
    assert!(!writes.admit(Path::new("ci/c")) && !writes.admit(Path::new("README.md")));
}

#[test]
fn a_writable_root_leaves_other_folders_read_only() {
    let files = ["src/a", "docs/b", "ci/c", "docs/api/d", "README.md"];
    let rules = rules(&["**"], &["*.md", "docs/api/**"], &[], &[]);
    let expected = (vec!["", "docs/api"], vec!["ci", "docs", "src"]);
    assert_eq!(told(&compiled(&rules, "", &files)), expected);
}

#[test]
fn wildcards_in_the_middle_are_followed_through_the_tree() {
    let files = [
        "crates/a/src/x",
        "crates/a/tests/y",
        "crates/b/src/z",
        "w/v",
    ];
    let rules = rules(&["**"], &["crates/*/src/**"], &[], &[]);
    let expected = (vec!["crates"], vec!["crates/a/tests"]);
    assert_eq!(told(&compiled(&rules, "", &files)), expected);
}

#[test]
fn role_and_plan_must_both_give() {
    let files = ["src/a", "docs/b"];
    let of = |role: &[&str], plan: &[&str]| compiled(&rules(role, plan, &[], &[]), "", &files);
    let docs = of(&["docs/**", "**/*.md"], &["src/**"]);
    assert_eq!(told(&docs), (vec!["src"], vec![]));
    assert_eq!(told(&of(&["docs/**"], &["src/**"])), (vec![], vec![]));
    assert_eq!(told(&of(&[], &["**"])), (vec![], vec![]));
    let git = of(&["**"], &[".git/hooks/**", "a/.GIT/**"]);
    assert_eq!(told(&git), (vec![], vec![]));
}

#[test]
fn what_is_taken_away_by_name_is_read_only_where_it_is() {
    let files = [
        "src/a",
        "src/Legacy/b",
        "CODEOWNERS",
        "ci/check.sh",
        ".github/workflows/w",
    ];
    let denied = ["src/legacy/**", "/ci/check.sh", "none/**"];
    let rules = rules(&["**"], &["**"], &denied, &[".github/**", "CODEOWNERS"]);
    let read_only = vec![".github", "CODEOWNERS", "ci/check.sh", "src/Legacy"];
    assert_eq!(told(&compiled(&rules, "", &files)), (vec![""], read_only));
}

#[test]
fn what_is_denied_gives_nothing_within() {
    let rules = rules(&["**"], &["a/b/**", "c/**"], &["a/**"], &[]);
    let writes = compiled(&rules, "", &["a/b/x", "c/y"]);
    assert_eq!(told(&writes), (vec!["c"], vec![]));
}

#[test]
fn a_link_in_the_place_of_a_folder_is_never_written_through() {
    let rules = rules(&["**"], &["src/**", "new/**"], &[], &[]);
    // As a link or file, `src` is listed without anything beneath.
    assert_eq!(told(&compiled(&rules, "", &["src"])), (vec!["new"], vec![]));
}

#[test]
fn build_output_is_writable_under_a_narrow_plan() {
    let ignore =
        "# out\n/target\nnode_modules/\n**/cache/\n!dist\nweb/out/*\nkeep/\n!keep/\n.git/\n";
    let files = ["src/a", "cache/tracked"];
    let narrow = rules(&["**"], &["src/**"], &[], &["node_modules/**"]);
    let expected = vec!["cache", "src", "target", "web/out"];
    assert_eq!(told(&compiled(&narrow, ignore, &files)).0, expected);
    let files = ["src/a", "cache/tracked", "node_modules/x"];
    let writes = compiled(&narrow, ignore, &files);
    assert!(
        !writes.admit(Path::new("node_modules/x")),
        "it is protected"
    );
    let wide = rules(&["**"], &["*.md", "src/**"], &[], &[]);
    let writes = compiled(&wide, ignore, &files);
    assert_eq!(told(&writes), (vec![""], vec![]), "{writes:?}");
}

#[test]
fn tools_may_leave_ignored_files_and_locks_beside_what_is_closed() {
    let files = ["Cargo.toml", "src/a", "ci/c"];
    let rules = rules(&["tests/**"], &["**"], &[], &[]);
    let expected = (vec![""], vec!["Cargo.toml", "ci", "src"]);
    // A lock file that is to be made, or one that the base ignores.
    assert_eq!(told(&compiled(&rules, "", &files)), expected);
    let locked = ["Cargo.lock", "Cargo.toml", "src/a", "ci/c"];
    assert_eq!(told(&compiled(&rules, "", &locked)).0, ["tests"]);
    let read_only = vec!["Cargo.lock", "Cargo.toml", "ci", "src"];
    let coverage = compiled(&rules, "# x\n!kept\n.coverage\n", &locked);
    assert_eq!(told(&coverage), (vec![""], read_only));
    for only_folders in ["/target\n", "a/b\n", "out/\n"] {
        let writes = compiled(&rules, only_folders, &locked);
        assert!(!writes.admit(Path::new("new")), "{only_folders}");
    }
}

fn set(globs: &[String], spell: impl Fn(&str) -> Vec<String>, fold: bool) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs.iter().flat_map(|it| spell(it)) {
        let built = GlobBuilder::new(&glob)
            .literal_separator(true)
            .backslash_escape(true)
            .case_insensitive(fold)
            .build();
        set.add(built.unwrap());
    }
    set.build().unwrap()
}

/// The import filter's rule on paths, told anew: what gives is read narrowly, what takes away widely.
fn admits(rules: &ImportRules, path: &str) -> bool {
    let gives = |globs: &[String]| {
        let all = |glob: &str| if glob.ends_with('/') { "**" } else { "" };
        set(globs, |it| vec![format!("{it}{}", all(it))], false).is_match(path)
    };
    let takes = |globs: &[String]| {
        let spell = |glob: &str| {
            let name = glob.trim_end_matches('/');
            let anywhere = match name.contains('/') {
                true => name.trim_start_matches('/').to_owned(),
                false => format!("**/{name}"),
            };
            let itself = anywhere.strip_suffix("/**").unwrap_or(&anywhere).to_owned();
            vec![format!("{anywhere}/**"), itself, anywhere]
        };
        set(globs, spell, true).is_match(path)
    };
    gives(&rules.role_paths)
        && gives(&rules.plan_allowed)
        && !takes(&rules.plan_denied)
        && !takes(&rules.protected)
}

const EXACT: [&str; 11] = [
    "**", "*", "?", "A", "[ab]", "{a,b}", "{a/b,c}", "{a/**,b}", "a*", r"\*", "*{*,b}",
];

/// Components that are told apart exactly.
fn component() -> BoxedStrategy<String> {
    prop_oneof![
        "[ab]",
        prop::sample::select(&EXACT[..]).prop_map(str::to_owned)
    ]
    .boxed()
}

/// Components that may also match over their ends.
fn any_component() -> BoxedStrategy<String> {
    let wide = prop::sample::select(&["[!a]", "a{**/b,c}", "[!/]"][..]).prop_map(str::to_owned);
    prop_oneof![4 => component(), 1 => wide].boxed()
}

fn globs(
    component: fn() -> BoxedStrategy<String>,
    components: usize,
    most: usize,
) -> impl Strategy<Value = Vec<String>> {
    let parts = prop::collection::vec(component(), 1..=components);
    let glob = (parts, prop::bool::weighted(0.2)).prop_map(|(parts, is_folder)| {
        let glob = parts.join("/");
        if is_folder { glob + "/" } else { glob }
    });
    prop::collection::vec(glob, 0..=most)
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[abc]",
        "[ab]{2}",
        Just("A".to_owned()),
        Just("*".to_owned())
    ];
    prop::collection::vec(name, 1..5).prop_map(|it| it.join("/"))
}

/// Leaves out files that would have to be folders too.
fn tree(paths: &[String]) -> Vec<&str> {
    let is_folder = |it: &str| {
        let prefix = format!("{it}/");
        paths.iter().any(|other| other.starts_with(&prefix))
    };
    let files = paths.iter().map(String::as_str);
    files.filter(|it| !is_folder(it)).collect()
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Returns whether a list matches anything beneath a folder, by trying: deep enough for globs of two
/// components, with a name for each of their letters.
fn can_match(globs: &[String], folder: &str) -> bool {
    let names = ["a", "b", "c", "A", "*", "ab", "ba"];
    let all = |glob: &str| if glob.ends_with('/') { "**" } else { "" };
    let set = set(globs, |it| vec![format!("{it}{}", all(it))], false);
    let mut level = vec![folder.to_owned()];
    for _ in 0..4 {
        let deeper = level.iter();
        level = deeper
            .flat_map(|above| names.map(|it| format!("{above}/{it}")))
            .collect();
        if level.iter().any(|it| set.is_match(it)) {
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_the_filter_admits_can_be_written(
        role in globs(any_component, 3, 3), plan in globs(any_component, 3, 3),
        denied in globs(any_component, 3, 2), protected in globs(any_component, 3, 1),
        existing in prop::collection::vec(path(), 0..8),
        written in prop::collection::vec(path(), 1..12),
        ignore in prop::collection::vec(path(), 0..2),
    ) {
        let (denied, protected) = (texts(&denied), texts(&protected));
        let rules = rules(&texts(&role), &texts(&plan), &denied, &protected);
        let files = tree(&existing);
        let writes = compiled(&rules, &(ignore.join("/\n") + "/"), &files);
        for path in written.iter().map(String::as_str).chain(files.iter().copied()) {
            // What would stand in the place of a file's folder, or be a folder's file, cannot come
            // without a change to the one that is there.
            let lies_in = |one: &str, other: &str| up_from(one).skip(1).any(|it| it == other);
            let replaces = files.iter().any(|it| lies_in(path, it) || lies_in(it, path));
            if !replaces && admits(&rules, path) {
                prop_assert!(
                    writes.admit(Path::new(path)),
                    "`{path}` is admitted, and cannot be written: {writes:?}",
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_folder_in_which_nothing_can_match_is_not_writable(
        role in globs(component, 2, 2), plan in globs(component, 2, 2),
        existing in prop::collection::vec(path(), 1..8),
    ) {
        let rules = rules(&texts(&role), &texts(&plan), &[], &[]);
        let files = tree(&existing);
        let writes = compiled(&rules, "", &files);
        for listed in look(&files, "").into_iter().filter(|it| it.is_folder) {
            if writes.admit(&Path::new(&listed.name).join("z/z/z/z/z")) {
                for list in [&rules.role_paths, &rules.plan_allowed] {
                    prop_assert!(
                        can_match(list, &listed.name),
                        "{list:?} match nothing in `{}`: {writes:?}", listed.name,
                    );
                }
            }
        }
    }
}
