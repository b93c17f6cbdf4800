//! The system calls a cell cannot make, and what an attempt to make one is called.

use std::borrow::Cow;

/// Refused whatever the arguments, with the names they have in records: what no build, test or
/// agent needs and what past escapes were made of. None of them is tried by a C library, a language
/// runtime or a build tool that goes about its work, so every attempt is worth a record.
pub(crate) const REFUSED: &[(i64, &str)] = &[
    // other processes
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_process_madvise, "process_madvise"),
    (libc::SYS_pidfd_getfd, "pidfd_getfd"),
    (libc::SYS_kcmp, "kcmp"),
    // the kernel itself
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
    (SYS_QUOTACTL_FD, "quotactl_fd"),
    (libc::SYS_vhangup, "vhangup"),
    (libc::SYS_settimeofday, "settimeofday"),
    (libc::SYS_clock_settime, "clock_settime"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setdomainname, "setdomainname"),
    // keys
    (libc::SYS_add_key, "add_key"),
    (libc::SYS_request_key, "request_key"),
    (libc::SYS_keyctl, "keyctl"),
    // mounts and namespaces
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_chroot, "chroot"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (SYS_OPEN_TREE_ATTR, "open_tree_attr"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fspick, "fspick"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_setns, "setns"),
    // files by handle, whole file systems watched
    (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_fanotify_init, "fanotify_init"),
];
/// The same, of this architecture.
#[cfg(target_arch = "x86_64")]
pub(crate) const REFUSED_HERE: &[(i64, &str)] = &[
    (libc::SYS_kexec_file_load, "kexec_file_load"),
    (libc::SYS_iopl, "iopl"),
    (libc::SYS_ioperm, "ioperm"),
    (libc::SYS_modify_ldt, "modify_ldt"),
    (libc::SYS_uselib, "uselib"),
    (libc::SYS_ustat, "ustat"),
    (libc::SYS__sysctl, "_sysctl"),
];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const REFUSED_HERE: &[(i64, &str)] = &[(SYS_KEXEC_FILE_LOAD, "kexec_file_load")];

const SYS_QUOTACTL_FD: i64 = 443;
const SYS_OPEN_TREE_ATTR: i64 = 467;
#[cfg(not(target_arch = "x86_64"))]
const SYS_KEXEC_FILE_LOAD: i64 = 294;

/// Every flag of `clone` that makes a namespace, the gravest first: an attempt with several is
/// recorded under the first.
pub(crate) const NAMESPACES: [(u64, &str); 8] = [
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x0002_0000, "CLONE_NEWNS"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
    (0x0000_0080, "CLONE_NEWTIME"),
];
/// The socket families that are let through: unix, inet, inet6.
pub(crate) const FAMILIES: [u64; 3] = [1, 2, 10];
/// The kind of a socket, within the second argument.
pub(crate) const SOCKET_TYPE_BITS: u64 = 0xf;
/// The kinds refused in every family.
pub(crate) const SOCKET_TYPES: [(u64, &str); 2] = [(3, "SOCK_RAW"), (10, "SOCK_PACKET")];
/// Requests to a terminal: type into it, steer the console.
pub(crate) const TERMINAL_REQUESTS: [(u64, &str); 2] = [(0x5412, "TIOCSTI"), (0x541c, "TIOCLINUX")];
/// Linux, and asking which.
pub(crate) const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

/// By number; the kernel knows no others yet.
const FAMILY_NAMES: [&str; 46] = [
    "AF_UNSPEC",
    "AF_UNIX",
    "AF_INET",
    "AF_AX25",
    "AF_IPX",
    "AF_APPLETALK",
    "AF_NETROM",
    "AF_BRIDGE",
    "AF_ATMPVC",
    "AF_X25",
    "AF_INET6",
    "AF_ROSE",
    "AF_DECNET",
    "AF_NETBEUI",
    "AF_SECURITY",
    "AF_KEY",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_ASH",
    "AF_ECONET",
    "AF_ATMSVC",
    "AF_RDS",
    "AF_SNA",
    "AF_IRDA",
    "AF_PPPOX",
    "AF_WANPIPE",
    "AF_LLC",
    "AF_IB",
    "AF_MPLS",
    "AF_CAN",
    "AF_TIPC",
    "AF_BLUETOOTH",
    "AF_IUCV",
    "AF_RXRPC",
    "AF_ISDN",
    "AF_PHONET",
    "AF_IEEE802154",
    "AF_CAIF",
    "AF_ALG",
    "AF_NFC",
    "AF_VSOCK",
    "AF_KCM",
    "AF_QIPCRTR",
    "AF_SMC",
    "AF_XDP",
    "AF_MCTP",
];
const UNKNOWN_FAMILY: &str = "an unknown family";
const UNKNOWN: &str = "an unknown call";

/// Returns what a refused call is called. There is a fixed number of answers, however many
/// different calls a hostile program makes.
pub(crate) fn name(number: i64, arguments: &[u64; 6]) -> Cow<'static, str> {
    let [first, second, ..] = arguments.map(low_half);
    match number {
        libc::SYS_clone => within("clone", first_match(&NAMESPACES, |flag| first & flag != 0)),
        libc::SYS_ioctl => within(
            "ioctl",
            first_match(&TERMINAL_REQUESTS, |request| second == request),
        ),
        libc::SYS_socket if FAMILIES.contains(&first) => {
            let kind = second & SOCKET_TYPE_BITS;
            let kind = first_match(&SOCKET_TYPES, |refused| kind == refused);
            Cow::from(format!("socket({}, {kind})", family(first)))
        }
        libc::SYS_socket => within("socket", family(first)),
        libc::SYS_socketpair => within("socketpair", family(first)),
        libc::SYS_personality => Cow::from("personality"),
        _ => REFUSED
            .iter()
            .chain(REFUSED_HERE)
            .find(|(refused, _)| *refused == number)
            .map_or(Cow::from(UNKNOWN), |(_, name)| Cow::from(*name)),
    }
}

/// All arguments looked at are 32 bits wide to the kernel, whatever the upper half holds.
fn low_half(argument: u64) -> u64 {
    argument & u64::from(u32::MAX)
}

fn within(call: &str, argument: &str) -> Cow<'static, str> {
    Cow::from(format!("{call}({argument})"))
}

fn first_match(table: &[(u64, &'static str)], fits: impl Fn(u64) -> bool) -> &'static str {
    table
        .iter()
        .find(|(value, _)| fits(*value))
        .map_or("?", |(_, name)| name)
}

fn family(number: u64) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|number| FAMILY_NAMES.get(number))
        .unwrap_or(&UNKNOWN_FAMILY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: i64, arguments: &[u64]) -> String {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        name(number, &all).into_owned()
    }

    #[test]
    fn an_attempt_is_called_by_what_was_tried() {
        assert_eq!(named(libc::SYS_ptrace, &[16, 1]), "ptrace");
        assert_eq!(named(libc::SYS_mount, &[]), "mount");
        assert_eq!(
            named(libc::SYS_clone, &[0x5000_0011]),
            "clone(CLONE_NEWUSER)"
        );
        assert_eq!(
            named(libc::SYS_clone, &[0x4000_0011]),
            "clone(CLONE_NEWNET)"
        );
        assert_eq!(named(libc::SYS_socket, &[40, 1]), "socket(AF_VSOCK)");
        assert_eq!(named(libc::SYS_socket, &[45, 1]), "socket(AF_MCTP)");
        assert_eq!(
            named(libc::SYS_socketpair, &[16, 3]),
            "socketpair(AF_NETLINK)"
        );
        assert_eq!(
            named(libc::SYS_socket, &[10, 3]),
            "socket(AF_INET6, SOCK_RAW)"
        );
        assert_eq!(named(libc::SYS_ioctl, &[0, 0x5412]), "ioctl(TIOCSTI)");
        assert_eq!(named(libc::SYS_personality, &[0x0040_0000]), "personality");
    }

    #[test]
    fn what_the_kernel_ignores_of_an_argument_names_nothing() {
        assert_eq!(
            named(libc::SYS_ioctl, &[0, 0xdead_0000_541c]),
            "ioctl(TIOCLINUX)"
        );
        assert_eq!(
            named(libc::SYS_socket, &[0xbeef_0000_0002, 0x0008_0003]),
            "socket(AF_INET, SOCK_RAW)"
        );
    }

    #[test]
    fn a_program_cannot_make_names() {
        let mut names = std::collections::BTreeSet::new();
        for number in (0..1_000).chain([libc::SYS_socket, libc::SYS_clone, libc::SYS_ioctl]) {
            for value in (0..200).chain((0..64).map(|bit| 1 << bit)) {
                names.insert(named(number, &[value, value]));
                names.insert(named(number, &[1, value]));
                names.insert(named(number, &[value, 3]));
            }
        }
        assert!(names.len() <= super::super::denials::NAMES_MAX, "{names:?}");
        let longest = names.iter().map(String::len).max().unwrap();
        assert!(longest <= super::super::denials::NAME_BYTES_MAX);
    }
}
