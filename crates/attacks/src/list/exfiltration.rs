//! S5: sends something out, or lets something in.

use crate::attempt::{Attempt, Control, Given, Need, Oracle, attempt};

const NETWORK: &str = "network namespace";
const FAMILIES: &str = "seccomp";
const HOST: &[Given] = &[Given::Writable("{sockets}", "{sockets}")];
const OWN_MODEL: &[Given] = &[Given::Shown("{sockets}/own", "/palisade/model.sock")];
const CONTROL: &[Given] = &[Given::Writable(
    "{sockets}/control.sock",
    "/palisade/control.sock",
)];
const SIX: &[Given] = &[Given::Needs(Need::SixthVersion)];

const fn sends(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        NETWORK,
        act,
        Oracle::NothingHeard,
        Control::without("network"),
    )
}

const fn by_path(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "private root",
        act,
        Oracle::NothingHeard,
        Control::given(HOST),
    )
}

const fn opens(
    id: &'static str,
    told: &'static str,
    act: &'static [&'static str],
    without: &'static str,
) -> Attempt {
    attempt(
        id,
        told,
        FAMILIES,
        act,
        Oracle::NothingGained,
        Control::without(without),
    )
}

pub(super) const LIST: &[Attempt] = &[
    sends(
        "S5-tcp",
        "connects to a server on the host",
        &["tcp", "127.0.0.1:{tcp}"],
    ),
    sends(
        "S5-tcp-6",
        "connects to a server on the host by IPv6",
        &["tcp", "[::1]:{tcp6}"],
    )
    .given(SIX),
    sends(
        "S5-tcp-mapped",
        "connects to a server on the host by an IPv4 address in IPv6 clothes",
        &["tcp", "[::ffff:127.0.0.1]:{tcp}"],
    )
    .given(SIX),
    sends(
        "S5-tcp-any-address",
        "connects to the address that means this machine",
        &["tcp", "0.0.0.0:{tcp}"],
    ),
    sends(
        "S5-tcp-fast-open",
        "sends with the first packet, without a call that connects",
        &["tcp-fast-open", "127.0.0.1:{tcp}"],
    ),
    sends(
        "S5-http",
        "asks a web server on the host",
        &["http", "127.0.0.1:{tcp}"],
    ),
    sends(
        "S5-udp",
        "sends a datagram to the host",
        &["udp", "127.0.0.1:{udp}"],
    ),
    sends(
        "S5-udp-6",
        "sends a datagram to the host by IPv6",
        &["udp", "[::1]:{udp6}"],
    )
    .given(SIX),
    sends(
        "S5-udp-connected",
        "sends a datagram by a socket that is connected",
        &["udp-connected", "127.0.0.1:{udp}"],
    ),
    sends(
        "S5-dns",
        "asks a name server for a name that holds a secret",
        &["dns", "127.0.0.1:{udp}"],
    ),
    sends(
        "S5-serve",
        "serves on loopback, for somebody on the host to fetch",
        &["serve", "127.0.0.1:{free}"],
    ),
    attempt(
        "S5-abstract",
        "connects to a socket of the host that has a name but no path",
        "network namespace, landlock scopes",
        &["abstract", "{abstract}"],
        Oracle::NothingHeard,
        Control::without("network,scopes"),
    ),
    attempt(
        "S5-abstract-datagram",
        "sends to a socket of the host that has a name but no path",
        "network namespace, landlock scopes",
        &["abstract-datagram", "{abstract}-datagram"],
        Oracle::NothingHeard,
        Control::without("network,scopes"),
    ),
    by_path(
        "S5-unix",
        "connects to a socket of the host by its path, as to a container engine's",
        &["unix", "{sockets}/stream"],
    ),
    by_path(
        "S5-other-session",
        "looks from the socket of its own model for that of another session",
        &["other-session", "/palisade/model.sock", "{sockets}/stream"],
    )
    .given(OWN_MODEL),
    attempt(
        "S5-broker-control",
        "looks for the broker's control socket beside that of its own model",
        "private root",
        &["unix", "/palisade/control.sock"],
        Oracle::NothingHeard,
        Control::given(CONTROL),
    )
    .given(OWN_MODEL),
    by_path(
        "S5-broker-control-of-host",
        "connects to the broker's control socket by its path on the host",
        &["unix", "{sockets}/control.sock"],
    ),
    sends(
        "S5-past-the-model",
        "has a model of its own, and asks a server on the host beside it",
        &["http", "localhost:{tcp}", "/palisade/model.sock"],
    )
    .given(OWN_MODEL),
    by_path(
        "S5-unix-datagram",
        "sends to a socket of the host by its path, as to the system log",
        &["unix-datagram", "{sockets}/datagram"],
    ),
    by_path(
        "S5-unix-descriptor",
        "hands a descriptor to a process of the host",
        &["unix-descriptor", "{sockets}/stream"],
    ),
    by_path(
        "S5-named-pipe",
        "writes to a named pipe of the host",
        &["named-pipe", "{sockets}/pipe"],
    ),
    attempt(
        "S5-inherited",
        "writes to a socket that the engine left open",
        "closed descriptors",
        &["inherited"],
        Oracle::NothingHeard,
        Control::without("descriptors"),
    ),
    opens(
        "S5-netlink",
        "opens a socket to the kernel's network settings",
        &["socket", "16", "3", "0"],
        "seccomp",
    ),
    opens(
        "S5-netlink-audit",
        "opens a socket to the kernel's audit log",
        &["socket", "16", "3", "9"],
        "seccomp",
    ),
    opens(
        "S5-vsock",
        "opens a socket to the machine that this one runs on",
        &["socket", "40", "1", "0"],
        "seccomp",
    ),
    opens(
        "S5-packet",
        "opens a socket for whole packets",
        &["socket", "17", "3", "3"],
        "seccomp,rights",
    ),
    opens(
        "S5-icmp",
        "opens a socket for pings",
        &["socket", "2", "3", "1"],
        "seccomp,rights",
    ),
    opens(
        "S5-raw",
        "opens a socket for raw packets",
        &["socket", "2", "3", "255"],
        "seccomp,rights",
    ),
    opens(
        "S5-raw-6",
        "opens a socket for raw packets by IPv6",
        &["socket", "10", "3", "255"],
        "seccomp,rights",
    )
    .given(SIX),
    opens(
        "S5-raw-flagged",
        "opens a raw socket with flags beside its type",
        &["socket", "2", "526339", "1"],
        "seccomp,rights",
    ),
    attempt(
        "S5-rare-families",
        "opens a socket of every other family that there is",
        FAMILIES,
        &["rare-families"],
        Oracle::NothingGained,
        Control::none("which of them a kernel has differs; S5-netlink and S5-vsock show the door"),
    ),
    opens(
        "S5-io-uring",
        "sets up a ring, by which calls go past every filter",
        &["call", "io_uring_setup"],
        "seccomp",
    ),
    attempt(
        "S5-message-queue",
        "leaves a message queue for a process of the host to read",
        "ipc namespace",
        &["message-queue", "{key}"],
        Oracle::NothingHeard,
        Control::outside(),
    ),
    attempt(
        "S5-shared-memory",
        "leaves shared memory for a process of the host to read",
        "ipc namespace",
        &["shared-memory", "{key}"],
        Oracle::NothingHeard,
        Control::outside(),
    ),
    attempt(
        "S5-semaphores",
        "leaves semaphores for a process of the host to read",
        "ipc namespace",
        &["semaphores", "{key}"],
        Oracle::NothingHeard,
        Control::outside(),
    ),
    attempt(
        "S5-named-queue",
        "leaves a queue with a name for a process of the host to read",
        "ipc namespace",
        &["named-queue", "{abstract}"],
        Oracle::NothingHeard,
        Control::outside(),
    ),
];
