//! The user's checkout, looked at without anything of the user's settings.

use std::path::Path;

use ports::workspaces::Error;

use crate::git::Git;
use crate::workspaces::OWN;

/// Returns whether tracked files of a checkout, or what is staged, may differ from a commit.
///
/// Git compares contents through filters and monitors that a repository's settings name, and the
/// repository is not trusted to start programs. So the controller's own repository in `state` is the
/// one that git sees: a file that a filter has changed counts as different.
///
/// # Errors
/// When git cannot tell.
pub fn may_differ(state: &Path, root: &Path, index: &Path, commit: &str) -> Result<bool, Error> {
    let asked = ["diff-index", "--name-only", "--ignore-submodules", commit];
    let differing = Git::find()?
        .on(&state.join(OWN), &asked)
        .env("GIT_WORK_TREE", root)
        .env("GIT_INDEX_FILE", index)
        .output()?;
    Ok(!differing.is_empty())
}
