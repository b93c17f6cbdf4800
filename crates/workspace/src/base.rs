//! A materialised base: a commit's files as read-only layers, and a git directory that shows them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use domain::tree::Commit;
use ports::workspaces::{Error, Secrets};
use serde::{Deserialize, Serialize};

use crate::disk::{self, failed};
use crate::git::Git;
use crate::globs::DenyOnly;
use crate::ignores::Ignores;
use crate::names::{Folded, Names};

/// A materialised base.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) commit: Commit,
    /// Which secrets were left out, and which accepted: a digest of both.
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
pub(crate) struct Note {
    /// The commits whose layers make the base, top-most first.
    pub(crate) layers: Vec<Commit>,
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
        Self::of_layers(commit, String::new(), folder, Vec::new(), names)
    }

    /// Returns a base whose files lie in these layers.
    pub(crate) fn of_layers(
        commit: Commit,
        variant: String,
        folder: PathBuf,
        layers: Vec<PathBuf>,
        names: Names,
    ) -> Self {
        Self {
            commit,
            variant,
            folder,
            layers,
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
    pub(crate) fn bases(&self) -> PathBuf {
        self.state.join("bases")
    }

    pub(crate) fn folder(&self, commit: &Commit, variant: &str) -> PathBuf {
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
        let (commit, variant) = (commit.clone(), variant.to_owned());
        Ok(Some(Base::of_layers(
            commit, variant, folder, layers, names,
        )))
    }

    /// Returns the base, materialised now if it was not, and makes it the current one.
    pub(crate) fn prepare(&self, commit: &Commit, secrets: &Secrets) -> Result<Base, Error> {
        let hidden = DenyOnly::of(&secrets.globs)?;
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
            self.materialise(commit, &variant, &hidden, &secrets.accepted)?;
        }
        let lost = || Error::NotFound(format!("the base {} went away", commit.short()));
        current(self.load(commit, &variant)?.ok_or_else(lost)?)
    }
}

impl Base {
    /// Returns the commits that the layers were made for, top-most first.
    pub(crate) fn commits_of_layers(&self) -> Vec<Commit> {
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

/// Names what was left out and by which rules the rest was searched: a base that was made ready by
/// others is never stacked upon, nor are its objects shown.
fn variant_of(secrets: &Secrets) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(::secrets::Scanner::version().as_bytes());
    for list in [&secrets.globs, &secrets.accepted] {
        let sorted: BTreeSet<&str> = list.iter().map(String::as_str).collect();
        for item in sorted {
            hasher.update(item.as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&[1]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
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
