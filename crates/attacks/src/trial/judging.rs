//! The judgement on a trial: every oracle on what the world showed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ports::cells::Exit;

use super::{Outcome, Stage, cell_of};
use crate::attempt::{Given, Oracle};
use crate::list::limits;
use crate::processes;

/// How a program ends that called what its filter ends it for.
const BAD_CALL_SIGNAL: i32 = 31;
/// The answer of the wall.
const REFUSAL: &str = "EPERM";
/// The answer for a call that is said not to exist, so that libraries fall back.
const ABSENT: (&str, &str) = ("clone3", "ENOSYS");
/// Refused by the lack of rights, not by a filter: nobody is told.
const TAKE_RIGHTS: &str = "take-rights";
/// What opens a socket that every cell may have, within itself.
const LISTENS: [&str; 2] = ["serve", "make-socket"];
/// Everything about rights that a process of a cell never has, whatever it had before.
const RIGHTS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
const NO_RIGHTS: &str = "0000000000000000";

/// What the world showed.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// What was seen to be wrong on the way.
    pub(crate) breaches: Vec<(Oracle, String)>,
    pub(crate) said: Option<String>,
    pub(crate) exit: Option<Exit>,
    pub(crate) printed: Vec<u8>,
    pub(crate) collected: Vec<u8>,
    pub(crate) heard: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) denied: Vec<String>,
    /// Whether the kernel tells what it refuses to this cell.
    pub(crate) is_on_record: bool,
    pub(crate) before: BTreeSet<String>,
    pub(crate) after: BTreeSet<String>,
}

impl World {
    /// Counts what the program uses, from outside.
    pub(crate) fn measure(&mut self, stage: &Stage<'_>, found: &[PathBuf]) {
        if !stage.given().any(|it| matches!(it, Given::Limited(_))) {
            return;
        }
        let largest = ["/tmp/large", "/dev/shm/large"]
            .iter()
            .flat_map(|path| found.iter().map(|it| processes::file_bytes(it, path)))
            .max();
        let upper = cell_of::upper(stage);
        let in_tree = ["large", "sparse"]
            .iter()
            .filter_map(|name| upper.join(name).symlink_metadata().ok())
            .map(|about| about.len())
            .max();
        let (files, bytes) = left_in(&upper);
        for (what, used, most) in [
            (
                "processes and threads",
                processes::threads(found),
                limits::PROCESSES_MAX + limits::RESERVED_NUMBERS,
            ),
            (
                "bytes of memory",
                processes::memory_bytes(found),
                limits::MEMORY_BYTES_SEEN_MAX,
            ),
            (
                "descriptors",
                processes::descriptors(found),
                limits::OPEN_FILES_MAX,
            ),
            (
                "bytes in a private folder",
                largest.unwrap_or(0),
                limits::FILE_BYTES_MAX,
            ),
            (
                "bytes in one file",
                in_tree.unwrap_or(0),
                limits::FILE_BYTES_MAX,
            ),
            ("files in the tree", files, limits::DISK_FILES_SEEN_MAX),
            ("bytes in the tree", bytes, limits::DISK_BYTES_SEEN_MAX),
        ] {
            if used > most {
                let told = format!("{used} {what}, and {most} are the most");
                self.breaches.push((Oracle::StaysBounded, told));
            }
        }
    }
}

/// Counts the files of a folder itself, and their bytes.
fn left_in(folder: &Path) -> (u64, u64) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|it| Some(it.metadata().ok()?.len()));
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}

/// Says what did not hold.
pub(crate) fn judge(stage: &Stage<'_>, world: World) -> Outcome {
    let World {
        mut breaches,
        said,
        exit,
        printed,
        collected,
        heard,
        changed,
        denied,
        is_on_record,
        before,
        after,
    } = world;
    for (what, bytes) in [("printed", &printed), ("collected", &collected)] {
        for canary in stage.ground.canaries(what == "collected") {
            if holds(bytes, canary.as_bytes()) {
                breaches.push((Oracle::NothingLeaks, format!("a canary was {what}")));
            }
        }
    }
    breaches.extend(heard.into_iter().map(|it| (Oracle::NothingHeard, it)));
    breaches.extend(changed.into_iter().map(|it| (Oracle::HostUnchanged, it)));
    if stage.scene.trap_was_sprung() {
        let told = "a program that the agent wrote or named ran".to_owned();
        breaches.push((Oracle::NothingRuns, told));
    }
    if let Some(bystander) = &stage.bystander {
        let process = PathBuf::from(format!("/proc/{}", bystander.id()));
        if !processes::is_alive(&process) {
            let told = "a process of the host was ended".to_owned();
            breaches.push((Oracle::HostUnchanged, told));
        }
    }
    breaches.extend(gains(stage, &before, &after).map(|it| (Oracle::NothingGained, it)));
    let ended = exit.map_or_else(|| "no end".to_owned(), |it| format!("{it:?}"));
    let was_killed = exit == Some(Exit::Signal(BAD_CALL_SIGNAL));
    let refused = match &said {
        Some(said) if stage.attempt.act.contains(&ABSENT.0) => said == ABSENT.1,
        Some(said) => said == REFUSAL,
        None => was_killed,
    };
    if stage.attempt.oracle == Oracle::Refused && !refused {
        let said = said.as_deref().unwrap_or("nothing");
        breaches.push((Oracle::Refused, format!("the kernel answered: {said}")));
    }
    let by_filter = matches!(stage.attempt.act.first(), Some(&("call" | "socket")));
    let is_filtered = by_filter && !stage.attempt.act.contains(&TAKE_RIGHTS);
    if is_on_record && is_filtered && said.as_deref() == Some(REFUSAL) && denied.is_empty() {
        let told = "the refusal is not on the kernel's record".to_owned();
        breaches.push((Oracle::Refused, told));
    }
    let said = said.unwrap_or_else(|| "nothing".to_owned());
    Outcome {
        breaches,
        said: format!("{said}; {ended}"),
        denied,
    }
}

/// Returns what the agent holds that the walls did not leave it.
fn gains<'a>(
    stage: &Stage<'_>,
    before: &'a BTreeSet<String>,
    after: &'a BTreeSet<String>,
) -> impl Iterator<Item = String> + 'a {
    let rights = before.iter().filter(|it| {
        let is_right = RIGHTS.iter().any(|name| it.starts_with(name));
        is_right && !it.ends_with(NO_RIGHTS)
    });
    let outside = stage.control.is_some_and(|it| it.outside);
    let first = stage.attempt.act.first();
    let listens = first.is_some_and(|it| LISTENS.contains(it));
    // Before it began it had only what the walls left it.
    let gained = after.difference(before).chain(rights).cloned();
    gained.filter(move |it| {
        let lawful = listens && it.starts_with("descriptor socket:")
            // A program that has just begun is seen while it loads its libraries.
            || it.starts_with("descriptor /usr/lib");
        !(outside || lawful)
    })
}

pub(crate) fn holds(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_wherever_it_stands() {
        assert!(holds(b"canary", b"canary"));
        assert!(holds(b"\x00..canary\xff", b"canary"));
        assert!(!holds(b"canar y", b"canary"));
        assert!(!holds(b"", b"canary"));
    }
}
