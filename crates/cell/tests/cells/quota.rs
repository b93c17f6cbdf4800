//! What a program's writable layers may take on disk, kept while it writes.

use std::process::Command;

use ports::cells::{Access, Bind, CellSpec, Cells, Exit, Layered, Layers};

use crate::scene::{World, cells, cells_without, finish, prints, program, run, shell, within};

const MIB: u64 = 1 << 20;
/// Says nothing and ends only when it is ended, or the test.
const FOREVER: &str = "; exec sleep 1000";

fn limited(mut spec: CellSpec, bytes: u64, files: u64) -> CellSpec {
    spec.limits.disk_bytes = bytes;
    spec.limits.disk_files = files;
    spec
}

fn in_overlay(world: &World, script: &str) -> CellSpec {
    limited(within(shell(script), world.overlay(), None), 4 * MIB, 1_000)
}

/// Returns what the layers took when the program was ended for it.
#[track_caller]
fn taken(spec: &CellSpec) -> (u64, u64) {
    let exit = run(spec).exit;
    let taken = match exit {
        Exit::OverQuota { bytes, files } => Some((bytes, files)),
        Exit::Code(_) | Exit::Signal(_) => None,
    };
    assert!(taken.is_some(), "{exit:?}");
    taken.unwrap()
}

#[test]
fn one_big_file_ends_the_cell_while_it_is_written() {
    let world = World::new();
    let write = "head -c 32M /dev/zero >big";
    let (bytes, _) = taken(&in_overlay(&world, &format!("{write}{FOREVER}")));
    assert!(bytes > 4 * MIB, "{bytes}");
    let again = World::new();
    let weak = cells_without("quota");
    let spec = in_overlay(&again, write);
    assert_eq!(finish(weak.launch(&spec).unwrap()).exit, Exit::Code(0));
    assert_eq!(
        std::fs::metadata(again.path("upper/big")).unwrap().len(),
        32 * MIB
    );
}

#[test]
fn many_small_files_are_too_much_too() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 3000 ]; do echo x >f$i; i=$((i+1)); done";
    let mut spec = in_overlay(&world, &format!("{script}{FOREVER}"));
    spec.limits.disk_files = 100_000;
    spec.limits.disk_bytes = MIB;
    let (bytes, files) = taken(&spec);
    assert!(bytes > MIB && files < 3_100, "{bytes} {files}");
}

#[test]
fn empty_files_and_folders_are_counted() {
    for make in [
        ": >f$i",
        "mkdir f$i",
        "ln -s x f$i",
        "[ $i = 0 ] && : >f0 || ln f0 f$i",
    ] {
        let world = World::new();
        let script = format!("i=0; while [ $i -lt 500 ]; do {make}; i=$((i+1)); done");
        let mut spec = in_overlay(&world, &format!("{script}{FOREVER}"));
        spec.limits.disk_files = 100;
        spec.limits.disk_bytes = 1 << 30;
        let (_, files) = taken(&spec);
        assert!(files > 100, "{make}: {files}");
    }
    let world = World::new();
    let script = "i=0; while [ $i -lt 500 ]; do : >f$i; i=$((i+1)); done";
    let mut spec = in_overlay(&world, script);
    spec.limits.disk_files = 100;
    let weak = finish(cells_without("quota").launch(&spec).unwrap());
    assert_eq!(weak.exit, Exit::Code(0));
}

#[test]
fn a_hole_and_a_second_name_take_no_bytes() {
    let world = World::new();
    // What follows them goes over the quota, so that everything has been measured.
    let script = "truncate -s 1G sparse; head -c 1M /dev/urandom >file; \
        i=0; while [ $i -lt 200 ]; do ln file f$i; i=$((i+1)); done; \
        head -c 16M /dev/zero >big";
    let (bytes, _) = taken(&in_overlay(&world, &format!("{script}{FOREVER}")));
    assert!(bytes > 4 * MIB && bytes < 20 * MIB, "{bytes}");
}

#[test]
fn permissions_taken_away_hide_nothing() {
    for mode in ["300", "000"] {
        let world = World::new();
        let script =
            format!("mkdir -p a/b; exec 3>a/b/big; chmod {mode} a/b a; head -c 16M /dev/zero >&3");
        let (bytes, _) = taken(&in_overlay(&world, &format!("{script}{FOREVER}")));
        assert!(bytes > 4 * MIB, "{bytes}");
    }
}

#[test]
fn a_removed_file_that_is_open_counts() {
    let world = World::new();
    let script = "exec 3>big; rm big; head -c 16M /dev/zero >&3";
    let (bytes, _) = taken(&in_overlay(&world, &format!("{script}{FOREVER}")));
    assert!(bytes > 4 * MIB, "{bytes}");
    // Private memory has a limit of its own.
    let world = World::new();
    let script = "exec 3>/tmp/big; rm /tmp/big; head -c 16M /dev/zero >&3; \
        head -c 16M /dev/zero >/tmp/kept; head -c 6M /dev/zero >one; exec sleep 1000";
    let (bytes, _) = taken(&in_overlay(&world, script));
    assert!(bytes < 10 * MIB, "{bytes}");
}

#[test]
fn every_writable_place_counts() {
    let world = World::new();
    for folder in ["cache", "up", "scratch", "drop"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    for target in ["/workspace", "/opt/cache", "/.agent"] {
        let script = format!("head -c 16M /dev/zero >{target}/big{FOREVER}");
        let mut spec = in_overlay(&world, &script);
        spec.layered.push(Layered {
            source: world.path("cache"),
            target: "/opt/cache".into(),
            upper: world.path("up"),
            work: world.path("scratch"),
        });
        spec.binds.push(Bind {
            source: world.path("drop"),
            target: "/.agent".into(),
            access: Access::Writable,
        });
        let (bytes, _) = taken(&spec);
        assert!(bytes > 4 * MIB, "{target}: {bytes}");
        for (folder, name) in [("upper", "big"), ("up", "big"), ("drop", "big")] {
            drop(std::fs::remove_file(world.path(folder).join(name)));
        }
    }
}

#[test]
fn what_was_in_a_plain_tree_does_not_count() {
    let world = World::new();
    std::fs::write(world.path("base/old"), vec![1; 32 << 20]).unwrap();
    let plain = |script: &str| {
        let layers = Layers::Plain {
            dir: world.path("base"),
        };
        limited(within(shell(script), layers, None), 4 * MIB, 1_000)
    };
    assert_eq!(run(&plain("head -c 1M /dev/zero >new")).exit, Exit::Code(0));
    let (bytes, _) = taken(&plain(&format!("head -c 16M /dev/zero >more{FOREVER}")));
    assert!(bytes > 4 * MIB && bytes < 18 * MIB, "{bytes}");
}

#[test]
fn nothing_outlives_the_quota() {
    let world = World::new();
    let script = "setsid sh -c 'while :; do sleep 1; done' <&- >&- 2>&- & \
        setsid sh -c 'head -c 16M /dev/zero >big; exec sleep 1000'";
    let launched = cells().launch(&in_overlay(&world, script)).unwrap();
    let cell = launched.cell.clone();
    // The streams end when the last process is gone.
    let outcome = finish(launched);
    assert!(
        matches!(outcome.exit, Exit::OverQuota { .. }),
        "{outcome:?}"
    );
    assert_eq!(
        cell.wait(std::time::Duration::ZERO).unwrap(),
        Some(outcome.exit),
        "the same answer ever after"
    );
}

#[test]
fn the_walls_tell_of_every_limit() {
    let world = World::new();
    let launched = cells().launch(&in_overlay(&world, "exit 0")).unwrap();
    let walls = launched.cell.walls();
    for (name, told) in [
        (
            "disk quota",
            "measured, 4194304 bytes and 1000 files in 1 places",
        ),
        ("memory limit", "bytes"),
        ("process limit", ""),
        ("file size limit", "rlimit"),
        ("open file limit", "rlimit"),
        ("cpu limit", "rlimit"),
        ("private memory limit", "each"),
    ] {
        let wall = walls.iter().find(|wall| wall.name == name);
        let state = wall.and_then(|wall| wall.state.as_ref().ok());
        assert!(
            state.is_some_and(|state| state.contains(told)),
            "{name}: {walls:?}"
        );
    }
}

#[test]
fn a_file_system_that_is_nearly_full_ends_the_cell() {
    // A small file system of the test's own.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c"])
        .arg("mount -t tmpfs -o size=16m small /mnt && TMPDIR=/mnt exec \"$0\" \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "quota::fill_the_file_system",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("STRONG OverQuota"), "{output:?}");
    assert!(printed.contains("WEAK Code(0)"), "{output:?}");
}

#[test]
#[ignore = "run by `a_file_system_that_is_nearly_full_ends_the_cell`, on a small one"]
fn fill_the_file_system() {
    let fill = |cells: palisade_cell::LinuxCells, script: &str| {
        let world = World::new();
        let spec = limited(
            within(program(&["/bin/sh", "-c", script]), world.overlay(), None),
            1 << 30,
            1_000,
        );
        finish(cells.launch(&spec).unwrap()).exit
    };
    // Far under its quota, and in a way that no measure sees.
    let script = "head -c 64M /dev/zero >big 2>/dev/null";
    println!(
        "\nSTRONG {:?}",
        fill(cells(), &format!("{script}{FOREVER}"))
    );
    println!(
        "WEAK {:?}",
        fill(cells_without("quota"), &format!("{script}; true"))
    );
}

#[test]
fn below_its_quota_a_program_is_left_alone() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 20 ]; do head -c 3M /dev/zero >f; rm f; i=$((i+1)); done; \
        echo done";
    assert_eq!(prints(&in_overlay(&world, script)), "done\n");
}
