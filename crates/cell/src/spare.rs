//! A launcher that is kept ready for the next cell.
//!
//! Moving a process into a control group of the first version takes the kernel longer than all the
//! rest of a cell's beginning, for it waits until every processor has passed a quiet point. So it is
//! done ahead: an init stands in its namespaces and groups and waits for a plan, which is all that
//! one cell has of its own at that point. Every wall is still built before the program runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::launch::{Launcher, Supervisor};

/// A place for one launcher.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    Making(JoinHandle<Option<Supervisor>>),
    Ready(Supervisor),
}

impl Spare {
    /// Returns the launcher if it is ready, and leaves the place empty.
    pub(crate) fn take(&self) -> Option<Supervisor> {
        let mut place = self.place();
        if let Place::Making(thread) = &*place
            && !thread.is_finished()
        {
            return None;
        }
        let taken = std::mem::take(&mut *place).made()?;
        if taken.is_there() {
            Some(taken)
        } else {
            taken.dismiss();
            None
        }
    }

    /// Starts to make one ready in the background, unless there is one.
    pub(crate) fn refill(&self, launcher: &Launcher) {
        let mut place = self.place();
        if matches!(*place, Place::Empty) {
            let launcher = launcher.clone();
            // Without a thread none is ready, and the next cell begins from the beginning.
            *place = std::thread::Builder::new()
                .name("spare launcher".to_owned())
                .spawn(move || Supervisor::prepare(&launcher).ok())
                .map_or(Place::Empty, Place::Making);
        }
    }

    /// Waits until the one that is being made ready is, or cannot be.
    pub(crate) fn wait(&self) {
        let mut place = self.place();
        *place = std::mem::take(&mut *place)
            .made()
            .map_or(Place::Empty, Place::Ready);
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for what is being made.
    fn made(self) -> Option<Supervisor> {
        match self {
            Self::Empty => None,
            Self::Making(thread) => thread.join().ok().flatten(),
            Self::Ready(supervisor) => Some(supervisor),
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let place = std::mem::take(&mut *self.place());
        if let Some(unused) = place.made() {
            unused.dismiss();
        }
    }
}
