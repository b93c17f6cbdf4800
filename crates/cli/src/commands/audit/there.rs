//! Whether there is a log at all: one that was erased has no chain that could be broken.

use std::fs;
use std::path::Path;

use crate::context::{self, EVENTS, Place};
use crate::exit::{Exit, Failure};
use crate::moment::counted;

/// The folder of the artifacts, in the state.
const ARTIFACTS: &str = "artifacts";

/// The most files that are counted.
const FILES_MAX: usize = 10_000;

/// Refuses a state that is not there, and one whose log is missing; makes nothing.
pub(super) fn check_place(place: &Place) -> Result<(), Failure> {
    let log = place.state.join(EVENTS);
    match log.symlink_metadata() {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let text = format!("{} cannot be looked at: {error}", log.display());
            return Err(Failure::new(Exit::Failed, text));
        }
    }
    let text = match nothing_without_events(place) {
        Ok(()) => format!(
            "there is no record at {}: nothing was run here yet, or PALISADE_STATE or --repo names \
             another place",
            place.state.display()
        ),
        Err(why) => format!(
            "BROKEN: the event log {} is missing, and {why}; put it back from a copy, or set \
             PALISADE_STATE if the record is elsewhere",
            log.display()
        ),
    };
    Err(Failure::new(Exit::Failed, text))
}

/// Returns whether nothing is left of a time with events.
pub(super) fn nothing_without_events(place: &Place) -> Result<(), String> {
    let mut left = Vec::new();
    let commits = context::kept_commits(place)?;
    if commits > 0 {
        left.push(format!("{} under refs/palisade", counted(commits, "ref")));
    }
    let files = files(&place.state.join(ARTIFACTS), FILES_MAX);
    if files > 0 {
        left.push(format!("{} of artifacts", counted(files, "file")));
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "no event speaks of what is left: {}",
            left.join(" and ")
        ))
    }
}

/// Counts the files with content below a folder.
fn files(folder: &Path, most: usize) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if count >= most {
            break;
        }
        count += match entry.metadata() {
            Ok(it) if it.is_dir() => files(&entry.path(), most - count),
            Ok(it) => usize::from(it.len() > 0),
            Err(_) => 0,
        };
    }
    count
}
