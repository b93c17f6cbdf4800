//! Captures of a session that goes on: they read what was written since, and nothing else.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use domain::tree::{ImportRules, Rule, Tree};
use palisade_workspace::GitWorkspaces;
use ports::workspaces::{Captured, Error, Workspaces as _};

use crate::world::{Thing, World, file, put, rules, session, things, whiteout};

fn world() -> World {
    World::of(&[
        ("a", file("a\n")),
        ("b", file("b\n")),
        ("dir/c", file("c\n")),
        ("run.sh", Thing::File(b"run\n".to_vec(), true)),
    ])
}

/// Captures as a running session is captured, and lets all pass.
fn quick(workspaces: &GitWorkspaces, number: u128) -> Result<Captured, Error> {
    let mut look = |_: &str, _: &[u8]| ControlFlow::Continue(());
    let captured = workspaces.recapture(session(number), &mut look)?;
    Ok(captured.unwrap())
}

/// Captures as a running session is captured; it must be what a capture of everything finds.
fn recapture(world: &World, number: u128) -> Captured {
    let quick = quick(&world.workspaces, number).unwrap();
    let store: std::sync::Arc<dyn ports::artifacts::Artifacts> = world.artifacts.clone();
    let other = GitWorkspaces::open(&world.repo(), &world.state(), store).unwrap();
    let puts = world.artifacts.taken();
    let whole = other.capture(session(number)).unwrap();
    assert_eq!((&quick.tree, &quick.changes), (&whole.tree, &whole.changes));
    drop(world.artifacts.taken());
    world.artifacts.put_back(puts);
    quick
}

/// Waits until the disk stamps files with another time than it stamped the last with, so that what
/// was written so far is settled.
fn settle(folder: &Path) {
    let file = folder.join("settle");
    let stamped = || {
        fs::write(&file, "x").unwrap();
        fs::metadata(&file).unwrap().modified().unwrap()
    };
    let before = stamped();
    while stamped() < before + Duration::from_millis(50) {
        std::thread::yield_now();
    }
}

#[test]
fn only_what_was_written_since_is_read() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &file("A\n"));
    put(&upper, "dir/c", &file("C\n"));
    put(&upper, "new", &file("new\n"));
    settle(world.folder.path());
    recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), ["A\n", "C\n", "new\n"]);

    recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), [""; 0], "nothing was written");

    put(&upper, "a", &file("2\n"));
    fs::rename(upper.join("new"), upper.join("moved")).unwrap();
    settle(world.folder.path());
    let captured = recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), ["2\n", "new\n"]);
    assert_eq!(captured.changes.len(), 3);
}

#[test]
fn a_write_of_the_same_length_and_time_is_seen() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    let place = upper.join("a");
    put(&upper, "a", &file("1\n"));
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for text in ["2\n", "3\n", "4\n"] {
        settle(world.folder.path());
        // Written in place, and the time put back: only the kernel's own time tells.
        fs::write(&place, text).unwrap();
        fs::File::options()
            .write(true)
            .open(&place)
            .unwrap()
            .set_modified(then)
            .unwrap();
        settle(world.folder.path());
        recapture(&world, 1);
        assert_eq!(world.artifacts.taken(), [text]);
    }
}

#[test]
fn what_was_written_just_now_is_read_again() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    for number in 0..200 {
        // As fast as it goes: many writes fall into one tick of the clock.
        fs::write(upper.join("a"), format!("{number:03}\n")).unwrap();
        let captured = quick(&world.workspaces, 1).unwrap();
        let seen = world.seen(&captured.tree);
        assert_eq!(seen["a"], file(&format!("{number:03}\n")));
    }
}

#[test]
fn what_goes_or_changes_its_kind_or_mode_is_noticed() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &file("A\n"));
    put(&upper, "b", &file("B\n"));
    put(&upper, "new/x", &file("x\n"));
    put(&upper, "back", &file("back\n"));
    settle(world.folder.path());
    recapture(&world, 1);
    fs::remove_file(upper.join("a")).unwrap();
    whiteout(&upper, "a");
    fs::set_permissions(upper.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(upper.join("new")).unwrap();
    put(&upper, "new", &file("a file now\n"));
    fs::hard_link(upper.join("back"), upper.join("twice")).unwrap();
    let captured = recapture(&world, 1);
    let kinds: Vec<String> = captured
        .changes
        .iter()
        .map(|it| format!("{} {:?}", it.path, it.entry))
        .map(|it| {
            it.split(['{', '('])
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "a Deleted",
            "b File",
            "back Foreign",
            "new File",
            "twice Foreign"
        ]
    );
}

#[test]
fn a_session_that_is_opened_again_is_read_again() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &file("A\n"));
    settle(world.folder.path());
    let first = recapture(&world, 1).tree;
    let reopened = |tree: &Tree| {
        let (_, upper) = world.open(1, tree);
        put(&upper, "b", &file("B\n"));
        settle(world.folder.path());
        drop(world.artifacts.taken());
        world.seen(&recapture(&world, 1).tree)
    };
    let seen = reopened(&tree);
    assert_eq!((&seen["a"], &seen["b"]), (&file("a\n"), &file("B\n")));
    let seen = reopened(&first);
    assert_eq!((&seen["a"], &seen["b"]), (&file("A\n"), &file("B\n")));
    assert_eq!(world.artifacts.taken(), ["B\n"], "read, not remembered");
}

#[test]
fn a_store_that_fails_leaves_nothing_half_remembered() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &file("A\n"));
    settle(world.folder.path());
    world.artifacts.fail(true);
    let error = quick(&world.workspaces, 1);
    assert!(error.is_err(), "{error:?}");
    world.artifacts.fail(false);
    let captured = recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), ["A\n"]);
    assert_eq!(world.seen(&captured.tree)["a"], file("A\n"));
}

#[test]
fn a_plain_copy_is_read_once() {
    let world = world().plain();
    let tree = world.prepared();
    let (_, dir) = world.open(1, &tree);
    put(&dir, "a", &file("A\n"));
    settle(world.folder.path());
    recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), ["A\n"]);
    fs::remove_file(dir.join("b")).unwrap();
    let captured = recapture(&world, 1);
    assert_eq!(world.artifacts.taken(), [""; 0]);
    assert_eq!(world.seen(&captured.tree), things(&dir));
}

#[test]
fn what_is_seen_stops_the_capture_and_is_looked_at_again() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    put(&upper, "a", &file("A\n"));
    put(&upper, "b", &file("a canary\n"));
    settle(world.folder.path());
    let mut looked = Vec::new();
    let mut capture = || {
        let mut look = |path: &str, content: &[u8]| {
            looked.push(path.to_owned());
            if content == b"a canary\n" {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let captured = world.workspaces.recapture(session(1), &mut look).unwrap();
        (captured.is_some(), std::mem::take(&mut looked))
    };
    for _ in 0..2 {
        assert_eq!(capture(), (false, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(world.artifacts.taken(), [""; 0], "nothing is kept");
    }
    put(&upper, "b", &file("nothing\n"));
    settle(world.folder.path());
    assert_eq!(capture(), (true, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(capture(), (true, vec![]), "looked at once");
}

#[test]
fn a_judgement_tells_what_it_remembered() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    let rules = ImportRules {
        guards_tests: true,
        ..rules()
    };
    let judge = || {
        let captured = recapture(&world, 1);
        let (after, changes) = (&captured.tree, &captured.changes);
        let judged = world.workspaces.judgement(&tree, after, changes, &rules);
        let judged = judged.unwrap();
        assert_eq!(judged.violations, []);
        (judged.remembered, judged.read)
    };
    put(&upper, "a", &file("A\n"));
    put(&upper, "new", &file("new\n"));
    // Of `a` two contents, of which one is searched; of `new` one, asked twice.
    assert_eq!(judge(), (0, 5));
    assert_eq!(judge(), (5, 0));
    put(&upper, "new", &file("newer\n"));
    assert_eq!(judge(), (3, 2));
}

#[test]
fn what_is_searched_while_the_disk_works_is_found_all_the_same() {
    let world = world();
    let tree = world.prepared();
    let (_, upper) = world.open(1, &tree);
    // Enough that searching begins before judging.
    let key = ["AKIA", "Z7Q4M2XW6RNB5KTJ"].concat();
    for number in 0..100 {
        let filler = format!("let value_{number} = other();\n").repeat(50);
        put(&upper, &format!("file{number:03}"), &file(&filler));
    }
    put(
        &upper,
        "leak",
        &file(&format!("aws_access_key_id = {key}\n")),
    );
    let captured = recapture(&world, 1);
    let (after, changes) = (&captured.tree, &captured.changes);
    let judged = world.workspaces.judgement(&tree, after, changes, &rules());
    let judged = judged.unwrap();
    let found: Vec<_> = judged
        .violations
        .iter()
        .map(|it| (it.path.as_str(), it.rule))
        .collect();
    assert_eq!(found, [("leak", Rule::Secret)]);
    assert_eq!(
        (judged.remembered, judged.read),
        (0, 101),
        "searched for this judgement"
    );
}
