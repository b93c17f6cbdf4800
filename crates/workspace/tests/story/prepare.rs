//! Bases: layers, secrets, and the sealed git directory.

use std::collections::BTreeSet;
use std::fs;

use ports::cells::Layers;
use ports::workspaces::{Error, Mode, Secrets, Workspaces as _};

use crate::world::{Thing, World, file, git, hidden, sealed_git, session, things};

fn many() -> Vec<(&'static str, Thing)> {
    vec![
        ("README.md", file("hello\n")),
        ("src/main.rs", file("fn main() {}\n")),
        ("src/deep/er/x", file("x\n")),
        ("run.sh", Thing::File(b"#!/bin/sh\n".to_vec(), true)),
        ("link", Thing::Link("src/main.rs".into())),
        ("crlf.txt", file("a\r\nb\r\n")),
        ("empty", file("")),
        ("name with spaces ü", file("ü")),
    ]
}

#[test]
fn a_base_holds_what_the_commit_holds() {
    let world = World::of(&many());
    let tree = world.prepared();
    assert_eq!(tree.manifest, None);
    let seen = world.seen(&tree);
    assert_eq!(
        seen,
        many().into_iter().map(|(p, t)| (p.into(), t)).collect()
    );
    assert_eq!(world.prepared(), tree, "preparing again changes nothing");
}

#[test]
fn content_is_what_git_holds_whatever_attributes_say() {
    let attributes = "*.txt text eol=crlf ident filter=evil working-tree-encoding=UTF-16\n";
    let world = World::of(&[("a.txt", file("one\n$Id$\n"))]).plain();
    world.git(&["config", "filter.evil.smudge", "touch canary"]);
    fs::write(world.repo().join(".git/info/attributes"), "* -text").unwrap();
    fs::write(world.repo().join(".gitattributes"), attributes).unwrap();
    world.git(&["add", ".gitattributes"]);
    world.git(&["commit", "-q", "-m", "attributes"]);
    let tree = world.prepared();
    let (opened, dir) = world.open(1, &tree);
    assert_eq!(things(&dir)["a.txt"], file("one\n$Id$\n"));
    // Another time makes git look at the content, through no attribute either.
    fs::write(dir.join("a.txt"), "one\n$Id$\n").unwrap();
    let git_dir = opened.tree.git_dir.unwrap();
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
    assert_eq!(world.workspaces.capture(session(1)).unwrap().tree, tree);
}

#[test]
fn status_is_clean_until_something_is_edited() {
    let world = World::of(&many()).plain();
    let tree = world.prepared();
    let (opened, dir) = world.open(1, &tree);
    assert!(opened.fallback);
    let git_dir = opened.tree.git_dir.unwrap();
    let before = fs::read(git_dir.join("index")).unwrap();
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
    assert_eq!(
        sealed_git(&git_dir, &dir, &["log", "--format=%s %an"]),
        "start Ada\n"
    );
    // Stat data alone tells that files are unchanged.
    assert_eq!(
        sealed_git(&git_dir, &dir, &["diff-files", "--name-only"]),
        ""
    );
    fs::write(dir.join("README.md"), "HELLO\n").unwrap();
    fs::remove_file(dir.join("empty")).unwrap();
    fs::write(dir.join("new"), "n").unwrap();
    assert_eq!(
        sealed_git(&git_dir, &dir, &["status", "--porcelain"]),
        " M README.md\n D empty\n?? new\n"
    );
    assert!(sealed_git(&git_dir, &dir, &["diff"]).contains("+HELLO"));
    assert_eq!(fs::read(git_dir.join("index")).unwrap(), before);
}

#[test]
fn secrets_are_in_no_layer_and_no_object() {
    let mut files = many();
    files.push((".env", file("TOKEN=canary-one\n")));
    files.push(("deep/.env.local", file("TOKEN=canary-two\n")));
    files.push(("keys/server.PEM", file("canary-three\n")));
    let world = World::of(&files).plain();
    world.commit(&[("README.md", file("second\n"))]);
    let globs = hidden(&[".env*", "*.pem"]);
    let tree = world.workspaces.prepare(&world.head(), &globs).unwrap();
    let (opened, dir) = world.open(1, &tree);
    assert!(
        things(&dir)
            .keys()
            .all(|it| !it.contains(".env") && !it.contains("PEM"))
    );
    let git_dir = opened.tree.git_dir.unwrap();
    assert!(!git_dir.join("objects/info/alternates").exists());
    let objects = sealed_git(
        &git_dir,
        &dir,
        &["cat-file", "--batch-all-objects", "--batch", "--unordered"],
    );
    assert!(
        objects.contains("fn main()"),
        "the search finds what is there"
    );
    assert!(!objects.contains("canary"));
    assert!(!objects.contains("\nstart\n"), "no history");
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
    assert_eq!(
        sealed_git(&git_dir, &dir, &["log", "--format=%s %an"]),
        "next Ada\n"
    );
    sealed_git(&git_dir, &dir, &["fsck", "--strict"]);

    // Other globs are another base, and the newest one counts.
    let all = world
        .workspaces
        .prepare(&world.head(), &Secrets::default())
        .unwrap();
    assert_eq!(all, tree);
    assert!(world.seen(&all).contains_key(".env"));
}

#[test]
fn without_secrets_the_commit_itself_is_shown_shallow() {
    let world = World::of(&many()).plain();
    world.commit(&[("README.md", file("second\n"))]);
    let tree = world.prepared();
    let (opened, dir) = world.open(1, &tree);
    let git_dir = opened.tree.git_dir.unwrap();
    assert_eq!(
        sealed_git(&git_dir, &dir, &["rev-list", "HEAD"]).trim(),
        tree.base.as_str()
    );
    sealed_git(&git_dir, &dir, &["fsck", "--strict"]);
}

#[test]
fn a_moved_base_is_one_more_layer() {
    let mut files = many();
    files.extend(["b", "c", "d", "e", "f", "g"].map(|path| (path, file(path))));
    let world = World::of(&files);
    let first = world.prepared();
    world.git(&["rm", "-q", "-r", "src/deep", "link"]);
    let second = world.commit(&[
        ("link/inside", file("a folder now\n")),
        ("src/main.rs", file("fn main() { }\n")),
    ]);
    let second = world
        .workspaces
        .prepare(&second, &Secrets::default())
        .unwrap();
    world.git(&["rm", "-q", "-r", "link"]);
    let third = world.commit(&[("src/deep", file("a file now\n"))]);
    let third = world
        .workspaces
        .prepare(&third, &Secrets::default())
        .unwrap();

    for (number, tree) in [(1, &first), (2, &second), (3, &third)] {
        let opened = world.workspaces.open(session(number), tree, Mode::ReadOnly);
        let Layers::ReadOnly { lowers } = opened.unwrap().tree.layers else {
            unreachable!()
        };
        assert_eq!(lowers.len(), usize::try_from(number).unwrap());
        world.git(&["checkout", "-q", tree.base.as_str()]);
        assert_eq!(world.seen(tree), things(&world.repo()));
    }
    let layer = world.state().join("bases").join(third.base.as_str());
    let variant = fs::read_to_string(layer.join("current")).unwrap();
    let names: BTreeSet<String> = fs::read_dir(layer.join(&variant).join("files/src"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["deep".into()]), "only what changed");

    let world = world.plain();
    let (opened, dir) = world.open(4, &third);
    let git_dir = opened.tree.git_dir.unwrap();
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
    sealed_git(&git_dir, &dir, &["fsck", "--strict"]);
}

#[test]
fn a_tall_stack_is_checked_out_afresh() {
    let world = World::of(&many());
    let mut heights = Vec::new();
    for number in 0..10_u128 {
        let base = world.commit(&[("README.md", file(&format!("{number}\n")))]);
        let tree = world
            .workspaces
            .prepare(&base, &Secrets::default())
            .unwrap();
        let opened = world
            .workspaces
            .open(session(number), &tree, Mode::ReadOnly);
        let Layers::ReadOnly { lowers } = opened.unwrap().tree.layers else {
            unreachable!()
        };
        heights.push(lowers.len());
        assert_eq!(world.seen(&tree), things(&world.repo()));
    }
    assert_eq!(heights[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(heights[8..].iter().all(|it| *it <= 8), "{heights:?}");
}

#[test]
fn a_crash_while_making_a_base_leaves_nothing_in_the_way() {
    let world = World::of(&many());
    let half = world.state().join("making-bases/new/files");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("README.md"), "half").unwrap();
    let tree = world.prepared();
    assert_eq!(world.seen(&tree)["README.md"], file("hello\n"));
    assert!(!half.join("README.md").exists());
}

#[test]
fn many_may_prepare_at_once() {
    let world = World::of(&many());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| world.prepared());
        }
    });
    assert_eq!(world.seen(&world.prepared()).len(), many().len());
}

#[test]
fn an_unprepared_base_and_an_unknown_commit_are_told() {
    let world = World::of(&many());
    let tree = world.prepared();
    let other = world.commit(&[]);
    let missing = domain::tree::Tree {
        base: other,
        ..tree
    };
    let error = world.workspaces.open(session(1), &missing, Mode::Writable);
    assert!(matches!(error, Err(Error::NotFound(_))), "{error:?}");
    let nobody = "1234567890123456789012345678901234567890".parse().unwrap();
    let error = world.workspaces.prepare(&nobody, &Secrets::default());
    assert!(matches!(error, Err(Error::NotFound(_))), "{error:?}");
}

#[test]
fn submodules_are_empty_folders() {
    let world = World::of(&[("a", file("a\n"))]);
    let commit = world.head();
    let entry = format!("160000,{commit},sub/module");
    world.git(&["update-index", "--add", "--cacheinfo", &entry]);
    world.git(&["commit", "-q", "-m", "module"]);
    let world = world.plain();
    let tree = world.prepared();
    let (opened, dir) = world.open(1, &tree);
    assert!(dir.join("sub/module").is_dir());
    let git_dir = opened.tree.git_dir.unwrap();
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
    assert_eq!(world.workspaces.capture(session(1)).unwrap().tree, tree);
}

#[test]
fn sha256_repositories_work_too() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q", "--object-format=sha256"]);
    fs::write(repo.join("a"), "a\n").unwrap();
    fs::write(repo.join(".env"), "secret\n").unwrap();
    git(&repo, &["add", "-A"]);
    git(&repo, &["commit", "-q", "-m", "start"]);
    let world = World::on(folder).plain();
    let base = world.head();
    assert_eq!(base.as_str().len(), 64);
    let tree = world.workspaces.prepare(&base, &hidden(&[".env"])).unwrap();
    let (opened, dir) = world.open(1, &tree);
    let git_dir = opened.tree.git_dir.unwrap();
    assert_eq!(sealed_git(&git_dir, &dir, &["status", "--porcelain"]), "");
}
