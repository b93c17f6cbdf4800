//! The engine's side of a launch: spawn the launcher, hand it the plan, wait for its word.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ports::cells::{CellSpec, Cells, Error, Launched, Streams, Wall};

use crate::control::LinuxCell;
use crate::link::{self, Call, Report};
use crate::plan::{Plan, Request};
use crate::spare::Spare;

/// What the launcher's processes are called.
pub(crate) const NAME: &str = "palisade";
/// Longest time a cell may take to stand.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(60);

/// The program that seals cells: one whose `main` calls [`crate::launcher::main`].
#[derive(Clone, Debug)]
pub struct Launcher {
    /// Its absolute path.
    pub program: PathBuf,
    /// The argument that makes it act as launcher.
    pub argument: OsString,
}

/// Cells made by the Linux kernel's own means.
#[derive(Clone, Debug)]
pub struct LinuxCells {
    launcher: Launcher,
    probe_dir: Option<PathBuf>,
    spare: Option<Arc<Spare>>,
}

impl LinuxCells {
    /// Returns a maker of cells that uses this launcher.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            probe_dir: None,
            spare: None,
        }
    }

    /// Returns the same maker, which from its first cell on keeps the beginning of the next ready:
    /// two sleeping processes that end with the maker and its clones, or with this program.
    #[must_use]
    pub fn keeping_one_ready(self) -> Self {
        Self {
            spare: Some(Arc::default()),
            ..self
        }
    }

    /// Makes the beginning of the next cell ready, where that is kept, and waits until it is.
    pub fn wait_until_ready(&self) {
        if let Some(spare) = &self.spare {
            spare.refill(&self.launcher);
            spare.wait();
        }
    }

    /// Returns the same maker, which tries overlays in `dir` when it probes: whether they work
    /// depends on the file system that will hold them.
    #[must_use]
    pub fn with_probe_dir(self, dir: PathBuf) -> Self {
        Self {
            probe_dir: Some(dir),
            ..self
        }
    }

    /// Hands a request to the launcher that is ready, or to a new one.
    fn start(&self, request: &Request, streams: &[OwnedFd; 3]) -> Result<Supervisor, Error> {
        let ready = match request {
            Request::Run(_) => self.spare.as_ref().and_then(|spare| spare.take()),
            Request::Probe(_) => None,
        };
        if let Some(ready) = ready {
            if ready.send(request, streams).is_ok() {
                return Ok(ready);
            }
            // It was gone, or it would have taken the request.
            ready.dismiss();
        }
        let mut supervisor = Supervisor::spawn(&self.launcher)?;
        match supervisor.send(request, streams) {
            Ok(()) => Ok(supervisor),
            Err(source) => {
                supervisor.end();
                Err(doing("sending the plan to the launcher")(source))
            }
        }
    }
}

impl Cells for LinuxCells {
    fn probe(&self) -> Vec<Wall> {
        let answer = null_streams()
            .map_err(doing("opening /dev/null"))
            .and_then(|streams| self.start(&Request::Probe(self.probe_dir.clone()), &streams))
            .and_then(|mut supervisor| {
                let answer = supervisor.hear();
                supervisor.end();
                answer
            });
        match answer {
            Ok((Report::Probed(walls), _)) => walls.into_iter().map(Wall::from).collect(),
            Ok((other, _)) => vec![no_launcher(format!("it answered {other:?}"))],
            Err(error) => vec![no_launcher(error.to_string())],
        }
    }

    fn launch(&self, spec: &CellSpec) -> Result<Launched, Error> {
        let plan = Plan::compile(spec)?;
        let (stdin, our_stdin) = io::pipe().map_err(doing("making a pipe"))?;
        let (our_stdout, stdout) = io::pipe().map_err(doing("making a pipe"))?;
        let (our_stderr, stderr) = io::pipe().map_err(doing("making a pipe"))?;
        let streams = [stdin.into(), stdout.into(), stderr.into()];
        let mut supervisor = self.start(&Request::Run(plan), &streams)?;
        // Only the cell holds these now, so that their end is its end.
        drop(streams);
        let (walls, descriptors) = match supervisor.hear() {
            Ok((Report::Started { walls }, descriptors)) => (walls, descriptors),
            Ok((Report::Failed(fault), _)) => {
                supervisor.end();
                return Err(fault.into());
            }
            Ok((other, _)) => {
                supervisor.end();
                return Err(unexpected(&other));
            }
            Err(error) => {
                supervisor.end();
                return Err(error);
            }
        };
        let Ok([init, proc]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            supervisor.end();
            return Err(Error::Io {
                doing: "hearing from the launcher".to_owned(),
                source: io::Error::other("the handles on the cell are missing"),
            });
        };
        let Supervisor { control, process } = supervisor;
        let cell = LinuxCell::new(control, process, init, proc, walls);
        if let Some(spare) = &self.spare {
            spare.refill(&self.launcher);
        }
        Ok(Launched {
            streams: Streams {
                stdin: Box::new(our_stdin),
                stdout: Box::new(our_stdout),
                stderr: Box::new(our_stderr),
            },
            cell: Arc::new(cell),
        })
    }
}

/// The launcher's process while it is not yet known whether a cell stands.
#[derive(Debug)]
pub(crate) struct Supervisor {
    control: OwnedFd,
    process: Child,
}

impl Supervisor {
    /// Starts a launcher that stands ready for a plan.
    pub(crate) fn prepare(launcher: &Launcher) -> Result<Self, Error> {
        let mut supervisor = Self::spawn(launcher)?;
        let ready = link::send(&supervisor.control, &Call::Prepare, &[])
            .map_err(doing("asking a launcher to get ready"))
            .and_then(|()| supervisor.hear());
        match ready {
            Ok((Report::Ready, _)) => Ok(supervisor),
            Ok((Report::Failed(fault), _)) => {
                supervisor.dismiss();
                Err(fault.into())
            }
            Ok((other, _)) => {
                supervisor.end();
                Err(unexpected(&other))
            }
            Err(error) => {
                supervisor.end();
                Err(error)
            }
        }
    }

    fn spawn(launcher: &Launcher) -> Result<Self, Error> {
        let (control, theirs) = link::pair().map_err(doing("making the control socket"))?;
        // Everything this process has open is closed on exec, and what the launcher needs travels
        // over its socket: a spawn in another thread at the same moment inherits nothing.
        let process = Command::new(&launcher.program)
            // The init keeps this name, and its command line can be read in the cell.
            .arg0(NAME)
            .arg(&launcher.argument)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::Setup {
                doing: format!("starting the launcher {}", launcher.program.display()),
                why: error.to_string(),
            })?;
        Ok(Self { control, process })
    }

    fn send(&self, request: &Request, streams: &[OwnedFd; 3]) -> io::Result<()> {
        let plan = memory_file(request)?;
        let [stdin, stdout, stderr] = streams;
        let descriptors = [plan.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        link::send(&self.control, &Call::Serve, &descriptors)
    }

    /// Returns whether the launcher still runs.
    pub(crate) fn is_there(&self) -> bool {
        link::is_closed(&self.control).is_ok_and(|closed| !closed)
    }

    /// Lets a launcher that was given nothing to do clean up and end.
    pub(crate) fn dismiss(self) {
        let Self {
            control,
            mut process,
        } = self;
        drop(control);
        // An error here means that it is gone already, which is what is wanted.
        drop(process.wait());
    }

    fn hear(&self) -> Result<(Report, Vec<OwnedFd>), Error> {
        let [heard] = link::ready([self.control.as_fd()], Some(LAUNCH_PATIENCE))
            .map_err(doing("waiting for the launcher"))?;
        if !heard {
            return Err(Error::Setup {
                doing: "waiting for the cell to stand".to_owned(),
                why: format!("it took more than {} s", LAUNCH_PATIENCE.as_secs()),
            });
        }
        let received = link::receive(&self.control).map_err(doing("hearing from the launcher"))?;
        received.ok_or_else(|| Error::Setup {
            doing: "waiting for the cell to stand".to_owned(),
            why: "the launcher ended without a word; is it a program that calls \
                  `cell::launcher::main`?"
                .to_owned(),
        })
    }

    /// Ends and reaps the launcher, and with it whatever it had begun.
    fn end(&mut self) {
        // An error here means that it is gone already, which is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn unexpected(report: &Report) -> Error {
    Error::Io {
        doing: "hearing from the launcher".to_owned(),
        source: io::Error::other(format!("unexpected {report:?}")),
    }
}

fn memory_file(request: &Request) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(
        "plan",
        rustix::fs::MemfdFlags::CLOEXEC,
    )?);
    file.write_all(&serde_json::to_vec(request)?)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn null_streams() -> io::Result<[OwnedFd; 3]> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    Ok([
        null.try_clone()?.into(),
        null.try_clone()?.into(),
        null.into(),
    ])
}

fn no_launcher(why: String) -> Wall {
    Wall {
        name: "launcher".to_owned(),
        required: true,
        state: Err(why),
    }
}

pub(crate) fn doing(what: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        doing: what.to_owned(),
        source,
    }
}
