//! Large artifacts are files of their own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use domain::Digest;
use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts as _, Collector as _, Error};

use super::{digest, fresh, mode};

/// Over the bound of what is packed.
fn large(fill: u8) -> Vec<u8> {
    vec![fill; 300_000]
}

fn place(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    root.join(&hex[3..5]).join(&hex[5..])
}

#[test]
fn only_the_owner_may_read() {
    let (folder, store) = fresh();
    let digest = store.put(&large(1)).unwrap();
    let file = place(folder.path(), &digest);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
}

#[test]
fn a_changed_byte_is_found_on_reading() {
    let (folder, store) = fresh();
    let digest = store.put(&large(1)).unwrap();
    fs::write(place(folder.path(), &digest), large(2)).unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Damaged(it)) if it == digest));
}

#[test]
fn a_torn_file_is_found_and_mended_by_putting_again() {
    let (folder, store) = fresh();
    let digest = store.put(&large(1)).unwrap();
    fs::write(place(folder.path(), &digest), b"evid").unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Damaged(_))));
    store.put(&large(1)).unwrap();
    assert_eq!(store.get(&digest).unwrap(), large(1));
}

#[test]
fn what_is_stored_is_not_written_again() {
    let (folder, store) = fresh();
    let digest = store.put(&large(1)).unwrap();
    let written = || fs::metadata(place(folder.path(), &digest)).unwrap().ino();
    let before = written();
    store.put_all(&[&large(1), b"more"]).unwrap();
    assert_eq!(written(), before);
}

/// Stores of before there were packs hold small artifacts so.
#[test]
fn a_small_loose_artifact_is_read_and_not_packed_again() {
    let (folder, store) = fresh();
    let old = digest(b"of before");
    let path = place(folder.path(), &old);
    fs::write(&path, b"of before").unwrap();
    assert!(store.contains(&old).unwrap());
    assert_eq!(store.get(&old).unwrap(), b"of before");
    assert_eq!(store.put(b"of before").unwrap(), old);
    assert_eq!(super::packs(folder.path(), "pack"), [] as [PathBuf; 0]);
    assert_eq!(store.list().unwrap(), [old]);
    let kept = store.collect(&|_| false, Duration::from_secs(60)).unwrap();
    assert_eq!(kept.artifacts, 0, "it was put just now");
    let collected = store.collect(&|_| false, Duration::ZERO).unwrap();
    assert_eq!((collected.artifacts, collected.bytes), (1, 9));
    assert!(!path.exists());
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are those of the system, not of a clock that can be given"
)]
fn nothing_is_left_in_scratch_and_only_old_leftovers_are_swept() {
    let (folder, store) = fresh();
    store.put_all(&[b"1", &large(2), &large(3)]).unwrap();
    let scratch = folder.path().join("tmp");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    let (old, young) = (scratch.join("old"), scratch.join("young"));
    fs::write(&young, b"being written by another process").unwrap();
    let file = fs::File::create(&old).unwrap();
    let two_days = Duration::from_secs(2 * 24 * 60 * 60);
    let long_ago = SystemTime::now() - two_days;
    file.set_modified(long_ago).unwrap();
    DiskArtifacts::open(folder.path()).unwrap();
    assert!(young.exists() && !old.exists());
    assert_eq!(store.list().unwrap().len(), 3, "scratch is not listed");
}

#[test]
fn a_failed_put_leaves_nothing_behind() {
    let (folder, store) = fresh();
    // The second blob's place is taken by a folder: renaming onto it fails, also for root.
    let blocked = digest(&large(2));
    fs::create_dir(place(folder.path(), &blocked)).unwrap();
    let answer = store.put_all(&[&large(1), &large(2)]);
    assert!(matches!(answer, Err(Error::Io { .. })), "{answer:?}");
    assert!(!store.contains(&blocked).unwrap());
    let scratch = folder.path().join("tmp");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}
