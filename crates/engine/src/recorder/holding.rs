//! Holding: how a lease is asked for, and how a recorder learns that it has lost the engine's.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use domain::event::Event;
use domain::lease;

use super::{CONFLICTS_MAX, Error, Recorder, decoded};

/// The name of the lease that whoever drives works holds.
pub const ENGINE: &str = "engine";

impl Recorder {
    /// Refuses when somebody else has taken the engine's lease since this recorder entered.
    ///
    /// # Errors
    /// When it is fenced, or the log cannot be read.
    pub fn fence(&self) -> Result<(), Error> {
        let own = self.epoch.load(Ordering::Relaxed);
        if own == 0 {
            return Ok(());
        }
        let read = self.lease_read.load(Ordering::Relaxed);
        let stream = format!("lease/{ENGINE}");
        for recorded in self.world.log.read_stream(&stream, read)? {
            if let Event::Lease(_, lease::Event::Acquired { epoch, .. }) = decoded(&recorded)?
                && epoch > own
            {
                return Err(Error::Lease {
                    name: ENGINE.to_string(),
                    refusal: lease::Refusal::Fenced {
                        given: own,
                        current: epoch,
                    },
                });
            }
            self.lease_read
                .fetch_max(recorded.version, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks something of a lease and returns its state afterwards.
    ///
    /// # Errors
    /// When the lease is refused, or the log fails.
    pub fn lease(&self, name: &str, command: &lease::Command) -> Result<lease::State, Error> {
        for _ in 0..CONFLICTS_MAX {
            let (mut state, mut version) = (lease::State::default(), 0);
            for recorded in self.world.log.read_stream(&format!("lease/{name}"), 0)? {
                if let Event::Lease(_, event) = decoded(&recorded)? {
                    state = lease::evolve(state, &event);
                }
                version = recorded.version;
            }
            let events =
                lease::decide(&state, command.clone()).map_err(|refusal| Error::Lease {
                    name: name.to_string(),
                    refusal,
                })?;
            let named: Vec<_> = events
                .iter()
                .map(|it| Event::Lease(name.to_string(), it.clone()))
                .collect();
            let versions = BTreeMap::from([(format!("lease/{name}"), version)]);
            let batch = self.batch(&format!("lease/{name}"), &versions, &named, None)?;
            match self.keep(batch) {
                Ok(_) => return Ok(events.iter().fold(state, lease::evolve)),
                Err(ports::log::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended(name.to_string()))
    }
}
