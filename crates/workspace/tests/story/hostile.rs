//! A repository whose configuration runs things: none of it ever runs, and the user's own state
//! stays byte for byte what it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ports::workspaces::{CommitText, Mode, Secrets, Workspaces as _};

use crate::world::{World, file, hidden, put, session, whiteout};

/// Plants every setting known to run a program; each would leave a canary.
fn booby_trap(world: &World) -> PathBuf {
    let canary = world.folder.path().join("canary");
    let script = world.folder.path().join("trap.sh");
    let body = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", canary.display());
    fs::write(&script, body).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    world.git(&["update-ref", "refs/heads/other", "HEAD"]);
    for name in [
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "core.askPass",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "gpg.program",
        "credential.helper",
        "uploadpack.packObjectsHook",
        "sequence.editor",
    ] {
        world.git(&["config", name, script]);
    }
    world.git(&["config", "filter.evil.required", "true"]);
    world.git(&["config", "merge.default", "evil"]);
    world.git(&["config", "commit.gpgSign", "true"]);
    world.git(&["config", "remote.origin.url", &format!("ext::{script}")]);
    world.git(&[
        "config",
        "core.hooksPath",
        world.repo().join(".git/hooks").to_str().unwrap(),
    ]);
    let git_dir = world.repo().join(".git");
    fs::write(
        git_dir.join("info/attributes"),
        "* filter=evil diff=evil merge=evil text eol=crlf\n",
    )
    .unwrap();
    for hook in [
        "reference-transaction",
        "post-index-change",
        "post-checkout",
        "pre-commit",
        "post-commit",
        "fsmonitor-watchman",
        "pre-auto-gc",
        "update",
        "post-update",
        "proc-receive",
    ] {
        let place = git_dir.join("hooks").join(hook);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(script, place).unwrap();
    }
    canary
}

/// Returns every file of the user's that must not change, with its bytes.
fn user_state(repo: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut state = BTreeMap::new();
    let mut open = vec![repo.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let place = entry.unwrap().path();
            let inside = place.strip_prefix(repo).unwrap().to_path_buf();
            let ours = [
                ".git/objects",
                ".git/refs/palisade",
                ".git/refs/heads/palisade",
                ".git/logs/refs/heads/palisade",
            ];
            if ours.iter().any(|it| inside == Path::new(it)) {
                continue;
            }
            if place.symlink_metadata().unwrap().is_dir() {
                open.push(place);
            } else {
                state.insert(inside, fs::read(&place).unwrap());
            }
        }
    }
    state
}

#[test]
fn nothing_runs_and_nothing_of_the_users_changes() {
    let lines = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    let world = World::of(&[
        ("a", file("a\n")),
        ("lines", file(lines)),
        (
            ".gitattributes",
            file("* filter=evil diff=evil merge=evil\n"),
        ),
    ]);
    let base = world.head();
    let onto = world.commit(&[("lines", file(&lines.replace('1', "one")))]);
    fs::write(world.repo().join("dirty"), "untracked\n").unwrap();
    fs::write(world.repo().join("a"), "edited, not committed\n").unwrap();
    world.git(&["add", "dirty"]);
    let canary = booby_trap(&world);
    let before = user_state(&world.repo());

    let store: std::sync::Arc<dyn ports::artifacts::Artifacts> = world.artifacts.clone();
    let world = World {
        workspaces: palisade_workspace::GitWorkspaces::open(&world.repo(), &world.state(), store)
            .unwrap(),
        ..world
    };
    let workspaces = &world.workspaces;
    let target = workspaces.target(None).unwrap();
    workspaces.read_at(&base, "a").unwrap();
    workspaces.list_at(&base, "").unwrap();
    let tree = workspaces.prepare(&base, &hidden(&[".env*"])).unwrap();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "lines", &file(&lines.replace('9', "nine")));
    whiteout(&upper, "a");
    put(&upper, ".gitattributes", &file("* filter=evil diff=evil\n"));
    let with_attributes = workspaces.capture(session(1)).unwrap();
    workspaces
        .diff(&tree, &with_attributes.tree, 1 << 20)
        .unwrap();
    fs::remove_file(upper.join(".gitattributes")).unwrap();
    let captured = workspaces.capture(session(1)).unwrap();
    workspaces.diff(&tree, &captured.tree, 1 << 20).unwrap();
    let ports::workspaces::Rebased::Clean(rebased) =
        workspaces.rebase(&captured.tree, &onto).unwrap()
    else {
        panic!("there is no conflict");
    };
    workspaces.prepare(&onto, &hidden(&[".env*"])).unwrap();
    workspaces
        .open(session(2), &rebased, Mode::Scratch)
        .unwrap();
    let text = CommitText {
        name: "Ada".into(),
        email: "ada@example.org".into(),
        seconds: 1,
        message: "m".into(),
    };
    let commit = workspaces.publish(&rebased, &text).unwrap();
    workspaces.land(&target, &commit).unwrap();
    assert!(workspaces.contains(&target, &commit).unwrap());
    workspaces.close(session(1)).unwrap();

    assert!(!canary.exists(), "{}", fs::read_to_string(&canary).unwrap());
    assert_eq!(user_state(&world.repo()), before);
    // The traps were live: the user's own git springs them.
    drop(
        crate::world::git_command(&world.repo(), &["update-ref", "refs/heads/other2", "HEAD"])
            .output()
            .unwrap(),
    );
    assert!(canary.exists());
}

#[test]
fn a_crafted_tree_cannot_write_outside() {
    let world = World::of(&[("a", file("a\n"))]);
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let blob = |text: &str| {
        let place = world.folder.path().join("blob");
        fs::write(&place, text).unwrap();
        world
            .git(&["hash-object", "-w", place.to_str().unwrap()])
            .trim()
            .to_owned()
    };
    let raw = |entries: &[(&str, &str, &str)]| {
        let mut bytes = Vec::new();
        for (mode, name, object) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            let digits: Vec<u8> = (0..40)
                .step_by(2)
                .map(|at| u8::from_str_radix(&object[at..at + 2], 16).unwrap())
                .collect();
            bytes.extend_from_slice(&digits);
        }
        let place = world.folder.path().join("tree");
        fs::write(&place, bytes).unwrap();
        let arguments = ["hash-object", "-w", "-t", "tree", "--literally"];
        let mut arguments = arguments.to_vec();
        arguments.push(place.to_str().unwrap());
        world.git(&arguments).trim().to_owned()
    };
    let evil = blob("evil\n");
    let link = blob(outside.to_str().unwrap());
    let inner = raw(&[("100644", "x", &evil)]);
    let crafted = [
        raw(&[("120000", "d", &link), ("40000", "d", &inner)]),
        raw(&[("100644", "../x", &evil)]),
        raw(&[("100644", "..", &evil)]),
        raw(&[("40000", "..", &inner)]),
        raw(&[("40000", ".git", &inner)]),
        raw(&[("40000", ".GIT", &inner)]),
        raw(&[("100644", "a", &evil), ("100644", "a", &evil)]),
    ];
    for tree in &crafted {
        let commit = world.git(&["commit-tree", "-m", "evil", tree]);
        let commit = commit.trim().parse().unwrap();
        let prepared = world.workspaces.prepare(&commit, &Secrets::default());
        assert!(prepared.is_err(), "{}", world.git(&["ls-tree", "-r", tree]));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!world.state().join("x").exists());
    }
}
