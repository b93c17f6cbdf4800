//! Tries every wall for real, each in a child that does nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::kernel::Side;
use crate::launcher::group::Groups;
use crate::launcher::mounts::{self, Changes};
use crate::launcher::rights::{self, Outer};
use crate::launcher::{LeftOut, calls, files, limits, root};
use crate::link::{self, Fault, Report, WallReport};
use crate::plan::Plan;

const MEND_OVERLAY: &str = "overlays inside a user namespace need Linux 5.11 or later and a file \
    system with extended attributes (ext4, xfs, btrfs, or tmpfs since 6.6); without them choose \
    plain workspaces";

/// Returns every wall, standing or not.
pub(crate) fn every_wall(left_out: LeftOut, dir: Option<&Path>) -> Vec<WallReport> {
    rights::leave_groups();
    let outer = Outer::own();
    let mut walls = Vec::new();
    walls.extend(attempt("namespaces", || {
        rights::become_agent(outer, LeftOut::default())?;
        Ok(vec![WallReport::stands("namespaces", rights::NAMESPACES)])
    }));
    walls.extend(attempt("mount namespace", || {
        rights::become_agent(outer, LeftOut::default())?;
        let (_, processes) = root::build(&Plan::empty())?;
        Ok(vec![
            WallReport::stands("mount namespace", root::PRIVATE),
            processes,
        ])
    }));
    walls.extend(attempt("landlock", || {
        rights::become_agent(outer, LeftOut::default())?;
        rights::close_bounding_set()?;
        Ok(vec![files::restrict_to(left_out, std::iter::empty())?])
    }));
    walls.extend(attempt("seccomp", || {
        rights::become_agent(outer, LeftOut::default())?;
        rights::close_bounding_set()?;
        Ok(calls::restrict()?.walls.into())
    }));
    // Named out here: every child has the same number in its own namespace.
    let place = dir.map(|dir| dir.join(format!("probe-{}", std::process::id())));
    let overlay = attempt("overlay", || {
        rights::become_agent(outer, LeftOut::default())?;
        try_overlay(place.as_deref())?;
        Ok(vec![WallReport::stands("overlay", "userxattr, volatile")])
    });
    // A cell with a plain workspace is made without it.
    walls.extend(overlay.into_iter().map(|wall| WallReport {
        required: false,
        ..wall
    }));
    let plan = Plan::empty();
    let mut groups = Groups::make(left_out);
    groups.limit(&plan);
    walls.push(groups.memory_wall(&plan));
    if let Some(wall) = groups.process_wall(&plan) {
        walls.retain(|other| other.name != wall.name);
        walls.push(wall);
    }
    limits::describe(&plan, &mut walls);
    walls
}

/// Runs an attempt in a child in new namespaces, so that it cannot touch the next.
fn attempt(name: &str, what: impl FnOnce() -> Result<Vec<WallReport>, Fault>) -> Vec<WallReport> {
    let failed = |why: String| {
        vec![WallReport {
            name: name.to_owned(),
            required: true,
            state: Err(why),
        }]
    };
    match run(what) {
        Ok(walls) => walls,
        Err(Fault::Wall { wall, why }) if wall == name => failed(why),
        Err(fault) => failed(fault.to_string()),
    }
}

fn run(what: impl FnOnce() -> Result<Vec<WallReport>, Fault>) -> Result<Vec<WallReport>, Fault> {
    const DOING: &str = "asking a child";
    let (ours, theirs) = link::pair().map_err(Fault::setup(DOING))?;
    let child = match rights::clone_into_namespaces(LeftOut::default(), None)? {
        Side::Old(child) => child,
        Side::New => answer(what(), &theirs),
    };
    drop(theirs);
    let heard = link::receive(&ours).map_err(Fault::setup(DOING))?;
    waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED).map_err(Fault::setup(DOING))?;
    match heard {
        Some((Report::Probed(walls), _)) => Ok(walls),
        Some((Report::Failed(fault), _)) => Err(fault),
        Some(_) | None => Err(Fault::setup(DOING)("it died without an answer")),
    }
}

fn answer(outcome: Result<Vec<WallReport>, Fault>, link: &OwnedFd) -> ! {
    let report = outcome.map_or_else(Report::Failed, Report::Probed);
    let code = i32::from(link::send(link, &report, &[]).is_err());
    #[expect(
        clippy::exit,
        reason = "the child is a process of its own and ends here"
    )]
    std::process::exit(code)
}

/// Mounts an overlay on folders made in `place`, which is removed again.
fn try_overlay(place: Option<&Path>) -> Result<(), Fault> {
    let wall = |error: io::Error| Fault::Wall {
        wall: "overlay".to_owned(),
        why: format!("{error}; {MEND_OVERLAY}"),
    };
    let Some(place) = place else {
        return Err(wall(io::Error::other("no folder was given to try it in")));
    };
    let tried = (|| {
        for layer in ["lower", "upper", "work"] {
            std::fs::create_dir_all(place.join(layer))?;
        }
        let lower = mounts::open_layer(&place.join("lower"))?;
        let changes = Changes {
            upper: &place.join("upper"),
            work: &place.join("work"),
        };
        mounts::overlay(&[lower], Some(changes)).map(drop)
    })();
    let cleared = std::fs::remove_dir_all(place);
    tried.and(cleared).map_err(wall)
}
