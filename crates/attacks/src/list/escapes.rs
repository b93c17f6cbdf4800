//! S10, second part: gains rights, namespaces, mounts or a hold on other processes.

use crate::attempt::{Attempt, Control, Given, Need, Oracle, attempt};

const CALLS: &str = "seccomp, no capabilities";

/// The call succeeds in the control, and the host sees what was gained.
const fn gains(
    id: &'static str,
    told: &'static str,
    act: &'static [&'static str],
    without: &'static str,
) -> Attempt {
    attempt(
        id,
        told,
        CALLS,
        act,
        Oracle::NothingGained,
        Control::without(without),
    )
}

/// The call is put so that it cannot succeed; in the control the kernel says so by another word.
const fn knocks(
    id: &'static str,
    told: &'static str,
    act: &'static [&'static str],
    without: &'static str,
) -> Attempt {
    attempt(
        id,
        told,
        CALLS,
        act,
        Oracle::Refused,
        Control::without(without),
    )
}

const fn shut(
    id: &'static str,
    told: &'static str,
    act: &'static [&'static str],
    why: &'static str,
) -> Attempt {
    attempt(id, told, CALLS, act, Oracle::Refused, Control::none(why))
}

const MACHINE: &str =
    "only the machine's root may, and what it would do, it would do to the machine";
const MOUNTS: &str = "seccomp,rights,landlock";

pub(super) const LIST: &[Attempt] = &[
    gains(
        "S10-unshare-user",
        "makes a user namespace of its own, to be root in it",
        &["call", "unshare", "0x10000000"],
        "seccomp",
    ),
    gains(
        "S10-unshare-mount",
        "makes a mount namespace of its own",
        &["call", "unshare", "0x10020000"],
        "seccomp",
    ),
    gains(
        "S10-unshare-network",
        "makes a network namespace of its own",
        &["call", "unshare", "0x50000000"],
        "seccomp",
    ),
    gains(
        "S10-clone-user",
        "starts a child in a user namespace of its own",
        &["call", "clone", "0x10000000"],
        "seccomp",
    ),
    gains(
        "S10-clone-all",
        "starts a child in new namespaces of every kind",
        &["call", "clone", "0x7e020000"],
        "seccomp",
    ),
    knocks(
        "S10-clone3",
        "starts a child by the call whose flags no filter sees",
        &["call", "clone3"],
        "seccomp",
    ),
    knocks(
        "S10-setns",
        "enters a namespace by a descriptor",
        &["call", "setns"],
        "seccomp",
    ),
    gains(
        "S10-mount",
        "mounts a file system",
        &["call", "mount", "/tmp", "tmpfs"],
        MOUNTS,
    ),
    gains(
        "S10-mount-proc",
        "mounts a proc of its own, without covers",
        &["call", "mount", "/tmp", "proc"],
        MOUNTS,
    ),
    gains(
        "S10-mount-cgroups",
        "mounts the control groups, to plant a release agent",
        &["call", "mount", "/tmp", "cgroup2"],
        MOUNTS,
    ),
    gains(
        "S10-bind",
        "mounts one folder over another",
        &["call", "bind", "/tmp"],
        MOUNTS,
    ),
    gains(
        "S10-unmount",
        "takes away a mount of its cell",
        &["call", "umount2", "/dev/shm"],
        MOUNTS,
    ),
    gains(
        "S10-chroot",
        "takes another folder for its root",
        &["call", "chroot", "/usr"],
        "seccomp,rights",
    ),
    knocks(
        "S10-pivot-root",
        "changes the root for all",
        &["call", "pivot_root"],
        MOUNTS,
    ),
    gains(
        "S10-open-tree",
        "takes a copy of a mount by a descriptor",
        &["call", "open_tree"],
        "seccomp,rights,landlock",
    ),
    gains(
        "S10-new-file-system",
        "begins a new file system by a descriptor",
        &["call", "fsopen"],
        "seccomp,rights",
    ),
    gains(
        "S10-mount-attributes",
        "makes the read-only root writable",
        &["call", "mount_setattr", "/"],
        MOUNTS,
    ),
    knocks(
        "S10-open-by-handle",
        "opens a file by a handle, past every folder",
        &["call", "open_by_handle_at"],
        "seccomp",
    ),
    gains(
        "S10-be-traced",
        "asks its init to trace it",
        &["call", "ptrace-be-traced"],
        "seccomp",
    ),
    gains(
        "S10-trace-child",
        "traces a process of its own",
        &["call", "ptrace-child"],
        "seccomp",
    ),
    shut(
        "S10-trace-init",
        "traces its init",
        &["call", "ptrace-init"],
        "three walls more stop it, one by the same word; S10-trace-child shows the door",
    ),
    knocks(
        "S10-read-memory",
        "reads another process's memory",
        &["call", "process_vm_readv"],
        "seccomp",
    ),
    knocks(
        "S10-advise-memory",
        "steers another process's memory",
        &["call", "process_madvise"],
        "seccomp",
    ),
    knocks(
        "S10-take-descriptor",
        "takes a descriptor out of another process",
        &["call", "pidfd_getfd"],
        "seccomp",
    ),
    knocks(
        "S10-compare",
        "compares kernel addresses of two processes",
        &["call", "kcmp"],
        "seccomp",
    ),
    knocks(
        "S10-bpf",
        "loads a program into the kernel",
        &["call", "bpf"],
        "seccomp",
    ),
    knocks(
        "S10-perf",
        "watches the kernel by its counters",
        &["call", "perf_event_open"],
        "seccomp",
    ),
    gains(
        "S10-userfault",
        "holds the kernel up at a page of its choice",
        &["call", "userfaultfd"],
        "seccomp",
    ),
    gains(
        "S10-fanotify",
        "watches files of others",
        &["call", "fanotify_init"],
        "seccomp",
    ),
    knocks(
        "S10-keyring",
        "opens the session's keyring, which engine and host share",
        &["call", "keyctl"],
        "seccomp",
    ),
    knocks(
        "S10-add-key",
        "hides something in the kernel's keys",
        &["call", "add_key"],
        "seccomp",
    ),
    knocks(
        "S10-request-key",
        "asks for a key of the host's",
        &["call", "request_key"],
        "seccomp",
    ),
    gains(
        "S10-personality",
        "has its addresses laid out as an exploit needs them",
        &["call", "personality"],
        "seccomp",
    ),
    knocks(
        "S10-type-into-terminal",
        "types into the operator's terminal",
        &["call", "type-into-terminal"],
        "seccomp",
    ),
    knocks(
        "S10-steer-console",
        "pastes into the machine's console",
        &["call", "steer-console"],
        "seccomp",
    ),
    #[cfg(target_arch = "x86_64")]
    knocks(
        "S10-old-way",
        "goes into the kernel by the 32-bit way",
        &["call", "old-way"],
        "seccomp",
    ),
    #[cfg(target_arch = "x86_64")]
    knocks(
        "S10-ports",
        "reaches the machine's ports",
        &["call", "iopl"],
        "seccomp",
    ),
    #[cfg(target_arch = "x86_64")]
    knocks(
        "S10-some-ports",
        "reaches some of the machine's ports",
        &["call", "ioperm"],
        "seccomp",
    ),
    #[cfg(target_arch = "x86_64")]
    knocks(
        "S10-segments",
        "writes a segment table of its own",
        &["call", "modify_ldt"],
        "seccomp",
    ),
    knocks(
        "S10-set-time",
        "sets the time of day",
        &["call", "settimeofday"],
        "seccomp",
    ),
    knocks(
        "S10-set-clock",
        "sets a clock",
        &["call", "clock_settime"],
        "seccomp",
    ),
    knocks(
        "S10-disk-quotas",
        "changes disk quotas",
        &["call", "quotactl"],
        "seccomp",
    ),
    knocks(
        "S10-reboot",
        "restarts the machine",
        &["call", "reboot"],
        "seccomp,rights",
    ),
    knocks(
        "S10-host-name",
        "renames the machine",
        &["call", "sethostname"],
        "seccomp,rights",
    ),
    shut(
        "S10-new-kernel",
        "loads another kernel",
        &["call", "kexec_load"],
        MACHINE,
    ),
    shut(
        "S10-module",
        "loads a module into the kernel",
        &["call", "init_module"],
        MACHINE,
    ),
    gains(
        "S10-take-rights",
        "takes every capability",
        &["call", "take-rights"],
        "seccomp,rights",
    ),
    attempt(
        "S10-network-settings",
        "changes how its network forwards, by `/proc/sys`",
        "read-only proc, no capabilities",
        &["hold-open", "/proc/sys/net/ipv4/ip_forward"],
        Oracle::NothingGained,
        Control::without("proc,rights,landlock,seccomp"),
    ),
    attempt(
        "S10-core-pattern",
        "has the kernel run a program of its own when something crashes",
        "read-only proc",
        &["hold-open", "/proc/sys/kernel/core_pattern"],
        Oracle::NothingGained,
        Control::without("proc,landlock").as_root_only(),
    ),
    attempt(
        "S10-system-request",
        "presses the keys that restart the machine",
        "covered proc",
        &["hold-open", "/proc/sysrq-trigger"],
        Oracle::NothingGained,
        Control::without("proc,landlock").as_root_only(),
    )
    .given(&[Given::Needs(Need::Path("/proc/sysrq-trigger"))]),
    attempt(
        "S10-engine-program",
        "reaches the engine's own program through its init",
        "an init nobody may look into",
        &["hold-read", "/proc/1/exe"],
        Oracle::NothingGained,
        Control::without("environment,landlock"),
    ),
    attempt(
        "S10-memory-device",
        "opens the machine's memory",
        "private devices",
        &["hold-read", "/dev/mem"],
        Oracle::NothingGained,
        Control::none("a control would have to open it"),
    ),
];
