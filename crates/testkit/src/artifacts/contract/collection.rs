//! What every collector of artifacts keeps to, one function per rule.

use std::time::Duration;

use domain::{Digest, Millis};
use ports::artifacts::{Collected, Collector, Error};

use super::Open;
use crate::clock::FakeClock;

/// The grace period of these rules.
const GRACE: Duration = Duration::from_secs(3_600);

/// Rounds of putting and collecting at the same time.
const ROUNDS: u8 = 40;

fn grow_old(clock: &FakeClock) {
    clock.advance(Millis::from_secs(2 * GRACE.as_secs()));
}

fn nothing(_: &Digest) -> bool {
    false
}

fn is_there(store: &dyn Collector, digest: &Digest) -> bool {
    let answer = store.get(digest);
    assert!(
        matches!(answer, Ok(_) | Err(Error::Missing(_))),
        "{answer:?}"
    );
    answer.is_ok()
}

/// What is wanted stays, what is young stays, and the rest goes, small and large.
pub fn only_what_is_old_and_unwanted_is_collected(open: Open<'_>, clock: &FakeClock) {
    let store = open();
    let large = vec![1; 300_000];
    let old = store.put_all(&[b"wanted", b"unwanted", &large]).unwrap();
    assert_eq!(
        store.collect(&nothing, GRACE).unwrap(),
        Collected::default()
    );
    grow_old(clock);
    let young = store.put(b"young").unwrap();
    let collected = store.collect(&|it| *it == old[0], GRACE).unwrap();
    let expected = Collected {
        artifacts: 2,
        bytes: 300_008,
    };
    assert_eq!(collected, expected);
    let mut left = [old[0], young];
    left.sort_unstable();
    for store in [store, open()] {
        assert_eq!(store.list().unwrap(), left);
        assert_eq!(store.get(&old[0]).unwrap(), b"wanted");
        assert!(!is_there(store.as_ref(), &old[1]) && !is_there(store.as_ref(), &old[2]));
    }
}

/// A look tells what would go, and takes nothing.
pub fn what_is_collectable_is_told_and_stays(open: Open<'_>, _clock: &FakeClock) {
    let store = open();
    let digests = store.put_all(&[b"1", b"22", &[3; 300_000]]).unwrap();
    let told = store.collectable(&nothing, Duration::ZERO).unwrap();
    assert_eq!((told.artifacts, told.bytes), (3, 300_003));
    assert_eq!(store.list().unwrap().len(), 3);
    let keep = |it: &Digest| *it == digests[2];
    let told = store.collectable(&keep, Duration::ZERO).unwrap();
    assert_eq!((told.artifacts, told.bytes), (2, 3));
    assert_eq!(store.collect(&keep, Duration::ZERO).unwrap(), told);
    assert_eq!(store.list().unwrap(), [digests[2]]);
    let again = store.collect(&keep, Duration::ZERO).unwrap();
    assert_eq!(again, Collected::default());
}

/// What is there and put again is spared for another grace period, and no longer.
pub fn a_put_makes_young_again(open: Open<'_>, clock: &FakeClock) {
    let store = open();
    let large = vec![1; 300_000];
    let digests = store.put_all(&[b"small", &large, b"left"]).unwrap();
    grow_old(clock);
    store.put_all(&[b"small", &large]).unwrap();
    let collected = store.collect(&nothing, GRACE).unwrap();
    assert_eq!((collected.artifacts, collected.bytes), (1, 4));
    assert_eq!(store.get(&digests[0]).unwrap(), b"small");
    assert_eq!(store.get(&digests[1]).unwrap(), large);
    grow_old(clock);
    assert_eq!(store.collect(&nothing, GRACE).unwrap().artifacts, 2);
    assert_eq!(store.list().unwrap(), []);
}

/// The age is the store's, not the handle's, and a restart does not change it.
pub fn another_handles_put_makes_young_again(open: Open<'_>, clock: &FakeClock) {
    let (one, other) = (open(), open());
    let digest = one.put(b"shared").unwrap();
    one.put(b"left").unwrap();
    assert!(is_there(other.as_ref(), &digest));
    grow_old(clock);
    other.put(b"shared").unwrap();
    drop(other);
    assert_eq!(one.collect(&nothing, GRACE).unwrap().artifacts, 1);
    assert_eq!(open().collect(&nothing, GRACE).unwrap().artifacts, 0);
    assert_eq!(one.get(&digest).unwrap(), b"shared");
    grow_old(clock);
    assert_eq!(open().collect(&nothing, GRACE).unwrap().artifacts, 1);
}

/// A handle that knew of an artifact stores it again when another collected it meanwhile.
pub fn what_another_handle_collected_is_put_again(open: Open<'_>, clock: &FakeClock) {
    let (one, other) = (open(), open());
    for blob in [&b"small"[..], &[7; 400_000]] {
        let digest = one.put(blob).unwrap();
        grow_old(clock);
        let others = |it: &Digest| *it != digest;
        assert_eq!(other.collect(&others, GRACE).unwrap().artifacts, 1);
        assert_eq!(one.put(blob).unwrap(), digest);
        for store in [&one, &other, &open()] {
            assert_eq!(store.get(&digest).unwrap(), blob);
        }
    }
}

/// A batch may be collected in part, again and again, and what is left reads as it was put.
pub fn what_is_left_of_a_batch_is_whole(open: Open<'_>, clock: &FakeClock) {
    let store = open();
    let blobs: Vec<Vec<u8>> = (0..600_u32)
        .map(|it| it.to_le_bytes().repeat(1 + it as usize % 50))
        .collect();
    let borrowed: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let digests = store.put_all(&borrowed).unwrap();
    grow_old(clock);
    for share in [2, 20, 200] {
        let wanted = |it: &Digest| {
            let place = digests.iter().position(|digest| digest == it);
            place.unwrap().is_multiple_of(share)
        };
        store.collect(&wanted, GRACE).unwrap();
        for store in [&store, &open()] {
            assert_eq!(store.list().unwrap().len(), 600_usize.div_ceil(share));
            for (digest, blob) in digests.iter().zip(&blobs).step_by(share) {
                assert_eq!(&store.get(digest).unwrap(), blob);
            }
        }
    }
}

/// The artifact without bytes takes none of its neighbours with it.
pub fn the_empty_artifact_goes_alone(open: Open<'_>, _clock: &FakeClock) {
    let store = open();
    let digests = store.put_all(&[b"before", b"", b"after"]).unwrap();
    store
        .collect(&|it| *it != digests[1], Duration::ZERO)
        .unwrap();
    assert!(!is_there(store.as_ref(), &digests[1]));
    for store in [&store, &open()] {
        assert_eq!(store.get(&digests[0]).unwrap(), b"before");
        assert_eq!(store.get(&digests[2]).unwrap(), b"after");
    }
    store.put(b"").unwrap();
    store
        .collect(&|it| *it == digests[1], Duration::ZERO)
        .unwrap();
    assert_eq!(store.list().unwrap(), [digests[1]]);
    assert_eq!(open().get(&digests[1]).unwrap(), b"");
}

/// The rule between putting and collecting: whichever comes first, what a put returned is there.
pub fn what_a_put_returned_outlives_a_collection_at_the_same_time(
    open: Open<'_>,
    clock: &FakeClock,
) {
    let handles = [open(), open(), open()];
    let large = vec![9; 300_000];
    let blobs: [&[u8]; 3] = [b"small", b"", &large];
    let start = std::sync::Barrier::new(handles.len());
    for round in 0..ROUNDS {
        grow_old(clock);
        std::thread::scope(|scope| {
            let [one, other, collector] = &handles;
            for putter in [one, other] {
                scope.spawn(|| {
                    start.wait();
                    let digests = putter.put_all(&blobs).unwrap();
                    for (digest, blob) in digests.iter().zip(blobs) {
                        assert_eq!(putter.get(digest).unwrap(), blob, "in round {round}");
                    }
                });
            }
            scope.spawn(|| {
                start.wait();
                collector.collect(&nothing, GRACE).unwrap();
            });
        });
        assert_eq!(handles[2].list().unwrap().len(), blobs.len());
    }
}
