//! The seccomp filters of a cell: what `attempts` names is refused and told to the launcher.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::kernel;
use crate::launcher::attempts::{
    FAMILIES, NAMESPACES, PERSONALITIES, REFUSED, REFUSED_HERE, SOCKET_TYPE_BITS, SOCKET_TYPES,
    TERMINAL_REQUESTS,
};
use crate::link::{Fault, WallReport};

const WALL: &str = "seccomp";
const RECORD: &str = "denied attempts";
/// What the kernel is told to do with a recorded attempt: hold it for the launcher.
const HOLD: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// Said not to exist, so that libraries fall back: clone3 hides its flags from a filter, and what
/// io_uring does, no filter sees. They leave no record: C libraries try clone3 for every thread and
/// process, and runtimes such as libuv try io_uring, each expecting to hear just this. The same goes
/// for numbers that are no call's, by which programs find out what a kernel has.
const ABSENT: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// A socket that asks for addresses and routes, which C libraries open whenever a name is looked up
/// or a program lists its networks (`getaddrinfo`, `getifaddrs`). It is refused like the rest of its
/// family and leaves no record: that is no attempt but how ordinary programs begin.
const ADDRESS_QUESTION: [(u8, u64); 2] = [(0, AF_NETLINK), (2, NETLINK_ROUTE)];
const AF_NETLINK: u64 = 16;
const NETLINK_ROUTE: u64 = 0;

/// What became of the filters.
pub(crate) struct Filtered {
    /// The wall, and whether attempts are recorded.
    pub(crate) walls: [WallReport; 2],
    /// Where the attempts are heard of, if they are. It must go to the launcher at once: until it is
    /// listened to, a refused call waits.
    pub(crate) listener: Option<OwnedFd>,
}

/// Puts the filters on this process and all it will start.
///
/// Where the kernel does not tell of attempts they are refused just the same. So they are by the
/// kernel itself once nobody listens any more.
pub(crate) fn restrict() -> Result<Filtered, Fault> {
    let failed = |error: seccompiler::BackendError| Fault::wall(WALL)(error);
    let refused = refused().map_err(failed)?;
    let listener = kernel::listen(&held(&refused));
    if listener.is_err() {
        apply(&refused)?;
    }
    // An error outranks holding the call, whichever filter says so.
    apply(&address_questions().map_err(failed)?)?;
    apply(&absent().map_err(failed)?)?;
    let refused = REFUSED.len() + REFUSED_HERE.len();
    let wall = WallReport::stands(WALL, format!("{refused} calls refused"));
    let (listener, record) = match listener {
        Ok(listener) => (Some(listener), Ok("recorded".to_owned())),
        Err(error) => (None, Err(not_recorded(&error))),
    };
    Ok(Filtered {
        walls: [wall, WallReport::optional(RECORD, record)],
        listener,
    })
}

fn not_recorded(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EBUSY) => {
            "another program, such as a container's manager, listens to the calls of this one \
             already, and the kernel knows one listener only"
        }
        Some(libc::EINVAL | libc::ENOSYS) => "the kernel is older than 5.0",
        _ => "the kernel does not tell of them",
    };
    format!("not recorded: {error}; {why}")
}

fn apply(program: &BpfProgram) -> Result<(), Fault> {
    apply_filter(program).map_err(|error| Fault::Wall {
        wall: WALL.to_owned(),
        why: format!("{error}; the kernel needs CONFIG_SECCOMP_FILTER=y"),
    })
}

/// Returns the same filter, which holds for the launcher what the given one refuses.
fn held(refused: &BpfProgram) -> BpfProgram {
    let hold = |step: &sock_filter| {
        if step.code == RETURN && step.k == ERRNO | libc::EPERM.unsigned_abs() {
            sock_filter { k: HOLD, ..*step }
        } else {
            step.clone()
        }
    };
    refused.iter().map(hold).collect()
}

fn absent() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    compile(rules, libc::ENOSYS)
}

fn address_questions() -> Result<BpfProgram, seccompiler::BackendError> {
    let conditions = ADDRESS_QUESTION
        .iter()
        .map(|(argument, value)| condition(*argument, SeccompCmpOp::Eq, *value))
        .collect::<Result<_, _>>()?;
    let rules = [(libc::SYS_socket, vec![SeccompRule::new(conditions)?])];
    compile(rules.into(), libc::EPERM)
}

fn refused() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|(call, _)| (*call, Vec::new()))
        .collect();
    let clones = NAMESPACES
        .iter()
        .map(|(flag, _)| rule([condition(0, SeccompCmpOp::MaskedEq(*flag), *flag)?]))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, clones);
    let mut sockets = vec![none_of(0, &FAMILIES)?];
    for (refused, _) in SOCKET_TYPES {
        sockets.push(rule([condition(
            1,
            SeccompCmpOp::MaskedEq(SOCKET_TYPE_BITS),
            refused,
        )?])?);
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, vec![none_of(0, &FAMILIES[..1])?]);
    rules.insert(libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]);
    let requests = TERMINAL_REQUESTS
        .iter()
        .map(|(request, _)| rule([condition(1, SeccompCmpOp::Eq, *request)?]))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, requests);
    compile(rules, libc::EPERM).map(foreign_numbers_first)
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

const RETURN: u16 = 0x06;
const ERRNO: u32 = 0x0005_0000;

/// Puts a check before a program: x86-64 kernels may know every call a second time, under a number
/// with this bit set, which the program would not recognise.
fn foreign_numbers_first(program: BpfProgram) -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20; // load the word at offset k of the call's data
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const SECOND_NUMBERS: u32 = 0x4000_0000;
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
