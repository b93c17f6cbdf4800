//! A writer died, or the machine did: what was acknowledged is there, and half a frame never is.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts as _, Error};

use super::{digest, fresh, pack, packs};

const FIRST: [&[u8]; 3] = [b"one", b"", b"three three three"];
const SECOND: [&[u8]; 2] = [b"four", b"five five"];

/// Makes a pack of two frames; returns its bytes and where the first frame ends.
fn two_frames() -> (Vec<u8>, usize, std::ffi::OsString) {
    let (folder, store) = fresh();
    store.put_all(&FIRST).unwrap();
    let path = pack(folder.path());
    let first = fs::metadata(&path).unwrap().len();
    store.put_all(&SECOND).unwrap();
    let name = path.file_name().unwrap().to_owned();
    (fs::read(&path).unwrap(), first.try_into().unwrap(), name)
}

/// A folder in memory where there is one: some tests make many.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Opens a store that holds only this pack.
fn holding(root: &Path, name: &std::ffi::OsStr, bytes: &[u8]) -> DiskArtifacts {
    let store = DiskArtifacts::open(root).unwrap();
    fs::write(root.join("packs").join(name), bytes).unwrap();
    store
}

#[test]
fn a_pack_cut_anywhere_shows_its_whole_frames_and_is_written_to_no_more() {
    let (bytes, first, name) = two_frames();
    for cut in 0..=bytes.len() {
        let folder = in_memory();
        let store = holding(folder.path(), &name, &bytes[..cut]);
        let mut there: Vec<_> = Vec::new();
        if cut >= first {
            there.extend(FIRST.map(digest));
        }
        if cut == bytes.len() {
            there.extend(SECOND.map(digest));
        }
        there.sort_unstable();
        assert_eq!(store.list().unwrap(), there, "cut at {cut}");
        // What is put now is kept, also when it is what was cut off.
        store.put_all(&SECOND).unwrap();
        store.put(b"six").unwrap();
        let reopened = DiskArtifacts::open(folder.path()).unwrap();
        for blob in SECOND.into_iter().chain([&b"six"[..]]) {
            assert_eq!(store.get(&digest(blob)).unwrap(), blob, "cut at {cut}");
            assert_eq!(reopened.get(&digest(blob)).unwrap(), blob, "cut at {cut}");
        }
        if cut >= first {
            assert_eq!(reopened.get(&digest(b"one")).unwrap(), b"one");
        }
        let left = fs::read(folder.path().join("packs").join(&name)).unwrap();
        assert_eq!(left[..cut], bytes[..cut], "nothing is cut off or changed");
    }
}

#[test]
fn a_last_frame_that_never_reached_the_disk_is_not_there_and_can_be_put_again() {
    let (bytes, _, name) = two_frames();
    let at = bytes.windows(4).position(|it| it == b"four").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut torn = bytes;
    torn[at..at + 4].fill(0);
    let store = holding(folder.path(), &name, &torn);
    assert!(!store.contains(&digest(b"four")).unwrap());
    assert!(matches!(
        store.get(&digest(b"four")),
        Err(Error::Missing(_))
    ));
    assert_eq!(store.get(&digest(b"five five")).unwrap(), b"five five");
    assert_eq!(store.list().unwrap().len(), 4);
    store.put_all(&SECOND).unwrap();
    let reopened = DiskArtifacts::open(folder.path()).unwrap();
    for store in [store, reopened] {
        assert_eq!(store.get(&digest(b"four")).unwrap(), b"four");
        assert_eq!(store.list().unwrap().len(), 5);
    }
}

/// A damaged head hides what comes after it in a pack that is not sealed; it must stay on the disk
/// for whoever can mend it.
#[test]
fn a_damaged_head_costs_no_byte_of_what_follows() {
    let (bytes, first, name) = two_frames();
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = bytes;
    damaged[first + 30] ^= 1;
    let store = holding(folder.path(), &name, &damaged);
    assert_eq!(store.list().unwrap().len(), FIRST.len());
    store.put(b"six").unwrap();
    store.put(b"seven").unwrap();
    let left = fs::read(folder.path().join("packs").join(&name)).unwrap();
    assert_eq!(left, damaged);
}

#[test]
fn what_a_living_writer_may_not_have_synced_is_not_relied_upon() {
    let (folder, writer) = fresh();
    writer.put(b"first").unwrap();
    writer.put(b"last").unwrap();
    let path = pack(folder.path());
    let other = DiskArtifacts::open(folder.path()).unwrap();
    other.put_all(&[b"first", b"last"]).unwrap();
    // The writer's last frame is taken back, as when its sync failed.
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|it| it == b"last").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"lost", at.try_into().unwrap()).unwrap();
    drop((writer, other));
    let store = DiskArtifacts::open(folder.path()).unwrap();
    assert_eq!(store.get(&digest(b"last")).unwrap(), b"last");
    assert_eq!(store.get(&digest(b"first")).unwrap(), b"first");
    let all: Vec<u8> = packs(folder.path(), "pack")
        .iter()
        .flat_map(|it| fs::read(it).unwrap())
        .collect();
    let copies = |of: &[u8]| all.windows(of.len()).filter(|it| *it == of).count();
    assert_eq!((copies(b"first"), copies(b"last")), (1, 1));
}

#[test]
fn what_stands_beside_a_pack_that_is_gone_is_swept() {
    let (folder, store) = fresh();
    store.put(b"kept").unwrap();
    let packs = folder.path().join("packs");
    fs::write(packs.join("gone.index"), b"").unwrap();
    fs::write(packs.join("gone.removed"), b"").unwrap();
    let store = DiskArtifacts::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(&packs).unwrap().count(), 1);
    assert_eq!(store.list().unwrap().len(), 1);
}
