//! Rollback: after any history of file operations in one session, every checkpoint can be gone back
//! to, byte for byte, mode for mode and link for link, and any paths of it can be put back.

use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use domain::tree::Tree;
use ports::cells::Layers;
use ports::workspaces::{Mode, Workspaces as _};
use proptest::prelude::*;

use crate::histories::{Step, content, insert, model, path, step, world};
use crate::kernel::{in_overlay, shown};
use crate::world::{Things, World, session, things};

/// What an agent does between two checkpoints.
#[derive(Clone, Debug)]
enum Act {
    /// What histories are made of.
    Usual(Step),
    /// Makes a file longer, if there is one.
    Append(String),
    /// Makes a file executable or not, if there is one.
    Mode(String, bool),
    /// Writes a file deep down.
    Deep(u8),
    /// Removes a file and makes it anew as it was, if there is one.
    Again(String),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => step().prop_map(Act::Usual),
        2 => path().prop_map(Act::Append),
        2 => (path(), any::<bool>()).prop_map(|(path, on)| Act::Mode(path, on)),
        1 => (0..3_u8).prop_map(Act::Deep),
        1 => path().prop_map(Act::Again),
    ]
}

/// Returns the acts as a shell script: what runs on the kernel's overlay and on a plain copy alike.
fn script(acts: &[Act]) -> String {
    // A file where a folder is needed goes; so does whatever stands where something is put.
    let mut script = String::from(
        "over() { p=$1; while case $p in */*) true;; *) false;; esac; do p=${p%/*}; \
         if [ -L \"$p\" ] || [ -f \"$p\" ]; then rm -f \"$p\"; fi; done; \
         if [ -L \"$1\" ] || [ -d \"$1\" ]; then rm -rf \"$1\"; fi; \
         case $1 in */*) mkdir -p \"${1%/*}\";; esac; }\n\
         isfile() { [ -f \"$1\" ] && [ ! -L \"$1\" ] && real \"$1\"; }\n\
         real() { p=$1; while case $p in */*) true;; *) false;; esac; do p=${p%/*}; \
         if [ -L \"$p\" ]; then return 1; fi; done; }\n\
         there() { { [ -e \"$1\" ] || [ -L \"$1\" ]; } && real \"$1\"; }\n\
         tidy() { find . -mindepth 1 -depth -type d -empty ! -path ./.git -delete; }\n",
    );
    for act in acts {
        let line = match act {
            Act::Usual(Step::Write(path, number, executable)) => {
                let mode = if *executable { 755 } else { 644 };
                let text = content(*number);
                format!("over '{path}'; printf '%s' '{text}' > '{path}'; chmod {mode} '{path}'")
            }
            Act::Usual(Step::Link(path, target)) => {
                format!("over '{path}'; rm -f '{path}'; ln -s '{target}' '{path}'")
            }
            Act::Usual(Step::Delete(path)) => {
                format!("if there '{path}'; then rm -rf '{path}'; fi")
            }
            Act::Usual(Step::Replace(path, number)) => {
                let text = content(*number);
                format!(
                    "over '{path}'; rm -rf '{path}'; mkdir '{path}'; \
                     printf '%s' '{text}' > '{path}/only'; chmod 644 '{path}/only'"
                )
            }
            Act::Usual(Step::Move(from, to)) => {
                let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
                if inside(from, to) || inside(to, from) {
                    continue;
                }
                format!(
                    "if there '{from}'; then over '{to}'; rm -rf '{to}'; \
                     if there '{from}'; then mv '{from}' '{to}'; fi; fi"
                )
            }
            Act::Append(path) => {
                format!("if isfile '{path}'; then printf '%s' 'more ' >> '{path}'; fi")
            }
            Act::Mode(path, on) => {
                let mode = if *on { 755 } else { 644 };
                format!("if isfile '{path}'; then chmod {mode} '{path}'; fi")
            }
            Act::Deep(number) => {
                let folder = "n/".repeat(12 + usize::from(*number));
                format!("over '{folder}x'; printf '%s' 'deep' > '{folder}x'; chmod 644 '{folder}x'")
            }
            Act::Again(path) => format!(
                "if isfile '{path}'; then cp -p '{path}' .again; rm '{path}'; mv .again '{path}'; fi"
            ),
        };
        // Empty folders are no part of a tree: the model does not know them.
        writeln!(script, "{line}; tidy").unwrap();
    }
    script
}

/// Runs a script in the tree of an open session, as its cell would; `false` when this machine
/// mounts no overlays.
fn run(world: &World, layers: &Layers, script: &str) -> bool {
    match layers {
        Layers::Plain { dir } => {
            let output = Command::new("sh")
                .args(["-ec", script])
                .current_dir(dir)
                .output()
                .unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{complaint}");
            true
        }
        Layers::Overlay { work, .. } => {
            mountable_again(work);
            in_overlay(world, layers, script).is_some()
        }
        Layers::ReadOnly { .. } => unreachable!("writable was asked for"),
    }
}

/// Removes the mark by which the kernel refuses to mount a `volatile` layer twice.
fn mountable_again(work: &Path) {
    let scratch = work.join("work");
    if scratch.is_dir() {
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir_all(&scratch).unwrap();
    }
}

/// Returns what lies in the tree of an open session, as its cell sees it.
fn now(world: &World, layers: &Layers) -> Things {
    match layers {
        Layers::Plain { dir } => things(dir),
        Layers::Overlay { work, .. } => {
            mountable_again(work);
            shown(world, layers).unwrap()
        }
        Layers::ReadOnly { .. } => unreachable!("writable was asked for"),
    }
}

fn checkpoint(world: &World) -> Tree {
    let mut look = |_: &str, _: &[u8]| ControlFlow::Continue(());
    let captured = world.workspaces.recapture(session(1), &mut look).unwrap();
    captured.unwrap().tree
}

fn check(world: &World, rounds: &[Vec<Act>], chosen: &[prop::sample::Index]) {
    let base = world.prepared();
    let (opened, _) = world.open(1, &base);
    let layers = opened.tree.layers;
    if !run(world, &layers, "true") {
        return;
    }
    let mut expected = now(world, &layers);
    let mut taken = vec![(base, expected.clone())];
    for acts in rounds {
        assert!(run(world, &layers, &script(acts)));
        for act in acts {
            if let Act::Usual(step) = act {
                model(&mut expected, step);
            }
        }
        let seen = now(world, &layers);
        if acts.iter().all(|it| matches!(it, Act::Usual(_))) && expected != seen {
            // Two tellings of one history: what the shell did and what the model says.
            assert_eq!(seen, expected, "after {acts:?}");
        }
        expected.clone_from(&seen);
        taken.push((checkpoint(world), seen));
    }
    for (tree, seen) in &taken {
        assert_eq!(&world.seen(tree), seen, "the layers of a checkpoint");
    }
    // The kernel's own word on one of them, and on a mix of two.
    let pick = |at: usize| &taken[chosen[at].index(taken.len())];
    let ((from, before), (to, after)) = (pick(0), pick(1));
    let (opened, _) = world.open(2, to);
    assert_eq!(&now(world, &opened.tree.layers), after, "opened again");
    let changed = world.workspaces.changes(from, to).unwrap();
    let paths: Vec<String> = changed
        .iter()
        .enumerate()
        .filter(|(at, _)| chosen[2].index(2 + at % 3) != 0)
        .map(|(_, it)| it.path.clone())
        .collect();
    let mut mix = after.clone();
    for path in &paths {
        match before.get(path) {
            Some(thing) => insert(&mut mix, path, thing.clone()),
            None => drop(mix.remove(path)),
        }
    }
    let restored = world.workspaces.restore(to, from, &paths).unwrap();
    assert_eq!(world.seen(&restored), mix, "{paths:?} put back");
    let opened = world.workspaces.open(session(3), &restored, Mode::Writable);
    assert_eq!(now(world, &opened.unwrap().tree.layers), mix);
    let all: Vec<String> = changed.into_iter().map(|it| it.path).collect();
    assert_eq!(&world.workspaces.restore(to, from, &all).unwrap(), from);
}

fn history() -> impl Strategy<Value = (Vec<Vec<Act>>, Vec<prop::sample::Index>)> {
    (
        prop::collection::vec(prop::collection::vec(act(), 1..10), 1..5),
        prop::collection::vec(any::<prop::sample::Index>(), 3),
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_checkpoint_can_be_gone_back_to((rounds, chosen) in history()) {
        check(&world(), &rounds, &chosen);
    }

    #[test]
    fn any_checkpoint_of_a_plain_copy_can_be_gone_back_to((rounds, chosen) in history()) {
        check(&world().plain(), &rounds, &chosen);
    }
}
