//! How a cell starts and ends.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade_cell::{Launcher, LinuxCells};
use ports::cells::{CellSpec, Cells, Error, Exit, Launched, Wall};

use crate::scene::{PATIENCE, cells, hear, prints, program, run, say, shell};

#[test]
fn a_program_runs_and_its_output_is_heard() {
    let outcome = run(&shell("echo out; echo err >&2; exit 7"));
    assert_eq!(outcome.exit, Exit::Code(7));
    assert_eq!(outcome.stdout, "out\n");
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn a_signal_is_told_as_one() {
    assert_eq!(run(&shell("kill -TERM $$")).exit, Exit::Signal(15));
}

#[test]
fn python_and_scripts_run() {
    assert_eq!(
        prints(&program(&["/usr/bin/python3", "-I", "-c", "print(6*7)"])),
        "42\n"
    );
}

#[test]
fn a_missing_program_is_named() {
    let error = cells()
        .launch(&program(&["/bin/no-such-program"]))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Program { program, .. } if program == "/bin/no-such-program"),
        "{error}"
    );
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let spec = CellSpec {
        env: [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2 3".to_owned()),
        ]
        .into(),
        ..program(&["/usr/bin/env"])
    };
    let mut lines: Vec<_> = prints(&spec).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["A=1", "B=2 3"]);
}

#[test]
fn nothing_outlives_the_program() {
    let mut launched = cells()
        .launch(&shell("setsid sh -c 'trap \"\" TERM HUP; sleep 1000' </dev/null >/dev/null 2>&1 & echo up; read line"))
        .unwrap();
    hear(&mut launched, "up");
    let inside = processes_like(&launched);
    assert!(inside.len() >= 2, "{inside:?}");
    say(&mut launched, "end");
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Code(0)));
    assert_eq!(still_there(&inside), Vec::<u32>::new());
}

#[test]
fn kill_ends_everything_and_may_be_repeated() {
    let mut launched = cells()
        .launch(&shell(
            "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up; read line",
        ))
        .unwrap();
    hear(&mut launched, "up");
    assert_eq!(launched.cell.wait(Duration::ZERO).unwrap(), None);
    let inside = processes_like(&launched);
    launched.cell.kill().unwrap();
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Signal(9)));
    assert_eq!(still_there(&inside), Vec::<u32>::new());
    launched.cell.kill().unwrap();
    assert_eq!(
        launched.cell.wait(Duration::ZERO).unwrap(),
        Some(Exit::Signal(9))
    );
}

#[test]
fn a_dropped_cell_leaves_nothing() {
    let mut launched = cells()
        .launch(&shell("sleep 1000 & echo up; read line"))
        .unwrap();
    hear(&mut launched, "up");
    let inside = processes_like(&launched);
    drop(launched);
    assert_eq!(still_there(&inside), Vec::<u32>::new());
}

#[test]
fn a_paused_cell_stands_still_and_goes_on() {
    let script = "import os, threading, time\n\
        def spin():\n    while True: pass\n\
        for _ in range(3):\n    if os.fork() == 0: break\n\
        threading.Thread(target=spin, daemon=True).start()\n\
        if os.fork() == 0: spin()\n\
        print('up', flush=True)\n\
        spin() if os.getppid() == 1 and False else input()";
    let mut launched = cells().launch(&crate::scene::python(script)).unwrap();
    hear(&mut launched, "up");
    launched.cell.pause().unwrap();
    let inside = processes_like(&launched);
    assert!(inside.len() > 4, "{inside:?}");
    let threads = |wanted: fn(&str) -> bool| -> Vec<(u32, String)> {
        inside
            .iter()
            .flat_map(|process| states(*process).into_iter().map(|state| (*process, state)))
            .filter(|(_, state)| !wanted(state))
            .collect()
    };
    assert_eq!(threads(|state| matches!(state, "T" | "Z")), []);
    let used = inside
        .iter()
        .map(|process| cpu_ticks(*process))
        .collect::<Vec<_>>();
    launched.cell.pause().unwrap();
    assert_eq!(
        used,
        inside
            .iter()
            .map(|process| cpu_ticks(*process))
            .collect::<Vec<_>>()
    );
    launched.cell.resume().unwrap();
    assert_eq!(threads(|state| state != "T"), []);
    launched.cell.pause().unwrap();
    launched.cell.kill().unwrap();
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Signal(9)));
    launched.cell.pause().unwrap();
    launched.cell.resume().unwrap();
}

#[test]
fn a_parent_in_vfork_can_be_paused() {
    let script = "import subprocess, threading\n\
        def churn():\n    while True: subprocess.run(['/bin/true'])\n\
        for _ in range(3): threading.Thread(target=churn, daemon=True).start()\n\
        print('up', flush=True)\ninput()";
    let mut launched = cells().launch(&crate::scene::python(script)).unwrap();
    hear(&mut launched, "up");
    for _ in 0..20 {
        launched.cell.pause().unwrap();
        let inside = processes_like(&launched);
        launched.cell.pause().unwrap();
        assert_eq!(inside, processes_like(&launched));
        launched.cell.resume().unwrap();
    }
    launched.cell.kill().unwrap();
}

#[test]
fn the_engines_death_ends_its_cells() {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "life::be_an_engine"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(engine.stdout.take().unwrap()).lines();
    let inside: Vec<u32> = lines
        .find_map(|line| line.unwrap().strip_prefix("INSIDE ").map(str::to_owned))
        .unwrap()
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(inside.len() >= 3, "{inside:?}");
    let handles: Vec<_> = inside
        .iter()
        .map(|number| {
            let pid = rustix::process::Pid::from_raw(i32::try_from(*number).unwrap()).unwrap();
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
        })
        .collect();
    engine.kill().unwrap();
    engine.wait().unwrap();
    for handle in &handles {
        wait_for_the_end(handle);
    }
}

#[test]
fn the_launchers_death_ends_the_cell() {
    let mut launched = cells()
        .launch(&shell("setsid sleep 1000 & echo up; read line"))
        .unwrap();
    hear(&mut launched, "up");
    let inside = processes_like(&launched);
    let launcher = launcher_of(init_of(&launched));
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Signal(9)));
    assert_eq!(still_there(&inside), Vec::<u32>::new());
}

#[test]
#[ignore = "run by `the_engines_death_ends_its_cells`, which kills it"]
fn be_an_engine() {
    // Launched by a thread that ends: the cell must not hang on the thread.
    let mut launched = std::thread::spawn(|| {
        cells()
            .launch(&shell(
                "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up; read line",
            ))
            .unwrap()
    })
    .join()
    .unwrap();
    hear(&mut launched, "up");
    assert_eq!(launched.cell.wait(Duration::ZERO).unwrap(), None);
    let inside: Vec<_> = processes_like(&launched)
        .iter()
        .map(u32::to_string)
        .collect();
    println!("INSIDE {}", inside.join(" "));
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn fifty_launches_at_once_share_nothing() {
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|number| {
                scope.spawn(move || {
                    prints(&shell(&format!(
                        "ls /proc/self/fd | tr '\\n' ' '; echo {number}"
                    )))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(output, &format!("0 1 2 3 {number}\n"));
    }
}

#[test]
fn fifty_launches_leave_no_descriptor_and_no_zombie() {
    // In a process of its own, where no other test opens anything.
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "life::launch_fifty_and_count"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "see `--ignored life::launch_fifty_and_count`"
    );
}

#[test]
#[ignore = "run by `fifty_launches_leave_no_descriptor_and_no_zombie`"]
fn launch_fifty_and_count() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let children = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|thread| {
                std::fs::read_to_string(thread.unwrap().path().join("children")).ok()
            })
            .collect::<String>()
    };
    let before = open();
    std::thread::scope(|scope| {
        for number in 0..50 {
            scope.spawn(move || {
                let spec = shell(if number % 2 == 0 {
                    "exit 0"
                } else {
                    "sleep 1000"
                });
                let launched = cells().launch(&spec).unwrap();
                if number % 2 == 0 {
                    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Code(0)));
                }
                let missing = cells().launch(&program(&["/not/there"]));
                assert!(missing.is_err());
            });
        }
    });
    assert_eq!(open(), before);
    assert_eq!(children(), "");
}

#[test]
fn nothing_of_the_engines_ways_is_inherited() {
    // The launcher, a Rust program, ignores SIGPIPE, and this engine was told to ignore SIGHUP; the
    // two signals above the standard ones are the C library's own.
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' HUP; umask 077; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "life::print_what_is_inherited",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| {
        printed
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
    };
    let bits = |name: &str| u64::from_str_radix(line(name).trim(), 16).unwrap() & 0x7fff_ffff;
    assert_eq!(bits("engine SigIgn:") & 1, 1, "the control");
    assert_eq!((bits("SigIgn:"), bits("SigBlk:")), (0, 0), "{printed}");
    assert_eq!(
        (line("Umask:"), line("score ")),
        ("\t0022", "800"),
        "{printed}"
    );
}

#[test]
#[ignore = "run by `nothing_of_the_engines_ways_is_inherited`"]
fn print_what_is_inherited() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "\nengine {}",
        own.lines()
            .find(|line| line.starts_with("SigIgn:"))
            .unwrap()
    );
    let script = "grep -E '^(SigBlk|SigIgn|Umask)' /proc/self/status; \
        echo score $(cat /proc/self/oom_score_adj)";
    print!("{}", prints(&shell(script)));
}

#[test]
fn a_long_plan_arrives_whole() {
    let long = "x".repeat(100_000);
    let mut spec = shell("echo ${#LONG} ${#1} ${#2}");
    spec.argv
        .extend(["sh".to_owned(), long.clone(), long.clone()]);
    spec.env.insert("LONG".to_owned(), long);
    assert_eq!(prints(&spec), "100000 100000 100000\n");
}

#[test]
fn standard_input_arrives_and_closes() {
    let mut launched = cells().launch(&program(&["/bin/cat"])).unwrap();
    say(&mut launched, "hello");
    let outcome = crate::scene::finish(launched);
    assert_eq!(
        (outcome.exit, outcome.stdout.as_str()),
        (Exit::Code(0), "hello\n")
    );
}

#[test]
fn waiting_threads_all_hear_the_end() {
    let mut launched = cells().launch(&shell("read line; exit 3")).unwrap();
    let cell = launched.cell.clone();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let cell = cell.clone();
            std::thread::spawn(move || cell.wait(PATIENCE).unwrap())
        })
        .collect();
    say(&mut launched, "go");
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Some(Exit::Code(3)));
    }
}

#[test]
fn probes_at_the_same_time_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let probe = || cells().with_probe_dir(dir.path().to_path_buf()).probe();
    let alone = probe();
    let together: Vec<_> = std::thread::scope(|scope| {
        let probes: Vec<_> = (0..8).map(|_| scope.spawn(probe)).collect();
        probes.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let overlay = |walls: &[Wall]| {
        let wall = walls.iter().find(|it| it.name == "overlay");
        wall.unwrap().state.clone()
    };
    for walls in together {
        assert_eq!(overlay(&walls), overlay(&alone));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_probe_names_every_wall() {
    let dir = tempfile::tempdir().unwrap();
    let walls = cells().with_probe_dir(dir.path().to_path_buf()).probe();
    for name in [
        "namespaces",
        "mount namespace",
        "landlock",
        "seccomp",
        "overlay",
    ] {
        let wall = walls.iter().find(|wall| wall.name == name).unwrap();
        assert!(wall.state.is_ok(), "{wall:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn without_user_namespaces_nothing_runs_and_the_mend_is_told() {
    // A namespace in which no further one may be made stands for such a machine.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "/bin/sh", "-c"])
        .arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "life::print_the_refusal",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("REFUSED this machine cannot seal a cell: namespaces"),
        "{printed}"
    );
    assert!(printed.contains("user.max_user_namespaces"), "{printed}");
    assert!(printed.contains("WALL namespaces true Err"), "{printed}");
}

#[test]
#[ignore = "run by `without_user_namespaces_nothing_runs_and_the_mend_is_told`"]
fn print_the_refusal() {
    let error = cells().launch(&shell("true")).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    println!("\nREFUSED {error}");
    for wall in cells().probe() {
        println!("WALL {} {} {:?}", wall.name, wall.required, wall.state);
    }
}

#[test]
fn a_program_that_is_no_launcher_is_found_out() {
    let launcher = Launcher {
        program: "/bin/true".into(),
        argument: "x".into(),
    };
    let error = LinuxCells::new(launcher.clone())
        .launch(&shell("true"))
        .unwrap_err();
    assert!(
        matches!(error, Error::Setup { .. } | Error::Io { .. }),
        "{error}"
    );
    let walls = LinuxCells::new(launcher).probe();
    assert!(
        walls
            .iter()
            .any(|wall| wall.required && wall.state.is_err()),
        "{walls:?}"
    );
}

/// The processes of a cell as the host numbers them: the init, known by its pidfd, and whatever
/// descends from it.
pub(crate) fn processes_like(launched: &Launched) -> Vec<u32> {
    let mut family = vec![init_of(launched)];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        for thread in std::fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
        {
            let children = thread.unwrap().path().join("children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .map(|child| child.parse::<u32>().unwrap()),
            );
        }
    }
    family.sort_unstable();
    family
}

/// The init as the host numbers it.
pub(crate) fn init_of(launched: &Launched) -> u32 {
    let told = format!("{:?}", launched.cell);
    let descriptor = told
        .split("init: OwnedFd { fd: ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap();
    let init = about
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .unwrap()
        .trim();
    init.parse().unwrap()
}

pub(crate) fn wait_for_the_end(process: &OwnedFd) {
    let mut polled = [rustix::event::PollFd::new(
        process,
        rustix::event::PollFlags::IN,
    )];
    let patience = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut polled, Some(&patience)).unwrap(),
        1
    );
}

pub(crate) fn launcher_of(init: u32) -> rustix::process::Pid {
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let launcher = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    rustix::process::Pid::from_raw(launcher.trim().parse().unwrap()).unwrap()
}

pub(crate) fn still_there(processes: &[u32]) -> Vec<u32> {
    processes
        .iter()
        .copied()
        .filter(|process| {
            std::fs::read_to_string(format!("/proc/{process}/status"))
                .is_ok_and(|status| status.contains("NSpid") && !status.contains("Z (zombie)"))
        })
        .collect()
}

fn states(process: u32) -> Vec<String> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok())
        .map(|stat| {
            stat.rsplit(") ")
                .next()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn cpu_ticks(process: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    format!("{} {}", fields[11], fields[12])
}
