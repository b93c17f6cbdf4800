//! Stats: what checkpoints, judgements, messages and breakers cost and came to, counted off the
//! whole log.

use std::collections::BTreeMap;

use domain::event::Event;
use domain::{breaker, checkpoint, message, run, session};
use ports::log::{EventLog, Position};
use serde::Serialize;

use crate::recorder::{Error, decoded};

/// How many events are read at once.
const PAGE: usize = 4_096;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Time to scan, hash and store a checkpoint.
    pub capture: Latency,
    /// Time to judge one.
    pub judge: Latency,
    /// Time a cell stood still for one.
    pub held: Latency,
    /// Checkpoints by their trigger.
    pub checkpoints: BTreeMap<&'static str, u64>,
    /// Judgements: `validated`, `violated`, `deferred`.
    pub judgements: BTreeMap<&'static str, u64>,
    /// Questions to contents that judging knew the answer of from before.
    pub remembered: u64,
    /// Those for which it read a content.
    pub read: u64,
    /// Files in checkpoints, each as often as it was found changed.
    pub files: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Messages by what became of them: `queued`, `told`, `acknowledged`, `escalated`, `expired`.
    pub messages: BTreeMap<&'static str, u64>,
    /// Rollbacks: `requested`, `done`, `abandoned`.
    pub rollbacks: BTreeMap<&'static str, u64>,
    /// Sessions by the reason for their end.
    pub sessions: BTreeMap<&'static str, u64>,
    /// Pauses that were asked for.
    pub pauses: u64,
    /// Attempts that the kernel refused.
    pub denied: u64,
    /// Failures of services.
    pub failures: BTreeMap<String, u64>,
    /// How the breakers stand: `closed`, `open` or `half_open`.
    pub breakers: BTreeMap<String, &'static str>,
    /// Effects that wait to be performed.
    pub queue: u64,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How often it was measured.
    pub count: u64,
    /// All of it together.
    pub sum: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// Returns the summary of some measurements, by nearest rank.
    #[must_use]
    pub fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let count = micros.len();
        let rank = |percent: usize| {
            let rank = (count * percent).div_ceil(100).max(1);
            micros.get(rank - 1).copied().unwrap_or(0)
        };
        Self {
            count: u64::try_from(count).unwrap_or(u64::MAX),
            sum: micros.iter().fold(0, |sum, it| sum.saturating_add(*it)),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            max: micros.last().copied().unwrap_or(0),
        }
    }
}

/// What is collected before it is summed up.
#[derive(Default)]
struct Count {
    stats: Stats,
    capture: Vec<u64>,
    judge: Vec<u64>,
    held: Vec<u64>,
    breakers: BTreeMap<String, breaker::State>,
}

/// Counts the whole log.
///
/// # Errors
/// When the log cannot be read.
pub fn read(log: &dyn EventLog) -> Result<Stats, Error> {
    let mut count = Count::default();
    let mut position = Position::default();
    loop {
        let page = log.read_all(position, PAGE)?;
        for recorded in &page {
            position = recorded.position;
            count.take(decoded(recorded)?);
        }
        if page.len() < PAGE {
            break;
        }
    }
    let queue = u64::try_from(log.pending()?.len()).unwrap_or(u64::MAX);
    let states = count.breakers.iter();
    Ok(Stats {
        capture: Latency::of(count.capture),
        judge: Latency::of(count.judge),
        held: Latency::of(count.held),
        breakers: states
            .map(|(it, state)| (it.clone(), state.name()))
            .collect(),
        queue,
        ..count.stats
    })
}

fn one<Key: Ord>(counts: &mut BTreeMap<Key, u64>, key: Key) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

impl Count {
    fn take(&mut self, event: Event) {
        match event {
            Event::Checkpoint(_, event) => self.checkpoint(&event),
            Event::Message(_, event) => one(
                &mut self.stats.messages,
                match event {
                    message::Event::Queued(_) => "queued",
                    message::Event::Delivered { .. } => "told",
                    message::Event::Acknowledged { .. } => "acknowledged",
                    message::Event::Escalated => "escalated",
                    message::Event::Expired => "expired",
                },
            ),
            Event::Run(_, run::Event::RollbackRequested(_)) => {
                one(&mut self.stats.rollbacks, "requested");
            }
            Event::Run(_, run::Event::RolledBack(_)) => one(&mut self.stats.rollbacks, "done"),
            Event::Run(_, run::Event::RollbackAbandoned { .. }) => {
                one(&mut self.stats.rollbacks, "abandoned");
            }
            Event::Session(_, session::Event::Ended(end)) => {
                one(&mut self.stats.sessions, end.reason.name());
            }
            Event::Session(_, session::Event::PauseRequested(_)) => {
                self.stats.pauses = self.stats.pauses.saturating_add(1);
            }
            Event::Session(_, session::Event::AttemptDenied { count, .. }) => {
                self.stats.denied = self.stats.denied.saturating_add(count);
            }
            Event::Breaker(service, event) => self.breaker(service, &event),
            Event::Run(..)
            | Event::Session(..)
            | Event::Ambiguity(..)
            | Event::Evidence(..)
            | Event::Finding(..)
            | Event::Action(..)
            | Event::Goal(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Output(..)
            | Event::Plan(..)
            | Event::Promotion(..)
            | Event::Work(..) => {}
        }
    }

    fn checkpoint(&mut self, event: &checkpoint::Event) {
        let judged = match event {
            checkpoint::Event::Captured(it) => {
                self.capture.push(it.micros);
                // What was captured after its cell had gone held nobody.
                if it.held_micros > 0 {
                    self.held.push(it.held_micros);
                }
                one(&mut self.stats.checkpoints, it.trigger.name());
                self.stats.files = self.stats.files.saturating_add(it.files);
                self.stats.bytes = self.stats.bytes.saturating_add(it.bytes);
                return;
            }
            checkpoint::Event::Validated { micros, asked, .. } => {
                self.judged(*micros, *asked);
                "validated"
            }
            checkpoint::Event::Violated { micros, asked, .. } => {
                self.judged(*micros, *asked);
                "violated"
            }
            checkpoint::Event::Deferred { .. } => "deferred",
            checkpoint::Event::Requested(_) | checkpoint::Event::Promoted => return,
        };
        one(&mut self.stats.judgements, judged);
    }

    fn judged(&mut self, micros: u64, asked: checkpoint::Asked) {
        self.judge.push(micros);
        let stats = &mut self.stats;
        stats.remembered = stats.remembered.saturating_add(asked.remembered);
        stats.read = stats.read.saturating_add(asked.read);
    }

    fn breaker(&mut self, service: String, event: &breaker::Event) {
        if matches!(
            event,
            breaker::Event::Failed { .. } | breaker::Event::Opened { .. }
        ) {
            one(&mut self.stats.failures, service.clone());
        }
        let state = self.breakers.remove(&service).unwrap_or_default();
        self.breakers.insert(service, breaker::evolve(state, event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_by_nearest_rank() {
        let hundred = Latency::of((1..=100).rev().collect());
        assert_eq!(
            (hundred.p50, hundred.p95, hundred.p99, hundred.max),
            (50, 95, 99, 100)
        );
        assert_eq!((hundred.count, hundred.sum), (100, 5_050));
        let one = Latency::of(vec![7]);
        assert_eq!((one.p50, one.p95, one.p99), (7, 7, 7));
        assert_eq!(Latency::of(vec![]), Latency::default());
    }
}
