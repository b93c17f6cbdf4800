//! Artifacts in memory, with faults on demand, and the contract of the port.

pub mod contract;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use domain::{Digest, Timestamp};
use ports::artifacts::{ARTIFACT_BYTES_MAX, Artifacts, Collected, Collector, Error};
use ports::clock::Clock as _;

use crate::clock::FakeClock;

/// Artifacts in memory. Its clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryArtifacts {
    held: Arc<Mutex<Held>>,
    clock: FakeClock,
}

#[derive(Debug, Default)]
struct Held {
    /// The bytes, and when they were last put.
    blobs: BTreeMap<Digest, (Vec<u8>, Timestamp)>,
    damaged: BTreeSet<Digest>,
    /// Blobs that still fit.
    room: Option<usize>,
}

impl MemoryArtifacts {
    /// Returns an empty store whose ages are told by this clock.
    #[must_use]
    pub fn with_clock(clock: FakeClock) -> Self {
        Self {
            held: Arc::default(),
            clock,
        }
    }

    /// Makes the disk full after `blobs` more; `None` gives it room again.
    pub fn full_after(&self, blobs: Option<usize>) {
        self.held().room = blobs;
    }

    /// Makes what is stored under the digest unreadable.
    pub fn damage(&self, digest: &Digest) {
        self.held().damaged.insert(*digest);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Artifacts for MemoryArtifacts {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        for blob in blobs {
            let (bytes, max) = (
                u64::try_from(blob.len()).unwrap_or(u64::MAX),
                ARTIFACT_BYTES_MAX,
            );
            if bytes > max {
                return Err(Error::TooLarge { bytes, max });
            }
        }
        let mut held = self.held();
        let now = self.clock.now();
        let mut digests = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let digest = Digest::from_bytes(*blake3::hash(blob).as_bytes());
            digests.push(digest);
            if let Some((_, put)) = held.blobs.get_mut(&digest) {
                *put = now.max(*put);
                continue;
            }
            match &mut held.room {
                Some(0) => {
                    let doing = format!("keeping {digest}");
                    return Err(Error::DiskFull { doing });
                }
                Some(room) => *room -= 1,
                None => {}
            }
            held.blobs.insert(digest, (blob.to_vec(), now));
        }
        Ok(digests)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let held = self.held();
        let (found, _) = held.blobs.get(digest).ok_or(Error::Missing(*digest))?;
        if held.damaged.contains(digest) {
            return Err(Error::Damaged(*digest));
        }
        Ok(found.clone())
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.held().blobs.contains_key(digest))
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.held().blobs.keys().copied().collect())
    }

    fn remove(&self, digests: &[Digest]) -> Result<(), Error> {
        let mut held = self.held();
        for digest in digests {
            held.blobs.remove(digest);
            held.damaged.remove(digest);
        }
        Ok(())
    }
}

impl Collector for MemoryArtifacts {
    fn collectable(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
    ) -> Result<Collected, Error> {
        Ok(self.held().doomed(keep, grace, self.clock.now()).1)
    }

    fn collect(&self, keep: &dyn Fn(&Digest) -> bool, grace: Duration) -> Result<Collected, Error> {
        let mut held = self.held();
        let (doomed, told) = held.doomed(keep, grace, self.clock.now());
        for digest in doomed {
            held.blobs.remove(&digest);
            held.damaged.remove(&digest);
        }
        Ok(told)
    }
}

impl Held {
    fn doomed(
        &self,
        keep: &dyn Fn(&Digest) -> bool,
        grace: Duration,
        now: Timestamp,
    ) -> (Vec<Digest>, Collected) {
        let old = |put: Timestamp| Duration::from_millis(now.since(put).0) >= grace;
        let mut doomed = Vec::new();
        let mut told = Collected::default();
        for (digest, (blob, put)) in &self.blobs {
            if old(*put) && !keep(digest) {
                doomed.push(*digest);
                told.artifacts += 1;
                told.bytes += u64::try_from(blob.len()).unwrap_or(u64::MAX);
            }
        }
        (doomed, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::artifacts_contract!(|clock| {
        let store = MemoryArtifacts::with_clock(clock);
        move || -> Arc<dyn Collector> { Arc::new(store.clone()) }
    });

    #[test]
    fn a_full_disk_keeps_what_is_there() {
        let store = MemoryArtifacts::default();
        store.full_after(Some(1));
        let kept = store.put(b"one").unwrap();
        assert!(matches!(store.put(b"two"), Err(Error::DiskFull { .. })));
        assert_eq!(store.put(b"one").unwrap(), kept);
        assert_eq!(store.list().unwrap(), [kept]);
        store.full_after(None);
        store.put(b"two").unwrap();
    }

    #[test]
    fn damage_shows_on_reading() {
        let store = MemoryArtifacts::default();
        let kept = store.put(b"one").unwrap();
        store.damage(&kept);
        assert!(matches!(store.get(&kept), Err(Error::Damaged(it)) if it == kept));
    }
}
