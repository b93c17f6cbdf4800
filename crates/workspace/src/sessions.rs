//! Sessions: layers put together for one cell, and what was opened, so that a restarted engine can
//! still capture.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use domain::SessionId;
use domain::tree::{Entry, Tree};
use ports::artifacts::Artifacts;
use ports::cells::{self, Layers};
use ports::workspaces::{Error, LeftOpen, Mode, Opened};
use serde::{Deserialize, Serialize};

use crate::disk::{self, failed, store_failed};
use crate::layer::{Writer, whiteouts};
use crate::manifest::{Held, View, content_at_base};
use crate::names::Kind;
use crate::removal;

/// How a session's tree was opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) tree: Tree,
    /// The variant of the base, see [`crate::base::Base`].
    pub(crate) variant: String,
    pub(crate) writable: bool,
    /// Whether it is a plain copy.
    pub(crate) plain: bool,
}

/// Where sessions are opened.
#[derive(Clone, Copy)]
pub(crate) struct Rooms<'a> {
    pub(crate) state: &'a Path,
    pub(crate) artifacts: &'a dyn Artifacts,
    /// Whether overlays are not to be had.
    pub(crate) plain: bool,
}

impl Rooms<'_> {
    /// Returns the folder of a session.
    pub(crate) fn folder(&self, session: SessionId) -> PathBuf {
        self.state.join("sessions").join(session.to_string())
    }

    /// Returns where a session leaves its changes.
    pub(crate) fn left_behind(&self, session: SessionId, record: &Record) -> PathBuf {
        let name = if record.plain { "plain" } else { "upper" };
        self.folder(session).join(name)
    }

    /// Makes a view ready for a session's cell.
    pub(crate) fn open(
        &self,
        session: SessionId,
        tree: &Tree,
        view: &View<'_>,
        mode: Mode,
    ) -> Result<Opened, Error> {
        let folder = self.folder(session);
        removal::remove_folder(&folder)?;
        disk::private_folder(&folder)?;
        let layers = if self.plain {
            let dir = folder.join("plain");
            self.copy(view, &dir)?;
            match mode {
                Mode::ReadOnly => Layers::ReadOnly { lowers: vec![dir] },
                Mode::Writable | Mode::Scratch => Layers::Plain { dir },
            }
        } else {
            let mut lowers: Vec<PathBuf> = self.layer(tree, view)?.into_iter().collect();
            lowers.extend(view.base.layers.iter().cloned());
            match mode {
                Mode::ReadOnly => Layers::ReadOnly { lowers },
                Mode::Writable | Mode::Scratch => {
                    let (upper, work) = (folder.join("upper"), folder.join("work"));
                    // The merged root has the upper layer's mode.
                    disk::shown_folder(&upper)?;
                    disk::private_folder(&work)?;
                    Layers::Overlay {
                        lowers,
                        upper,
                        work,
                    }
                }
            }
        };
        let record = Record {
            tree: tree.clone(),
            variant: view.base.variant.clone(),
            writable: mode == Mode::Writable,
            plain: self.plain,
        };
        let record = serde_json::to_vec(&record)
            .map_err(|error| failed("writing session.json")(error.into()))?;
        disk::write_whole(&folder.join("session.json"), &record)?;
        Ok(Opened {
            tree: cells::Tree {
                layers,
                git_dir: Some(view.base.git_dir()),
                writes: cells::Writes::everywhere(),
            },
            fallback: self.plain,
        })
    }

    /// Returns how a session was opened.
    pub(crate) fn record(&self, session: SessionId) -> Result<Record, Error> {
        let file = self.folder(session).join("session.json");
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound(format!("{session} has no open workspace")));
            }
            Err(error) => return Err(failed(format!("reading {}", file.display()))(error)),
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Unusable(format!("{} is damaged: {error}", file.display())))
    }

    /// Returns the sessions that have a folder. Links and other names are not theirs.
    pub(crate) fn left_open(&self) -> Result<Vec<LeftOpen>, Error> {
        let top = self.state.join("sessions");
        let failed = || failed(format!("looking into {}", top.display()));
        let entries = match fs::read_dir(&top) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut left = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed())?;
            let is_folder = entry.file_type().map_err(failed())?.is_dir();
            let name = entry.file_name();
            let id = name.to_str().and_then(|it| it.parse::<SessionId>().ok());
            left.extend(id.filter(|_| is_folder).map(|session| LeftOpen {
                session,
                writable: self.record(session).map_or(true, |it| it.writable),
            }));
        }
        left.sort_unstable();
        Ok(left)
    }

    /// Removes a session's layers.
    pub(crate) fn close(&self, session: SessionId) -> Result<(), Error> {
        removal::remove_folder(&self.folder(session))
    }

    /// Returns the layer with a tree's changes, made if it is not there; none for a bare base.
    fn layer(&self, tree: &Tree, view: &View<'_>) -> Result<Option<PathBuf>, Error> {
        if view.changes.is_empty() {
            return Ok(None);
        }
        let name = format!("{}-{}", hex(&tree.digest), view.base.variant);
        let folder = self.state.join("layers").join(name);
        let _held = disk::lock(&self.state.join("layers.lock"))?;
        // A layer is not synced: one that was made before the machine last started is made again.
        let boot = boot_id();
        if fs::read(folder.join("boot")).is_ok_and(|it| it == boot) {
            return Ok(Some(folder.join("files")));
        }
        removal::remove_folder(&folder)?;
        let making = disk::workshop(&self.state.join("making-layers"))?;
        let files = making.join("files");
        disk::shown_folder(&files)?;
        self.write_changes(view, &files)?;
        disk::write_whole(&making.join("boot"), &boot)?;
        fs::rename(&making, &folder).map_err(failed(format!("making {}", folder.display())))?;
        Ok(Some(folder.join("files")))
    }

    fn write_changes(&self, view: &View<'_>, files: &Path) -> Result<(), Error> {
        let mut writer = Writer::new(files, None);
        let (mut gone, mut present) = (BTreeSet::new(), BTreeSet::new());
        for (path, entry) in view.changes.iter() {
            match entry {
                Entry::Deleted => gone.insert(path.as_bytes()),
                Entry::File { .. } | Entry::Symlink { .. } | Entry::Foreign { .. } => {
                    present.insert(path.as_bytes())
                }
            };
        }
        for path in whiteouts(&view.base.names, &gone, &present) {
            writer.whiteout(&path)?;
        }
        for (path, entry) in view.changes.iter() {
            self.write_entry(&mut writer, path, entry)?;
        }
        Ok(())
    }

    fn write_entry(&self, writer: &mut Writer, path: &str, entry: &Entry) -> Result<(), Error> {
        match entry {
            Entry::File {
                content,
                executable,
                bytes: _,
            } => {
                let bytes = self
                    .artifacts
                    .get(content)
                    .map_err(store_failed(format!("reading `{path}` of the tree")))?;
                writer
                    .file(path.as_bytes(), *executable, &mut bytes.as_slice())
                    .map(drop)
            }
            Entry::Symlink { target } => writer.symlink(path.as_bytes(), target.as_bytes()),
            Entry::Deleted | Entry::Foreign { .. } => Ok(()),
        }
    }

    /// Copies a whole view into a new folder.
    fn copy(&self, view: &View<'_>, folder: &Path) -> Result<(), Error> {
        disk::shown_folder(folder)?;
        let git = folder.join(".git");
        fs::create_dir(&git).map_err(failed(format!("making {}", git.display())))?;
        let mut writer = Writer::new(folder, None);
        for name in view.base.names.all() {
            let text = std::str::from_utf8(&name.path).ok();
            if text.is_some_and(|path| !matches!(view.at(path), Some(Held::Base(_)))) {
                continue;
            }
            let writer = writer.at(Some(name.seconds));
            match name.kind {
                Kind::Submodule => {
                    // Its folder may be needed for a file that the tree adds in it.
                    writer.folder(&name.path)?;
                }
                Kind::Symlink => writer.symlink(&name.path, &content_at_base(view.base, name)?)?,
                Kind::File | Kind::Executable => {
                    let place = view.base.file(&name.path);
                    let doing = format!("copying `{}`", name.path.escape_ascii());
                    let lost = || std::io::Error::from(std::io::ErrorKind::NotFound);
                    let mut from = place
                        .ok_or_else(lost)
                        .and_then(fs::File::open)
                        .map_err(failed(doing))?;
                    let executable = name.kind == Kind::Executable;
                    writer.file(&name.path, executable, &mut from)?;
                }
            }
        }
        writer.at(None);
        for (path, entry) in view.changes.iter() {
            self.write_entry(&mut writer, path, entry)?;
        }
        Ok(())
    }
}

/// Returns a private pair of folders for a cache layer, made if missing.
pub(crate) fn cache_layer(
    state: &Path,
    owner: &str,
    name: &str,
) -> Result<(PathBuf, PathBuf), Error> {
    let folder = state
        .join("caches")
        .join(folder_name(owner))
        .join(folder_name(name));
    disk::private_folder(&folder)?;
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    let _held = disk::lock(&state.join("caches.lock"))?;
    clear_volatile(&folder, &upper, &work)?;
    disk::shown_folder(&upper)?;
    disk::private_folder(&work)?;
    disk::write_whole(&folder.join("boot"), &boot_id())?;
    Ok((upper, work))
}

/// Removes the cache layers of an owner.
pub(crate) fn remove_caches(state: &Path, owner: &str) -> Result<(), Error> {
    removal::remove_folder(&state.join("caches").join(folder_name(owner)))
}

/// Returns the owners that have cache layers. A folder is an owner's when its name is the one that
/// owner's would have.
pub(crate) fn cached(state: &Path) -> Result<Vec<String>, Error> {
    let top = state.join("caches");
    let entries = match fs::read_dir(&top) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(format!("reading {}", top.display()))(error)),
    };
    let mut owners = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(format!("reading {}", top.display())))?;
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|it| Some((it, it.rsplit_once('-')?.0)));
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        owners.extend(
            owner
                .filter(|(name, owner)| is_folder && folder_name(owner) == *name)
                .map(|(_, owner)| owner.to_owned()),
        );
    }
    owners.sort_unstable();
    Ok(owners)
}

fn folder_name(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '-' || *it == '_')
        .take(48)
        .collect();
    // The digest keeps apart what looks alike once it is plain.
    let digest = blake3::hash(text.as_bytes()).to_hex();
    format!("{plain}-{}", &digest[..16])
}

/// Makes a layer that was mounted `volatile` mountable again. The kernel leaves a mark that forbids
/// it, since after a crash of the machine the layer may be damaged: then it is emptied.
fn clear_volatile(folder: &Path, upper: &Path, work: &Path) -> Result<(), Error> {
    let scratch = work.join("work");
    if !scratch.is_dir() {
        return Ok(());
    }
    // The kernel makes it with no permission at all.
    let open = rustix::fs::Mode::from_raw_mode(0o700);
    rustix::fs::chmod(&scratch, open)
        .map_err(|error| failed(format!("opening {}", scratch.display()))(error.into()))?;
    let mark = scratch.join("incompat");
    if !mark.is_dir() {
        return Ok(());
    }
    if fs::read(folder.join("boot")).is_ok_and(|it| it == boot_id()) {
        return removal::remove_folder(&mark);
    }
    removal::remove_folder(upper)?;
    removal::remove_folder(work)
}

fn boot_id() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn hex(digest: &domain::Digest) -> String {
    let text = digest.to_string();
    text.trim_start_matches("b3:").to_owned()
}
