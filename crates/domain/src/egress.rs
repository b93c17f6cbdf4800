//! Egress: the connections that left a cell for a package registry, whatever became of them.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// One connection that a session wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The host it asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Bytes that left, encrypted: nobody can say what they were.
    pub sent_bytes: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// How long it was open, in milliseconds.
    pub millis: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was carried to its end.
    Carried,
    /// Host and port are not in the list.
    NotListed,
    /// The host's name leads nowhere.
    Unresolved,
    /// The host's name leads to a machine, network or service that is private.
    PrivateAddress,
    /// What began was no TLS, or hid the name it asks for.
    NoTls,
    /// What began was for another host than was asked for.
    OtherHost,
    /// The host could not be reached.
    Unreachable,
    /// More bytes than the session may send or receive; it was cut.
    OverCap,
    /// It stood still too long, or the session was stopped; it was cut.
    Stopped,
}

impl Verdict {
    /// Returns the words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::NotListed => "refused: not in the list",
            Self::Unresolved => "refused: the name leads nowhere",
            Self::PrivateAddress => "refused: the name leads to a private address",
            Self::NoTls => "refused: it did not begin as TLS with a readable name",
            Self::OtherHost => "refused: it asked for another host",
            Self::Unreachable => "could not be reached",
            Self::OverCap => "cut: over the session's bytes",
            Self::Stopped => "cut: it stood still, or the session was stopped",
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            sent_bytes,
            received_bytes,
            millis,
            verdict,
        } = self;
        let verdict = verdict.name();
        write!(
            out,
            "{host}:{port} {verdict} ({sent_bytes} bytes out, {received_bytes} in, {millis} ms)"
        )
    }
}
