//! Questions to the services that the operator has configured: one connection for each, over TLS (or
//! on this machine), with deadlines, without redirects, proxies or more bytes than are wanted.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::egress::{Connection, Verdict};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Deserializer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::reach::{Connections, Place};
use crate::tls;

/// How long a service may take to be found, to answer and to shake hands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// The longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 1 << 10;

/// Who asks.
const NAME: &str = concat!("palisade-executor/", env!("CARGO_PKG_VERSION"));

/// Where a service is: `https`, or `http` on this machine alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) place: Place,
    is_encrypted: bool,
    /// What every path begins with; without a `/` at its end.
    path: String,
}

/// An address is not one of a service.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "not the address of a service: `https://host/path` without user, query or fragment (`http` only \
     to 127.0.0.1, [::1] or localhost)"
)]
pub(crate) struct NotASite;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was asked.
    Unreachable,
    /// It was asked, and there is no whole answer: what came of it is not known.
    Silent,
    /// It was asked, and the answer is larger than is wanted.
    TooLarge,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Site {
    /// Reads an address.
    pub(crate) fn parse(text: &str) -> Result<Self, NotASite> {
        // What a parser would leave out is not meant to be there.
        let is_plain = text.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
        if !is_plain || text.len() > ADDRESS_BYTES_MAX {
            return Err(NotASite);
        }
        let uri: Uri = text.parse().map_err(|_| NotASite)?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(NotASite),
        };
        let authority = uri.authority().ok_or(NotASite)?;
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(NotASite);
        }
        let port = uri
            .port_u16()
            .unwrap_or(if is_encrypted { 443 } else { 80 });
        let place: Place = format!("{}:{port}", authority.host())
            .parse()
            .map_err(|_| NotASite)?;
        let is_here = matches!(place.host.as_str(), "127.0.0.1" | "::1" | "localhost");
        if !is_encrypted && !is_here {
            return Err(NotASite);
        }
        Ok(Self {
            place,
            is_encrypted,
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns whether what is said to it cannot be read on the way.
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Returns the path that one of its own begins with.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.path)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.place, self.path)
    }
}

impl<'de> Deserialize<'de> for Site {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A service, as it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service<'a> {
    pub(crate) site: &'a Site,
    /// A file of certificates that is believed instead of what this machine believes.
    pub(crate) authority: Option<&'a Path>,
    /// How long a whole answer may take.
    pub(crate) patience: Duration,
    /// The largest answer, in bytes.
    pub(crate) bytes_max: usize,
    pub(crate) connections: &'a Connections,
}

impl Service<'_> {
    /// Asks and waits for the answer. Blocks; must not be called from a task.
    pub(crate) fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        if !self.connections.may_be_more() {
            return Err(Fault::Unreachable);
        }
        let began = Instant::now();
        let sent_bytes = hyper::body::Body::size_hint(request.body()).lower();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| Fault::Unreachable)?;
        let answer = runtime.block_on(self.exchange(request));
        // Whatever is left of the connection goes with it, and a name that is still looked for.
        runtime.shutdown_background();
        let (verdict, received) = match &answer {
            Ok(it) => (Verdict::Carried, it.body.len()),
            Err(Fault::Unreachable) => (Verdict::Unreachable, 0),
            Err(Fault::Silent) => (Verdict::Stopped, 0),
            Err(Fault::TooLarge) => (Verdict::OverCap, self.bytes_max),
        };
        self.connections.note(Connection {
            host: self.site.place.host.clone(),
            port: self.site.place.port,
            sent_bytes,
            received_bytes: u64::try_from(received).unwrap_or(u64::MAX),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            verdict,
        });
        answer
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let place = &self.site.place;
        let host = HeaderValue::from_str(&place.to_string()).map_err(|_| Fault::Unreachable)?;
        request.headers_mut().insert(HOST, host);
        let name = HeaderValue::from_static(NAME);
        request.headers_mut().insert(USER_AGENT, name);
        let connect = TcpStream::connect((place.host.as_str(), place.port));
        let stream = within(CONNECT_PATIENCE, connect).await?;
        drop(stream.set_nodelay(true));
        let (patience, bytes_max) = (self.patience, self.bytes_max);
        let answered = if self.site.is_encrypted {
            let config = client(self.authority).ok_or(Fault::Unreachable)?;
            let connector = TlsConnector::from(Arc::new(config));
            let name = ServerName::try_from(place.host.clone()).map_err(|_| Fault::Unreachable)?;
            let stream = within(CONNECT_PATIENCE, connector.connect(name, stream)).await?;
            tokio::time::timeout(patience, converse(stream, request, bytes_max)).await
        } else {
            tokio::time::timeout(patience, converse(stream, request, bytes_max)).await
        };
        answered.unwrap_or(Err(Fault::Silent))
    }
}

/// Waits for what comes before anything is asked.
async fn within<T, E>(
    patience: Duration,
    what: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(patience, what).await {
        Ok(Ok(it)) => Ok(it),
        Ok(Err(_)) | Err(_) => Err(Fault::Unreachable),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Answer, Fault> {
    let shaken = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = shaken.map_err(|_| Fault::Unreachable)?;
    drop(tokio::spawn(connection));
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| Fault::Silent)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), bytes_max).collect();
    match body.await {
        Ok(body) => Ok(Answer {
            status,
            body: body.to_bytes(),
        }),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Fault::TooLarge),
        Err(_) => Err(Fault::Silent),
    }
}

/// Returns the client's side of TLS.
fn client(authority: Option<&Path>) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority {
        for certificate in tls::certificates(path, "the service's authority").ok()? {
            roots.add(certificate).ok()?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(config)
}

/// Returns a text as it is written in a query.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_encrypted_or_on_this_machine() {
        for (text, place, path) in [
            ("https://api.github.com", "api.github.com:443", ""),
            (
                "https://git.example.org:8443/api/v1/",
                "git.example.org:8443",
                "/api/v1",
            ),
            ("http://127.0.0.1:3000/x", "127.0.0.1:3000", "/x"),
            ("http://[::1]:3000", "[::1]:3000", ""),
        ] {
            let site = Site::parse(text).unwrap();
            assert_eq!(
                (site.place.to_string().as_str(), site.path.as_str()),
                (place, path)
            );
        }
        for text in [
            "http://api.github.com",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org/",
            "https://user@example.org",
            "https://user:word@example.org",
            "https://example.org/?a=b",
            "https://example.org/#a",
            "ftp://example.org",
            "file:///etc/passwd",
            "//example.org",
            "example.org",
            "https://exa mple.org",
            "https://example.org\r\nx: y",
            "",
        ] {
            assert!(Site::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_query_holds_no_sign_of_its_own() {
        assert_eq!(percent("a/b c&d=é{}"), "a%2Fb%20c%26d%3D%C3%A9%7B%7D");
    }
}
