//! The disk store keeps the contract, and what only a disk can do wrong.

mod full;
mod killed;
mod loose;
mod model;
mod packs;
mod space;
mod torn;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Digest;
use palisade_store::artifacts::{DiskArtifacts, Options};
use ports::artifacts::{Artifacts, Collector};
use testkit::clock::FakeClock;

testkit::artifacts_contract!(|clock| {
    let folder = tempfile::tempdir().unwrap();
    move || -> Arc<dyn Collector> {
        let options = Options {
            clock: Arc::new(FakeClock::clone(&clock)),
            ..Options::default()
        };
        Arc::new(DiskArtifacts::open_with(&folder.path().join("a/store"), options).unwrap())
    }
});

/// The contract once more with bounds so small that packs are sealed, split and rewritten all the
/// time, and half of what is put is loose.
mod cramped {
    use super::*;

    testkit::artifacts_contract!(|clock| {
        let folder = tempfile::tempdir().unwrap();
        move || -> Arc<dyn Collector> { Arc::new(cramped(folder.path(), &clock)) }
    });
}

/// A store whose packs are sealed after a few frames.
fn cramped(root: &Path, clock: &FakeClock) -> DiskArtifacts {
    let options = Options {
        clock: Arc::new(clock.clone()),
        packed_bytes_max: 200,
        pack_bytes_max: 2_000,
        pack_frames_max: 5,
    };
    DiskArtifacts::open_with(root, options).unwrap()
}

fn fresh() -> (tempfile::TempDir, DiskArtifacts) {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskArtifacts::open(folder.path()).unwrap();
    (folder, store)
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files of the packs that end so, sorted.
fn packs(root: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("packs")).unwrap();
    let paths = entries.map(|it| it.unwrap().path());
    let mut found: Vec<PathBuf> = paths
        .filter(|it| it.extension().unwrap() == ending)
        .collect();
    found.sort();
    found
}

/// The only pack there is.
fn pack(root: &Path) -> PathBuf {
    let mut packs = packs(root, "pack");
    assert_eq!(packs.len(), 1, "{packs:?}");
    packs.remove(0)
}

/// All bytes of the packs.
fn packed_bytes(root: &Path) -> u64 {
    let packs = packs(root, "pack");
    packs.iter().map(|it| fs::metadata(it).unwrap().len()).sum()
}

fn put_all(store: &DiskArtifacts, blobs: &[Vec<u8>]) -> Vec<Digest> {
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    store.put_all(&blobs).unwrap()
}
