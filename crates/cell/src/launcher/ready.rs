//! An init that stands in its namespaces and control groups and waits for its plan: the part of a
//! cell's beginning that is the same for every plan, and takes longer than the rest.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::kernel::Side;
use crate::launcher::group::Groups;
use crate::launcher::init::{self, Order};
use crate::launcher::{LeftOut, rights};
use crate::link::{self, Fault, Report};
use crate::plan::Plan;

/// An init, killed when dropped.
#[derive(Debug)]
pub(crate) struct ReadyInit {
    /// What it says arrives here.
    pub(crate) link: OwnedFd,
    /// Its pidfd.
    pub(crate) process: OwnedFd,
    groups: Groups,
    /// What was mounted on the host when the init was made.
    mounts: Vec<u8>,
}

impl ReadyInit {
    /// Starts an init, and returns the engine's socket beside it: the init must not keep that open,
    /// for the engine is the launcher's to hear.
    pub(crate) fn start(control: OwnedFd, left_out: LeftOut) -> (OwnedFd, Result<Self, Fault>) {
        let (ours, theirs) = match link::pair() {
            Ok(ends) => ends,
            Err(error) => return (control, Err(Fault::setup("linking the init")(error))),
        };
        let mounts = match mounted() {
            Ok(mounts) => mounts,
            Err(error) => return (control, Err(Fault::setup("listing the mounts")(error))),
        };
        rights::leave_groups();
        let outer = rights::Outer::own();
        let groups = Groups::make(left_out);
        let birthplace = groups.birthplace();
        let born_there = birthplace
            .as_ref()
            .and_then(|place| rights::clone_into_namespaces(left_out, Some(place.as_fd())).ok());
        let (init, birthplace) = match born_there {
            Some(init) => (Ok(init), birthplace),
            None => (rights::clone_into_namespaces(left_out, None), None),
        };
        match init {
            Ok(Side::Old(process)) => {
                let init = Self {
                    link: ours,
                    process,
                    groups,
                    mounts,
                };
                (control, Ok(init))
            }
            Ok(Side::New) => {
                drop((control, ours));
                init::run(left_out, outer, &groups, birthplace.as_ref(), &theirs);
            }
            Err(fault) => (control, Err(fault)),
        }
    }

    /// Waits until it is ready, the engine says something, or either is gone; returns what there is
    /// to tell the engine.
    pub(crate) fn wait_ready(&self, control: &OwnedFd) -> io::Result<Option<Report>> {
        let [heard, _] = link::ready([self.link.as_fd(), control.as_fd()], None)?;
        if !heard {
            return Ok(None);
        }
        let died = || Report::Failed(Fault::setup("getting ready")("the init died"));
        let heard = link::receive::<Report>(&self.link)?;
        Ok(Some(heard.map_or_else(died, |(report, _)| report)))
    }

    /// Returns whether it still runs and sees what is mounted now. It has a copy of the host's mounts
    /// as they were, in which a path may lead elsewhere.
    pub(crate) fn is_current(&self) -> bool {
        link::ready([self.process.as_fd()], Some(Duration::ZERO)).is_ok_and(|[dead]| !dead)
            && mounted().is_ok_and(|mounts| mounts == self.mounts)
    }

    /// Gives it its plan, with the limits set.
    pub(crate) fn order(
        &mut self,
        plan: &Plan,
        file: &File,
        streams: &[OwnedFd; 3],
    ) -> io::Result<()> {
        self.groups.limit(plan);
        let order = Order {
            memory_bound: self.groups.memory_bound(),
            memory_wall: self.groups.memory_wall(plan),
            process_wall: self.groups.process_wall(plan),
        };
        let [stdin, stdout, stderr] = streams;
        let descriptors = [file.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        match link::send(&self.link, &order, &descriptors) {
            // It is gone, and has said why, or its death does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }
}

fn mounted() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo")
}

impl Drop for ReadyInit {
    /// Leaves nothing running; that it may be dead already is as good.
    fn drop(&mut self) {
        pidfd_send_signal(&self.process, Signal::KILL).unwrap_or_default();
        let init = WaitId::PidFd(self.process.as_fd());
        waitid(init, WaitIdOptions::EXITED).unwrap_or_default();
    }
}
