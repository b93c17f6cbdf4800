//! Rules about several handles and threads on one log.

use std::collections::BTreeSet;

use domain::EventId;
use ports::log::{Error, EventLog, Position};

use super::Open;
use crate::log::build::{append, batch, effect};

/// What one handle was told is kept, another reads, at the same time and after a restart.
pub fn another_handle_sees_everything(open: Open<'_>) {
    let (one, other) = (open(), open());
    let mut asked = batch([append("a", 0, [1, 2])]);
    asked.effects = vec![effect(1)];
    one.append(asked).unwrap();
    assert_eq!(other.head().unwrap(), Position(2));
    let seen = other.read_all(Position(0), 10).unwrap();
    assert_eq!(seen.len(), 2);
    drop((one, other));
    let restarted = open();
    assert_eq!(restarted.read_all(Position(0), 10).unwrap(), seen);
    assert_eq!(restarted.pending().unwrap()[0].effect, effect(1));
    assert_eq!(
        restarted.append(batch([append("a", 2, [3])])).unwrap(),
        Position(3)
    );
    assert_eq!(restarted.verify().unwrap().broken, []);
}

/// Versions are judged on what is stored, not on what a handle remembers.
pub fn two_handles_conflict_on_the_same_version(open: Open<'_>) {
    let (one, other) = (open(), open());
    for round in 0..5 {
        let (winner, loser) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        winner
            .append(batch([append("a", round, [round * 2])]))
            .unwrap();
        let answer = loser.append(batch([append("a", round, [round * 2 + 1])]));
        assert!(matches!(answer, Err(Error::Conflict { .. })), "{answer:?}");
    }
    assert_eq!(one.verify().unwrap().broken, []);
    assert_eq!(other.head().unwrap(), Position(5));
}

/// Sixteen threads on two handles, contending for three streams, lose and double nothing.
pub fn threads_that_retry_conflicts_lose_nothing(open: Open<'_>) {
    let handles = [open(), open()];
    let (threads, each) = (16_u8, 8_u8);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let log = &handles[usize::from(thread % 2)];
            scope.spawn(move || {
                for round in 0..each {
                    let id = u128::from(thread) * 1_000 + u128::from(round);
                    append_until_kept(log.as_ref(), &format!("s/{}", thread % 3), id);
                }
            });
        }
    });
    let total = usize::from(threads) * usize::from(each);
    let read = handles[0].read_all(Position(0), usize::MAX).unwrap();
    let ids: BTreeSet<EventId> = read.iter().map(|it| it.event.id).collect();
    assert_eq!((read.len(), ids.len()), (total, total));
    assert_eq!(handles[1].pending().unwrap().len(), total);
    let found = handles[1].verify().unwrap();
    assert_eq!((found.streams, found.broken), (3, vec![]));
}

fn append_until_kept(log: &dyn EventLog, stream: &str, id: u128) {
    loop {
        let version = log.read_stream(stream, 0).unwrap().len();
        let mut asked = batch([append(stream, version as u128, [id])]);
        asked.effects = vec![effect(id)];
        match log.append(asked) {
            Ok(_) => return,
            Err(Error::Conflict { .. }) => {}
            Err(other) => unreachable!("{other}"),
        }
    }
}

/// Good and bad batches that arrive together are judged one by one.
pub fn a_refusal_among_many_threads_harms_no_other(open: Open<'_>) {
    let log = open();
    log.append(batch([append("taken", 0, [1])])).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..12_u128 {
            let log = &log;
            scope.spawn(move || {
                for round in 0..5_u128 {
                    let id = 100 + thread * 100 + round;
                    let own = append(&format!("own/{thread}"), round, [id]);
                    match thread % 3 {
                        0 => drop(log.append(batch([own])).unwrap()),
                        1 => {
                            let answer = log.append(batch([own, append("taken", 0, [id + 50])]));
                            assert!(matches!(answer, Err(Error::Conflict { .. })), "{answer:?}");
                        }
                        _ => {
                            let own = append(&format!("own/{thread}"), 0, [id, 1]);
                            let answer = log.append(batch([own]));
                            assert!(matches!(answer, Err(Error::Duplicate(_))), "{answer:?}");
                        }
                    }
                }
            });
        }
    });
    let read = log.read_all(Position(0), usize::MAX).unwrap();
    assert_eq!(read.len(), 1 + 4 * 5);
    let positions: Vec<u64> = read.iter().map(|it| it.position.0).collect();
    assert_eq!(positions, (1..=21).collect::<Vec<u64>>());
    assert_eq!(log.verify().unwrap().broken, []);
}
