//! Shaping: things in a tree that a careless collector would stumble over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use super::Answer;

pub(super) fn act(verb: &str, words: &[&str]) -> Option<Answer> {
    let result = match (verb, words) {
        ("make-fifo", [path]) => node(path, FileType::Fifo, 0),
        ("make-device", [path]) => node(path, FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
        ("make-disk", [path]) => node(path, FileType::BlockDevice, rustix::fs::makedev(8, 0)),
        ("make-whiteout", [path]) => node(path, FileType::CharacterDevice, 0),
        ("make-socket", [path]) => return Some(listening(path)),
        ("make-sparse", [path, bytes]) => sparse(path, bytes),
        ("make-files", [folder, count]) => files(Path::new(folder), count),
        ("make-questions", [folder, count, text]) => questions(Path::new(folder), count, text),
        ("make-long-names", [folder]) => long_names(Path::new(folder)),
        ("make-deep", [folder, count]) => deep(folder, count),
        ("make-not-text", [folder]) => not_text(Path::new(folder)),
        ("make-loop", [folder]) => circle(Path::new(folder)),
        ("make-giant", [path, bytes, text]) => giant(path, bytes, text),
        ("make-second-name", [path, name, text]) => {
            fs::write(path, text).and_then(|()| fs::hard_link(path, name))
        }
        _ => return None,
    };
    Some(result.into())
}

fn node(path: &str, kind: FileType, device: u64) -> io::Result<()> {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device)?;
    Ok(())
}

fn listening(path: &str) -> Answer {
    match UnixListener::bind(path) {
        Ok(listener) => Answer::holding(listener),
        Err(error) => Answer::said(error.to_string()),
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}

fn sparse(path: &str, bytes: &str) -> io::Result<()> {
    File::create(path)?.set_len(number(bytes)?)
}

fn files(folder: &Path, count: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for count in 0..number(count)? {
        File::create(folder.join(count.to_string()))?;
    }
    Ok(())
}

fn questions(folder: &Path, count: &str, text: &str) -> io::Result<()> {
    for count in 0..number(count)? {
        fs::write(folder.join(format!("{count:06}.md")), text)?;
    }
    Ok(())
}

/// Names and a path as long as the kernel permits.
fn long_names(folder: &Path) -> io::Result<()> {
    let name = "n".repeat(255);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("f".repeat(255)), "")?;
    descend(folder.as_os_str().as_bytes(), name.as_bytes(), 20)
}

/// Folders in one another, far deeper than a path can name.
fn deep(folder: &str, count: &str) -> io::Result<()> {
    descend(folder.as_bytes(), b"d", number(count)?)
}

fn descend(start: &[u8], name: &[u8], count: u64) -> io::Result<()> {
    fs::create_dir_all(OsStr::from_bytes(start))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder: OwnedFd = openat(CWD, start, flags, Mode::empty())?;
    for _ in 0..count {
        mkdirat(&folder, name, Mode::RWXU)?;
        folder = openat(&folder, name, flags, Mode::empty())?;
    }
    Ok(())
}

fn not_text(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in [&b"\xff\xfe"[..], b"\xc3\x28", b"a\xed\xa0\x80"] {
        fs::write(folder.join(OsStr::from_bytes(name)), "")?;
    }
    Ok(())
}

fn circle(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    std::os::unix::fs::symlink("two", folder.join("one"))?;
    std::os::unix::fs::symlink("one", folder.join("two"))
}

/// A large file whose last words are `text`.
fn giant(path: &str, bytes: &str, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    let filling = vec![b'.'; 64 << 10];
    let mut left = number(bytes)?;
    while left > 0 {
        let part = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(filling.len());
        file.write_all(filling.get(..part).unwrap_or_default())?;
        left -= part as u64;
    }
    file.write_all(text.as_bytes())
}
