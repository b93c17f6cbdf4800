//! Services of the test's own on the loopback: they answer what they are told to, keep what they were
//! asked, and hang, lie and flood where a test wants that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::scene::PATIENCE;

/// What a service was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A service; none of its threads outlives the test.
pub(crate) struct Service {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

type Answering = dyn Fn(&Asked) -> Vec<u8> + Send + Sync;

impl Service {
    /// Serves in the clear. An empty answer hangs up.
    pub(crate) fn plain(answering: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(answering), None)
    }

    /// Serves by TLS, as `localhost`.
    pub(crate) fn encrypted(
        authority: &Authority,
        answering: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let identity = authority.issues();
        let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], key)
            .unwrap();
        Self::serve(Arc::new(answering), Some(Arc::new(config)))
    }

    fn serve(answering: Arc<Answering>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answering, tls) =
                    (Arc::clone(&kept), Arc::clone(&answering), tls.clone());
                let Ok(stream) = stream else { return };
                drop(stream.set_read_timeout(Some(PATIENCE)));
                std::thread::spawn(move || match tls {
                    None => answer(stream, &kept, &*answering),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        answer(StreamOwned::new(connection, stream), &kept, &*answering);
                    }
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|it| it.line.clone()).collect()
    }
}

/// A port that nobody listens at.
pub(crate) fn closed_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Listens, and says a line to whoever has said one; returns the port.
pub(crate) fn greeting() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || greet(&mut stream.unwrap()));
        }
    });
    port
}

fn greet(stream: &mut TcpStream) {
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|it| it == 1) {
        if byte == *b"\n" {
            let told = stream.write_all(b"welcome\n");
            drop(told);
            return;
        }
        if byte == *b"*" {
            // More than anybody wants, until it is cut.
            while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
            return;
        }
    }
}

fn answer(mut stream: impl Read + Write, kept: &Mutex<Vec<Asked>>, answering: &Answering) {
    let Some(asked) = read(&mut stream) else {
        return;
    };
    kept.lock().unwrap().push(asked.clone());
    let told = stream.write_all(&answering(&asked));
    // Who has heard enough is gone.
    drop(told.and_then(|()| stream.flush()));
    let mut rest = [0; 1 << 10];
    while stream.read(&mut rest).is_ok_and(|it| it > 0) {}
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        let length = stream.read(&mut piece).ok().filter(|it| *it > 0)?;
        bytes.extend_from_slice(&piece[..length]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n").map(str::to_owned);
    let line = lines.next()?;
    let headers: Vec<_> = lines
        .filter_map(|it| {
            let (name, value) = it.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Some(0), |(_, it)| it.parse().ok())?;
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        let read = stream.read(&mut piece).ok().filter(|it| *it > 0)?;
        body.extend_from_slice(&piece[..read]);
    }
    Some(Asked {
        line,
        headers,
        body,
    })
}

/// Returns an answer of JSON.
pub(crate) fn json(status: &str, body: &serde_json::Value) -> Vec<u8> {
    reply(
        status,
        "content-type: application/json\r\n",
        body.to_string().as_bytes(),
    )
}

pub(crate) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Answers as `git http-backend` does for the repositories of a folder.
pub(crate) fn git_backend(root: &std::path::Path, asked: &Asked) -> Vec<u8> {
    let mut words = asked.line.split(' ');
    let method = words.next().unwrap();
    let (path, query) = words.next().unwrap().split_once('?').unwrap_or_default();
    let path = if path.is_empty() {
        asked.line.split(' ').nth(1).unwrap()
    } else {
        path
    };
    let header = |name| asked.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/nonexistent")
        .env("REMOTE_USER", "robot")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = asked.body.clone();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let status = head.lines().find_map(|it| it.strip_prefix("Status: "));
    let headers: String = head
        .lines()
        .filter(|it| !it.starts_with("Status: "))
        .map(|it| format!("{}\r\n", it.trim_end()))
        .collect();
    reply(status.unwrap_or("200 OK"), &headers, &output[end + 4..])
}
