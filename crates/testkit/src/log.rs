//! An event log in memory, with crashes and full disks on demand, and the contract of the port.

pub mod build;
pub mod chain;
pub mod contract;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Digest, EffectId, EventId};
use ports::log::{
    Append, Batch, Error, EventLog, NewEffect, PendingEffect, Position, Recorded, Verification,
};
use serde_json::{Map, Value};

/// An event log in memory. Its clones are the same handle: what kills one kills all.
/// [`MemoryLog::reopen`] is the restarted process that finds the same log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    stored: Arc<Mutex<Stored>>,
    dead: Arc<AtomicBool>,
}

/// What goes wrong with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies and nothing is kept; the handle answers nothing any more.
    CrashBeforeCommit,
    /// The process dies after everything was kept, but before anybody is told.
    CrashAfterCommit,
    /// The disk is full, from now on, until [`MemoryLog::heal`].
    DiskFull,
}

#[derive(Debug, Default)]
struct Stored {
    events: Vec<Recorded>,
    ids: BTreeSet<EventId>,
    outbox: Vec<PendingEffect>,
    known: BTreeSet<EffectId>,
    settled: BTreeSet<EffectId>,
    fault: Option<(usize, Fault)>,
}

impl MemoryLog {
    /// Lets `appends` more batches succeed; the one after them meets `fault`.
    pub fn fail_after(&self, appends: usize, fault: Fault) {
        self.lock().fault = Some((appends, fault));
    }

    /// Takes back what [`MemoryLog::fail_after`] asked for: the disk has room again.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// Returns a living handle on the same log, as after a restart; a planned fault that did not
    /// happen is forgotten.
    #[must_use]
    pub fn reopen(&self) -> Self {
        self.heal();
        self.another()
    }

    /// Returns another handle on the same log, as of another process at the same time.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            stored: Arc::clone(&self.stored),
            dead: Arc::default(),
        }
    }

    /// Returns whether this handle has crashed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Changes a stored event behind the log's back, for tests of verification.
    pub fn tamper(&self, position: Position, change: impl FnOnce(&mut Recorded)) {
        let mut stored = self.lock();
        if let Some(event) = stored.events.iter_mut().find(|it| it.position == position) {
            change(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<MutexGuard<'_, Stored>, Error> {
        if self.is_dead() {
            return Err(crashed());
        }
        Ok(self.lock())
    }

    fn die(&self) -> Error {
        self.dead.store(true, Ordering::SeqCst);
        crashed()
    }
}

fn crashed() -> Error {
    Error::Io {
        doing: "this process has crashed (a test asked for it)".to_owned(),
        source: "crash".into(),
    }
}

impl EventLog for MemoryLog {
    fn append(&self, batch: Batch) -> Result<Position, Error> {
        let mut stored = self.alive()?;
        stored.check(&batch)?;
        match stored.due() {
            None => Ok(stored.keep(batch)),
            Some(Fault::DiskFull) => Err(Error::DiskFull),
            Some(Fault::CrashBeforeCommit) => Err(self.die()),
            Some(Fault::CrashAfterCommit) => {
                stored.keep(batch);
                Err(self.die())
            }
        }
    }

    fn read_stream(&self, stream: &str, version: u64) -> Result<Vec<Recorded>, Error> {
        let wanted = |it: &Recorded| it.stream == stream && it.version > version;
        Ok(self.alive()?.select(wanted))
    }

    fn read_correlated(&self, correlation: &str, after: Position) -> Result<Vec<Recorded>, Error> {
        let wanted = |it: &Recorded| it.event.correlation == correlation && it.position > after;
        Ok(self.alive()?.select(wanted))
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, Error> {
        let mut found = self.alive()?.select(|it| it.position > after);
        found.truncate(limit);
        Ok(found)
    }

    fn head(&self) -> Result<Position, Error> {
        Ok(self.alive()?.head())
    }

    fn pending(&self) -> Result<Vec<PendingEffect>, Error> {
        let stored = self.alive()?;
        let waits = |it: &&PendingEffect| !stored.settled.contains(&it.effect.id);
        Ok(stored.outbox.iter().filter(waits).cloned().collect())
    }

    fn verify(&self) -> Result<Verification, Error> {
        Ok(chain::verify(&self.alive()?.events))
    }
}

impl Stored {
    fn head(&self) -> Position {
        Position(u64::try_from(self.events.len()).unwrap_or(u64::MAX))
    }

    fn select(&self, wanted: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
        self.events
            .iter()
            .filter(|it| wanted(it))
            .cloned()
            .collect()
    }

    fn last(&self, stream: &str) -> Option<&Recorded> {
        self.events.iter().rev().find(|it| it.stream == stream)
    }

    /// Judges the whole batch before anything is changed.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        batch.check()?;
        for event in batch.appends.iter().flat_map(|it| &it.events) {
            check_object(&event.data)?;
        }
        for effect in &batch.effects {
            check_object(&effect.body)?;
        }
        for append in &batch.appends {
            let actual = self.last(&append.stream).map_or(0, |it| it.version);
            if actual != append.expected {
                return Err(Error::Conflict {
                    stream: append.stream.clone(),
                    expected: append.expected,
                    actual,
                });
            }
        }
        let mut fresh = BTreeSet::new();
        for event in batch.appends.iter().flat_map(|it| &it.events) {
            if self.ids.contains(&event.id) || !fresh.insert(event.id) {
                return Err(Error::Duplicate(event.id));
            }
        }
        Ok(())
    }

    /// Returns the fault that this append meets, if one.
    fn due(&mut self) -> Option<Fault> {
        match &mut self.fault {
            None => None,
            Some((0, Fault::DiskFull)) => Some(Fault::DiskFull),
            Some((0, fault)) => {
                let fault = *fault;
                self.fault = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
        }
    }

    fn keep(&mut self, batch: Batch) -> Position {
        for append in batch.appends {
            self.keep_events(append);
        }
        let asked_at = self.head();
        for effect in batch.effects {
            self.keep_effect(effect, asked_at);
        }
        for id in batch.settled {
            // Settling what is unknown does nothing, also for an effect that is asked for later.
            if self.known.contains(&id) {
                self.settled.insert(id);
            }
        }
        asked_at
    }

    fn keep_events(&mut self, append: Append) {
        for event in append.events {
            let (version, previous) = self
                .last(&append.stream)
                .map_or((0, Digest::ZERO), |it| (it.version, it.hash));
            let mut recorded = Recorded {
                position: Position(self.head().0 + 1),
                stream: append.stream.clone(),
                version: version + 1,
                event,
                previous,
                hash: Digest::ZERO,
            };
            recorded.hash = chain::link(&recorded);
            self.ids.insert(recorded.event.id);
            self.events.push(recorded);
        }
    }

    fn keep_effect(&mut self, effect: NewEffect, asked_at: Position) {
        if self.known.insert(effect.id) {
            self.outbox.push(PendingEffect { effect, asked_at });
        }
    }
}

fn check_object(text: &str) -> Result<(), Error> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::build::{append, batch, effect};
    use super::*;

    crate::log_contract!(|| {
        let log = MemoryLog::default();
        move || -> Arc<dyn EventLog> { Arc::new(log.another()) }
    });

    fn one(number: u128) -> Batch {
        batch([append("s/1", number, [number + 1])])
    }

    #[test]
    fn a_crash_before_the_commit_keeps_nothing() {
        let log = MemoryLog::default();
        let clone = log.clone();
        log.fail_after(1, Fault::CrashBeforeCommit);
        log.append(one(0)).unwrap();
        assert!(matches!(log.append(one(1)), Err(Error::Io { .. })));
        assert!(log.is_dead() && log.head().is_err());
        assert!(clone.head().is_err(), "a clone is the same process");
        let restarted = log.reopen();
        assert_eq!(restarted.head().unwrap(), Position(1));
        restarted.append(one(1)).unwrap();
    }

    #[test]
    fn a_crash_after_the_commit_keeps_everything_and_tells_nobody() {
        let log = MemoryLog::default();
        log.fail_after(0, Fault::CrashAfterCommit);
        let mut first = one(0);
        first.effects = vec![effect(7)];
        assert!(log.append(first).is_err());
        let restarted = log.reopen();
        assert_eq!(restarted.head().unwrap(), Position(1));
        assert_eq!(restarted.pending().unwrap().len(), 1);
        assert!(log.head().is_err(), "the old process stays dead");
    }

    #[test]
    fn a_full_disk_refuses_until_it_is_healed_and_can_be_read() {
        let log = MemoryLog::default();
        log.fail_after(1, Fault::DiskFull);
        log.append(one(0)).unwrap();
        for _ in 0..2 {
            assert!(matches!(log.append(one(1)), Err(Error::DiskFull)));
        }
        assert_eq!(log.head().unwrap(), Position(1));
        log.heal();
        log.append(one(1)).unwrap();
    }

    #[test]
    fn a_refused_batch_does_not_use_up_the_plan() {
        let log = MemoryLog::default();
        log.fail_after(1, Fault::DiskFull);
        assert!(matches!(log.append(one(5)), Err(Error::Conflict { .. })));
        log.append(one(0)).unwrap();
        assert!(matches!(log.append(one(1)), Err(Error::DiskFull)));
    }

    #[test]
    fn no_rule_is_forgotten() {
        let contract = include_str!("log/contract.rs");
        let (_, rules) = contract.split_once("@rules $make;").unwrap();
        let (rules, _) = rules.split_once('}').unwrap();
        let listed: BTreeSet<&str> = rules.split_whitespace().collect();
        let sources = [
            contract,
            include_str!("log/contract/limits.rs"),
            include_str!("log/contract/sharing.rs"),
        ];
        let written: BTreeSet<&str> = sources
            .iter()
            .flat_map(|it| it.split("\npub fn ").skip(1))
            .map(|it| it.split('(').next().unwrap())
            .collect();
        assert_eq!(listed, written);
    }

    #[test]
    fn tampering_is_found() {
        let log = MemoryLog::default();
        for number in 0..3 {
            log.append(one(number)).unwrap();
        }
        log.tamper(Position(2), |it| it.event.actor = "operator:eve".to_owned());
        let found = log.verify().unwrap();
        assert_eq!(found.broken, [("s/1".to_owned(), 2)]);
    }
}
