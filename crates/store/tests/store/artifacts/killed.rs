//! Putting and collecting processes are killed: what they were told is kept is kept.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::Digest;
use palisade_store::artifacts::{DiskArtifacts, Options};
use ports::artifacts::{Artifacts as _, Collector as _};

/// Names the folder of the store that a child of these tests writes to; nobody else sets it.
const STORE: &str = "PALISADE_TEST_KILLED_ARTIFACTS";

/// Tells the child whether it collects as well.
const COLLECTS: &str = "PALISADE_TEST_KILLED_COLLECTS";

/// Begins each line that acknowledges a batch, with the digests after it.
const KEPT: &str = "kept ";

/// Threads of the child.
const WRITERS: u64 = 3;

/// Acknowledgements after which the child is killed, in each of the rounds.
const KILL_AFTER: [usize; 6] = [1, 2, 7, 20, 45, 90];

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn no_acknowledged_artifact_is_lost_when_the_writer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = BTreeSet::new();
    for after in KILL_AFTER {
        kept.extend(write_until_killed(folder.path(), after, false));
        let store = open(folder.path());
        assert_whole(&store, &kept);
        // Whoever comes next can go on where it was.
        let next = store.put(&after.to_le_bytes()).unwrap();
        assert_eq!(store.get(&next).unwrap(), after.to_le_bytes());
    }
}

#[test]
fn no_wanted_artifact_is_lost_when_the_collector_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = BTreeSet::new();
    for after in KILL_AFTER {
        let acknowledged = write_until_killed(folder.path(), after, true);
        kept.extend(acknowledged.into_iter().filter(is_wanted));
        let store = open(folder.path());
        assert_whole(&store, &kept);
        store.collect(&is_wanted, Duration::ZERO).unwrap();
        assert_whole(&store, &kept);
        assert!(store.list().unwrap().iter().all(is_wanted));
    }
}

#[test]
fn collecting_here_takes_nothing_that_another_process_is_putting() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let kept = std::thread::scope(|scope| {
        let child = scope.spawn(|| write_until_killed(folder.path(), 150, false));
        while !child.is_finished() {
            let collected = store.collect(&|_| false, HOUR).unwrap();
            assert_eq!(collected.artifacts, 0);
            // All of mine is unwanted and goes, with the packs that it is in.
            let mine: Vec<Vec<u8>> = (0..60_u8).map(|it| vec![it; 300]).collect();
            let mine = super::put_all(&store, &mine);
            store.remove(&mine).unwrap();
        }
        child.join().unwrap()
    });
    assert_whole(&store, &kept);
    assert_whole(&open(folder.path()), &kept);
}

fn is_wanted(digest: &Digest) -> bool {
    digest.as_bytes()[0] < 128
}

/// All that was kept is there, and all that is there can be read.
fn assert_whole(store: &DiskArtifacts, kept: &BTreeSet<Digest>) {
    let there: BTreeSet<Digest> = store.list().unwrap().into_iter().collect();
    for digest in kept {
        assert!(there.contains(digest), "{digest} is lost");
    }
    for digest in &there {
        store.get(digest).unwrap();
    }
}

/// Packs are small, so that a death may come while one is sealed or begun.
fn open(root: &Path) -> DiskArtifacts {
    let options = Options {
        packed_bytes_max: 6_000,
        pack_bytes_max: 100_000,
        pack_frames_max: 20,
        ..Options::default()
    };
    DiskArtifacts::open_with(root, options).unwrap()
}

/// Runs a child that puts without end; returns what it was told is kept before it died.
fn write_until_killed(root: &Path, after: usize, collects: bool) -> BTreeSet<Digest> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "artifacts::killed::child", "--nocapture"])
        .env(STORE, root)
        .stdout(Stdio::piped());
    if collects {
        child.env(COLLECTS, "1");
    }
    let mut child = child.spawn().unwrap();
    let mut kept = BTreeSet::new();
    let mut lines = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The last line may be cut anywhere; one without its end is not an answer.
        let line = line.unwrap();
        if let Some(digests) = line.strip_prefix(KEPT).and_then(|it| it.strip_suffix(" .")) {
            let digests = digests.split(' ').map(|it| it.parse::<Digest>().unwrap());
            kept.extend(digests);
            lines += 1;
        }
        if lines == after {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "it was killed, not finished");
    assert!(lines >= after);
    kept
}

/// The writing child; does nothing when run as a test of its own.
#[test]
fn child() {
    let Some(root) = std::env::var_os(STORE) else {
        return;
    };
    let store = open(Path::new(&root));
    let collects = std::env::var_os(COLLECTS).is_some();
    let seed = u64::try_from(store.list().unwrap().len()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for batch in 0.. {
                    let blobs = blobs(seed, writer, batch);
                    let digests = super::put_all(store, &blobs);
                    let digests: Vec<String> = digests.iter().map(Digest::to_string).collect();
                    let line = format!("\n{KEPT}{} .\n", digests.join(" "));
                    // One write: lines of several threads do not mix.
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().lock().flush().unwrap();
                    if collects && writer == 0 {
                        store.collect(&is_wanted, Duration::ZERO).unwrap();
                    }
                }
            });
        }
    });
}

/// From one to forty artifacts of up to 8 KB, some of which are loose and some were put before.
fn blobs(seed: u64, writer: u64, batch: u64) -> Vec<Vec<u8>> {
    let mark = blake3::hash(&[seed, writer, batch].map(u64::to_le_bytes).concat());
    let count = 1 + mark.as_bytes()[0] % 40;
    (0..count)
        .map(|number| {
            let old = number % 5 == 0;
            let owner = if old { [0; 32] } else { *mark.as_bytes() };
            let hash = blake3::hash(&[&owner[..], &[number]].concat());
            let bytes = usize::from(hash.as_bytes()[0]) * 32;
            hash.as_bytes()
                .iter()
                .copied()
                .cycle()
                .take(bytes)
                .collect()
        })
        .collect()
}
