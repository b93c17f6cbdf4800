//! Reading: everything that is found is printed, for the suite to look for its canaries in.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use super::Answer;

/// Most bytes that are printed of one file.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Most folders in one another that are searched.
const DEPTH_MAX: usize = 8;

pub(super) fn act(verb: &str, words: &[&str]) -> Option<Answer> {
    match (verb, words) {
        ("read", paths) => Some(first_error(
            paths.iter().map(|path| all(Path::new(path), 0)),
        )),
        ("read-of-every-process", [file]) => Some(of_every_process(file).into()),
        ("read-descriptors", []) => Some(descriptors().into()),
        ("read-listing", [path]) => Some(listing(Path::new(path)).into()),
        ("read-by-handle", [path, into]) => Some(through_a_link(path, into).into()),
        ("run", [program, arguments @ ..]) => Some(run(program, arguments).into()),
        _ => None,
    }
}

/// Prints a file, or every file beneath a folder.
fn all(path: &Path, depth: usize) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        if depth < DEPTH_MAX {
            for entry in fs::read_dir(path)?.flatten() {
                // One that cannot be read does not keep us from the next.
                drop(all(&entry.path(), depth + 1));
            }
        }
        return Ok(());
    }
    print(path)
}

fn print(path: &Path) -> io::Result<()> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes);
    io::stdout().write_all(&bytes)?;
    read.map(drop)
}

fn of_every_process(file: &str) -> io::Result<()> {
    let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            found = print(&entry.path().join(file)).or(found);
        }
    }
    found
}

/// Reads whatever is open beside the three streams.
fn descriptors() -> io::Result<()> {
    let mut found = Err(io::Error::from(io::ErrorKind::NotFound));
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let number: u32 = entry
            .file_name()
            .to_str()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        // Whoever reads a socket or a pipe waits for somebody to write.
        let waits = fs::read_link(entry.path()).is_ok_and(|it| {
            let it = it.to_string_lossy();
            it.starts_with("socket:") || it.starts_with("pipe:")
        });
        if number > 2 && !waits {
            // By the number: the path leads to nowhere from in here.
            found = run("/bin/sh", &["-c", &format!("cat <&{number}")]).or(found);
        }
    }
    found
}

/// Prints the names in a folder.
fn listing(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        writeln!(io::stdout(), "{}", entry?.path().display())?;
    }
    Ok(())
}

/// Reads through a link of our own making.
fn through_a_link(path: &str, link: &str) -> io::Result<()> {
    std::os::unix::fs::symlink(path, link)?;
    all(Path::new(link), 0)
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    io::stdout().write_all(&output.stdout)?;
    io::stdout().write_all(&output.stderr)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(output.status.to_string()))
    }
}

fn first_error(results: impl Iterator<Item = io::Result<()>>) -> Answer {
    let mut first = Ok(());
    for result in results {
        first = first.and(result);
    }
    first.into()
}
