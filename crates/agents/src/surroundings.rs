//! What an agent finds around it: the paths and variables that drivers set and agents read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ports::agents::Task;
use ports::cells::{Access, Bind};

/// The brief, read-only.
pub(crate) const BRIEF: &str = "/brief";
/// The drop, writable.
pub(crate) const DROP: &str = "/.agent";
/// Where the client and a bound agent program are.
pub(crate) const PROGRAMS: &str = "/palisade/bin";
/// The name of the client in [`PROGRAMS`].
pub(crate) const CLIENT: &str = "palisade-agent";

/// Names the signal pipe.
pub(crate) const SIGNALS_VARIABLE: &str = "PALISADE_SIGNALS";
/// Names the longest signal, in bytes.
pub(crate) const SIGNAL_BYTES_VARIABLE: &str = "PALISADE_SIGNAL_BYTES_MAX";
/// Names the brief's folder.
pub(crate) const BRIEF_VARIABLE: &str = "PALISADE_BRIEF";
/// Names the role.
pub(crate) const ROLE_VARIABLE: &str = "PALISADE_ROLE";
/// Names the round.
pub(crate) const ROUND_VARIABLE: &str = "PALISADE_ROUND";
/// Names the session's epoch.
pub(crate) const EPOCH_VARIABLE: &str = "PALISADE_EPOCH";

/// The folders of programs every cell shows from the host.
pub(crate) const SYSTEM_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The host's folders that every cell shows read-only at the same place.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// Adds to a task's cell what every agent program finds: brief, drop, client and variables.
pub(crate) fn furnish(task: &mut Task, client: &Path) {
    let cell = &mut task.cell;
    for (name, value) in [
        (SIGNALS_VARIABLE, format!("{DROP}/{}", crate::channel::NAME)),
        (SIGNAL_BYTES_VARIABLE, task.limits.signal_bytes_max.to_string()),
        (BRIEF_VARIABLE, BRIEF.to_owned()),
        (ROLE_VARIABLE, task.role.clone()),
        (ROUND_VARIABLE, task.round.to_string()),
        (EPOCH_VARIABLE, task.epoch.to_string()),
    ] {
        cell.env.insert(name.to_owned(), value);
    }
    let path = match cell.env.get("PATH") {
        Some(path) => format!("{PROGRAMS}:{path}"),
        None => format!("{PROGRAMS}:{}", SYSTEM_PATH.join(":")),
    };
    cell.env.insert("PATH".to_owned(), path);
    cell.binds.extend([
        bind(&task.brief, BRIEF.into(), Access::ReadOnly),
        bind(&task.drop, DROP.into(), Access::Writable),
        bind(client, Path::new(PROGRAMS).join(CLIENT), Access::ReadOnly),
    ]);
}

/// Returns the path of a host program inside the cell, binding it there if no folder shows it.
///
/// # Errors
/// With the reason, when its name is taken or cannot be said in the cell.
pub(crate) fn admit(task: &mut Task, program: &Path, client: &Path) -> Result<String, String> {
    // Through links: a link in /usr to somewhere else would dangle inside the cell.
    let real = std::fs::canonicalize(program)
        .map_err(|error| format!("`{}` cannot be found: {error}", program.display()))?;
    if shown(task, program) && shown(task, &real) {
        return in_words(&inside(task, program));
    }
    if std::fs::canonicalize(client).is_ok_and(|client| client == real) {
        return in_words(&Path::new(PROGRAMS).join(CLIENT));
    }
    let name = program.file_name().unwrap_or(OsStr::new("agent"));
    if name.as_bytes() == CLIENT.as_bytes() {
        return Err(format!(
            "`{}` has the name of the client every agent finds in {PROGRAMS}; give it another",
            program.display()
        ));
    }
    let target = Path::new(PROGRAMS).join(name);
    task.cell.binds.push(bind(&real, target.clone(), Access::ReadOnly));
    in_words(&target)
}

fn bind(source: &Path, target: PathBuf, access: Access) -> Bind {
    Bind {
        source: source.to_owned(),
        target,
        access,
    }
}

fn shown(task: &Task, path: &Path) -> bool {
    SYSTEM_FOLDERS.iter().any(|it| path.starts_with(it))
        || host_folders(task).any(|(source, _)| path.starts_with(source))
}

fn inside(task: &Task, path: &Path) -> PathBuf {
    host_folders(task)
        .find_map(|(source, target)| Some(target.join(path.strip_prefix(source).ok()?)))
        .unwrap_or_else(|| path.to_owned())
}

fn host_folders(task: &Task) -> impl Iterator<Item = (&Path, &Path)> {
    let binds = task.cell.binds.iter();
    let layered = task.cell.layered.iter();
    binds
        .map(|it| (it.source.as_path(), it.target.as_path()))
        .chain(layered.map(|it| (it.source.as_path(), it.target.as_path())))
        // The brief and the drop are no place to run programs from.
        .filter(|(_, target)| *target != Path::new(BRIEF) && *target != Path::new(DROP))
}

fn in_words(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("`{}` is not UTF-8 text", path.display()))
}
