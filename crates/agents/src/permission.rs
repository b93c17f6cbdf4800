//! The judge of what an agent program asks leave for: its role, its lane and its plan decide.
//!
//! The cell's walls hold whatever is answered here. The judge answers at once and says why, where a
//! wall would only say `Read-only file system`: so an agent learns what it may do instead.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use ports::agents::Task;
use ports::cells::{Layers, Writes};

/// The folders beside the tree that are the session's own.
const PRIVATE: [&str; 4] = ["/tmp", "/home/agent", "/dev/shm", "/.agent/ambiguities"];

/// The longest path that is judged, in bytes: the kernel takes no longer ones.
const PATH_BYTES_MAX: usize = 4_096;

/// What a denial repeats of what an agent names, in characters.
const REPEATED_CHARS_MAX: usize = 200;

/// Entries of the plan that a denial names.
const NAMED_MAX: usize = 12;

/// The judge of one session.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    role: String,
    /// Nothing for a tree that is only read.
    writes: Option<Writes>,
    /// The programs that plan and role name; nothing when they name none, and all may be run.
    programs: Option<BTreeSet<String>>,
    may_fetch_packages: bool,
}

impl Judge {
    /// Returns the judge of a task.
    pub(crate) fn of(task: &Task) -> Self {
        let tree = task.cell.workspace.as_ref();
        let writes = tree.and_then(|tree| match tree.layers {
            Layers::ReadOnly { .. } => None,
            Layers::Overlay { .. } | Layers::Plain { .. } => Some(tree.writes.clone()),
        });
        let programs = task.cell.programs.as_ref();
        Self {
            role: task.role.clone(),
            writes,
            programs: programs.map(|it| it.keys().cloned().collect()),
            may_fetch_packages: task.may_fetch_packages,
        }
    }

    /// Judges whether a file may be written.
    ///
    /// # Errors
    /// With what the agent is told.
    pub(crate) fn write(&self, path: &str) -> Result<(), String> {
        let Some(path) = resolved(path) else {
            return Err(not_plain(path));
        };
        let Ok(within) = path.strip_prefix("/workspace") else {
            if is_private(&path) {
                return Ok(());
            }
            return Err(format!(
                "`{}` is no file of this session: write beneath /workspace",
                repeated(&path.to_string_lossy())
            ));
        };
        if within.starts_with(".git") {
            return Err(
                "the git directory is shown to be read; commits are made for you".to_owned(),
            );
        }
        let Some(writes) = &self.writes else {
            return Err(format!(
                "the role `{}` changes nothing: report what you see with \
                 `palisade-agent finding --help`",
                self.role
            ));
        };
        if writes.admit(within) {
            return Ok(());
        }
        Err(format!(
            "the plan of this work does not let `{}` be written{}. If it must change, ask with \
             `palisade-agent ask --help`, and go on without it",
            repeated(&within.to_string_lossy()),
            named(writes)
        ))
    }

    /// Judges whether a file may be read: the cell shows only what it may be, so the name decides.
    ///
    /// # Errors
    /// With what the agent is told.
    pub(crate) fn read(&self, path: &str) -> Result<(), String> {
        match resolved(path) {
            Some(_) => Ok(()),
            None => Err(not_plain(path)),
        }
    }

    /// Judges whether a program may be run, in a folder, if one is named.
    ///
    /// # Errors
    /// With what the agent is told.
    pub(crate) fn run(&self, program: &str, folder: Option<&str>) -> Result<(), String> {
        if program.is_empty() || program.contains('\0') {
            return Err("a command names its program".to_owned());
        }
        if let Some(folder) = folder {
            let own = |it: &Path| it.starts_with("/workspace") || is_private(it);
            if !resolved(folder).as_deref().is_some_and(own) {
                let folder = repeated(folder);
                return Err(format!(
                    "`{folder}` is no folder of this session: run commands in /workspace"
                ));
            }
        }
        match &self.programs {
            Some(named) if !named.contains(program) => {
                let program = repeated(program);
                let named: Vec<_> = named.iter().map(|it| format!("`{it}`")).collect();
                Err(format!(
                    "the plan of this work does not let `{program}` be run; it lets {}. If it must \
                     be, ask with `palisade-agent ask --help`, and go on without it",
                    named.join(", ")
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Says why the world outside cannot be asked.
    pub(crate) fn no_network(&self) -> String {
        let why = if self.may_fetch_packages {
            "there is no network in here but the package registries that the operator has listed, \
             for the programs that fetch packages"
        } else {
            "there is no network in here"
        };
        format!("{why}: use what is in /workspace, or ask with `palisade-agent ask --help`")
    }
}

fn not_plain(path: &str) -> String {
    format!("`{}` does not name a file plainly", repeated(path))
}

/// Returns as much of what an agent names as it is told again.
fn repeated(text: &str) -> String {
    let mut told: String = text.chars().take(REPEATED_CHARS_MAX).collect();
    if told.len() < text.len() {
        told.push('…');
    }
    told
}

fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|it| path.starts_with(it))
}

fn named(writes: &Writes) -> String {
    let shown: Vec<String> = writes
        .writable
        .iter()
        .filter(|it| !it.as_os_str().is_empty())
        .take(NAMED_MAX)
        .map(|it| format!("`{}`", it.display()))
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    let more = writes.writable.len().saturating_sub(shown.len());
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("; it lets {}{more}", shown.join(", "))
}

/// Returns the absolute path that a text names from the tree, without looking at any file.
fn resolved(path: &str) -> Option<PathBuf> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return None;
    }
    let mut plain = PathBuf::new();
    for part in Path::new("/workspace").join(path).components() {
        match part {
            Component::RootDir => plain.push("/"),
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::agents::Setting;

    fn judge(writable: &[&str], read_only: &[&str]) -> Judge {
        let mut task = Setting::new().task;
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        if let Some(tree) = &mut task.cell.workspace {
            tree.writes = Writes {
                writable: paths(writable),
                read_only: paths(read_only),
            };
        }
        Judge::of(&task)
    }

    #[test]
    fn the_plan_decides_and_a_denial_says_what_it_lets() {
        let judge = judge(&["src", "tests/new.t"], &["src/kept"]);
        for path in [
            "/workspace/src/a.rs",
            "src/a.rs",
            "./src/x/../a",
            "/workspace/tests/new.t",
            "/tmp/scratch",
            "/.agent/ambiguities/q.md",
        ] {
            assert_eq!(judge.write(path), Ok(()), "{path}");
        }
        for (path, why) in [
            ("/workspace/Makefile", "does not let `Makefile` be written"),
            ("src/../Makefile", "it lets `src`, `tests/new.t`"),
            ("/workspace/src/kept/a", "`src/kept/a`"),
            ("/workspace/.git/config", "git directory"),
            ("/etc/passwd", "beneath /workspace"),
            ("../etc/passwd", "beneath /workspace"),
            ("/tmp/../brief/prompt.md", "beneath /workspace"),
            ("", "plainly"),
        ] {
            let told = judge.write(path).unwrap_err();
            assert!(told.contains(why), "{path}: {told}");
        }
    }

    #[test]
    fn what_is_named_at_length_is_repeated_in_short() {
        let judge = judge(&["src"], &[]);
        for long in [
            "x".repeat(1 << 20),
            "x/".repeat(1_000),
            format!("/{}", "ö".repeat(300)),
        ] {
            let told = judge.write(&long).unwrap_err();
            assert!(told.contains('…') && told.len() < 1_000, "{told}");
        }
        let told = judge.run("make", Some(&"y".repeat(1 << 20))).unwrap_err();
        assert!(told.len() < 1_000, "{told}");
    }

    #[test]
    fn programs_are_run_as_the_plan_names_them_and_where_the_session_is() {
        let mut task = Setting::new().task;
        let free = Judge::of(&task);
        for folder in [None, Some("/workspace/src"), Some("src"), Some("/tmp")] {
            assert_eq!(free.run("anything", folder), Ok(()));
        }
        for (program, folder, why) in [
            ("", None, "names its program"),
            ("a\0b", None, "names its program"),
            ("make", Some("/etc"), "no folder of this session"),
            (
                "make",
                Some("/workspace/../brief"),
                "no folder of this session",
            ),
            ("make", Some(""), "no folder of this session"),
        ] {
            let told = free.run(program, folder).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let programs = ["make", "sh"].map(|it| (it.to_owned(), PathBuf::from("/usr/bin").join(it)));
        task.cell.programs = Some(programs.into());
        let judge = Judge::of(&task);
        assert_eq!(judge.run("make", None), Ok(()));
        for other in ["cargo", "/usr/bin/make", "make ", "../make"] {
            let told = judge.run(other, None).unwrap_err();
            assert!(told.contains("it lets `make`, `sh`"), "{told}");
        }
    }

    #[test]
    fn who_may_fetch_packages_is_told_of_the_registries() {
        let mut task = Setting::new().task;
        let told = Judge::of(&task).no_network();
        assert!(
            told.starts_with("there is no network in here: use"),
            "{told}"
        );
        task.may_fetch_packages = true;
        let told = Judge::of(&task).no_network();
        assert!(told.contains("but the package registries"), "{told}");
    }

    #[test]
    fn a_tree_that_is_only_read_is_written_by_nobody() {
        let mut task = Setting::new().task;
        task.role = "reviewer".to_owned();
        if let Some(tree) = &mut task.cell.workspace {
            tree.layers = Layers::ReadOnly {
                lowers: vec!["/host/base".into()],
            };
        }
        let told = Judge::of(&task).write("src/a.rs").unwrap_err();
        assert!(told.contains("`reviewer` changes nothing"), "{told}");
    }
}
