//! What a run is pinned to: the files that it leans on, by their digests.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// One file that a run leans on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its path, or `shipped:` and its name.
    pub source: String,
    /// Its digest.
    pub digest: Digest,
}

/// The template of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// Its name, such as `session`.
    pub name: String,
    /// Where it came from: a path, or `shipped:` and its name.
    pub source: String,
    /// Its text, in the artifact store.
    pub text: Digest,
}
