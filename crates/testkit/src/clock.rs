//! A clock that stands still until it is moved, and identifiers that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{Millis, Timestamp};
use ports::clock::Clock;

/// A clock in the hands of a test. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now: Arc<AtomicU64>,
    handed_out: Arc<AtomicU64>,
}

impl FakeClock {
    /// Returns a clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(now.0)),
            handed_out: Arc::default(),
        }
    }

    /// Moves the clock forward and returns what it shows then.
    pub fn advance(&self, span: Millis) -> Timestamp {
        Timestamp(self.now.fetch_add(span.0, Ordering::SeqCst)).after(span)
    }

    /// Makes the clock show `now`, which may be earlier than what it shows.
    pub fn jump_to(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Default for FakeClock {
    /// Returns a clock that shows 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp(1_767_225_600_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    /// Returns a UUIDv7: what the clock shows, then a counter in place of randomness.
    fn fresh_bits(&self) -> u128 {
        let moment = u128::from(self.now().0) & ((1 << 48) - 1);
        let count = u128::from(self.handed_out.fetch_add(1, Ordering::SeqCst)) & ((1 << 62) - 1);
        (moment << 80) | (0x7 << 76) | (0b10 << 62) | count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_only_when_moved() {
        let clock = FakeClock::at(Timestamp(5));
        let same = clock.clone();
        assert_eq!(clock.advance(Millis(10)), Timestamp(15));
        assert_eq!(same.now(), Timestamp(15));
        same.jump_to(Timestamp(1));
        assert_eq!(clock.now(), Timestamp(1));
    }

    #[test]
    fn fresh_bits_repeat_in_another_run_and_never_in_the_same() {
        let (clock, other) = (FakeClock::default(), FakeClock::default());
        let mut before = 0;
        for _ in 0..10 {
            let bits = clock.fresh_bits();
            assert_eq!(bits, other.fresh_bits());
            assert!(bits > before, "sorted");
            assert_eq!((bits >> 76) & 0xf, 7, "the version of a UUIDv7");
            assert_eq!((bits >> 62) & 0b11, 0b10, "the variant of a UUID");
            before = bits;
        }
        clock.jump_to(Timestamp(0));
        assert!(clock.fresh_bits() < before, "time leads");
    }
}
