//! What the attack suite collects with: the engine's own workspaces and artifacts, on a repository
//! that is there to be attacked.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use attacks::Engine;
use store::artifacts::DiskArtifacts;
use workspace::GitWorkspaces;

use crate::exit::Failure;

/// The adapters, on a repository of the suite's own.
#[derive(Debug)]
pub(crate) struct Collector {
    workspaces: GitWorkspaces,
    artifacts: Arc<DiskArtifacts>,
}

impl Collector {
    /// Opens them, with everything they keep in `folder`.
    pub(crate) fn open(repository: &Path, folder: &Path) -> Result<Self, Failure> {
        let artifacts = Arc::new(DiskArtifacts::open(&folder.join("artifacts"))?);
        let workspaces = GitWorkspaces::open(repository, &folder.join("trees"), artifacts.clone())?;
        Ok(Self {
            workspaces,
            artifacts,
        })
    }

    /// Returns the part of an engine that collects.
    pub(crate) fn engine(&self) -> Engine<'_> {
        Engine {
            workspaces: &self.workspaces,
            artifacts: self.artifacts.as_ref(),
            questions,
        }
    }
}

/// Makes a folder that is nobody else's business.
pub(crate) fn private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(folder)
}

fn questions(drop: &Path) -> Vec<String> {
    match agents::question_files::left_in(drop) {
        Ok(found) => found
            .into_iter()
            .map(|it| it.unwrap_or_else(|why| why))
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}
