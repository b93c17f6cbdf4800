//! Negative controls: with its wall left out, each attempt succeeds, so it is the wall that stops it.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use ports::cells::{Access, Bind, CellSpec, Cells, Error, Layers};

use crate::scene::{World, cells, cells_without, finish, python, shell, within};
use crate::walls::attempt;

/// Returns what the specification prints with every wall, and without these.
fn both(without: &str, spec: &CellSpec) -> (String, String) {
    let strong = finish(cells().launch(spec).unwrap());
    let weak = finish(cells_without(without).launch(spec).unwrap());
    (strong.stdout, weak.stdout)
}

#[track_caller]
fn stopped_by(wall: &str, spec: &CellSpec, denied: &str, done: &str) {
    let (strong, weak) = both(wall, spec);
    assert_eq!(
        (strong.as_str(), weak.as_str()),
        (denied, done),
        "without {wall}"
    );
}

#[test]
fn without_seccomp_other_families_and_calls_are_had() {
    let netlink = attempt("socket.socket(16, socket.SOCK_DGRAM)");
    stopped_by("seccomp", &python(&netlink), "EPERM\n", "open\n");
    let user_namespace = attempt("call(272, 0x10000000)");
    #[cfg(target_arch = "x86_64")]
    stopped_by("seccomp", &python(&user_namespace), "EPERM\n", "open\n");
    drop(user_namespace);
}

#[test]
fn without_the_network_namespace_the_hosts_loopback_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = attempt(&format!(
        "socket.create_connection(('127.0.0.1', {port}), 5)"
    ));
    stopped_by("network", &python(&script), "ECONNREFUSED\n", "open\n");
}

#[test]
fn abstract_sockets_have_two_walls() {
    let name = format!("palisade-control-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let script = attempt(&format!(
        "socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    ));
    stopped_by("network", &python(&script), "ECONNREFUSED\n", "EPERM\n");
    stopped_by(
        "scopes",
        &python(&script),
        "ECONNREFUSED\n",
        "ECONNREFUSED\n",
    );
    stopped_by(
        "network,scopes",
        &python(&script),
        "ECONNREFUSED\n",
        "open\n",
    );
}

#[test]
fn signals_have_two_walls() {
    let mut bystander = Command::new("/bin/cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let script = attempt(&format!("os.kill({}, 0)", bystander.id()));
    stopped_by("pid", &python(&script), "ESRCH\n", "EPERM\n");
    stopped_by("pid,scopes", &python(&script), "ESRCH\n", "open\n");
    drop(bystander.stdin.take());
    bystander.wait().unwrap();
}

#[test]
fn without_the_pid_namespace_grandchildren_outlive_the_program() {
    let world = World::new();
    let fifo = world.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let mut spec = shell(
        "exec 3<>/run/fifo; setsid sh -c 'read line <&3; echo $line survives >/tmp/told; \
         cp /tmp/told /run/told' </dev/null >/dev/null 2>&1 & exit 0",
    );
    let told = world.write("told", "");
    for (source, target) in [(&fifo, "/run/fifo"), (&told, "/run/told")] {
        spec.binds.push(Bind {
            source: source.clone(),
            target: target.into(),
            access: Access::Writable,
        });
    }
    let holder = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    finish(cells_without("pid").launch(&spec).unwrap());
    std::io::Write::write_all(&mut &holder, b"it\n").unwrap();
    let begun = std::time::Instant::now();
    while world.read("told") != "it survives\n" {
        assert!(begun.elapsed() < crate::scene::PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn without_the_empty_environment_the_engines_is_seen() {
    let as_engine = |test: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", test])
            .env("CANARY", "canary-in-the-engine")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = as_engine("controls::print_the_environment");
    assert!(printed.contains("STRONG \n\n"), "{printed}");
    assert!(
        printed.contains("WEAK canary-in-the-engine\n1\n"),
        "{printed}"
    );
}

#[test]
#[ignore = "run by `without_the_empty_environment_the_engines_is_seen`, with a canary"]
fn print_the_environment() {
    let spec = shell("echo $CANARY; grep -ac canary-in-the-engine /proc/1/environ 2>/dev/null");
    let (strong, weak) = both("environment", &spec);
    println!("\nSTRONG {strong}\nWEAK {weak}");
}

#[test]
fn without_closing_what_is_open_is_inherited() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "controls::print_what_is_open",
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("STRONG EBADF\n"), "{printed}");
    assert!(printed.contains("WEAK b'canary\\n'\n"), "{printed}");
}

#[test]
#[ignore = "run by `without_closing_what_is_open_is_inherited`, in a process of its own"]
fn print_what_is_open() {
    let world = World::new();
    let opened: OwnedFd = std::fs::File::open(world.write("secret", "canary\n"))
        .unwrap()
        .into();
    rustix::io::fcntl_setfd(&opened, rustix::io::FdFlags::empty()).unwrap();
    let number = opened.as_raw_fd();
    let spec = python(&attempt(&format!("print(os.read({number}, 9))")));
    let (strong, weak) = both("descriptors", &spec);
    println!("\nSTRONG {strong}WEAK {weak}");
}

#[test]
fn without_a_private_root_the_hosts_files_are_read() {
    let world = World::new();
    let secret = world.write("secret", "canary\n");
    let spec = shell(&format!(
        "cat {} 2>/dev/null || echo absent",
        secret.display()
    ));
    stopped_by("root", &spec, "absent\n", "canary\n");
}

#[test]
fn without_its_covers_proc_is_open() {
    // Only looked at, never written: as root it would be the machine's.
    let spec = shell(
        "grep -q ' /proc proc ro' /proc/mounts && echo closed; cat /proc/timer_list >/dev/null 2>&1; \
        grep ' /proc/' /proc/mounts",
    );
    let (strong, weak) = both("proc", &spec);
    assert!(strong.starts_with("closed\n"), "{strong}");
    assert_eq!(weak, "");
}

#[test]
fn without_masks_and_read_only_binds_their_files_are_had() {
    let world = World::new();
    world.write("base/.env", "canary\n");
    world.write("git/config", "config\n");
    let mut spec = within(
        shell("cat .env 2>/dev/null || echo masked"),
        world.overlay(),
        Some(&world.path("git")),
    );
    spec.masks.push("/workspace/.env".into());
    stopped_by("masks", &spec, "masked\n", "canary\n");
    spec.argv[2] = "(echo hook >.git/config) 2>/dev/null && echo wrote; true".to_owned();
    stopped_by("binds", &spec, "", "wrote\n");
    assert_eq!(world.read("git/config"), "hook\n");
}

#[test]
fn landlock_is_the_second_wall_of_files() {
    let world = World::new();
    let mut spec = shell("(echo x >/opt/base/new) 2>/dev/null && echo wrote; true");
    spec.binds.push(Bind {
        source: world.path("base"),
        target: "/opt/base".into(),
        access: Access::ReadOnly,
    });
    stopped_by("binds", &spec, "", "");
    stopped_by("landlock", &spec, "", "");
    stopped_by("binds,landlock", &spec, "", "wrote\n");
}

#[test]
fn without_their_limits_files_and_folders_grow() {
    let mut spec = shell("head -c 3000000 /dev/zero >/tmp/big 2>/dev/null; stat -c %s /tmp/big");
    spec.limits.file_bytes = 1_000_000;
    stopped_by("limits", &spec, "1000000\n", "3000000\n");
    spec.limits.file_bytes = 10_000_000;
    spec.limits.tmp_bytes = 1 << 20;
    stopped_by("scratch", &spec, "1048576\n", "3000000\n");
}

#[test]
fn without_the_drop_the_program_has_rights() {
    let spec = shell("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\n'");
    let (strong, weak) = both("rights,seccomp", &spec);
    assert_eq!(strong, "CapEff:\t0000000000000000NoNewPrivs:\t1");
    assert!(
        weak.ends_with("NoNewPrivs:\t0") && !weak.contains("CapEff:\t0000000000000000"),
        "{weak}"
    );
    // With them, and nothing else in the way, a read-only mount is made writable.
    let world = World::new();
    world.write("git/config", "config\n");
    let spec = within(
        shell("mount -o remount,bind,rw .git 2>/dev/null && echo x >.git/config && echo wrote"),
        world.overlay(),
        Some(&world.path("git")),
    );
    let parts = ["rights", "seccomp", "landlock"];
    for stays in parts {
        let without = parts.map(|it| if it == stays { "masks" } else { it });
        stopped_by(&without.join(","), &spec, "", "");
    }
    stopped_by(&parts.join(","), &spec, "", "wrote\n");
}

#[test]
fn a_kernel_without_landlock_is_refused() {
    let error = cells_without("no-landlock-kernel")
        .launch(&shell("true"))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported { wall, why } if wall == "landlock" && why.contains("CONFIG_SECURITY_LANDLOCK")),
        "{error}"
    );
}

#[test]
fn what_is_left_out_is_told_and_must_be_known() {
    let launched = cells_without("seccomp,landlock")
        .launch(&shell("true"))
        .unwrap();
    for name in ["seccomp", "landlock"] {
        let walls = launched.cell.walls();
        let wall = walls.iter().find(|wall| wall.name == name).unwrap();
        assert!(wall.state.is_err(), "{wall:?}");
    }
    let error = cells_without("sseccomp")
        .launch(&within(
            shell("true"),
            Layers::ReadOnly {
                lowers: vec!["/usr".into()],
            },
            None,
        ))
        .unwrap_err();
    assert!(error.to_string().contains("`sseccomp`"), "{error}");
}
