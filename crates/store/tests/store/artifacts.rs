//! The disk store keeps the contract, and what only a disk can do wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::Digest;
use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts, Error};

testkit::artifacts_contract!(|| {
    let folder = tempfile::tempdir().unwrap();
    move || -> Arc<dyn Artifacts> {
        Arc::new(DiskArtifacts::open(&folder.path().join("a/store")).unwrap())
    }
});

fn fresh() -> (tempfile::TempDir, DiskArtifacts) {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskArtifacts::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn place(folder: &tempfile::TempDir, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    let path = folder.path().join("store").join(&hex[3..5]);
    path.join(&hex[5..])
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_may_read() {
    let (folder, store) = fresh();
    let digest = store.put(b"private").unwrap();
    let file = place(&folder, &digest);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.path().join("store")), 0o700);
}

#[test]
fn a_changed_byte_is_found_on_reading() {
    let (folder, store) = fresh();
    let digest = store.put(b"evidence").unwrap();
    fs::write(place(&folder, &digest), b"evidense").unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Damaged(it)) if it == digest));
}

#[test]
fn a_torn_file_is_found_and_mended_by_putting_again() {
    let (folder, store) = fresh();
    let digest = store.put(b"evidence").unwrap();
    fs::write(place(&folder, &digest), b"evid").unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Damaged(_))));
    store.put(b"evidence").unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"evidence");
}

#[test]
fn what_is_stored_is_not_written_again() {
    let (folder, store) = fresh();
    let digest = store.put(b"once").unwrap();
    let written = || {
        let status = fs::metadata(place(&folder, &digest)).unwrap();
        (
            std::os::unix::fs::MetadataExt::ino(&status),
            status.modified().unwrap(),
        )
    };
    let before = written();
    store.put_all(&[b"once", b"more"]).unwrap();
    assert_eq!(written(), before);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are those of the system, not of a clock that can be given"
)]
fn nothing_is_left_in_scratch_and_only_old_leftovers_are_swept() {
    let (folder, store) = fresh();
    store.put_all(&[b"1", b"2", b"3"]).unwrap();
    let scratch = folder.path().join("store/tmp");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    let (old, young) = (scratch.join("old"), scratch.join("young"));
    fs::write(&young, b"being written by another process").unwrap();
    let file = fs::File::create(&old).unwrap();
    let two_days = Duration::from_secs(2 * 24 * 60 * 60);
    #[expect(
        clippy::disallowed_methods,
        reason = "a file is made older than this disk's clock"
    )]
    let long_ago = SystemTime::now() - two_days;
    file.set_modified(long_ago).unwrap();
    DiskArtifacts::open(&folder.path().join("store")).unwrap();
    assert!(young.exists() && !old.exists());
    assert_eq!(store.list().unwrap().len(), 3, "scratch is not listed");
}

#[test]
fn a_failed_put_leaves_nothing_behind() {
    let (folder, store) = fresh();
    // The second blob's place is taken by a folder: renaming onto it fails, also for root.
    let blocked = Digest::from_bytes(*blake3::hash(b"blocked").as_bytes());
    fs::create_dir(place(&folder, &blocked)).unwrap();
    let answer = store.put_all(&[&b"fine"[..], b"blocked"]);
    assert!(matches!(answer, Err(Error::Io { .. })), "{answer:?}");
    assert!(!store.contains(&blocked).unwrap());
    let scratch = folder.path().join("store/tmp");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}
