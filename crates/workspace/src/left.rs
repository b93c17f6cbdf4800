//! A file that a session left, read once, without following links and without waiting.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ports::workspaces::Error;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::disk::failed;

/// Returns the content of `path` below `root`, if it is a regular file of at most `bytes_max`.
pub(crate) fn read(root: &Path, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
    let doing = || format!("reading `{path}` of a session");
    let folder = File::open(root).map_err(failed(doing()))?;
    let opened = rustix::fs::openat2(
        &folder,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    );
    let file = match opened {
        Ok(file) => file,
        // Not there, a link on the way, a socket: nothing that counts as a file.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(doing())(error.into())),
    };
    let facts = rustix::fs::fstat(&file).map_err(|error| failed(doing())(error.into()))?;
    let size = u64::try_from(facts.st_size).unwrap_or(u64::MAX);
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile || size > bytes_max {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let limit = bytes_max.saturating_add(1);
    File::from(file)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(failed(doing()))?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|it| it <= bytes_max);
    Ok(fits.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_regular_file_within_the_cap_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/report.xml"), "four").unwrap();
        std::fs::write(folder.path().join("outside"), "secret").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        assert_eq!(
            read(&root, "a/report.xml", 4).unwrap(),
            Some(b"four".to_vec())
        );
        for path in [
            "a/report.xml/x",
            "link",
            "etc/passwd",
            "../outside",
            "gone",
            "a",
        ] {
            assert_eq!(read(&root, path, 100).unwrap(), None, "{path}");
        }
        assert_eq!(read(&root, "a/report.xml", 3).unwrap(), None);
    }
}
