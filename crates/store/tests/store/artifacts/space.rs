//! What is removed gives its space back, and what is left keeps its age.

use std::time::Duration;

use domain::Millis;
use ports::artifacts::{Artifacts as _, Collector as _, Error};
use testkit::clock::FakeClock;

use super::{cramped, digest, packed_bytes, packs, put_all};

const GRACE: Duration = Duration::from_secs(3_600);

fn blobs(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|it| vec![it; 150]).collect()
}

#[test]
fn packs_that_are_mostly_removed_are_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = cramped(folder.path(), &FakeClock::default());
    let blobs = blobs(200);
    let digests = put_all(&store, &blobs);
    let before = packed_bytes(folder.path());
    let keep: Vec<_> = digests.iter().step_by(10).collect();
    let collected = store
        .collect(&|it| keep.contains(&it), Duration::ZERO)
        .unwrap();
    assert_eq!((collected.artifacts, collected.bytes), (180, 180 * 150));
    let after = packed_bytes(folder.path());
    assert!(after * 4 < before, "{before} bytes before, {after} after");
    for (digest, blob) in digests.iter().zip(&blobs).step_by(10) {
        assert_eq!(&store.get(digest).unwrap(), blob);
    }
    assert_eq!(packs(folder.path(), "removed").len(), 0);
    store.collect(&|_| false, Duration::ZERO).unwrap();
    assert_eq!(packed_bytes(folder.path()), 0);
    assert_eq!(packs(folder.path(), "index").len(), 0);
}

#[test]
fn packs_that_are_mostly_there_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = cramped(folder.path(), &FakeClock::default());
    let digests = put_all(&store, &blobs(50));
    let before = (packed_bytes(folder.path()), packs(folder.path(), "pack"));
    let drop: Vec<_> = digests.iter().step_by(10).copied().collect();
    store.remove(&drop).unwrap();
    let after = (packed_bytes(folder.path()), packs(folder.path(), "pack"));
    assert_eq!(after, before);
    let reopened = cramped(folder.path(), &FakeClock::default());
    for store in [store, reopened] {
        assert_eq!(store.list().unwrap().len(), 45);
        assert!(matches!(store.get(&drop[0]), Err(Error::Missing(_))));
    }
}

#[test]
fn what_is_rewritten_keeps_its_age_and_its_renewals() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let store = cramped(folder.path(), &clock);
    let blobs = blobs(40);
    let digests = put_all(&store, &blobs);
    clock.advance(Millis::from_secs(2 * GRACE.as_secs()));
    // The first and the last are renewed; the renewals stand in another pack.
    put_all(&store, &[blobs[0].clone(), blobs[39].clone()]);
    // Packs are rewritten, with the one of the renewals perhaps; what is old is still there.
    let old = [digests[1], digests[38]];
    let keep = |it: &_| old.contains(it);
    assert_eq!(store.collect(&keep, GRACE).unwrap().artifacts, 36);
    for store in [&store, &cramped(folder.path(), &clock)] {
        let told = store.collectable(&|_| false, GRACE).unwrap();
        assert_eq!(told.artifacts, 2, "the old ones have not become young");
    }
    assert_eq!(store.collect(&|_| false, GRACE).unwrap().artifacts, 2);
    let mut left = [digests[0], digests[39]];
    left.sort_unstable();
    assert_eq!(cramped(folder.path(), &clock).list().unwrap(), left);
    clock.advance(Millis::from_secs(GRACE.as_secs()));
    assert_eq!(store.collect(&|_| false, GRACE).unwrap().artifacts, 2);
}

/// Two processes may store the same; one copy is enough.
#[test]
fn further_copies_are_removed_and_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let (one, other) = (
        cramped(folder.path(), &clock),
        cramped(folder.path(), &clock),
    );
    one.put(&[1; 100]).unwrap();
    other.put(&[1; 100]).unwrap();
    let two = packed_bytes(folder.path());
    drop((one, other));
    let store = cramped(folder.path(), &clock);
    assert_eq!(
        store.collect(&|_| true, Duration::ZERO).unwrap().artifacts,
        0
    );
    assert!(packed_bytes(folder.path()) < two);
    for store in [&store, &cramped(folder.path(), &clock)] {
        assert_eq!(store.get(&digest(&[1; 100])).unwrap(), [1; 100]);
        assert_eq!(store.list().unwrap().len(), 1);
    }
}

/// A pack that another handle appends to is not rewritten under it.
#[test]
fn a_writer_whose_pack_was_emptied_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let (writer, other) = (
        cramped(folder.path(), &clock),
        cramped(folder.path(), &clock),
    );
    for round in 0..20_u8 {
        let digest = writer.put(&[round; 100]).unwrap();
        other.collect(&|it| *it == digest, Duration::ZERO).unwrap();
        assert_eq!(other.get(&digest).unwrap(), [round; 100]);
        assert_eq!(writer.list().unwrap(), [digest]);
    }
}
