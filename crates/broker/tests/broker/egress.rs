//! The way to package registries: only what is listed, only where its name led first, only for whom
//! it says, and all of it on record.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use domain::egress::Verdict;
use ports::models::{Egress, Grant, Halt};
use testkit::models::contract::grant;

use crate::scene::{Agent, PATIENCE, Scene, always};

/// A host that reads a first message, answers it, and then sends whatever it reads back.
struct Registry {
    port: u16,
    met: Arc<AtomicUsize>,
}

impl Registry {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let met = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&met);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut piece) {
                        count.fetch_add(length, Ordering::SeqCst);
                        if stream.write_all(&piece[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, met }
    }

    fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

struct Ground {
    scene: Scene,
    registry: Registry,
    grant: Grant,
}

/// What names lead to: first and then.
fn resolver() -> Arc<palisade_broker::egress::Resolve> {
    let rebound = AtomicUsize::new(0);
    Arc::new(move |name, _| {
        let text = match name {
            "mirror.test" | "private.test" => "127.0.0.1",
            "metadata.test" => "169.254.169.254",
            "rebinding.test" if rebound.fetch_add(1, Ordering::SeqCst) == 0 => "10.1.2.3",
            "rebinding.test" => "127.0.0.1",
            _ => return Err(std::io::Error::other("no such name")),
        };
        Ok(vec![text.parse::<IpAddr>().unwrap()])
    })
}

fn ground() -> Ground {
    let registry = Registry::new();
    let port = registry.port;
    let more = format!(
        "[egress]\nhosts = [\"private.test:{port}\", \"nowhere.test:{port}\", \"rebinding.test:{port}\"]\n\
         private_hosts = [\"mirror.test:{port}\", \"metadata.test:{port}\", \"mirror.test:1\"]\n"
    );
    let act = always("200 OK", "application/json", "{}");
    let scene = Scene::reaching(act, &more, Some(resolver()));
    let names = [
        "private",
        "nowhere",
        "rebinding",
        "mirror",
        "metadata",
        "unlisted",
    ];
    let mut hosts: Vec<_> = names.map(|it| format!("{it}.test:{port}")).into();
    hosts.push("mirror.test:1".to_owned());
    let grant = Grant {
        egress: Some(Egress {
            hosts,
            sent_bytes_max: 64 << 10,
            received_bytes_max: 64 << 10,
        }),
        ..grant(1, 1)
    };
    Ground {
        scene,
        registry,
        grant,
    }
}

/// What a real client says first.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Asks for a connection; returns it with the status.
fn connect(agent: &Agent, to: &str) -> (UnixStream, u16) {
    let mut stream = agent.connect();
    let ask = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the head ends early");
        head.push(byte[0]);
    }
    let status = String::from_utf8(head).unwrap()[9..12].parse().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, status)
}

/// Reads until the other side ends, and returns how much there was.
fn drained(stream: &mut UnixStream) -> usize {
    let mut all = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut all));
    all.len()
}

impl Ground {
    fn verdicts(&self) -> Vec<(String, u16, Verdict)> {
        let account = self.scene.close(&self.grant);
        let connections = account.connections.into_iter();
        connections
            .map(|it| (it.host, it.port, it.verdict))
            .collect()
    }

    fn at(&self, name: &str) -> String {
        format!("{name}:{}", self.registry.port)
    }

    /// What becomes of a connection to a host with this first message.
    fn told(&self, name: &str, first: &[u8]) -> (u16, Verdict) {
        let agent = self.scene.open(&self.grant);
        let (mut stream, status) = connect(&agent, &self.at(name));
        if status == 200 {
            stream.write_all(first).unwrap();
            drained(&mut stream);
        }
        let verdicts = self.verdicts();
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        (status, verdicts[0].2)
    }
}

#[test]
fn a_listed_host_is_reached_and_the_connection_is_on_record() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    let (mut stream, status) = connect(&agent, &ground.at("mirror.test"));
    assert_eq!(status, 200);
    let first = hello("mirror.test");
    // In two pieces: what is not whole yet goes nowhere.
    stream.write_all(&first[..20]).unwrap();
    stream.write_all(&first[20..]).unwrap();
    stream.write_all(b"more").unwrap();
    let mut back = vec![0; first.len() + 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, [first.as_slice(), b"more"].concat());
    drop(stream);
    // It ends by itself, and is on record then.
    let began = Instant::now();
    while ground.scene.account(&ground.grant).connections.is_empty() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let account = ground.scene.close(&ground.grant);
    let told = &account.connections[0];
    let bytes = u64::try_from(back.len()).unwrap();
    assert_eq!(
        (told.host.as_str(), told.port),
        ("mirror.test", ground.registry.port)
    );
    assert_eq!(
        (told.sent_bytes, told.received_bytes, told.verdict),
        (bytes, bytes, Verdict::Carried)
    );
    assert_eq!(account.refused, 0);
}

#[test]
fn what_is_not_listed_is_not_reached() {
    for (name, verdict) in [
        ("other.test", Verdict::NotListed),
        ("unlisted.test", Verdict::NotListed),
        ("x.mirror.test", Verdict::NotListed),
        ("127.0.0.1", Verdict::NotListed),
        ("[::1]", Verdict::NotListed),
        ("2130706433", Verdict::NotListed),
        ("nowhere.test", Verdict::Unresolved),
        ("private.test", Verdict::PrivateAddress),
        ("metadata.test", Verdict::PrivateAddress),
    ] {
        let ground = ground();
        assert_eq!(ground.told(name, &[]), (403, verdict), "{name}");
        assert_eq!(ground.registry.met(), 0);
    }
}

#[test]
fn another_port_is_another_host() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    assert_eq!(connect(&agent, "mirror.test:2").1, 403);
    assert_eq!(
        connect(&agent, "mirror.test:1").1,
        403,
        "nobody listens there"
    );
    let wanted = [
        ("mirror.test".to_owned(), 2, Verdict::NotListed),
        ("mirror.test".to_owned(), 1, Verdict::Unreachable),
    ];
    assert_eq!(ground.verdicts(), wanted);
}

#[test]
fn a_name_that_is_bound_anew_leads_where_it_led_first_or_nowhere() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    let at = ground.at("rebinding.test");
    // A private address is never pinned, and a loopback one no better.
    assert_eq!(connect(&agent, &at).1, 403);
    assert_eq!(connect(&agent, &at).1, 403);
    let verdicts: Vec<_> = ground.verdicts().into_iter().map(|it| it.2).collect();
    assert_eq!(verdicts, [Verdict::PrivateAddress; 2]);
    assert_eq!(ground.registry.met(), 0);
}

#[test]
fn nothing_leaves_that_says_it_is_for_another_or_no_tls() {
    let plain = b"GET / HTTP/1.1\r\nhost: mirror.test\r\n\r\n".as_slice();
    for (first, verdict) in [
        (hello("other.test"), Verdict::OtherHost),
        (hello("127.0.0.1"), Verdict::NoTls),
        (plain.to_vec(), Verdict::NoTls),
    ] {
        let ground = ground();
        assert_eq!(ground.told("mirror.test", &first), (200, verdict));
        assert_eq!(ground.registry.met(), 0, "not a byte of it");
    }
}

#[test]
fn what_is_over_the_cap_is_cut_and_no_other_way_is_opened() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    let (mut stream, _) = connect(&agent, &ground.at("mirror.test"));
    stream.write_all(&hello("mirror.test")).unwrap();
    let mut copy = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || drained(&mut copy));
    let piece = [0; 4096];
    while stream.write_all(&piece).is_ok() {}
    assert!(reader.join().unwrap() <= 64 << 10);
    assert!(ground.registry.met() <= 64 << 10);
    let account = ground.scene.close(&ground.grant);
    assert_eq!(account.connections[0].verdict, Verdict::OverCap);
    assert!(account.connections[0].sent_bytes <= 64 << 10);
}

#[test]
fn a_session_without_egress_has_none() {
    let mut ground = ground();
    ground.grant.egress = None;
    assert_eq!(ground.told("mirror.test", &[]), (403, Verdict::NotListed));
}

#[test]
fn a_session_that_asks_no_models_reaches_registries_alone() {
    let mut ground = ground();
    let agent = ground.scene.open(&ground.grant);
    let body = r#"{"model":"claude-a"}"#;
    assert_eq!(agent.post("/anthropic/v1/messages", body).status, 200);
    let alone = Grant {
        asks_models: false,
        egress: ground.grant.egress.clone(),
        ..grant(2, 1)
    };
    ground.scene.close(&ground.grant);
    ground.grant = alone;
    let agent = ground.scene.open(&ground.grant);
    assert_eq!(agent.post("/anthropic/v1/messages", body).status, 404);
    let listed = agent.raw("GET /anthropic/v1/models HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(listed.status, 404);
    assert_eq!(ground.scene.provider.asked().len(), 1);
    let (mut stream, status) = connect(&agent, &ground.at("mirror.test"));
    assert_eq!(status, 200);
    let first = hello("mirror.test");
    stream.write_all(&first).unwrap();
    let mut back = vec![0; first.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, first);
}

#[test]
fn what_is_not_encrypted_is_not_carried() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    let at = ground.at("mirror.test");
    for method in ["GET", "POST", "PUT", "OPTIONS"] {
        for path in ["/", "/openai/v1/models"] {
            let got = agent.raw(&format!(
                "{method} http://{at}{path} HTTP/1.1\r\nhost: {at}\r\ncontent-length: 0\r\n\r\n"
            ));
            assert_eq!(got.status, 403, "{method} {path}");
            assert!(got.body.contains("not encrypted"), "{}", got.body);
        }
    }
    assert!(ground.registry.met() == 0 && ground.scene.provider.asked().is_empty());
}

#[test]
fn a_halted_session_loses_its_connections() {
    let ground = ground();
    let mut grant = ground.grant.clone();
    grant.watched = vec![ports::models::Watched {
        of: "the canary `a`".to_owned(),
        value: b"q7Zr0vTn2KxWm5Lp".to_vec(),
    }];
    let agent = ground.scene.open(&grant);
    let (mut stream, _) = connect(&agent, &ground.at("mirror.test"));
    let first = hello("mirror.test");
    stream.write_all(&first).unwrap();
    stream.read_exact(&mut vec![0; first.len()]).unwrap();
    let leak = r#"{"model":"claude-a","x":"q7Zr0vTn2KxWm5Lp"}"#;
    assert_eq!(agent.post("/anthropic/v1/messages", leak).status, 403);
    drained(&mut stream);
    assert_eq!(connect(&agent, &ground.at("mirror.test")).1, 403);
    let account = ground.scene.close(&grant);
    assert!(matches!(account.halt, Some(Halt::Leak { .. })));
    let verdicts: Vec<_> = account.connections.iter().map(|it| it.verdict).collect();
    assert_eq!(verdicts, [Verdict::Stopped; 2]);
}

#[test]
fn only_so_many_connections_are_wanted_as_can_be_put_on_record() {
    let ground = ground();
    let agent = ground.scene.open(&ground.grant);
    for _ in 0..ports::models::CONNECTIONS_MAX + 10 {
        assert_eq!(connect(&agent, "other.test:443").1, 403);
    }
    assert_eq!(connect(&agent, &ground.at("mirror.test")).1, 403);
    assert_eq!(ground.verdicts().len(), ports::models::CONNECTIONS_MAX);
}
