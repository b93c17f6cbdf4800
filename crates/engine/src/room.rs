//! Room: whether the machine has enough free for one more cell. Below the operator's thresholds none
//! is started.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ports::machine::Free;

use crate::recorder::Error;
use crate::settings::{Room, Settings};
use crate::world::World;

/// How often what is free is looked at while something waits for room.
const LOOK: Duration = Duration::from_millis(100);

/// The cells that were let in.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    cells: Mutex<u64>,
    freed: Condvar,
}

/// The room of one cell; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Admitted<'a>(&'a Rooms);

impl Rooms {
    /// Returns rooms with nobody in them.
    pub(crate) const fn new() -> Self {
        Self {
            cells: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits until there is room for one more cell; none when `is_stopping` says so. A cell that
    /// ends gives room back; when there is none left that could, it waits for others only so long.
    ///
    /// # Errors
    /// When there is no room, or the machine does not tell.
    pub(crate) fn admit(
        &self,
        world: &World,
        settings: &Settings,
        is_stopping: impl Fn() -> bool,
    ) -> Result<Option<Admitted<'_>>, Error> {
        let mut alone_since = None;
        let mut cells = self.cells();
        while !is_stopping() {
            let free = free(world, settings)?;
            let missing = missing(settings, free, *cells);
            if missing.is_empty() {
                *cells += 1;
                return Ok(Some(Admitted(self)));
            }
            if *cells > 0 {
                alone_since = None;
            } else if alone_since.get_or_insert_with(Instant::now).elapsed()
                >= settings.room.patience
            {
                return Err(Error::NoRoom(missing.join("; ")));
            }
            let waited = self.freed.wait_timeout(cells, LOOK);
            cells = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(None)
    }

    fn cells(&self) -> MutexGuard<'_, u64> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut cells = self.0.cells();
        *cells = cells.saturating_sub(1);
        self.0.freed.notify_all();
    }
}

/// Returns what the machine has too little of for a first cell, a sentence each.
///
/// # Errors
/// When the machine does not tell.
pub fn short_of(world: &World, settings: &Settings) -> Result<Vec<String>, Error> {
    Ok(missing(settings, free(world, settings)?, 0))
}

fn free(world: &World, settings: &Settings) -> Result<Free, Error> {
    Ok(world.machine.free(&settings.state)?)
}

/// A cell that runs may not have taken yet what it will: each counts with the whole of what is kept
/// free for one.
fn missing(settings: &Settings, free: Free, cells: u64) -> Vec<String> {
    told(&settings.room, &settings.state, free, cells)
}

fn told(wanted: &Room, state: &Path, free: Free, cells: u64) -> Vec<String> {
    let mut told = Vec::new();
    if free.disk < wanted.disk_bytes {
        told.push(format!(
            "no session starts while less than {} are free on the disk of {}, and {} of {} are: free \
             some, or lower `disk_free_mib` in palisade.toml",
            mib(wanted.disk_bytes),
            state.display(),
            mib(free.disk),
            mib(free.disk_total)
        ));
    }
    let memory = wanted.memory_bytes.saturating_mul(cells.saturating_add(1));
    if free.memory < memory {
        told.push(format!(
            "no session starts while less than {} of memory are free, and {} are: end something, or \
             lower `memory_free_mib` or `memory_mib` in palisade.toml",
            mib(memory),
            mib(free.memory)
        ));
    }
    told
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_counts_with_what_is_kept_free_for_one() {
        let wanted = Room {
            disk_bytes: 10 << 20,
            memory_bytes: 4 << 20,
            patience: Duration::ZERO,
        };
        let free = |disk: u64, memory: u64| Free {
            disk: disk << 20,
            disk_total: 100 << 20,
            memory: memory << 20,
        };
        assert_eq!(told(&wanted, Path::new("/state"), free(10, 4), 0), [""; 0]);
        assert_eq!(told(&wanted, Path::new("/state"), free(10, 12), 2), [""; 0]);
        let lines = told(&wanted, Path::new("/state"), free(10, 11), 2);
        assert!(lines[0].contains("12 MiB of memory"), "{lines:?}");
        let lines = told(&wanted, Path::new("/state"), free(9, 3), 0);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].contains("10 MiB are free on the disk of /state"),
            "{lines:?}"
        );
    }
}
