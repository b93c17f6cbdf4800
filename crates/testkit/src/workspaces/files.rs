//! Files of a tree as a map, and the way of that map to folders and back.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path};

use domain::Digest;
use domain::tree::{Change, Commit, Entry, Rule, Tree};
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

/// What is at each path; never [`Entry::Deleted`].
pub(super) type Files = BTreeMap<String, Entry>;

/// Returns the tree of a base with this manifest.
pub(super) fn tree(base: &Commit, manifest: Option<Digest>) -> Tree {
    let text = format!("memory tree\n{base}\n{manifest:?}\n");
    let digest = Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
    Tree {
        base: base.clone(),
        manifest,
        digest,
    }
}

/// Returns what leads from one map to the other, sorted by path.
pub(super) fn difference(from: &Files, to: &Files) -> Vec<Change> {
    let changed = to.iter().filter(|(path, it)| from.get(*path) != Some(it));
    let mut changes: BTreeMap<String, Entry> = changed
        .map(|(path, it)| (path.clone(), it.clone()))
        .collect();
    let gone = from.keys().filter(|it| !to.contains_key(*it));
    changes.extend(gone.map(|path| (path.clone(), Entry::Deleted)));
    let changes = changes.into_iter();
    changes
        .map(|(path, entry)| Change { path, entry })
        .collect()
}

/// Carries changes out.
pub(super) fn apply(files: &mut Files, changes: &[Change]) {
    for change in changes {
        match &change.entry {
            Entry::Deleted => drop(files.remove(&change.path)),
            entry @ (Entry::File { .. } | Entry::Symlink { .. } | Entry::Foreign { .. }) => {
                files.insert(change.path.clone(), entry.clone());
            }
        }
    }
}

/// Puts an entry, or nothing, at a path; what cannot stand beside it goes.
pub(super) fn place(files: &mut Files, path: &str, entry: Option<&Entry>) {
    let Some(entry) = entry else {
        files.remove(path);
        return;
    };
    let beneath = format!("{path}/");
    files
        .retain(|other, _| !other.starts_with(&beneath) && !path.starts_with(&format!("{other}/")));
    files.insert(path.to_owned(), entry.clone());
}

pub(super) const fn bytes_of(entry: &Entry) -> u64 {
    match entry {
        Entry::File { bytes, .. } => *bytes,
        Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => 0,
    }
}

/// Lays an overlay's upper folder over the files.
pub(super) fn lay_over(
    files: &mut Files,
    upper: &Path,
    artifacts: &dyn Artifacts,
) -> Result<(), Error> {
    walk(files, upper, "", artifacts)
}

fn walk(
    files: &mut Files,
    folder: &Path,
    inside: &str,
    artifacts: &dyn Artifacts,
) -> Result<(), Error> {
    let failed = || failed(format!("reading {}", folder.display()));
    for found in fs::read_dir(folder).map_err(failed())? {
        let found = found.map_err(failed())?;
        let name = found.file_name();
        let Some(name) = name.to_str() else {
            let path = format!("{inside}{}", name.as_bytes().escape_ascii());
            let what = "a name that is not UTF-8".to_owned();
            place(
                files,
                &path,
                Some(&Entry::Foreign {
                    what,
                    rule: Rule::FileType,
                }),
            );
            continue;
        };
        let path = format!("{inside}{name}");
        let facts = fs::symlink_metadata(found.path()).map_err(failed())?;
        let kind = facts.file_type();
        if kind.is_dir() {
            files.remove(&path);
            walk(files, &found.path(), &format!("{path}/"), artifacts)?;
        } else if kind.is_char_device() && facts.rdev() == 0 {
            let beneath = format!("{path}/");
            files.retain(|other, _| *other != path && !other.starts_with(&beneath));
        } else if kind.is_symlink() {
            let target = fs::read_link(found.path()).map_err(failed())?;
            let target = target.to_string_lossy().into_owned();
            place(files, &path, Some(&Entry::Symlink { target }));
        } else if kind.is_file() {
            let bytes = fs::read(found.path()).map_err(failed())?;
            let content = artifacts.put(&bytes).map_err(super::store(&path))?;
            let entry = Entry::File {
                content,
                bytes: facts.len(),
                executable: facts.permissions().mode() & 0o100 != 0,
            };
            place(files, &path, Some(&entry));
        } else {
            let what = "a device, socket or pipe".to_owned();
            place(
                files,
                &path,
                Some(&Entry::Foreign {
                    what,
                    rule: Rule::FileType,
                }),
            );
        }
    }
    Ok(())
}

/// Writes all files into a new folder; what is foreign is left out.
pub(super) fn write(folder: &Path, files: &Files, artifacts: &dyn Artifacts) -> Result<(), Error> {
    make(folder)?;
    for (path, entry) in files {
        let place = folder.join(path);
        let doing = || format!("writing {}", place.display());
        if let Some(above) = place.parent() {
            make(above)?;
        }
        match entry {
            Entry::File {
                content,
                executable,
                bytes: _,
            } => {
                let bytes = artifacts.get(content).map_err(super::store(path))?;
                fs::write(&place, bytes).map_err(failed(doing()))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&place, fs::Permissions::from_mode(mode))
                    .map_err(failed(doing()))?;
            }
            Entry::Symlink { target } => symlink(target, &place).map_err(failed(doing()))?,
            Entry::Deleted | Entry::Foreign { .. } => {}
        }
    }
    Ok(())
}

/// Returns a regular file's content, if it is one and within the cap.
pub(super) fn read(root: &Path, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut at = root.to_owned();
    for part in Path::new(path).components() {
        let Component::Normal(part) = part else {
            return Ok(None);
        };
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(facts) if facts.is_dir() || facts.is_file() && facts.len() <= bytes_max => {}
            Ok(_) => return Ok(None),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(format!("reading `{path}`"))(error)),
        }
    }
    if at.is_dir() {
        return Ok(None);
    }
    fs::read(&at)
        .map(Some)
        .map_err(failed(format!("reading `{path}`")))
}

/// Shows each changed file whole, at most so many bytes.
pub(super) fn diff(
    before: &Files,
    changes: &[Change],
    artifacts: &dyn Artifacts,
    bytes_max: usize,
) -> Result<String, Error> {
    let mut text = String::new();
    let lines = |sign: char, entry: Option<&Entry>| -> Result<String, Error> {
        let Some(Entry::File { content, .. }) = entry else {
            return Ok(String::new());
        };
        let bytes = artifacts.get(content).map_err(super::store("a file"))?;
        let whole = String::from_utf8_lossy(&bytes).into_owned();
        Ok(whole
            .lines()
            .fold(String::new(), |all, it| all + &format!("{sign}{it}\n")))
    };
    for Change { path, entry } in changes {
        let head = format!("diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n");
        text.push_str(&head);
        text.push_str(&lines('-', before.get(path))?);
        text.push_str(&lines('+', Some(entry))?);
    }
    if text.len() > bytes_max {
        let note = "\n[cut]\n";
        let mut end = bytes_max.saturating_sub(note.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(note);
    }
    Ok(text)
}

/// Makes a folder and those above it.
pub(super) fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(failed(format!("making {}", folder.display())))
}

/// Removes a folder, if there is one.
pub(super) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(failed(format!("removing {}", folder.display()))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(doing: String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { doing, source }
}
