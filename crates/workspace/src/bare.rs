//! The import filter on values alone, without a repository: for trials with arbitrary input.

use std::path::{Path, PathBuf};

use domain::tree::{Change, Commit, ImportRules, Violation};
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::base::Base;
use crate::filter::{self, Compiled, Contents, Trees};
use crate::manifest::{Changes, View};
use crate::names::{Kind, Name, Names};

/// A base whose files lie in a folder.
#[derive(Debug)]
pub struct Ground(Base);

/// Rules, made ready once for many trials.
#[derive(Debug)]
pub struct Rules(Compiled);

impl Rules {
    /// Returns the rules.
    ///
    /// # Errors
    /// When a glob is malformed.
    pub fn of(rules: &ImportRules) -> Result<Self, Error> {
        Compiled::of(rules).map(Self)
    }
}

impl Ground {
    /// Returns the base of these paths, each with its mode as git writes it.
    ///
    /// # Errors
    /// When a path is named twice or cannot be in a tree, or a mode is none of git's.
    pub fn of(commit: Commit, folder: &Path, paths: &[(&str, &str)]) -> Result<Self, Error> {
        let names = paths
            .iter()
            .map(|(path, mode)| {
                let kind = Kind::of_mode(mode)
                    .ok_or_else(|| Error::Unusable(format!("`{mode}` is no mode")))?;
                Ok(Name {
                    path: path.as_bytes().to_vec(),
                    kind,
                    object: String::new(),
                    bytes: 0,
                    seconds: 0,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let layers = vec![folder.to_path_buf()];
        let names = Names::of(names)?;
        Ok(Self(Base::of_layers(
            commit,
            String::new(),
            PathBuf::new(),
            layers,
            names,
        )))
    }

    /// Judges `changes`, which led from the base with `before` to the base with `after`.
    ///
    /// # Errors
    /// When a content is missing.
    pub fn judge(
        &self,
        artifacts: &dyn Artifacts,
        (before, after): (&[Change], &[Change]),
        changes: &[Change],
        rules: &Rules,
    ) -> Result<Vec<Violation>, Error> {
        let view = |changes: &[Change]| {
            let by_path: Changes = changes
                .iter()
                .map(|it| (it.path.clone(), it.entry.clone()))
                .collect();
            View::of(&self.0, by_path)
        };
        let trees = Trees {
            before: &view(before),
            after: &view(after),
            contents: Contents::of(artifacts),
        };
        filter::judge(&trees, changes, &rules.0, &filter::nothing_besides)
    }
}
