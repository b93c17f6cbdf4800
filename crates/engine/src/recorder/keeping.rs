//! Keeping: what is decided reaches the log also when the disk is full, as far as it must be known:
//! that a work, a session or a pause ends. For that the reserve is given up.

use std::sync::Arc;

use ports::log::{Batch, Error, Position};
use ports::machine::Reserve;
use ports::{artifacts, workspaces};

use super::Recorder;

/// What is worth the reserve. What agents say and write is not, or they would use it up.
const VITAL: [&str; 11] = [
    "io.palisade.work.closed.v1",
    "io.palisade.work.input_required.v1",
    "io.palisade.session.pause_requested.v1",
    "io.palisade.session.paused.v1",
    "io.palisade.session.resumed.v1",
    "io.palisade.session.ended.v1",
    "io.palisade.run.ended.v1",
    "io.palisade.lease.acquired.v1",
    "io.palisade.lease.renewed.v1",
    "io.palisade.lease.released.v1",
    "io.palisade.breaker.opened.v1",
];

impl Recorder {
    /// Returns the same recorder with a reserve to give up.
    #[must_use]
    pub fn with_reserve(self, reserve: Arc<dyn Reserve>) -> Self {
        Self {
            reserve: Some(reserve),
            ..self
        }
    }

    /// Returns the reserve, if there is to be one.
    #[must_use]
    pub fn reserve(&self) -> Option<&dyn Reserve> {
        self.reserve.as_deref()
    }

    /// Takes the reserve back once there is room. Where it cannot be had, `status` tells so: nobody's
    /// work ends for want of a precaution.
    pub fn renew_reserve(&self) {
        if let Some(reserve) = self.reserve() {
            drop(reserve.renew());
        }
    }

    /// Gives the reserve up, so that what a session has left can be kept; returns whether there was
    /// one.
    ///
    /// # Errors
    /// When it cannot be given up.
    pub fn give_up_reserve(&self) -> Result<bool, super::Error> {
        Ok(self.reserve().map_or(Ok(false), Reserve::release)?)
    }

    /// Appends. On a full disk, what is vital is appended once more when the reserve is given up.
    pub(super) fn keep(&self, batch: Batch) -> Result<Position, Error> {
        let log = &self.world.log;
        let reserve = self.reserve().filter(|it| it.held() > 0);
        let Some(reserve) = reserve.filter(|_| is_vital(&batch)) else {
            return log.append(batch);
        };
        match log.append(batch.clone()) {
            Err(Error::DiskFull) => {
                // What cannot be given up is no worse than having none.
                let given_up = reserve.release().unwrap_or(false);
                if given_up {
                    log.append(batch)
                } else {
                    Err(Error::DiskFull)
                }
            }
            other => other,
        }
    }
}

impl super::Error {
    /// Returns whether it was for want of space on the disk.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        matches!(
            self,
            Self::Log(Error::DiskFull)
                | Self::Artifacts(artifacts::Error::DiskFull { .. })
                | Self::Workspaces(
                    workspaces::Error::DiskFull { .. }
                        | workspaces::Error::Artifacts {
                            source: artifacts::Error::DiskFull { .. },
                            ..
                        }
                )
        )
    }
}

fn is_vital(batch: &Batch) -> bool {
    let mut events = batch.appends.iter().flat_map(|it| &it.events);
    let is_settling = batch.appends.is_empty() && !batch.settled.is_empty();
    is_settling || events.any(|it| VITAL.contains(&it.kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::VITAL;

    #[test]
    fn what_is_vital_is_a_kind_of_event() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/tests/golden");
        for kind in VITAL {
            let file = std::path::Path::new(golden).join(format!("{kind}.json"));
            assert!(file.exists(), "{kind}");
        }
    }
}
