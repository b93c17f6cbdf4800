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
        let mut found = all(brief).map_err(Error::Read)?;
        found.retain(|it| !open || is_open(it));
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
        let mut found = all(brief).map_err(Error::Read)?;
        found.retain(is_open);
        if found.is_empty() {
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        return found
            .iter()
            .map(|it| Ok(Named::deserialize(it)?.id))
            .collect::<io::Result<_>>()
            .map_err(Error::Read);
    }
}

/// Returns the messages that want an acknowledgement, one line each.
pub(crate) fn open(brief: &Path) -> io::Result<Vec<String>> {
    let found = all(brief)?;
    Ok(found
        .iter()
        .filter(|it| is_open(it))
        .map(Value::to_string)
        .collect())
}

/// Returns whether a message wants an acknowledgement and has none.
pub(crate) fn is_open(message: &Value) -> bool {
    !message["acknowledge_within_ms"].is_null() && message["state"] == "delivered"
}

/// What a message is called.
#[derive(Deserialize)]
struct Named {
    id: MessageId,
}

/// Returns all messages in the order in which they were sent.
pub(crate) fn all(brief: &Path) -> io::Result<Vec<Value>> {
    let folder = brief.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.map(|it| it.file_name()))
        .collect::<io::Result<_>>()?;
    names.retain(|it| Path::new(it).extension().is_some_and(|it| it == "json"));
    names.sort();
    names
        .iter()
        .map(|it| Ok(serde_json::from_slice(&fs::read(folder.join(it))?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_open_ones_are_told_apart() {
        let brief = tempfile::tempdir().unwrap();
        assert_eq!(all(brief.path()).unwrap(), [Value::Null; 0]);
        let folder = brief.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
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
        let found = all(brief.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|it| it["id"].clone()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        let lines = open(brief.path()).unwrap();
        assert_eq!(lines, [found[1].to_string()]);
    }
}
