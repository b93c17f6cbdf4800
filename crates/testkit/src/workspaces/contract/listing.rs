//! What a folder of a tree is said to hold.

use ports::workspaces::{Listed, Secrets, Workspaces};

use super::{Repository, base, changed};
use domain::tree::Tree;

/// The base and what sessions changed on it, as the next cell sees it: new folders,
/// and folders that are gone.
pub fn a_folder_lists_what_the_tree_holds_in_it(repository: &dyn Repository) {
    let base = base(repository);
    let workspaces = repository.workspaces();
    assert_eq!(names(&*workspaces, &base, ""), ["a", "d/"]);
    assert_eq!(names(&*workspaces, &base, "d"), ["b"]);
    for nothing in ["a", "d/b", "none", "d-"] {
        assert_eq!(names(&*workspaces, &base, nothing), [""; 0], "{nothing}");
    }
    let files = [("d-e/f", "x"), ("d/c/g", "x"), ("d0", "x")];
    let grown = changed(repository, 1, &base, &files);
    assert_eq!(names(&*workspaces, &grown, ""), ["a", "d-e/", "d/", "d0"]);
    assert_eq!(names(&*workspaces, &grown, "d"), ["b", "c/"]);
    let moved = repository.push(&[("d/b", None), ("e", Some("new"))]);
    let bare = workspaces.prepare(&moved, &Secrets::default()).unwrap();
    assert_eq!(names(&*workspaces, &bare, ""), ["a", "e"]);
    let gone = ["d/c/g".to_owned()];
    let restored = workspaces.restore(&grown, &base, &gone).unwrap();
    assert_eq!(names(&*workspaces, &restored, "d"), ["b"]);
    let unknown = Tree {
        base: "0123456789012345678901234567890123456789".parse().unwrap(),
        ..base
    };
    let answer = workspaces.list(&unknown, "");
    assert!(answer.is_err(), "{answer:?}");
}

/// The names in a folder, those of folders with a `/`.
fn names(workspaces: &dyn Workspaces, tree: &Tree, folder: &str) -> Vec<String> {
    let listed = workspaces.list(tree, folder).unwrap();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    let mut names: Vec<_> = listed
        .into_iter()
        .map(|Listed { name, is_folder }| name + if is_folder { "/" } else { "" })
        .collect();
    names.sort();
    names
}
