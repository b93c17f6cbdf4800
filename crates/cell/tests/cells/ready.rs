//! A cell whose beginning was made ready ahead is like any other, and what is ready ends with its
//! maker.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use palisade_cell::LinuxCells;
use ports::cells::{Cells, Exit, Wall};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::life::{init_of, launcher_of, wait_for_the_end};
use crate::scene::{PATIENCE, World, cells, finish, hear, say, shell, within};

fn ready() -> LinuxCells {
    let cells = cells().keeping_one_ready();
    cells.wait_until_ready();
    cells
}

/// The processes this one has started.
fn children() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Runs one of this file's ignored tests in a process of its own, where no other test starts any.
fn alone(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn it_stands_behind_the_same_walls() {
    let walls = |cells: &LinuxCells| -> Vec<Wall> {
        let launched = cells.launch(&shell("true")).unwrap();
        launched.cell.walls()
    };
    assert_eq!(walls(&ready()), walls(&cells()));
}

#[test]
fn it_has_what_its_own_specification_says_and_nothing_else() {
    let cells = ready();
    for number in 0..3 {
        let world = World::new();
        let mut spec = within(
            shell("echo $N >n; cat README; env; id -u; ls /proc/self/fd | wc -l; ulimit -n"),
            world.overlay(),
            None,
        );
        spec.env.insert("N".to_owned(), number.to_string());
        spec.limits.open_files = 100 + number;
        let printed = finish(cells.launch(&spec).unwrap()).stdout;
        assert_eq!(world.read("upper/n"), format!("{number}\n"));
        let mut lines: BTreeSet<_> = printed.lines().collect();
        for line in [
            "base",
            "1000",
            "4",
            &format!("N={number}"),
            &(100 + number).to_string(),
        ] {
            assert!(lines.remove(line), "{line}: {printed}");
        }
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("PATH="));
        lines.retain(|line| !line.starts_with("SHLVL=") && !line.starts_with("_="));
        lines.retain(|line| !line.starts_with("OLDPWD"));
        assert_eq!(lines, BTreeSet::new(), "{printed}");
        cells.wait_until_ready();
    }
}

#[test]
fn it_is_limited_like_any_other() {
    let mut spec = crate::scene::python(
        "import os, signal\n\
         n = 0\n\
         try:\n\
         \x20   while n < 5000:\n\
         \x20       if os.fork() == 0:\n\
         \x20           signal.pause()\n\
         \x20       n += 1\n\
         except OSError: pass\n\
         print(n)",
    );
    spec.limits.processes = 50;
    let made = finish(ready().launch(&spec).unwrap()).stdout;
    let made: u64 = made.trim().parse().unwrap();
    assert!((10..=50 + 300).contains(&made), "{made}");
}

#[test]
fn what_is_ready_is_used_and_made_again() {
    alone("ready::use_what_is_ready");
}

#[test]
#[ignore = "run by `what_is_ready_is_used_and_made_again`"]
fn use_what_is_ready() {
    let cells = ready();
    let waiting = children();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let mut launched = cells.launch(&shell("echo up; read line")).unwrap();
    hear(&mut launched, "up");
    let launcher = launcher_of(init_of(&launched)).as_raw_pid().to_string();
    assert!(waiting.contains(&launcher));
    cells.wait_until_ready();
    assert_eq!(children().len(), 2);
    say(&mut launched, "on");
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Code(0)));
    // A clone keeps it, the last one ends it.
    let clone = cells.clone();
    drop(cells);
    assert_eq!(children().len(), 1);
    drop(clone);
    assert_eq!(children(), BTreeSet::new());
}

#[test]
fn one_that_died_is_replaced() {
    alone("ready::lose_what_is_ready");
}

#[test]
#[ignore = "run by `one_that_died_is_replaced`"]
fn lose_what_is_ready() {
    let launcher = || children().first().unwrap().clone();
    let init = || {
        let launcher = launcher();
        std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap()
    };
    let kill = |process: &str| {
        let process = Pid::from_raw(process.trim().parse().unwrap()).unwrap();
        let handle = pidfd_open(process, PidfdFlags::empty()).unwrap();
        kill_process(process, Signal::KILL).unwrap();
        wait_for_the_end(&handle);
    };
    let cells = ready();
    for lose in [&launcher as &dyn Fn() -> String, &init] {
        kill(&lose());
        let launched = cells.launch(&shell("echo fine")).unwrap();
        assert_eq!(finish(launched).stdout, "fine\n");
        cells.wait_until_ready();
        assert_eq!(children().len(), 1);
    }
}

#[test]
fn what_was_mounted_meanwhile_is_seen() {
    // In a user and mount namespace of its own, where mounting is allowed and harms nobody.
    let output = Command::new("/usr/bin/unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "--propagation",
            "private",
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "ready::mount_meanwhile",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "run by `what_was_mounted_meanwhile_is_seen`, where it may mount"]
fn mount_meanwhile() {
    let world = World::new();
    let cells = ready();
    let waiting = children();
    let mounted = Command::new("/bin/mount")
        .args(["-t", "tmpfs", "none"])
        .arg(world.path("base"))
        .status()
        .unwrap();
    assert!(mounted.success());
    world.write("base/README", "mounted later\n");
    let layers = ports::cells::Layers::Plain {
        dir: world.path("base"),
    };
    let spec = within(shell("cat README"), layers, None);
    assert_eq!(
        finish(cells.launch(&spec).unwrap()).stdout,
        "mounted later\n"
    );
    // It is the same launcher, with another init.
    assert_eq!(waiting.len(), 1);
    let unmounted = Command::new("/bin/umount")
        .arg(world.path("base"))
        .status()
        .unwrap();
    assert!(unmounted.success());
}

#[test]
fn it_ends_with_the_engine() {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "ready::be_an_engine"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(engine.stdout.take().unwrap()).lines();
    let waiting = lines
        .find_map(|line| line.unwrap().strip_prefix("WAITING ").map(str::to_owned))
        .unwrap();
    let handles: Vec<_> = waiting
        .split(' ')
        .map(|number| {
            let process = Pid::from_raw(number.parse().unwrap()).unwrap();
            pidfd_open(process, PidfdFlags::empty()).unwrap()
        })
        .collect();
    assert_eq!(handles.len(), 2, "{waiting}");
    engine.kill().unwrap();
    engine.wait().unwrap();
    for handle in &handles {
        wait_for_the_end(handle);
    }
}

#[test]
#[ignore = "run by `it_ends_with_the_engine`, which kills it"]
fn be_an_engine() {
    let _cells = ready();
    let launcher = children().first().unwrap().clone();
    let init = std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children"));
    println!("WAITING {launcher} {}", init.unwrap().trim());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
