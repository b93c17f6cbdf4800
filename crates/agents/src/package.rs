//! Agent programs from packages: where the real program is, and which version it has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ports::agents::{Program, Task};
use ports::cells::{Access, Bind, CellSpec, Cells, Exit};

use crate::conduct::with_sources;
use crate::surroundings::{SYSTEM_PATH, admit};

/// The longest time for a program to say its version.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is read of a version, in bytes.
const VERSION_BYTES_MAX: u64 = 4_096;

/// The architecture as packages of npm name it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "x64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";

/// A version of three numbers.
pub(crate) type Version = (u64, u64, u64);

/// What a driver has been tested with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    /// What it is called to the operator.
    pub(crate) told: &'static str,
    /// Its name on npm.
    pub(crate) name: &'static str,
    /// What the packages of each machine's native program are called, before the machine.
    pub(crate) machines: &'static str,
    /// The program within the package of its machine.
    pub(crate) program: &'static str,
    /// The first version that works.
    pub(crate) from: Version,
    /// The first that is not known to.
    pub(crate) until: Version,
}

impl Package {
    /// Returns the native program that a path stands for: a link or a small script of npm's leads to
    /// the package of this machine beside it.
    ///
    /// # Errors
    /// With where was looked, and how to install it.
    pub(crate) fn native(&self, program: &Path) -> Result<PathBuf, String> {
        let real = std::fs::canonicalize(program).map_err(|error| {
            format!(
                "{} is not installed at `{}` ({error}); `npm install -g {}@{}` installs it, \
                 or name its program after a colon",
                self.told,
                program.display(),
                self.name,
                text(self.from)
            )
        })?;
        let machine = format!("{}-linux-{ARCHITECTURE}", self.machines);
        // Only from within the package itself: a program elsewhere is the one that is meant.
        let package = real.ancestors().find(|it| it.ends_with(self.name));
        let depth = Path::new(self.name).components().count();
        let modules = package.and_then(|it| it.ancestors().nth(depth));
        let folders = [
            package.map(|it| it.join("node_modules")),
            modules.map(Path::to_owned),
        ];
        let native = folders
            .into_iter()
            .flatten()
            .map(|it| it.join(&machine).join(self.program))
            .find(|it| it.is_file());
        Ok(native.unwrap_or(real))
    }

    /// Returns what is to be told of the program that a path stands for.
    pub(crate) fn program(&self, program: &Path) -> Program {
        Program {
            found: self.native(program),
            tried: format!("{} to before {}", text(self.from), text(self.until)),
        }
    }

    /// Returns the folder of the package that a path is a program of.
    ///
    /// # Errors
    /// With where was looked, and how to install it.
    pub(crate) fn folder(&self, program: &Path) -> Result<PathBuf, String> {
        let real = self.native(program)?;
        let folder = real.ancestors().find(|it| it.ends_with(self.name));
        let folder = folder.filter(|it| it.join(self.program).is_file());
        folder.map(Path::to_owned).ok_or_else(|| {
            format!(
                "`{}` is no program of the package {}: `npm install -g {}@{}` installs it",
                program.display(),
                self.name,
                self.name,
                text(self.from)
            )
        })
    }

    /// Returns the version of a program, asked in a cell of its own, if it is one that is known to
    /// work. `shown` is how the session's cell shows it, `inside` how it is called there.
    ///
    /// # Errors
    /// With what is wrong and how to mend it.
    pub(crate) fn check(
        &self,
        cells: &dyn Cells,
        task: &Task,
        shown: &[Bind],
        inside: &[&str],
    ) -> Result<Version, String> {
        let said = ask(cells, task, shown, inside)
            .map_err(|why| format!("{} does not say its version: {why}", self.told))?;
        let version = read(&said)
            .ok_or_else(|| format!("{} says no version, but `{}`", self.told, first_line(&said)))?;
        if (self.from..self.until).contains(&version) {
            return Ok(version);
        }
        Err(format!(
            "{} {} was never tried; known to work are {} and later, before {}: \
             `npm install -g {}@{}`",
            self.told,
            text(version),
            text(self.from),
            text(self.until),
            self.name,
            text(self.from)
        ))
    }
}

/// Returns the path of Node.js in the cell, which shows it: the one beside a program, as version
/// managers keep it, else the system's.
///
/// # Errors
/// With where was looked.
pub(crate) fn node(task: &mut Task, program: &Path, client: &Path) -> Result<String, String> {
    let beside = program.parent().map(|it| it.join("node"));
    let system = SYSTEM_PATH.iter().map(|it| Path::new(it).join("node"));
    let mut places = beside.into_iter().chain(system);
    let found = places.find(|it| it.is_file()).ok_or_else(|| {
        format!(
            "Node.js is neither beside `{}` nor in {}",
            program.display(),
            SYSTEM_PATH.join(", ")
        )
    })?;
    admit(task, &found, client).map_err(|why| format!("Node.js: {why}"))
}

/// Returns the bind of a host file or folder, read-only.
pub(crate) fn shown(source: PathBuf, target: &str) -> Bind {
    Bind {
        source,
        target: target.into(),
        access: Access::ReadOnly,
    }
}

fn ask(cells: &dyn Cells, task: &Task, shown: &[Bind], inside: &[&str]) -> Result<String, String> {
    let words = inside.iter().chain(&["--version"]);
    let spec = CellSpec {
        argv: words.map(|it| (*it).to_owned()).collect(),
        env: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        cwd: "/tmp".into(),
        workspace: None,
        binds: shown.to_vec(),
        layered: Vec::new(),
        masks: Vec::new(),
        programs: None,
        accepted: task.cell.accepted.clone(),
        limits: task.cell.limits,
    };
    let launched = cells.launch(&spec).map_err(|it| with_sources(&it))?;
    drop(launched.streams.stdin);
    let ended = launched.cell.wait(PATIENCE).map_err(|it| with_sources(&it));
    // Whatever it is, nothing of it may go on; what it printed waits in the pipe.
    drop(launched.cell.kill());
    match ended? {
        Some(Exit::Code(0)) => {}
        Some(exit) => return Err(format!("it ended with {exit:?}")),
        None => return Err(format!("it took over {} s", PATIENCE.as_secs())),
    }
    let mut said = String::new();
    let mut from = std::io::Read::take(launched.streams.stdout, VERSION_BYTES_MAX);
    std::io::Read::read_to_string(&mut from, &mut said)
        .map_err(|error| format!("what it printed cannot be read: {error}"))?;
    Ok(said)
}

/// Returns the first word of a text that is a version.
fn read(said: &str) -> Option<Version> {
    said.split_whitespace().find_map(|word| {
        let numbers: Vec<u64> = word.split('.').map_while(|it| it.parse().ok()).collect();
        match numbers[..] {
            [major, minor, patch] => Some((major, minor, patch)),
            _ => None,
        }
    })
}

fn first_line(said: &str) -> String {
    said.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

fn text((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const PACKAGE: Package = Package {
        told: "Agent",
        name: "@maker/agent",
        machines: "@maker/agent",
        program: "bin/agent",
        from: (1, 2, 3),
        until: (1, 3, 0),
    };

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(read("2.1.329 (Claude Code)\n"), Some((2, 1, 329)));
        assert_eq!(read("codex-cli 0.169.0"), Some((0, 169, 0)));
        for none in ["", "1.2", "v", "1.2.x", "1.2.3.4"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_link_of_npms_leads_to_the_program_of_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let put = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        put("node_modules/@maker/agent/cli.js");
        let machine = format!("node_modules/@maker/agent-linux-{ARCHITECTURE}/bin/agent");
        let native = put(&machine);
        fs::create_dir(root.join("bin")).unwrap();
        let link = root.join("bin/agent");
        symlink(root.join("node_modules/@maker/agent/cli.js"), &link).unwrap();
        assert_eq!(PACKAGE.native(&link), Ok(native));
        let alone = put("elsewhere/agent");
        assert_eq!(PACKAGE.native(&alone), Ok(alone));
        let told = PACKAGE.native(&root.join("none")).unwrap_err();
        assert!(told.contains("npm install -g @maker/agent@1.2.3"), "{told}");
    }
}
