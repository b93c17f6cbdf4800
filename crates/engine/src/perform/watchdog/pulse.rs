//! The pulse of a session: whether anything structured was heard or seen of it (a signal, a change of
//! its tree), whatever it prints; and its writes, in batches for the record.

use std::time::{Duration, Instant};

use domain::session::Batch;
use ports::workspaces::Stamp;

/// A batch of writes is put on record when they have stopped, and after so long at the latest.
const BATCH: Duration = Duration::from_secs(1);

/// Batches put on record of one session; what is written after them is in its checkpoints.
const BATCHES_MAX: u32 = 1_000;

/// What is known of an agent's getting anywhere.
#[derive(Debug)]
pub(super) struct Pulse {
    moved: Instant,
    signals: u64,
    is_warned: bool,
}

/// What its pulse says of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It gets somewhere, or has been told.
    Fine,
    /// Half of the time is over: it is to be told.
    Warn,
    /// The time is over.
    Stalled,
}

impl Pulse {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            moved: now,
            signals: 0,
            is_warned: false,
        }
    }

    /// Notes that it has written, or may not.
    pub(super) const fn moves(&mut self, now: Instant) {
        self.moved = now;
        self.is_warned = false;
    }

    /// Says what is so now that this many signals were heard.
    pub(super) fn feel(&mut self, now: Instant, signals: u64, stall: Duration) -> Finding {
        if signals != self.signals {
            self.signals = signals;
            self.moves(now);
        }
        let still = now.saturating_duration_since(self.moved);
        if still >= stall {
            Finding::Stalled
        } else if still >= stall / 2 && !self.is_warned {
            self.is_warned = true;
            Finding::Warn
        } else {
            Finding::Fine
        }
    }
}

/// Collects writes into batches.
#[derive(Debug)]
pub(super) struct Batches {
    recorded: Stamp,
    seen: Stamp,
    began: Option<Instant>,
    count: u32,
}

impl Batches {
    pub(super) const fn from(stamp: Stamp) -> Self {
        Self {
            recorded: stamp,
            seen: stamp,
            began: None,
            count: 0,
        }
    }

    /// Takes a look at the layer, and returns a batch that is complete.
    pub(super) fn take(&mut self, stamp: Stamp, now: Instant) -> Option<Batch> {
        let goes_on = stamp != self.seen;
        self.seen = stamp;
        if stamp == self.recorded {
            self.began = None;
            return None;
        }
        let began = *self.began.get_or_insert(now);
        let is_over = !goes_on || now.saturating_duration_since(began) >= BATCH;
        if is_over { self.rest() } else { None }
    }

    /// Returns what was seen and is not on record, if anything is.
    pub(super) fn rest(&mut self) -> Option<Batch> {
        self.began = None;
        let before = std::mem::replace(&mut self.recorded, self.seen);
        if before == self.seen || self.count >= BATCHES_MAX {
            return None;
        }
        self.count += 1;
        Some(Batch {
            entries_before: before.entries,
            entries: self.seen.entries,
            bytes_before: before.bytes,
            bytes: self.seen.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;

    const STALL: Duration = Duration::from_secs(100);

    fn stamp(number: u8) -> Stamp {
        Stamp {
            entries: number.into(),
            bytes: u64::from(number) * 10,
            digest: Digest::from_bytes([number; 32]),
        }
    }

    #[test]
    fn who_neither_signals_nor_writes_is_told_once_and_then_has_stalled() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        let felt = [49, 50, 51, 99, 100].map(|it| pulse.feel(at(it), 0, STALL));
        let told = [
            Finding::Fine,
            Finding::Warn,
            Finding::Fine,
            Finding::Fine,
            Finding::Stalled,
        ];
        assert_eq!(felt, told);
    }

    #[test]
    fn a_signal_and_a_write_are_getting_somewhere() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.feel(at(60), 0, STALL), Finding::Warn);
        assert_eq!(pulse.feel(at(99), 1, STALL), Finding::Fine);
        assert_eq!(pulse.feel(at(148), 1, STALL), Finding::Fine);
        pulse.moves(at(148));
        assert_eq!(pulse.feel(at(197), 1, STALL), Finding::Fine);
        assert_eq!(pulse.feel(at(198), 1, STALL), Finding::Warn);
        assert_eq!(pulse.feel(at(248), 1, STALL), Finding::Stalled);
    }

    #[test]
    fn writes_that_follow_each_other_are_one_batch_and_the_last_is_in_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut batches = Batches::from(stamp(0));
        assert_eq!(batches.take(stamp(0), at(0)), None);
        assert_eq!(batches.take(stamp(1), at(100)), None);
        assert_eq!(batches.take(stamp(2), at(200)), None);
        let batch = batches.take(stamp(2), at(300)).unwrap();
        assert_eq!((batch.entries_before, batch.entries), (0, 2));
        assert_eq!((batch.bytes_before, batch.bytes), (0, 20));
        assert_eq!(batches.take(stamp(2), at(400)), None);
        assert_eq!(batches.take(stamp(3), at(500)), None);
        assert!(
            batches.take(stamp(4), at(1_500)).is_some(),
            "it never stops"
        );
        assert_eq!(batches.take(stamp(5), at(1_600)), None);
        assert_eq!(batches.rest().unwrap().entries, 5);
        assert_eq!(batches.rest(), None);
    }

    #[test]
    fn the_number_of_batches_is_limited() {
        let start = Instant::now();
        let mut batches = Batches::from(stamp(0));
        let mut recorded = 0;
        for number in 1..=BATCHES_MAX + 5 {
            let stamp = Stamp {
                entries: number.into(),
                ..stamp(1)
            };
            assert_eq!(batches.take(stamp, start), None);
            recorded += u32::from(batches.take(stamp, start).is_some());
        }
        assert_eq!(recorded, BATCHES_MAX);
    }
}
