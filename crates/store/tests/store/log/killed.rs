//! A writing process is killed: what it was told is kept is kept.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use domain::EventId;
use palisade_store::log::SqliteLog;
use ports::log::{Error, EventLog as _, Position};
use testkit::log::build::{append, batch, effect};

/// Names the log that a child of these tests writes to; nobody else sets it.
const CHILD: &str = "PALISADE_TEST_KILLED_LOG";

/// Begins each line that acknowledges an event.
const KEPT: &str = "kept ";

/// Threads of the child, each with a stream of its own.
const WRITERS: u128 = 4;

/// Acknowledgements after which the child is killed, in each of the rounds.
const KILL_AFTER: [usize; 3] = [1, 40, 200];

#[test]
fn no_acknowledged_event_is_lost_when_the_writer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut kept: Vec<EventId> = Vec::new();
    for after in KILL_AFTER {
        kept.extend(write_until_killed(&path, after));
        let log = SqliteLog::open(&path).unwrap();
        assert_eq!(log.verify().unwrap().broken, []);
        let read = log.read_all(Position(0), usize::MAX).unwrap();
        for id in &kept {
            assert!(read.iter().any(|it| it.event.id == *id), "{id} is lost");
        }
        // All or nothing: each event has brought its effect.
        let pending = log.pending().unwrap();
        let mut events: Vec<u128> = read.iter().map(|it| it.event.id.bits()).collect();
        let mut effects: Vec<u128> = pending.iter().map(|it| it.effect.id.bits()).collect();
        events.sort_unstable();
        effects.sort_unstable();
        assert_eq!(events, effects);
    }
    assert!(kept.len() >= KILL_AFTER.iter().sum());
}

#[test]
fn two_processes_write_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = SqliteLog::open(&path).unwrap();
    let mut mine = 0;
    let theirs = std::thread::scope(|scope| {
        let child = scope.spawn(|| write_until_killed(&path, 100));
        while !child.is_finished() {
            match log.append(batch([append("mine", mine, [u128::MAX - mine])])) {
                Ok(_) => mine += 1,
                Err(Error::Io { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        child.join().unwrap()
    });
    let read = log.read_all(Position(0), usize::MAX).unwrap();
    assert!(
        theirs
            .iter()
            .all(|id| read.iter().any(|it| it.event.id == *id))
    );
    assert_eq!(log.read_stream("mine", 0).unwrap().len() as u128, mine);
    assert_eq!(log.verify().unwrap().broken, []);
}

/// Runs a child that appends without end; returns what it was told is kept before it died.
fn write_until_killed(path: &Path, after: usize) -> Vec<EventId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::killed::child", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut kept = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The last line may be cut anywhere; one without its end is not an answer.
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix(KEPT).and_then(|it| it.strip_suffix(" .")) {
            kept.push(id.parse().unwrap());
        }
        if kept.len() == after {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "it was killed, not finished");
    kept
}

/// The writing child; does nothing when run as a test of its own.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    write_for_ever(&path);
}

fn write_for_ever(path: &OsString) {
    let log = SqliteLog::open(Path::new(path)).unwrap();
    let before = log.head().unwrap().0;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = &log;
            scope.spawn(move || {
                let stream = format!("writer/{writer}");
                let from = log.read_stream(&stream, 0).unwrap().len() as u128;
                for version in from.. {
                    let id = (u128::from(before) << 64) | (writer << 32) | version;
                    let mut asked = batch([append(&stream, version, [id])]);
                    asked.effects = vec![effect(id)];
                    log.append(asked).unwrap();
                    let line = format!("\n{KEPT}{} .\n", EventId::from_bits(id));
                    // One write: lines of several threads do not mix.
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().lock().flush().unwrap();
                }
            });
        }
    });
}
