//! The system calls a cell cannot make: seccomp filters that refuse what no build, test or agent
//! needs and what past escapes were made of.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::link::{Fault, WallReport};

const WALL: &str = "seccomp";

/// Refused with EPERM, whatever the arguments.
const REFUSED: &[i64] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // the kernel itself
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    SYS_QUOTACTL_FD,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // keys
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // mounts and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // files by handle, whole file systems watched
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
];
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[SYS_KEXEC_FILE_LOAD];

/// Said not to exist, so that libraries fall back: clone3 hides its flags from a filter, and what
/// io_uring does, no filter sees.
const ABSENT: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

const SYS_QUOTACTL_FD: i64 = 443;
const SYS_OPEN_TREE_ATTR: i64 = 467;
#[cfg(not(target_arch = "x86_64"))]
const SYS_KEXEC_FILE_LOAD: i64 = 294;

/// Every `CLONE_NEW…` flag.
const NAMESPACE_FLAGS: [u64; 8] = [
    0x0000_0080, // time
    0x0002_0000, // mount
    0x0200_0000, // cgroup
    0x0400_0000, // uts
    0x0800_0000, // ipc
    0x1000_0000, // user
    0x2000_0000, // pid
    0x4000_0000, // network
];
const FAMILIES: [u64; 3] = [1, 2, 10]; // unix, inet, inet6
const SOCKET_TYPE_BITS: u64 = 0xf;
const SOCKET_TYPES_REFUSED: [u64; 2] = [3, 10]; // raw, packet
const TERMINAL_REQUESTS_REFUSED: [u64; 2] = [0x5412, 0x541c]; // type into, steer the console
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff]; // Linux, and asking which

/// Puts the filters on this process and all it will start.
pub(crate) fn restrict() -> Result<WallReport, Fault> {
    for program in programs()? {
        apply_filter(&program).map_err(|error| Fault::Wall {
            wall: WALL.to_owned(),
            why: format!("{error}; the kernel needs CONFIG_SECCOMP_FILTER=y"),
        })?;
    }
    Ok(WallReport::stands(
        WALL,
        format!("{} calls refused", REFUSED.len() + REFUSED_HERE.len()),
    ))
}

fn programs() -> Result<[BpfProgram; 2], Fault> {
    let failed = |error: seccompiler::BackendError| Fault::wall(WALL)(error);
    let refused = refused().map_err(failed)?;
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let absent = compile(absent, libc::ENOSYS).map_err(failed)?;
    Ok([foreign_numbers_first(refused), absent])
}

fn refused() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let clones = NAMESPACE_FLAGS
        .iter()
        .map(|flag| rule([condition(0, SeccompCmpOp::MaskedEq(*flag), *flag)?]))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, clones);
    let mut sockets = vec![none_of(0, &FAMILIES)?];
    for refused in SOCKET_TYPES_REFUSED {
        sockets.push(rule([condition(
            1,
            SeccompCmpOp::MaskedEq(SOCKET_TYPE_BITS),
            refused,
        )?])?);
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, vec![none_of(0, &FAMILIES[..1])?]);
    rules.insert(libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]);
    let requests = TERMINAL_REQUESTS_REFUSED
        .iter()
        .map(|request| rule([condition(1, SeccompCmpOp::Eq, *request)?]))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, requests);
    compile(rules, libc::EPERM)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let action = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, action, ARCH)?.try_into()
}

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

fn none_of(argument: u8, allowed: &[u64]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = allowed
        .iter()
        .map(|value| condition(argument, SeccompCmpOp::Ne, *value))
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

fn rule<const N: usize>(
    conditions: [SeccompCondition; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into())
}

/// All arguments looked at are 32 bits wide to the kernel, whatever the upper half holds.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// Puts a check before a program: x86-64 kernels may know every call a second time, under a number
/// with this bit set, which the program would not recognise.
fn foreign_numbers_first(program: BpfProgram) -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20; // load the word at offset k of the call's data
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const SECOND_NUMBERS: u32 = 0x4000_0000;
    const ERRNO: u32 = 0x0005_0000;
    let mut checked = vec![
        sock_filter {
            code: LOAD_NUMBER,
            jt: 0,
            jf: 0,
            k: 0,
        },
        sock_filter {
            code: JUMP_IF_AT_LEAST,
            jt: 0,
            jf: 1,
            k: SECOND_NUMBERS,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: ERRNO | libc::ENOSYS.unsigned_abs(),
        },
    ];
    checked.extend(program);
    checked
}
