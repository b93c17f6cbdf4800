//! Egress: which hosts beside models a session may reach, and which addresses they may lead to. Off
//! unless broker.toml, the project and the role all say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use domain::egress::{Host, Verdict};
use ports::models::Egress;
use tokio::sync::Semaphore;

use crate::session::lock;

pub mod hello;

/// Connections of one session at once.
pub const AT_ONCE_MAX: usize = 32;

/// Where the clouds answer to whoever asks from within.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);

/// Finds the addresses of a name. Blocks.
pub type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The hosts that broker.toml lists, and whether each may be on a private network.
pub type Listed = BTreeMap<Host, bool>;

/// What one session may reach.
#[derive(Debug)]
pub struct Reach {
    hosts: BTreeSet<Host>,
    /// What each host led to when it was first asked for. It leads nowhere else in this session.
    pins: Mutex<BTreeMap<Host, Vec<SocketAddr>>>,
    sent: Budget,
    received: Budget,
    /// Its connections at once.
    pub places: Arc<Semaphore>,
}

/// Bytes that may still pass.
#[derive(Debug)]
pub struct Budget(AtomicU64);

impl Budget {
    /// Takes some of it, or nothing if that is not there.
    pub fn takes(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Reach {
    /// Returns what a grant leaves of what is listed.
    #[must_use]
    pub fn new(egress: &Egress, listed: &Listed) -> Self {
        let hosts = egress.hosts.iter().filter_map(|it| Host::parse(it));
        Self {
            hosts: hosts.filter(|it| listed.contains_key(it)).collect(),
            pins: Mutex::default(),
            sent: Budget(AtomicU64::new(egress.sent_bytes_max)),
            received: Budget(AtomicU64::new(egress.received_bytes_max)),
            places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        }
    }

    /// Returns whether a host may be reached, and what else speaks against it.
    ///
    /// # Errors
    /// With the verdict.
    pub fn admits(&self, host: &Host) -> Result<(), Verdict> {
        if !self.hosts.contains(host) {
            return Err(Verdict::NotListed);
        }
        if self.sent.is_empty() || self.received.is_empty() {
            return Err(Verdict::OverCap);
        }
        Ok(())
    }

    /// Returns what may leave, and what may come in.
    #[must_use]
    pub const fn budgets(&self) -> (&Budget, &Budget) {
        (&self.sent, &self.received)
    }

    /// Returns where a host is: what it led to the first time. Blocks.
    ///
    /// # Errors
    /// With the verdict, when it leads nowhere, or one of its addresses is where it may not lead.
    pub fn locate(
        &self,
        host: &Host,
        may_be_private: bool,
        resolve: &Resolve,
    ) -> Result<Vec<SocketAddr>, Verdict> {
        if let Some(pinned) = lock(&self.pins).get(host) {
            return Ok(pinned.clone());
        }
        let found = resolve(&host.name, host.port).map_err(|_| Verdict::Unresolved)?;
        if found.is_empty() {
            return Err(Verdict::Unresolved);
        }
        // One bad address speaks against all: whoever answers so is not to be trusted with the rest.
        if !found.iter().all(|it| may_be_reached(*it, may_be_private)) {
            return Err(Verdict::PrivateAddress);
        }
        let places = found.into_iter().map(|it| SocketAddr::new(it, host.port));
        // Of two that looked it up at once, the first counts.
        let mut pins = lock(&self.pins);
        Ok(pins.entry(host.clone()).or_insert(places.collect()).clone())
    }
}

/// Asks the machine's own resolver.
///
/// # Errors
/// When the name leads nowhere.
pub fn resolve(name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
    Ok((name, port).to_socket_addrs()?.map(|it| it.ip()).collect())
}

/// Returns whether an address may be reached. Link-local addresses, where clouds tell secrets to
/// whoever asks, never may.
#[must_use]
pub fn may_be_reached(address: IpAddr, may_be_private: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            is_public_v4(it) || may_be_private && (it.is_private() || it.is_loopback())
        }
        IpAddr::V6(it) => {
            let is_private = it.is_unique_local() || it.is_loopback();
            is_public_v6(it) || may_be_private && is_private && it != METADATA
        }
    }
}

const fn is_public_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    let is_special = matches!(
        (a, b, c),
        // This network, carriers' own, protocol assignments, benchmarks, what nobody has.
        (0 | 240..=255, _, _)
            | (100, 64..=127, _)
            | (192, 0, 0)
            | (192, 88, 99)
            | (198, 18 | 19, _)
    );
    !(is_special
        || it.is_private()
        || it.is_loopback()
        || it.is_link_local()
        || it.is_multicast()
        || it.is_documentation())
}

/// Of all that is global unicast, what neither wraps another address nor is set aside.
const fn is_public_v6(it: Ipv6Addr) -> bool {
    let [a, b, ..] = it.segments();
    let is_global = a & 0xe000 == 0x2000;
    let is_set_aside = matches!((a, b), (0x2001, 0..=0x01ff | 0x0db8) | (0x2002 | 0x3ffe, _))
        || (a == 0x3fff && b < 0x1000);
    is_global && !is_set_aside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn private_places_are_told_apart() {
        let may = |text: &str, private| may_be_reached(text.parse().unwrap(), private);
        for public in [
            "1.1.1.1",
            "151.101.2.137",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(may(public, false), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!may(private, false), "{private}");
            assert!(may(private, true), "{private}");
        }
        for never in [
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!may(never, false) && !may(never, true), "{never}");
        }
    }

    fn reach() -> Reach {
        let egress = Egress {
            hosts: vec!["a.test:443".to_owned(), "b.test:443".to_owned()],
            sent_bytes_max: 10,
            received_bytes_max: 10,
        };
        let listed = [(host("a.test:443"), false), (host("c.test:443"), false)];
        Reach::new(&egress, &listed.into())
    }

    #[test]
    fn what_only_one_of_both_lists_is_not_reached() {
        let reach = reach();
        assert_eq!(reach.admits(&host("a.test:443")), Ok(()));
        for other in ["b.test:443", "c.test:443", "a.test:444", "x.a.test:443"] {
            assert_eq!(
                reach.admits(&host(other)),
                Err(Verdict::NotListed),
                "{other}"
            );
        }
        assert!(reach.budgets().0.takes(10) && !reach.budgets().0.takes(1));
        assert_eq!(reach.admits(&host("a.test:443")), Err(Verdict::OverCap));
    }

    #[test]
    fn a_name_leads_where_it_led_first() {
        let (reach, at) = (reach(), host("a.test:443"));
        let first = |_: &str, _: u16| Ok(vec!["1.1.1.1".parse().unwrap()]);
        let then = |_: &str, _: u16| Ok(vec!["127.0.0.1".parse().unwrap()]);
        let pinned = reach.locate(&at, false, &first).unwrap();
        assert_eq!(reach.locate(&at, false, &then).unwrap(), pinned);
    }

    #[test]
    fn one_private_address_speaks_against_all() {
        let (reach, at) = (reach(), host("a.test:443"));
        let both = |_: &str, _: u16| {
            Ok(vec![
                "1.1.1.1".parse().unwrap(),
                "10.0.0.1".parse().unwrap(),
            ])
        };
        assert_eq!(
            reach.locate(&at, false, &both),
            Err(Verdict::PrivateAddress)
        );
        let none = |_: &str, _: u16| Ok(vec![]);
        assert_eq!(reach.locate(&at, false, &none), Err(Verdict::Unresolved));
    }
}
