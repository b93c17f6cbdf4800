//! The odd system calls of the attack suite, behind one safe function: what a hostile program would
//! try, with arguments that can do no harm to the memory of the one that tries.

use std::ffi::CStr;

use rustix::io::Errno;

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A number; where the call wants a pointer only zero is taken, as the null pointer.
    Number(u64),
    /// Bytes that the kernel reads; the next argument is usually their length.
    Bytes(&'a [u8]),
    /// A text that the kernel reads.
    Text(&'a CStr),
    /// Room of this many bytes, zeroed, that the kernel may write; what it writes is thrown away.
    Room(usize),
}

/// Tries a call of the suite by its name and returns what the kernel answered: a number, usually a
/// descriptor that stays open until the process ends, or why not.
///
/// # Errors
/// The kernel's answer; `ENOTSUP` for a name that is not in the suite or an argument that the call
/// would take for a place in memory.
pub fn call(name: &str, arguments: &[Argument<'_>]) -> Result<u64, Errno> {
    let Some(Call {
        number, pointers, ..
    }) = CALLS.iter().find(|call| call.name == name)
    else {
        return Err(Errno::NOTSUP);
    };
    let mut rooms: Vec<Vec<u8>> = Vec::new();
    let mut words = [0_u64; WORDS];
    if arguments.len() > WORDS {
        return Err(Errno::NOTSUP);
    }
    for (place, (word, argument)) in words.iter_mut().zip(arguments).enumerate() {
        let is_pointer = pointers.contains(&place);
        *word = match argument {
            Argument::Number(value) if !is_pointer || *value == 0 => *value,
            Argument::Bytes(bytes) if is_pointer => address(bytes.as_ptr()),
            Argument::Text(text) if is_pointer => address(text.as_ptr()),
            Argument::Room(bytes) if is_pointer => {
                rooms.push(vec![0; *bytes]);
                rooms
                    .last_mut()
                    .map_or(0, |room| address(room.as_mut_ptr()))
            }
            Argument::Number(_) | Argument::Bytes(_) | Argument::Text(_) | Argument::Room(_) => {
                return Err(Errno::NOTSUP);
            }
        };
    }
    let [a, b, c, d, e, f] = words;
    #[expect(
        unsafe_code,
        reason = "these calls have no safe wrapper, nor should they"
    )]
    // SAFETY: only calls of the table are made, and none of them writes to the caller's memory but
    // through the pointers named there. Those are null, or bytes and texts that the kernel reads,
    // or rooms that live until after the call; a number is never taken for a pointer. None of the
    // calls closes a descriptor, unmaps memory or makes a process.
    let result = unsafe { libc::syscall(*number, a, b, c, d, e, f) };
    drop(rooms);
    u64::try_from(result).map_err(|_| last_error())
}

/// Makes a child in new namespaces, which does nothing until it is killed; returns its number.
///
/// # Errors
/// The kernel's answer.
pub fn child_in_namespaces(flags: u64) -> Result<u64, Errno> {
    const SIGCHLD: u64 = 17;
    #[expect(unsafe_code, reason = "clone has no safe wrapper")]
    // SAFETY: without CLONE_VM this is a fork. The child makes no call but `pause` and `_exit`,
    // which are safe after a fork however many threads there were.
    let result = unsafe {
        let result = libc::syscall(libc::SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
        if result == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::pause();
            libc::_exit(0);
        }
        result
    };
    u64::try_from(result).map_err(|_| last_error())
}

/// Asks for the process's number by the 32-bit way into the kernel, which a filter must judge apart.
///
/// # Errors
/// The kernel's answer; no answer at all when the filter ends the process for it.
#[cfg(target_arch = "x86_64")]
pub fn number_by_the_old_way() -> Result<u64, Errno> {
    const GET_NUMBER: u64 = 20; // by the 32-bit table
    let answer: i64;
    #[expect(unsafe_code, reason = "the old way in is an instruction of its own")]
    // SAFETY: interrupt 0x80 with this number reads and writes nothing of ours; the kernel keeps
    // all registers but the one with the answer, and clears the four named.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") GET_NUMBER => answer,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    u64::try_from(answer).map_err(|_| Errno::NOSYS)
}

/// The old way exists on x86-64 only.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn number_by_the_old_way() -> Result<u64, Errno> {
    Err(Errno::NOSYS)
}

/// Most arguments of a call.
const WORDS: usize = 6;

/// A call, and which of its arguments are places in memory.
struct Call {
    name: &'static str,
    number: i64,
    pointers: &'static [usize],
}

const fn row(name: &'static str, number: i64, pointers: &'static [usize]) -> Call {
    Call {
        name,
        number,
        pointers,
    }
}

const CALLS: &[Call] = &[
    row("add_key", libc::SYS_add_key, &[0, 1, 2]),
    row("bpf", libc::SYS_bpf, &[1]),
    row("chroot", libc::SYS_chroot, &[0]),
    row("clock_settime", libc::SYS_clock_settime, &[1]),
    row("clone3", libc::SYS_clone3, &[0]),
    row("fanotify_init", libc::SYS_fanotify_init, &[]),
    row("fsopen", libc::SYS_fsopen, &[0]),
    row("init_module", libc::SYS_init_module, &[0, 2]),
    row("io_uring_setup", libc::SYS_io_uring_setup, &[1]),
    row("ioctl", libc::SYS_ioctl, &[2]),
    #[cfg(target_arch = "x86_64")]
    row("ioperm", libc::SYS_ioperm, &[]),
    #[cfg(target_arch = "x86_64")]
    row("iopl", libc::SYS_iopl, &[]),
    row("kcmp", libc::SYS_kcmp, &[]),
    row("kexec_load", libc::SYS_kexec_load, &[2]),
    row("keyctl", libc::SYS_keyctl, &[]),
    #[cfg(target_arch = "x86_64")]
    row("modify_ldt", libc::SYS_modify_ldt, &[1]),
    row("mount", libc::SYS_mount, &[0, 1, 2, 4]),
    row("mount_setattr", libc::SYS_mount_setattr, &[1, 3]),
    row("mq_open", libc::SYS_mq_open, &[0, 3]),
    row("mq_unlink", libc::SYS_mq_unlink, &[0]),
    row("msgctl", libc::SYS_msgctl, &[2]),
    row("msgget", libc::SYS_msgget, &[]),
    row("open_by_handle_at", libc::SYS_open_by_handle_at, &[1]),
    row("open_tree", libc::SYS_open_tree, &[1]),
    row("perf_event_open", libc::SYS_perf_event_open, &[0]),
    row("personality", libc::SYS_personality, &[]),
    row("pidfd_getfd", libc::SYS_pidfd_getfd, &[]),
    row("pivot_root", libc::SYS_pivot_root, &[0, 1]),
    row("process_madvise", libc::SYS_process_madvise, &[1]),
    row("process_vm_readv", libc::SYS_process_vm_readv, &[1, 3]),
    row("ptrace", libc::SYS_ptrace, &[2, 3]),
    row("quotactl", libc::SYS_quotactl, &[1, 3]),
    row("reboot", libc::SYS_reboot, &[3]),
    row("request_key", libc::SYS_request_key, &[0, 1, 2]),
    row("semctl", libc::SYS_semctl, &[3]),
    row("semget", libc::SYS_semget, &[]),
    row("sethostname", libc::SYS_sethostname, &[0]),
    row("setns", libc::SYS_setns, &[]),
    row("settimeofday", libc::SYS_settimeofday, &[0, 1]),
    row("shmctl", libc::SYS_shmctl, &[2]),
    row("shmget", libc::SYS_shmget, &[]),
    row("socket", libc::SYS_socket, &[]),
    row("umount2", libc::SYS_umount2, &[0]),
    row("unshare", libc::SYS_unshare, &[]),
    row("userfaultfd", libc::SYS_userfaultfd, &[]),
];

fn address<T>(place: *const T) -> u64 {
    place.expose_provenance() as u64
}

fn last_error() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_taken_for_a_place_in_memory() {
        let refused = Err(Errno::NOTSUP);
        assert_eq!(call("chroot", &[Argument::Number(4_096)]), refused);
        assert_eq!(call("personality", &[Argument::Bytes(b"x")]), refused);
        assert_eq!(call("write", &[Argument::Number(1)]), refused);
        assert_eq!(call("chroot", &[Argument::Number(0)]), Err(Errno::FAULT));
    }

    #[test]
    fn the_kernel_answers() {
        assert!(call("personality", &[Argument::Number(0xffff_ffff)]).is_ok());
        let kcmp = [0; 5].map(Argument::Number);
        assert!(call("kcmp", &kcmp).is_err(), "there is no process zero");
    }
}
