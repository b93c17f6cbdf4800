//! How often each peer may ask, and how often it may be refused on record: neither the executor's
//! time nor its audit is for a peer to use up.

use std::collections::BTreeMap;

use domain::Timestamp;

const MINUTE_MILLIS: u64 = 60_000;

/// Counts requests of each peer in each minute.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u64,
    minute: u64,
    seen: BTreeMap<String, u64>,
    /// Refusals of earlier minutes that are not on record yet.
    owed: BTreeMap<String, u64>,
}

/// What may be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It is answered.
    Fine,
    /// It is one too many, the first of its minute: it is refused on record, for so many that came
    /// since the last.
    First(u64),
    /// It is refused, and counted for the next that is on record.
    Further,
}

impl Rate {
    /// Returns a count that lets so many pass in a minute.
    pub(crate) const fn new(most: u64) -> Self {
        Self {
            most,
            minute: 0,
            seen: BTreeMap::new(),
            owed: BTreeMap::new(),
        }
    }

    /// Counts a request.
    pub(crate) fn count(&mut self, peer: &str, now: Timestamp) -> Pace {
        let minute = now.0 / MINUTE_MILLIS;
        if minute != self.minute {
            self.minute = minute;
            self.seen.clear();
        }
        let seen = self.seen.entry(peer.to_owned()).or_default();
        *seen = seen.saturating_add(1);
        match *seen {
            it if it <= self.most => Pace::Fine,
            it if it == self.most + 1 => Pace::First(self.owed.remove(peer).unwrap_or(0) + 1),
            _ => {
                *self.owed.entry(peer.to_owned()).or_default() += 1;
                Pace::Further
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_pace_of_its_own_in_each_minute() {
        let mut rate = Rate::new(2);
        let mut paces =
            |millis| -> Vec<_> { (0..5).map(|_| rate.count("a", Timestamp(millis))).collect() };
        let (fine, further) = (Pace::Fine, Pace::Further);
        assert_eq!(paces(1), [fine, fine, Pace::First(1), further, further]);
        // What was not on record then is now.
        let later = paces(MINUTE_MILLIS);
        assert_eq!(later, [fine, fine, Pace::First(3), further, further]);
        assert_eq!(rate.count("b", Timestamp(MINUTE_MILLIS)), Pace::Fine);
    }
}
