//! The few system calls that no safe crate offers, each behind a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

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
    let mut pidfd: libc::c_int = -1;
    let arguments = CloneArguments {
        flags: namespaces | CLONE_PIDFD,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: SIGCHLD,
        ..CloneArguments::default()
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

const SIGNALS_MAX: libc::c_int = 64;
const CLONE_PIDFD: u64 = 0x1000;
const SIGCHLD: u64 = 17;
const AT_RECURSIVE: libc::c_int = 0x8000;

/// `struct clone_args`, as far as Linux 5.7 has it.
#[repr(C)]
#[derive(Default)]
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
