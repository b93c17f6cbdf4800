//! The machine's clock, and identifiers that sort by it.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::Timestamp;
use ports::clock::Clock;
use uuid::Uuid;

/// The machine's clock; identifiers are UUIDv7.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is not set at all; zero is the earliest there is.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn fresh_bits(&self) -> u128 {
        Uuid::now_v7().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn now_is_this_century() {
        assert!(SystemClock.now() > Timestamp(1_700_000_000_000));
    }

    #[test]
    fn fresh_bits_are_distinct_across_threads_and_rise_within_one() {
        let mut all = BTreeSet::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..500)
                            .map(|_| SystemClock.fresh_bits())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            for worker in workers {
                let bits = worker.join().unwrap();
                assert!(bits.is_sorted());
                all.extend(bits);
            }
        });
        assert_eq!(all.len(), 2_000);
    }
}
