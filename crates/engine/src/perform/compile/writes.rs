//! Where the kernel lets a session's tree be written: what role and plan give, less what is taken
//! away, as far as folders and existing files can tell it. The import filter judges the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use domain::tree::ImportRules;
use ports::cells::Writes;
use ports::workspaces::Listed;

use super::reach::Reach;

/// The most read-only places that are looked for beneath the root: each is a mount of its own.
const READ_ONLY_MAX: usize = 512;

/// The most build folders that are made writable.
const BUILD_FOLDERS_MAX: usize = 64;

/// Folders of build output that ignore files often name without saying that they are folders.
const BUILD_FOLDERS: [&str; 23] = [
    ".bundle",
    ".eggs",
    ".gradle",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nuxt",
    ".nyc_output",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "_build",
    "bin",
    "build",
    "coverage",
    "dist",
    "node_modules",
    "obj",
    "out",
    "target",
    "venv",
];

/// What a package manager reads, and the lock files of which it leaves one beside it.
const LOCKS: [(&str, &[&str]); 5] = [
    ("Cargo.toml", &["Cargo.lock"]),
    ("Gemfile", &["Gemfile.lock"]),
    ("go.mod", &["go.sum"]),
    (
        "package.json",
        &[
            "package-lock.json",
            "npm-shrinkwrap.json",
            "pnpm-lock.yaml",
            "yarn.lock",
            "bun.lock",
        ],
    ),
    ("pyproject.toml", &["poetry.lock", "uv.lock", "pdm.lock"]),
];

/// Compiles the write scope of a session. `ignore` is the base's ignore file; `look` lists a folder
/// of the tree.
///
/// A path that the rules admit is always writable. A folder in which nothing can match is not,
/// unless it holds build output. The root is also writable where the base ignores files in it, or
/// where a lock file is to be made: what is there already is not, unless it is given.
///
/// # Errors
/// When `look` fails.
pub(super) fn compile<E>(
    rules: &ImportRules,
    ignore: &str,
    look: impl FnMut(&str) -> Result<Vec<Listed>, E>,
) -> Result<Writes, E> {
    let given = Given {
        role: Reach::of(&rules.role_paths),
        plan: Reach::of(&rules.plan_allowed),
    };
    let mut seen = Seen {
        look,
        known: BTreeMap::new(),
    };
    let named = Named::of(rules);
    let mut writable = BTreeSet::new();
    for folder in given.folders() {
        let is_given = is_plain(&folder) && !named.takes(&folder) && given.covers(&folder);
        if is_given && seen.may_be_folder(&folder)? {
            writable.insert(folder);
        }
    }
    // Tools leave files beside the sources, which can be made only where their folder is writable.
    if !writable.is_empty() && (ignores_files(ignore) || seen.lacks_lock()?) {
        writable.insert(String::new());
    }
    let taken = named.found(&writable, &mut seen)?;
    let mut read_only = taken.clone();
    if writable.contains("") && !given.is_free("") {
        let files = seen.files_in("")?.into_iter();
        read_only.extend(files.filter(|it| !given.may_name(it)).take(READ_ONLY_MAX));
    }
    let mut waiting: VecDeque<String> = writable.iter().cloned().collect();
    let mut visited = BTreeSet::new();
    while let Some(folder) = waiting.pop_front() {
        if given.is_free(&folder) || !visited.insert(folder.clone()) {
            continue;
        }
        for name in seen.folders_in(&folder)? {
            let path = joined(&folder, &name);
            if taken.contains(&path) {
                continue;
            }
            if given.covers(&path) {
                waiting.push_back(path);
            } else if folder.is_empty() || read_only.len() < READ_ONLY_MAX {
                read_only.insert(path);
            }
        }
    }
    for folder in build_folders(ignore) {
        if !named.takes(&folder) && seen.may_be_folder(&folder)? {
            read_only.remove(&folder);
            writable.insert(folder);
        }
    }
    Ok(fewest(&writable, &read_only))
}

/// What role and plan both give.
struct Given {
    role: Reach,
    plan: Reach,
}

impl Given {
    fn folders(&self) -> BTreeSet<String> {
        self.role.folders().chain(self.plan.folders()).collect()
    }

    fn covers(&self, folder: &str) -> bool {
        self.role.covers(folder) && self.plan.covers(folder)
    }

    fn is_free(&self, folder: &str) -> bool {
        self.role.is_free(folder) && self.plan.is_free(folder)
    }

    fn may_name(&self, file: &str) -> bool {
        self.role.may_name(file) && self.plan.may_name(file)
    }
}

/// The tree, as far as it was looked at.
struct Seen<L> {
    look: L,
    known: BTreeMap<String, Vec<Listed>>,
}

impl<L, E> Seen<L>
where
    L: FnMut(&str) -> Result<Vec<Listed>, E>,
{
    fn list(&mut self, folder: &str) -> Result<Vec<Listed>, E> {
        if let Some(known) = self.known.get(folder) {
            return Ok(known.clone());
        }
        let listed = (self.look)(folder)?;
        self.known.insert(folder.to_owned(), listed.clone());
        Ok(listed)
    }

    fn folders_in(&mut self, folder: &str) -> Result<Vec<String>, E> {
        let listed = self.list(folder)?.into_iter();
        let folders = listed.filter(|it| it.is_folder);
        Ok(folders.map(|it| it.name).collect())
    }

    fn files_in(&mut self, folder: &str) -> Result<Vec<String>, E> {
        let listed = self.list(folder)?.into_iter();
        let files = listed.filter(|it| !it.is_folder);
        Ok(files.map(|it| it.name).collect())
    }

    /// Returns whether a package manager will want to make a lock file in the root.
    fn lacks_lock(&mut self) -> Result<bool, E> {
        let files = self.files_in("")?;
        let has = |name: &str| files.iter().any(|it| it == name);
        Ok(LOCKS
            .iter()
            .any(|(manifest, locks)| has(manifest) && !locks.iter().any(|lock| has(lock))))
    }

    /// Returns whether a folder is there, or could be made without replacing a file or a link.
    fn may_be_folder(&mut self, path: &str) -> Result<bool, E> {
        let mut folder = String::new();
        for name in path.split('/').filter(|it| !it.is_empty()) {
            let listed = self.list(&folder)?;
            match listed.iter().find(|it| it.name == name) {
                None => return Ok(true),
                Some(it) if !it.is_folder => return Ok(false),
                Some(_) => folder = joined(&folder, name),
            }
        }
        Ok(true)
    }

    /// Returns what is there under this name, whatever its case.
    fn spelled(&mut self, path: &str) -> Result<Vec<String>, E> {
        let mut found = vec![String::new()];
        for name in path.split('/') {
            let name = name.to_lowercase();
            let mut next = Vec::new();
            for folder in found {
                let listed = self.list(&folder)?.into_iter();
                let same = listed.filter(|it| it.name.to_lowercase() == name);
                next.extend(same.map(|it| joined(&folder, &it.name)));
            }
            found = next;
        }
        Ok(found)
    }
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Returns a path and the folders it lies in, but for the root.
fn up_from(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(folders)
}

/// Returns whether no component is git's own.
fn is_plain(folder: &str) -> bool {
    !folder.split('/').any(|it| it.eq_ignore_ascii_case(".git"))
}

/// What the rules take away by its full name, whatever its case: files, and folders with all beneath.
struct Named {
    /// From the root.
    paths: BTreeSet<String>,
    /// At any depth.
    names: BTreeSet<String>,
}

impl Named {
    fn of(rules: &ImportRules) -> Self {
        let all = rules.plan_denied.iter().chain(&rules.protected);
        let of = |anywhere: bool| {
            let globs = all.clone();
            let globs = globs.filter(|it| it.trim_end_matches('/').contains('/') != anywhere);
            globs
                .filter_map(|it| Some(literal(it)?.to_lowercase()))
                .collect()
        };
        Self {
            paths: of(false),
            names: of(true),
        }
    }

    /// Returns whether a path is taken away, with a folder it lies in or by itself.
    fn takes(&self, path: &str) -> bool {
        let path = path.to_lowercase();
        up_from(&path).any(|it| self.paths.contains(it))
            || path.split('/').any(|it| self.names.contains(it))
    }

    /// Returns what is there of it. What is taken at any depth is looked for in the root and where
    /// something can be written.
    fn found<L, E>(
        &self,
        writable: &BTreeSet<String>,
        seen: &mut Seen<L>,
    ) -> Result<BTreeSet<String>, E>
    where
        L: FnMut(&str) -> Result<Vec<Listed>, E>,
    {
        let mut found = BTreeSet::new();
        for path in self.paths.iter().chain(&self.names) {
            found.extend(seen.spelled(path)?);
        }
        for name in &self.names {
            for folder in writable {
                found.extend(seen.spelled(&joined(folder, name))?);
            }
        }
        Ok(found)
    }
}

/// Returns the path that a glob of a list that takes away names, if it names just one.
fn literal(glob: &str) -> Option<String> {
    let name = glob.trim_end_matches('/');
    let name = name.strip_suffix("/**").unwrap_or(name);
    let mut path = String::new();
    let mut rest = name.trim_start_matches('/').chars();
    while let Some(next) = rest.next() {
        match next {
            '*' | '?' | '[' | ']' | '{' | '}' => return None,
            '\\' => path.push(rest.next()?),
            other => path.push(other),
        }
    }
    let plain = path.split('/').all(|it| !matches!(it, "" | "." | ".."));
    plain.then_some(path)
}

/// Returns the folders of build output that an ignore file names literally.
fn build_folders(ignore: &str) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for line in ignore.lines().map(str::trim) {
        let (line, is_kept) = match line.strip_prefix('!') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let anchored = line.strip_prefix("**/").unwrap_or(line);
        let anchored = anchored.strip_prefix('/').unwrap_or(anchored);
        let name = ["/**", "/*", "/"]
            .iter()
            .find_map(|it| anchored.strip_suffix(it));
        let is_known = || BUILD_FOLDERS.contains(&anchored);
        let is_folder = name.is_some() || is_known();
        let Some(path) = literal(name.unwrap_or(anchored)).filter(|it| is_plain(it)) else {
            continue;
        };
        if is_kept {
            folders.retain(|it| *it != path);
        } else if is_folder && !line.starts_with('#') && folders.len() < BUILD_FOLDERS_MAX {
            folders.push(path);
        }
    }
    folders
}

/// Returns whether an ignore file names something that may be a file in the root.
fn ignores_files(ignore: &str) -> bool {
    let lines = ignore.lines().map(str::trim);
    let mut names = lines.filter(|it| !it.is_empty() && !it.starts_with(['#', '!']));
    names.any(|line| {
        let line = line.strip_prefix("**/").unwrap_or(line);
        let name = line.strip_prefix('/').unwrap_or(line);
        !name.contains('/') && !BUILD_FOLDERS.contains(&name)
    })
}

/// Returns the shortest lists that say the same: a place is named only where it differs from what
/// holds it.
fn fewest(writable: &BTreeSet<String>, read_only: &BTreeSet<String>) -> Writes {
    let mut writes = Writes::default();
    let entries = writable.iter().map(|it| (it, true));
    let mut entries: Vec<_> = entries
        .chain(read_only.iter().map(|it| (it, false)))
        .collect();
    // A folder sorts before all that lies in it.
    entries.sort();
    for (path, is_writable) in entries {
        let path = PathBuf::from(path);
        if writes.admit(&path) != is_writable {
            if is_writable {
                writes.writable.push(path);
            } else {
                writes.read_only.push(path);
            }
        }
    }
    writes
}

#[cfg(test)]
mod tests;
