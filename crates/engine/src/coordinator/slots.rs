//! Places: how many sessions and gates may run at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::LOOK;

/// A limited number of places.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) taken: Mutex<usize>,
    pub(super) freed: Condvar,
    pub(super) limit: usize,
}

/// A taken place; dropping it frees it.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    /// Waits for a place; none when the engine stops meanwhile.
    pub(super) fn take(&self, stopping: &AtomicBool) -> Option<Slot<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= self.limit.max(1) {
            if stopping.load(Ordering::Relaxed) {
                return None;
            }
            taken = self
                .freed
                .wait_timeout(taken, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *taken += 1;
        Some(Slot(self))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        self.0.freed.notify_one();
    }
}
