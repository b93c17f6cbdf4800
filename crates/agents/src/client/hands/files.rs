//! Files that an agent program leaves to its client: text, regular, bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::Fault;
use crate::json_rpc::{INTERNAL_ERROR, INVALID_PARAMS, NOT_FOUND};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What reading a file comes to that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An error, as the protocol has it.
    IsAnError,
    /// An empty text: some programs give up a new file otherwise.
    IsEmpty,
}

/// Reads a file, or some of its lines.
pub(super) fn read(params: &Value, missing: Missing) -> Result<Value, Fault> {
    let path = named(params)?;
    let file = match open(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match missing {
                Missing::IsEmpty => Ok(json!({"content": ""})),
                Missing::IsAnError => Err(Fault::of(NOT_FOUND, format!("`{path}` is not there"))),
            };
        }
        Err(error) => return Err(failed("read", path, &error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed("read", path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let told = format!("`{path}` is over {FILE_BYTES_MAX} bytes: look at parts of it");
        return Err(Fault::of(INTERNAL_ERROR, told));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::of(INTERNAL_ERROR, format!("`{path}` is no UTF-8 text")))?;
    let content = match (params["line"].as_u64(), params["limit"].as_u64()) {
        (None, None) => text,
        (line, limit) => {
            let count = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
            let before = count(line.unwrap_or(1).saturating_sub(1));
            let lines = text.split_inclusive('\n').skip(before);
            lines.take(limit.map_or(usize::MAX, count)).collect()
        }
    };
    Ok(json!({"content": content}))
}

/// Writes a file, with its folders.
pub(super) fn write(params: &Value) -> Result<Value, Fault> {
    let path = named(params)?;
    let content = params["content"]
        .as_str()
        .ok_or_else(|| Fault::of(INVALID_PARAMS, "`content` is the whole text of the file"))?;
    let put = || -> io::Result<()> {
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = open(OpenOptions::new().write(true).create(true), path)?;
        file.set_len(0)?;
        file.write_all(content.as_bytes())
    };
    put().map_err(|error| failed("written", path, &error))?;
    Ok(json!({}))
}

fn named(params: &Value) -> Result<&str, Fault> {
    let path = params["path"].as_str().filter(|it| !it.is_empty());
    path.ok_or_else(|| Fault::of(INVALID_PARAMS, "`path` names the file"))
}

/// Opens a regular file; waits for nobody at the other end of a pipe.
fn open(options: &mut OpenOptions, path: &str) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file"))
}

fn failed(done: &str, path: &str, error: &io::Error) -> Fault {
    Fault::of(
        INTERNAL_ERROR,
        format!("`{path}` cannot be {done}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn told(result: Result<Value, Fault>) -> String {
        result.unwrap_err().told
    }

    #[test]
    fn texts_are_written_and_read_whole_or_by_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/file");
        let text = "one\ntwo\nthree";
        let params = json!({"path": path, "content": "a longer text that was there before"});
        write(&params).unwrap();
        write(&json!({"path": path, "content": text})).unwrap();
        let content = |line: Value, limit: Value| {
            let params = json!({"path": path, "line": line, "limit": limit});
            read(&params, Missing::IsAnError).unwrap()["content"].take()
        };
        assert_eq!(content(Value::Null, Value::Null), text);
        assert_eq!(content(json!(2), Value::Null), "two\nthree");
        assert_eq!(content(json!(2), json!(1)), "two\n");
        assert_eq!(content(json!(0), json!(1)), "one\n");
        assert_eq!(content(json!(9), json!(9)), "");
        assert_eq!(content(json!(u64::MAX), json!(u64::MAX)), "");
    }

    #[test]
    fn what_is_no_text_file_is_refused_and_waited_for_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| json!({"path": folder.path().join(name), "content": "x"});
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::write(folder.path().join("bytes"), b"\xff").unwrap();
        let large = File::create(folder.path().join("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        for (name, why) in [
            ("fifo", "no regular file"),
            ("bytes", "UTF-8"),
            ("large", "over 4194304 bytes"),
            ("", "no regular file"),
        ] {
            let said = told(read(&at(name), Missing::IsEmpty));
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(told(write(&at("fifo"))).contains("cannot be written"));
        assert!(told(write(&at("bytes/beneath"))).contains("cannot be written"));
        for params in [
            json!({}),
            json!({"path": ""}),
            json!({"path": 7}),
            Value::Null,
        ] {
            assert!(told(read(&params, Missing::IsEmpty)).contains("names the file"));
        }
        let params = json!({"path": folder.path().join("x")});
        assert!(told(write(&params)).contains("whole text"));
    }

    #[test]
    fn a_missing_file_is_an_error_or_an_empty_text() {
        let params = json!({"path": "/nonexistent/file"});
        let fault = read(&params, Missing::IsAnError).unwrap_err();
        assert_eq!(fault.code, NOT_FOUND);
        assert_eq!(read(&params, Missing::IsEmpty).unwrap()["content"], "");
    }
}
