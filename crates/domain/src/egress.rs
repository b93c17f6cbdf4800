//! Egress: the connections that left a cell for a package registry, whatever became of them.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a host, in bytes.
pub const HOST_BYTES_MAX: usize = 253;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Its name, in lower case.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl Host {
    /// Reads `name:port`. Addresses and wildcards are no names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|it| *it > 0)?;
        let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        let is_label = |it: &str| (1..=63).contains(&it.len()) && it.bytes().all(letter);
        let name = name.to_ascii_lowercase();
        // What ends in a number is read as an address by some.
        let is_number = |it: &str| it.starts_with("0x") || it.bytes().all(|it| it.is_ascii_digit());
        let is_name = name.len() <= HOST_BYTES_MAX
            && name.split('.').all(is_label)
            && !name.rsplit('.').next().is_none_or(is_number);
        is_name.then_some(Self { name, port })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_hosts() {
        assert_eq!(
            Host::parse("Static.Crates.IO:443").unwrap().name,
            "static.crates.io"
        );
        for wrong in [
            "",
            "a",
            "a:",
            "a:0",
            "a:70000",
            ":443",
            "*.a:443",
            "a..b:443",
            "a.:443",
            "127.0.0.1:443",
            "[::1]:443",
            "::1:443",
            "0x7f000001:443",
            "2130706433:443",
            "a.0x1:443",
            "a/b:443",
            "a b:1",
        ] {
            assert_eq!(Host::parse(wrong), None, "{wrong}");
        }
    }
}
