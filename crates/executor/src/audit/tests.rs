//! The audit on its own: what was changed is found, what cannot be written is not said to be.

use std::io;
use std::sync::Arc;

use super::*;
use wire::execution::Code;

fn refused(times: u64) -> Entry {
    Entry::Refused(Refused {
        peer: "uid:1000".to_owned(),
        request_id: None,
        code: Code::UnknownAction,
        times,
    })
}

fn at(millis: u64) -> Timestamp {
    Timestamp(millis)
}

fn lines(path: &Path) -> Result<Vec<Line>, Fault> {
    let mut all = Vec::new();
    read(path, &mut |it| all.push(it))?;
    Ok(all)
}

fn written(path: &Path, count: u64) {
    let (audit, _) = Audit::open(path, 1 << 20, &mut |_| {}).unwrap();
    for times in 1..=count {
        audit.record(at(times), refused(times)).unwrap();
    }
}

#[test]
fn what_was_written_reads_back_and_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, head) = Audit::open(&path, 1 << 20, &mut |_| {}).unwrap();
    assert_eq!((head.sequence, head.digest), (0, Digest::ZERO));
    let first = audit.record(at(1), refused(1)).unwrap();
    assert!(matches!(
        Audit::open(&path, 1 << 20, &mut |_| {}),
        Err(Fault::InUse(_))
    ));
    drop(audit);
    // The lock is the writer's; it goes when its thread has ended.
    let mut known = Vec::new();
    let (audit, head) = loop {
        known.clear();
        match Audit::open(&path, 1 << 20, &mut |it| known.push(it)) {
            Ok(opened) => break opened,
            Err(Fault::InUse(_)) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((head.sequence, head.digest), (1, first.digest));
    assert_eq!(known.len(), 1);
    let second = audit.record(at(2), refused(2)).unwrap();
    assert_eq!(second.sequence, 2);
    assert_eq!(lines(&path).unwrap()[1].previous, first.digest);
}

#[test]
fn a_changed_removed_or_added_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    written(&path, 3);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(lines(&path).unwrap().len(), 3);
    for place in 0..whole.len() {
        let mut other = whole.clone();
        other[place] ^= 1;
        std::fs::write(&path, &other).unwrap();
        // Only the last line's end may look like a death in its middle, and its line is not taken.
        let found = lines(&path);
        assert!(
            found.is_err() || place == whole.len() - 1 && found.unwrap().len() == 2,
            "{place}"
        );
    }
    let ends: Vec<_> = (0..whole.len()).filter(|it| whole[*it] == b'\n').collect();
    let without_second = [&whole[..=ends[0]], &whole[ends[1] + 1..]].concat();
    std::fs::write(&path, without_second).unwrap();
    assert!(matches!(lines(&path), Err(Fault::Broken { line: 2, .. })));
    std::fs::write(&path, [&whole[..], b"{}\n"].concat()).unwrap();
    assert!(matches!(lines(&path), Err(Fault::Broken { line: 4, .. })));
}

#[test]
fn an_unfinished_line_is_taken_away_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    written(&path, 2);
    let whole = std::fs::read(&path).unwrap();
    let torn = whole[..whole.len() - 9].to_vec();
    std::fs::write(&path, torn).unwrap();
    let (audit, head) = loop {
        match Audit::open(&path, 1 << 20, &mut |_| {}) {
            Ok(opened) => break opened,
            Err(Fault::InUse(_)) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(head.sequence, 1);
    assert!(head.torn_bytes > 0);
    audit.record(at(3), refused(3)).unwrap();
    assert_eq!(lines(&path).unwrap().len(), 2);
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let opened = Audit::open(&path, 1 << 20, &mut |_| {});
    assert!(matches!(opened, Err(Fault::NotPrivate(_))));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Audit::open(&link, 1 << 20, &mut |_| {}).is_err());
}

/// A disk with so much room, whose syncs may fail.
struct Disk {
    held: Arc<Mutex<Vec<u8>>>,
    room: usize,
    syncs: bool,
}

impl Disk {
    fn held(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.held.lock().unwrap()
    }
}

impl Sink for Disk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.held();
        let fits = bytes.len().min(self.room - held.len());
        held.extend_from_slice(&bytes[..fits]);
        if fits == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs {
            Ok(())
        } else {
            Err(io::Error::other("the disk is gone"))
        }
    }

    fn shorten(&mut self, bytes: u64) -> io::Result<()> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.held().truncate(length);
        Ok(())
    }
}

const EMPTY: Head = Head {
    sequence: 0,
    digest: Digest::ZERO,
    bytes: 0,
    torn_bytes: 0,
};

#[test]
fn a_full_disk_records_nothing_and_leaves_whole_lines() {
    for room in 0..900 {
        let held = Arc::default();
        let disk = Disk {
            held: Arc::clone(&held),
            room,
            syncs: true,
        };
        let audit = Audit::begin(Box::new(disk), EMPTY, 1 << 20);
        let recorded: Vec<_> = (1..4).map(|it| audit.record(at(it), refused(it))).collect();
        let held = held.lock().unwrap();
        let whole = held.iter().filter(|it| **it == b'\n').count();
        assert_eq!(
            recorded.iter().filter(|it| it.is_ok()).count(),
            whole,
            "{room}"
        );
        assert!(held.is_empty() || held.ends_with(b"\n"));
    }
}

#[test]
fn after_a_failed_sync_nothing_is_recorded_ever_after() {
    let disk = Disk {
        held: Arc::default(),
        room: 1 << 20,
        syncs: false,
    };
    let audit = Audit::begin(Box::new(disk), EMPTY, 1 << 20);
    for times in 1..4 {
        assert_eq!(audit.record(at(1), refused(times)), Err(NotRecorded));
    }
}

#[test]
fn an_audit_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (audit, _) = Audit::open(&path, 500, &mut |_| {}).unwrap();
    let recorded = (1..9).filter(|it| audit.record(at(1), refused(*it)).is_ok());
    assert!(recorded.count() < 4);
    assert!(std::fs::metadata(&path).unwrap().len() <= 500);
}
