//! Limits of a cell: what each process may use, and how many there may be.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::launcher::Part;
use crate::link::{Fault, WallReport};
use crate::plan::Plan;

/// Process numbers below this are used once only, so a cap of the numbers must lie above it.
const RESERVED_NUMBERS: u64 = 300;
/// The kernel knows no higher process numbers.
const NUMBERS_MAX: u64 = 1 << 22;
/// First kernel in which a PID namespace has a cap of its own. Before, writing it would change the
/// whole machine's.
const OWN_CAP_SINCE: (u32, u32) = (6, 14);

/// Caps the process numbers of the cell's PID namespace and tells what limits processes.
///
/// The cap holds for every engine user; `RLIMIT_NPROC` does not bind root's processes.
pub(crate) fn cap_processes(proc: &OwnedFd, plan: &Plan) -> WallReport {
    const NAME: &str = "process limit";
    // Without a namespace of its own, the cap would be the machine's.
    if plan.left_out.has(Part::Limits) || plan.left_out.has(Part::Pid) {
        return WallReport::optional(NAME, Err("left out".to_owned()));
    }
    let most = plan
        .processes
        .saturating_add(RESERVED_NUMBERS)
        .min(NUMBERS_MAX);
    let capped = if kernel_version() >= Some(OWN_CAP_SINCE) {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(proc, "sys/kernel/pid_max", flags, Mode::empty())
            .and_then(|cap| rustix::io::write(&cap, most.to_string().as_bytes()))
            .map_err(|error| error.to_string())
    } else {
        Err("the kernel is older than 6.14".to_owned())
    };
    match capped {
        Ok(_) => WallReport::optional(NAME, Ok(format!("pid_max of the namespace, {most}"))),
        Err(_) if !rustix::process::geteuid().is_root() => {
            WallReport::optional(NAME, Ok(format!("rlimit, {}", plan.processes)))
        }
        Err(why) => WallReport::optional(NAME, Err(why)),
    }
}

/// Adds what limits each process to the list of walls.
pub(crate) fn describe(plan: &Plan, walls: &mut Vec<WallReport>) {
    let each = |name: &str, limit: String| WallReport::optional(name, Ok(limit));
    walls.push(each(
        "file size limit",
        format!("rlimit, {} bytes", plan.file_bytes),
    ));
    walls.push(each(
        "open file limit",
        format!("rlimit, {}", plan.open_files),
    ));
    walls.push(each(
        "private memory limit",
        format!(
            "tmpfs, {} bytes each for /tmp, home and /dev/shm",
            plan.tmp_bytes
        ),
    ));
    walls.push(each(
        "cpu limit",
        format!("rlimit, {} s per process", plan.cpu_seconds),
    ));
}

/// What the memory limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MemoryBound {
    /// All processes together, kept by a control group.
    OfAll,
    /// Each process for itself.
    OfEach,
}

/// Takes on the limits of the plan; called by the process that becomes the program.
///
/// Where no control group bounds memory, `RLIMIT_DATA` does, which counts private memory that can be written. The address space is
/// not limited: language runtimes reserve far more of it than they use.
pub(crate) fn apply(plan: &Plan, memory: MemoryBound) -> Result<(), Fault> {
    if plan.left_out.has(Part::Limits) {
        return Ok(());
    }
    let memory_bytes = match memory {
        MemoryBound::OfAll => u64::MAX,
        MemoryBound::OfEach => plan.memory_bytes,
    };
    let limits = [
        (Resource::Data, memory_bytes, "memory"),
        (Resource::Nproc, plan.processes, "processes"),
        (Resource::Fsize, plan.file_bytes, "file size"),
        (Resource::Nofile, plan.open_files, "open files"),
        (Resource::Cpu, plan.cpu_seconds, "CPU time"),
        (Resource::Core, 0, "core dumps"),
    ];
    for (resource, most, name) in limits {
        // An engine that is itself limited cannot give more than it has.
        let own = getrlimit(resource).maximum;
        let most = own.map_or(most, |own| most.min(own));
        let kept = (most < u64::MAX).then_some(most);
        let limit = Rlimit {
            current: kept,
            maximum: kept,
        };
        setrlimit(resource, limit).map_err(Fault::setup(format!("limiting {name} to {most}")))?;
    }
    Ok(())
}

fn kernel_version() -> Option<(u32, u32)> {
    let uname = rustix::system::uname();
    let mut parts = uname
        .release()
        .to_str()
        .ok()?
        .split(|sign: char| !sign.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
