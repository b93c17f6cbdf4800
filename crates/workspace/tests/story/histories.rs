//! Random histories against a simple model: a session's operations on an overlay, captured, opened
//! again, and captured again, are what the same operations do to a plain map of files.

use std::fs;
use std::path::Path;

use ports::workspaces::{Secrets, Workspaces as _};
use proptest::prelude::*;

use crate::world::{Thing, Things, World, file, opaque, put, session, whiteout};

/// What an agent does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(String, u8, bool),
    Link(String, String),
    Delete(String),
    /// Removes a folder and makes it anew with one file in it.
    Replace(String, u8),
    Move(String, String),
}

const BASE: [&str; 9] = [
    "a", "b", "d/a", "d/b", "d/e/a", "d/e/ü", "e/a", "Д/a", "z/y/x/w",
];

pub(crate) fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just("d"),
        Just("e"),
        Just("ü"),
        Just("Д"),
        Just("z z"),
    ];
    let made = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    prop_oneof![
        made,
        proptest::sample::select(BASE.to_vec()).prop_map(String::from),
        Just("z/y".into()),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), any::<u8>(), any::<bool>()).prop_map(|(p, c, x)| Step::Write(p, c % 4, x)),
        1 => (path(), path()).prop_map(|(p, t)| Step::Link(p, t)),
        3 => path().prop_map(Step::Delete),
        1 => (path(), any::<u8>()).prop_map(|(p, c)| Step::Replace(p, c % 4)),
        2 => (path(), path()).prop_map(|(p, t)| Step::Move(p, t)),
    ]
}

pub(crate) fn content(number: u8) -> String {
    // The first is what the base holds everywhere, so that files also return to it.
    format!("{}\n", ["base", "one", "two", "six"][usize::from(number)])
}

fn beneath(things: &Things, folder: &str) -> Vec<String> {
    let prefix = format!("{folder}/");
    let paths = things.keys().filter(|it| it.starts_with(&prefix));
    paths.cloned().collect()
}

fn remove(things: &mut Things, path: &str) {
    things.remove(path);
    for below in beneath(things, path) {
        things.remove(&below);
    }
}

pub(crate) fn insert(things: &mut Things, path: &str, thing: Thing) {
    for (at, _) in path.match_indices('/') {
        things.remove(&path[..at]);
    }
    remove(things, path);
    things.insert(path.to_owned(), thing);
}

/// Does one step to the model.
pub(crate) fn model(things: &mut Things, step: &Step) {
    match step {
        Step::Write(path, number, executable) => {
            let thing = Thing::File(content(*number).into_bytes(), *executable);
            insert(things, path, thing);
        }
        Step::Link(path, target) => insert(things, path, Thing::Link(target.into())),
        Step::Delete(path) => remove(things, path),
        Step::Replace(path, number) => {
            remove(things, path);
            insert(things, &format!("{path}/only"), file(&content(*number)));
        }
        Step::Move(from, to) => {
            let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
            if inside(from, to) || inside(to, from) {
                return;
            }
            let mut moved: Vec<(String, Thing)> = Vec::new();
            if let Some(thing) = things.get(from) {
                moved.push((to.clone(), thing.clone()));
            }
            for below in beneath(things, from) {
                let rest = &below[from.len()..];
                moved.push((format!("{to}{rest}"), things[&below].clone()));
            }
            if moved.is_empty() {
                return;
            }
            remove(things, from);
            remove(things, to);
            for (path, thing) in moved {
                insert(things, &path, thing);
            }
        }
    }
}

/// Writes an upper layer that turns `before` into `after`, as the kernel would leave it; `marks`
/// chooses whether replaced folders are opaque or have a whiteout for each name.
fn upper(folder: &Path, before: &Things, after: &Things, marks: bool) {
    let is_folder = |things: &Things, path: &str| !beneath(things, path).is_empty();
    for (path, thing) in after {
        if before.get(path) != Some(thing) {
            put(folder, path, thing);
        }
    }
    for path in before.keys() {
        if after.contains_key(path) || is_folder(after, path) {
            continue;
        }
        // As high as possible, or the file alone, when a folder of it stays.
        let mut top = path.as_str();
        let mut covered = false;
        for (at, _) in path.rmatch_indices('/') {
            let above = &path[..at];
            covered |= after.contains_key(above);
            if is_folder(after, above) {
                break;
            }
            if marks {
                top = above;
            }
        }
        if covered || folder.join(top).symlink_metadata().is_ok() {
            continue;
        }
        let parent = top.rsplit_once('/').map(|(parent, _)| parent);
        let all_new = parent.is_some_and(|parent| {
            beneath(after, parent)
                .iter()
                .all(|it| before.get(it) != after.get(it))
        });
        if marks && all_new && parent.is_some_and(|it| folder.join(it).is_dir()) {
            opaque(folder, parent.unwrap());
        } else {
            whiteout(folder, top);
        }
    }
}

pub(crate) fn world() -> World {
    let files: Vec<(&str, Thing)> = BASE.iter().map(|path| (*path, file("base\n"))).collect();
    World::of(&files)
}

fn check(world: &World, rounds: &[(Vec<Step>, bool)]) {
    let base = world.prepared();
    let mut tree = base.clone();
    let mut things = world.seen(&base);
    for (steps, marks) in rounds {
        let before = things.clone();
        for step in steps {
            model(&mut things, step);
        }
        let (_, folder) = world.open(1, &tree);
        upper(&folder, &before, &things, *marks);
        let captured = world.workspaces.capture(session(1)).unwrap();
        let (from, to) = (&tree, &captured.tree);
        assert_eq!(world.seen(to), things, "after {steps:?}");
        assert_eq!(
            world.workspaces.changes(from, to).unwrap(),
            captured.changes
        );
        assert_eq!(captured.changes.is_empty(), before == things);
        let paths: Vec<String> = captured.changes.iter().map(|it| it.path.clone()).collect();
        assert_eq!(world.workspaces.restore(to, from, &paths).unwrap(), *from);
        tree = captured.tree;
    }
    assert_eq!(tree == base, world.seen(&base) == things);
    // Git agrees about what the tree is.
    let text = ports::workspaces::CommitText {
        name: "Ada".into(),
        email: "ada@example.org".into(),
        seconds: 1,
        message: "m".into(),
    };
    let commit = world.workspaces.publish(&tree, &text).unwrap();
    let published = world
        .workspaces
        .prepare(&commit, &Secrets::default())
        .unwrap();
    assert_eq!(world.seen(&published), things);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_is_captured_as_it_was(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(step(), 0..12), any::<bool>()),
            1..4,
        )
    ) {
        check(&world(), &rounds);
    }
}

#[test]
fn no_folder_is_left_behind_by_its_last_file() {
    let world = world();
    let tree = world.prepared();
    let (_, folder) = world.open(1, &tree);
    whiteout(&folder, "z/y/x/w");
    let captured = world.workspaces.capture(session(1)).unwrap();
    let (opened, _) = world.open(2, &captured.tree);
    let ports::cells::Layers::Overlay { lowers, .. } = opened.tree.layers else {
        panic!("overlays were asked for");
    };
    let names: Vec<_> = fs::read_dir(&lowers[0])
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(names, ["z"], "one whiteout at the top");
    assert!(!lowers[0].join("z").is_dir());
}
