//! A materialised base: a commit's files as read-only layers, and a git directory that shows them.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use domain::tree::Commit;
use ports::workspaces::Error;
use serde::{Deserialize, Serialize};

use crate::disk::{self, failed};
use crate::git::{Git, git_error};
use crate::globs::DenyOnly;
use crate::ignores::Ignores;
use crate::layer::{Writer, whiteouts};
use crate::names::{Folded, Kind, Name, Names};
use crate::sealed;

/// The most layers a base is stacked of before it is checked out afresh.
pub(crate) const LAYERS_MAX: usize = 8;
/// The most earlier bases looked at for the nearest one.
const CANDIDATES_MAX: usize = 8;
/// How long before now the files of a base seem to have been written, in seconds: an edit in the
/// second after they were made has another time then, and git looks at it.
const SECONDS_BACK: u64 = 2;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4_096;

/// A materialised base.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) commit: Commit,
    /// Which secrets were left out: a digest of the globs.
    pub(crate) variant: String,
    pub(crate) folder: PathBuf,
    /// The layers' files, top-most first.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) names: Names,
    ignores: OnceLock<Ignores>,
    folded: OnceLock<Folded>,
}

/// What is noted beside the files of a base.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The commits whose layers make the base, top-most first.
    layers: Vec<Commit>,
}

/// Where bases are made and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Yard<'a> {
    pub(crate) git: &'a Git,
    /// The controller's own repository, which sees the user's objects.
    pub(crate) own: &'a Path,
    pub(crate) state: &'a Path,
}

impl Base {
    /// Returns a base of names alone.
    #[cfg(test)]
    pub(crate) fn in_memory(commit: Commit, folder: PathBuf, names: Names) -> Self {
        Self {
            commit,
            variant: String::new(),
            folder,
            layers: Vec::new(),
            names,
            ignores: OnceLock::new(),
            folded: OnceLock::new(),
        }
    }

    /// Returns the git directory for `/workspace/.git`.
    pub(crate) fn git_dir(&self) -> PathBuf {
        self.folder.join("git")
    }

    /// Returns where the base's file at `path` lies, if the base shows one there.
    pub(crate) fn file(&self, path: &[u8]) -> Option<PathBuf> {
        self.names.get(path)?;
        self.layers
            .iter()
            .map(|layer| layer.join(OsStr::from_bytes(path)))
            .find(|place| place.symlink_metadata().is_ok())
    }

    /// Returns the base's own ignore rules.
    pub(crate) fn ignores(&self) -> &Ignores {
        self.ignores.get_or_init(|| Ignores::of(self))
    }

    /// Returns every name and folder by its case-folded form.
    pub(crate) fn folded(&self) -> &Folded {
        self.folded.get_or_init(|| self.names.folded())
    }
}

impl Yard<'_> {
    fn bases(&self) -> PathBuf {
        self.state.join("bases")
    }

    fn folder(&self, commit: &Commit, variant: &str) -> PathBuf {
        self.bases().join(commit.as_str()).join(variant)
    }

    /// Returns which variant of this commit was prepared last.
    pub(crate) fn current_variant(&self, commit: &Commit) -> Result<Option<String>, Error> {
        let file = self.bases().join(commit.as_str()).join("current");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(format!("reading {}", file.display()))(error)),
        }
    }

    /// Returns the base if it is materialised and whole.
    pub(crate) fn load(&self, commit: &Commit, variant: &str) -> Result<Option<Base>, Error> {
        let folder = self.folder(commit, variant);
        if !folder.is_dir() {
            return Ok(None);
        }
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read(&file).map_err(failed(format!("reading {}", file.display())))
        };
        let damaged = || {
            Error::Unusable(format!(
                "the materialised base {} is damaged; remove the folder {} and run the command again",
                commit.short(),
                folder.display()
            ))
        };
        let note: Note = serde_json::from_slice(&read("base.json")?).map_err(|_| damaged())?;
        let names = Names::read(&read("names")?).ok_or_else(damaged)?;
        let layers: Vec<_> = note
            .layers
            .iter()
            .map(|it| self.folder(it, variant).join("files"))
            .collect();
        if layers.is_empty() || !layers.iter().all(|it| it.is_dir()) {
            return Err(damaged());
        }
        Ok(Some(Base {
            commit: commit.clone(),
            variant: variant.to_owned(),
            folder,
            layers,
            names,
            ignores: OnceLock::new(),
            folded: OnceLock::new(),
        }))
    }

    /// Returns the base, materialised now if it was not, and makes it the current one.
    pub(crate) fn prepare(&self, commit: &Commit, secrets: &[String]) -> Result<Base, Error> {
        let hidden = DenyOnly::of(secrets)?;
        let variant = variant_of(secrets);
        let current = |base: Base| {
            if self.current_variant(commit)?.as_deref() != Some(variant.as_str()) {
                let file = self.bases().join(commit.as_str()).join("current");
                disk::write_whole(&file, variant.as_bytes())?;
            }
            Ok(base)
        };
        if let Some(base) = self.load(commit, &variant)? {
            return current(base);
        }
        let _held = disk::lock(&self.state.join("bases.lock"))?;
        if self.load(commit, &variant)?.is_none() {
            self.materialise(commit, &variant, &hidden)?;
        }
        let lost = || Error::NotFound(format!("the base {} went away", commit.short()));
        current(self.load(commit, &variant)?.ok_or_else(lost)?)
    }

    fn materialise(&self, commit: &Commit, variant: &str, hidden: &DenyOnly) -> Result<(), Error> {
        let all = self.names_at(commit)?;
        let total = all.all().len();
        let visible = all
            .all()
            .iter()
            .filter(|it| !hidden.matches_bytes(&it.path))
            .cloned()
            .collect();
        let mut names = Names::of(visible)?;
        let excluded = names.all().len() != total;

        let making = disk::workshop(&self.state.join("making-bases"))?;
        let files = making.join("files");
        disk::shown_folder(&files)?;
        let below = self.nearest(commit, variant, &names)?;
        let layers = self.write_layer(&files, &mut names, below.as_ref())?;
        let note = Note {
            layers: std::iter::once(commit.clone()).chain(layers).collect(),
        };
        let sealing = sealed::Sealing {
            git: self.git,
            own: self.own,
            commit,
            names: &names,
            excluded,
        };
        sealing.write(
            &making.join("git"),
            below.as_ref().map(Base::git_dir).as_deref(),
        )?;
        disk::write_whole(&making.join("names"), &names.written())?;
        let note =
            serde_json::to_vec(&note).map_err(|error| failed("writing base.json")(error.into()))?;
        disk::write_whole(&making.join("base.json"), &note)?;
        disk::sync(&making)?;
        let folder = self.folder(commit, variant);
        disk::private_folder(&self.bases().join(commit.as_str()))?;
        fs::rename(&making, &folder).map_err(failed(format!("making {}", folder.display())))
    }

    fn names_at(&self, commit: &Commit) -> Result<Names, Error> {
        let arguments = ["ls-tree", "-r", "-z", "--full-tree", commit.as_str()];
        let listed = self.git.on(self.own, &arguments).finish()?;
        if listed.code == 0 {
            return Names::of_ls_tree(&listed.output);
        }
        let known = self
            .git
            .on(self.own, &["cat-file", "-e", commit.as_str()])
            .finish()?;
        if known.code == 0 {
            Err(listed.error("ls-tree"))
        } else {
            Err(Error::NotFound(format!(
                "there is no commit {commit} in the repository"
            )))
        }
    }

    /// Returns the materialised base to stack upon: the one with the fewest differences, if
    /// stacking writes less than half of the files.
    fn nearest(
        &self,
        commit: &Commit,
        variant: &str,
        names: &Names,
    ) -> Result<Option<Base>, Error> {
        let mut candidates: Vec<(SystemTime, Commit)> = Vec::new();
        let bases = self.bases();
        let reading = || failed(format!("reading {}", bases.display()));
        for entry in fs::read_dir(&bases).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let Some(other) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            let made = entry.path().join(variant).symlink_metadata();
            if let Ok(made) = made.and_then(|it| it.modified())
                && other != *commit
            {
                candidates.push((made, other));
            }
        }
        candidates.sort_unstable();
        let mut best: Option<(usize, Base)> = None;
        for (_, other) in candidates.iter().rev().take(CANDIDATES_MAX) {
            // A damaged base is no reason to fail: it is just not stacked upon.
            let Ok(Some(base)) = self.load(other, variant) else {
                continue;
            };
            let (gone, changed) = base.names.changes(names);
            let count = gone.len() + changed.len();
            let better = best.as_ref().is_none_or(|(fewest, _)| count < *fewest);
            if base.layers.len() < LAYERS_MAX && count * 2 <= names.all().len() && better {
                best = Some((count, base));
            }
        }
        Ok(best.map(|(_, base)| base))
    }

    /// Writes the layer of a base and returns the commits of the layers beneath it.
    fn write_layer(
        &self,
        files: &Path,
        names: &mut Names,
        below: Option<&Base>,
    ) -> Result<Vec<Commit>, Error> {
        let seconds = now_seconds().saturating_sub(SECONDS_BACK);
        let mut writer = Writer::new(files, Some(seconds));
        let nothing = Names::default();
        let lower = below.map_or(&nothing, |base| &base.names);
        let (gone, changed) = lower.changes(names);
        let changed: Vec<Name> = changed.into_iter().cloned().collect();
        let gone: BTreeSet<&[u8]> = gone.iter().map(|it| it.path.as_slice()).collect();
        let present = changed.iter().map(|it| it.path.as_slice()).collect();
        for path in whiteouts(lower, &gone, &present) {
            writer.whiteout(&path)?;
        }
        if below.is_none() {
            // The mount point of the git directory.
            fs::create_dir(files.join(".git")).map_err(failed("making the folder .git"))?;
        }
        let lengths = self.write_blobs(&mut writer, &changed)?;
        let written: HashMap<&[u8], u64> = changed
            .iter()
            .map(|it| it.path.as_slice())
            .zip(lengths)
            .collect();
        let stamped = names
            .all()
            .iter()
            .map(|it| {
                let mut name = it.clone();
                let old = lower.get(&it.path);
                (name.bytes, name.seconds) = match (written.get(it.path.as_slice()), old) {
                    (Some(bytes), _) => (*bytes, seconds),
                    (None, Some(old)) => (old.bytes, old.seconds),
                    (None, None) => (0, seconds),
                };
                name
            })
            .collect();
        *names = Names::of(stamped)?;
        Ok(below
            .map(|base| base.commits_of_layers())
            .unwrap_or_default())
    }

    /// Writes the blobs of `entries` into the layer, as they are: no filter, no attribute.
    fn write_blobs(&self, writer: &mut Writer, entries: &[Name]) -> Result<Vec<u64>, Error> {
        let blobs = || entries.iter().filter(|it| it.kind != Kind::Submodule);
        let requests: Vec<&str> = blobs().map(|it| it.object.as_str()).collect();
        let call = self.git.on(self.own, &["cat-file", "--batch", "--buffer"]);
        let (lengths, code, complaint) = call.pipe(
            move |stdin| {
                let mut buffered = std::io::BufWriter::new(stdin);
                requests
                    .iter()
                    .try_for_each(|it| writeln!(buffered, "{it}"))
                    .and_then(|()| buffered.flush())
                    .map_err(failed("asking git for files"))
            },
            |stdout| {
                entries
                    .iter()
                    .map(|entry| write_blob(writer, entry, stdout))
                    .collect::<Result<Vec<_>, Error>>()
            },
        )?;
        if code == 0 {
            Ok(lengths)
        } else {
            Err(git_error("cat-file", code, &complaint))
        }
    }
}

impl Base {
    fn commits_of_layers(&self) -> Vec<Commit> {
        // Layers lie at `bases/<commit>/<variant>/files`.
        self.layers
            .iter()
            .filter_map(|layer| {
                layer
                    .parent()?
                    .parent()?
                    .file_name()?
                    .to_str()?
                    .parse()
                    .ok()
            })
            .collect()
    }
}

fn write_blob(
    writer: &mut Writer,
    entry: &Name,
    stdout: &mut std::io::BufReader<ChildStdout>,
) -> Result<u64, Error> {
    if entry.kind == Kind::Submodule {
        writer.folder(&entry.path)?;
        return Ok(0);
    }
    let reading = || failed(format!("reading `{}` from git", entry.path.escape_ascii()));
    let mut head = String::new();
    stdout.take(256).read_line(&mut head).map_err(reading())?;
    let bytes: u64 = head
        .trim_end()
        .strip_prefix(&entry.object)
        .and_then(|it| it.strip_prefix(" blob "))
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| Error::Git {
            command: "cat-file".into(),
            output: format!(
                "`{}` cannot be read ({}); fetch the missing object, or run `git fsck`",
                entry.path.escape_ascii(),
                head.trim()
            ),
        })?;
    if entry.kind == Kind::Symlink {
        if bytes > LINK_BYTES_MAX {
            return Err(Error::Unusable(format!(
                "the symbolic link `{}` is {bytes} bytes long",
                entry.path.escape_ascii()
            )));
        }
        let mut target = Vec::new();
        stdout
            .take(bytes)
            .read_to_end(&mut target)
            .map_err(reading())?;
        writer.symlink(&entry.path, &target)?;
    } else {
        let executable = entry.kind == Kind::Executable;
        let copied = writer.file(&entry.path, executable, &mut stdout.take(bytes))?;
        if copied != bytes {
            return Err(reading()(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let mut newline = [0];
    stdout.read_exact(&mut newline).map_err(reading())?;
    Ok(bytes)
}

fn variant_of(secrets: &[String]) -> String {
    let sorted: BTreeSet<&str> = secrets.iter().map(String::as_str).collect();
    let mut hasher = blake3::Hasher::new();
    for glob in sorted {
        hasher.update(glob.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |it| it.as_secs())
}

/// The bases in memory, so that their names are read once.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    kept: std::sync::Mutex<Vec<Arc<Base>>>,
}

/// The most bases kept in memory.
const SHELF_MAX: usize = 4;

impl Shelf {
    /// Returns the base from memory, or else by `load`.
    pub(crate) fn get(
        &self,
        commit: &Commit,
        variant: &str,
        load: impl FnOnce() -> Result<Option<Base>, Error>,
    ) -> Result<Arc<Base>, Error> {
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = kept
            .iter()
            .position(|it| it.commit == *commit && it.variant == variant);
        let base = match known {
            Some(at) => kept.remove(at),
            None => Arc::new(load()?.ok_or_else(|| {
                Error::NotFound(format!("the base {} has not been prepared", commit.short()))
            })?),
        };
        kept.push(Arc::clone(&base));
        if kept.len() > SHELF_MAX {
            kept.remove(0);
        }
        Ok(base)
    }
}
