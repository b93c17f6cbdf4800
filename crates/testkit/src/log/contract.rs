//! What every event log keeps to, one function per rule. [`crate::log_contract`] makes a test of
//! each.
#![expect(clippy::unwrap_used, reason = "a contract suite is made of tests")]

mod limits;
mod sharing;

use std::sync::Arc;

use domain::{EffectId, EventId, Timestamp};
use ports::log::{Batch, Error, EventLog, NewEvent, Position};

use super::build::{append, batch, effect, event};
use super::chain;
pub use limits::*;
pub use sharing::*;

/// Opens the same log each time it is called: once more is another process, or a restart.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn EventLog>;

/// Makes one test of each rule. The argument is called once per test and returns a closure that
/// opens one fresh log, again and again.
#[macro_export]
macro_rules! log_contract {
    ($make:expr) => {
        $crate::log_contract! { @rules $make;
            a_fresh_log_is_empty
            what_is_appended_is_read_back
            positions_rise_by_one_without_holes
            an_empty_batch_answers_the_head
            a_wrong_version_is_a_conflict
            a_conflict_keeps_nothing_of_the_batch
            an_event_is_kept_once
            a_conflict_is_told_before_a_duplicate
            malformed_batches_are_refused
            what_is_at_the_limit_is_kept
            effects_wait_in_the_order_they_were_asked_for
            an_effect_is_asked_for_once
            settling_is_idempotent
            an_effect_can_be_asked_for_and_settled_at_once
            streams_are_read_from_any_version
            correlations_are_read_across_streams
            the_whole_log_is_read_in_pages
            the_chain_is_the_documented_one
            verification_counts_and_finds_nothing
            another_handle_sees_everything
            two_handles_conflict_on_the_same_version
            threads_that_retry_conflicts_lose_nothing
            a_refusal_among_many_threads_harms_no_other
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let open = $make();
            $crate::log::contract::$rule(&open);
        }
    )*};
}

/// Nothing is there, and asking for it is no error.
pub fn a_fresh_log_is_empty(open: Open<'_>) {
    let log = open();
    assert_eq!(log.head().unwrap(), Position(0));
    assert_eq!(log.read_all(Position(0), 10).unwrap(), []);
    assert_eq!(log.read_stream("s/1", 0).unwrap(), []);
    assert_eq!(log.read_correlated("work_1", Position(0)).unwrap(), []);
    assert_eq!(log.pending().unwrap(), []);
    assert_eq!(log.verify().unwrap(), Default::default());
}

/// Every field comes back as it was handed over, and the store adds its own.
pub fn what_is_appended_is_read_back(open: Open<'_>) {
    let log = open();
    let full = NewEvent {
        data: " {\"text\": \"ä\\u0000\\n\", \"n\": 1.50} ".to_owned(),
        actor: "operator:ädä 'x' \"y\"".to_owned(),
        ..event(1)
    };
    let sparse = NewEvent {
        causation: None,
        traceparent: None,
        epoch: 0,
        time: Timestamp(0),
        ..event(u128::MAX)
    };
    let mut asked = batch([append("s/1", 0, [])]);
    asked.appends[0].events = vec![full.clone(), sparse.clone()];
    assert_eq!(log.append(asked).unwrap(), Position(2));
    let read = log.read_stream("s/1", 0).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].position, read[0].version), (Position(1), 1));
    assert_eq!((read[1].position, read[1].version), (Position(2), 2));
    assert!(read.iter().all(|it| it.stream == "s/1"));
    assert_eq!((&read[0].event, &read[1].event), (&full, &sparse));
}

/// The log is one sequence, also after batches that were refused.
pub fn positions_rise_by_one_without_holes(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, [1, 2]), append("b", 0, [3])]))
        .unwrap();
    log.append(batch([append("a", 9, [4])])).unwrap_err();
    log.append(batch([append("c", 0, [5, 1])])).unwrap_err();
    assert_eq!(
        log.append(batch([append("b", 1, [6])])).unwrap(),
        Position(4)
    );
    let read = log.read_all(Position(0), 100).unwrap();
    let positions: Vec<u64> = read.iter().map(|it| it.position.0).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    assert_eq!(log.head().unwrap(), Position(4));
}

/// A batch without events answers where the log is; it may still carry effects.
pub fn an_empty_batch_answers_the_head(open: Open<'_>) {
    let log = open();
    assert_eq!(log.append(Batch::default()).unwrap(), Position(0));
    log.append(batch([append("a", 0, [1, 2])])).unwrap();
    assert_eq!(log.append(Batch::default()).unwrap(), Position(2));
    let only_effects = Batch {
        effects: vec![effect(1)],
        ..Batch::default()
    };
    assert_eq!(log.append(only_effects).unwrap(), Position(2));
    assert_eq!(log.pending().unwrap()[0].asked_at, Position(2));
}

/// A decision on another version than the stream's is refused, whether behind or ahead.
pub fn a_wrong_version_is_a_conflict(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, [1, 2])])).unwrap();
    for wrong in [0, 1, 3, u128::from(u64::MAX)] {
        let answer = log.append(batch([append("a", wrong, [10])]));
        assert!(
            matches!(
                &answer,
                Err(Error::Conflict { stream, expected, actual: 2 })
                    if stream == "a" && u128::from(*expected) == wrong
            ),
            "{answer:?}"
        );
    }
    log.append(batch([append("a", 2, [10])])).unwrap();
}

/// All or nothing, across streams, effects and settlements.
pub fn a_conflict_keeps_nothing_of_the_batch(open: Open<'_>) {
    let log = open();
    let mut first = batch([append("a", 0, [1])]);
    first.effects = vec![effect(1)];
    log.append(first).unwrap();
    let mut torn = batch([append("b", 0, [2]), append("a", 0, [3])]);
    torn.effects = vec![effect(2)];
    torn.settled = vec![EffectId::from_bits(1)];
    assert!(matches!(log.append(torn), Err(Error::Conflict { .. })));
    assert_eq!(log.head().unwrap(), Position(1));
    assert_eq!(log.read_stream("b", 0).unwrap(), []);
    let pending: Vec<_> = log.pending().unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].effect, effect(1));
    // What was refused has left no trace: its identifiers are free.
    log.append(batch([append("b", 0, [2]), append("a", 1, [3])]))
        .unwrap();
}

/// The identifier is the key for deduplication, across streams and within a batch.
pub fn an_event_is_kept_once(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, [1])])).unwrap();
    for twice in [
        batch([append("a", 1, [1])]),
        batch([append("b", 0, [2, 1])]),
        batch([append("b", 0, [1]), append("c", 0, [2])]),
    ] {
        let answer = log.append(twice);
        assert!(
            matches!(answer, Err(Error::Duplicate(it)) if it == EventId::from_bits(1)),
            "{answer:?}"
        );
    }
    let answer = log.append(batch([append("b", 0, [3]), append("c", 0, [4, 3])]));
    assert!(matches!(answer, Err(Error::Duplicate(it)) if it == EventId::from_bits(3)));
    assert_eq!(log.head().unwrap(), Position(1));
    assert_eq!(log.read_stream("b", 0).unwrap(), []);
}

/// A batch sent again is told of the conflict: its sender loads and finds what it wrote.
pub fn a_conflict_is_told_before_a_duplicate(open: Open<'_>) {
    let log = open();
    let sent = batch([append("a", 0, [1])]);
    log.append(sent.clone()).unwrap();
    assert!(matches!(log.append(sent), Err(Error::Conflict { .. })));
    // Wherever in the batch they stand.
    let both = batch([append("b", 0, [1]), append("a", 0, [2])]);
    assert!(matches!(log.append(both), Err(Error::Conflict { .. })));
}

/// Order is that of asking, not of identifiers; each knows the last event of its batch.
pub fn effects_wait_in_the_order_they_were_asked_for(open: Open<'_>) {
    let log = open();
    for (number, ids) in [(0, [9, 3]), (1, [7, 1]), (2, [8, 2])] {
        let mut asked = batch([append("a", number * 2, [number * 10 + 1, number * 10 + 2])]);
        asked.effects = ids.map(effect).to_vec();
        log.append(asked).unwrap();
    }
    let pending = log.pending().unwrap();
    let order: Vec<_> = pending
        .iter()
        .map(|it| (it.effect.id.bits(), it.asked_at.0))
        .collect();
    assert_eq!(order, [(9, 2), (3, 2), (7, 4), (1, 4), (8, 6), (2, 6)]);
    assert_eq!(pending[0].effect, effect(9));
    // Also when several are asked for at the same head, and after some were settled.
    log.append(settle(&[9, 8, 2])).unwrap();
    for id in [6, 4] {
        let asked = Batch {
            effects: vec![effect(id)],
            ..Batch::default()
        };
        log.append(asked).unwrap();
    }
    let pending = log.pending().unwrap();
    let order: Vec<_> = pending.iter().map(|it| it.effect.id.bits()).collect();
    assert_eq!(order, [3, 7, 1, 6, 4]);
}

/// An identifier that is known is not stored again, waiting or settled; the rest of the batch is.
pub fn an_effect_is_asked_for_once(open: Open<'_>) {
    let log = open();
    let ask = |number: u128, ids: &[u128]| {
        let mut asked = batch([append("a", number, [number + 1])]);
        asked.effects = ids.iter().copied().map(effect).collect();
        log.append(asked).unwrap();
    };
    ask(0, &[1, 1]);
    ask(1, &[1, 2]);
    log.append(settle(&[1])).unwrap();
    ask(2, &[1]);
    let pending = log.pending().unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (&pending[0].effect, pending[0].asked_at),
        (&effect(2), Position(2))
    );
    assert_eq!(log.head().unwrap(), Position(3));
}

fn settle(ids: &[u128]) -> Batch {
    Batch {
        settled: ids.iter().copied().map(EffectId::from_bits).collect(),
        ..Batch::default()
    }
}

/// Settling twice, or what is unknown, does nothing.
pub fn settling_is_idempotent(open: Open<'_>) {
    let log = open();
    let mut asked = batch([append("a", 0, [1])]);
    asked.effects = vec![effect(1), effect(2)];
    log.append(asked).unwrap();
    for _ in 0..2 {
        assert_eq!(log.append(settle(&[1, 1, 5])).unwrap(), Position(1));
        let pending = log.pending().unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].effect, effect(2));
    }
    // It was unknown when it was settled: asked for now, it waits.
    let asked = Batch {
        effects: vec![effect(5)],
        ..Batch::default()
    };
    log.append(asked).unwrap();
    assert_eq!(log.pending().unwrap().len(), 2);
}

/// Within a batch effects are asked for before they are settled.
pub fn an_effect_can_be_asked_for_and_settled_at_once(open: Open<'_>) {
    let log = open();
    let mut asked = settle(&[1]);
    asked.effects = vec![effect(1)];
    log.append(asked).unwrap();
    assert_eq!(log.pending().unwrap(), []);
}

/// A reader that knows the first versions asks for the rest.
pub fn streams_are_read_from_any_version(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, [1, 2, 3]), append("ab", 0, [4])]))
        .unwrap();
    let versions = |after: u64| -> Vec<u64> {
        let read = log.read_stream("a", after).unwrap();
        read.iter().map(|it| it.version).collect()
    };
    assert_eq!(versions(0), [1, 2, 3]);
    assert_eq!(versions(2), [3]);
    assert_eq!(versions(3), [0; 0]);
    assert_eq!(versions(u64::MAX), [0; 0]);
}

/// What belongs together is found wherever it stands.
pub fn correlations_are_read_across_streams(open: Open<'_>) {
    let log = open();
    let mut asked = batch([append("a", 0, [1, 2]), append("b", 0, [3, 4])]);
    asked.appends[0].events[1].correlation = "work_2".to_owned();
    asked.appends[1].events[0].correlation = "work_2".to_owned();
    log.append(asked).unwrap();
    let positions = |correlation: &str, after: u64| -> Vec<u64> {
        let read = log.read_correlated(correlation, Position(after)).unwrap();
        read.iter().map(|it| it.position.0).collect()
    };
    assert_eq!(positions("work_2", 0), [2, 3]);
    assert_eq!(positions("work_2", 2), [3]);
    assert_eq!(positions("work_1", 0), [1, 4]);
    assert_eq!(positions("work_", 0), [0; 0]);
    assert_eq!(positions("work_1", u64::MAX), [0; 0]);
}

/// Pages join without overlap or gap.
pub fn the_whole_log_is_read_in_pages(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, 1..8)])).unwrap();
    let mut after = Position(0);
    let mut pages = Vec::new();
    loop {
        let page = log.read_all(after, 3).unwrap();
        let Some(last) = page.last() else { break };
        after = last.position;
        pages.push(page.len());
    }
    assert_eq!((pages, after), (vec![3, 3, 1], Position(7)));
    assert_eq!(log.read_all(Position(0), 0).unwrap(), []);
    assert_eq!(log.read_all(Position(0), usize::MAX).unwrap().len(), 7);
}

/// The hashes are what the second writing of the documentation computes.
pub fn the_chain_is_the_documented_one(open: Open<'_>) {
    let log = open();
    let mut asked = batch([append("a", 0, [1, 2]), append("b", 0, [3])]);
    asked.appends[0].events[1].causation = None;
    asked.appends[1].events[0].traceparent = None;
    log.append(asked).unwrap();
    log.append(batch([append("a", 2, [4])])).unwrap();
    let read = log.read_all(Position(0), 10).unwrap();
    for recorded in &read {
        assert_eq!(recorded.hash, chain::link(recorded));
    }
    let first = |stream: &str| read.iter().find(|it| it.stream == stream).unwrap();
    assert_eq!(first("a").previous, domain::Digest::ZERO);
    assert_eq!(first("b").previous, domain::Digest::ZERO);
    assert_eq!(
        (read[1].previous, read[3].previous),
        (read[0].hash, read[1].hash)
    );
}

/// An untouched log verifies.
pub fn verification_counts_and_finds_nothing(open: Open<'_>) {
    let log = open();
    log.append(batch([append("a", 0, [1, 2]), append("b", 0, [3])]))
        .unwrap();
    let found = log.verify().unwrap();
    assert_eq!((found.streams, found.events, found.broken), (2, 3, vec![]));
}
