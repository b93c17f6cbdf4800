//! The launcher: starts the cell's init in new namespaces, stays outside, and kills the cell when
//! the engine is gone.

mod calls;
mod files;
mod init;
mod limits;
mod mounts;
mod probe;
mod rights;
mod root;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::kernel::{self, Side};
use crate::link::{self, Fault, Report};
use crate::plan::{Plan, Request};

/// Runs the launcher: reads a request from the socket that is standard input, carries it out, and
/// ends when the cell has ended or the engine is gone.
///
/// Must be the first thing `main` does: the process must have one thread and nothing open.
#[must_use]
pub fn main() -> ExitCode {
    // There is nobody to tell but the socket, and when that fails the engine sees it close.
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    kernel::close_from(3)?;
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    // A group of its own: an interrupt typed at the engine's terminal is the engine's to handle.
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    let Some(((), descriptors)) = link::receive(&control)? else {
        return Ok(());
    };
    let Ok([plan, stdin, stdout, stderr]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        return Err(io::Error::other("the request lacks its descriptors"));
    };
    match serde_json::from_reader(io::BufReader::new(File::from(plan)))? {
        Request::Probe(dir) => link::send(
            &control,
            &Report::Probed(probe::every_wall(dir.as_deref())),
            &[],
        ),
        Request::Run(plan) => {
            if let Err(fault) = supervise(&control, &plan, [stdin, stdout, stderr]) {
                link::send(&control, &Report::Failed(fault), &[])?;
            }
            Ok(())
        }
    }
}

/// Starts the init and passes on what it says; returns when the cell is gone. A fault means that
/// nothing runs.
fn supervise(control: &OwnedFd, plan: &Plan, streams: [OwnedFd; 3]) -> Result<(), Fault> {
    rights::leave_groups();
    let outer = rights::Outer::own();
    let (ours, theirs) = link::pair().map_err(Fault::setup("making the init's socket"))?;
    let init = match rights::clone_into_namespaces()? {
        Side::Old(init) => init,
        Side::New => {
            drop(ours);
            init::run(plan, outer, streams, &theirs);
        }
    };
    drop((theirs, streams));
    let outcome = watch(control, &ours, &init);
    if outcome.is_err() {
        // Already dead is as good.
        drop(pidfd_send_signal(&init, Signal::KILL));
    }
    reap(&init).map_err(Fault::setup("reaping the cell's init"))?;
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::EngineGone) => Ok(()),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// Why the cell is ended from outside.
enum Stop {
    EngineGone,
    Fault(Fault),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Fault(Fault::setup("supervising the cell")(error))
    }
}

fn watch(control: &OwnedFd, link: &OwnedFd, init: &OwnedFd) -> Result<(), Stop> {
    let mut started = false;
    let mut end = None;
    loop {
        let [engine_gone, heard, dead] =
            link::ready([control.as_fd(), link.as_fd(), init.as_fd()], None)?;
        if engine_gone {
            return Err(Stop::EngineGone);
        }
        if heard && let Some((report, descriptors)) = link::receive::<Report>(link)? {
            match report {
                Report::Started { .. } => {
                    started = true;
                    let [proc] = descriptors.as_slice() else {
                        return Err(io::Error::other("the init sent no `/proc`").into());
                    };
                    link::send(control, &report, &[init.as_fd(), proc.as_fd()])?;
                }
                Report::Failed(fault) => return Err(Stop::Fault(fault)),
                Report::Exited(_) | Report::Signalled(_) => end = Some(report),
                Report::Probed(_) => {}
            }
            // What it said before it died is heard before its death is believed.
            continue;
        }
        if dead {
            return if started {
                let end = end.unwrap_or(Report::Signalled(Signal::KILL.as_raw()));
                link::send(control, &end, &[]).map_err(Stop::from)
            } else {
                Err(io::Error::other("the cell's init died before the program ran").into())
            };
        }
        if heard {
            // It closed its end, so its death is all that is left to wait for.
            link::ready([init.as_fd()], None)?;
        }
    }
}

fn reap(init: &OwnedFd) -> io::Result<()> {
    waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED)?;
    Ok(())
}
