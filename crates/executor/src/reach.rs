//! The hosts that an action may reach, and the record of every connection: what left the executor
//! and its cells for the world, and what was turned away.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use domain::egress::Connection;
use serde::{Deserialize, Deserializer};

/// The most connections of one request; who wants more is turned away.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// The longest name of a host, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Its name in lower case, or its address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What is configured of an action that reaches the world.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reach {
    /// Each as `name:port`; nothing else is reached.
    pub(crate) hosts: BTreeSet<Place>,
    /// What one request may send, in MiB.
    #[serde(default = "usual_mib")]
    pub(crate) sent_mib: u64,
    /// What one request may receive, in MiB.
    #[serde(default = "usual_mib")]
    pub(crate) received_mib: u64,
}

const fn usual_mib() -> u64 {
    256
}

impl Reach {
    /// Returns what reaches one place.
    pub(crate) fn of(place: Place) -> Self {
        Self {
            hosts: BTreeSet::from([place]),
            sent_mib: usual_mib(),
            received_mib: usual_mib(),
        }
    }
}

/// A text is no place.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a host with its port, such as `staging.example.org:443`")]
pub(crate) struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAPlace)?;
        let port = port.parse().ok().filter(|it| *it > 0).ok_or(NotAPlace)?;
        // `+443` is a number for the standard library.
        let is_plain = text.bytes().all(|it| it != b'+');
        let host = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(address) => address
                .parse::<std::net::Ipv6Addr>()
                .ok()
                .map(|it| it.to_string()),
            None => is_name(host).then(|| host.to_ascii_lowercase()),
        };
        match host {
            Some(host) if is_plain => Ok(Self { host, port }),
            Some(_) | None => Err(NotAPlace),
        }
    }
}

fn is_name(host: &str) -> bool {
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    let is_label = |it: &str| (1..=63).contains(&it.len()) && it.bytes().all(letter);
    host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The connections of one request, as they end.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Vec<Connection>>);

impl Connections {
    /// Notes one; beyond the most nothing connects, and nothing is noted.
    pub(crate) fn note(&self, connection: Connection) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= CONNECTIONS_MAX {
            all.push(connection);
        }
    }

    /// Returns whether there may be one more.
    pub(crate) fn may_be_more(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.len() < CONNECTIONS_MAX
    }

    /// Takes what was noted since it was last taken.
    pub(crate) fn take(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_with_its_port_and_nothing_else() {
        for (text, host, port) in [
            ("Staging.example.org:443", "staging.example.org", 443),
            ("127.0.0.1:8443", "127.0.0.1", 8443),
            ("[::1]:443", "::1", 443),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port));
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for text in [
            "example.org",
            "example.org:0",
            "example.org:65536",
            "example.org:+443",
            ":443",
            "a..b:1",
            "*.example.org:443",
            "a b:1",
            "user@host:1",
            "[x]:1",
            "::1:443",
            "host:443/path",
            "a\nb:1",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
