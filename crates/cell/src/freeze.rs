//! Stops and continues every process of a cell, seen through the cell's own `/proc`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

/// Longest time until every process stands.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread may be in an uninterruptible wait before it counts as standing: it has a stop
/// signal pending and cannot run its own code before it takes it. A parent in `vfork` whose child
/// was stopped first stays so.
const UNINTERRUPTIBLE_GRACE: Duration = Duration::from_millis(250);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
/// Most bytes of a `stat` line that are read; the state is near its beginning.
const STAT_BYTES: usize = 512;

/// Sends a stop to every process until a whole look finds each thread standing and nobody new.
pub(crate) fn stop_all(proc: &OwnedFd) -> io::Result<()> {
    let begun = Instant::now();
    let mut before: Option<Vec<String>> = None;
    loop {
        let processes = numbers(proc)?;
        let mut all_stand = true;
        for number in &processes {
            all_stand &= stop(proc, number, begun.elapsed() > UNINTERRUPTIBLE_GRACE)?;
        }
        // A process that was made while the first look went on is found by the second, and when
        // both find the same, all of them stopped, nobody is left to make another.
        if all_stand && before.as_ref() == Some(&processes) {
            return Ok(());
        }
        before = all_stand.then_some(processes);
        if begun.elapsed() > STOP_PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "some process did not stop within {} s",
                    STOP_PATIENCE.as_secs()
                ),
            ));
        }
        if !all_stand {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Lets every process go on.
pub(crate) fn continue_all(proc: &OwnedFd) -> io::Result<()> {
    for number in numbers(proc)? {
        if let Some(process) = open(proc, &number)? {
            signal(&process, Signal::CONT)?;
        }
    }
    Ok(())
}

/// Returns whether every thread of the process stands, after making sure that it will.
fn stop(proc: &OwnedFd, number: &str, uninterruptible_stands: bool) -> io::Result<bool> {
    let Some(process) = open(proc, number)? else {
        return Ok(true);
    };
    let mut stands = true;
    let Some(tasks) = gone_is_none(open_folder(&process, "task"))? else {
        return Ok(true);
    };
    for thread in numbers(&tasks)? {
        stands &= match state(&tasks, &thread)? {
            None | Some(b'T' | b't' | b'Z' | b'X') => true,
            Some(b'D') => uninterruptible_stands,
            Some(_) => false,
        };
    }
    if !stands {
        signal(&process, Signal::STOP)?;
    }
    Ok(stands)
}

/// Sends a signal through a `/proc/<pid>` folder, which names one process for good: a number used
/// again by another process cannot be hit.
fn signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    gone_is_none(pidfd_send_signal(process, signal)).map(|_| ())
}

fn open(proc: &OwnedFd, number: &str) -> io::Result<Option<OwnedFd>> {
    gone_is_none(open_folder(proc, number))
}

/// Opens a folder beneath one of `/proc`.
pub(crate) fn open_folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn state(tasks: &OwnedFd, thread: &str) -> io::Result<Option<u8>> {
    let path = format!("{thread}/stat");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Some(stat) = gone_is_none(openat(tasks, path, flags, Mode::empty()))? else {
        return Ok(None);
    };
    let mut line = [0; STAT_BYTES];
    let Some(length) = gone_is_none(rustix::io::read(&stat, &mut line))? else {
        return Ok(None);
    };
    // The name stands in parentheses and may itself hold any byte; the state follows the last one.
    let line = line.get(..length).unwrap_or_default();
    let close = line.iter().rposition(|byte| *byte == b')');
    Ok(close.and_then(|close| line.get(close + 2)).copied())
}

/// Returns the entries that are numbers: processes in `/proc`, threads in a `task` folder.
pub(crate) fn numbers(folder: &OwnedFd) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let Some(entries) = gone_is_none(Dir::read_from(folder.as_fd()))? else {
        return Ok(found);
    };
    for entry in entries {
        let Some(entry) = gone_is_none(entry)? else {
            break;
        };
        if let Ok(name) = entry.file_name().to_str()
            && name.bytes().all(|byte| byte.is_ascii_digit())
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// A process may end at any moment; that is no error.
fn gone_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
