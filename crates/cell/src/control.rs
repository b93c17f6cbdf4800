//! The engine's hold on a running cell: wait, kill, pause, resume.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ports::cells::{Cell, Denied, Error, Exit, Wall};
use rustix::process::{Signal, pidfd_send_signal};

use crate::freeze;
use crate::launch::doing;
use crate::link::{self, Counts, Fault, Question, Report, WallReport};

/// How long the launcher may take to say what was refused. It answers at once but when it cleans
/// up after the cell.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Why the launcher ended the cell, until it is told.
    fault: Option<Fault>,
    /// What was refused and not yet told to the engine.
    denied: Counts,
    /// Whether the launcher owes an answer.
    is_asked: bool,
}

impl Supervision {
    /// Returns the end, if there was one. What went wrong with supervision is told once.
    fn outcome(&mut self) -> Result<Option<Exit>, Error> {
        self.fault
            .take()
            .map_or(Ok(self.end), |fault| Err(fault.into()))
    }
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
            supervision: Mutex::new(Supervision {
                process,
                end: None,
                fault: None,
                denied: Counts::new(),
                is_asked: false,
            }),
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

    /// Takes one word of the launcher, if there is one.
    fn hear(&self, supervision: &mut Supervision) -> Result<(), Error> {
        if supervision.end.is_some() {
            return Ok(());
        }
        // Another thread may have taken what this one saw coming.
        let [heard] = link::ready([self.control.as_fd()], Some(Duration::ZERO))
            .map_err(doing("looking for the launcher's word"))?;
        if !heard {
            return Ok(());
        }
        let heard = link::receive::<Report>(&self.control)
            .map_err(doing("hearing how the program ended"))?;
        let report = heard.map(|(report, _)| report);
        if let Some(Report::Denied(counts)) = report {
            supervision.is_asked = false;
            for (what, more) in counts {
                let so_far = supervision.denied.entry(what).or_default();
                *so_far = so_far.saturating_add(more);
            }
            return Ok(());
        }
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
            supervision.fault = Some(fault);
        }
        Ok(())
    }

    /// Asks the launcher what was refused, and takes what it says until it has answered.
    fn ask(&self, supervision: &mut Supervision) -> Result<(), Error> {
        const ASKING: &str = "asking what was refused";
        if !supervision.is_asked {
            link::send_now(&self.control, &Question::Denied).map_err(doing(ASKING))?;
            supervision.is_asked = true;
        }
        let begun = Instant::now();
        while supervision.is_asked && supervision.end.is_none() {
            let patience = ANSWER_PATIENCE.saturating_sub(begun.elapsed());
            let [heard] = link::ready([self.control.as_fd()], Some(patience))
                .map_err(doing("waiting for what was refused"))?;
            if !heard {
                break;
            }
            self.hear(supervision)?;
        }
        Ok(())
    }
}

impl Cell for LinuxCell {
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.supervision().outcome()? {
                return Ok(Some(end));
            }
            let patience = patience.saturating_sub(begun.elapsed());
            let [heard] = link::ready([self.control.as_fd()], Some(patience))
                .map_err(doing("waiting for the program"))?;
            let mut supervision = self.supervision();
            self.hear(&mut supervision)?;
            if !heard {
                return supervision.outcome();
            }
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
        let mut supervision = self.supervision();
        if supervision.end.is_none() {
            // A launcher that cannot be asked is about to end, and `wait` says how. What it has told
            // so far is told on; what it still holds is not lost, but told the next time.
            self.ask(&mut supervision).unwrap_or_default();
        }
        let denied = std::mem::take(&mut supervision.denied);
        let each = |(what, count)| Denied { what, count };
        denied.into_iter().map(each).collect()
    }
}

impl Drop for LinuxCell {
    /// Kills the cell and reaps the launcher, so that a dropped cell leaves nothing.
    fn drop(&mut self) {
        if self.supervision().end.is_none() && self.signal_init(Signal::KILL).is_ok() {
            let mut supervision = self.supervision();
            // What can fail here is supervision of something that is dead already.
            while supervision.end.is_none()
                && link::ready([self.control.as_fd()], None).is_ok()
                && self.hear(&mut supervision).is_ok()
            {}
        }
    }
}
