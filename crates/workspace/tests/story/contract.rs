//! What every adapter of sealed trees keeps to.

use std::sync::Arc;

use domain::tree::Commit;
use palisade_workspace::GitWorkspaces;
use ports::artifacts::Artifacts;
use ports::workspaces::Workspaces;

use super::world::{World, file};

pub(crate) struct InGit(World);

impl testkit::workspaces::contract::Repository for InGit {
    fn workspaces(&self) -> Arc<dyn Workspaces> {
        let store: Arc<dyn Artifacts> = self.0.artifacts.clone();
        Arc::new(GitWorkspaces::open(&self.0.repo(), &self.0.state(), store).unwrap())
    }

    fn push(&self, files: &[(&str, Option<&str>)]) -> Commit {
        for (path, text) in files {
            match text {
                Some(text) => super::world::put(&self.0.repo(), path, &file(text)),
                None => std::fs::remove_file(self.0.repo().join(path)).unwrap(),
            }
        }
        self.0.commit_all()
    }
}

/// Returns what the suite begins with.
pub(crate) fn repository() -> InGit {
    InGit(World::of(&[("a", file("one")), ("d/b", file("one"))]))
}

testkit::workspaces_contract!(repository);
