//! Memory: how long the audit was when it was last begun with, beside it. An audit that is shorter,
//! or gone, has forgotten which permits were used; under the same policy these would count again.

use std::path::{Path, PathBuf};

use domain::Digest;
use sealed::private;

use crate::audit::Head;

/// The file, in the state folder.
const FILE: &str = "begun";

/// The largest such file, in bytes.
const BYTES_MAX: usize = 256;

/// Why it is not begun with.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The audit has lost its end.
    #[error(
        "the audit in {state} has {found} entries, and had {known} when it was last begun with: which \
         permits were used is forgotten. Put it back; if it is lost, change executor.toml (a note is \
         enough), which ends every approval that was given under it"
    )]
    Shorter {
        /// The state folder.
        state: PathBuf,
        /// Its entries now.
        found: u64,
        /// Its entries then.
        known: u64,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Private(#[from] private::Fault),
}

/// Checks an audit against what is remembered of it.
///
/// # Errors
/// When it is shorter than it was under the same policy.
pub(crate) fn check(state: &Path, head: Head, policy: Digest) -> Result<(), Fault> {
    let path = state.join(FILE);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let bytes = private::read(&path, BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_ascii_whitespace();
    // What cannot be read is taken for an audit that was longer than any.
    let known = words.next().and_then(|it| it.parse().ok());
    let known: u64 = known.unwrap_or(u64::MAX);
    let is_other = words.next().is_some_and(|it| it != policy.to_string());
    if head.sequence < known && !is_other {
        let (state, found) = (state.to_path_buf(), head.sequence);
        return Err(Fault::Shorter {
            state,
            found,
            known,
        });
    }
    Ok(())
}

/// Remembers how long the audit is.
///
/// # Errors
/// When that cannot be written.
pub(crate) fn keep(state: &Path, sequence: u64, policy: Digest) -> Result<(), Fault> {
    let text = format!("{sequence} {policy}\n");
    Ok(private::replace(&state.join(FILE), text.as_bytes(), 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_audit_needs_another_policy() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let of = |sequence| Head {
            sequence,
            digest: Digest::ZERO,
            bytes: 0,
            torn_bytes: 0,
        };
        let (one, two) = (Digest::ZERO, Digest::from_bytes([1; 32]));
        assert!(check(state, of(0), one).is_ok(), "the first time");
        keep(state, 5, one).unwrap();
        for (sequence, policy, holds) in [
            (5, one, true),
            (9, one, true),
            (4, one, false),
            (0, two, true),
        ] {
            assert_eq!(
                check(state, of(sequence), policy).is_ok(),
                holds,
                "{sequence}"
            );
        }
        std::fs::write(state.join(FILE), "nonsense").unwrap();
        assert!(check(state, of(9), one).is_err());
    }
}
