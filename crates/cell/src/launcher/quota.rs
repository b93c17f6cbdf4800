//! The disk quota: a meter beside the cell that ends it when its writable layers outgrow their
//! limits.
//!
//! Ordinary users have no quota of the kernel's for a folder, so this one is watched. Every
//! [`TICK`] the meter asks each file system how much is free, which costs next to nothing. When more
//! has gone than was left at the last exact measure, whoever took it, it measures exactly; it also
//! does so now and then, since what others free can hide what the cell takes.
//!
//! What the cell can take beyond its quota is therefore bounded by what it can write in a tick, in
//! the measure itself, and in the pause after the one before; by the files of lower layers that
//! were being copied up; and, when others free as much as the cell takes, by what it can write in
//! [`MEASURE_AGAIN`]. Files without a name count as long as a process that can be looked into holds
//! them open. What is held in ways that cannot be seen (a mapping, a socket's queue) is caught when
//! the file system is nearly full, which ends the cell too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, StatVfs, fstat, fstatvfs};
use rustix::process::{
    Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kernel::{self, Side};
use crate::launcher::Part;
use crate::launcher::usage::{self, Usage};
use crate::link::{self, Fault, Report, WallReport};
use crate::plan::{Plan, What};

const WALL: &str = "disk quota";
/// Time between two looks at what is free.
const TICK: Duration = Duration::from_millis(20);
/// Least time between two exact measures that nothing asked for.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);
/// The same as a multiple of what a measure takes, so that it costs at most two in a hundred.
const COSTS_BETWEEN: u32 = 50;
/// Least pause after a measure, as a multiple of what it took, when one is called for.
const COSTS_OF_PAUSE: u32 = 4;
/// A file system is nearly full when less than this is free, in bytes, or a hundredth of it if that
/// is less.
const FLOOR_BYTES: u64 = 256 << 20;
const FLOOR_PARTS: u64 = 100;

/// The quota of one cell: prepared before the cell, begun when its program runs, ended when dropped.
#[derive(Debug)]
pub(crate) struct Quota {
    places: Vec<PathBuf>,
    most: Usage,
    /// What was there before the cell.
    before: Usage,
    /// What the meter says arrives here.
    link: OwnedFd,
    /// The meter's end, kept while there is no meter so that nothing seems to have been said.
    theirs: Option<OwnedFd>,
    meter: Option<OwnedFd>,
}

impl Quota {
    /// Prepares the quota of a plan: measures what is there already in folders that are not the
    /// cell's own layers.
    pub(crate) fn prepare(plan: &Plan) -> io::Result<Self> {
        let (link, theirs) = link::pair()?;
        let own = places(plan, Owner::Cell);
        let shared = places(plan, Owner::Host);
        let before = usage::measure(
            shared.iter().map(PathBuf::as_path),
            Usage {
                bytes: u64::MAX,
                files: u64::MAX,
            },
        )?;
        Ok(Self {
            places: own.into_iter().chain(shared).collect(),
            most: Usage {
                bytes: plan.disk_bytes,
                files: plan.disk_files,
            },
            before,
            link,
            theirs: Some(theirs),
            meter: None,
        })
    }

    /// Starts the meter of a cell with this `/proc` and this user namespace.
    pub(crate) fn begin(&mut self, plan: &Plan, proc: &OwnedFd, user: &OwnedFd) -> io::Result<()> {
        if self.places.is_empty() || plan.left_out.has(Part::Quota) {
            return Ok(());
        }
        let Some(theirs) = self.theirs.take() else {
            return Ok(());
        };
        match kernel::clone_into(0)? {
            Side::Old(meter) => {
                self.meter = Some(meter);
                Ok(())
            }
            Side::New => {
                // Its own end must not keep the link open when the launcher is gone.
                self.link = theirs;
                let code = i32::from(self.meter(proc, user).is_err());
                std::process::exit(code)
            }
        }
    }

    /// Returns what can be read once the meter has spoken or is gone.
    pub(crate) fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// Takes the word of the meter: the cell is over its quota, or cannot be measured any more.
    pub(crate) fn heard(&self) -> Result<Report, Fault> {
        const DOING: &str = "keeping the disk quota";
        let heard = link::receive::<Report>(&self.link).map_err(Fault::setup(DOING))?;
        match heard {
            Some((Report::Failed(fault), _)) => Err(fault),
            Some((report, _)) => Ok(report),
            None => Err(Fault::setup(DOING)("the meter died")),
        }
    }

    /// The meter's life: says one thing and ends.
    fn meter(&self, proc: &OwnedFd, user: &OwnedFd) -> io::Result<()> {
        let report = self.outgrown(proc, user).unwrap_or_else(|error| {
            Some(Report::Failed(Fault::setup("measuring the layers")(error)))
        });
        report.map_or(Ok(()), |report| link::send(&self.link, &report, &[]))
    }

    /// Returns when the cell is over its quota, or without a word when the launcher is gone.
    fn outgrown(&self, proc: &OwnedFd, user: &OwnedFd) -> io::Result<Option<Report>> {
        if !rustix::process::geteuid().is_root() {
            // A program may take its folders' permissions away; in its user namespace, which is
            // ours, we may read them all the same, and no more than them.
            move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
        }
        // Changing one's rights clears it, hence after.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut gauge = Gauge::new(self, proc)?;
        loop {
            if let Some(usage) = gauge.look()? {
                return Ok(Some(Report::OverQuota {
                    bytes: usage.bytes,
                    files: usage.files,
                }));
            }
            let [launcher_gone] = link::ready([self.link.as_fd()], Some(TICK))?;
            if launcher_gone {
                return Ok(None);
            }
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            // It may have ended already, which is as good.
            pidfd_send_signal(meter, Signal::KILL).unwrap_or_default();
            waitid(WaitId::PidFd(meter.as_fd()), WaitIdOptions::EXITED).unwrap_or_default();
        }
    }
}

/// Returns the wall that the quota of a plan is.
pub(crate) fn wall(plan: &Plan) -> WallReport {
    if plan.left_out.has(Part::Quota) {
        return WallReport::left_out(WALL);
    }
    let places = places(plan, Owner::Cell).len() + places(plan, Owner::Host).len();
    let by = if places == 0 {
        "nothing on disk can be written".to_owned()
    } else {
        format!(
            "measured, {} bytes and {} files in {places} places",
            plan.disk_bytes, plan.disk_files
        )
    };
    WallReport::optional(WALL, Ok(by))
}

/// Whose a writable place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A layer that holds the changes of cells and nothing else: all of it counts.
    Cell,
    /// A folder or file of the host: what was there before does not count.
    Host,
}

fn places(plan: &Plan, owner: Owner) -> Vec<PathBuf> {
    let mut places: Vec<_> = plan
        .mounts
        .iter()
        .filter_map(|mount| match (&mount.what, owner) {
            (What::Layered { upper, .. }, Owner::Cell) => Some(upper.clone()),
            (
                What::Bind {
                    source,
                    writable: true,
                },
                Owner::Host,
            ) => Some(source.clone()),
            (What::Layered { .. } | What::Bind { .. } | What::Fixed { .. }, _) => None,
        })
        .collect();
    places.sort();
    places.dedup();
    places
}

/// Watches what is free, and measures when it must.
struct Gauge<'a> {
    quota: &'a Quota,
    proc: &'a OwnedFd,
    file_systems: Vec<FileSystem>,
    /// What was left at the last measure.
    left: Usage,
    measured: Option<Instant>,
    cost: Duration,
}

struct FileSystem {
    folder: OwnedFd,
    device: u64,
    /// At the last measure.
    free: Usage,
    /// What may still be free when it is nearly full; none if it was so from the beginning.
    floor: Option<u64>,
}

impl<'a> Gauge<'a> {
    fn new(quota: &'a Quota, proc: &'a OwnedFd) -> io::Result<Self> {
        let mut file_systems: Vec<FileSystem> = Vec::new();
        for place in &quota.places {
            let system = FileSystem::of(place)?;
            if file_systems.iter().all(|it| it.device != system.device) {
                file_systems.push(system);
            }
        }
        Ok(Self {
            quota,
            proc,
            file_systems,
            left: quota.most,
            measured: None,
            cost: Duration::ZERO,
        })
    }

    /// Returns what the cell takes, if that is too much.
    fn look(&mut self) -> io::Result<Option<Usage>> {
        let mut gone = Usage::default();
        let mut is_full = false;
        for system in &self.file_systems {
            let about = fstatvfs(&system.folder)?;
            gone += system.free.less(free(&about));
            is_full |= system.floor.is_some_and(|floor| available(&about) < floor);
        }
        if is_full {
            return self.measure().map(Some);
        }
        let since = self.measured.map(|measured| measured.elapsed());
        let is_due = since.is_none_or(|since| {
            let called_for = gone.exceeds(self.left) && since >= self.cost * COSTS_OF_PAUSE;
            called_for || since >= MEASURE_AGAIN.max(self.cost * COSTS_BETWEEN)
        });
        if !is_due {
            return Ok(None);
        }
        let mut usage = self.measure()?;
        if usage.exceeds(self.quota.most) {
            // What is renamed or removed during a measure can be counted twice, but hardly in two.
            usage = self.measure()?;
        }
        self.left = self.quota.most.less(usage);
        Ok(usage.exceeds(self.quota.most).then_some(usage))
    }

    fn measure(&mut self) -> io::Result<Usage> {
        let begun = Instant::now();
        // Before the walk: what is taken while it goes on counts towards the next.
        for system in &mut self.file_systems {
            system.free = free(&fstatvfs(&system.folder)?);
        }
        let mut most = self.quota.most;
        most += self.quota.before;
        let places = self.quota.places.iter().map(PathBuf::as_path);
        let mut usage = usage::measure(places, most)?.less(self.quota.before);
        if !usage.exceeds(self.quota.most) {
            usage += usage::held_without_name(self.proc);
        }
        self.measured = Some(Instant::now());
        self.cost = begun.elapsed();
        Ok(usage)
    }
}

impl FileSystem {
    fn of(place: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let folder = rustix::fs::open(place, flags, Mode::empty())?;
        let device = fstat(&folder)?.st_dev;
        let about = fstatvfs(&folder)?;
        let floor = (about.f_blocks.saturating_mul(about.f_frsize) / FLOOR_PARTS).min(FLOOR_BYTES);
        Ok(Self {
            folder,
            device,
            free: free(&about),
            floor: (available(&about) >= floor).then_some(floor),
        })
    }
}

fn free(about: &StatVfs) -> Usage {
    Usage {
        bytes: about.f_bfree.saturating_mul(about.f_frsize),
        files: about.f_ffree,
    }
}

fn available(about: &StatVfs) -> u64 {
    about.f_bavail.saturating_mul(about.f_frsize)
}
