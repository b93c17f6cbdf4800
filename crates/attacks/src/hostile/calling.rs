//! Calling: system calls that lead out of a sandbox, or that past escapes were made of.
//!
//! Where success would harm a machine, the arguments are such that the kernel refuses them by
//! another word than the wall's: an answer other than the wall's shows that the door is there.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use cell::attempts::{Argument, Argument::Bytes, Argument::Room, Argument::Text, call};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Answer, NAME, living};

/// An answer of the kernel's.
type Asked = Result<u64, Errno>;

const NEW_USER: u64 = 0x1000_0000;
/// The folder that paths are relative to: the current one.
const HERE: u64 = (-100_i64).cast_unsigned();
/// The session's own keyring.
const SESSION_KEYS: u64 = (-3_i64).cast_unsigned();

pub(super) fn act(verb: &str, words: &[&str]) -> Option<Answer> {
    match (verb, words) {
        ("call", [name, rest @ ..]) => {
            let asked = kernel(name)
                .or_else(|| processes(name))
                .or_else(|| spaces(name, rest))?;
            Some(asked.map_err(name_of).into())
        }
        ("hold-open", [path]) => Some(match File::options().write(true).open(path) {
            Ok(opened) => Answer::holding(opened),
            Err(error) => Answer::said(error.to_string()),
        }),
        ("hold-read", [path]) => Some(match File::open(path) {
            Ok(opened) => Answer::holding(opened),
            Err(error) => Answer::said(error.to_string()),
        }),
        _ => None,
    }
}

/// Calls about the kernel and the whole machine.
fn kernel(name: &str) -> Option<Asked> {
    const BEYOND: u64 = 99;
    Some(match name {
        "bpf" => call("bpf", &[n(0), Bytes(&[0; 8_192]), n(8_192)]),
        "perf_event_open" => call("perf_event_open", &[n(0), n(0), n(0), n(0), n(1 << 40)]),
        "userfaultfd" => call("userfaultfd", &[n(1)]),
        "io_uring_setup" => call("io_uring_setup", &[n(1), Room(120)]),
        "fanotify_init" => call("fanotify_init", &[n(0x200), n(0)]),
        "kexec_load" => call("kexec_load", &[n(0), n(0), n(0), n(0)]),
        "init_module" => call("init_module", &[n(0), n(0), n(0)]),
        "reboot" => call("reboot", &[n(0), n(0), n(0), n(0)]),
        "settimeofday" => call("settimeofday", &[Bytes(&impossible_time()), n(0)]),
        "clock_settime" => call("clock_settime", &[n(BEYOND), Bytes(&[0; 16])]),
        "quotactl" => call("quotactl", &[n(0xff), n(0), n(0), n(0)]),
        "iopl" => call("iopl", &[n(BEYOND)]),
        "ioperm" => call("ioperm", &[n(1), n(0), n(1)]),
        "modify_ldt" => call("modify_ldt", &[n(BEYOND), n(0), n(0)]),
        "personality" => call("personality", &[n(0x0004_0000)]),
        "keyctl" => call("keyctl", &[n(0), n(SESSION_KEYS), n(1)]),
        "add_key" => call(
            "add_key",
            &[
                Text(c"user"),
                Text(c"hidden"),
                Bytes(b"x"),
                n(1),
                n(SESSION_KEYS),
            ],
        ),
        "request_key" => call(
            "request_key",
            &[Text(c"user"), Text(c"hidden"), n(0), n(SESSION_KEYS)],
        ),
        "type-into-terminal" => call("ioctl", &[n(0), n(0x5412), Bytes(b"x")]),
        "steer-console" => call("ioctl", &[n(0), n(0x541c), Bytes(b"\x0f")]),
        "old-way" => cell::attempts::number_by_the_old_way(),
        _ => return None,
    })
}

/// Calls about other processes and one's own rights.
fn processes(name: &str) -> Option<Asked> {
    let own = u64::from(std::process::id());
    Some(match name {
        "ptrace-be-traced" => call("ptrace", &[n(0), n(0), n(0), n(0)]),
        "ptrace-init" => call("ptrace", &[n(SEIZE), n(1), n(0), n(0)]),
        "ptrace-child" => ptrace_child(),
        "process_vm_readv" => call("process_vm_readv", &[n(own), n(0), n(0), n(0), n(0), n(0)]),
        "process_madvise" => call("process_madvise", &[n(u64::MAX), n(0), n(0), n(0), n(0)]),
        "pidfd_getfd" => call("pidfd_getfd", &[n(u64::MAX), n(0), n(0)]),
        "kcmp" => call("kcmp", &[n(own), n(own), n(0), n(0), n(0)]),
        "set-user" => rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).map(|()| 0),
        "set-group" => rustix::thread::set_thread_gid(rustix::process::Gid::ROOT).map(|()| 0),
        "take-rights" => take_rights(),
        "kill-init" => rustix::process::Pid::from_raw(1)
            .map_or(Err(Errno::SRCH), |init| {
                rustix::process::kill_process(init, rustix::process::Signal::KILL)
            })
            .map(|()| 0),
        "stop-init" => rustix::process::Pid::from_raw(1)
            .map_or(Err(Errno::SRCH), |init| {
                rustix::process::kill_process(init, rustix::process::Signal::STOP)
            })
            .map(|()| 0),
        _ => return None,
    })
}

/// Calls about namespaces and mounts.
fn spaces(name: &str, rest: &[&str]) -> Option<Asked> {
    let path = CString::new(rest.first().copied().unwrap_or_default()).ok()?;
    Some(match name {
        "unshare" => match rest {
            [flags] => call("unshare", &[n(parse(flags))]),
            _ => return None,
        },
        "clone" => match rest {
            [flags] => cell::attempts::child_in_namespaces(parse(flags)),
            _ => return None,
        },
        "clone3" => call("clone3", &[n(0), n(0)]),
        "setns" => setns(),
        "mount" => match rest {
            [_, kind] => {
                let kind = CString::new(*kind).ok()?;
                call(
                    "mount",
                    &[Text(c"none"), Text(&path), Text(&kind), n(0), n(0)],
                )
            }
            _ => return None,
        },
        "bind" => {
            const BIND: u64 = 0x1000;
            call("mount", &[Text(c"/usr"), Text(&path), n(0), n(BIND), n(0)])
        }
        "umount2" => {
            const DETACH: u64 = 2;
            call("umount2", &[Text(&path), n(DETACH)])
        }
        "pivot_root" => call("pivot_root", &[Text(c"."), Text(c".")]),
        "chroot" => call("chroot", &[Text(&path)]),
        "open_tree" => call("open_tree", &[n(HERE), Text(c"/usr"), n(1)]),
        "fsopen" => call("fsopen", &[Text(c"tmpfs"), n(0)]),
        "mount_setattr" => mount_setattr(&path),
        "open_by_handle_at" => call("open_by_handle_at", &[n(HERE), n(0), n(0)]),
        "sethostname" => call("sethostname", &[Bytes(b"taken"), n(5)]),
        _ => return None,
    })
}

const SEIZE: u64 = 0x4206;

/// Traces a child of our own, as a debugger would.
fn ptrace_child() -> Asked {
    let child = Command::new("/proc/self/exe")
        .arg0(NAME)
        .args([living::CHILD, living::LINGER])
        .args(std::env::args_os().next_back())
        .stdin(Stdio::null())
        .spawn()
        .map_err(|_| Errno::CHILD)?;
    call("ptrace", &[n(SEIZE), n(u64::from(child.id())), n(0), n(0)])
}

fn take_rights() -> Asked {
    let every = CapabilitySet::all();
    let sets = CapabilitySets {
        effective: every,
        permitted: every,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map(|()| 0)
}

fn setns() -> Asked {
    let own = File::open("/proc/self/ns/user").map_err(|_| Errno::NOENT)?;
    let number = u64::try_from(own.as_raw_fd()).map_err(|_| Errno::BADF)?;
    call("setns", &[n(number), n(NEW_USER)])
}

/// Makes a mount writable, or at least tries to change it.
fn mount_setattr(path: &CString) -> Asked {
    const READ_ONLY: u64 = 1;
    let mut change = [0_u8; 32];
    // The second word says what to clear.
    if let Some(clear) = change.get_mut(8..16) {
        clear.copy_from_slice(&READ_ONLY.to_ne_bytes());
    }
    call(
        "mount_setattr",
        &[n(HERE), Text(path), n(0), Bytes(&change), n(32)],
    )
}

/// A time of day with a negative count of microseconds, which no clock can be set to.
fn impossible_time() -> [u8; 16] {
    let mut time = [0; 16];
    if let Some(micros) = time.get_mut(8..16) {
        micros.copy_from_slice(&(-1_i64).to_ne_bytes());
    }
    time
}

fn n<'a>(value: u64) -> Argument<'a> {
    Argument::Number(value)
}

fn parse(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}

/// Returns the word by which the suite knows an answer.
fn name_of(error: Errno) -> String {
    match error {
        Errno::PERM => "EPERM".to_owned(),
        Errno::NOSYS => "ENOSYS".to_owned(),
        other => other.to_string(),
    }
}
