//! Small artifacts are appended to packs, by any number of processes.

use std::fs;

use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts as _, Error};
use testkit::clock::FakeClock;

use super::{cramped, fresh, mode, pack, packed_bytes, packs, put_all};

#[test]
fn only_the_owner_may_read() {
    let (folder, store) = fresh();
    store.put(b"private").unwrap();
    assert_eq!(mode(&pack(folder.path())), 0o600);
    assert_eq!(mode(&folder.path().join("packs")), 0o700);
    assert_eq!(mode(&folder.path().join("gate")), 0o600);
}

#[test]
fn batches_of_one_process_share_a_pack() {
    let (folder, store) = fresh();
    for number in 0..50_u8 {
        store.put_all(&[&[number], &[number; 2]]).unwrap();
    }
    assert!(pack(folder.path()).exists());
    assert_eq!(store.list().unwrap().len(), 100);
}

#[test]
fn what_is_stored_is_not_written_again() {
    let (folder, store) = fresh();
    let blob = vec![7; 100_000];
    store.put(&blob).unwrap();
    store.put(b"more").unwrap();
    let before = packed_bytes(folder.path());
    store.put(&blob).unwrap();
    DiskArtifacts::open(folder.path())
        .unwrap()
        .put_all(&[&blob, &blob])
        .unwrap();
    drop(store);
    let reopened = DiskArtifacts::open(folder.path()).unwrap();
    reopened.put_all(&[&blob, b"still more"]).unwrap();
    let grown = packed_bytes(folder.path()) - before;
    assert!(grown < 1_000, "{grown} bytes more");
    drop(reopened);
    let before = packed_bytes(folder.path());
    let reopened = DiskArtifacts::open(folder.path()).unwrap();
    reopened.put(&blob).unwrap();
    let grown = packed_bytes(folder.path()) - before;
    assert!(grown < 1_000, "{grown} bytes more after a restart");
}

#[test]
fn a_restart_goes_on_with_the_same_pack() {
    let (folder, store) = fresh();
    store.put(b"before").unwrap();
    drop(store);
    for number in 0..10_u8 {
        let store = DiskArtifacts::open(folder.path()).unwrap();
        store.put(&[number]).unwrap();
        assert_eq!(store.list().unwrap().len(), 2 + usize::from(number));
    }
    assert!(pack(folder.path()).exists());
}

#[test]
fn each_of_those_who_put_at_once_has_a_pack_and_all_see_all() {
    let (folder, one) = fresh();
    let other = DiskArtifacts::open(folder.path()).unwrap();
    for number in 0..20_u8 {
        let (a, b) = (one.put(&[0, number]), other.put(&[1, number]));
        assert_eq!(one.get(&b.unwrap()).unwrap(), [1, number]);
        assert_eq!(other.get(&a.unwrap()).unwrap(), [0, number]);
    }
    assert_eq!(packs(folder.path(), "pack").len(), 2);
}

#[test]
fn a_full_pack_is_sealed_and_its_index_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let store = cramped(folder.path(), &clock);
    let blobs: Vec<Vec<u8>> = (0..100_u8).map(|it| vec![it; 100]).collect();
    let digests: Vec<_> = blobs.chunks(7).flat_map(|it| put_all(&store, it)).collect();
    drop(store);
    let sealed = packs(folder.path(), "index");
    assert!(sealed.len() > 4, "{} are sealed", sealed.len());
    assert!(packs(folder.path(), "pack").len() <= sealed.len() + 1);
    // One index is gone, one is torn, and one has a changed byte.
    fs::remove_file(&sealed[0]).unwrap();
    let bytes = fs::read(&sealed[1]).unwrap();
    fs::write(&sealed[1], &bytes[..bytes.len() - 5]).unwrap();
    let mut bytes = fs::read(&sealed[2]).unwrap();
    bytes[70] ^= 1;
    fs::write(&sealed[2], &bytes).unwrap();
    for _ in 0..2 {
        let store = cramped(folder.path(), &clock);
        assert_eq!(store.list().unwrap().len(), 100);
        for (digest, blob) in digests.iter().zip(&blobs) {
            assert_eq!(&store.get(digest).unwrap(), blob);
        }
        // Who puts next seals them again.
        store.put(b"more").unwrap();
        store.remove(&[super::digest(b"more")]).unwrap();
    }
    assert!(packs(folder.path(), "index").len() >= sealed.len());
}

#[test]
fn a_changed_byte_is_found_on_reading_and_mended_by_putting_again() {
    let (folder, store) = fresh();
    let digests = store.put_all(&[b"evidence", b"other"]).unwrap();
    // A further frame, so that the first one is known to have been written.
    let third = store.put(b"third").unwrap();
    let path = pack(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|it| it == b"evidence").unwrap();
    bytes[at + 6] = b's';
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(store.get(&digests[0]), Err(Error::Damaged(it)) if it == digests[0]));
    let reopened = DiskArtifacts::open(folder.path()).unwrap();
    assert!(matches!(reopened.get(&digests[0]), Err(Error::Damaged(_))));
    assert_eq!(reopened.get(&digests[1]).unwrap(), b"other");
    assert_eq!(reopened.put(b"evidence").unwrap(), digests[0]);
    for store in [
        &store,
        &reopened,
        &DiskArtifacts::open(folder.path()).unwrap(),
    ] {
        assert_eq!(store.get(&digests[0]).unwrap(), b"evidence");
        assert_eq!(store.get(&third).unwrap(), b"third");
        assert_eq!(store.list().unwrap().len(), 3);
    }
}
