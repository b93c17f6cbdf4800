//! What an agent is told while it works: files in its brief, which the engine adds one by one.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use domain::MessageId;
use serde::Deserialize;
use serde_json::Value;

/// The folder of messages in the brief.
pub(crate) const FOLDER: &str = "messages";

/// Between two looks for a message that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The folder or a message in it could not be read.
    #[error("the messages in the brief cannot be read")]
    Read(#[source] io::Error),
    /// They could not be printed.
    #[error("the messages cannot be printed")]
    Print(#[source] io::Error),
}

/// Prints the messages in the order in which they were sent, one line each.
pub(super) fn print(brief: &Path, open: bool, wait: bool) -> Result<ExitCode, Error> {
    loop {
        let found = read(&brief.join(FOLDER), open).map_err(Error::Read)?;
        if found.is_empty() && wait {
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        let mut out = io::stdout().lock();
        for line in found {
            writeln!(out, "{line}").map_err(Error::Print)?;
        }
        return out
            .flush()
            .map_err(Error::Print)
            .map(|()| ExitCode::SUCCESS);
    }
}

/// Waits until messages want an acknowledgement, and returns which.
pub(super) fn wait(brief: &Path) -> Result<Vec<MessageId>, Error> {
    loop {
        let lines = read(&brief.join(FOLDER), true).map_err(Error::Read)?;
        if lines.is_empty() {
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        return lines
            .iter()
            .map(|line| Ok(serde_json::from_str::<Named>(line)?.id))
            .collect::<io::Result<_>>()
            .map_err(Error::Read);
    }
}

/// Returns the messages that want an acknowledgement, one line each.
pub(crate) fn open(brief: &Path) -> io::Result<Vec<String>> {
    read(&brief.join(FOLDER), true)
}

/// What a message is called.
#[derive(Deserialize)]
struct Named {
    id: MessageId,
}

fn read(folder: &Path, open: bool) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.map(|it| it.file_name()))
        .collect::<io::Result<_>>()?;
    names.retain(|it| Path::new(it).extension().is_some_and(|it| it == "json"));
    names.sort();
    let mut lines = Vec::new();
    for name in names {
        let message: Value = serde_json::from_slice(&fs::read(folder.join(name))?)?;
        let waits = message
            .get("acknowledge_within_ms")
            .is_some_and(|it| !it.is_null())
            && message.get("state").and_then(Value::as_str) == Some("delivered");
        if waits || !open {
            lines.push(message.to_string());
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_open_ones_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none"), false).unwrap(), [""; 0]);
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "0002.json",
            r#"{"id":"b","acknowledge_within_ms":1,"state":"delivered"}"#,
        );
        write(
            "0001.json",
            r#"{"id":"a","acknowledge_within_ms":null,"state":"delivered"}"#,
        );
        write(
            "0003.json",
            r#"{"id":"c","acknowledge_within_ms":1,"state":"acknowledged"}"#,
        );
        write(".0004.json.tmp", "half");
        let ids = |open| -> Vec<String> {
            let lines = read(folder.path(), open).unwrap();
            let id = |line: &String| {
                let value: Value = serde_json::from_str(line).unwrap();
                value["id"].as_str().unwrap().to_owned()
            };
            lines.iter().map(id).collect()
        };
        assert_eq!(ids(false), ["a", "b", "c"]);
        assert_eq!(ids(true), ["b"]);
    }
}
