//! What withheld files hold: values that nobody in a cell can know unless a wall has a hole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ports::workspaces::{Error, Withheld};
use secrets::{Watch, held};

use crate::base::{Base, Yard};
use crate::blobs;
use crate::globs::DenyOnly;
use crate::names::{Kind, Name};

/// The most withheld files that are looked at.
const FILES_MAX: usize = 512;

/// The most values that are told.
const VALUES_MAX: usize = 2_000;

/// The most entries of the working tree that are looked at.
const ENTRIES_MAX: usize = 300_000;

/// The most folders in one another.
const DEPTH_MAX: usize = 64;

/// The most bytes of one visible file that are searched for the values.
const SHOWN_BYTES_MAX: u64 = 8 << 20;

/// The most bytes of all visible files together. A value that stands beyond is watched for, and may
/// be taken for a leak though agents can see it: the safe mistake.
const SHOWN_TOTAL_BYTES_MAX: u64 = 1 << 30;

/// The most threads that read at once.
const THREADS_MAX: usize = 8;

/// Returns the values in the base and in the working tree at `root` that no visible file holds.
pub(crate) fn values(
    yard: &Yard<'_>,
    base: &Base,
    root: Option<&Path>,
    globs: &[String],
) -> Result<Vec<Withheld>, Error> {
    let hidden = DenyOnly::of(globs)?;
    let mut found = Vec::new();
    of_base(yard, base, &hidden, &mut found)?;
    if let Some(root) = root {
        of_working_tree(root, &hidden, &mut found);
    }
    let mut seen = BTreeSet::new();
    found.retain(|it: &Withheld| seen.insert(it.value.clone()));
    found.truncate(VALUES_MAX);
    if found.is_empty() {
        return Ok(found);
    }
    let shown = shown(base, &found);
    let mut at = 0;
    found.retain(|_| {
        at += 1;
        !shown.contains(&(at - 1))
    });
    Ok(found)
}

fn of_base(
    yard: &Yard<'_>,
    base: &Base,
    hidden: &DenyOnly,
    found: &mut Vec<Withheld>,
) -> Result<(), Error> {
    let all = yard.names_at(&base.commit)?;
    let is_file = |it: &&Name| matches!(it.kind, Kind::File | Kind::Executable);
    let withheld: Vec<&Name> = all
        .all()
        .iter()
        .filter(is_file)
        .filter(|it| hidden.matches_bytes(&it.path))
        .take(FILES_MAX)
        .collect();
    let objects: Vec<&str> = withheld.iter().map(|it| it.object.as_str()).collect();
    let mut names = withheld.iter();
    let bytes_max = held::FILE_BYTES_MAX;
    blobs::each(yard.git, yard.own, &objects, bytes_max, |_, bytes| {
        if let Some(name) = names.next() {
            keep(&String::from_utf8_lossy(&name.path), &bytes, found);
        }
        Ok(())
    })
}

/// What cannot be read is passed over: it is the operator's, and no agent's.
fn of_working_tree(root: &Path, hidden: &DenyOnly, found: &mut Vec<Withheld>) {
    let (mut entries, mut files) = (0_usize, 0_usize);
    let mut folders: Vec<(PathBuf, usize)> = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(listed) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in listed.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX || files >= FILES_MAX {
                return;
            }
            let path = entry.path();
            let (Ok(kind), Ok(name)) = (entry.file_type(), path.strip_prefix(root)) else {
                continue;
            };
            if kind.is_dir() && entry.file_name() != ".git" && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if kind.is_file() && hidden.matches_bytes(name.as_os_str().as_bytes()) {
                files += 1;
                let bytes_max = u64::try_from(held::FILE_BYTES_MAX).unwrap_or(u64::MAX);
                if let Some(bytes) = read(&path, bytes_max) {
                    keep(&name.to_string_lossy(), &bytes, found);
                }
            }
        }
    }
}

fn keep(path: &str, bytes: &[u8], found: &mut Vec<Withheld>) {
    found.extend(held::values(bytes).into_iter().map(|value| Withheld {
        path: path.to_owned(),
        value,
    }));
}

/// Returns which of the values visible files of the base hold, by their place in the list.
fn shown(base: &Base, values: &[Withheld]) -> BTreeSet<usize> {
    let named: Vec<(String, &[u8])> = values
        .iter()
        .enumerate()
        .map(|(at, it)| (at.to_string(), it.value.as_slice()))
        .collect();
    let watch = Watch::of(named.iter().map(|(name, value)| (name.as_str(), *value)));
    let state = Mutex::new((base.names.all().iter(), 0_u64));
    let found = Mutex::new(BTreeSet::new());
    let next = || {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 > SHOWN_TOTAL_BYTES_MAX {
            return None;
        }
        let name = state.0.next()?;
        state.1 = state.1.saturating_add(name.bytes.min(SHOWN_BYTES_MAX));
        Some(name)
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(name) = next() {
                    if !matches!(name.kind, Kind::File | Kind::Executable) {
                        continue;
                    }
                    let place = base.file(&name.path);
                    if let Some(bytes) = place.and_then(|it| read(&it, SHOWN_BYTES_MAX)) {
                        let owners = watch.all(&bytes);
                        let owners = owners.iter().filter_map(|it| it.parse::<usize>().ok());
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.extend(owners);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the beginning of a regular file, not through a link and without waiting.
fn read(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).ok()?)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
