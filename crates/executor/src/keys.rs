//! `palisade-executor keys`: secrets are sealed, listed and removed, with the words of
//! `palisade-broker keys`; none is ever shown.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealed::Store;

use crate::program::causes;
use crate::secret::KEPT;

/// What is done with sealed secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Seal a secret that is read from standard input
    ///
    /// The first one makes the store's identity. A secret never stands among the arguments, where
    /// every process could read it.
    Add {
        /// What it is called in [secrets] of executor.toml.
        name: String,
    },
    /// Tell the names of all secrets, and whether each opens
    List,
    /// Remove a secret
    Remove {
        /// Which.
        name: String,
    },
}

/// Does it.
pub(crate) fn run(folder: &Path, what: &What) -> Result<(), String> {
    let store = Store::new(folder, KEPT);
    let mut told = String::new();
    match what {
        What::Add { name } => {
            store
                .add(name, std::io::stdin())
                .map_err(|it| causes(&it))?;
            // Where the configuration is, nobody has said: this is right beside any.
            let folder: PathBuf = std::path::absolute(folder).map_err(|it| it.to_string())?;
            told = format!(
                "{name} = \"age\"    # below [secrets] of executor.toml\n\
                 store = {:?}    # below [age]\n",
                folder.display().to_string()
            );
        }
        What::List => {
            for secret in store.list().map_err(|it| causes(&it))? {
                told.push_str(&secret.to_string());
                told.push('\n');
            }
        }
        What::Remove { name } => store.remove(name).map_err(|it| causes(&it))?,
    }
    let said = std::io::stdout().write_all(told.as_bytes());
    said.map_err(|it| it.to_string())
}
