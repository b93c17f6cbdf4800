//! Programs by name: where those that a plan and a role name are inside a cell.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::settings::Mount;

/// Where the named programs are offered inside a cell; all of its `PATH` when any are named.
pub(super) const FOLDER: &str = "/palisade/tools";

/// The variable that says where programs are looked for.
pub(super) const PATH: &str = "PATH";

/// Where programs are looked for when the settings do not say.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The host's folders that every cell shows at the same place.
const SYSTEM_FOLDERS: [&str; 7] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
];

/// The most links that are followed on the way to one program.
const LINKS_MAX: usize = 40;

/// Returns where each program is inside a cell that shows these mounts.
///
/// # Errors
/// Names every program that is not there, and where it was looked for.
pub(super) fn find<'a>(
    names: impl Iterator<Item = &'a str>,
    env: &BTreeMap<String, String>,
    mounts: &[Mount],
) -> Result<BTreeMap<String, PathBuf>, String> {
    let path = env.get(PATH).map_or(SYSTEM_PATH, String::as_str);
    let folders: Vec<_> = path.split(':').filter(|it| !it.is_empty()).collect();
    let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
    for name in names {
        let mut places = folders.iter().map(|it| Path::new(it).join(name));
        match places.find(|it| is_program(it, mounts)) {
            Some(place) => {
                found.insert(name.to_owned(), place);
            }
            None => missing.push(format!("`{name}`")),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    missing.dedup();
    Err(format!(
        "{} cannot be found in the cell, in none of {}; mount its folder and add it to `path` in \
         palisade.toml, or take it off the plan's `commands` and the role's `tools`",
        missing.join(", "),
        folders.join(", "),
    ))
}

fn is_program(place: &Path, mounts: &[Mount]) -> bool {
    let facts = on_host(place, mounts).and_then(|it| std::fs::metadata(it).ok());
    facts.is_some_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// Returns what a path inside a cell is on the host, links followed as they lead inside the cell.
fn on_host(inside: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let mut ahead = components(inside);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let source = shown(&next, mounts);
        let is_mount = mounts.iter().any(|it| it.target == next);
        let leads = source
            .as_ref()
            .filter(|_| !is_mount)
            .and_then(|it| std::fs::read_link(it).ok());
        let Some(target) = leads else {
            // A folder that only leads to a mount is the cell's own.
            let is_way = mounts.iter().any(|it| it.target.starts_with(&next));
            if source.is_none()
                && !is_way
                && !SYSTEM_FOLDERS
                    .iter()
                    .any(|it| Path::new(it).starts_with(&next))
            {
                return None;
            }
            here = next;
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return None;
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for name in components(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    shown(&here, mounts)
}

fn components(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|it| match it {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    named.map(OsStr::to_os_string).collect()
}

/// Returns the host's path behind a place of the cell that no link leads away from.
fn shown(inside: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let deepest = mounts
        .iter()
        .filter(|it| inside.starts_with(&it.target))
        .max_by_key(|it| it.target.components().count());
    match deepest {
        Some(mount) => {
            let rest = inside.strip_prefix(&mount.target).ok()?;
            Some(if rest.as_os_str().is_empty() {
                mount.source.clone()
            } else {
                mount.source.join(rest)
            })
        }
        None => SYSTEM_FOLDERS
            .iter()
            .any(|it| inside.starts_with(it))
            .then(|| inside.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Host {
        folder: tempfile::TempDir,
        mounts: Vec<Mount>,
    }

    impl Host {
        /// A host whose folder `tools` is at `/opt/tools` in the cell.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let source = folder.path().join("tools");
            fs::create_dir_all(source.join("bin")).unwrap();
            let mount = Mount {
                source,
                target: "/opt/tools".into(),
                layer: None,
            };
            Self {
                folder,
                mounts: vec![mount],
            }
        }

        fn put(&self, path: &str, mode: u32) {
            let path = self.folder.path().join(path);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn find(&self, names: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
            let path = "/opt/tools/bin:/usr/bin:/bin".to_owned();
            let env = BTreeMap::from([(PATH.to_owned(), path)]);
            find(names.iter().copied(), &env, &self.mounts)
        }
    }

    #[test]
    fn programs_are_found_in_the_order_of_the_path() {
        let host = Host::new();
        host.put("tools/bin/cargo", 0o755);
        host.put("tools/bin/env", 0o755);
        let found = host.find(&["cargo", "env", "sh"]).unwrap();
        assert_eq!(found["cargo"], Path::new("/opt/tools/bin/cargo"));
        assert_eq!(found["env"], Path::new("/opt/tools/bin/env"));
        assert!(found["sh"].ends_with("bin/sh"), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_told_with_where_it_was_looked_for() {
        let host = Host::new();
        host.put("tools/bin/notes", 0o644);
        let told = host.find(&["sh", "no-such", "notes"]).unwrap_err();
        for word in ["`no-such`, `notes`", "/opt/tools/bin, /usr/bin, /bin"] {
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn links_are_followed_as_they_lead_inside_the_cell() {
        let host = Host::new();
        let bin = host.folder.path().join("tools/bin");
        host.put("tools/bin/rustup", 0o755);
        host.put("outside", 0o755);
        symlink("rustup", bin.join("cargo")).unwrap();
        symlink("/opt/tools/bin/cargo", bin.join("absolute")).unwrap();
        symlink("../../outside", bin.join("relative")).unwrap();
        symlink(host.folder.path().join("outside"), bin.join("away")).unwrap();
        symlink("loop", bin.join("loop")).unwrap();
        assert_eq!(host.find(&["cargo", "absolute"]).unwrap().len(), 2);
        for name in ["relative", "away", "loop"] {
            host.find(&[name]).unwrap_err();
        }
    }
}
