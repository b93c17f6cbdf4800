//! Random histories: the file and the memory answer alike, down to the hashes.

use domain::EffectId;
use palisade_store::log::SqliteLog;
use ports::log::{Batch, EventLog, Position};
use proptest::prelude::*;
use testkit::log::MemoryLog;
use testkit::log::build::{append, batch, effect};

/// What one step of a history does.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, i8, Vec<u8>)>, Vec<u8>, Vec<u8>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = || prop::collection::vec(0..60_u8, 0..3);
    // A stream, how far off the expected version is, and the events.
    let off = prop_oneof![8 => Just(0_i8), 1 => Just(-1), 1 => Just(1)];
    let one = (0..4_u8, off, prop::collection::vec(any::<u8>(), 0..4));
    let some = prop::collection::vec(one, 0..3);
    let append = (some, ids(), ids()).prop_map(|(a, b, c)| Step::Append(a, b, c));
    prop::collection::vec(prop_oneof![12 => append, 1 => Just(Step::Reopen)], 1..40)
}

fn asked(
    model: &dyn EventLog,
    streams: Vec<(u8, i8, Vec<u8>)>,
    asks: &[u8],
    settles: &[u8],
) -> Batch {
    let appends = streams.into_iter().map(|(stream, off, ids)| {
        let stream = format!("s/{stream}");
        let version = model.read_stream(&stream, 0).unwrap().len();
        let mut append = append(&stream, 0, ids.into_iter().map(u128::from));
        let version = u64::try_from(version).unwrap();
        append.expected = version.saturating_add_signed(i64::from(off));
        for event in &mut append.events {
            event.correlation = format!("work_{}", event.id.bits() % 3);
        }
        append
    });
    let mut batch = batch(appends);
    batch.effects = asks.iter().map(|it| effect(u128::from(*it))).collect();
    batch.settled = settles
        .iter()
        .map(|it| EffectId::from_bits(u128::from(*it)))
        .collect();
    batch
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_file_and_the_memory_answer_alike(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let mut file = SqliteLog::open(&path).unwrap();
        let memory = MemoryLog::default();
        for step in steps {
            let Step::Append(streams, asks, settles) = step else {
                drop(file);
                file = SqliteLog::open(&path).unwrap();
                continue;
            };
            let batch = asked(&memory, streams, &asks, &settles);
            let (real, model) = (file.append(batch.clone()), memory.append(batch));
            prop_assert_eq!(format!("{real:?}"), format!("{model:?}"));
            prop_assert_eq!(file.head().unwrap(), memory.head().unwrap());
        }
        let all = |log: &dyn EventLog| log.read_all(Position(0), usize::MAX).unwrap();
        prop_assert_eq!(all(&file), all(&memory));
        prop_assert_eq!(file.pending().unwrap(), memory.pending().unwrap());
        prop_assert_eq!(file.verify().unwrap(), memory.verify().unwrap());
        for correlation in ["work_0", "work_1", "work_2"] {
            let read = |log: &dyn EventLog| log.read_correlated(correlation, Position(2)).unwrap();
            prop_assert_eq!(read(&file), read(&memory));
        }
    }
}
