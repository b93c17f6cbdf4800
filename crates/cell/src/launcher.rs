//! The launcher: starts the cell's init in new namespaces, stays outside, and kills the cell when
//! the engine is gone.

mod attempts;
mod calls;
mod denials;
mod files;
mod group;
mod init;
mod limits;
mod mounts;
mod probe;
mod quota;
mod ready;
mod rights;
mod root;
mod tools;
mod usage;
mod weak;
mod writes;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::process::Signal;

use crate::kernel;
use crate::link::{self, Call, Fault, Question, Report};
use crate::plan::{Plan, Request, What};

use denials::Denials;
use quota::Quota;
use ready::ReadyInit;

pub use weak::main_weak;
pub(crate) use weak::{LeftOut, Part};

/// Runs the launcher: reads a request from the socket that is standard input, carries it out, and
/// ends when the cell has ended or the engine is gone.
///
/// Must be the first thing `main` does: the process must have one thread and nothing open.
#[must_use]
pub fn main() -> ExitCode {
    // There is nobody to tell but the socket, and when that fails the engine sees it close.
    match serve(LeftOut::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(left_out: LeftOut) -> io::Result<()> {
    if !left_out.has(Part::Descriptors) {
        kernel::close_from(3)?;
    }
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    // A group of its own: an interrupt typed at the engine's terminal is the engine's to handle.
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    let Some((call, descriptors)) = link::receive(&control)? else {
        return Ok(());
    };
    match call {
        Call::Serve => carry_out(control, left_out, None, descriptors),
        Call::Prepare => {
            let (control, init) = ReadyInit::start(control, left_out);
            let report = match &init {
                Ok(init) => init.wait_ready(&control)?,
                Err(fault) => Some(Report::Failed(fault.clone())),
            };
            if let Some(report) = report {
                link::send(&control, &report, &[])?;
            }
            // The engine may never want it, and then closes the socket.
            match link::receive(&control)? {
                Some((Call::Serve, descriptors)) => {
                    // One that died while it waited, or is out of date, has begun nothing of the
                    // cell: another takes its place.
                    let init = init.ok().filter(ReadyInit::is_current);
                    carry_out(control, left_out, init, descriptors)
                }
                Some((Call::Prepare, _)) | None => Ok(()),
            }
        }
    }
}

/// Carries out the request that is in the first of the descriptors.
fn carry_out(
    control: OwnedFd,
    left_out: LeftOut,
    ready: Option<ReadyInit>,
    descriptors: Vec<OwnedFd>,
) -> io::Result<()> {
    let Ok([request, stdin, stdout, stderr]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        return Err(io::Error::other("the request lacks its descriptors"));
    };
    let request = File::from(request);
    match serde_json::from_reader(io::BufReader::new(&request))? {
        Request::Probe(dir) => {
            drop(ready);
            let walls = probe::every_wall(left_out, dir.as_deref());
            link::send(&control, &Report::Probed(walls), &[])
        }
        Request::Run(plan) => {
            let plan = Plan { left_out, ..plan };
            let (control, init) = match ready {
                Some(init) => (control, Ok(init)),
                None => ReadyInit::start(control, left_out),
            };
            match init {
                Ok(init) => supervise(&control, &plan, init, &request, [stdin, stdout, stderr]),
                Err(fault) => link::send(&control, &Report::Failed(fault), &[]),
            }
        }
    }
}

/// Gives the init its plan, passes on what it says, and returns when the cell is gone.
fn supervise(
    control: &OwnedFd,
    plan: &Plan,
    mut init: ReadyInit,
    request: &File,
    streams: [OwnedFd; 3],
) -> io::Result<()> {
    let mut quota = Quota::prepare(plan)?;
    init.order(plan, request, &streams)?;
    drop(streams);
    let mut denials = Denials::default();
    let outcome = watch(
        plan,
        &mut quota,
        &mut denials,
        control,
        &init.link,
        &init.process,
    );
    // Whatever the outcome, nothing is left running.
    drop((init, quota));
    empty_scratch(plan);
    let end = match outcome {
        Ok(end) => end,
        Err(Stop::EngineGone) => return Ok(()),
        Err(Stop::Fault(fault)) => Report::Failed(fault),
    };
    let last = denials.take();
    if !last.is_empty() {
        link::send(control, &Report::Denied(last), &[])?;
    }
    link::send(control, &end, &[])
}

/// Leaves no scratch behind that an ordinary user could not remove. What cannot be emptied now is
/// emptied by the next cell that mounts it.
fn empty_scratch(plan: &Plan) {
    for mount in &plan.mounts {
        if let What::Layered { work, .. } = &mount.what {
            mounts::empty_scratch(work).unwrap_or_default();
        }
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

/// Returns how the program ended, once the init is dead.
fn watch(
    plan: &Plan,
    quota: &mut Quota,
    denials: &mut Denials,
    control: &OwnedFd,
    link: &OwnedFd,
    init: &OwnedFd,
) -> Result<Report, Stop> {
    let mut started = false;
    let mut end = None;
    let mut link_is_open = true;
    loop {
        let watched = [
            control.as_fd(),
            // What is not there cannot wake anybody: the init stands in, which is watched anyway.
            if link_is_open { link } else { init }.as_fd(),
            init.as_fd(),
            quota.link(),
            denials.listener().unwrap_or(init.as_fd()),
        ];
        let [asked, heard, dead, over_quota, denied] = link::ready(watched, None)?;
        if asked && !answer(control, denials)? {
            return Err(Stop::EngineGone);
        }
        if denied {
            denials.answer()?;
        }
        if over_quota {
            return quota.heard().map_err(Stop::Fault);
        }
        if heard
            && link_is_open
            && let Some((report, descriptors)) = link::receive::<Report>(link)?
        {
            match report {
                Report::Listening => {
                    let Ok([listener]) = <[OwnedFd; 1]>::try_from(descriptors) else {
                        return Err(io::Error::other("the init sent no listener").into());
                    };
                    denials.listen(listener);
                }
                Report::Started { .. } => {
                    started = true;
                    let [proc, user] = descriptors.as_slice() else {
                        return Err(io::Error::other("the init sent no handles").into());
                    };
                    quota.begin(plan, proc, user)?;
                    link::send(control, &report, &[init.as_fd(), proc.as_fd()])?;
                }
                Report::Failed(fault) => return Err(Stop::Fault(fault)),
                Report::Exited(_) | Report::Signalled(_) | Report::OverQuota { .. } => {
                    end = Some(report);
                }
                Report::Ready | Report::Denied(_) | Report::Probed(_) => {}
            }
            // What it said before it died is heard before its death is believed.
            continue;
        }
        if dead && started {
            return Ok(end.unwrap_or(Report::Signalled(Signal::KILL.as_raw())));
        }
        if dead {
            return Err(io::Error::other("the cell's init died before the program ran").into());
        }
        // When it closed its end, its death is all that is left to wait for.
        link_is_open &= !heard;
    }
}

/// Answers the engine; returns whether it is still there.
fn answer(control: &OwnedFd, denials: &mut Denials) -> io::Result<bool> {
    let Some((Question::Denied, _)) = link::receive(control)? else {
        return Ok(false);
    };
    let report = Report::Denied(denials.take());
    match (link::send_now(control, &report), report) {
        (Ok(()), _) => Ok(true),
        // It does not read what it is told: it is told later, and the cell is watched meanwhile.
        (Err(error), Report::Denied(counts)) if error.kind() == io::ErrorKind::WouldBlock => {
            denials.put_back(counts);
            Ok(true)
        }
        (Err(error), _) => Err(error),
    }
}
