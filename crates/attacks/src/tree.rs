//! Fingerprints of folders: what must be the same before and after.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What lies at each path, in a line.
pub(crate) type Fingerprint = BTreeMap<PathBuf, String>;

/// Returns the fingerprint of everything beneath a folder but what `leaves_out` names.
pub(crate) fn fingerprint(top: &Path, leaves_out: &dyn Fn(&Path) -> bool) -> Fingerprint {
    let mut found = Fingerprint::new();
    gather(top, top, leaves_out, &mut found);
    found
}

/// Returns the paths that differ, with what was and what is.
pub(crate) fn differences(before: &Fingerprint, after: &Fingerprint) -> Vec<String> {
    let missing = "nothing".to_owned();
    let mut paths: Vec<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| {
            let was = before.get(path).unwrap_or(&missing);
            let is = after.get(path).unwrap_or(&missing);
            format!("{}: was {was}, is {is}", path.display())
        })
        .collect()
}

fn gather(top: &Path, path: &Path, leaves_out: &dyn Fn(&Path) -> bool, found: &mut Fingerprint) {
    let relative = path.strip_prefix(top).unwrap_or(path);
    if leaves_out(relative) {
        return;
    }
    let Ok(about) = path.symlink_metadata() else {
        found.insert(relative.to_path_buf(), "unreadable".to_owned());
        return;
    };
    if path != top {
        found.insert(relative.to_path_buf(), line(path, &about));
    }
    if about.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            gather(top, &entry.path(), leaves_out, found);
        }
    }
}

/// A folder's own time changes with what is put into it, which is told anyway.
fn line(path: &Path, about: &Metadata) -> String {
    let kind = about.file_type();
    let mode = about.mode();
    if kind.is_symlink() {
        let to = fs::read_link(path).unwrap_or_default();
        return format!("link {}", to.display());
    }
    if kind.is_dir() {
        return format!("folder {mode:o}");
    }
    if !kind.is_file() {
        return format!("special {mode:o} {}", about.rdev());
    }
    let content = fs::read(path).map_or_else(
        |error| error.to_string(),
        |bytes| blake3::hash(&bytes).to_hex().to_string(),
    );
    let (time, links, attributes) = (about.mtime(), about.nlink(), attributes(path));
    format!("file {mode:o} {links} {time} {attributes:?} {content}")
}

fn attributes(path: &Path) -> Vec<u8> {
    let mut names = Vec::with_capacity(4_096);
    match rustix::fs::llistxattr(
        std::ffi::OsStr::from_bytes(path.as_os_str().as_bytes()),
        rustix::buffer::spare_capacity(&mut names),
    ) {
        Ok(_) => names,
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "one").unwrap();
        let look = || fingerprint(dir.path(), &|it| it == Path::new("left-out"));
        let before = look();
        assert_eq!(differences(&before, &look()), Vec::<String>::new());
        fs::write(path("left-out"), "x").unwrap();
        assert_eq!(differences(&before, &look()), Vec::<String>::new());
        fs::write(path("file"), "two").unwrap();
        assert_eq!(differences(&before, &look()).len(), 1);
        fs::write(path("file"), "one").unwrap();
        fs::hard_link(path("file"), path("second")).unwrap();
        assert_eq!(differences(&before, &look()).len(), 2);
        fs::remove_file(path("second")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert_eq!(differences(&before, &look()).len(), 1);
    }
}
