//! The launcher with walls left out: for the negative controls of tests, and for nothing else.
//!
//! A test that an attempt fails proves little until the same attempt succeeds without the wall that
//! is said to stop it. The product cannot leave anything out: what is left out never travels with a
//! request, and only [`main_weak`] sets it, which only programs made for tests may call.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::launch::NAME;
use crate::launcher::serve;
use crate::link::{self, Call, Fault, Report};

/// A wall that can be left out by itself. Most have a second one behind them, so that an attempt
/// may need several of them gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The seccomp filters.
    Seccomp,
    /// All of Landlock.
    Landlock,
    /// Landlock's scopes for signals and abstract sockets.
    Scopes,
    /// Landlock in the kernel: making a ruleset fails as on a kernel without it.
    LandlockKernel,
    /// The network namespace.
    Network,
    /// The PID namespace: the host's `/proc` is seen, and grandchildren outlive the program. The
    /// cell cannot be paused then.
    Pid,
    /// The empty environment: the engine's is passed to the program, and the init shows it.
    Environment,
    /// The closing of what the launcher inherited open.
    Descriptors,
    /// The private root: every folder of the host but `/var` is seen, read-only.
    Root,
    /// What covers parts of `/proc`, and its being read-only. To a cell of a root engine all of
    /// `/proc/sys` is writable then: open it, never write it.
    Proc,
    /// The masks of the specification.
    Masks,
    /// That binds not declared writable, the git directory among them, are read-only.
    Binds,
    /// The scope of writes within the tree.
    Writes,
    /// The size of the private folders in memory.
    Scratch,
    /// Control group, rlimits and the cap on processes.
    Limits,
    /// The disk quota.
    Quota,
    /// The loss of capabilities: the program has all of its namespaces'. `no_new_privs` stays while
    /// seccomp does, which sets it.
    Rights,
}

impl Part {
    const ALL: [(Self, &str); 17] = [
        (Self::Seccomp, "seccomp"),
        (Self::Landlock, "landlock"),
        (Self::Scopes, "scopes"),
        (Self::LandlockKernel, "no-landlock-kernel"),
        (Self::Network, "network"),
        (Self::Pid, "pid"),
        (Self::Environment, "environment"),
        (Self::Descriptors, "descriptors"),
        (Self::Root, "root"),
        (Self::Proc, "proc"),
        (Self::Masks, "masks"),
        (Self::Binds, "binds"),
        (Self::Writes, "writes"),
        (Self::Scratch, "scratch"),
        (Self::Limits, "limits"),
        (Self::Quota, "quota"),
        (Self::Rights, "rights"),
    ];
}

/// The walls a launcher leaves out; none, unless [`main_weak`] was told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    parts: u32,
}

impl LeftOut {
    /// Returns whether this part is left out.
    pub(crate) fn has(self, part: Part) -> bool {
        self.parts & (1 << part as u32) != 0
    }

    fn parse(names: &OsStr) -> Result<Self, Fault> {
        let mut left_out = Self::default();
        for name in names.as_bytes().split(|byte| *byte == b',') {
            let name = String::from_utf8_lossy(name);
            let Some((part, _)) = Part::ALL.iter().find(|(_, known)| *known == name) else {
                let known = Part::ALL.map(|(_, known)| known).join(", ");
                return Err(Fault::setup("leaving walls out")(format!(
                    "there is no `{name}`; there are {known}"
                )));
            };
            left_out.parts |= 1 << *part as u32;
        }
        Ok(left_out)
    }
}

/// Runs a launcher that leaves out the walls named in its one argument, separated by commas. For
/// tests of the walls only: it exists so that each of them can be shown to be what stops an
/// attempt.
///
/// The names: `seccomp`, `landlock`, `scopes` (of Landlock, for signals and abstract sockets),
/// `no-landlock-kernel` (as if the kernel had none), `network`, `pid`, `environment`,
/// `descriptors`, `root` (every folder of the host is seen, read-only), `proc`, `masks`, `binds`
/// (the read-only ones can be written), `writes`, `scratch` (private folders in memory have no
/// size), `limits`, `quota`, `rights`.
///
/// Must be the first thing `main` does: the process must have one thread and nothing open.
#[must_use]
pub fn main_weak() -> ExitCode {
    let names = std::env::args_os().nth(1).unwrap_or_default();
    let served = LeftOut::parse(&names).map_or_else(refuse, |left_out| {
        if left_out.has(Part::Environment) {
            take_the_engines_environment(&names)?;
        }
        serve(left_out)
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the engine, once it has asked: an answer is lost when the question stays unread.
fn refuse(fault: Fault) -> io::Result<()> {
    let engine = io::stdin();
    link::receive::<Call>(engine.as_fd())?;
    link::send(engine.as_fd(), &Report::Failed(fault), &[])
}

/// The second argument of a launcher that has the engine's environment already.
const AGAIN: &str = "again";

/// Starts this program again with the environment of the engine, once: that it is not handed down
/// is the engine's doing, and is undone here.
fn take_the_engines_environment(names: &OsStr) -> io::Result<()> {
    if std::env::args_os().nth(2).is_some() {
        return Ok(());
    }
    let Some(engine) = rustix::process::getppid() else {
        return Ok(());
    };
    let environment = std::fs::read(format!("/proc/{}/environ", engine.as_raw_nonzero()))?;
    let variables: Vec<(OsString, OsString)> = environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| {
            let equals = variable.iter().position(|byte| *byte == b'=')?;
            let (name, value) = variable.split_at_checked(equals)?;
            let value = value.get(1..)?;
            Some((
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            ))
        })
        .collect();
    Err(Command::new("/proc/self/exe")
        .arg0(NAME)
        .args([names, OsStr::new(AGAIN)])
        .env_clear()
        .envs(variables)
        .exec())
}
