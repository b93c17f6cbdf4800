//! A machine of which a test says what is free: [`FakeMachine`].

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ports::machine::{Error, Free, Machine};

/// A machine with as much room as it is given; clones are the same machine.
#[derive(Clone, Debug)]
pub struct FakeMachine(Arc<Mutex<Free>>);

impl Default for FakeMachine {
    fn default() -> Self {
        let plenty = 1 << 50;
        Self(Arc::new(Mutex::new(Free {
            disk: plenty,
            disk_total: plenty,
            memory: plenty,
        })))
    }
}

impl FakeMachine {
    /// Sets what is free from now on.
    pub fn set(&self, change: impl FnOnce(&mut Free)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Machine for FakeMachine {
    fn free(&self, _: &Path) -> Result<Free, Error> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
