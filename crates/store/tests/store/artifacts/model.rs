//! Random histories of putting, removing, collecting, restarts and deaths: the disk and a map
//! answer alike.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use domain::{Digest, Millis};
use palisade_store::artifacts::DiskArtifacts;
use ports::artifacts::{Artifacts as _, Collector as _, Error};
use proptest::prelude::*;
use testkit::artifacts::MemoryArtifacts;
use testkit::clock::FakeClock;

use super::{cramped, packs};

/// What one step of a history does; the first number chooses one of two handles.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, Vec<u8>),
    Get(usize, u8),
    Remove(usize, Vec<u8>),
    /// Keeps what the mask says, and what is younger than so many seconds.
    Collect(usize, u32, u64),
    Wait(u64),
    Reopen(usize),
    /// All handles are gone, and left something behind.
    Death(Left),
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    Scratch,
    /// All packs without their index.
    NoIndexes,
    /// A part of a frame at the end of each pack that is not sealed.
    HalfFrames,
    /// Bytes that are no frame there.
    Rubbish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let handle = 0..2_usize;
    let ids = || prop::collection::vec(0..24_u8, 0..8);
    let left = prop::sample::select(vec![
        Left::Nothing,
        Left::Scratch,
        Left::NoIndexes,
        Left::HalfFrames,
        Left::Rubbish,
    ]);
    let step = prop_oneof![
        8 => (handle.clone(), ids()).prop_map(|(a, b)| Step::Put(a, b)),
        3 => (handle.clone(), 0..24_u8).prop_map(|(a, b)| Step::Get(a, b)),
        1 => (handle.clone(), ids()).prop_map(|(a, b)| Step::Remove(a, b)),
        2 => (handle.clone(), any::<u32>(), 0..4_u64).prop_map(|(a, b, c)| Step::Collect(a, b, c)),
        3 => (0..3_u64).prop_map(Step::Wait),
        1 => handle.prop_map(Step::Reopen),
        2 => left.prop_map(Step::Death),
    ];
    prop::collection::vec(step, 1..50)
}

/// The bytes of an artifact: empty, small, and over the bound of what is packed.
fn blob(id: u8) -> Vec<u8> {
    let bytes = [0, 1, 30, 199, 200, 201, 900][usize::from(id) % 7];
    match bytes {
        0 => Vec::new(),
        bytes => vec![id; bytes],
    }
}

fn wanted(mask: u32, digest: &Digest) -> bool {
    mask & (1 << (digest.as_bytes()[0] % 32)) != 0
}

/// The disk, what it should answer, and the clock of both.
struct Pair {
    folder: tempfile::TempDir,
    clock: FakeClock,
    handles: Vec<DiskArtifacts>,
    memory: MemoryArtifacts,
}

impl Pair {
    fn fresh() -> Self {
        let folder =
            tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let clock = FakeClock::default();
        Self {
            handles: vec![
                cramped(folder.path(), &clock),
                cramped(folder.path(), &clock),
            ],
            memory: MemoryArtifacts::with_clock(clock.clone()),
            folder,
            clock,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(handle, ids) => {
                let blobs: Vec<Vec<u8>> = ids.into_iter().map(blob).collect();
                let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
                let digests = self.handles[handle].put_all(&blobs).unwrap();
                assert_eq!(digests, self.memory.put_all(&blobs).unwrap());
            }
            Step::Get(handle, id) => {
                let digest = super::digest(&blob(id));
                let (real, model) = (self.handles[handle].get(&digest), self.memory.get(&digest));
                assert_eq!(format!("{real:?}"), format!("{model:?}"));
                let there = self.handles[handle].contains(&digest).unwrap();
                assert_eq!(there, model.is_ok());
            }
            Step::Remove(handle, ids) => {
                let digests: Vec<_> = ids.iter().map(|it| super::digest(&blob(*it))).collect();
                self.handles[handle].remove(&digests).unwrap();
                self.memory.remove(&digests).unwrap();
            }
            Step::Collect(handle, mask, grace) => {
                let (keep, grace) = (|it: &Digest| wanted(mask, it), Duration::from_secs(grace));
                let told = self.memory.collect(&keep, grace).unwrap();
                let store = &self.handles[handle];
                assert_eq!(store.collectable(&keep, grace).unwrap(), told);
                assert_eq!(store.collect(&keep, grace).unwrap(), told);
            }
            Step::Wait(seconds) => drop(self.clock.advance(Millis::from_secs(seconds))),
            Step::Reopen(handle) => self.handles[handle] = cramped(self.folder.path(), &self.clock),
            Step::Death(left) => {
                self.handles.clear();
                leave(self.folder.path(), left);
                let open = || cramped(self.folder.path(), &self.clock);
                self.handles = vec![open(), open()];
            }
        }
    }

    /// Both handles, and one that was just opened, hold what the map holds and nothing else.
    fn compare(&self) {
        let expected = self.memory.list().unwrap();
        let opened = cramped(self.folder.path(), &self.clock);
        for store in self.handles.iter().chain([&opened]) {
            assert_eq!(&store.list().unwrap(), &expected);
            let read: Result<BTreeMap<Digest, Vec<u8>>, Error> = expected
                .iter()
                .map(|it| Ok((*it, store.get(it)?)))
                .collect();
            for (digest, bytes) in read.unwrap() {
                assert_eq!(bytes, self.memory.get(&digest).unwrap());
            }
        }
    }
}

fn leave(root: &Path, left: Left) {
    let unsealed = || {
        let packs = packs(root, "pack").into_iter();
        packs.filter(|it| !it.with_extension("index").exists())
    };
    let append = |path: &Path, bytes: &[u8]| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    };
    match left {
        Left::Nothing => {}
        Left::Scratch => fs::write(root.join("tmp/left"), b"palisade pack 1\n").unwrap(),
        Left::NoIndexes => packs(root, "index")
            .iter()
            .for_each(|it| fs::remove_file(it).unwrap()),
        Left::HalfFrames => unsealed().for_each(|it| {
            let bytes = fs::read(&it).unwrap();
            append(&it, &bytes[bytes.len().min(16)..bytes.len().min(90)]);
        }),
        Left::Rubbish => unsealed().for_each(|it| append(&it, &[0x5a; 333])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_disk_and_a_map_answer_alike(steps in steps()) {
        let mut pair = Pair::fresh();
        for step in steps {
            pair.step(step);
        }
        pair.compare();
        // What is left can be collected, and takes its space with it.
        pair.handles[0].collect(&|_| false, Duration::ZERO).unwrap();
        pair.memory.collect(&|_| false, Duration::ZERO).unwrap();
        pair.compare();
    }
}
