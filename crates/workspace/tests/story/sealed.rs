//! What a cell mounts of a repository: nothing but what the one commit shows, wherever else in and
//! around the repository a secret lies.

use std::fs;
use std::path::{Path, PathBuf};

use domain::tree::Tree;
use ports::cells::Layers;
use ports::workspaces::{Error, Mode, Secrets, Workspaces as _};

use crate::world::{World, file, git, hidden, put, sealed_git, session};

/// What is planted; it looks like nothing, so that the search for credentials does not find it.
const CANARY: &str = "the yellow bird of the seventh mine";

/// Returns everything that a cell can read of a tree: names and bytes of all layers and of the git
/// directory, and every object in it, reachable or not.
fn all_that_is_mounted(world: &World, tree: &Tree) -> String {
    let opened = world
        .workspaces
        .open(session(0xABC), tree, Mode::ReadOnly)
        .unwrap();
    let Layers::ReadOnly { lowers } = opened.tree.layers else {
        panic!("read-only was asked for");
    };
    let git_dir = opened.tree.git_dir.unwrap();
    let mut all = String::new();
    for root in lowers.iter().chain([&git_dir]) {
        gather(root, &mut all);
    }
    let arguments = ["cat-file", "--batch-all-objects", "--batch", "--unordered"];
    all.push_str(&sealed_git(&git_dir, &lowers[0], &arguments));
    all
}

fn gather(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        all.push_str(&path.to_string_lossy());
        all.push('\n');
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            gather(&path, all);
        } else if kind.is_file() {
            all.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
        } else if kind.is_symlink() {
            all.push_str(&fs::read_link(&path).unwrap().to_string_lossy());
        }
    }
}

/// A repository with one file, `a`, that says `visible`.
fn world() -> World {
    World::of(&[("a", file("visible\n")), (".gitignore", file("build/\n"))])
}

#[track_caller]
fn out_of_reach(world: &World) {
    let secrets = hidden(&[".env*"]);
    let tree = world.workspaces.prepare(&world.head(), &secrets).unwrap();
    let all = all_that_is_mounted(world, &tree);
    assert!(all.contains("visible"), "the search finds what is there");
    assert!(!all.contains(CANARY));
}

#[test]
fn a_canary_in_plain_sight_is_found_by_these_tests() {
    let world = world();
    world.commit(&[("b", file(CANARY))]);
    let tree = world.prepared();
    assert!(all_that_is_mounted(&world, &tree).contains(CANARY));
}

#[test]
fn a_withheld_file_is_out_of_reach() {
    let world = world();
    world.commit(&[(".env", file(CANARY)), ("deep/.env.local", file(CANARY))]);
    out_of_reach(&world);
    // Neither what the next base is stacked upon.
    world.commit(&[("a", file("visible too\n"))]);
    out_of_reach(&world);
}

#[test]
fn history_is_out_of_reach() {
    let world = world();
    world.commit(&[("b", file(CANARY))]);
    world.git(&["commit", "-q", "--allow-empty", "-m", CANARY]);
    world.git(&["tag", "-a", "v1", "-m", CANARY]);
    world.git(&["notes", "add", "-m", CANARY]);
    world.git(&["rm", "-q", "b"]);
    world.commit_all();
    world.git(&["branch", "other", "HEAD~1"]);
    world.git(&["gc", "-q"]);
    out_of_reach(&world);
}

#[test]
fn what_is_staged_stashed_or_dropped_is_out_of_reach() {
    let world = world();
    put(&world.repo(), "b", &file(CANARY));
    world.git(&["add", "b"]);
    world.git(&["stash", "-q"]);
    put(&world.repo(), "c", &file(CANARY));
    world.git(&["add", "c"]);
    put(&world.repo(), "d", &file(CANARY));
    world.git(&["hash-object", "-w", "d"]);
    world.git(&["reset", "-q"]);
    out_of_reach(&world);
}

#[test]
fn a_submodule_is_out_of_reach() {
    let world = world();
    let inner = world.folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "-q"]);
    put(&inner, "b", &file(CANARY));
    git(&inner, &["add", "-A"]);
    git(&inner, &["commit", "-q", "-m", CANARY]);
    let allowed = ["-c", "protocol.file.allow=always"];
    let inner = inner.to_str().unwrap().to_owned();
    let add = ["submodule", "--quiet", "add", &inner, "sub"];
    world.git(&[&allowed[..], &add[..]].concat());
    world.commit_all();
    assert!(world.repo().join(".git/modules/sub").is_dir());
    assert!(world.repo().join("sub/b").is_file());
    out_of_reach(&world);
}

#[test]
fn large_files_kept_beside_git_are_out_of_reach() {
    let world = world();
    let object = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{object}\nsize 35\n");
    world.commit(&[
        (
            ".gitattributes",
            file("*.bin filter=lfs diff=lfs merge=lfs -text\n"),
        ),
        ("b.bin", file(&pointer)),
    ]);
    let place = format!(".git/lfs/objects/4d/7a/{object}");
    put(&world.repo(), &place, &file(CANARY));
    out_of_reach(&world);
    let tree = world
        .workspaces
        .prepare(&world.head(), &hidden(&[".env*"]))
        .unwrap();
    assert!(
        all_that_is_mounted(&world, &tree).contains(object),
        "the pointer is text"
    );
}

#[test]
fn what_git_ignores_is_out_of_reach() {
    let world = world();
    put(&world.repo(), "build/out", &file(CANARY));
    put(&world.repo(), "untracked", &file(CANARY));
    out_of_reach(&world);
}

#[test]
fn borrowed_objects_are_out_of_reach() {
    let world = world();
    let other = world.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    git(&other, &["init", "-q"]);
    put(&other, "b", &file(CANARY));
    git(&other, &["add", "-A"]);
    git(&other, &["commit", "-q", "-m", CANARY]);
    let borrowed = other.join(".git/objects");
    let alternates = world.repo().join(".git/objects/info/alternates");
    fs::write(alternates, format!("{}\n", borrowed.display())).unwrap();
    let commit = git(&other, &["rev-parse", "HEAD"]);
    // It is there for the user, and for the controller's own repository.
    world.git(&["cat-file", "-e", commit.trim()]);
    out_of_reach(&world);
    let tree = world
        .workspaces
        .prepare(&world.head(), &hidden(&[".env*"]))
        .unwrap();
    let opened = world
        .workspaces
        .open(session(1), &tree, Mode::ReadOnly)
        .unwrap();
    let git_dir = opened.tree.git_dir.unwrap();
    for file in [
        "objects/info/alternates",
        "objects/info/http-alternates",
        "commondir",
    ] {
        assert!(!git_dir.join(file).exists(), "{file}");
    }
}

#[test]
fn what_was_accepted_for_an_earlier_base_is_not_shown_by_a_later_one() {
    let world = world();
    let token = ["np", "m_", "q7Zr0vTn2KxWm5LpB3cDe8FgH1jKq7Zr0vTn"].concat();
    let first = world.commit(&[("b", file(&format!("one\n{token}\n")))]);
    let strict = Secrets::default();
    let Err(Error::Secrets { found, .. }) = world.workspaces.prepare(&first, &strict) else {
        panic!("it is a token");
    };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].to_string(),
        format!("b:2 npm-token {}", found[0].fingerprint)
    );
    let accepting = Secrets {
        accepted: vec![found[0].fingerprint.clone()],
        ..strict.clone()
    };
    let tree = world.workspaces.prepare(&first, &accepting).unwrap();
    assert!(all_that_is_mounted(&world, &tree).contains(&token));
    world.git(&["rm", "-q", "b"]);
    let second = world.commit_all();
    let tree = world.workspaces.prepare(&second, &strict).unwrap();
    assert!(!all_that_is_mounted(&world, &tree).contains(&token));
}

#[test]
fn every_file_of_a_base_is_searched_once() {
    let world = world();
    let token = ["np", "m_", "q7Zr0vTn2KxWm5LpB3cDe8FgH1jKq7Zr0vTn"].concat();
    world.prepared();
    let folder = world.state().join("searched");
    let remembered = || -> usize {
        let entries = fs::read_dir(&folder).unwrap();
        let texts = entries.map(|it| fs::read_to_string(it.unwrap().path()).unwrap());
        texts.map(|it| it.lines().count()).sum()
    };
    assert_eq!(remembered(), 2);
    let head = world.commit(&[("b", file("new\n")), ("copy", file("visible\n"))]);
    let nothing = Secrets::default();
    world.workspaces.prepare(&head, &nothing).unwrap();
    assert_eq!(remembered(), 3, "what has the same content is the same");
    // What is remembered of a leak is told for every path, and for every later base.
    for number in 0..2 {
        let head = world.commit(&[("leak", file(&token)), (&format!("x{number}"), file("x\n"))]);
        let answer = world.workspaces.prepare(&head, &nothing);
        assert!(matches!(answer, Err(Error::Secrets { .. })), "{answer:?}");
    }
    let known =
        palisade_workspace::credentials_at(&world.repo(), "HEAD", &nothing, Some(&world.state()));
    let fresh = palisade_workspace::credentials_at(&world.repo(), "HEAD", &nothing, None).unwrap();
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    assert_eq!(known.unwrap(), fresh);
}

#[test]
fn a_credential_in_the_commits_own_message_is_told() {
    let world = world();
    let token = ["np", "m_", "q7Zr0vTn2KxWm5LpB3cDe8FgH1jKq7Zr0vTn"].concat();
    world.git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        &format!("use {token}"),
    ]);
    let Err(Error::Secrets { found, .. }) =
        world.workspaces.prepare(&world.head(), &Secrets::default())
    else {
        panic!("`git log` shows it");
    };
    assert!(found[0].path.contains("the commit"), "{found:?}");
}

#[test]
fn values_of_the_working_tree_are_withheld_too() {
    let world = world();
    put(
        &world.repo(),
        "build/.env",
        &file("TOKEN=q7Zr0vTn2KxWm5Lp\n"),
    );
    put(
        &world.repo(),
        "sub/.env.local",
        &file("TOKEN=Zk3x9Qm1Tn7bL0wA\nA=visible\n"),
    );
    put(&world.repo(), "b", &file("TOKEN=Yk3x9Qm1Tn7bL0wB\n"));
    let secrets = hidden(&[".env*"]);
    let head = world.head();
    let mut withheld = world.workspaces.withheld(&head, &secrets).unwrap();
    withheld.sort_by(|a, b| a.path.cmp(&b.path));
    let found: Vec<(&str, &[u8])> = withheld
        .iter()
        .map(|it| (it.path.as_str(), it.value.as_slice()))
        .collect();
    let expected: [(&str, &[u8]); 2] = [
        ("build/.env", b"q7Zr0vTn2KxWm5Lp"),
        ("sub/.env.local", b"Zk3x9Qm1Tn7bL0wA"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_credential_is_neither_shown_nor_taken_in() {
    // The contract's rules say more about each; this is the pair of them on real git.
    let world = super::contract::repository();
    testkit::workspaces::contract::a_base_with_a_credential_is_not_made_ready(&world);
    let world = super::contract::repository();
    testkit::workspaces::contract::a_credential_in_a_change_is_told_and_may_be_accepted(&world);
}
