//! What every adapter of sealed trees keeps to, one function per rule. [`crate::workspaces_contract`]
//! makes a test of each.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a contract suite is made of tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use domain::SessionId;
use domain::tree::{Commit, Entry, ImportRules, Rule, Tree};
use ports::cells::Layers;
use ports::workspaces::{CommitText, Error, Landed, Mode, Rebased, Secrets, Target, Workspaces};

mod leaks;

pub use leaks::{
    a_base_with_a_credential_is_not_made_ready,
    a_credential_in_a_change_is_told_and_may_be_accepted, what_was_left_is_shown_and_not_kept,
    withheld_values_are_those_that_nothing_shown_holds,
};

mod listing;

pub use listing::a_folder_lists_what_the_tree_holds_in_it;

/// A repository on the branch `main`, as a test sees it.
pub trait Repository {
    /// Returns the workspaces; once more is another process.
    fn workspaces(&self) -> Arc<dyn Workspaces>;

    /// Puts a commit with these files (`None` deletes) on top of `main`, as a colleague would.
    fn push(&self, files: &[(&str, Option<&str>)]) -> Commit;

    /// Reads a file of a commit.
    fn text(&self, commit: &Commit, path: &str) -> Option<String> {
        let bytes = self.workspaces().read_at(commit, path).unwrap();
        bytes.map(|it| String::from_utf8(it).unwrap())
    }
}

/// Makes one test of each rule. The argument is called once per test and returns a fresh
/// [`Repository`] without any commit on `main` but one, which holds `a` and `d/b` with the text
/// `one`, each without a line feed.
#[macro_export]
macro_rules! workspaces_contract {
    ($make:expr) => {
        $crate::workspaces_contract! { @rules $make;
            what_a_session_left_is_seen_by_the_next
            opening_again_gives_a_fresh_upper_layer
            only_a_writable_session_is_captured
            an_unchanged_session_captures_the_tree_it_began_with
            what_is_restored_holds_what_was_before
            changes_lead_from_one_tree_to_the_other
            changes_of_other_files_are_carried_over
            changes_on_both_sides_conflict
            a_tree_on_its_own_base_stays_as_it_is
            publishing_twice_is_the_same_commit
            a_landing_is_compare_and_swap
            a_landing_again_is_a_landing
            what_landed_is_where_works_begin
            what_is_reachable_is_stored
            a_report_that_was_left_is_read_and_nothing_else
            what_is_closed_is_gone
            rules_are_told_by_name
            a_folder_lists_what_the_tree_holds_in_it
            a_base_with_a_credential_is_not_made_ready
            a_credential_in_a_change_is_told_and_may_be_accepted
            withheld_values_are_those_that_nothing_shown_holds
            what_was_left_is_shown_and_not_kept
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let repository = $make();
            $crate::workspaces::contract::$rule(&repository);
        }
    )*};
}

fn session(number: u128) -> SessionId {
    SessionId::from_bits(number)
}

fn base(repository: &dyn Repository) -> Tree {
    let workspaces = repository.workspaces();
    let target = workspaces.target(Some("main")).unwrap();
    workspaces
        .prepare(&target.head, &Secrets::default())
        .unwrap()
}

/// Opens a tree writable, writes these files, and returns where they were written.
fn written(
    repository: &dyn Repository,
    number: u128,
    on: &Tree,
    files: &[(&str, &str)],
) -> PathBuf {
    let workspaces = repository.workspaces();
    let opened = workspaces
        .open(session(number), on, Mode::Writable)
        .unwrap();
    let top = match opened.tree.layers {
        Layers::Overlay { upper, .. } => upper,
        Layers::Plain { dir } => dir,
        Layers::ReadOnly { .. } => panic!("writable was asked for"),
    };
    for (path, text) in files {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    top
}

fn changed(repository: &dyn Repository, number: u128, on: &Tree, files: &[(&str, &str)]) -> Tree {
    written(repository, number, on, files);
    repository
        .workspaces()
        .capture(session(number))
        .unwrap()
        .tree
}

fn text() -> CommitText {
    CommitText {
        name: "Ada".to_owned(),
        email: "ada@example.org".to_owned(),
        seconds: 1_767_225_600,
        message: "Change it\n".to_owned(),
    }
}

fn target(repository: &dyn Repository) -> Target {
    repository.workspaces().target(Some("main")).unwrap()
}

/// Returns what a session that is opened on the tree finds at each of these paths.
fn seen(repository: &dyn Repository, tree: &Tree, paths: &[&str]) -> Vec<Option<String>> {
    let workspaces = repository.workspaces();
    let opened = workspaces.open(session(999), tree, Mode::ReadOnly).unwrap();
    let Layers::ReadOnly { lowers } = opened.tree.layers else {
        panic!("read-only was asked for");
    };
    let find = |path: &&str| {
        let mut layers = lowers.iter().map(|it| it.join(path));
        let found = layers.find(|it| fs::symlink_metadata(it).is_ok())?;
        found.is_file().then(|| fs::read_to_string(found).unwrap())
    };
    paths.iter().map(find).collect()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands for what a file may hold"
)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Captured changes are the tree of the next session.
pub fn what_a_session_left_is_seen_by_the_next(repository: &dyn Repository) {
    let base = base(repository);
    written(repository, 1, &base, &[("a", "two"), ("n/e/w", "new")]);
    let captured = repository.workspaces().capture(session(1)).unwrap();
    let paths: Vec<_> = captured.changes.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["a", "n/e/w"]);
    assert_eq!(captured.bytes, 6);
    assert_ne!(captured.tree.digest, base.digest);
    let paths = ["a", "d/b", "n/e/w"];
    let expected = [some("two"), some("one"), some("new")];
    assert_eq!(seen(repository, &captured.tree, &paths), expected);
    let second = changed(repository, 2, &captured.tree, &[("a", "three")]);
    let expected = [some("three"), some("one"), some("new")];
    assert_eq!(seen(repository, &second, &paths), expected);
}

/// What an earlier cell left under the same name is not there.
pub fn opening_again_gives_a_fresh_upper_layer(repository: &dyn Repository) {
    let base = base(repository);
    written(repository, 1, &base, &[("a", "two")]);
    written(repository, 1, &base, &[]);
    let captured = repository.workspaces().capture(session(1)).unwrap();
    assert_eq!(captured.changes, []);
    assert_eq!(captured.tree, base);
}

/// Gates and readers bring nothing home; an unknown session has nothing.
pub fn only_a_writable_session_is_captured(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    for mode in [Mode::Scratch, Mode::ReadOnly] {
        workspaces.open(session(1), &base, mode).unwrap();
        let answer = workspaces.capture(session(1));
        assert!(matches!(answer, Err(Error::Unusable(_))), "{answer:?}");
    }
    let answer = workspaces.capture(session(2));
    assert!(matches!(answer, Err(Error::NotFound(_))), "{answer:?}");
}

/// Writing what was there already changes nothing.
pub fn an_unchanged_session_captures_the_tree_it_began_with(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    assert_eq!(changed(repository, 2, &first, &[("a", "two")]), first);
    assert_eq!(changed(repository, 3, &first, &[("a", "one")]), base);
}

/// Paths that are put back hold what the earlier tree holds; others stay.
pub fn what_is_restored_holds_what_was_before(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let files = [("a", "three"), ("new", "new"), ("d/b", "two")];
    let second = changed(repository, 2, &first, &files);
    let workspaces = repository.workspaces();
    let paths = ["a".to_owned(), "new".to_owned()];
    let restored = workspaces.restore(&second, &first, &paths).unwrap();
    let found = seen(repository, &restored, &["a", "new", "d/b"]);
    assert_eq!(found, [some("two"), None, some("two")]);
    let all = ["a".to_owned(), "new".to_owned(), "d/b".to_owned()];
    let restored = workspaces.restore(&second, &first, &all).unwrap();
    assert_eq!(restored, first, "equal trees are equal");
}

/// The difference of two trees is told by path, deletions included.
pub fn changes_lead_from_one_tree_to_the_other(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    let first = changed(repository, 1, &base, &[("a", "two"), ("x", "x")]);
    let forth = workspaces.changes(&base, &first).unwrap();
    let paths: Vec<_> = forth.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["a", "x"]);
    let back = workspaces.changes(&first, &base).unwrap();
    let back: BTreeMap<_, _> = back.into_iter().map(|it| (it.path, it.entry)).collect();
    assert_eq!(back["x"], Entry::Deleted);
    assert!(matches!(back["a"], Entry::File { bytes: 3, .. }));
    assert_eq!(workspaces.changes(&first, &first).unwrap(), []);
}

/// A base that moved elsewhere takes the changes.
pub fn changes_of_other_files_are_carried_over(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let moved = repository.push(&[("d/b", Some("moved")), ("e", Some("e"))]);
    let workspaces = repository.workspaces();
    workspaces.prepare(&moved, &Secrets::default()).unwrap();
    let Rebased::Clean(tree) = workspaces.rebase(&first, &moved).unwrap() else {
        panic!("the files differ");
    };
    assert_eq!(tree.base, moved);
    let found = seen(repository, &tree, &["a", "d/b", "e"]);
    assert_eq!(found, [some("two"), some("moved"), some("e")]);
}

/// Two changes of one line, or a change of what was deleted, are for people.
pub fn changes_on_both_sides_conflict(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two"), ("d/b", "two")]);
    let moved = repository.push(&[("a", Some("three")), ("d/b", None)]);
    let workspaces = repository.workspaces();
    workspaces.prepare(&moved, &Secrets::default()).unwrap();
    let expected = Rebased::Conflict(vec!["a".to_owned(), "d/b".to_owned()]);
    assert_eq!(workspaces.rebase(&first, &moved).unwrap(), expected);
}

/// Nothing to do is nothing done; what the new base has already is no change any more.
pub fn a_tree_on_its_own_base_stays_as_it_is(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let clean = workspaces.rebase(&first, &base.base).unwrap();
    assert_eq!(clean, Rebased::Clean(first.clone()));
    let moved = repository.push(&[("a", Some("two"))]);
    let bare = workspaces.prepare(&moved, &Secrets::default()).unwrap();
    assert_eq!(
        workspaces.rebase(&first, &moved).unwrap(),
        Rebased::Clean(bare)
    );
}

/// The commit is made of the tree and the text alone, and moves nothing.
pub fn publishing_twice_is_the_same_commit(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let commit = workspaces.publish(&first, &text()).unwrap();
    assert_eq!(workspaces.publish(&first, &text()).unwrap(), commit);
    assert_eq!(repository.text(&commit, "a"), some("two"));
    assert_eq!(repository.text(&commit, "d/b"), some("one"));
    assert_eq!(target(repository).head, base.base);
    assert!(!workspaces.contains(&target(repository), &commit).unwrap());
}

/// A ref that holds something else than expected is not moved.
pub fn a_landing_is_compare_and_swap(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let commit = workspaces.publish(&first, &text()).unwrap();
    let mut stale = target(repository);
    stale.expected = Some(commit.clone());
    let answer = workspaces.land(&stale, &commit).unwrap();
    assert!(matches!(answer, Landed::Moved(_)), "{answer:?}");
    assert!(!workspaces.contains(&stale, &commit).unwrap());
    assert_eq!(
        workspaces.land(&target(repository), &commit).unwrap(),
        Landed::Yes
    );
    assert!(workspaces.contains(&target(repository), &commit).unwrap());
}

/// An effect that is performed twice has happened once.
pub fn a_landing_again_is_a_landing(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let commit = workspaces.publish(&first, &text()).unwrap();
    let asked = target(repository);
    assert_eq!(workspaces.land(&asked, &commit).unwrap(), Landed::Yes);
    assert_eq!(workspaces.land(&asked, &commit).unwrap(), Landed::Yes);
    assert_eq!(
        workspaces.land(&target(repository), &commit).unwrap(),
        Landed::Yes
    );
}

/// The next work starts from what was promoted; a branch that is not there is an error.
pub fn what_landed_is_where_works_begin(repository: &dyn Repository) {
    let base = base(repository);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let commit = workspaces.publish(&first, &text()).unwrap();
    workspaces.land(&target(repository), &commit).unwrap();
    assert_eq!(target(repository).head, commit);
    let answer = workspaces.target(Some("nowhere"));
    assert!(matches!(answer, Err(Error::NotFound(_))), "{answer:?}");
}

/// Garbage collection goes by this.
pub fn what_is_reachable_is_stored(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    assert_eq!(workspaces.reachable(&base).unwrap(), []);
    let first = changed(repository, 1, &base, &[("a", "two")]);
    let reachable = workspaces.reachable(&first).unwrap();
    assert_eq!(reachable.len(), 2);
    assert!(reachable.contains(&first.manifest.unwrap()));
}

/// Reports lie in the tree, are regular files, and have a size.
pub fn a_report_that_was_left_is_read_and_nothing_else(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    let top = written(repository, 1, &base, &[("r/report.xml", "four")]);
    std::os::unix::fs::symlink("report.xml", top.join("r/link")).unwrap();
    let read = |path, max| workspaces.read_left(session(1), path, max).unwrap();
    assert_eq!(read("r/report.xml", 4), Some(b"four".to_vec()));
    for (path, max) in [("r/report.xml", 3), ("r/link", 9), ("r", 9), ("none", 9)] {
        assert_eq!(read(path, max), None, "{path}");
    }
}

/// Closing is final and may be done twice.
pub fn what_is_closed_is_gone(repository: &dyn Repository) {
    let base = base(repository);
    let top = written(repository, 1, &base, &[("a", "two")]);
    let workspaces = repository.workspaces();
    let left = workspaces.left_open().unwrap();
    assert!(left.iter().any(|it| it.session == session(1)));
    workspaces.close(session(1)).unwrap();
    let left = workspaces.left_open().unwrap();
    assert!(left.iter().all(|it| it.session != session(1)));
    workspaces.close(session(1)).unwrap();
    assert!(!top.exists());
    let answer = workspaces.capture(session(1));
    assert!(matches!(answer, Err(Error::NotFound(_))), "{answer:?}");
}

/// Everything that is wrong is named, and nothing else.
pub fn rules_are_told_by_name(repository: &dyn Repository) {
    let (base, workspaces) = (base(repository), repository.workspaces());
    let files = [
        ("a", "two"),
        ("ci/run", "x"),
        ("d/b", "two"),
        ("src/.env", "x"),
        ("src/fine", "x"),
        ("src/large", "123456789"),
    ];
    written(repository, 1, &base, &files);
    let captured = workspaces.capture(session(1)).unwrap();
    let globs = |globs: &[&str]| globs.iter().map(|it| (*it).to_owned()).collect();
    let rules = ImportRules {
        role_paths: globs(&["src/**", "ci/**", "d/**"]),
        plan_allowed: globs(&["**"]),
        plan_denied: globs(&["d/b"]),
        protected: globs(&["ci/**"]),
        secrets: globs(&[".env*"]),
        accepted_secrets: vec![],
        may_set_executable: false,
        file_bytes_max: 8,
        total_bytes_max: 1_000,
        files_max: 5,
        documents_only: false,
        guards_tests: false,
    };
    let found = workspaces
        .judge(&base, &captured.tree, &captured.changes, &rules)
        .unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.path.as_str(), it.rule)).collect();
    let expected = [
        (".", Rule::Count),
        ("a", Rule::RoleScope),
        ("ci/run", Rule::Protected),
        ("d/b", Rule::PlanDenied),
        ("src/.env", Rule::Secret),
        ("src/large", Rule::Size),
    ];
    assert_eq!(found, expected);
}
