//! The cell's init, PID 1: builds the cell from inside, seals itself, starts the program as its
//! child, reaps whatever is orphaned, and ends with the program. When it ends, so does everything.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use serde::{Deserialize, Serialize};

use crate::kernel::{self, Side};
use crate::launcher::group::Groups;
use crate::launcher::limits::MemoryBound;
use crate::launcher::rights::Outer;
use crate::launcher::root::Begun;
use crate::launcher::{LeftOut, Part, calls, files, limits, quota, rights, root, writes};
use crate::link::{self, Fault, Report, WallReport};
use crate::plan::{Plan, Request};

/// Most bytes of a fault on its way from the program's process to the init.
const FAULT_BYTES_MAX: u64 = 16 * 1024;

/// How readily the kernel ends a cell when memory runs out, from -1000 to 1000.
const OUT_OF_MEMORY_SCORE: &str = "800";
/// What new files in a cell do not permit, whatever the engine was started with.
const FILE_MODE_MASK: u32 = 0o022;

/// What the launcher tells its init once there is a plan; the plan and the program's three streams
/// come along.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) memory_bound: MemoryBound,
    pub(crate) memory_wall: WallReport,
    /// The control group that limits processes, if one does.
    pub(crate) process_wall: Option<WallReport>,
}

/// Does all of an init's work and never returns.
pub(crate) fn run(
    left_out: LeftOut,
    outer: Outer,
    groups: &Groups,
    birthplace: Option<&File>,
    link: &OwnedFd,
) -> ! {
    let done = prepare(left_out, outer, groups, birthplace, link)
        .map_err(Told::Not)
        .and_then(|begun| {
            link::send(link, &Report::Ready, &[]).map_err(|_| Told::Already)?;
            let (plan, order, streams) = take_order(left_out, link)?;
            start(&plan, order, begun, streams, link).map_err(Told::Not)
        })
        .and_then(|program| {
            let end = outlive(program);
            link::send(link, &end, &[]).map_err(|_| Told::Already)
        });
    let code = match done {
        Ok(()) => 0,
        Err(Told::Already) => 1,
        Err(Told::Not(fault)) => {
            // If even this fails, the launcher sees an init that died before the program ran.
            drop(link::send(link, &Report::Failed(fault), &[]));
            1
        }
    };
    #[expect(
        clippy::exit,
        reason = "the init is a process of its own and ends here"
    )]
    std::process::exit(code)
}

/// Does what needs no plan.
fn prepare(
    left_out: LeftOut,
    outer: Outer,
    groups: &Groups,
    birthplace: Option<&File>,
    link: &OwnedFd,
) -> Result<Begun, Fault> {
    die_with_launcher(link)?;
    groups.enter(birthplace)?;
    die_before_the_engine()?;
    rights::become_agent(outer, left_out)?;
    root::begin(left_out)
}

fn take_order(left_out: LeftOut, link: &OwnedFd) -> Result<(Plan, Order, [OwnedFd; 3]), Told> {
    const DOING: &str = "taking the plan";
    let heard = link::receive::<Order>(link).map_err(Fault::setup(DOING))?;
    // A launcher that never got a plan ends without a word.
    let Some((order, descriptors)) = heard else {
        return Err(Told::Already);
    };
    let Ok([request, stdin, stdout, stderr]) = <[OwnedFd; 4]>::try_from(descriptors) else {
        return Err(Fault::setup(DOING)("its descriptors are missing").into());
    };
    let mut request = File::from(request);
    // The launcher has read it through the same descriptor.
    request.rewind().map_err(Fault::setup(DOING))?;
    let request =
        serde_json::from_reader(io::BufReader::new(request)).map_err(Fault::setup(DOING))?;
    match request {
        Request::Run(plan) => Ok((Plan { left_out, ..plan }, order, [stdin, stdout, stderr])),
        Request::Probe(_) => Err(Fault::setup(DOING)("it is none").into()),
    }
}

enum Told {
    Already,
    Not(Fault),
}

impl From<Fault> for Told {
    fn from(fault: Fault) -> Self {
        Self::Not(fault)
    }
}

fn start(
    plan: &Plan,
    order: Order,
    begun: Begun,
    streams: [OwnedFd; 3],
    link: &OwnedFd,
) -> Result<Pid, Fault> {
    let mut walls = vec![
        WallReport::stands("namespaces", rights::NAMESPACES),
        WallReport::stands("network", "loopback only"),
    ];
    let (proc, process_wall) = root::finish(begun, plan)?;
    let user = File::open("/proc/self/ns/user").map_err(Fault::setup("naming the cell's user"))?;
    walls.push(WallReport::stands("mount namespace", root::PRIVATE));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(FILE_MODE_MASK));
    walls.extend(writes::wall(plan));
    walls.push(order.process_wall.unwrap_or(process_wall));
    walls.push(order.memory_wall);
    limits::describe(plan, &mut walls);
    walls.push(quota::wall(plan));
    give_up_rights(plan, &mut walls)?;
    // Nobody inside may look into the init: it holds the plan, with paths of the host.
    let shown = if plan.left_out.has(Part::Environment) {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    };
    set_dumpable_behavior(shown).map_err(Fault::setup("hiding the init"))?;
    // Changing one's rights may have cleared the death signal.
    die_with_launcher(link)?;
    refuse_calls(plan, link, &mut walls)?;
    let program = begin(plan, order.memory_bound, streams)?;
    link::send(
        link,
        &Report::Started { walls },
        &[proc.as_fd(), user.as_fd()],
    )
    .map_err(Fault::setup("telling that the program runs"))?;
    Ok(program)
}

/// Restricts what may be done with files, and drops every capability.
fn give_up_rights(plan: &Plan, walls: &mut Vec<WallReport>) -> Result<(), Fault> {
    const CAPABILITIES: &str = "capabilities";
    let keeps_rights = plan.left_out.has(Part::Rights);
    if !keeps_rights {
        rights::close_bounding_set()?;
    }
    walls.push(if plan.left_out.has(Part::Landlock) {
        WallReport::left_out("landlock")
    } else {
        match files::restrict(plan) {
            Ok(wall) => wall,
            Err(Fault::Wall { wall, why }) if plan.accepted.contains(&wall) => {
                WallReport::accepted_missing(&wall, &why)
            }
            Err(fault) => return Err(fault),
        }
    });
    walls.push(if keeps_rights {
        rights::keep_all()?;
        WallReport::left_out(CAPABILITIES)
    } else {
        rights::drop_all()?;
        WallReport::stands(CAPABILITIES, "none, and none to be gained")
    });
    Ok(())
}

/// Refuses system calls from here on, and has the launcher hear of them.
fn refuse_calls(plan: &Plan, link: &OwnedFd, walls: &mut Vec<WallReport>) -> Result<(), Fault> {
    if plan.left_out.has(Part::Seccomp) {
        walls.push(WallReport::left_out("seccomp"));
        return Ok(());
    }
    let filtered = calls::restrict()?;
    walls.extend(filtered.walls);
    // The launcher's alone: whoever holds it could let a refused call through.
    if let Some(listener) = filtered.listener {
        link::send(link, &Report::Listening, &[listener.as_fd()])
            .map_err(Fault::setup("handing over what tells of refused calls"))?;
    }
    Ok(())
}

/// Makes the kernel kill this process when the launcher dies, and makes sure it had not already.
fn die_with_launcher(link: &OwnedFd) -> Result<(), Fault> {
    const DOING: &str = "tying the cell to its launcher";
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Fault::setup(DOING))?;
    let gone = link::is_closed(link).map_err(Fault::setup(DOING))?;
    if gone {
        Err(Fault::setup(DOING)("the launcher is gone"))
    } else {
        Ok(())
    }
}

/// Offers the cell to the kernel when memory runs out, rather than the engine.
fn die_before_the_engine() -> Result<(), Fault> {
    std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE)
        .map_err(Fault::setup("offering the cell when memory runs out"))
}

/// Starts the program and returns once its `execve` has succeeded.
fn begin(plan: &Plan, memory: MemoryBound, streams: [OwnedFd; 3]) -> Result<Pid, Fault> {
    const DOING: &str = "starting the program's process";
    let (mut heard, told) = io::pipe().map_err(Fault::setup(DOING))?;
    let program = match kernel::fork().map_err(Fault::setup(DOING))? {
        Side::Old(program) => program,
        Side::New => {
            drop(heard);
            let fault = become_program(plan, memory, streams);
            let said = serde_json::to_vec(&fault)
                .map_err(io::Error::from)
                .and_then(|fault| {
                    let mut told = File::from(OwnedFd::from(told));
                    told.write_all(&fault)
                });
            #[expect(clippy::exit, reason = "the program's process has nothing else to do")]
            std::process::exit(if said.is_ok() { 0 } else { 1 })
        }
    };
    drop((told, streams));
    // The pipe is closed on exec: silence means that the program runs.
    let mut fault = Vec::new();
    heard
        .by_ref()
        .take(FAULT_BYTES_MAX)
        .read_to_end(&mut fault)
        .map_err(Fault::setup(DOING))?;
    if fault.is_empty() {
        return Ok(program);
    }
    Err(serde_json::from_slice(&fault).unwrap_or_else(Fault::setup(DOING)))
}

/// Turns this process into the program; returns only if that fails.
fn become_program(plan: &Plan, memory: MemoryBound, streams: [OwnedFd; 3]) -> Fault {
    kernel::default_signals();
    let program = plan.argv.first().cloned().unwrap_or_default();
    let prepared = rustix::process::setsid()
        .map_err(Fault::setup("making the program's session"))
        .and_then(|_| limits::apply(plan, memory))
        .and_then(|()| {
            let doing = format!("entering {}", plan.cwd.display());
            std::env::set_current_dir(&plan.cwd).map_err(Fault::setup(doing))
        });
    if let Err(fault) = prepared {
        return fault;
    }
    let [stdin, stdout, stderr] = streams;
    let mut command = Command::new(&program);
    if !plan.left_out.has(Part::Environment) {
        command.env_clear();
    }
    let error = command
        .args(plan.argv.iter().skip(1))
        .envs(&plan.env)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .exec();
    Fault::Program {
        program,
        why: error.to_string(),
    }
}

/// Reaps every orphan until the program itself has ended.
fn outlive(program: Pid) -> Report {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((child, status))) if child == program => {
                if let Some(end) = end(status) {
                    return end;
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Without children there is no program; how it ended was missed.
            Err(_) => return Report::Signalled(Signal::KILL.as_raw()),
        }
    }
}

fn end(status: WaitStatus) -> Option<Report> {
    status
        .exit_status()
        .map(Report::Exited)
        .or_else(|| status.terminating_signal().map(Report::Signalled))
}
