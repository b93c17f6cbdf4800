//! Builds specifications and runs scripts in cells.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_cell::{Launcher, LinuxCells};
use ports::cells::{CellSpec, Cells, Exit, Launched, Layers, Limits, Tree, Writes};

/// How long a test waits before it calls a cell stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn launcher() -> Launcher {
    Launcher {
        program: env!("CARGO_BIN_EXE_palisade-cell").into(),
        argument: "__cell".into(),
    }
}

pub(crate) fn cells() -> LinuxCells {
    LinuxCells::new(launcher())
}

/// Cells without these walls, named as `palisade_cell::launcher::main_weak` does.
pub(crate) fn cells_without(walls: &str) -> LinuxCells {
    LinuxCells::new(Launcher {
        program: env!("CARGO_BIN_EXE_palisade-weak-cell").into(),
        argument: walls.into(),
    })
}

/// A specification of a shell script without a workspace.
pub(crate) fn shell(script: &str) -> CellSpec {
    program(&["/bin/sh", "-c", script])
}

pub(crate) fn python(script: &str) -> CellSpec {
    program(&["/usr/bin/python3", "-I", "-c", script])
}

pub(crate) fn program(argv: &[&str]) -> CellSpec {
    CellSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/tmp".into(),
        workspace: None,
        binds: Vec::new(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: Vec::new(),
        limits: Limits {
            memory_bytes: 4 << 30,
            tmp_bytes: 64 << 20,
            ..Limits::default()
        },
    }
}

/// What a program left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a cell to its end with an empty standard input.
pub(crate) fn run(spec: &CellSpec) -> Outcome {
    finish(cells().launch(spec).unwrap())
}

/// Runs a cell that must succeed and returns what it printed.
pub(crate) fn prints(spec: &CellSpec) -> String {
    let outcome = run(spec);
    assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
    outcome.stdout
}

pub(crate) fn finish(launched: Launched) -> Outcome {
    let Launched { streams, cell } = launched;
    drop(streams.stdin);
    let mut errors = streams.stderr;
    let reader = std::thread::spawn(move || {
        let mut stderr = String::new();
        errors.read_to_string(&mut stderr).unwrap();
        stderr
    });
    let mut stdout = String::new();
    let mut output = streams.stdout;
    output.read_to_string(&mut stdout).unwrap();
    let stderr = reader.join().unwrap();
    let exit = cell.wait(PATIENCE).unwrap().unwrap();
    Outcome {
        exit,
        stdout,
        stderr,
    }
}

/// Reads until the program has printed this line.
pub(crate) fn hear(launched: &mut Launched, line: &str) {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(format!("{line}\n").as_bytes()) {
        assert_eq!(
            launched.streams.stdout.read(&mut byte).unwrap(),
            1,
            "{heard:?}"
        );
        heard.push(byte[0]);
    }
}

pub(crate) fn say(launched: &mut Launched, line: &str) {
    writeln!(launched.streams.stdin, "{line}").unwrap();
}

/// A work's tree in a temporary folder: one lower layer, an upper and a work folder.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in ["base", "base/src", "upper", "work"] {
            std::fs::create_dir(world.path(folder)).unwrap();
        }
        world.write("base/README", "base\n");
        world.write("base/src/main", "main\n");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn overlay(&self) -> Layers {
        Layers::Overlay {
            lowers: vec![self.path("base")],
            upper: self.path("upper"),
            work: self.path("work"),
        }
    }
}

/// The same specification with a tree, started in it.
pub(crate) fn within(spec: CellSpec, layers: Layers, git_dir: Option<&Path>) -> CellSpec {
    CellSpec {
        cwd: "/workspace".into(),
        workspace: Some(Tree {
            layers,
            git_dir: git_dir.map(Path::to_path_buf),
            writes: Writes::everywhere(),
        }),
        ..spec
    }
}
