//! The engine's hold on a running cell: wait, kill, pause, resume.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ports::cells::{Cell, Denied, Error, Exit, Wall};
use rustix::process::{Signal, pidfd_send_signal};

use crate::freeze;
use crate::launch::doing;
use crate::link::{self, Report, WallReport};

/// A cell whose program has been started.
#[derive(Debug)]
pub(crate) struct LinuxCell {
    /// Closing it is what kills the cell, so that the engine's death does.
    control: OwnedFd,
    /// PID 1 of the cell.
    init: OwnedFd,
    /// The cell's own `/proc`, which lists its processes and no others.
    proc: OwnedFd,
    supervision: Mutex<Supervision>,
    walls: Vec<Wall>,
}

#[derive(Debug)]
struct Supervision {
    process: Child,
    end: Option<Exit>,
}

impl LinuxCell {
    pub(crate) fn new(
        control: OwnedFd,
        process: Child,
        init: OwnedFd,
        proc: OwnedFd,
        walls: Vec<WallReport>,
    ) -> Self {
        Self {
            control,
            init,
            proc,
            supervision: Mutex::new(Supervision { process, end: None }),
            walls: walls.into_iter().map(Wall::from).collect(),
        }
    }

    fn supervision(&self) -> MutexGuard<'_, Supervision> {
        self.supervision
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn signal_init(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.init, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the word of the launcher, which is there or is coming at once.
    fn collect(&self) -> Result<Exit, Error> {
        let mut supervision = self.supervision();
        if let Some(end) = supervision.end {
            return Ok(end);
        }
        let heard = link::receive::<Report>(&self.control)
            .map_err(doing("hearing how the program ended"))?;
        let report = heard.map(|(report, _)| report);
        // A launcher that ends without a word was killed, and the init with it.
        let end = report
            .as_ref()
            .and_then(Report::end)
            .unwrap_or(Exit::Signal(Signal::KILL.as_raw()));
        // The pidfd is readable once every process of the namespace has been reaped.
        link::ready([self.init.as_fd()], None).map_err(doing("waiting for the last process"))?;
        supervision
            .process
            .wait()
            .map_err(doing("reaping the launcher"))?;
        supervision.end = Some(end);
        if let Some(Report::Failed(fault)) = report {
            return Err(fault.into());
        }
        Ok(end)
    }
}

impl Cell for LinuxCell {
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
        if let Some(end) = self.supervision().end {
            return Ok(Some(end));
        }
        let [ended] = link::ready([self.control.as_fd()], Some(patience))
            .map_err(doing("waiting for the program"))?;
        if ended {
            self.collect().map(Some)
        } else {
            Ok(None)
        }
    }

    fn kill(&self) -> Result<(), Error> {
        self.signal_init(Signal::KILL)
            .map_err(doing("killing the cell"))
    }

    fn pause(&self) -> Result<(), Error> {
        freeze::stop_all(&self.proc).map_err(doing("pausing the cell"))
    }

    fn resume(&self) -> Result<(), Error> {
        freeze::continue_all(&self.proc).map_err(doing("resuming the cell"))
    }

    fn walls(&self) -> Vec<Wall> {
        self.walls.clone()
    }

    fn denied(&self) -> Vec<Denied> {
        Vec::new()
    }
}

impl Drop for LinuxCell {
    /// Kills the cell and reaps the launcher, so that a dropped cell leaves nothing.
    fn drop(&mut self) {
        if self.supervision().end.is_none() && self.signal_init(Signal::KILL).is_ok() {
            // What can fail here is supervision of something that is dead already.
            drop(self.collect());
        }
    }
}
