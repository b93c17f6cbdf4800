//! Finds the processes that belong to a host cell, as well as that can be told without a sandbox.
//!
//! A process belongs when it is in the cell's process group or session, descends from its first
//! program, or carries the cell's folder in its environment, as a child does that left group and
//! parents behind. One that also cleared its environment gets away: this is a fake.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Rounds of looking for children that were born while others were killed.
const ROUNDS_MAX: usize = 100;

/// Kills all of a cell, until none is left to be found.
pub(super) fn kill_all(first: Pid, folder: &Path) {
    for _ in 0..ROUNDS_MAX {
        if signal_all(first, folder, Signal::KILL) == 0 {
            return;
        }
        std::thread::yield_now();
    }
}

/// Sends a signal to all of a cell that live, and returns how many there were.
pub(super) fn signal_all(first: Pid, folder: &Path, signal: Signal) -> usize {
    let processes = living();
    let mine: Vec<Pid> = processes
        .iter()
        .filter(|(pid, facts)| {
            let first = first.as_raw_nonzero().get();
            facts.group == first
                || facts.session == first
                || descends(&processes, **pid, first)
                || carries(**pid, folder)
        })
        .filter_map(|(pid, _)| Pid::from_raw(*pid))
        .filter(|pid| *pid != rustix::process::getpid())
        .collect();
    for pid in &mine {
        match kill_process(*pid, signal) {
            // One that is gone by itself is as good.
            Ok(()) | Err(_) => {}
        }
    }
    mine.len()
}

#[derive(Debug)]
struct Facts {
    parent: i32,
    group: i32,
    session: i32,
}

fn living() -> BTreeMap<i32, Facts> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, facts(pid)?)))
        .collect()
}

fn facts(pid: i32) -> Option<Facts> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, even a parenthesis.
    let (_, rest) = line.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let facts = Facts {
        parent: number()?,
        group: number()?,
        session: number()?,
    };
    (!matches!(state, "Z" | "X")).then_some(facts)
}

fn descends(processes: &BTreeMap<i32, Facts>, pid: i32, first: i32) -> bool {
    let mut at = pid;
    // A list taken while processes come and go might show a circle.
    for _ in 0..processes.len() {
        if at == first {
            return true;
        }
        match processes.get(&at) {
            Some(facts) => at = facts.parent,
            None => return false,
        }
    }
    false
}

fn carries(pid: i32, folder: &Path) -> bool {
    let folder = folder.as_os_str().as_encoded_bytes();
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.windows(folder.len()).any(|it| it == folder))
}
