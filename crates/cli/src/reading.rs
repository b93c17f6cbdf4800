//! Files of text that somebody else may have made: only regular ones, and never without end.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};

/// The most bytes of one file.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file of the repository, such as `.palisade/gates.toml`: no part of the way is a link,
/// since whoever writes the repository chooses where a link leads.
pub(crate) fn of_repository(root: &Path, name: &str) -> io::Result<String> {
    let folder = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&folder, name, flags, Mode::empty(), resolve) {
        Ok(file) => text(File::from(file)),
        Err(rustix::io::Errno::LOOP) => Err(io::Error::other(
            "it is a link, or lies behind one; put the file itself there",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Reads a file that the operator names; links are followed.
pub(crate) fn named(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    text(openat(rustix::fs::CWD, path, flags, Mode::empty())?.into())
}

fn text(file: File) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it has over {BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_link_of_a_repository() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::write(path("plain"), "text").unwrap();
        std::os::unix::fs::symlink(path("plain"), path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("folder"), path("behind")).unwrap();
        std::fs::write(path("folder/file"), "inside").unwrap();
        let fifo = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), fifo).unwrap();
        std::fs::write(path("large"), "a".repeat((1 << 20) + 1)).unwrap();

        assert_eq!(of_repository(root.path(), "plain").unwrap(), "text");
        assert_eq!(of_repository(root.path(), "folder/file").unwrap(), "inside");
        for name in [
            "link",
            "endless",
            "fifo",
            "large",
            "folder",
            "behind/file",
            "../x",
        ] {
            assert!(of_repository(root.path(), name).is_err(), "{name}");
        }
        let absent = of_repository(root.path(), "absent").unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        assert_eq!(named(&path("link")).unwrap(), "text");
        for name in ["endless", "fifo", "large", "folder", "absent"] {
            assert!(named(&path(name)).is_err(), "{name}");
        }
    }
}
