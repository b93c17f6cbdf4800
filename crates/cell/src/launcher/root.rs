//! The root of a cell: read-only system folders, a small `/etc` and `/dev` of its own, private
//! memory for `/tmp` and home, the work's tree and mounts, and nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount,
    unmount,
};

use crate::kernel::{Reach, restrict_mount};
use crate::launcher::mounts::{self, Changes, PLAIN, READ_ONLY, Root, is_folder};
use crate::launcher::{LeftOut, Part, limits, tools, writes};
use crate::link::{Fault, WallReport};
use crate::plan::{HOME, Mount, Plan, WORKSPACE, What};

/// What the files of a cell are.
pub(crate) const PRIVATE: &str = "private root, read-only system";
/// Memory for the root itself: `/etc`, mount points, nothing that grows.
const ROOT_BYTES: u64 = 4 << 20;
/// System folders, shown as the host has them: a folder read-only, a symlink as a symlink.
const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];
/// The only parts of the host's `/etc` that a cell sees; none says anything about the host.
const SYSTEM_SETTINGS: [&str; 7] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
const SETTINGS: [(&str, &str); 7] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
         agent:x:1000:1000:agent:/home/agent:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("/etc/group", "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n"),
    (
        "/etc/hosts",
        "127.0.0.1 localhost cell\n::1 localhost cell\n",
    ),
    ("/etc/hostname", "cell\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    ("/etc/resolv.conf", ""),
    ("/etc/shells", "/bin/sh\n/bin/bash\n"),
];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];
/// Parts of `/proc` that tell about the whole machine or reach into it.
const PROC_COVERED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];
const NOTHING_FILE: &str = "/.nothing/file";
const NOTHING_FOLDER: &str = "/.nothing/folder";
const NOTHING_LAYER: &str = "/.nothing/layer";
const MEND_MOUNTS: &str = "mounting inside a user namespace is refused; on Ubuntu 23.10 and later \
    set `sysctl kernel.apparmor_restrict_unprivileged_userns=0` or give the program an AppArmor \
    profile with `userns,`; inside a container, run it unconfined or privileged";

/// A root that is begun: what is the same in every cell stands, and nobody is in it yet.
pub(crate) struct Begun {
    root: Root,
    /// The cell's own, still writable; none when it shows the host's.
    proc: Option<OwnedFd>,
}

/// Builds the root and enters it. Returns the cell's `/proc` and the wall of its process limit.
pub(crate) fn build(plan: &Plan) -> Result<(OwnedFd, WallReport), Fault> {
    finish(begin(plan.left_out)?, plan)
}

/// Begins a root with all that needs no plan.
pub(crate) fn begin(left_out: LeftOut) -> Result<Begun, Fault> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(wall)?;
    let dir = mounts::memory(ROOT_BYTES, "0755").map_err(wall)?;
    // On top of `/`: path lookups still start beneath it, so the host is reached by paths and the
    // new root by its descriptor.
    move_mount(
        &dir,
        "",
        rustix::fs::CWD,
        "/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(wall)?;
    let root = Root { dir };
    if left_out.has(Part::Root) {
        show_host(&root, "/").map_err(Fault::setup("showing the host"))?;
    } else {
        system(&root)?;
    }
    devices(&root).map_err(Fault::setup("making /dev"))?;
    let proc = processes(&root, left_out)?;
    Ok(Begun { root, proc })
}

/// Adds what the plan says and enters the root. Returns the cell's `/proc` and the wall of its
/// process limit.
pub(crate) fn finish(begun: Begun, plan: &Plan) -> Result<(OwnedFd, WallReport), Fault> {
    let Begun { root, proc } = begun;
    if !plan.left_out.has(Part::Root) {
        settings(&root)?;
    }
    let (proc, process_wall) = close_processes(&root, proc, plan)?;
    scratch(&root, plan).map_err(Fault::setup("making the private folders"))?;
    for mount in &plan.mounts {
        attach(&root, plan, mount).map_err(|error| Fault::Setup {
            doing: format!(
                "mounting {} at {}",
                source_of(mount),
                mount.target.display()
            ),
            why: error.to_string(),
        })?;
    }
    writes::restrict(&root, plan)?;
    cover_all(&root, plan)?;
    tools::offer(&root, plan)?;
    restrict_mount(&root.dir, READ_ONLY, Reach::This).map_err(Fault::setup("closing the root"))?;
    enter(&root).map_err(Fault::setup("entering the root"))?;
    Ok((proc, process_wall))
}

fn wall(error: impl Into<io::Error>) -> Fault {
    let error = error.into();
    Fault::Wall {
        wall: "mount namespace".to_owned(),
        why: format!("{error}; {MEND_MOUNTS}"),
    }
}

/// Shows the system's folders, and writes the cell's own settings.
fn system(root: &Root) -> Result<(), Fault> {
    for path in SYSTEM {
        mirror(root, path).map_err(Fault::setup(format!("showing {path}")))?;
    }
    for (path, content) in SETTINGS {
        root.write(path, content)
            .map_err(Fault::setup(format!("writing {path}")))?;
    }
    Ok(())
}

/// Shows the few settings of the host that programs need. They are files that an update of the host
/// replaces, so they are looked up last.
fn settings(root: &Root) -> Result<(), Fault> {
    for path in SYSTEM_SETTINGS {
        mirror(root, path).map_err(Fault::setup(format!("showing {path}")))?;
    }
    Ok(())
}

/// Shows what the host has in a folder, but for what the cell makes itself: what a launcher made for
/// tests does in place of a private root.
fn show_host(root: &Root, folder: &str) -> io::Result<()> {
    const MADE_HERE: [&str; 6] = ["/dev", "/home", "/proc", "/tmp", "/var", HOME];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(path) = path.to_str().filter(|path| !MADE_HERE.contains(path)) else {
            continue;
        };
        match mirror(root, path) {
            // What is in a temporary folder may go at any moment.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Shows a host path as the host has it: a symlink as a symlink, anything else read-only, and
/// nothing where there is nothing.
fn mirror(root: &Root, path: &str) -> io::Result<()> {
    let host = Path::new(path);
    match host.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(about) if about.is_symlink() => root.link(path, &host.read_link()?),
        Ok(_) => root.place(&mounts::take(host, READ_ONLY)?, host),
    }
}

/// Shows the harmless devices. They are the host's own: read-only keeps their modes, owners and
/// times, and what is written to a device is no write to the file system that names it.
fn devices(root: &Root) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        root.place(&mounts::take(&path, attributes)?, &path)?;
    }
    for (path, to) in DEVICE_LINKS {
        root.link(path, Path::new(to))?;
    }
    Ok(())
}

/// Shows the cell's processes, and returns their file system, still writable. A launcher made for
/// tests may show the host's instead, where there is no PID namespace.
fn processes(root: &Root, left_out: LeftOut) -> Result<Option<OwnedFd>, Fault> {
    const DOING: &str = "mounting /proc";
    let path = Path::new("/proc");
    if left_out.has(Part::Pid) {
        mounts::take(path, READ_ONLY)
            .and_then(|proc| root.place(&proc, path))
            .map_err(Fault::setup(DOING))?;
        return Ok(None);
    }
    let proc = mounts::processes().map_err(|error| Fault::Wall {
        wall: "pid namespace".to_owned(),
        why: format!(
            "a /proc of the cell's own cannot be mounted: {error}; the host's /proc must be \
             mounted without anything over it (inside a container: unmask its /proc)"
        ),
    })?;
    root.place(&proc, path).map_err(Fault::setup(DOING))?;
    Ok(Some(proc))
}

/// Limits the processes, closes `/proc` to writing and opens it as a list of them. Of the host's,
/// none are listed, so that nobody can stop them by pausing the cell.
fn close_processes(
    root: &Root,
    proc: Option<OwnedFd>,
    plan: &Plan,
) -> Result<(OwnedFd, WallReport), Fault> {
    const DOING: &str = "opening /proc";
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some(proc) = proc else {
        let none = root
            .folder(Path::new(NOTHING_LAYER))
            .and_then(|none| Ok(rustix::fs::openat(&none, ".", flags, Mode::empty())?))
            .map_err(Fault::setup(DOING))?;
        return Ok((none, limits::cap_processes(&root.dir, plan)));
    };
    // The limit is set through `/proc`, so before `/proc` is closed.
    let process_wall = limits::cap_processes(&proc, plan);
    // All of it read-only: to the kernel a cell of a root engine is the machine's root, without
    // capabilities but with the ownership of `/proc/sys`.
    if !plan.left_out.has(Part::Proc) {
        restrict_mount(&proc, READ_ONLY, Reach::This).map_err(Fault::setup("closing /proc"))?;
    }
    let list = rustix::fs::openat(&proc, ".", flags, Mode::empty()).map_err(Fault::setup(DOING))?;
    Ok((list, process_wall))
}

fn scratch(root: &Root, plan: &Plan) -> io::Result<()> {
    let bytes = if plan.left_out.has(Part::Scratch) {
        mounts::BOUNDLESS
    } else {
        plan.tmp_bytes
    };
    for (path, mode) in [("/tmp", "1777"), (HOME, "0700"), ("/dev/shm", "1777")] {
        root.place(&mounts::memory(bytes, mode)?, Path::new(path))?;
    }
    root.folder(Path::new("/run"))?;
    root.link("/var/tmp", Path::new("/tmp"))?;
    if plan.left_out.has(Part::Root) {
        for folder in ["/home", "/tmp"] {
            show_host(root, folder)?;
        }
    }
    Ok(())
}

fn attach(root: &Root, plan: &Plan, mount: &Mount) -> io::Result<()> {
    let made = match &mount.what {
        What::Bind { source, writable } => {
            let writable = *writable || plan.left_out.has(Part::Binds);
            mounts::take(source, if writable { PLAIN } else { READ_ONLY })?
        }
        What::Layered {
            lowers,
            upper,
            work,
            git_place,
        } => {
            let lowers = open_lowers(root, lowers, *git_place)?;
            mounts::overlay(&lowers, Some(Changes { upper, work }))?
        }
        What::Fixed { lowers, git_place } => match lowers.as_slice() {
            [only] if !git_place || only.join(".git").is_dir() => mounts::take(only, READ_ONLY)?,
            _ => mounts::overlay(&open_lowers(root, lowers, *git_place)?, None)?,
        },
    };
    if may_be_displaced(plan, mount) {
        root.refuse_links(&mount.target)?;
    }
    root.place(&made, &mount.target)
}

/// Returns whether a mount lies in what an agent may have written in an earlier session, or in a
/// repository: a link planted there would move the mount, and leave its own choice in its place.
fn may_be_displaced(plan: &Plan, mount: &Mount) -> bool {
    plan.mounts.iter().any(|above| {
        (above.is_writable() || above.target == Path::new(WORKSPACE))
            && mount.target != above.target
            && mount.target.starts_with(&above.target)
    })
}

/// Opens the layers of an overlay. Where a `.git` is to be mounted, the lowest layer is one of our
/// own that holds the place for it, so that making the place is no change of the work.
fn open_lowers(root: &Root, lowers: &[PathBuf], git_place: bool) -> io::Result<Vec<OwnedFd>> {
    let mut opened = lowers
        .iter()
        .map(|lower| mounts::open_layer(lower))
        .collect::<io::Result<Vec<_>>>()?;
    if git_place {
        root.folder(&Path::new(NOTHING_LAYER).join(".git"))?;
        opened.push(root.folder(Path::new(NOTHING_LAYER))?);
    }
    Ok(opened)
}

fn source_of(mount: &Mount) -> String {
    match &mount.what {
        What::Bind { source, .. } => source.display().to_string(),
        What::Layered { lowers, .. } | What::Fixed { lowers, .. } => {
            let shown: Vec<_> = lowers
                .iter()
                .map(|lower| lower.display().to_string())
                .collect();
            shown.join(" over ")
        }
    }
}

/// Covers what must not be seen, in whatever is mounted there by now.
fn cover_all(root: &Root, plan: &Plan) -> Result<(), Fault> {
    const DOING: &str = "making what covers";
    drop(
        root.create(Path::new(NOTHING_FILE), 0)
            .map_err(Fault::setup(DOING))?,
    );
    let folder = root
        .folder(Path::new(NOTHING_FOLDER))
        .map_err(Fault::setup(DOING))?;
    let folder = rustix::fs::openat(
        &folder,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Fault::setup(DOING))?;
    rustix::fs::fchmod(&folder, Mode::empty()).map_err(Fault::setup(DOING))?;
    let proc = PROC_COVERED.iter().map(Path::new);
    let masks = plan.masks.iter().map(PathBuf::as_path);
    let covered = proc
        .filter(|_| !plan.left_out.has(Part::Proc) && !plan.left_out.has(Part::Pid))
        .chain(masks.filter(|_| !plan.left_out.has(Part::Masks)));
    for path in covered {
        cover(root, path).map_err(Fault::setup(format!("covering {}", path.display())))?;
    }
    Ok(())
}

fn cover(root: &Root, path: &Path) -> io::Result<()> {
    let Some(covered) = root.find(path)? else {
        return Ok(());
    };
    let nothing = if is_folder(&covered)? {
        NOTHING_FOLDER
    } else {
        NOTHING_FILE
    };
    // Looked up relative to the root's own descriptor, hence without the leading slash.
    let nothing = nothing.trim_start_matches('/');
    let mount = mounts::take_at(root.dir.as_fd(), Path::new(nothing), READ_ONLY)?;
    root.place_on(&mount, &covered)
}

/// Makes the root `/` and leaves the host's behind.
fn enter(root: &Root) -> io::Result<()> {
    rustix::process::fchdir(&root.dir)?;
    // Both names are the new root: the old one then lies on top of it, and is taken away.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
