//! A family of toolchains, as found: what of it a cell needs to see, and what must stay covered.

use std::path::{Path, PathBuf};

use super::probe::{Probe, Program};
use crate::config::CELL_HOME;

/// What one family needs in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// Its name, for headings.
    pub(crate) name: &'static str,
    /// The file by which the repository says that it uses it; none when it does not.
    pub(crate) used_for: Option<String>,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
    /// Host paths to show.
    pub(crate) mounts: Vec<Shown>,
    /// Places in the cell where credentials of this family are known to live.
    pub(crate) masks: Vec<PathBuf>,
    /// Folders of programs in the cell.
    pub(crate) path: Vec<PathBuf>,
    /// Variables in the cell.
    pub(crate) env: Vec<(&'static str, String)>,
}

/// One host path to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// On the host.
    pub(crate) source: PathBuf,
    /// In the cell.
    pub(crate) target: PathBuf,
    /// The name of the writable layer, if it has one.
    pub(crate) layer: Option<&'static str>,
    /// What it is, in a few words.
    pub(crate) what: String,
}

impl Family {
    /// Returns an empty family.
    pub(crate) fn new(name: &'static str, used_for: Option<&str>) -> Self {
        Self {
            name,
            used_for: used_for.map(ToString::to_string),
            ..Self::default()
        }
    }

    /// Returns whether the toolchain itself was found.
    pub(crate) fn is_found(&self) -> bool {
        !(self.env.is_empty() && self.mounts.is_empty())
    }

    /// Returns whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.env.is_empty() && self.notes.is_empty()
    }

    /// Shows a host path where it is, read-only.
    pub(crate) fn show(&mut self, source: &Path, what: &str) {
        self.show_at(source, source.to_path_buf(), what);
    }

    /// Shows a host path somewhere else, read-only.
    pub(crate) fn show_at(&mut self, source: &Path, target: PathBuf, what: &str) {
        self.add(source, target, None, what);
    }

    /// Shows a folder of the home at the same place of the cell's home, with a writable layer.
    pub(crate) fn cache(&mut self, source: &Path, at: &str, layer: &'static str, what: &str) {
        if source.is_dir() {
            self.add(source, in_home(at), Some(layer), what);
        }
    }

    fn add(&mut self, source: &Path, target: PathBuf, layer: Option<&'static str>, what: &str) {
        if self.mounts.iter().any(|it| it.target == target) {
            return;
        }
        self.mounts.push(Shown {
            source: source.to_path_buf(),
            target,
            layer,
            what: what.to_string(),
        });
    }

    /// Shows where a program comes from, and puts it on the path. Returns whether there is one.
    pub(crate) fn show_program(&mut self, probe: &Probe, name: &str) -> bool {
        match probe.program(name) {
            None => false,
            Some(Program::System) => true,
            Some(Program::Prefix(prefix)) => {
                self.show_prefix(&prefix, name);
                true
            }
            Some(Program::File(file)) => {
                self.show(&file, name);
                self.add_path(file.parent().unwrap_or(&file));
                true
            }
        }
    }

    /// Shows an installation with a `bin` folder, and puts that on the path.
    pub(crate) fn show_prefix(&mut self, prefix: &Path, what: &str) {
        self.show(prefix, what);
        self.add_path(&prefix.join("bin"));
    }

    /// Puts a folder on the path.
    pub(crate) fn add_path(&mut self, folder: &Path) {
        if !self.path.iter().any(|it| it == folder) {
            self.path.push(folder.to_path_buf());
        }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.env.push((name, value.into()));
    }

    /// Sets a variable to a place in the cell's home.
    pub(crate) fn set_in_home(&mut self, name: &'static str, at: &str) {
        self.set(name, in_home(at).display().to_string());
    }

    /// Covers places in the cell's home.
    pub(crate) fn mask_in_home(&mut self, places: &[&str]) {
        self.masks.extend(places.iter().map(|it| in_home(it)));
    }

    /// Notes something.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Returns a place in the cell's home.
pub(crate) fn in_home(at: &str) -> PathBuf {
    Path::new(CELL_HOME).join(at)
}
