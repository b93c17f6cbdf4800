//! Peers: who is at the other end, as the kernel or a certificate tells, never as they say.

use std::fmt;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine.
    Process {
        /// Its user.
        uid: u32,
    },
    /// Whoever holds the key of a certificate.
    Certificate {
        /// The SHA-256 of the certificate, in hexadecimal.
        fingerprint: String,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid } => write!(out, "uid:{uid}"),
            Self::Certificate { fingerprint } => write!(out, "sha256:{fingerprint}"),
        }
    }
}

/// Returns whether a process is in our own PID namespace: one in a cell is in one of its own, even
/// if it was handed a way to the socket. What cannot be told is no.
pub(crate) fn is_of_our_namespace(pid: Option<i32>) -> bool {
    let Some(pid) = pid.filter(|it| *it > 0) else {
        return false;
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // One number for each namespace from ours down to its own.
    let numbers = status.lines().find_map(|it| it.strip_prefix("NSpid:"));
    numbers.is_some_and(|it| it.split_ascii_whitespace().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_in_our_own_namespace_and_nobody_is_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_of_our_namespace(Some(own)));
        for nobody in [None, Some(0), Some(-1), Some(i32::MAX)] {
            assert!(!is_of_our_namespace(nobody));
        }
    }
}
