//! Measures what the walls cost a program that works on many files: the same work outside and in
//! cells, in turn, timed by the program itself so that starting a cell is no part of it.
//!
//! The trees of the cells are the same folder: as it is (seccomp, Landlock and mounts only) and as
//! the lower layer of an overlay, which has a cost of its own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints or fails"
)]

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use palisade_cell::{Launcher, LinuxCells};
use ports::cells::{CellSpec, Cells, Exit, Layers, Limits, Tree, Writes};

const ROUNDS: usize = 11;
const FOLDERS: usize = 100;
const FILES_EACH: usize = 100;
const PATIENCE: Duration = Duration::from_secs(600);

/// The works: each is a shell command run in the tree.
const WORKS: [(&str, &str); 3] = [
    (
        "git status, 10 times",
        "for i in 1 2 3 4 5 6 7 8 9 10; do git status --porcelain; done",
    ),
    (
        "C build, 40 files",
        "rm -rf /tmp/b; mkdir /tmp/b; for i in 0 1 2 3; do for j in 0 1 2 3 4 5 6 7 8 9; do \
         cc -O1 -c source/$i$j.c -o /tmp/b/$i$j.o; done; done",
    ),
    (
        "read all 10,000 files",
        "find . -type f -not -path './.git/*' -print0 | xargs -0 cat | wc -c",
    ),
];

const WAYS: [&str; 4] = [
    "outside",
    "cell",
    "cell with overlay",
    "overlay, no seccomp or Landlock",
];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    make_tree(&tree);
    for folder in ["upper", "work"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let cells = LinuxCells::new(Launcher {
        program: env!("CARGO_BIN_EXE_palisade-cell").into(),
        argument: "__cell".into(),
    });
    // The overlay by itself, to tell its cost from that of the walls.
    let unwalled = LinuxCells::new(Launcher {
        program: env!("CARGO_BIN_EXE_palisade-weak-cell").into(),
        argument: "seccomp,landlock".into(),
    });
    let overlay = Layers::Overlay {
        lowers: vec![tree.clone()],
        upper: dir.path().join("upper"),
        work: dir.path().join("work"),
    };
    for (name, work) in WORKS {
        let script = timed(work);
        let plain = spec(&script, Layers::Plain { dir: tree.clone() });
        let overlaid = spec(&script, overlay.clone());
        let mut times = [const { Vec::new() }; 4];
        for round in 0..ROUNDS {
            for place in 0..times.len() {
                let turn = (place + round) % times.len();
                times[turn].push(match turn {
                    0 => outside(&script, &tree),
                    1 => inside(&cells, &plain),
                    2 => inside(&cells, &overlaid),
                    _ => inside(&unwalled, &overlaid),
                });
            }
        }
        println!("{name}; median of {ROUNDS}");
        let medians = times.each_mut().map(|times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        // The fastest of many is what the machine does when nobody else wants it.
        for ((way, median), times) in WAYS.iter().zip(medians).zip(&times) {
            let ratio = |own: Duration, base: Duration| own.as_secs_f64() / base.as_secs_f64();
            println!(
                "  {way:<31} p50 {median:>9.2?} {:.3} x   best {:>9.2?}",
                ratio(median, medians[0]),
                times[0],
            );
        }
    }
}

/// A script that does a work and then prints how many nanoseconds it took.
fn timed(work: &str) -> String {
    format!(
        "export HOME=/tmp; before=$(date +%s%N); {{ {work}; }} >/dev/null || exit 1; \
         after=$(date +%s%N); echo $((after - before))"
    )
}

fn outside(script: &str, tree: &Path) -> Duration {
    // In a session of its own, as in a cell: the kernel shares processors out among sessions.
    let output = Command::new("/usr/bin/setsid")
        .args(["--wait", "/bin/sh", "-c", script])
        .current_dir(tree)
        .env_clear()
        .envs(environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    nanoseconds(&String::from_utf8(output.stdout).unwrap())
}

fn inside(cells: &LinuxCells, spec: &CellSpec) -> Duration {
    let mut launched = cells.launch(spec).unwrap();
    let mut printed = String::new();
    launched
        .streams
        .stdout
        .read_to_string(&mut printed)
        .unwrap();
    let exit = launched.cell.wait(PATIENCE).unwrap().unwrap();
    assert_eq!(exit, Exit::Code(0));
    nanoseconds(&printed)
}

fn nanoseconds(printed: &str) -> Duration {
    Duration::from_nanos(printed.trim().parse().unwrap())
}

fn environment() -> [(String, String); 2] {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("GIT_OPTIONAL_LOCKS", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn spec(script: &str, layers: Layers) -> CellSpec {
    CellSpec {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: environment().into(),
        cwd: "/workspace".into(),
        workspace: Some(Tree {
            layers,
            git_dir: None,
            writes: Writes::everywhere(),
        }),
        binds: Vec::new(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: Vec::new(),
        limits: Limits::default(),
    }
}

/// A repository of [`FOLDERS`] × [`FILES_EACH`] files, and some C sources.
fn make_tree(tree: &Path) {
    let text = "a line of a file that stands for source code\n".repeat(60);
    for folder in 0..FOLDERS {
        let folder = tree.join(format!("folder{folder}"));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..FILES_EACH {
            std::fs::write(folder.join(format!("file{file}")), &text).unwrap();
        }
    }
    let sources = tree.join("source");
    std::fs::create_dir(&sources).unwrap();
    for number in 0..40 {
        let source = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n\
             int f{number}(int n) {{ char *p = malloc(n); memset(p, n, n); puts(p); return p[0]; }}\n"
        );
        std::fs::write(sources.join(format!("{number:02}.c")), source).unwrap();
    }
    for arguments in [
        &["init", "-q"][..],
        // The user's number is another inside, and that is no reason to read every file again.
        &["config", "core.checkStat", "minimal"],
        &["config", "core.trustctime", "false"],
        &["add", "."],
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-qm",
            "x",
        ],
    ] {
        let status = Command::new("git")
            .args(arguments)
            .current_dir(tree)
            .env("HOME", "/nonexistent")
            .status()
            .unwrap();
        assert!(status.success(), "git {arguments:?}");
    }
}
