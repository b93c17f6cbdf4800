//! The cell's control groups, where the machine lets us have them: bounds on the memory of all its
//! processes together, their files in memory included, and on their number.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::launcher::limits::MemoryBound;
use crate::launcher::{LeftOut, Part};
use crate::link::{Fault, WallReport};
use crate::plan::Plan;

const PREFIX: &str = "palisade-";
/// The init, which is one of the cell's processes but none of the program's.
const INIT: u64 = 1;
/// How often a group is tried to be removed; the kernel may need a moment after the last process.
const REMOVALS_MAX: u32 = 50;
const REMOVE_AGAIN: Duration = Duration::from_millis(2);

/// The groups of one cell: one for all controllers, or one for each where the hierarchies are
/// separate. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Groups {
    made: Vec<Group>,
    /// What bounds the memory, or why nothing does.
    memory: Result<Version, String>,
    /// What bounds the number of processes, or why nothing does.
    processes: Result<Version, String>,
}

#[derive(Debug)]
struct Group {
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

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::One => "cgroup v1",
            Self::Two => "cgroup v2",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Processes,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }

    /// Returns the file that holds the limit.
    fn limit(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, Version::One) => "memory.limit_in_bytes",
            (Self::Memory, Version::Two) => "memory.max",
            (Self::Processes, _) => "pids.max",
        }
    }
}

impl Groups {
    /// Makes the groups, which limit nothing yet.
    pub(crate) fn make(left_out: LeftOut) -> Self {
        let mut groups = Self {
            made: Vec::new(),
            memory: Err("left out".to_owned()),
            processes: Err("left out".to_owned()),
        };
        if left_out.has(Part::Limits) {
            return groups;
        }
        let read = |path| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        match read("/proc/self/mounts").and_then(|mounts| Ok((mounts, read("/proc/self/cgroup")?)))
        {
            Ok((mounts, own)) => {
                groups.memory = groups.find(Controller::Memory, &mounts, &own);
                groups.processes = groups.find(Controller::Processes, &mounts, &own);
            }
            Err(why) => {
                groups.memory = Err(why.clone());
                groups.processes = Err(why);
            }
        }
        groups
    }

    /// Finds a group that has the controller, and makes one where there is none.
    fn find(&mut self, what: Controller, mounts: &str, own: &str) -> Result<Version, String> {
        if let Some(group) = self.made.iter().find(|group| group.has(what)) {
            return Ok(group.version);
        }
        let mut why = format!("no hierarchy has the {} controller", what.name());
        for (parent, version) in parents(mounts, own, what) {
            // A process is in one place of the second version's only hierarchy.
            if version == Version::Two && self.made.iter().any(|made| made.version == version) {
                continue;
            }
            match Group::make_in(&parent, version) {
                Ok(group) if group.has(what) => {
                    self.made.push(group);
                    return Ok(version);
                }
                Ok(_) => why = format!("{}: no {}", parent.display(), what.limit(version)),
                Err(error) => why = format!("{}: {error}", parent.display()),
            }
        }
        Err(why)
    }

    /// Sets the limits of a plan.
    pub(crate) fn limit(&mut self, plan: &Plan) {
        self.memory = self
            .set(Controller::Memory, plan.memory_bytes)
            .unwrap_or_else(|| self.memory.clone());
        let most = plan.processes.saturating_add(INIT);
        self.processes = self
            .set(Controller::Processes, most)
            .unwrap_or_else(|| self.processes.clone());
    }

    /// Sets a limit in the group that has it, if there is one.
    fn set(&self, what: Controller, most: u64) -> Option<Result<Version, String>> {
        let group = self.made.iter().find(|group| group.has(what))?;
        let version = group.version;
        let limited = group.set(what.limit(version), &most.to_string());
        if what == Controller::Memory {
            match version {
                // Only a kernel that accounts swap has it.
                Version::One => group.set("memory.memsw.limit_in_bytes", &most.to_string()),
                Version::Two => group.set("memory.swap.max", "0"),
            }
            .unwrap_or_default();
            if version == Version::Two {
                // One process too many and the cell is over: half a cell helps nobody.
                group.set("memory.oom.group", "1").unwrap_or_default();
            }
        }
        let failed = |error| format!("{}: {error}", group.dir.join(what.limit(version)).display());
        Some(limited.map(|()| version).map_err(failed))
    }

    /// Returns the group a process can be born into, with which the second version spares it the
    /// move: moving a process waits for every processor to pass a quiet point, some milliseconds.
    pub(crate) fn birthplace(&self) -> Option<File> {
        let two = self
            .made
            .iter()
            .find(|group| group.version == Version::Two)?;
        File::open(&two.dir).ok()
    }

    /// Moves this process into the groups it was not born into; called by the init before it does
    /// anything else.
    pub(crate) fn enter(&self, birthplace: Option<&File>) -> Result<(), Fault> {
        for group in &self.made {
            if group.version == Version::Two && birthplace.is_some() {
                continue;
            }
            (&group.members)
                .write_all(b"0")
                .map_err(Fault::setup("entering the control group"))?;
        }
        Ok(())
    }

    /// Returns what the memory limit is about.
    pub(crate) fn memory_bound(&self) -> MemoryBound {
        match self.memory {
            Ok(_) => MemoryBound::OfAll,
            Err(_) => MemoryBound::OfEach,
        }
    }

    /// Returns what limits memory: a group, or each process for itself.
    pub(crate) fn memory_wall(&self, plan: &Plan) -> WallReport {
        const WALL: &str = "memory limit";
        if plan.left_out.has(Part::Limits) {
            return WallReport::optional(WALL, Err("left out".to_owned()));
        }
        let most = plan.memory_bytes;
        let by = match &self.memory {
            Ok(version) => format!("{}, {most} bytes for all", version.name()),
            Err(why) => format!(
                "rlimit, {most} bytes of private memory per process; shared memory is not counted \
                 (no cgroup: {why})"
            ),
        };
        WallReport::optional(WALL, Ok(by))
    }

    /// Returns the group that limits processes, if one does.
    pub(crate) fn process_wall(&self, plan: &Plan) -> Option<WallReport> {
        let version = self.processes.as_ref().ok()?;
        let by = format!("{}, {} for all", version.name(), plan.processes);
        Some(WallReport::optional("process limit", Ok(by)))
    }
}

impl Group {
    fn make_in(parent: &Path, version: Version) -> io::Result<Self> {
        sweep(parent);
        let dir = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&dir)?;
        Self::open(&dir, version).inspect_err(|_| remove(&dir))
    }

    /// Opens a group that from here on is removed when dropped.
    fn open(dir: &Path, version: Version) -> io::Result<Self> {
        let members = File::options().write(true).open(dir.join("cgroup.procs"))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            members,
            version,
        })
    }

    fn has(&self, what: Controller) -> bool {
        self.dir.join(what.limit(self.version)).exists()
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

/// Returns where a group may be made, best first.
fn parents(mounts: &str, own: &str, what: Controller) -> Vec<(PathBuf, Version)> {
    let own_path = |named: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            named(controllers).then_some(path.trim_start_matches('/'))
        })
    };
    let has_it = |list: &str| {
        list.split([',', ' '])
            .any(|name| name.trim() == what.name())
    };
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
                if given.is_ok_and(|given| has_it(&given)) {
                    two.push((parent.to_path_buf(), Version::Two));
                }
            }
        }
        if *kind == "cgroup"
            && has_it(options)
            && let Some(path) = own_path(&has_it)
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_first_version_is_found_by_its_controller() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let own = "5:cpu:/a\n4:memory:/jobs/7\n0::/x\n";
        assert_eq!(
            parents(mounts, own, Controller::Memory),
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
        assert_eq!(parents(&mounts, own, Controller::Memory), []);
        let service = place.path().join("service");
        fs::write(service.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        assert_eq!(
            parents(&mounts, own, Controller::Memory),
            [(service, Version::Two)]
        );
    }

    #[test]
    fn each_controller_is_looked_for_by_itself() {
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            cgroup /sys/fs/cgroup/pids cgroup rw,nosuid,pids 0 0\n";
        let own = "5:pids:/p\n4:memory:/m\n";
        let found = |what| parents(mounts, own, what);
        let one = |path: &str| vec![(PathBuf::from(path), Version::One)];
        assert_eq!(found(Controller::Memory), one("/sys/fs/cgroup/memory/m"));
        assert_eq!(found(Controller::Processes), one("/sys/fs/cgroup/pids/p"));
    }

    /// A folder like a group of the kernel's, and what stands in its files after the limits are set.
    fn limited(version: Version, files: &[&str]) -> (Groups, BTreeMap<String, String>) {
        let place = tempfile::tempdir().unwrap();
        for file in files.iter().chain(&["cgroup.procs"]) {
            fs::write(place.path().join(file), "").unwrap();
        }
        let mut groups = Groups {
            made: vec![Group::open(place.path(), version).unwrap()],
            memory: Err("not looked for".to_owned()),
            processes: Err("not looked for".to_owned()),
        };
        let plan = Plan {
            memory_bytes: 4_096,
            processes: 16,
            ..Plan::empty()
        };
        groups.limit(&plan);
        let content = |file: &&str| {
            let content = fs::read_to_string(place.path().join(file)).unwrap();
            ((*file).to_owned(), content)
        };
        let written = files.iter().map(content).collect();
        (groups, written)
    }

    fn expected<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
        files
            .map(|(file, content)| (file.to_owned(), content.to_owned()))
            .into()
    }

    #[test]
    fn the_second_version_limits_both_in_one_group() {
        let files = [
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
        ];
        let (groups, written) = limited(Version::Two, &files);
        let limits = [
            ("memory.max", "4096"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("pids.max", "17"), // the init is one of them
        ];
        assert_eq!(written, expected(limits));
        assert_eq!(groups.memory_bound(), MemoryBound::OfAll);
        let plan = Plan::empty();
        let by = groups.memory_wall(&plan).state.unwrap();
        assert!(by.starts_with("cgroup v2, "), "{by}");
        let by = groups.process_wall(&plan).unwrap().state.unwrap();
        assert!(by.starts_with("cgroup v2, "), "{by}");
    }

    #[test]
    fn the_first_version_limits_memory_and_swap_together() {
        let files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        let (groups, written) = limited(Version::One, &files);
        let limits = [
            ("memory.limit_in_bytes", "4096"),
            ("memory.memsw.limit_in_bytes", "4096"),
        ];
        assert_eq!(written, expected(limits));
        assert_eq!(groups.memory_bound(), MemoryBound::OfAll);
        assert!(groups.process_wall(&Plan::empty()).is_none());
    }

    #[test]
    fn a_group_without_a_limit_is_said_to_limit_nothing() {
        let (groups, _) = limited(Version::Two, &["pids.max"]);
        assert_eq!(groups.memory_bound(), MemoryBound::OfEach);
        let by = groups.memory_wall(&Plan::empty()).state.unwrap();
        assert!(by.starts_with("rlimit"), "{by}");
    }
}
