//! The host's view of a cell's processes: found by a token on their command line, and looked at
//! through the host's own `/proc`, whatever they say themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// Namespaces that a process has.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// What of a process's status tells about its rights.
const STATUS: [&str; 9] = [
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
    "NoNewPrivs:",
    "Seccomp:",
    "Uid:",
    "Gid:",
];
/// Clock ticks of a second of CPU time, as `/proc` counts them on every architecture.
const TICKS: u64 = 100;

/// Returns the processes that carry a token, by their folders in `/proc`. Zombies count for nothing.
pub(crate) fn with_token(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        if words.any(|word| word == token.as_bytes()) {
            found.push(entry.path());
        }
    }
    found
}

/// Returns everything about these processes that is a right, a reach or a trait.
///
/// A process that is gone meanwhile has nothing; one that cannot be looked at says so, which
/// is never the same as before.
pub(crate) fn traits(processes: &[PathBuf]) -> BTreeSet<String> {
    processes.iter().flat_map(|it| of(it)).collect()
}

/// Returns the numbers of threads of all of them together.
pub(crate) fn threads(processes: &[PathBuf]) -> u64 {
    processes
        .iter()
        .map(|it| fs::read_dir(it.join("task")).map_or(0, |tasks| tasks.count() as u64))
        .sum()
}

/// Returns the memory that is theirs alone, of all of them together, in bytes.
pub(crate) fn memory_bytes(processes: &[PathBuf]) -> u64 {
    processes
        .iter()
        .filter_map(|it| field(it, "RssAnon:"))
        .filter_map(|it| it.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes << 10)
        .sum()
}

/// Returns the most descriptors that one of them has open.
pub(crate) fn descriptors(processes: &[PathBuf]) -> u64 {
    processes
        .iter()
        .map(|it| fs::read_dir(it.join("fd")).map_or(0, |open| open.count() as u64))
        .max()
        .unwrap_or(0)
}

/// Returns the most CPU time that one of them took, in seconds.
pub(crate) fn cpu_seconds(processes: &[PathBuf]) -> u64 {
    processes
        .iter()
        .filter_map(|it| fs::read_to_string(it.join("stat")).ok())
        .filter_map(|stat| {
            let (_, rest) = stat.rsplit_once(')')?;
            // User and system time are the 14th and 15th field; the state is the third.
            let mut fields = rest.split_whitespace().skip(11);
            let user: u64 = fields.next()?.parse().ok()?;
            let system: u64 = fields.next()?.parse().ok()?;
            Some((user + system) / TICKS)
        })
        .max()
        .unwrap_or(0)
}

/// Returns the size of a file as a process sees it, in bytes.
pub(crate) fn file_bytes(process: &Path, path: &str) -> u64 {
    let seen = process.join("root").join(path.trim_start_matches('/'));
    seen.metadata().map_or(0, |about| about.len())
}

/// Sends a signal to every one; they carry our token, so they are ours.
pub(crate) fn signal(processes: &[PathBuf], signal: Signal) {
    for process in processes {
        let number = process
            .file_name()
            .and_then(|it| it.to_str()?.parse().ok())
            .and_then(Pid::from_raw);
        if let Some(number) = number {
            // One that has ended meanwhile is as good.
            kill_process(number, signal).unwrap_or_default();
        }
    }
}

/// Returns whether the process runs, and is no zombie.
pub(crate) fn is_alive(process: &Path) -> bool {
    field(process, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

fn of(process: &Path) -> Vec<String> {
    if !is_alive(process) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in NAMESPACES {
        match fs::read_link(process.join("ns").join(name)) {
            Ok(to) => found.push(format!("namespace {}", to.display())),
            Err(error) => found.push(format!("namespace {name}: {error}")),
        }
    }
    for name in STATUS {
        let value = field(process, name).unwrap_or_default();
        found.push(format!("{name} {}", value.replace('\t', " ")));
    }
    if field(process, "TracerPid:").is_some_and(|it| it != "0") {
        found.push("is traced".to_owned());
    }
    for (what, file) in [("personality", "personality"), ("score", "oom_score_adj")] {
        let value = fs::read_to_string(process.join(file)).unwrap_or_default();
        found.push(format!("{what} {}", value.trim()));
    }
    let root = fs::read_link(process.join("root"));
    if matches!(&root, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        // It is on its way out, and has no root any more.
        return Vec::new();
    }
    found.push(format!("root {:?}", root.map_err(|it| it.to_string())));
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    found.extend(mounts.lines().map(|line| format!("mount {line}")));
    // A program that has just begun reads where its own stack lies; by the number its cell knows.
    let inner = field(process, "NSpid:").unwrap_or_default();
    let inner = inner.rsplit('\t').next().unwrap_or_default();
    let own_maps = format!("/proc/{inner}/maps");
    for open in fs::read_dir(process.join("fd")).into_iter().flatten() {
        let to = open.and_then(|it| fs::read_link(it.path()));
        let to = to.map_or_else(|it| it.to_string(), |it| it.display().to_string());
        // Pipes are how processes of one cell speak to one another.
        if !to.starts_with("pipe:") && to != "/dev/null" && to != own_maps {
            found.push(format!("descriptor {to}"));
        }
    }
    // What was read of a process that ended meanwhile is no sight of it.
    if is_alive(process) { found } else { Vec::new() }
}

fn field(process: &Path, name: &str) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_gains_is_seen() {
        let own_process = [PathBuf::from("/proc/self")];
        let before = traits(&own_process);
        assert!(before.iter().any(|it| it.starts_with("namespace user:[")));
        assert!(before.iter().any(|it| it.starts_with("CapEff: ")));
        assert!(before.iter().any(|it| it.starts_with("mount ")));
        let opened = fs::File::open("/etc/passwd").unwrap();
        let gained: Vec<_> = traits(&own_process).difference(&before).cloned().collect();
        assert!(
            gained.iter().any(|it| it == "descriptor /etc/passwd"),
            "{gained:?}"
        );
        drop(opened);
        let (first, own) = ("/proc/1/maps", "/proc/self/maps");
        for (file, is_gain) in [(own, false), (first, true)] {
            let Ok(opened) = fs::File::open(file) else {
                continue;
            };
            let seen = traits(&own_process);
            assert_eq!(
                seen.iter().any(|it| it.ends_with("/maps")),
                is_gain,
                "{file}"
            );
            drop(opened);
        }
        assert!(
            memory_bytes(&own_process) > 0
                && threads(&own_process) > 0
                && descriptors(&own_process) > 2
        );
    }

    #[test]
    fn a_process_is_found_by_a_word_of_its_own() {
        assert_eq!(with_token("no-such-token"), Vec::<PathBuf>::new());
        let program = std::env::args().next().unwrap();
        assert!(!with_token(&program).is_empty());
    }
}
