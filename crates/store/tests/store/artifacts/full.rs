//! No room is left: nothing is half there, and what was there still is.
//!
//! A bound on the size of files stands in for a full disk: writing stops in the middle in the same
//! way, and needs neither rights nor a file system of its own.

use std::path::Path;
use std::process::Command;

use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts as _, Error};

use super::{digest, fresh, pack, put_all};

/// Names the folder of the store that a child of this test writes to; nobody else sets it.
const STORE: &str = "PALISADE_TEST_FULL_ARTIFACTS";

/// Lets no file of the child grow beyond 512 blocks of 512 or 1,024 bytes, and lets writing fail
/// instead of ending the child.
const BOUNDED: &str = r#"trap '' XFSZ; ulimit -f 512; exec "$0" "$@""#;

/// Over the bound together, and each far below it.
fn too_much() -> Vec<Vec<u8>> {
    (0..100_u8).map(|it| vec![it; 10_000]).collect()
}

#[test]
fn what_does_not_fit_is_not_half_there() {
    let (folder, store) = fresh();
    let kept = store.put(b"kept").unwrap();
    drop(store);
    let status = Command::new("/bin/sh")
        .args(["-c", BOUNDED])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "artifacts::full::child", "--nocapture"])
        .env(STORE, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let store = DiskArtifacts::open(folder.path()).unwrap();
    let small = digest(b"small");
    let mut there = [kept, small];
    there.sort_unstable();
    assert_eq!(store.list().unwrap(), there);
    assert_eq!(store.get(&kept).unwrap(), b"kept");
    assert_eq!(store.get(&small).unwrap(), b"small");
    // What was cut off took no room, and the pack goes on where it was whole.
    let digests = put_all(&store, &too_much());
    assert_eq!(store.get(&digests[99]).unwrap(), [99; 10_000]);
    assert!(pack(folder.path()).exists());
}

/// The bounded child; does nothing when run as a test of its own.
#[test]
fn child() {
    let Some(root) = std::env::var_os(STORE) else {
        return;
    };
    let store = DiskArtifacts::open(Path::new(&root)).unwrap();
    let blobs = too_much();
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let answer = store.put_all(&blobs);
    assert!(matches!(answer, Err(Error::Io { .. })), "{answer:?}");
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(std::fs::metadata(pack(Path::new(&root))).unwrap().len() < 1_000);
    let digest = store.put(b"small").unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"small");
}
