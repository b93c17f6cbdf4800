//! Every attempt that is refused is told once, and nothing else is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ports::cells::{Access, Bind, Cell, CellSpec, Cells, Exit, Wall};

use crate::life::{init_of, launcher_of, processes_like, still_there};
use crate::scene::{PATIENCE, cells, cells_without, hear, prints, program, python, say, shell};

/// Makes calls given as `number,argument,…` words, and prints how each ended.
const CALLER: &str = "import ctypes, errno, sys\n\
    libc = ctypes.CDLL(None, use_errno=True)\n\
    def call(*arguments):\n    \
        ctypes.set_errno(0)\n    \
        result = libc.syscall(*[ctypes.c_long(it) for it in arguments])\n    \
        return errno.errorcode[ctypes.get_errno()] if result < 0 else 'open'\n";

/// A script with [`CALLER`] before it and names for some calls.
fn caller(script: &str) -> CellSpec {
    let calls = [
        ("MOUNT", libc::SYS_mount),
        ("PTRACE", libc::SYS_ptrace),
        ("KEYCTL", libc::SYS_keyctl),
        ("SECCOMP", libc::SYS_seccomp),
    ];
    let names: String = calls
        .iter()
        .map(|(name, number)| format!("{name} = {number}\n"))
        .collect();
    python(&format!("{CALLER}{names}{script}"))
}

/// What was refused since it was last asked, by name.
fn told(cell: &dyn Cell) -> BTreeMap<String, u64> {
    let denied = cell.denied();
    let kinds = denied.len();
    let told: BTreeMap<_, _> = denied
        .into_iter()
        .map(|denied| (denied.what, denied.count))
        .collect();
    assert_eq!(told.len(), kinds, "one for each kind");
    told
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts
        .map(|(what, count)| (what.to_owned(), count))
        .into_iter()
        .collect()
}

/// Runs a cell to its end; returns how it ended, what it printed, and what was refused.
fn run(spec: &CellSpec) -> (Exit, String, BTreeMap<String, u64>) {
    let launched = cells().launch(spec).unwrap();
    let cell = launched.cell.clone();
    let outcome = crate::scene::finish(launched);
    (outcome.exit, outcome.stdout + &outcome.stderr, told(&*cell))
}

fn recorded(walls: &[Wall]) -> &Wall {
    walls
        .iter()
        .find(|wall| wall.name == "denied attempts")
        .unwrap()
}

/// Calls refused whatever their arguments, by the name they are recorded under.
const WHOLE: &[(i64, &str)] = &[
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_process_madvise, "process_madvise"),
    (libc::SYS_pidfd_getfd, "pidfd_getfd"),
    (libc::SYS_kcmp, "kcmp"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_userfaultfd, "userfaultfd"),
    (libc::SYS_kexec_load, "kexec_load"),
    (libc::SYS_init_module, "init_module"),
    (libc::SYS_finit_module, "finit_module"),
    (libc::SYS_delete_module, "delete_module"),
    (libc::SYS_reboot, "reboot"),
    (libc::SYS_swapon, "swapon"),
    (libc::SYS_swapoff, "swapoff"),
    (libc::SYS_acct, "acct"),
    (libc::SYS_syslog, "syslog"),
    (libc::SYS_quotactl, "quotactl"),
    (443, "quotactl_fd"),
    (libc::SYS_vhangup, "vhangup"),
    (libc::SYS_settimeofday, "settimeofday"),
    (libc::SYS_clock_settime, "clock_settime"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setdomainname, "setdomainname"),
    (libc::SYS_add_key, "add_key"),
    (libc::SYS_request_key, "request_key"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_chroot, "chroot"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (467, "open_tree_attr"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fspick, "fspick"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_fanotify_init, "fanotify_init"),
    (libc::SYS_kexec_file_load, "kexec_file_load"),
];
#[cfg(target_arch = "x86_64")]
const WHOLE_HERE: &[(i64, &str)] = &[
    (libc::SYS_iopl, "iopl"),
    (libc::SYS_ioperm, "ioperm"),
    (libc::SYS_modify_ldt, "modify_ldt"),
    (libc::SYS_uselib, "uselib"),
    (libc::SYS_ustat, "ustat"),
    (libc::SYS__sysctl, "_sysctl"),
];
#[cfg(not(target_arch = "x86_64"))]
const WHOLE_HERE: &[(i64, &str)] = &[];

/// Calls refused for their arguments.
const IN_PART: &[(i64, &[u64], &str)] = &[
    (libc::SYS_clone, &[0x1000_0011], "clone(CLONE_NEWUSER)"),
    (libc::SYS_clone, &[0x0002_0011], "clone(CLONE_NEWNS)"),
    (libc::SYS_clone, &[0x2000_0011], "clone(CLONE_NEWPID)"),
    (libc::SYS_clone, &[0x4000_0011], "clone(CLONE_NEWNET)"),
    (libc::SYS_clone, &[0x0800_0011], "clone(CLONE_NEWIPC)"),
    (libc::SYS_clone, &[0x0400_0011], "clone(CLONE_NEWUTS)"),
    (libc::SYS_clone, &[0x0200_0011], "clone(CLONE_NEWCGROUP)"),
    (libc::SYS_clone, &[0x0000_0091], "clone(CLONE_NEWTIME)"),
    (libc::SYS_socket, &[40, 1], "socket(AF_VSOCK)"),
    (libc::SYS_socket, &[17, 3], "socket(AF_PACKET)"),
    (libc::SYS_socket, &[38, 5], "socket(AF_ALG)"),
    (libc::SYS_socket, &[16, 3, 9], "socket(AF_NETLINK)"), // to the audit system
    (libc::SYS_socket, &[77, 1], "socket(an unknown family)"),
    (libc::SYS_socket, &[2, 3, 1], "socket(AF_INET, SOCK_RAW)"),
    (
        libc::SYS_socket,
        &[10, 0x0008_0003, 58],
        "socket(AF_INET6, SOCK_RAW)",
    ),
    (libc::SYS_socket, &[2, 10], "socket(AF_INET, SOCK_PACKET)"),
    (libc::SYS_socketpair, &[2, 1], "socketpair(AF_INET)"),
    (libc::SYS_ioctl, &[0, 0x5412, 0], "ioctl(TIOCSTI)"),
    // The kernel looks at the lower half of it only.
    (libc::SYS_ioctl, &[0, 0x1_0000_541c, 0], "ioctl(TIOCLINUX)"),
    (libc::SYS_personality, &[0x0040_0000], "personality"),
];

#[test]
fn an_attempt_of_each_kind_is_refused_and_told_once() {
    let mut attempts: Vec<(String, &str)> = Vec::new();
    for (number, name) in WHOLE.iter().chain(WHOLE_HERE) {
        attempts.push((number.to_string(), name));
    }
    for (number, arguments, name) in IN_PART {
        let word: Vec<_> = std::iter::once(number.to_string())
            .chain(arguments.iter().map(u64::to_string))
            .collect();
        attempts.push((word.join(","), name));
    }
    let mut spec = caller("for word in sys.argv[1:]: print(call(*map(int, word.split(','))))");
    spec.argv
        .extend(attempts.iter().map(|(word, _)| word.clone()));
    let (exit, printed, told) = run(&spec);
    assert_eq!(exit, Exit::Code(0), "{printed}");
    let answers: Vec<_> = printed.lines().collect();
    assert_eq!(answers.len(), attempts.len());
    for ((_, name), answer) in attempts.iter().zip(answers) {
        assert_eq!(answer, "EPERM", "{name}");
    }
    let expected: BTreeMap<_, _> = attempts
        .iter()
        .map(|(_, name)| ((*name).to_owned(), 1))
        .collect();
    assert_eq!(expected.len(), attempts.len());
    assert_eq!(told, expected);
}

#[test]
fn it_is_told_while_the_program_runs_and_the_rest_after_its_end() {
    let script = "for times in (3, 2):\n    \
            for _ in range(times): call(MOUNT, 0, 0, 0)\n    \
            print(call(PTRACE, 0), flush=True)\n    \
            input()\n";
    let mut launched = cells().launch(&caller(script)).unwrap();
    let cell = launched.cell.clone();
    hear(&mut launched, "EPERM");
    assert_eq!(told(&*cell), counts([("mount", 3), ("ptrace", 1)]));
    assert_eq!(told(&*cell), counts([]));
    say(&mut launched, "on");
    hear(&mut launched, "EPERM");
    say(&mut launched, "on");
    assert_eq!(cell.wait(PATIENCE).unwrap(), Some(Exit::Code(0)));
    assert_eq!(told(&*cell), counts([("mount", 2), ("ptrace", 1)]));
    assert_eq!(told(&*cell), counts([]));
    assert_eq!(cell.wait(Duration::ZERO).unwrap(), Some(Exit::Code(0)));
}

#[test]
fn a_loop_of_refused_calls_is_counted_to_the_last() {
    let script = "import os\n\
        for _ in range(4):\n    \
            if os.fork() == 0:\n        \
                for _ in range(12500): call(MOUNT); call(PTRACE)\n        \
                os._exit(0)\n\
        for _ in range(4): os.wait()\n";
    let (exit, printed, told) = run(&caller(script));
    assert_eq!((exit, printed.as_str()), (Exit::Code(0), ""));
    assert_eq!(told, counts([("mount", 50_000), ("ptrace", 50_000)]));
}

#[test]
fn threads_that_ask_and_wait_at_once_miss_nothing() {
    let script = "for _ in range(5000): call(MOUNT)\n";
    let launched = cells().launch(&caller(script)).unwrap();
    let cell = launched.cell.clone();
    let so_far: u64 = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = 0;
                    while cell.wait(Duration::ZERO).unwrap().is_none() {
                        sum += told(&*cell).values().sum::<u64>();
                    }
                    sum
                })
            })
            .collect();
        assert_eq!(cell.wait(PATIENCE).unwrap(), Some(Exit::Code(0)));
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert_eq!(so_far + told(&*cell).values().sum::<u64>(), 5_000);
}

#[test]
fn signals_do_not_count_an_attempt_twice() {
    // A call that a signal calls away before it was heard says so, and was not refused.
    let script = "import signal\n\
        signal.signal(signal.SIGALRM, lambda *_: None)\n\
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)\n\
        refused = 0\n\
        for _ in range(5000):\n    \
            answer = call(MOUNT)\n    \
            assert answer in ('EPERM', 'EINTR'), answer\n    \
            refused += answer == 'EPERM'\n\
        signal.setitimer(signal.ITIMER_REAL, 0)\n\
        print(refused)\n";
    let (exit, printed, told) = run(&caller(script));
    assert_eq!(exit, Exit::Code(0), "{printed}");
    let refused: u64 = printed.trim().parse().unwrap();
    assert!(refused > 0);
    assert_eq!(told, counts([("mount", refused)]));
}

#[test]
fn ordinary_programs_leave_no_record() {
    let python_work = "import concurrent.futures, multiprocessing, os, socket, subprocess, threading\n\
        socket.getaddrinfo('localhost', 80)\n\
        socket.if_nameindex\n\
        list(concurrent.futures.ThreadPoolExecutor(4).map(abs, range(9)))\n\
        assert multiprocessing.Pool(2).map(abs, [-1]) == [1]\n\
        subprocess.run(['/bin/true'], check=True)\n\
        server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname())\n\
        print(os.uname().sysname)";
    let git_work = "export HOME=/tmp && cd /tmp && git init -q a && cd a && echo x >x && git add x \
        && git -c user.name=a -c user.email=a@b commit -qm x && git status && git log -p \
        && git gc -q && git fsck && git clone -q /tmp/a /tmp/b && git worktree add -q /tmp/c";
    let compile = "printf 'int main(void){return 0;}' >/tmp/a.c && cc -o /tmp/a /tmp/a.c && /tmp/a";
    let mut works = vec![
        (
            "sh",
            shell("id; uname -a; ls -lR /etc; find / -xdev | wc -l; ps aux; df; true"),
        ),
        ("python", python(python_work)),
        ("git", shell(git_work)),
    ];
    // These are tried where they are installed.
    for (place, spec) in [
        ("/usr/bin/cc", shell(compile)),
        (
            "/usr/bin/perl",
            program(&["/usr/bin/perl", "-MSocket", "-e", "print `id`"]),
        ),
        (
            "/usr/bin/node",
            program(&[
                "/usr/bin/node",
                "-e",
                "const os = require('os'); os.cpus(); \
                 try { os.networkInterfaces() } catch { } \
                 require('fs').readFile('/etc/passwd', () => {}); \
                 require('dns').lookup('localhost', () => {}); \
                 new (require('worker_threads').Worker)('', {eval: true}); \
                 require('child_process').execSync('true')",
            ]),
        ),
        (
            "/usr/bin/java",
            program(&["/usr/bin/java", "-Xmx64m", "-version"]),
        ),
        (
            "/usr/bin/tmux",
            shell("TMUX_TMPDIR=/tmp tmux -f /dev/null new-session -d true; true"),
        ),
    ] {
        if Path::new(place).exists() {
            works.push((place, spec));
        }
    }
    works.extend(cargo().map(|spec| ("cargo", spec)));
    for (name, spec) in works {
        let (exit, printed, told) = run(&spec);
        assert_eq!(exit, Exit::Code(0), "{name}: {printed}");
        assert_eq!(told, counts([]), "{name}");
    }
}

/// Makes, tests and builds a package with the toolchain that runs this test, where a cell's user may
/// read it.
fn cargo() -> Option<CellSpec> {
    let cargo = Path::new(env!("CARGO"));
    let toolchain = cargo.parent()?.parent()?;
    cargo.canonicalize().ok()?;
    let script = "export HOME=/tmp CARGO_HOME=/tmp/cargo PATH=$0:$PATH; cd /tmp; \
        cargo --version && cargo new -q a --vcs none && cd a && cargo build -q --offline && cargo run -q --offline";
    let mut spec = shell(script);
    spec.argv.push("/toolchain/bin".to_owned());
    spec.binds.push(Bind {
        source: toolchain.to_path_buf(),
        target: "/toolchain".into(),
        access: Access::ReadOnly,
    });
    Some(spec)
}

#[test]
fn what_libraries_try_in_passing_is_refused_without_a_record() {
    let script = "import socket\n\
        print(call(435, 0, 0), call(425, 1, 0), call(426), call(427), call(10000), call(-1))\n\
        try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n\
        except OSError as error: print(errno.errorcode[error.errno])\n";
    let (_, printed, told) = run(&caller(script));
    let absent = ["ENOSYS"; 6].join(" ");
    assert_eq!(printed, format!("{absent}\nEPERM\n"));
    assert_eq!(told, counts([]));
}

#[test]
fn filters_of_the_programs_own_hide_nothing() {
    // One that lets all through, one that logs all, one that would hear of all.
    let script = "import struct\n\
        libc.prctl(38, 1, 0, 0, 0)\n\
        def filter(action, flags):\n    \
            step = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, action))\n    \
            program = ctypes.create_string_buffer(struct.pack('HP', 1, ctypes.addressof(step)))\n    \
            return call(SECCOMP, 1, flags, ctypes.addressof(program))\n\
        print(filter(0x7fff0000, 0), filter(0x7ffc0000, 0), filter(0x7fff0000, 8), call(MOUNT))\n";
    let (_, printed, told) = run(&caller(script));
    assert_eq!(printed, "open open EBUSY EPERM\n");
    assert_eq!(told, counts([("mount", 1)]));
}

const RESTLESS: &str = "import os\n\
    for _ in range(3): os.fork()\n\
    print('up', flush=True)\n\
    while True: call(MOUNT)\n";

#[test]
fn a_cell_of_refused_calls_can_be_paused() {
    let mut launched = cells().launch(&caller(RESTLESS)).unwrap();
    hear(&mut launched, "up");
    let cell = launched.cell.clone();
    for _ in 0..5 {
        cell.pause().unwrap();
        drop(cell.denied());
        assert_eq!(told(&*cell), counts([]));
        cell.resume().unwrap();
        while cell.denied().is_empty() {}
    }
    cell.kill().unwrap();
    assert_eq!(cell.wait(PATIENCE).unwrap(), Some(Exit::Signal(9)));
}

#[test]
fn a_cell_of_refused_calls_dies_with_its_launcher() {
    let mut launched = cells().launch(&caller(RESTLESS)).unwrap();
    hear(&mut launched, "up");
    let inside = processes_like(&launched);
    let launcher = launcher_of(init_of(&launched));
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).unwrap();
    assert_eq!(launched.cell.wait(PATIENCE).unwrap(), Some(Exit::Signal(9)));
    assert_eq!(still_there(&inside), Vec::<u32>::new());
    assert_eq!(told(&*launched.cell), counts([]));
}

#[test]
fn attempts_are_recorded_on_this_machine() {
    let launched = cells().launch(&shell("true")).unwrap();
    let wall = recorded(&launched.cell.walls()).clone();
    assert_eq!(
        (wall.required, wall.state),
        (false, Ok("recorded".to_owned()))
    );
    assert_eq!(recorded(&cells().probe()).state, Ok("recorded".to_owned()));
}

#[test]
fn without_the_wall_nothing_is_refused_or_told() {
    let spec = caller("print(call(KEYCTL, 0, -3, 0))");
    let launched = cells_without("seccomp").launch(&spec).unwrap();
    let cell = launched.cell.clone();
    assert_eq!(crate::scene::finish(launched).stdout, "open\n");
    assert_eq!(told(&*cell), counts([]));
    assert!(
        cell.walls()
            .iter()
            .all(|wall| wall.name != "denied attempts")
    );
}

#[test]
fn where_another_listens_already_calls_are_refused_all_the_same() {
    // A process may have one listener among all its filters, and a container's manager may be it.
    let script = format!(
        "import ctypes, os, struct, sys\n\
         libc = ctypes.CDLL(None)\n\
         libc.prctl(38, 1, 0, 0, 0)\n\
         step = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))\n\
         program = struct.pack('HP', 1, ctypes.addressof(step))\n\
         listener = libc.syscall({}, 1, 8, program)\n\
         assert listener >= 0\n\
         os.set_inheritable(listener, True)\n\
         os.execv(sys.argv[1], sys.argv[1:])",
        libc::SYS_seccomp
    );
    let output = Command::new("/usr/bin/python3")
        .args(["-I", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "denials::refuse_without_a_record",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "run by `where_another_listens_already_calls_are_refused_all_the_same`"]
fn refuse_without_a_record() {
    let spec = caller("print(call(MOUNT), call(PTRACE), call(435), call(41, 40, 1))");
    let launched = cells().launch(&spec).unwrap();
    let wall = recorded(&launched.cell.walls()).clone();
    let why = wall.state.unwrap_err();
    assert!(!wall.required);
    assert!(why.contains("listens to the calls"), "{why}");
    assert_eq!(told(&*launched.cell), counts([]));
    assert_eq!(
        crate::scene::finish(launched).stdout,
        "EPERM EPERM ENOSYS EPERM\n"
    );
}

#[test]
fn a_program_that_tries_nothing_is_told_of_nothing() {
    let launched = cells().launch(&shell("read line")).unwrap();
    assert_eq!(told(&*launched.cell), counts([]));
    assert_eq!(prints(&shell("echo fine")), "fine\n");
}
