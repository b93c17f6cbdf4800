//! What a program in a cell cannot do, each with the same attempt outside as control.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use ports::cells::{CellSpec, Cells, Exit};

use crate::scene::{cells, launcher, prints, python, run, shell};

/// Runs the same Python outside of any cell.
fn outside(script: &str) -> String {
    let output = Command::new("/usr/bin/python3")
        .args(["-I", "-c", script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A script that prints `open` or the name of the error for one attempt.
pub(crate) fn attempt(code: &str) -> String {
    let indented: String = code.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "import errno, socket, ctypes, os\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         def call(*arguments):\n    \
             if libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) < 0:\n        \
                 raise OSError(ctypes.get_errno(), '')\n\
         try:\n{indented}    print('open')\n\
         except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    )
}

#[test]
fn the_hosts_loopback_is_not_reached_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = attempt(&format!(
        "socket.create_connection(('127.0.0.1', {port}), 5)"
    ));
    assert_eq!(outside(&script), "open\n");
    assert_eq!(prints(&python(&script)), "ECONNREFUSED\n");
}

#[test]
fn nothing_leaves_by_udp() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = |address: &str, port: u16| {
        attempt(&format!(
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('{address}', {port}))"
        ))
    };
    assert_eq!(outside(&to("127.0.0.1", port)), "open\n");
    let mut byte = [0];
    assert_eq!(listener.recv(&mut byte).unwrap(), 1);
    // On the cell's own loopback it goes nowhere; beyond it there is no route.
    assert_eq!(prints(&python(&to("127.0.0.1", port))), "open\n");
    assert_eq!(
        listener.recv(&mut byte).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    assert_eq!(prints(&python(&to("192.0.2.1", 53))), "ENETUNREACH\n");
}

#[test]
fn a_server_on_the_cells_own_loopback_is_reached() {
    let script = "import socket\n\
        server = socket.create_server(('127.0.0.1', 0))\n\
        client = socket.create_connection(server.getsockname(), 5)\n\
        peer, _ = server.accept()\n\
        client.sendall(b'hello'); print(peer.recv(5).decode())";
    assert_eq!(prints(&python(script)), "hello\n");
}

#[test]
fn other_socket_families_are_refused() {
    // vsock, netlink, packet, bluetooth, alg, xdp, qipcrtr
    for family in [40, 16, 17, 31, 38, 44, 42] {
        let script = attempt(&format!("socket.socket({family}, socket.SOCK_DGRAM)"));
        assert_eq!(prints(&python(&script)), "EPERM\n", "family {family}");
    }
    let netlink = attempt("socket.socket(16, socket.SOCK_DGRAM)");
    assert_eq!(outside(&netlink), "open\n");
    for kind in [
        "socket.SOCK_RAW, 1",
        "10",
        "socket.SOCK_RAW | socket.SOCK_CLOEXEC, 1",
    ] {
        let script = attempt(&format!("socket.socket(socket.AF_INET, {kind})"));
        assert_eq!(prints(&python(&script)), "EPERM\n", "type {kind}");
    }
    let pair = attempt("socket.socketpair(socket.AF_UNIX)");
    assert_eq!(prints(&python(&pair)), "open\n");
}

#[test]
fn abstract_sockets_of_the_host_are_not_there() {
    let name = format!("palisade-cell-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let script = attempt(&format!(
        "socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    ));
    assert_eq!(outside(&script), "open\n");
    assert_eq!(prints(&python(&script)), "ECONNREFUSED\n");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_lead_out_are_refused() {
    let refused = [
        ("ptrace", "call(101, 0, 0, 0, 0)"),
        ("mount", "call(165, b'none', b'/tmp', b'tmpfs', 0, None)"),
        ("umount", "call(166, b'/tmp', 2)"),
        ("pivot_root", "call(155, b'/tmp', b'/tmp')"),
        ("chroot", "call(161, b'/tmp')"),
        ("open_tree", "call(428, -100, b'/tmp', 1)"),
        ("fsopen", "call(430, b'tmpfs', 0)"),
        ("mount_setattr", "call(442, -100, b'/tmp', 0, None, 0)"),
        ("unshare user", "call(272, 0x10000000)"),
        ("setns", "call(308, 0, 0)"),
        ("clone user", "call(56, 0x10000011, 0, 0, 0, 0)"),
        ("clone net", "call(56, 0x40000011, 0, 0, 0, 0)"),
        ("bpf", "call(321, 0, 0, 0)"),
        ("keyctl", "call(250, 0, -3, 0)"),
        ("add_key", "call(248, b'user', b'a', b'b', 1, -3)"),
        ("userfaultfd", "call(323, 1)"),
        ("perf_event_open", "call(298, 0, 0, -1, -1, 0)"),
        ("process_vm_readv", "call(310, 1, 0, 0, 0, 0, 0)"),
        ("personality", "call(135, 0x0040000)"),
        ("TIOCSTI", "call(16, 0, 0x5412, b'x')"),
        ("syslog", "call(103, 3, 0, 0)"),
        ("open_by_handle_at", "call(304, -100, 0, 0)"),
    ];
    let mut script = String::new();
    for (_, code) in refused {
        script.push_str(&attempt(code));
    }
    script.push_str(&attempt("call(435, 0, 0)")); // clone3
    script.push_str(&attempt("call(425, 1, 0)")); // io_uring_setup
    script.push_str(&attempt("call(39 | 0x40000000)")); // getpid by its x32 number
    script.push_str(&attempt("call(39)")); // getpid
    let printed = prints(&python(&script));
    let lines: Vec<_> = printed.lines().collect();
    for ((name, _), answer) in refused.iter().zip(&lines) {
        assert_eq!(*answer, "EPERM", "{name}");
    }
    assert_eq!(
        lines[refused.len()..],
        ["ENOSYS", "ENOSYS", "ENOSYS", "open"]
    );
    // Control: outside, the same script is let through where rights are not the question.
    let bare = ["call(135, 0xffffffff)", "call(250, 0, -3, 0)"]
        .map(attempt)
        .concat();
    assert_eq!(outside(&bare), "open\nopen\n");
}

#[test]
fn the_program_has_no_rights_and_cannot_gain_any() {
    let status = prints(&shell("cat /proc/self/status"));
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("Uid:"), "1000 1000 1000 1000");
    assert_eq!(field("Gid:"), "1000 1000 1000 1000");
    assert_eq!(
        prints(&shell(
            "cat /proc/1/status | grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):'"
        )),
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    assert_eq!(
        prints(&shell("id -un; id -u; id -g; hostname")),
        "agent\n1000\n1000\ncell\n"
    );
}

#[test]
fn the_init_shows_nothing() {
    // The canary is in the environment and the arguments of a parent like the engine.
    let helper = std::env::current_exe().unwrap();
    let output = Command::new(helper)
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "walls::look_into_every_process",
        ])
        .env("CANARY", "canary-in-the-engine")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let report = printed.split("REPORT\n").nth(1).unwrap();
    assert!(report.contains("2/environ: GIVEN=given|\n"), "{report}");
    assert!(!report.contains("canary"), "{report}");
    let target = launcher().program;
    assert!(
        !report.contains(target.parent().unwrap().to_str().unwrap()),
        "{report}"
    );
}

#[test]
#[ignore = "run by `the_init_shows_nothing`, in a process with a canary"]
fn look_into_every_process() {
    assert!(
        std::env::var_os("CANARY").is_some(),
        "the control: it is here"
    );
    let spec = CellSpec {
        env: [("GIVEN".to_owned(), "given".to_owned())].into(),
        ..shell(
            "cd /proc; for p in [0-9]*; do \
               for f in environ cmdline maps stack mountinfo; do \
                 echo \"$p/$f: $(cat $p/$f 2>/dev/null | tr '\\0' '|')\"; done; \
               for f in $p/root $p/cwd $p/exe $p/fd/*; do echo \"$f $(readlink $f)\"; done; \
             done",
        )
    };
    println!("REPORT\n{}", prints(&spec));
}

#[test]
fn the_init_cannot_be_looked_into_or_hurt() {
    let script = "for f in environ mem maps; do head -c 1 /proc/1/$f >/dev/null 2>&1 && echo read $f; done; \
        for f in $(ls /proc/1/fd 2>/dev/null); do \
            readlink /proc/1/fd/$f; (: </proc/1/fd/$f) 2>/dev/null && echo opened $f; done; \
        kill -KILL 1; kill -STOP 1; kill -TERM 1; echo still here";
    assert_eq!(run(&shell(script)).stdout, "still here\n");
}

#[test]
fn proc_cannot_be_written_and_tells_little() {
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/self/oom_score_adj \
          /proc/sys/kernel/pid_max; do \
            (echo 1 >$f) 2>/dev/null && echo wrote $f; done; \
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/kmsg; do \
            head -c 1 $f >/dev/null 2>&1 && echo read $f; done; \
        ls /sys 2>/dev/null; ls /dev /; ls -A /etc";
    let outcome = run(&shell(script));
    assert!(
        !outcome.stdout.contains("wrote") && !outcome.stdout.contains("read"),
        "{outcome:?}"
    );
    assert!(!outcome.stdout.contains("shadow"), "{outcome:?}");
    assert!(
        outcome
            .stdout
            .contains("fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n"),
        "{outcome:?}"
    );
}

/// The device nodes are the host's: to whom they belong, what they permit and when they were
/// changed is not the agent's, also where the engine is root and so is their owner.
#[test]
fn the_hosts_devices_keep_their_modes_and_times() {
    let script = "import errno, os, sys\n\
        for name in ('null', 'zero', 'full', 'random', 'urandom'):\n    \
            path = '/dev/' + name\n    \
            same = os.stat(path).st_mode & 0o777\n    \
            for act in (lambda: os.chmod(path, same), lambda: os.utime(path), \
                        lambda: os.chown(path, -1, -1), lambda: os.setxattr(path, 'user.a', b'a')):\n        \
                try:\n            act(); print('changed', name)\n        \
                except OSError as error:\n            \
                    print('open' if error.errno not in (errno.EROFS, errno.EPERM) else '', end='')\n\
        with open('/dev/null', 'wb') as sink: sink.write(b'a')\n\
        with open('/dev/zero', 'rb') as source: print(source.read(1))\n\
        try:\n    open('/dev/full', 'wb', 0).write(b'a')\n\
        except OSError as error: print(errno.errorcode[error.errno])";
    assert_eq!(run(&python(script)).stdout, "b'\\x00'\nENOSPC\n");
}

#[test]
fn a_fork_bomb_is_bounded() {
    let mut spec = python(
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
    let made: u64 = prints(&spec).trim().parse().unwrap();
    assert!(made <= 50 + 300, "{made}");
    let walls = cells().launch(&shell("true")).unwrap().cell.walls();
    assert!(
        walls
            .iter()
            .any(|wall| wall.name == "process limit" && wall.state.is_ok()),
        "{walls:?}"
    );
}

#[test]
fn one_file_and_all_of_tmp_are_bounded() {
    let mut spec = shell("head -c 3000000 /dev/zero >/tmp/big; echo $?; stat -c %s /tmp/big");
    spec.limits.file_bytes = 1_000_000;
    let outcome = run(&spec);
    assert!(outcome.stdout.ends_with("1000000\n"), "{outcome:?}");
    let mut spec = shell("head -c 3000000 /dev/zero >/tmp/big || echo full");
    spec.limits.tmp_bytes = 1 << 20;
    assert_eq!(run(&spec).stdout, "full\n");
}

#[test]
fn memory_is_bounded() {
    let script =
        "try:\n    b = bytearray(400 << 20); print('got')\nexcept MemoryError: print('refused')";
    assert_eq!(prints(&python(script)), "got\n");
    let mut spec = python(script);
    spec.limits.memory_bytes = 200 << 20;
    let outcome = run(&spec);
    if memory_is_bounded_for_all() {
        assert_eq!(
            (outcome.exit, outcome.stdout.as_str()),
            (Exit::Signal(9), "")
        );
    } else {
        assert_eq!(
            (outcome.exit, outcome.stdout.as_str()),
            (Exit::Code(0), "refused\n")
        );
    }
}

#[test]
fn many_processes_and_shared_memory_count_together() {
    if !memory_is_bounded_for_all() {
        // Without a control group the kernel has no such bound, and the wall says so.
        return;
    }
    let script = "import mmap, os\n\
        for _ in range(4):\n    if os.fork() == 0:\n        \
            m = mmap.mmap(-1, 100 << 20); m.write(b'x' * (100 << 20)); print('got', flush=True); \
            os.read(0, 1); os._exit(0)\n\
        for _ in range(4): os.wait()";
    let mut spec = python(script);
    assert_eq!(prints(&spec), "got\n".repeat(4));
    spec.limits.memory_bytes = 250 << 20;
    let got = run(&spec).stdout.lines().count();
    assert!(got < 4, "{got}");
}

fn memory_is_bounded_for_all() -> bool {
    let walls = cells().launch(&shell("true")).unwrap().cell.walls();
    let memory = walls
        .iter()
        .find(|wall| wall.name == "memory limit")
        .unwrap();
    memory.state.as_ref().unwrap().starts_with("cgroup")
}

#[test]
fn a_busy_program_is_ended_by_its_cpu_limit() {
    let mut spec = python("while True: pass");
    spec.limits.cpu_seconds = 1;
    assert_eq!(run(&spec).exit, Exit::Signal(9));
}

#[test]
fn only_the_three_streams_are_open() {
    assert_eq!(
        prints(&shell("ls /proc/self/fd")),
        "0\n1\n2\n3\n",
        "3 is the listing's own"
    );
}

#[test]
fn the_root_holds_what_is_listed_and_no_more() {
    let printed = prints(&shell("ls -A /; ls /sys 2>&1 | grep -o 'No such file'"));
    let known = [
        ".nothing", "bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run",
        "sbin", "tmp", "usr", "var",
    ];
    let mut lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.pop(), Some("No such file"));
    assert!(lines.iter().all(|name| known.contains(name)), "{lines:?}");
    assert_eq!(prints(&shell("find /run /var /home -type f")), "");
}

#[test]
fn open_files_are_bounded() {
    let mut spec = python(
        "import errno, os, resource\n\
         n = 0\n\
         try:\n    while n < 1000: os.open('/dev/null', 0); n += 1\n\
         except OSError as e: print(errno.errorcode[e.errno], n < 32)\n\
         try: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); print('raised')\n\
         except ValueError: print('kept')",
    );
    spec.limits.open_files = 32;
    assert_eq!(prints(&spec), "EMFILE True\nkept\n");
}

#[test]
fn a_set_id_program_of_ones_own_gains_nothing() {
    let script = "cp /usr/bin/id /tmp/own && chmod 6755 /tmp/own && /tmp/own -u; \
        for p in /usr/bin/su /usr/bin/passwd /usr/bin/mount; do \
            [ -u $p ] && grep -q ' /usr .*nosuid' /proc/self/mountinfo && echo held; done | sort -u";
    let printed = prints(&shell(script));
    assert!(printed.starts_with("1000\n"), "{printed}");
}
