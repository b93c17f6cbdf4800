//! The cell's control group, where the machine lets us have one: a bound on the memory of all its
//! processes together, their files in memory included.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::launcher::Part;
use crate::link::{Fault, WallReport};
use crate::plan::Plan;

const WALL: &str = "memory limit";
const PREFIX: &str = "palisade-";
/// How often a group is tried to be removed; the kernel may need a moment after the last process.
const REMOVALS_MAX: u32 = 50;
const REMOVE_AGAIN: Duration = Duration::from_millis(2);

/// A group of this launcher's own; removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    /// Opened by the launcher, whose rights count, and written by the init.
    members: File,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes a group, or says why there is none.
    pub(crate) fn make(plan: &Plan) -> Result<Self, String> {
        if plan.left_out.has(Part::Limits) {
            return Err("left out".to_owned());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let mut why = "no hierarchy has the memory controller".to_owned();
        for (parent, version) in parents(&mounts, &own) {
            match Self::make_in(&parent, version, plan) {
                Ok(group) => return Ok(group),
                Err(error) => why = format!("{}: {error}", parent.display()),
            }
        }
        Err(why)
    }

    fn make_in(parent: &Path, version: Version, plan: &Plan) -> io::Result<Self> {
        sweep(parent);
        let dir = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&dir)?;
        let opened = File::options().write(true).open(dir.join("cgroup.procs"));
        let members = opened.inspect_err(|_| remove(&dir))?;
        // From here on, dropping removes.
        let group = Self {
            dir,
            members,
            version,
        };
        let bytes = plan.memory_bytes.to_string();
        match version {
            Version::One => {
                group.set("memory.limit_in_bytes", &bytes)?;
                // Only a kernel that accounts swap has it.
                group
                    .set("memory.memsw.limit_in_bytes", &bytes)
                    .unwrap_or_default();
            }
            Version::Two => {
                group.set("memory.max", &bytes)?;
                group.set("memory.swap.max", "0").unwrap_or_default();
                // One process too many and the cell is over: half a cell helps nobody.
                group.set("memory.oom.group", "1").unwrap_or_default();
            }
        }
        Ok(group)
    }

    /// Moves this process into the group; called by the init before it does anything else.
    pub(crate) fn enter(&self) -> Result<(), Fault> {
        (&self.members)
            .write_all(b"0")
            .map_err(Fault::setup("entering the control group"))
    }

    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        // Never created: a name the kernel does not know must fail.
        File::options()
            .write(true)
            .open(self.dir.join(name))?
            .write_all(value.as_bytes())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Returns what limits memory: a group, or each process for itself.
pub(crate) fn memory_wall(group: &Result<Group, String>, plan: &Plan) -> WallReport {
    let most = plan.memory_bytes;
    let by = match group {
        Ok(Group {
            version: Version::One,
            ..
        }) => format!("cgroup v1, {most} bytes for all"),
        Ok(Group {
            version: Version::Two,
            ..
        }) => format!("cgroup v2, {most} bytes for all"),
        Err(why) => format!(
            "rlimit, {most} bytes of private memory per process; shared memory is not counted \
             (no cgroup: {why})"
        ),
    };
    WallReport::optional(WALL, Ok(by))
}

/// Returns where a group may be made, best first.
fn parents(mounts: &str, own: &str) -> Vec<(PathBuf, Version)> {
    let own_path = |named: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            named(controllers).then_some(path.trim_start_matches('/'))
        })
    };
    let has_memory = |list: &str| list.split([',', ' ']).any(|name| name.trim() == "memory");
    let mut two = Vec::new();
    let mut one = Vec::new();
    for mount in mounts.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        let [_, point, kind, options, ..] = fields.as_slice() else {
            continue;
        };
        if *kind == "cgroup2"
            && let Some(path) = own_path(&str::is_empty)
        {
            let own = Path::new(point).join(path);
            // A service manager may have put the engine into a leaf of what it handed over.
            for parent in own
                .ancestors()
                .take(2)
                .filter(|parent| parent.starts_with(point))
            {
                let given = fs::read_to_string(parent.join("cgroup.subtree_control"));
                if given.is_ok_and(|given| has_memory(&given)) {
                    two.push((parent.to_path_buf(), Version::Two));
                }
            }
        }
        if *kind == "cgroup"
            && has_memory(options)
            && let Some(path) = own_path(&has_memory)
        {
            one.push((Path::new(point).join(path), Version::One));
        }
    }
    two.extend(one);
    two
}

/// Removes what launchers that were killed have left.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let launcher = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(launcher) = launcher
            && !Path::new("/proc").join(launcher).exists()
        {
            // A group with processes in it cannot be removed.
            fs::remove_dir(entry.path()).unwrap_or_default();
        }
    }
}

fn remove(dir: &Path) {
    for _ in 0..REMOVALS_MAX {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(REMOVE_AGAIN);
            }
            // What cannot be removed now is swept by a later launcher.
            Ok(()) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_is_found_by_its_controller() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let own = "5:cpu:/a\n4:memory:/jobs/7\n0::/x\n";
        assert_eq!(
            parents(mounts, own),
            [(PathBuf::from("/sys/fs/cgroup/memory/jobs/7"), Version::One)]
        );
    }

    #[test]
    fn the_second_version_is_used_where_memory_is_handed_down() {
        let place = tempfile::tempdir().unwrap();
        let point = place.path().to_str().unwrap();
        let mounts = format!("cgroup2 {point} cgroup2 rw,nsdelegate 0 0\n");
        let own = "0::/service/main\n";
        fs::create_dir_all(place.path().join("service/main")).unwrap();
        assert_eq!(parents(&mounts, own), []);
        let service = place.path().join("service");
        fs::write(service.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        assert_eq!(parents(&mounts, own), [(service, Version::Two)]);
    }
}
