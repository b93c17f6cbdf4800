//! Publishing and landing: what the user's repository sees, and what it never does.

use std::fs;

use ports::workspaces::{CommitText, Error, Landed, Secrets, Target, Workspaces as _};

use crate::world::{Thing, World, file, git, put, session, whiteout};

fn text() -> CommitText {
    CommitText {
        name: "Ada".into(),
        email: "ada@example.org".into(),
        seconds: 1_700_000_000,
        message: "A change\n\nBody.\n\nReviewed-by: Bob\n".into(),
    }
}

fn world() -> World {
    World::of(&[
        ("a", file("a\n")),
        ("dir/x", file("x\n")),
        ("dir/y", file("y\n")),
        ("old", file("old\n")),
    ])
}

#[test]
fn a_published_commit_is_the_tree_on_its_base() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &Thing::File(b"A\n".to_vec(), true));
    put(&upper, "dir", &file("a file now\n"));
    whiteout(&upper, "old");
    put(&upper, "old \"quoted\"\tü/new", &file("n\n"));
    put(&upper, "link", &Thing::Link("a".into()));
    let captured = world.workspaces.capture(session(1)).unwrap();
    let commit = world.workspaces.publish(&captured.tree, &text()).unwrap();
    assert_eq!(
        world.workspaces.publish(&captured.tree, &text()).unwrap(),
        commit,
        "twice is the same"
    );
    let shown = [
        "show",
        "-s",
        "--format=%P|%an <%ae>|%cn|%at|%B",
        commit.as_str(),
    ];
    assert_eq!(
        world.git(&shown),
        format!(
            "{}|Ada <ada@example.org>|Ada|1700000000|{}\n",
            tree.base,
            text().message
        )
    );
    let listed = world.git(&["ls-tree", "-r", "-z", commit.as_str()]);
    let listed: Vec<String> = listed
        .split_terminator('\0')
        .filter_map(|line| line.split_once('\t'))
        .map(|(head, path)| format!("{} {path}", &head[..6]))
        .collect();
    assert_eq!(
        listed,
        [
            "100755 a",
            "100644 dir",
            "120000 link",
            "100644 old \"quoted\"\tü/new",
        ]
    );
    // Only the keeping ref is new, and garbage collection leaves the commit alone.
    let refs = world.git(&["for-each-ref", "--format=%(refname)"]);
    assert_eq!(
        refs,
        format!("refs/heads/main\nrefs/palisade/works/{commit}\n")
    );
    world.git(&["gc", "-q", "--prune=now"]);
    world.git(&["fsck", "--strict", "--no-dangling"]);
    world.git(&["cat-file", "-e", commit.as_str()]);
    // The published commit is a base like any other.
    let next = world
        .workspaces
        .prepare(&commit, &Secrets::default())
        .unwrap();
    assert_eq!(world.seen(&next), world.seen(&captured.tree));
}

fn published(world: &World, name: &str) -> domain::tree::Commit {
    let target = world.workspaces.target(None).unwrap();
    let tree = world
        .workspaces
        .prepare(&target.head, &Secrets::default())
        .unwrap();
    let (_, upper) = world.open(1, &tree);
    put(&upper, name, &file("new\n"));
    let captured = world.workspaces.capture(session(1)).unwrap();
    world.workspaces.publish(&captured.tree, &text()).unwrap()
}

#[test]
fn a_checked_out_branch_is_landed_beside() {
    let world = world();
    let target = world.workspaces.target(None).unwrap();
    assert_eq!(
        target,
        Target {
            branch: "main".into(),
            lands_on: "refs/heads/palisade/main".into(),
            head: world.head(),
            expected: None,
        }
    );
    let before = snapshot(&world);
    let first = published(&world, "one");
    assert!(!world.workspaces.contains(&target, &first).unwrap());
    for _ in 0..2 {
        let landed = world.workspaces.land(&target, &first).unwrap();
        assert_eq!(landed, Landed::Yes);
        assert!(world.workspaces.contains(&target, &first).unwrap());
    }
    // The next work starts where the last one landed.
    let next = world.workspaces.target(Some("main")).unwrap();
    assert_eq!(
        (next.head.clone(), next.expected.clone()),
        (first.clone(), Some(first.clone()))
    );
    let second = published(&world, "two");
    assert_eq!(world.workspaces.land(&next, &second).unwrap(), Landed::Yes);
    // The first is still in there: an attempt that is made again says so.
    assert_eq!(world.workspaces.land(&target, &first).unwrap(), Landed::Yes);
    assert_eq!(snapshot(&world), before, "nothing of the user's moved");

    world.git(&["merge", "-q", "--ff-only", "palisade/main"]);
    assert_eq!(world.workspaces.target(None).unwrap().head, second);
}

/// Everything of the user's that must stay as it is.
fn snapshot(world: &World) -> (Vec<u8>, Vec<u8>, String, crate::world::Things) {
    let dot_git = world.repo().join(".git");
    (
        fs::read(dot_git.join("index")).unwrap(),
        fs::read(dot_git.join("HEAD")).unwrap(),
        world.git(&[
            "for-each-ref",
            "refs/heads/main",
            "refs/tags",
            "refs/remotes",
        ]),
        crate::world::things(&world.repo()),
    )
}

#[test]
fn a_branch_that_is_not_checked_out_moves_itself() {
    let world = world();
    world.git(&["branch", "feature"]);
    let target = world.workspaces.target(Some("feature")).unwrap();
    assert_eq!(target.lands_on, "refs/heads/feature");
    assert_eq!(target.expected, Some(world.head()));
    let commit = published(&world, "one");
    assert_eq!(
        world.workspaces.land(&target, &commit).unwrap(),
        Landed::Yes
    );
    assert_eq!(world.git(&["rev-parse", "feature"]).trim(), commit.as_str());

    // In a linked working tree it counts as checked out as well.
    let tree = world.folder.path().join("linked");
    world.git(&["worktree", "add", "-q", tree.to_str().unwrap(), "feature"]);
    let target = world.workspaces.target(Some("feature")).unwrap();
    assert_eq!(target.lands_on, "refs/heads/palisade/feature");
    assert_eq!(target.head, commit);
}

#[test]
fn a_moved_ref_is_told_and_left_alone() {
    let world = world();
    world.git(&["branch", "feature"]);
    let target = world.workspaces.target(Some("feature")).unwrap();
    let commit = published(&world, "one");
    let other = world.commit(&[("user", file("u\n"))]);
    world.git(&["branch", "-f", "feature", other.as_str()]);
    let landed = world.workspaces.land(&target, &commit).unwrap();
    assert_eq!(landed, Landed::Moved(Some(other.clone())));
    assert_eq!(world.git(&["rev-parse", "feature"]).trim(), other.as_str());
    world.git(&["branch", "-D", "-q", "feature"]);
    let landed = world.workspaces.land(&target, &commit).unwrap();
    assert_eq!(landed, Landed::Moved(None));
}

#[test]
fn a_commit_that_does_not_build_on_the_ref_never_lands() {
    let world = world();
    let commit = published(&world, "one");
    let other = world.commit(&[("user", file("u\n"))]);
    world.git(&["branch", "feature"]);
    let target = world.workspaces.target(Some("feature")).unwrap();
    assert_eq!(target.expected, Some(other));
    let error = world.workspaces.land(&target, &commit);
    assert!(matches!(error, Err(Error::Unusable(_))), "{error:?}");
}

#[test]
fn repositories_that_cannot_be_worked_on_say_how_to_mend_it() {
    let told = |world: &World, branch: Option<&str>| match world.workspaces.target(branch) {
        Err(Error::Unusable(text) | Error::NotFound(text)) => text,
        other => panic!("{other:?}"),
    };
    let diverged = world();
    let target = diverged.workspaces.target(None).unwrap();
    let commit = published(&diverged, "one");
    diverged.workspaces.land(&target, &commit).unwrap();
    diverged.commit(&[("user", file("u\n"))]);
    assert!(told(&diverged, None).contains("git merge palisade/main"));
    diverged.git(&["merge", "-q", "palisade/main", "-m", "merge"]);
    assert_eq!(
        diverged.workspaces.target(None).unwrap().head,
        diverged.head()
    );

    let detached = world();
    detached.git(&["checkout", "-q", "--detach"]);
    assert!(told(&detached, None).contains("git switch"));
    assert_eq!(
        detached.workspaces.target(Some("main")).unwrap().lands_on,
        "refs/heads/main"
    );
    assert!(told(&detached, Some("nowhere")).contains("no branch `nowhere`"));
    assert!(told(&detached, Some("--all")).contains("no branch `--all`"));
    assert!(told(&detached, Some("a..b")).contains("not a branch name"));

    let blocked = world();
    blocked.git(&["branch", "palisade"]);
    assert!(told(&blocked, None).contains("git branch -m palisade"));

    let standing = world();
    standing.git(&["switch", "-q", "-c", "palisade/main"]);
    assert!(told(&standing, Some("main")).contains("git switch main"));

    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q"]);
    let unborn = World::on(folder);
    assert!(told(&unborn, None).contains("git commit"));
    assert!(matches!(
        unborn.workspaces.resolve("HEAD"),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn bare_repositories_and_inner_folders_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let first = world();
    let repo = folder.path().join("repo");
    git(
        folder.path(),
        &[
            "clone",
            "-q",
            "--bare",
            first.repo().to_str().unwrap(),
            "repo",
        ],
    );
    let bare = World::on(folder);
    let target = bare.workspaces.target(None).unwrap();
    assert_eq!(target.lands_on, "refs/heads/main");
    let commit = published(&bare, "one");
    assert_eq!(bare.workspaces.land(&target, &commit).unwrap(), Landed::Yes);
    assert_eq!(git(&repo, &["rev-parse", "main"]).trim(), commit.as_str());

    let store: std::sync::Arc<dyn ports::artifacts::Artifacts> = first.artifacts.clone();
    let inner = palisade_workspace::GitWorkspaces::open(
        &first.repo().join("dir"),
        &first.state(),
        store.clone(),
    );
    assert_eq!(inner.unwrap().resolve("main").unwrap(), first.head());
    let nowhere = tempfile::tempdir().unwrap();
    let error =
        palisade_workspace::GitWorkspaces::open(nowhere.path(), &first.state(), store).unwrap_err();
    assert!(error.to_string().contains("git init"), "{error}");
}

#[test]
fn files_of_commits_are_read_without_a_checkout() {
    let world = world();
    let read = |path: &str| world.workspaces.read_at(&world.head(), path).unwrap();
    assert_eq!(read("dir/x"), Some(b"x\n".to_vec()));
    for path in ["dir", "dir/", "nowhere", "../repo/a", "/a", "", "*", ":/a"] {
        assert_eq!(read(path), None, "{path:?}");
    }
    let list = |folder: &str| world.workspaces.list_at(&world.head(), folder).unwrap();
    assert_eq!(list("dir"), ["dir/x", "dir/y"]);
    assert_eq!(list("dir/"), ["dir/x", "dir/y"]);
    assert_eq!(list(""), ["a", "old"]);
    assert_eq!(list("."), ["a", "old"]);
    for folder in ["a", "nowhere", "..", "d*"] {
        assert_eq!(list(folder), [] as [&str; 0], "{folder:?}");
    }
}
