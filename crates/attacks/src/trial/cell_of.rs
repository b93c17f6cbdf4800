//! The cell of an attempt: what a session's has, and what the attempt and its control give beside.

use std::path::PathBuf;

use ports::cells::{Access, Bind, CellSpec, Layered, Layers, Limits, Tree, Writes};

use super::{Stage, fill, place};
use crate::attempt::Given;
use crate::hostile::NAME;

/// Where the hostile program lies in its cell.
const PROGRAM_FOLDER: &str = "/palisade/attack";
/// How large the private folders are, in bytes: attempts need little.
const TMP_BYTES: u64 = 64 << 20;

/// Returns the specification.
pub(crate) fn spec(stage: &Stage<'_>) -> CellSpec {
    let program = format!("{PROGRAM_FOLDER}/{NAME}");
    let mut argv = vec![program.clone()];
    argv.extend(stage.attempt.act.iter().map(|word| fill(stage, word)));
    argv.push(stage.token.clone());
    let mut spec = CellSpec {
        argv,
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        cwd: "/workspace".into(),
        workspace: Some(tree(stage)),
        binds: vec![
            bind(stage.ground.hostile.clone(), &program, Access::ReadOnly),
            bind(stage.scene.path("drop"), "/.agent", Access::Writable),
        ],
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: stage.ground.accepted.clone(),
        limits: Limits {
            tmp_bytes: TMP_BYTES,
            ..Limits::default()
        },
    };
    for given in stage.given() {
        give(stage, &mut spec, given);
    }
    spec
}

/// Returns where the changes of the cell's tree land.
pub(crate) fn upper(stage: &Stage<'_>) -> PathBuf {
    match &tree(stage).layers {
        Layers::Overlay { upper, .. } => upper.clone(),
        Layers::Plain { dir } => dir.clone(),
        Layers::ReadOnly { .. } => stage.scene.path("upper"),
    }
}

fn give(stage: &Stage<'_>, spec: &mut CellSpec, given: &Given) {
    match given {
        Given::Shown(source, target) => spec.binds.push(bind(
            place(stage, source),
            &fill(stage, target),
            Access::ReadOnly,
        )),
        Given::Writable(source, target) => spec.binds.push(bind(
            place(stage, source),
            &fill(stage, target),
            Access::Writable,
        )),
        Given::Layered(source, target) => {
            // The control shows the same place in another way.
            if !stage
                .given()
                .any(|it| matches!(it, Given::Writable(_, at) if at == target))
            {
                spec.layered.push(Layered {
                    source: place(stage, source),
                    target: fill(stage, target).into(),
                    upper: stage.scene.path("cache-upper"),
                    work: stage.scene.path("cache-work"),
                });
            }
        }
        Given::Masked(path) => spec.masks.push(fill(stage, path).into()),
        Given::Limited(limits) => spec.limits = limits(spec.limits),
        Given::Session | Given::OwnGit | Given::Scoped | Given::PlainBase | Given::Needs(_) => {}
    }
}

fn tree(stage: &Stage<'_>) -> Tree {
    let mut tree = match &stage.session {
        Some(session) => session.tree.clone(),
        None => Tree {
            layers: Layers::Overlay {
                lowers: vec![stage.scene.path("base")],
                upper: stage.scene.path("upper"),
                work: stage.scene.path("work"),
            },
            git_dir: None,
            writes: Writes::everywhere(),
        },
    };
    for given in stage.given() {
        match given {
            Given::OwnGit => tree.git_dir = Some(stage.scene.path("host/repo/.git")),
            Given::PlainBase => {
                tree.layers = Layers::Plain {
                    dir: stage.scene.path("base"),
                };
            }
            Given::Scoped => {
                tree.writes = Writes {
                    writable: vec!["src".into()],
                    read_only: vec!["src/kept".into()],
                };
            }
            Given::Shown(..)
            | Given::Writable(..)
            | Given::Layered(..)
            | Given::Masked(_)
            | Given::Session
            | Given::Limited(_)
            | Given::Needs(_) => {}
        }
    }
    tree
}

fn bind(source: PathBuf, target: &str, access: Access) -> Bind {
    Bind {
        source,
        target: target.into(),
        access,
    }
}
