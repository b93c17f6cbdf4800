//! The scope of writes: the tree is closed, and what may be written is mounted over it once more.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::kernel::{Reach, restrict_mount};
use crate::launcher::Part;
use crate::launcher::mounts::{self, PLAIN, READ_ONLY, Root};
use crate::link::{Fault, WallReport};
use crate::plan::{Plan, Scope, View, WORKSPACE};

const WALL: &str = "write scope";

/// Restricts writing in the tree to the scope of the plan. Whatever else is mounted in the tree
/// keeps its own access.
pub(crate) fn restrict(root: &Root, plan: &Plan) -> Result<(), Fault> {
    let Some(scope) = in_force(plan) else {
        return Ok(());
    };
    for folder in &scope.made {
        let doing = || format!("making the writable folder {}", folder.display());
        root.folder_without_links(folder)
            .map_err(Fault::setup(doing()))?;
    }
    // Every view is taken while all of the tree can still be written.
    let mut placed: Vec<(&Path, OwnedFd)> = Vec::new();
    for view in &scope.views {
        let doing = format!("taking a view of {}", view.path.display());
        take(root, view, &mut placed).map_err(Fault::setup(doing))?;
    }
    if scope.is_closed {
        root.find(Path::new(WORKSPACE))
            .and_then(|tree| tree.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .and_then(|tree| restrict_mount(&tree, READ_ONLY, Reach::This))
            .map_err(Fault::setup("closing the tree"))?;
    }
    // Those above first, so that none buries another.
    placed.sort_by_key(|(path, _)| path.components().count());
    for (path, mount) in placed {
        root.entry_without_links(path)
            .and_then(|place| place.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .and_then(|place| root.place_on(&mount, &place))
            .map_err(Fault::setup(format!(
                "placing the view of {}",
                path.display()
            )))?;
    }
    Ok(())
}

/// Returns what tells of the scope, for a cell with a tree.
pub(crate) fn wall(plan: &Plan) -> Option<WallReport> {
    let tree = plan
        .mounts
        .iter()
        .find(|it| it.target == Path::new(WORKSPACE))?;
    if plan.scope.is_some() && plan.left_out.has(Part::Writes) {
        return Some(WallReport::left_out(WALL));
    }
    let by = match &plan.scope {
        _ if !tree.is_writable() => "read-only tree".to_owned(),
        None => "the whole tree can be written".to_owned(),
        Some(scope) => {
            let all = scope.views.len();
            let writable = scope.views.iter().filter(|view| view.is_writable).count();
            let tree = if scope.is_closed {
                "read-only"
            } else {
                "writable"
            };
            format!(
                "{tree} tree with {writable} writable and {} read-only parts",
                all - writable
            )
        }
    };
    Some(WallReport::stands(WALL, by))
}

/// Returns the scope, where there is one and it is not left out.
pub(crate) fn in_force(plan: &Plan) -> Option<&Scope> {
    plan.scope
        .as_ref()
        .filter(|_| !plan.left_out.has(Part::Writes))
}

/// Takes a view and what is pinned for it, unless it is a read-only one of something missing.
fn take<'a>(root: &Root, view: &'a View, placed: &mut Vec<(&'a Path, OwnedFd)>) -> io::Result<()> {
    let Some(source) = root.entry_without_links(&view.path)? else {
        return Ok(());
    };
    for pin in &view.pinned {
        if placed.iter().all(|(path, _)| *path != pin.as_path())
            && let Some(folder) = root.entry_without_links(pin)?
        {
            placed.push((pin, mounts::take_opened(&folder, PLAIN)?));
        }
    }
    let mount = mounts::take_opened(&source, PLAIN)?;
    if !view.is_writable {
        restrict_mount(&mount, READ_ONLY, Reach::This)?;
    }
    placed.push((&view.path, mount));
    Ok(())
}
