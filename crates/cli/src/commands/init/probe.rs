//! The probe: what `palisade init` may look at, handed in, so that nothing global is read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::config::ground::real;

/// The most of a file that is read to find out what it says, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// The most entries of a folder that are listed.
const ENTRIES_MAX: usize = 4_096;

/// What is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The root of the working tree.
    pub(crate) repo: PathBuf,
    /// The operator's home.
    pub(crate) home: PathBuf,
    /// The folders of `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// The variables that tell where toolchains are.
    pub(crate) variables: BTreeMap<&'static str, String>,
    /// Where the system is: `/`, but for tests.
    pub(crate) system: PathBuf,
}

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// From the system's folders, which every cell shows.
    System,
    /// From an installation of its own: `PREFIX/bin/NAME`.
    Prefix(PathBuf),
    /// A single file somewhere else.
    File(PathBuf),
}

impl Probe {
    /// Returns the probe of this machine.
    pub(crate) fn new(repo: &Path, environment: &Environment) -> Self {
        Self {
            repo: repo.to_path_buf(),
            home: environment
                .home
                .clone()
                .unwrap_or_else(|| PathBuf::from("/nonexistent")),
            path: environment.path.clone(),
            variables: environment.toolchains.clone(),
            system: PathBuf::from("/"),
        }
    }

    /// Returns the folder that a variable names, if it is there.
    pub(crate) fn variable(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.variables.get(name)?);
        (path.is_absolute() && path.is_dir()).then_some(path)
    }

    /// Returns the folder that a variable names, else the usual one in the home, if it is there.
    pub(crate) fn folder(&self, variable: &str, usual: &str) -> Option<PathBuf> {
        self.variable(variable).or_else(|| self.at_home(usual))
    }

    /// Returns a folder or file of the home, if it is there.
    pub(crate) fn at_home(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.join(name)).filter(|it| it.exists())
    }

    /// Returns whether the repository has a file or folder of this name at its root.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.repo.join(name).exists()
    }

    /// Returns the first of these that the repository has.
    pub(crate) fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|it| self.has(it))
    }

    /// Returns the text of a file of the repository.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(&self.repo.join(name))
    }

    /// Returns where a program that `PATH` names comes from. A shim that only chooses the real one
    /// (of pyenv, rbenv, asdf) is passed over.
    pub(crate) fn program(&self, name: &str) -> Option<Program> {
        let files = self.path.iter().map(|it| it.join(name));
        let mut real = files
            .filter(|it| !is_shim(it) && is_executable(it))
            .map(|it| real(&it));
        real.next().map(|it| self.origin(&it, name))
    }

    fn origin(&self, file: &Path, name: &str) -> Program {
        let system = ["usr", "bin", "sbin"].map(|it| self.system.join(it));
        if system.iter().any(|it| file.starts_with(it)) {
            return Program::System;
        }
        let bin = file.parent().filter(|it| it.ends_with("bin"));
        let prefix = bin.and_then(Path::parent);
        let is_prefix = |it: &&Path| {
            ["lib", "libexec", "pkg", "include", "share"]
                .iter()
                .any(|sub| it.join(sub).is_dir())
        };
        // `~/.local` is where everybody puts everything: no installation of one program.
        let prefix = prefix
            .filter(is_prefix)
            .filter(|it| *it != self.home.join(".local") && *it != self.home);
        match prefix {
            Some(prefix)
                if file.file_name().is_some_and(|it| it == name)
                    || prefix.join("bin").join(name).exists() =>
            {
                Program::Prefix(prefix.to_path_buf())
            }
            Some(_) | None => Program::File(file.to_path_buf()),
        }
    }
}

fn is_shim(path: &Path) -> bool {
    path.parent().is_some_and(|it| it.ends_with("shims"))
}

fn is_executable(path: &Path) -> bool {
    let about = path.metadata();
    about.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// Returns the text of a file, if it is one of a sensible size.
pub(crate) fn text(path: &Path) -> Option<String> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Returns what is in a folder, sorted; nothing where there is none.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = listing
        .take(ENTRIES_MAX)
        .filter_map(|it| Some(it.ok()?.path()))
        .collect();
    found.sort();
    found
}

/// Returns the folder of the newest version in a folder of versions, by its numbers.
pub(crate) fn newest(versions: &Path) -> Option<PathBuf> {
    let folders = entries(versions).into_iter().filter(|it| it.is_dir());
    folders.max_by_key(|it| numbers(&name_of(it)))
}

/// Returns the last part of a path.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok())
        .collect()
}

#[cfg(test)]
pub(crate) mod fake {
    //! A machine made of temporary folders.

    use super::*;

    /// A home, a repository and a system, empty at first.
    pub(crate) struct Machine {
        /// Removes it all in the end.
        _dir: tempfile::TempDir,
        pub(crate) probe: Probe,
    }

    impl Machine {
        pub(crate) fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().canonicalize().unwrap();
            let probe = Probe {
                repo: base.join("repo"),
                home: base.join("home"),
                path: vec![base.join("system/usr/bin")],
                variables: BTreeMap::new(),
                system: base.join("system"),
            };
            for folder in [&probe.repo, &probe.home, &probe.path[0]] {
                std::fs::create_dir_all(folder).unwrap();
            }
            Self { _dir: dir, probe }
        }

        /// Writes a file beneath the home.
        pub(crate) fn home(&self, path: &str, text: &str) -> PathBuf {
            write(&self.probe.home.join(path), text)
        }

        /// Writes a file of the repository.
        pub(crate) fn repo(&self, path: &str, text: &str) -> PathBuf {
            write(&self.probe.repo.join(path), text)
        }

        /// Writes a file of the system.
        pub(crate) fn system(&self, path: &str, text: &str) -> PathBuf {
            write(&self.probe.system.join(path), text)
        }

        /// Writes a program beneath the home, and puts its folder first on `PATH`.
        pub(crate) fn program(&mut self, path: &str) -> PathBuf {
            let file = self.home(path, "#!/bin/sh\n");
            let folder = file.parent().unwrap().to_path_buf();
            self.probe.path.insert(0, folder);
            file
        }
    }

    fn write(path: &Path, text: &str) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
        path.to_path_buf()
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Machine;
    use super::*;

    #[test]
    fn a_program_is_known_by_where_it_really_is() {
        let mut machine = Machine::new();
        machine.system("usr/bin/go", "");
        assert_eq!(machine.probe.program("go"), Some(Program::System));
        machine.home("tools/node-20/lib/x", "");
        let node = machine.program("tools/node-20/bin/node");
        let prefix = machine.probe.home.join("tools/node-20");
        assert_eq!(
            machine.probe.program("node"),
            Some(Program::Prefix(prefix.clone()))
        );
        let link = machine.probe.home.join("links/node");
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(node, &link).unwrap();
        machine
            .probe
            .path
            .insert(0, link.parent().unwrap().to_path_buf());
        assert_eq!(machine.probe.program("node"), Some(Program::Prefix(prefix)));
        machine.home(".local/lib/x", "");
        let uv = machine.program(".local/bin/uv");
        assert_eq!(machine.probe.program("uv"), Some(Program::File(uv)));
        assert_eq!(machine.probe.program("absent"), None);
    }

    #[test]
    fn a_shim_is_passed_over() {
        let mut machine = Machine::new();
        machine.program(".pyenv/shims/python3");
        assert_eq!(machine.probe.program("python3"), None);
        machine.system("usr/bin/python3", "");
        assert_eq!(machine.probe.program("python3"), Some(Program::System));
    }

    #[test]
    fn ten_is_newer_than_nine() {
        let machine = Machine::new();
        machine.home("v/v9.1.0/x", "");
        machine.home("v/v10.0.1/x", "");
        assert_eq!(
            newest(&machine.probe.home.join("v")),
            Some(machine.probe.home.join("v/v10.0.1"))
        );
    }
}
