//! Trees as values: restore, compare, rebase.

use domain::tree::{Change, Entry, Tree};
use ports::artifacts::Artifacts as _;
use ports::workspaces::{Error, Rebased, Secrets, Workspaces as _};

use crate::world::{Thing, Things, World, file, opaque, put, session, whiteout};

const LINES: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

fn world() -> World {
    World::of(&[
        ("a", file("a\n")),
        ("lines", file(LINES)),
        ("dir/x", file("x\n")),
        ("dir/y", file("y\n")),
        ("bin", Thing::File(b"\0\x01".to_vec(), false)),
        ("link", Thing::Link("a".into())),
    ])
}

/// Captures what `change` does to a session's upper layer.
fn changed(world: &World, tree: &Tree, change: impl FnOnce(&std::path::Path)) -> Tree {
    let (_, upper) = world.open(1, tree);
    change(&upper);
    world.workspaces.capture(session(1)).unwrap().tree
}

#[test]
fn restoring_puts_paths_back_and_nothing_else() {
    let world = world();
    let base = world.prepared();
    let before = changed(&world, &base, |upper| put(upper, "a", &file("first\n")));
    let after = changed(&world, &before, |upper| {
        put(upper, "a", &file("second\n"));
        put(upper, "new", &file("new\n"));
        put(upper, "dir", &file("a file now\n"));
        put(upper, "lines/inside", &file("in\n"));
        opaque(upper, "lines");
    });
    let restore = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|it| (*it).to_owned()).collect();
        let tree = world.workspaces.restore(&after, &before, &paths).unwrap();
        world.seen(&tree)
    };
    let all = world.seen(&after);
    let mut expected = all.clone();
    expected.insert("a".into(), file("first\n"));
    expected.remove("new");
    assert_eq!(restore(&["a", "new"]), expected);

    let mut expected = all.clone();
    expected.remove("dir");
    expected.insert("dir/x".into(), file("x\n"));
    assert_eq!(
        restore(&["dir/x"]),
        expected,
        "a file makes way for a folder"
    );

    let mut expected = all;
    expected.remove("lines/inside");
    expected.insert("lines".into(), file(LINES));
    assert_eq!(
        restore(&["lines"]),
        expected,
        "a folder makes way for a file"
    );

    let paths: Vec<String> = world
        .workspaces
        .changes(&before, &after)
        .unwrap()
        .into_iter()
        .map(|it| it.path)
        .collect();
    let restored = world.workspaces.restore(&after, &before, &paths).unwrap();
    assert_eq!(restored, before, "all paths put back are the tree before");
}

#[test]
fn differences_work_in_both_directions() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| {
        put(upper, "a", &file("A\n"));
        put(upper, "new", &file("new\n"));
        whiteout(upper, "dir/x");
    });
    let paths = |changes: Vec<Change>| -> Vec<String> {
        changes
            .into_iter()
            .map(|it| match it.entry {
                Entry::File { content, .. } => {
                    let bytes = world.artifacts.get(&content).unwrap();
                    format!("{}={}", it.path, String::from_utf8(bytes).unwrap().trim())
                }
                Entry::Deleted => format!("{} gone", it.path),
                Entry::Symlink { .. } | Entry::Foreign { .. } => it.path,
            })
            .collect()
    };
    let there = world.workspaces.changes(&base, &tree).unwrap();
    let back = world.workspaces.changes(&tree, &base).unwrap();
    assert_eq!(paths(there), ["a=A", "dir/x gone", "new=new"]);
    assert_eq!(paths(back), ["a=a", "dir/x=x", "new gone"]);
    assert_eq!(world.workspaces.changes(&tree, &tree).unwrap(), []);
}

#[test]
fn diffs_are_those_of_git_and_have_a_limit() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| {
        put(upper, "a", &file("--- a/innocent\n+++ b/innocent\n"));
        put(upper, "new", &Thing::File(b"n\n".to_vec(), true));
        put(upper, "bin", &Thing::File(b"\0\x02".to_vec(), false));
    });
    let diff = world.workspaces.diff(&base, &tree, 1 << 20).unwrap();
    let commit = world
        .workspaces
        .publish(
            &tree,
            &ports::workspaces::CommitText {
                name: "A".into(),
                email: "a@example.org".into(),
                seconds: 1,
                message: "m".into(),
            },
        )
        .unwrap();
    let expected = world.git(&["diff", "--no-renames", base.base.as_str(), commit.as_str()]);
    assert_eq!(diff, expected);
    assert!(diff.contains("new file mode 100755"), "{diff}");
    assert_eq!(world.workspaces.diff(&tree, &tree, 100).unwrap(), "");
    let cut = world.workspaces.diff(&base, &tree, 120).unwrap();
    assert!(cut.len() <= 120, "{cut}");
    assert!(
        cut.ends_with("[cut: the diff is longer than 120 bytes]\n"),
        "{cut}"
    );
}

#[test]
fn trees_that_break_every_rule_can_still_be_looked_at() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| {
        put(upper, "a", &file("A\n"));
        put(upper, ".gitattributes", &file("* -diff\n"));
        put(upper, "git~1/config", &file("evil\n"));
        put(upper, "sub/.git/config", &file("evil\n"));
        put(upper, ".Git/config", &file("evil\n"));
    });
    let diff = world.workspaces.diff(&base, &tree, 1 << 20).unwrap();
    assert!(diff.contains("+A\n"), "{diff}");
    assert!(diff.contains("+* -diff\n"), "{diff}");
    for hidden in [".Git", "git~1/config", "sub/.git"] {
        assert!(diff.contains(&format!("[not shown: `{hidden}`")), "{diff}");
    }
}

#[test]
fn disjoint_changes_carry_over() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| {
        put(upper, "a", &file("A\n"));
        put(upper, "lines", &file(&LINES.replace('9', "nine")));
        put(upper, "same", &file("same\n"));
        whiteout(upper, "dir/y");
    });
    world.git(&["rm", "-q", "dir/y"]);
    let onto = world.commit(&[
        (
            "lines",
            Thing::File(LINES.replace('1', "one").into_bytes(), true),
        ),
        ("same", file("same\n")),
        ("dir/z", file("z\n")),
    ]);
    let Rebased::Clean(rebased) = world.workspaces.rebase(&tree, &onto).unwrap() else {
        panic!("there is no conflict");
    };
    assert_eq!(rebased.base, onto);
    world
        .workspaces
        .prepare(&onto, &Secrets::default())
        .unwrap();
    let mut expected: Things = crate::world::things(&world.repo());
    expected.insert("a".into(), file("A\n"));
    let merged = LINES.replace('1', "one").replace('9', "nine");
    expected.insert("lines".into(), Thing::File(merged.into_bytes(), true));
    assert_eq!(world.seen(&rebased), expected);
    assert_eq!(
        world.workspaces.reachable(&rebased).unwrap().len(),
        3,
        "the manifest, `a` and `lines`; what the base has by now is no change"
    );
    let again = world.workspaces.rebase(&rebased, &onto).unwrap();
    assert_eq!(again, Rebased::Clean(rebased));
}

#[test]
fn conflicts_are_listed_all_at_once() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| {
        put(upper, "lines", &file(&LINES.replace('5', "ours")));
        put(upper, "a", &file("ours\n"));
        put(upper, "both", &file("ours\n"));
        put(upper, "bin", &Thing::File(b"\0\x02".to_vec(), false));
        put(upper, "link", &Thing::Link("lines".into()));
        put(upper, "dir", &file("a file now\n"));
        put(upper, "top/x", &file("in a folder\n"));
        put(upper, "fine", &file("fine\n"));
    });
    world.git(&["rm", "-q", "a"]);
    let onto = world.commit(&[
        ("lines", file(&LINES.replace('5', "theirs"))),
        ("both", file("theirs\n")),
        ("bin", Thing::File(b"\0\x03".to_vec(), false)),
        ("link", Thing::Link("dir".into())),
        ("dir/new", file("new\n")),
        ("top", file("a file\n")),
    ]);
    let conflict = world.workspaces.rebase(&tree, &onto).unwrap();
    let paths = ["a", "bin", "both", "dir", "lines", "link", "top/x"];
    assert_eq!(
        conflict,
        Rebased::Conflict(paths.map(String::from).to_vec())
    );
}

#[test]
fn a_tree_whose_digest_does_not_fit_is_refused() {
    let world = world();
    let base = world.prepared();
    let tree = changed(&world, &base, |upper| put(upper, "a", &file("A\n")));
    let forged = Tree {
        digest: base.digest,
        ..tree.clone()
    };
    let error = world.workspaces.reachable(&forged);
    assert!(matches!(error, Err(Error::Unusable(_))), "{error:?}");
    let manifest = tree.manifest.unwrap();
    world.artifacts.remove(&[manifest]).unwrap();
    let error = world.workspaces.reachable(&tree);
    assert!(matches!(error, Err(Error::Artifacts { .. })), "{error:?}");
}

#[test]
fn cache_layers_are_apart_whatever_their_names() {
    let world = world();
    let layer = |owner, name| world.workspaces.cache_layer(owner, name).unwrap();
    let first = layer("work_1", "cargo");
    assert_eq!(layer("work_1", "cargo"), first);
    assert!(first.0.is_dir() && first.1.is_dir());
    for (owner, name) in [
        ("work_2", "cargo"),
        ("work_1", "../cargo"),
        ("work_1", "/etc"),
    ] {
        let other = layer(owner, name);
        assert_ne!(other, first);
        assert!(other.0.starts_with(world.state().join("caches")));
    }
    // A folder whose name no owner has is nobody's.
    let strange = world.state().join("caches/work_3-0123456789abcdef");
    std::fs::create_dir(strange).unwrap();
    assert_eq!(world.workspaces.cached().unwrap(), ["work_1", "work_2"]);
    world.workspaces.remove_caches("work_1").unwrap();
    assert_eq!(world.workspaces.cached().unwrap(), ["work_2"]);
}
