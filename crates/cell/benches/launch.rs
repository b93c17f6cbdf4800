//! Measures what a full cell costs over a plain spawn: `/bin/true` started and waited for, both
//! ways in turn, so that load on the machine weighs on both alike.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints or fails"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use palisade_cell::{Launcher, LinuxCells};
use ports::cells::{CellSpec, Cells, Layers, Limits, Tree, Writes};

const ROUNDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let cells = LinuxCells::new(Launcher {
        program: env!("CARGO_BIN_EXE_palisade-cell").into(),
        argument: "__cell".into(),
    });
    let dir = tempfile::tempdir().unwrap();
    for folder in ["base", "upper", "work"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let bare = CellSpec {
        argv: vec!["/bin/true".to_owned()],
        env: [].into(),
        cwd: "/".into(),
        workspace: None,
        binds: Vec::new(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: Vec::new(),
        limits: Limits::default(),
    };
    let layers = Layers::Overlay {
        lowers: vec![dir.path().join("base")],
        upper: dir.path().join("upper"),
        work: dir.path().join("work"),
    };
    let with_tree = CellSpec {
        workspace: Some(Tree {
            layers,
            git_dir: None,
            writes: Writes::everywhere(),
        }),
        ..bare.clone()
    };
    let [mut spawned, mut sealed, mut overlaid] = [(); 3].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        spawned.push(time(|| {
            assert!(Command::new("/bin/true").status().unwrap().success());
        }));
        sealed.push(time(|| run(&cells, &bare)));
        overlaid.push(time(|| run(&cells, &with_tree)));
    }
    let base = report("posix_spawn", &mut spawned, None);
    report("cell", &mut sealed, Some(base));
    report("cell with overlay", &mut overlaid, Some(base));
}

fn run(cells: &LinuxCells, spec: &CellSpec) {
    cells
        .launch(spec)
        .unwrap()
        .cell
        .wait(PATIENCE)
        .unwrap()
        .unwrap();
}

fn time(what: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    what();
    begun.elapsed()
}

fn report(name: &str, times: &mut [Duration], base: Option<Duration>) -> Duration {
    times.sort_unstable();
    let [p10, p50, p90] = [1, 5, 9].map(|tenth| times[times.len() * tenth / 10]);
    let ratio = base.map_or(1.0, |base| p50.as_secs_f64() / base.as_secs_f64());
    println!("{name:<18} p10 {p10:>9.2?}  p50 {p50:>9.2?}  p90 {p90:>9.2?}  {ratio:.2} x");
    p50
}
