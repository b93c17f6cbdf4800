//! A broker, a scripted provider, and an agent's side of a session's socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_broker::egress::Resolve;
use palisade_broker::{Broker, Config, Folders, start};
use ports::models::{Grant, Models as _};
use tempfile::TempDir;
use testkit::clock::FakeClock;
use tokio::runtime::Runtime;

/// The key that must be seen nowhere but at the provider.
pub(crate) const KEY: &str = "planted-canary-KEY_0123456789xyz";

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a provider does with one connection: it is given the request, and writes what it wants.
pub(crate) type Act = Box<dyn Fn(&Asked, &mut TcpStream) + Send + Sync>;

/// A request as the provider saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A provider on the loopback.
pub(crate) struct Provider {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Provider {
    pub(crate) fn new(act: Act) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (known, over) = (Arc::clone(&asked), Arc::clone(&ended));
        let act = Arc::new(act);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (known, act) = (Arc::clone(&known), Arc::clone(&act));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    if let Some(request) = read_request(&mut stream) {
                        known.lock().unwrap().push(request.clone());
                        act(&request, &mut stream);
                    }
                });
            }
        });
        Self { port, asked, ended }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

#[expect(
    clippy::unwrap_in_result,
    reason = "no request at all is no fault, a broken one is"
)]
fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let mut asked = Asked {
        line: lines.next().unwrap().to_owned(),
        ..Asked::default()
    };
    for line in lines.take_while(|it| !it.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        asked.headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = asked
        .header("content-length")
        .map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    asked.body = String::from_utf8(body).unwrap();
    Some(asked)
}

/// Returns what answers everything with a status, a type and a body.
pub(crate) fn always(status: &'static str, kind: &'static str, body: &str) -> Act {
    let body = body.to_owned();
    Box::new(move |_, stream| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             request-id: req_abc123\r\nset-cookie: a=b\r\nconnection: close\r\n\r\n"
        );
        drop(stream.write_all(format!("{head}{body}").as_bytes()));
    })
}

/// Begins a stream of events, piece by piece.
pub(crate) fn begin_stream(stream: &mut TcpStream) {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
}

/// Sends a piece, and returns whether anybody is there to take it.
pub(crate) fn piece(stream: &mut TcpStream, text: &str) -> bool {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    stream.write_all(chunk.as_bytes()).is_ok()
}

/// Everything together.
pub(crate) struct Scene {
    pub(crate) client: wire::Client,
    pub(crate) provider: Provider,
    pub(crate) broker: Arc<Broker>,
    pub(crate) folder: TempDir,
    _runtime: Runtime,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(always("200 OK", "application/json", "{}"), "")
    }

    /// A scene with a provider, and more settings.
    pub(crate) fn with(act: Act, more: &str) -> Self {
        Self::reaching(act, more, None)
    }

    /// The same, with what names of hosts lead to.
    pub(crate) fn reaching(act: Act, more: &str, resolve: Option<Arc<Resolve>>) -> Self {
        let provider = Provider::new(act);
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, format!("{KEY}\n")).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let text = settings(provider.port, &key, more);
        let config = Config::parse("broker.toml", &text, &|_| unreachable!()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folders = Folders {
            run: folder.path().join("run"),
            tapes: folder.path().join("tapes"),
        };
        let clock = Arc::new(FakeClock::at(domain::Timestamp(1_700_000_000_000)));
        let broker = Broker::new(config, folders, clock, &|_| None).unwrap();
        let broker = Arc::new(match resolve {
            Some(resolve) => broker.resolving_by(resolve),
            None => broker,
        });
        let guard = runtime.enter();
        start(&broker).unwrap();
        drop(guard);
        let client = wire::Client::new(folder.path().join("run").join(wire::message::CONTROL));
        Self {
            client,
            provider,
            broker,
            folder,
            _runtime: runtime,
        }
    }

    pub(crate) fn open(&self, grant: &Grant) -> Agent {
        Agent {
            socket: self.client.open(grant).unwrap(),
        }
    }

    pub(crate) fn close(&self, grant: &Grant) -> ports::models::Account {
        self.client.close(grant.session).unwrap()
    }

    pub(crate) fn account(&self, grant: &Grant) -> ports::models::Account {
        self.client.account(grant.session).unwrap()
    }
}

pub(crate) fn settings(port: u16, key: &Path, more: &str) -> String {
    let mut text = format!("{more}\n");
    for name in ["anthropic", "openai", "gemini", "compatible.local"] {
        let free = if name == "compatible.local" {
            "free = true\n"
        } else {
            ""
        };
        let table = format!(
            "[{name}]\nupstream = \"http://127.0.0.1:{port}\"\nmodels = [\"claude-*\", \"gpt-5*\", \
             \"gemini-*\", \"llama\"]\nkey.file = \"{}\"\n{free}",
            key.display()
        );
        text.push_str(&table);
    }
    text
}

/// An agent's side.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
}

/// A reply as the agent saw it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the reply came to its proper end.
    pub(crate) is_whole: bool,
}

impl Got {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Agent {
    pub(crate) fn post(&self, path: &str, body: &str) -> Got {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: dummy\r\nauthorization: Bearer dummy\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn raw(&self, request: &str) -> Got {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_reply(&mut stream)
    }
}

/// Reads a reply to its end.
pub(crate) fn read_reply(stream: &mut UnixStream) -> Got {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the head ends early");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "))
        .map(|it| it.parse::<usize>().unwrap());
    let (body, is_whole) = match length {
        Some(length) => {
            let mut body = vec![0; length];
            let read = stream.read_exact(&mut body).is_ok();
            (body, read)
        }
        None => chunks(stream),
    };
    Got {
        status,
        head,
        body: String::from_utf8_lossy(&body).into_owned(),
        is_whole,
    }
}

fn chunks(stream: &mut UnixStream) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(stream) {
        if chunk.is_empty() {
            return (body, true);
        }
        body.extend(chunk);
    }
    (body, false)
}

/// Returns the next piece of a stream: empty at its proper end, none when it was cut.
pub(crate) fn next_chunk(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte).unwrap() == 0 {
            return None;
        }
        line.push(byte[0]);
    }
    let text = String::from_utf8(line).unwrap();
    let length = usize::from_str_radix(text.trim(), 16).unwrap();
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    Some(chunk)
}
