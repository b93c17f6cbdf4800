//! A private folder for what one request needs in between. It is made when it is first asked for: most
//! requests that only read never do, and a folder costs more than all else about them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wire::execution::Code;

use crate::run::private_folder;

/// The folder; it goes when its request has ended.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    made: OnceLock<bool>,
}

impl Scratch {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            made: OnceLock::new(),
        }
    }

    /// Returns the folder, which is there.
    pub(crate) fn path(&self) -> Result<&Path, Code> {
        let is_made = self.made.get_or_init(|| private_folder(&self.path).is_ok());
        is_made.then_some(&*self.path).ok_or(Code::Unavailable)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.made.get().is_some() {
            // What cannot be removed now is when the executor is started again.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
