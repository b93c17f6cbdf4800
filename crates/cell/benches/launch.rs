//! Measures how long a program takes to its first instruction, started plainly, by bubblewrap with
//! the same namespaces, and in cells; in turn, so that load on the machine weighs on all alike.
//!
//! The first byte a program writes stands for its first instruction: a few are needed to write it,
//! and they are the same for all. What comes after (the end, the control group's removal) is not
//! part of the start and is measured by itself.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints or fails"
)]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_cell::{Launcher, LinuxCells};
use ports::cells::{CellSpec, Cells, Layers, Limits, Tree, Writes};

const ROUNDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: [&str; 2] = ["/bin/echo", "up"];
/// What a cell has, as far as bubblewrap can make it: it knows no Landlock and brings no filter.
const BUBBLEWRAP: &str = "--unshare-user --unshare-all --die-with-parent --new-session --clearenv \
    --uid 1000 --gid 1000 --hostname cell --cap-drop ALL --ro-bind /usr /usr --symlink usr/bin /bin \
    --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp \
    --tmpfs /home/agent --chdir /";

fn main() {
    let cells = LinuxCells::new(Launcher {
        program: env!("CARGO_BIN_EXE_palisade-cell").into(),
        argument: "__cell".into(),
    });
    let ready = cells.clone().keeping_one_ready();
    ready.wait_until_ready();
    let dir = tempfile::tempdir().unwrap();
    let bare = bare();
    let overlaid = overlaid(&bare, dir.path());
    let mut ways: Vec<(&str, Box<dyn Fn() -> Times>)> = vec![
        (
            "posix_spawn",
            Box::new(|| spawned(&mut Command::new(PROGRAM[0]))),
        ),
        ("cell", Box::new(|| sealed(&cells, &bare))),
        ("cell, one ready", Box::new(|| sealed(&ready, &bare))),
        (
            "with overlay, ready",
            Box::new(|| sealed(&ready, &overlaid)),
        ),
        ("cell with overlay", Box::new(|| sealed(&cells, &overlaid))),
    ];
    if Command::new("bwrap").arg("--version").output().is_ok() {
        ways.push(("bubblewrap", Box::new(bubblewrapped)));
    } else {
        println!("bubblewrap: skipped, `bwrap` is not installed");
    }
    for wall in cells.launch(&bare).unwrap().cell.walls() {
        if wall.name == "memory limit" {
            println!("memory limit: {}", wall.state.unwrap_or_else(|why| why));
        }
    }
    let mut times: Vec<Vec<Times>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        // Whoever comes after another may pay for what that one left: each comes after each.
        for place in 0..ways.len() {
            let turn = (place + round) % ways.len();
            times[turn].push(ways[turn].1());
        }
    }
    println!("to the first byte, and from there to the end; {ROUNDS} rounds");
    let base = median(&times[0], |times| times.first);
    for ((name, _), times) in ways.iter().zip(&times) {
        let first = median(times, |times| times.first);
        let tenths = |tenth| quantile(times, tenth, |times| times.first);
        let (p10, p90) = (tenths(1), tenths(9));
        let rest = median(times, |times| times.rest);
        let ratio = first.as_secs_f64() / base.as_secs_f64();
        println!(
            "{name:<19} p10 {p10:>9.2?}  p50 {first:>9.2?}  p90 {p90:>9.2?}  {ratio:>5.2} x  \
             then {rest:>9.2?}"
        );
    }
}

struct Times {
    first: Duration,
    rest: Duration,
}

/// Times what starts a program with a standard output, and what ends it.
fn time<Running>(
    start: impl FnOnce() -> (Running, Box<dyn Read>),
    end: impl FnOnce(Running),
) -> Times {
    let begun = Instant::now();
    let (running, mut output) = start();
    output.read_exact(&mut [0]).unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    end(running);
    let rest = begun.elapsed();
    Times { first, rest }
}

fn spawned(command: &mut Command) -> Times {
    time(
        || {
            let mut child = command
                .args(&PROGRAM[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = child.stdout.take().unwrap();
            (child, Box::new(output))
        },
        |mut child| assert!(child.wait().unwrap().success()),
    )
}

fn bubblewrapped() -> Times {
    let mut bubblewrap = Command::new("bwrap");
    spawned(bubblewrap.args(BUBBLEWRAP.split(' ')).arg(PROGRAM[0]))
}

fn sealed(cells: &LinuxCells, spec: &CellSpec) -> Times {
    time(
        || {
            let launched = cells.launch(spec).unwrap();
            (launched.cell, launched.streams.stdout)
        },
        |cell| {
            cell.wait(PATIENCE).unwrap().unwrap();
            // The next one's beginning, where it is kept ready, belongs to what comes after.
            cells.wait_until_ready();
        },
    )
}

fn bare() -> CellSpec {
    CellSpec {
        argv: PROGRAM.map(str::to_owned).to_vec(),
        env: [].into(),
        cwd: "/".into(),
        workspace: None,
        binds: Vec::new(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: Vec::new(),
        limits: Limits::default(),
    }
}

fn overlaid(bare: &CellSpec, dir: &Path) -> CellSpec {
    for folder in ["base", "upper", "work"] {
        std::fs::create_dir(dir.join(folder)).unwrap();
    }
    CellSpec {
        workspace: Some(Tree {
            layers: Layers::Overlay {
                lowers: vec![dir.join("base")],
                upper: dir.join("upper"),
                work: dir.join("work"),
            },
            git_dir: None,
            writes: Writes::everywhere(),
        }),
        ..bare.clone()
    }
}

fn median(times: &[Times], of: impl Fn(&Times) -> Duration) -> Duration {
    quantile(times, 5, of)
}

fn quantile(times: &[Times], tenth: usize, of: impl Fn(&Times) -> Duration) -> Duration {
    let mut sorted: Vec<_> = times.iter().map(of).collect();
    sorted.sort_unstable();
    sorted[sorted.len() * tenth / 10]
}
