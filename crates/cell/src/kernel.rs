//! The few system calls that no safe crate offers, each behind a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Side<Child> {
    /// The new process.
    New,
    /// The old one, with a handle on the new.
    Old(Child),
}

/// Makes a child in new namespaces and returns, in the parent, its pidfd.
///
/// Must only be called while the process has one thread; the launcher never starts another.
pub(crate) fn clone_into(namespaces: u64) -> io::Result<Side<OwnedFd>> {
    clone_with(CloneArguments {
        flags: namespaces,
        ..CloneArguments::default()
    })
}

/// The same, with the child born into this control group of the second version.
pub(crate) fn clone_into_group(
    namespaces: u64,
    group: BorrowedFd<'_>,
) -> io::Result<Side<OwnedFd>> {
    clone_with(CloneArguments {
        flags: namespaces | CLONE_INTO_CGROUP,
        cgroup: u64::try_from(group.as_raw_fd()).map_err(io::Error::other)?,
        ..CloneArguments::default()
    })
}

fn clone_with(arguments: CloneArguments) -> io::Result<Side<OwnedFd>> {
    let mut pidfd: libc::c_int = -1;
    let arguments = CloneArguments {
        flags: arguments.flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: SIGCHLD,
        ..arguments
    };
    #[expect(unsafe_code, reason = "clone3 has no safe wrapper")]
    // SAFETY: `arguments` is a valid `clone_args` of the size given and outlives the call. No stack
    // and no CLONE_VM are asked for, so this is a fork: the child goes on with a copy of this
    // stack, and with one thread there is no lock another thread could have held.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::New),
        _ => {
            #[expect(unsafe_code, reason = "the kernel hands over a raw descriptor")]
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that
            // nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Old(pidfd))
        }
    }
}

/// Forks. Must only be called while the process has one thread.
pub(crate) fn fork() -> io::Result<Side<Pid>> {
    #[expect(unsafe_code, reason = "fork has no safe wrapper")]
    // SAFETY: the launcher has one thread, so the child may go on using the whole of libc and std.
    let result = unsafe { libc::fork() };
    match Pid::from_raw(result) {
        Some(child) if result > 0 => Ok(Side::Old(child)),
        None => Ok(Side::New),
        Some(_) => Err(io::Error::last_os_error()),
    }
}

/// Sets attributes on a mount and, if asked, on every mount beneath it.
pub(crate) fn restrict_mount(
    mount: impl AsFd,
    attributes: MountAttrFlags,
    reach: Reach,
) -> io::Result<()> {
    let change = MountAttributes {
        set: u64::from(attributes.bits()),
        ..MountAttributes::default()
    };
    let flags = libc::AT_EMPTY_PATH
        | match reach {
            Reach::This => 0,
            Reach::Beneath => AT_RECURSIVE,
        };
    #[expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]
    // SAFETY: the path is a valid C string, `change` is a valid `mount_attr` of the size given, and
    // both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How far [`restrict_mount`] reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// This mount only.
    This,
    /// This mount and all beneath it.
    Beneath,
}

/// Closes every descriptor from `first` on.
///
/// Must be called before any descriptor from `first` on is owned by a value of this process.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "close_range has no safe wrapper")]
    // SAFETY: the launcher calls this first of all, when nothing but the standard streams is owned
    // by anything, so no owner is left with a closed descriptor.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal its default meaning again; what a parent ignores, a child would too.
pub(crate) fn default_signals() {
    for number in 1..=SIGNALS_MAX {
        #[expect(unsafe_code, reason = "signal has no safe wrapper")]
        // SAFETY: no handler is installed. The result is of no use: it fails for the two signals
        // that cannot be changed and for those libc keeps to itself.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
}

/// Puts a seccomp filter on this process and all it will start, and returns the listener that hears
/// of the calls for which the filter answers [`libc::SECCOMP_RET_USER_NOTIF`].
///
/// A caller that was heard waits for its answer undisturbed by signals, so that each call is heard
/// once; kernels before 5.19 cannot promise that and are asked without.
pub(crate) fn listen(filter: &[seccompiler::sock_filter]) -> io::Result<OwnedFd> {
    if !notifications_fit()? {
        return Err(io::Error::other(
            "the kernel's notifications are longer than this program knows",
        ));
    }
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match install(
        filter,
        listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(filter, listener),
        other => other,
    }
}

fn install(filter: &[seccompiler::sock_filter], flags: libc::c_ulong) -> io::Result<OwnedFd> {
    let mut filter: Vec<_> = filter
        .iter()
        .map(|step| libc::sock_filter {
            code: step.code,
            jt: step.jt,
            jf: step.jf,
            k: step.k,
        })
        .collect();
    let program = libc::sock_fprog {
        len: filter.len().try_into().map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    #[expect(unsafe_code, reason = "seccomp has no safe wrapper")]
    // SAFETY: `program` points to `len` valid instructions, and both outlive the call, which only
    // reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match RawFd::try_from(result) {
        Ok(listener) if listener >= 0 => {
            #[expect(unsafe_code, reason = "the kernel hands over a raw descriptor")]
            // SAFETY: with `SECCOMP_FILTER_FLAG_NEW_LISTENER`, success is a new descriptor that
            // nothing else owns.
            let listener = unsafe { OwnedFd::from_raw_fd(listener) };
            Ok(listener)
        }
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Returns whether [`NotificationSpace`] holds what this kernel writes and reads.
fn notifications_fit() -> io::Result<bool> {
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    #[expect(unsafe_code, reason = "seccomp has no safe wrapper")]
    // SAFETY: `sizes` is the structure this operation fills in, and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            &raw mut sizes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(
        usize::from(sizes.seccomp_notif) <= size_of::<NotificationSpace<libc::seccomp_notif>>()
            && usize::from(sizes.seccomp_notif_resp)
                <= size_of::<NotificationSpace<libc::seccomp_notif_resp>>(),
    )
}

/// A system call of a cell that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldCall {
    id: u64,
    /// Its number.
    pub(crate) number: i64,
    /// Its arguments, as they were in the registers. What they point to is not looked at: the
    /// caller could change it meanwhile.
    pub(crate) arguments: [u64; 6],
}

/// Takes a held call from a listener; `None` when it ended before it was heard.
///
/// Must only be called when the listener is readable, or it may wait.
pub(crate) fn receive_call(listener: BorrowedFd<'_>) -> io::Result<Option<HeldCall>> {
    let mut heard = NotificationSpace {
        value: libc::seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: libc::seccomp_data {
                nr: 0,
                arch: 0,
                instruction_pointer: 0,
                args: [0; 6],
            },
        },
        later_fields: [0; LATER_FIELDS],
    };
    #[expect(unsafe_code, reason = "the ioctls of seccomp have no safe wrapper")]
    // SAFETY: `heard` is zeroed, as the kernel wants it, has room for what this kernel writes (see
    // `notifications_fit`), and outlives the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut heard,
        )
    };
    if result == 0 {
        return Ok(Some(HeldCall {
            id: heard.value.id,
            number: heard.value.data.nr.into(),
            arguments: heard.value.data.args,
        }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(None),
        _ => Err(error),
    }
}

/// Lets a held call fail with an error number. It makes no difference if its caller is gone.
pub(crate) fn refuse_call(
    listener: BorrowedFd<'_>,
    call: HeldCall,
    errno: libc::c_int,
) -> io::Result<()> {
    let mut answer = NotificationSpace {
        value: libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: -errno,
            // Never `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
            flags: 0,
        },
        later_fields: [0; LATER_FIELDS],
    };
    #[expect(unsafe_code, reason = "the ioctls of seccomp have no safe wrapper")]
    // SAFETY: `answer` has room for what this kernel reads (see `notifications_fit`) and outlives
    // the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut answer,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Gone, or, before 5.19, called away by a signal.
        Some(libc::ENOENT) => Ok(()),
        _ => Err(error),
    }
}

const LATER_FIELDS: usize = 256;

/// A structure that later kernels may lengthen.
#[repr(C)]
struct NotificationSpace<T> {
    value: T,
    later_fields: [u8; LATER_FIELDS],
}

const SIGNALS_MAX: libc::c_int = 64;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGCHLD: u64 = 17;
const AT_RECURSIVE: libc::c_int = 0x8000;

/// `struct clone_args`, as far as Linux 5.7 has it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}
