//! The SQLite log keeps the contract, agrees with the one in memory, and survives what only a
//! file can suffer: tampering, foreign formats, and a writer that is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_store::log::SqliteLog;
use ports::log::{Error, EventLog, Position};
use rusqlite::Connection;
use testkit::log::build::{append, batch, effect};

mod envelope;
mod killed;
mod model;

testkit::log_contract!(|| {
    let folder = tempfile::tempdir().unwrap();
    move || -> Arc<dyn EventLog> {
        Arc::new(SqliteLog::open(&folder.path().join("a/b/log.db")).unwrap())
    }
});

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    (folder, path)
}

/// A log with two streams of three events: `a` at 1, 2, 4 and `b` at 3, 5, 6.
fn filled(path: &Path) -> SqliteLog {
    let log = SqliteLog::open(path).unwrap();
    let mut first = batch([append("a", 0, [1, 2]), append("b", 0, [3])]);
    first.effects = vec![effect(1)];
    log.append(first).unwrap();
    log.append(batch([append("a", 2, [4]), append("b", 1, [5, 6])]))
        .unwrap();
    assert_eq!(log.verify().unwrap().broken, []);
    log
}

#[test]
fn only_the_owner_may_read() {
    let (folder, _) = fresh();
    let path = folder.path().join("deep/er/log.db");
    let _log = filled(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        assert_eq!(mode(&path.with_file_name(file)), 0o600, "{file}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.path().join("deep")), 0o700);
}

#[test]
fn verification_finds_every_changed_column() {
    for (column, value) in [
        ("stream", "99"),
        ("version", "7"),
        ("stream_before", "0"),
        ("id", "x'00000000000000000000000000000009'"),
        ("kind", "'other'"),
        ("time", "1"),
        ("actor", "'operator:eve'"),
        ("epoch", "4"),
        ("correlation", "99"),
        ("causation", "NULL"),
        ("traceparent", "''"),
        ("data", "'{\"number\": 2}'"),
        ("previous", "zeroblob(32)"),
        ("hash", "zeroblob(32)"),
        ("id", "x'00'"),
        ("time", "-1"),
    ] {
        let (_folder, path) = fresh();
        let log = filled(&path);
        let change = format!("UPDATE events SET {column} = {value} WHERE position = 2");
        let other = Connection::open(&path).unwrap();
        assert_eq!(other.execute(&change, ()).unwrap(), 1);
        let found = log.verify().unwrap();
        assert!(
            found.broken.contains(&("a".to_owned(), 2)),
            "{column}: {found:?}"
        );
        assert!(
            found.broken.iter().all(|it| it.0 != "b"),
            "{column}: {found:?}"
        );
    }
}

#[test]
fn an_event_that_is_not_what_was_recorded_is_not_read() {
    let (_folder, path) = fresh();
    let log = filled(&path);
    assert!(log.read_stream("a", 0).is_ok());
    let other = Connection::open(&path).unwrap();
    let change = "UPDATE events SET data = '{\"number\": 2}' WHERE position = 2";
    assert_eq!(other.execute(change, ()).unwrap(), 1);
    let told = |it: Error| it.to_string().contains("`palisade audit verify`");
    assert!(log.read_stream("a", 0).is_err_and(told));
    assert!(log.read_correlated("work_1", Position(0)).is_err_and(told));
    assert!(log.read_all(Position(0), 10).is_err_and(told));
    assert!(log.read_stream("b", 0).is_ok(), "another stream is whole");
}

#[test]
fn verification_finds_what_was_removed_or_moved() {
    let broken = |change: &str| {
        let (_folder, path) = fresh();
        let log = filled(&path);
        Connection::open(&path)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        log.verify().unwrap().broken
    };
    let told = |found: &[(&str, u64)]| -> Vec<(String, u64)> {
        found.iter().map(|it| (it.0.to_owned(), it.1)).collect()
    };
    let removed = broken("DELETE FROM events WHERE position = 2");
    let expected = [
        ("(the correlation work_1)", 3),
        ("(the whole log)", 2),
        ("a", 2),
    ];
    assert_eq!(removed, told(&expected));
    // The end of a stream: no later link of its own shows it, the table of streams does.
    let cut = broken("DELETE FROM events WHERE position = 4");
    let expected = [
        ("(the correlation work_1)", 5),
        ("(the whole log)", 4),
        ("a", 3),
    ];
    assert_eq!(cut, told(&expected));
    // The end of everything.
    let cut = broken("DELETE FROM events WHERE position > 3");
    let expected = [("(the correlation work_1)", 4), ("a", 3), ("b", 2)];
    assert_eq!(cut, told(&expected));
    let swapped = broken(
        "UPDATE events SET position = 40 WHERE position = 4;
         UPDATE events SET position = 4 WHERE position = 5;
         UPDATE events SET position = 5 WHERE position = 40;",
    );
    let expected = [("(the correlation work_1)", 4), ("a", 3), ("b", 2)];
    assert_eq!(swapped, told(&expected));
}

#[test]
fn verification_finds_names_ends_and_links_that_were_changed() {
    for (change, name, version) in [
        ("UPDATE streams SET name = 'c' WHERE name = 'a'", "c", 1),
        ("UPDATE streams SET last = 2 WHERE name = 'a'", "a", 4),
        ("UPDATE streams SET last = 7 WHERE name = 'a'", "a", 4),
        ("INSERT INTO streams (name, last) VALUES ('c', 6)", "c", 1),
        ("UPDATE correlations SET name = 'work_2'", "a", 1),
        (
            "UPDATE correlations SET last = 5",
            "(the correlation work_1)",
            7,
        ),
        (
            "UPDATE events SET correlation_before = 0 WHERE position = 2",
            "(the correlation work_1)",
            2,
        ),
        ("DELETE FROM streams", "(the whole log)", 1),
    ] {
        let (_folder, path) = fresh();
        let log = filled(&path);
        let other = Connection::open(&path).unwrap();
        other.execute(change, ()).unwrap();
        let found = log.verify().unwrap().broken;
        assert!(
            found.contains(&(name.to_owned(), version)),
            "{change}: {found:?}"
        );
    }
}

#[test]
fn links_that_lead_astray_are_damage_when_read() {
    for (change, of_stream) in [
        (
            "UPDATE events SET stream_before = 3 WHERE position = 4",
            true,
        ),
        (
            "UPDATE events SET stream_before = 4 WHERE position = 4",
            true,
        ),
        (
            "UPDATE events SET stream_before = -1 WHERE position = 4",
            true,
        ),
        ("UPDATE streams SET last = 6", true),
        ("DELETE FROM events WHERE position = 2", true),
        (
            "UPDATE events SET correlation_before = 9 WHERE position = 4",
            false,
        ),
    ] {
        let (_folder, path) = fresh();
        let log = filled(&path);
        let other = Connection::open(&path).unwrap();
        other.execute(change, ()).unwrap();
        let answer = if of_stream {
            log.read_stream("a", 0)
        } else {
            log.read_correlated("work_1", Position(0))
        };
        assert!(
            matches!(answer, Err(Error::Damaged(_))),
            "{change}: {answer:?}"
        );
    }
}

#[test]
fn what_cannot_be_understood_is_damage_when_read() {
    let (_folder, path) = fresh();
    let log = filled(&path);
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE events SET id = x'00' WHERE position = 2", ())
        .unwrap();
    assert!(matches!(log.read_stream("a", 0), Err(Error::Damaged(_))));
    assert_eq!(log.read_stream("b", 0).unwrap().len(), 3);
}

#[test]
fn a_file_with_overwritten_pages_is_damaged() {
    let (_folder, path) = fresh();
    let log = SqliteLog::open(&path).unwrap();
    for number in 0..200 {
        log.append(batch([append("a", number, [number])])).unwrap();
    }
    drop(log);
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0xa5;
    }
    fs::write(&path, bytes).unwrap();
    let answer = SqliteLog::open(&path).and_then(|it| it.verify());
    assert!(matches!(answer, Err(Error::Damaged(_))), "{answer:?}");
}

#[test]
fn a_foreign_or_newer_file_is_refused_and_left_alone() {
    let (_folder, path) = fresh();
    drop(filled(&path));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let before = fs::read(&path).unwrap();
    let answer = SqliteLog::open(&path);
    assert!(
        matches!(&answer, Err(Error::Format { found, known }) if found == "2" && known == "1"),
        "{answer:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);

    for (change, wanted) in [
        ("UPDATE meta SET format = 999", "999, by its own words"),
        (
            "UPDATE meta SET chain = ''",
            "chained otherwise, by its own words",
        ),
        ("DELETE FROM meta", "without a word of its own"),
    ] {
        let (_folder, path) = fresh();
        drop(filled(&path));
        Connection::open(&path)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let answer = SqliteLog::open(&path);
        assert!(
            matches!(&answer, Err(Error::Format { found, .. }) if found == wanted),
            "{answer:?}"
        );
    }

    let (_folder, path) = fresh();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE photographs (name TEXT)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let answer = SqliteLog::open(&path);
    assert!(matches!(answer, Err(Error::Format { .. })), "{answer:?}");
    assert_eq!(fs::read(&path).unwrap(), before);

    let (_folder, path) = fresh();
    fs::write(
        &path,
        "a diary, not a database, and certainly no log\n".repeat(9),
    )
    .unwrap();
    let answer = SqliteLog::open(&path);
    assert!(matches!(answer, Err(Error::Damaged(_))), "{answer:?}");
}

#[test]
fn a_missing_folder_that_cannot_be_made_is_told() {
    let (folder, _) = fresh();
    fs::write(folder.path().join("file"), b"").unwrap();
    let answer = SqliteLog::open(&folder.path().join("file/log.db"));
    assert!(matches!(answer, Err(Error::Io { .. })), "{answer:?}");
}

#[test]
fn processes_that_open_a_missing_log_at_once_all_succeed() {
    let (_folder, path) = fresh();
    std::thread::scope(|scope| {
        for thread in 0..8_u128 {
            let path = &path;
            scope.spawn(move || {
                let log = SqliteLog::open(path).unwrap();
                log.append(batch([append(&format!("s/{thread}"), 0, [thread])]))
                    .unwrap();
            });
        }
    });
    let log = SqliteLog::open(&path).unwrap();
    assert_eq!(log.head().unwrap(), Position(8));
    assert_eq!(log.verify().unwrap().broken, []);
}

#[test]
fn the_size_is_told() {
    let (_folder, path) = fresh();
    let log = filled(&path);
    let size = log.size().unwrap();
    assert_eq!((size.events, size.pending), (6, 1));
    assert!(size.bytes > size.bytes_free);
}
