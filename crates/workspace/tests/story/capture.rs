//! Captures: what an upper layer means.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use domain::tree::{Change, Entry};
use ports::workspaces::{Captured, Error, Mode, Workspaces as _};

use crate::world::{Thing, World, file, opaque, put, session, whiteout};

fn world() -> World {
    World::of(&[
        (".gitignore", file("target/\n*.log\n")),
        ("README.md", file("hello\n")),
        ("src/a.rs", file("a\n")),
        ("src/b.rs", file("b\n")),
        ("src/deep/c.rs", file("c\n")),
        ("run.sh", Thing::File(b"run\n".to_vec(), true)),
        ("link", Thing::Link("README.md".into())),
        ("target/tracked", file("tracked\n")),
        ("logs/.gitignore", file("!kept.log\n")),
    ])
}

fn capture(world: &World, number: u128) -> Captured {
    world.workspaces.capture(session(number)).unwrap()
}

/// One line for each change: `M` a file, `X` an executable, `L` a link, `D` gone, `?` foreign.
fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|it| match &it.entry {
            Entry::File { executable, .. } if *executable => format!("X {}", it.path),
            Entry::File { .. } => format!("M {}", it.path),
            Entry::Symlink { target } => format!("L {} {target}", it.path),
            Entry::Deleted => format!("D {}", it.path),
            Entry::Foreign { what, .. } => format!("? {} {what}", it.path),
        })
        .collect()
}

#[test]
fn nothing_done_is_the_same_tree() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    fs::create_dir_all(upper.join("empty/folders")).unwrap();
    let captured = capture(&world, 1);
    assert_eq!(captured.tree, tree);
    assert_eq!(captured.changes, []);
    assert_eq!(captured.bytes, 0);
}

#[test]
fn each_kind_of_change_is_told() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "README.md", &file("changed\n"));
    put(&upper, "new/ü", &file("new\n"));
    put(&upper, "src/a.rs", &Thing::File(b"a\n".to_vec(), true));
    put(&upper, "run.sh", &Thing::File(b"run\n".to_vec(), true));
    put(&upper, "src/b.rs", &file("b\n"));
    put(&upper, "link", &Thing::Link("src".into()));
    whiteout(&upper, "src/deep");
    let captured = capture(&world, 1);
    assert_eq!(
        told(&captured.changes),
        [
            "M README.md",
            "L link src",
            "M new/ü",
            "X src/a.rs",
            "D src/deep/c.rs",
        ],
        "copied up without a change is no change"
    );
    assert_eq!(captured.bytes, 8 + 4 + 2);
    assert_ne!(captured.tree.digest, tree.digest);
    assert_eq!(
        world.workspaces.changes(&tree, &captured.tree).unwrap(),
        captured.changes
    );
}

#[test]
fn folders_and_files_take_each_others_place() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "src", &file("a file now\n"));
    put(&upper, "README.md/inside", &file("in\n"));
    opaque(&upper, "README.md");
    opaque(&upper, "logs");
    put(&upper, "logs/kept.log", &file("kept\n"));
    let captured = capture(&world, 1);
    assert_eq!(
        told(&captured.changes),
        [
            "D README.md",
            "M README.md/inside",
            "D logs/.gitignore",
            "M logs/kept.log",
            "M src",
            "D src/a.rs",
            "D src/b.rs",
            "D src/deep/c.rs",
        ]
    );
    let seen = world.seen(&captured.tree);
    assert_eq!(seen["src"], file("a file now\n"));
    assert_eq!(seen["README.md/inside"], file("in\n"));
    assert!(!seen.contains_key("logs/.gitignore"));
}

#[test]
fn captures_add_up_and_what_returns_to_the_base_disappears() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "README.md", &file("one\n"));
    put(&upper, "new", &file("new\n"));
    whiteout(&upper, "src/a.rs");
    let first = capture(&world, 1).tree;

    let (_, upper) = world.open(2, &first);
    put(&upper, "src/b.rs", &file("B\n"));
    let second = capture(&world, 2);
    assert_eq!(told(&second.changes), ["M src/b.rs"]);
    assert_eq!(
        told(&world.workspaces.changes(&tree, &second.tree).unwrap()),
        ["M README.md", "M new", "D src/a.rs", "M src/b.rs"]
    );

    let (_, upper) = world.open(3, &second.tree);
    put(&upper, "README.md", &file("hello\n"));
    put(&upper, "src/a.rs", &file("a\n"));
    put(&upper, "src/b.rs", &file("b\n"));
    whiteout(&upper, "new");
    let third = capture(&world, 3);
    assert_eq!(third.tree, tree);
    assert_eq!(
        told(&third.changes),
        ["M README.md", "D new", "M src/a.rs", "M src/b.rs"]
    );
    for change in &third.changes {
        if let Entry::File { content, .. } = &change.entry {
            use ports::artifacts::Artifacts as _;
            assert!(world.artifacts.contains(content).unwrap());
        }
    }
}

#[test]
fn build_output_is_pruned_by_the_rules_of_the_base_alone() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "target/debug/big", &file("output\n"));
    put(&upper, "target/tracked", &file("still tracked\n"));
    put(&upper, "x.log", &file("noise\n"));
    put(&upper, "logs/kept.log", &file("kept\n"));
    // A session's own rules hide nothing.
    put(&upper, ".gitignore", &file("*\n"));
    put(&upper, "src/.gitignore", &file("*\n"));
    put(&upper, "src/hidden.rs", &file("seen\n"));
    assert_eq!(
        told(&capture(&world, 1).changes),
        [
            "M .gitignore",
            "M logs/kept.log",
            "M src/.gitignore",
            "M src/hidden.rs",
            "M target/tracked",
        ]
    );
}

#[test]
fn strange_things_are_foreign_and_never_read() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    let secret = world.folder.path().join("outside");
    fs::write(&secret, "outside\n").unwrap();
    use rustix::fs::{CWD, FileType, Mode};
    rustix::fs::mknodat(CWD, upper.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();
    fs::hard_link(&secret, upper.join("hard")).unwrap();
    std::os::unix::fs::symlink(&secret, upper.join("soft")).unwrap();
    std::os::unix::fs::symlink(world.folder.path(), upper.join("folder")).unwrap();
    let odd = std::ffi::OsString::from_vec(b"odd\xff".to_vec());
    fs::write(upper.join(odd), "odd").unwrap();
    let giant = fs::File::create(upper.join("giant")).unwrap();
    giant.set_len(1 << 40).unwrap();
    put(&upper, "suid", &file("s"));
    fs::set_permissions(upper.join("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    put(&upper, "nested/.git/config", &file("[core]\n"));
    put(&upper, "worktree/.git", &file("gitdir: /\n"));
    put(&upper, "sticky", &file("s"));
    fs::set_permissions(upper.join("sticky"), fs::Permissions::from_mode(0o1644)).unwrap();
    put(&upper, "README.md", &file("fine\n"));

    let captured = capture(&world, 1);
    let told = told(&captured.changes);
    let foreign: Vec<&str> = told
        .iter()
        .filter_map(|it| it.strip_prefix("? ")?.split(' ').next())
        .collect();
    assert_eq!(
        foreign,
        [
            "fifo",
            "giant",
            "hard",
            "nested/.git",
            "odd\\xff",
            "socket",
            "sticky",
            "suid",
            "worktree/.git",
        ]
    );
    assert_eq!(captured.bytes, 5);
    let outside = blake3::hash(b"outside\n");
    use ports::artifacts::Artifacts as _;
    let outside = domain::Digest::from_bytes(*outside.as_bytes());
    assert!(!world.artifacts.contains(&outside).unwrap());
    let links: Vec<&String> = told.iter().filter(|it| it.starts_with("L ")).collect();
    assert_eq!(links.len(), 2, "links are kept as links: {links:?}");

    // Foreign things can be carried and put back, but never published.
    let text = ports::workspaces::CommitText {
        name: "Ada".into(),
        email: "ada@example.org".into(),
        seconds: 1,
        message: "m".into(),
    };
    let error = world.workspaces.publish(&captured.tree, &text);
    assert!(matches!(error, Err(Error::Unusable(_))), "{error:?}");
    let paths: Vec<String> = captured.changes.iter().map(|it| it.path.clone()).collect();
    let restored = world.workspaces.restore(&captured.tree, &tree, &paths);
    assert_eq!(restored.unwrap(), tree);
}

#[test]
fn marks_that_no_mount_of_ours_makes_are_foreign() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    let mark = |path: &str, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(upper.join(path), name, value, flags)
    };
    for path in ["file", "meta", "white"] {
        put(&upper, path, &file(""));
    }
    for path in ["inner", "moved", "planted"] {
        put(&upper, &format!("{path}/x"), &file("x"));
    }
    mark("file", "user.overlay.opaque", b"y").unwrap();
    mark("meta", "user.overlay.metacopy", b"").unwrap();
    mark("white", "user.overlay.whiteout", b"").unwrap();
    mark("inner", "user.overlay.overlay.opaque", b"y").unwrap();
    mark("moved", "user.overlay.redirect", b"src").unwrap();
    mark("planted", "user.overlay.opaque", b"x").unwrap();
    // Notes that the kernel makes, and attributes that mean nothing to us.
    put(&upper, "README.md", &file("fine\n"));
    mark("README.md", "user.overlay.origin", b"o").unwrap();
    mark("README.md", "user.comment", b"hi").unwrap();
    let mut expected = vec![
        "M README.md",
        "? file a file with a mark of folders",
        "? inner a thing with a strange overlay mark",
        "? meta a file whose content the overlay did not copy",
        "? moved a thing moved by overlay redirect",
        "? planted a folder with a strange overlay mark",
        "? white a thing with a strange overlay mark",
    ];
    // Only root can give capabilities to a file.
    put(&upper, "able", &file(""));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    match mark("able", "security.capability", &capability) {
        Ok(()) => expected.insert(1, "? able a file with capabilities"),
        Err(_) => expected.insert(1, "M able"),
    }
    assert_eq!(told(&capture(&world, 1).changes), expected);
}

#[test]
fn a_root_that_would_hide_its_base_is_turned_away_whole() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "x", &file("x"));
    opaque(&upper, "");
    let captured = capture(&world, 1);
    assert_eq!(told(&captured.changes), ["? . a root that hides its base"]);
}

#[test]
fn folders_that_may_be_listed_and_not_entered_end_no_capture() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "shut/x", &file("x"));
    fs::set_permissions(upper.join("shut"), fs::Permissions::from_mode(0o444)).unwrap();
    put(&upper, "blind/x", &file("x"));
    fs::set_permissions(upper.join("blind/x"), fs::Permissions::from_mode(0o000)).unwrap();
    let told = told(&capture(&world, 1).changes);
    fs::set_permissions(upper.join("shut"), fs::Permissions::from_mode(0o755)).unwrap();
    // Nothing is shut to root.
    let expected: &[&str] = if rustix::process::geteuid().is_root() {
        &["M blind/x", "M shut/x"]
    } else {
        &[
            "? blind/x a file that cannot be read",
            "? shut/x in a folder that cannot be entered",
        ]
    };
    assert_eq!(told, expected);
}

#[test]
fn depth_has_a_limit() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    let deep = "d/".repeat(150);
    put(&upper, &format!("{deep}x"), &file("x"));
    let told = told(&capture(&world, 1).changes);
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("nested too deeply"), "{told:?}");
}

#[test]
fn only_writable_sessions_are_captured_and_opening_again_starts_afresh() {
    let world = world();
    let tree = world.prepared();
    for mode in [Mode::ReadOnly, Mode::Scratch] {
        world.workspaces.open(session(1), &tree, mode).unwrap();
        let error = world.workspaces.capture(session(1));
        assert!(matches!(error, Err(Error::Unusable(_))), "{error:?}");
    }
    let (_, upper) = world.open(1, &tree);
    put(&upper, "x", &file("x"));
    let (_, again) = world.open(1, &tree);
    assert_eq!(upper, again);
    assert_eq!(capture(&world, 1).changes, []);
    world.workspaces.close(session(1)).unwrap();
    world.workspaces.close(session(1)).unwrap();
    assert!(!upper.exists());
    let error = world.workspaces.capture(session(1));
    assert!(matches!(error, Err(Error::NotFound(_))), "{error:?}");
}

#[test]
fn a_restarted_engine_can_still_capture() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "x", &file("x"));
    let store: std::sync::Arc<dyn ports::artifacts::Artifacts> = world.artifacts.clone();
    let restarted =
        palisade_workspace::GitWorkspaces::open(&world.repo(), &world.state(), store).unwrap();
    let captured = restarted.capture(session(1)).unwrap();
    assert_eq!(told(&captured.changes), ["M x"]);
    assert_eq!(captured, {
        let again = capture(&world, 1);
        Captured {
            micros: captured.micros,
            ..again
        }
    });
}

#[test]
fn locked_folders_do_not_keep_a_session_open() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "shut/in/x", &file("x"));
    fs::set_permissions(upper.join("shut/in"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(upper.join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    world.workspaces.capture(session(1)).unwrap();
    world.workspaces.close(session(1)).unwrap();
    assert!(!upper.exists());
}

#[test]
fn a_plain_copy_is_captured_alike() {
    let world = world().plain();
    let tree = world.prepared();
    let (opened, dir) = world.open(1, &tree);
    assert!(opened.fallback);
    assert_eq!(capture(&world, 1).tree, tree);
    put(&dir, "README.md", &file("changed\n"));
    fs::remove_file(dir.join("src/a.rs")).unwrap();
    fs::remove_dir_all(dir.join("src/deep")).unwrap();
    put(&dir, "src/deep", &file("a file now\n"));
    put(&dir, "target/debug/big", &file("output\n"));
    let captured = capture(&world, 1);
    assert_eq!(
        told(&captured.changes),
        ["M README.md", "D src/a.rs", "M src/deep", "D src/deep/c.rs"]
    );
    let (_, dir) = world.open(2, &captured.tree);
    assert_eq!(crate::world::things(&dir), world.seen(&captured.tree));
    assert_eq!(capture(&world, 2).tree, captured.tree);
}
