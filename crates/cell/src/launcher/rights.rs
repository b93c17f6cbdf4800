//! Who the cell is: its namespaces, its one user, and the loss of every capability.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::kernel::{self, Side};
use crate::launcher::{LeftOut, Part};
use crate::link::Fault;

/// The cell's only user and group, as seen inside; outside it is whoever runs the engine.
pub(crate) const AGENT: u32 = 1_000;
/// What a cell has of its own.
pub(crate) const NAMESPACES: &str = "user, mount, pid, network, ipc, uts";
/// What a machine's name is inside.
const HOST_NAME: &[u8] = b"cell";
/// The highest capability number tried; the kernel knows about 40 and refuses the rest.
const CAPABILITIES_MAX: u32 = 63;
const MEND_USER_NAMESPACES: &str = "unprivileged user namespaces must be allowed: \
    `sysctl kernel.unprivileged_userns_clone=1` (older Debian), \
    `sysctl user.max_user_namespaces=65536` (when it is 0), \
    `sysctl kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor profile with `userns,` \
    (Ubuntu 23.10 and later); inside a container, its seccomp profile must allow clone3 with \
    namespaces";

const NEW_NAMESPACES: u64 = 0x1000_0000 // user
    | 0x0002_0000 // mount
    | 0x0800_0000 // ipc
    | 0x0400_0000; // uts
const NEW_PID_NAMESPACE: u64 = 0x2000_0000;
const NEW_NETWORK_NAMESPACE: u64 = 0x4000_0000;
const NEW_CGROUP_NAMESPACE: u64 = 0x0200_0000;

/// Clones into every namespace a cell has, and into a control group of the second version.
pub(crate) fn clone_into_namespaces(
    left_out: LeftOut,
    group: Option<BorrowedFd<'_>>,
) -> Result<Side<OwnedFd>, Fault> {
    let mut namespaces = NEW_NAMESPACES;
    for (part, namespace) in [
        (Part::Pid, NEW_PID_NAMESPACE),
        (Part::Network, NEW_NETWORK_NAMESPACE),
    ] {
        if !left_out.has(part) {
            namespaces |= namespace;
        }
    }
    let clone = |namespaces| match group {
        Some(group) => kernel::clone_into_group(namespaces, group),
        None => kernel::clone_into(namespaces),
    };
    match clone(namespaces | NEW_CGROUP_NAMESPACE) {
        // A kernel without cgroups: there is nothing to hide.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            clone(namespaces)
        }
        other => other,
    }
    .map_err(|error| Fault::Wall {
        wall: "namespaces".to_owned(),
        why: format!("{error}; {MEND_USER_NAMESPACES}"),
    })
}

/// Leaves supplementary groups, which only a privileged engine can; an ordinary user's groups stay
/// but are nobody's inside.
pub(crate) fn leave_groups() {
    rustix::thread::set_thread_groups(&[]).unwrap_or_default();
}

/// User and group of the engine, read before the clone: inside, unmapped, both read as nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    user: u32,
    group: u32,
}

impl Outer {
    /// Returns those of this process.
    pub(crate) fn own() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }
}

/// Becomes the agent's user inside the new namespaces, names the machine and raises loopback.
pub(crate) fn become_agent(outer: Outer, left_out: LeftOut) -> Result<(), Fault> {
    let map_wall = |what: &'static str| {
        move |error: io::Error| Fault::Wall {
            wall: "user namespace".to_owned(),
            why: format!("writing {what}: {error}; {MEND_USER_NAMESPACES}"),
        }
    };
    let Outer { user, group } = outer;
    fs::write("/proc/self/setgroups", "deny").map_err(map_wall("setgroups"))?;
    fs::write("/proc/self/uid_map", format!("{AGENT} {user} 1")).map_err(map_wall("uid_map"))?;
    fs::write("/proc/self/gid_map", format!("{AGENT} {group} 1")).map_err(map_wall("gid_map"))?;
    rustix::system::sethostname(HOST_NAME).map_err(Fault::wall("uts namespace"))?;
    if left_out.has(Part::Network) {
        // The host's loopback is up, and not ours to raise.
        return Ok(());
    }
    raise_loopback().map_err(Fault::wall("network namespace"))
}

/// Empties the bounding set and locks the secure bits; needs rights that [`drop_all`] takes.
pub(crate) fn close_bounding_set() -> Result<(), Fault> {
    const WALL: &str = "capabilities";
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
    .map_err(Fault::wall(WALL))?;
    for number in 0..=CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number the kernel does not know.
            Err(Errno::INVAL) if number > 0 => break,
            Err(error) => return Err(Fault::wall(WALL)(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(Fault::wall(WALL))?;
    rustix::thread::set_no_new_privs(true).map_err(Fault::wall("no_new_privs"))
}

/// Drops every capability for good.
pub(crate) fn drop_all() -> Result<(), Fault> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(Fault::wall("capabilities"))
}

/// Keeps every capability of the cell's namespaces over the start of the program: what a launcher
/// made for tests does in place of dropping them.
pub(crate) fn keep_all() -> Result<(), Fault> {
    const WALL: &str = "capabilities";
    let own = rustix::thread::capabilities(None).map_err(Fault::wall(WALL))?;
    let all = CapabilitySets {
        inheritable: own.permitted,
        ..own
    };
    rustix::thread::set_capabilities(None, all).map_err(Fault::wall(WALL))?;
    for capability in own.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .map_err(Fault::wall(WALL))?;
    }
    Ok(())
}

/// Brings up `lo` with one request to the kernel's routing socket.
fn raise_loopback() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 0x5;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // The routing family is number zero.
        None,
    )?;
    let mut request = Vec::with_capacity(32);
    request.extend(32_u32.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    request.extend([0; 8]); // sequence and port
    request.extend([0; 4]); // family and device type
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request.extend(UP.to_ne_bytes()); // which flags change
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 64];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // An answer is a header of 16 bytes and a negative error number, zero for success.
    let code = answer
        .get(..length)
        .and_then(|answer| answer.get(16..20))
        .and_then(|code| <[u8; 4]>::try_from(code).ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}
