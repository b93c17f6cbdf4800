//! What the filter lets through, held against git itself: the commit is sound, and a checkout of it
//! writes files and contained links beneath its root and nothing anywhere else.

use std::fs;
use std::path::Path;

use domain::Digest;
use domain::tree::{Change, Entry, Manifest, Tree};
use ports::artifacts::Artifacts as _;
use ports::workspaces::{CommitText, Workspaces as _};
use proptest::prelude::*;

use crate::world::{Thing, World, file, git_command, rules};

fn world() -> World {
    World::of(&[
        ("README.md", file("hello\n")),
        ("src/a.rs", file("a\n")),
        ("run.sh", Thing::File(b"run\n".to_vec(), true)),
        ("away", Thing::Link("/etc".into())),
        ("up", Thing::Link("src/../..".into())),
        ("inner", Thing::Link("src".into())),
    ])
}

/// Returns the tree of these changes, kept as an adapter keeps it.
fn tree(world: &World, base: &Tree, mut changes: Vec<Change>) -> Tree {
    changes.sort();
    let manifest = serde_json::to_vec(&Manifest { changes }).unwrap();
    let manifest = world.artifacts.put(&manifest).unwrap();
    let identity = format!("palisade.tree.v1\n{}\n{manifest}\n", base.base);
    Tree {
        base: base.base.clone(),
        manifest: Some(manifest),
        digest: Digest::from_bytes(*blake3::hash(identity.as_bytes()).as_bytes()),
    }
}

/// Returns the tree without what the filter turns away, until it turns nothing away.
fn accepted(world: &World, base: &Tree, changes: Vec<Change>) -> Tree {
    let mut left = tree(world, base, changes);
    loop {
        let changes = world.workspaces.changes(base, &left).unwrap();
        let found = world
            .workspaces
            .judge(base, &left, &changes, &rules())
            .unwrap();
        if found.is_empty() {
            return left;
        }
        let paths: Vec<String> = found.into_iter().map(|it| it.path).collect();
        let fewer = world.workspaces.restore(&left, base, &paths).unwrap();
        assert_ne!(fewer, left, "{paths:?} cannot be put back");
        left = fewer;
    }
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[abAB]",
        1 => prop_oneof![
            Just("src"), Just("README.md"), Just("inner"), Just("away"), Just("up"), Just("run.sh"),
            Just("HEAD"), Just("objects"), Just("refs"), Just("config"), Just("commondir"),
            Just(".git"), Just(".GIT"), Just(".g\u{200c}it"), Just("git~1"), Just(".git "),
            Just(".git::$INDEX_ALLOCATION"), Just(".gitmodules"), Just(".gitattributes"),
            Just(".gitignore"), Just(".mailmap"), Just("GITMOD~1"), Just(".."), Just("."), Just(""),
            Just("aux"), Just("a:b"), Just("a\\b"), Just("a\nb"), Just("x "), Just("x."),
            Just("e\u{301}"), Just("\u{e9}"), Just("\u{202e}"),
        ].prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(part(), 1..4).prop_map(|it| it.join("/"))
}

/// An entry, and the content it needs.
fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let file = ("[a-c]{0,3}", any::<bool>()).prop_map(|(text, executable)| {
        let content = Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
        let bytes = u64::try_from(text.len()).unwrap();
        let entry = Entry::File {
            content,
            bytes,
            executable,
        };
        (entry, text.into_bytes())
    });
    let link = prop_oneof![
        path(),
        path().prop_map(|it| format!("../{it}")),
        path().prop_map(|it| format!("/{it}"))
    ];
    let link = link.prop_map(|target| (Entry::Symlink { target }, Vec::new()));
    prop_oneof![5 => file, 3 => link, 1 => Just((Entry::Deleted, Vec::new()))]
}

/// Fails unless everything beneath `root` is a folder, a file, or a link whose end lies beneath it.
fn contained(root: &Path, folder: &Path, was: &[&str]) {
    for found in fs::read_dir(folder).unwrap() {
        let place = found.unwrap().path();
        let kind = place.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            contained(root, &place, was);
        } else if kind.is_symlink() {
            let name = place.strip_prefix(root).unwrap();
            if was.iter().any(|it| Path::new(it) == name) {
                continue;
            }
            // A link to nothing is held to its text; others to where the kernel says they lead.
            if let Ok(end) = place.canonicalize() {
                assert!(end.starts_with(root), "{name:?} leads to {end:?}");
            }
        } else {
            assert!(kind.is_file(), "{place:?}");
        }
    }
}

fn check(world: &World, base: &Tree, changes: Vec<(String, (Entry, Vec<u8>))>) {
    let mut listed = Vec::new();
    for (path, (entry, content)) in changes {
        world.artifacts.put(&content).unwrap();
        if !listed.iter().any(|it: &Change| it.path == path) {
            listed.push(Change { path, entry });
        }
    }
    let accepted = accepted(world, base, listed);
    let text = CommitText {
        name: "Ada".into(),
        email: "ada@example.org".into(),
        seconds: 1,
        message: "m".into(),
    };
    let commit = world.workspaces.publish(&accepted, &text).unwrap();
    let sound = world.git(&["fsck", "--strict", "--no-dangling", commit.as_str()]);
    assert_eq!(sound, "", "{accepted:?}");
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().canonicalize().unwrap().join("root");
    fs::create_dir(&root).unwrap();
    let output = git_command(&world.repo(), &["-c", "core.protectHFS=true"])
        .args(["-c", "core.protectNTFS=true", "read-tree", "--reset", "-u"])
        .arg(commit.as_str())
        .env("GIT_WORK_TREE", &root)
        .env("GIT_DIR", world.repo().join(".git"))
        .env("GIT_INDEX_FILE", outside.path().join("index"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{accepted:?}: {said}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    contained(&root, &root, &["away", "up"]);
    let names = world.git(&["ls-tree", "-r", "-t", "--name-only", "-z", commit.as_str()]);
    let mut folded: Vec<String> = names
        .split_terminator('\0')
        .map(str::to_lowercase)
        .collect();
    let count = folded.len();
    folded.sort_unstable();
    folded.dedup();
    assert_eq!(folded.len(), count, "one file on some disks: {names:?}");
}

#[test]
fn what_the_filter_accepts_is_sound_and_stays_beneath_its_root() {
    let world = world();
    let base = world.prepared();
    let change = (path(), entry());
    let changes = proptest::collection::vec(change, 1..30);
    // Each case is a commit, a check and a checkout by git.
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    proptest!(cases, |(changes in changes)| check(&world, &base, changes));
}

#[test]
fn a_link_through_a_link_of_the_base_is_turned_away() {
    let world = world();
    let base = world.prepared();
    let link = |path: &str, target: &str| Change {
        path: path.into(),
        entry: Entry::Symlink {
            target: target.into(),
        },
    };
    let changes = vec![
        link("a", "away/passwd"),
        link("b", "up"),
        link("c", "inner/a.rs"),
        link("d", "a"),
    ];
    let made = tree(&world, &base, changes.clone());
    let found = world
        .workspaces
        .judge(&base, &made, &changes, &rules())
        .unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.path.as_str(), it.rule.name()))
        .collect();
    let rule = "symlink_escape";
    assert_eq!(found, [("a", rule), ("b", rule), ("d", rule)]);
}
