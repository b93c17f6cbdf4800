//! The way out: one client for all providers, over TLS, without redirects and without a proxy.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::key::Key;
use crate::route::Family;

/// What of a request's headers goes out. Credentials, cookies and whatever else stay here.
const SENT: [&str; 7] = [
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "openai-beta",
    "user-agent",
    "x-goog-api-client",
];

/// What of a reply's headers comes in.
const RECEIVED: [&str; 8] = [
    "content-type",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
];

/// And those that begin so.
const RECEIVED_PREFIXES: [&str; 2] = ["anthropic-ratelimit-", "x-ratelimit-"];

/// The longest header that is passed on, in bytes.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// The client.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why a provider could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// The request could not be made.
    #[error("the request cannot be made: {0}")]
    Unmade(String),
}

impl Upstream {
    /// Returns a client that trusts what this machine trusts.
    ///
    /// # Errors
    /// When the machine has no certificates.
    pub fn new() -> std::io::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(std::time::Duration::from_secs(20)));
        let provider = rustls::crypto::ring::default_provider();
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(std::time::Duration::from_secs(60))
            .build(https);
        Ok(Self { client })
    }

    /// Sends a request and returns the beginning of the reply.
    ///
    /// # Errors
    /// When the provider cannot be reached.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        self.client
            .request(request)
            .await
            .map_err(Fault::Unreachable)
    }
}

/// Returns the request that goes out.
///
/// # Errors
/// When the address cannot be put together, or the key not be written.
pub fn outgoing(
    method: &Method,
    base: &Uri,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    key: Option<(&Key, Family)>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Fault> {
    let before = base.path().trim_end_matches('/');
    let mut parts = base.clone().into_parts();
    let whole = match query {
        "" => format!("{before}{path}"),
        query => format!("{before}{path}?{query}"),
    };
    let unmade = |why: &dyn std::fmt::Display| Fault::Unmade(why.to_string());
    parts.path_and_query = Some(whole.parse().map_err(|it| unmade(&it))?);
    let uri = Uri::from_parts(parts).map_err(|it| unmade(&it))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    let out = request.headers_mut();
    for name in SENT {
        for value in headers.get_all(name) {
            if value.len() <= HEADER_BYTES_MAX {
                out.append(HeaderName::from_static(name), value.clone());
            }
        }
    }
    // What is compressed could not be counted.
    out.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if let Some((key, family)) = key {
        let (name, prefix) = match family {
            Family::Anthropic => (HeaderName::from_static("x-api-key"), ""),
            Family::Gemini => (HeaderName::from_static("x-goog-api-key"), ""),
            Family::OpenAi | Family::Compatible => (header::AUTHORIZATION, "Bearer "),
        };
        let value = key
            .header(prefix)
            .ok_or_else(|| Fault::Unmade("the key cannot be written".to_owned()))?;
        out.insert(name, value);
    }
    Ok(request)
}

/// Returns those headers of a reply that are passed on.
#[must_use]
pub fn incoming(headers: &HeaderMap) -> HeaderMap {
    let passes = |name: &str| {
        RECEIVED.contains(&name) || RECEIVED_PREFIXES.iter().any(|it| name.starts_with(it))
    };
    headers
        .iter()
        .filter(|(name, value)| passes(name.as_str()) && value.len() <= HEADER_BYTES_MAX)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns what of a query goes out: what the calls need, and no key.
#[must_use]
pub fn query(asked: Option<&str>) -> String {
    let kept = |it: &&str| matches!(*it, "alt=sse" | "beta=true");
    let parts: Vec<_> = asked.unwrap_or_default().split('&').filter(kept).collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_agent_stay_and_ours_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer dummy"),
            ("x-api-key", "dummy"),
            ("cookie", "a=b"),
            ("host", "elsewhere"),
            ("accept-encoding", "gzip"),
            ("anthropic-version", "2023-06-01"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let key = Key::of(b"planted-key-0123456789".to_vec()).unwrap();
        let base: Uri = "https://example.org/base".parse().unwrap();
        for (family, name, value) in [
            (Family::Anthropic, "x-api-key", "planted-key-0123456789"),
            (Family::Gemini, "x-goog-api-key", "planted-key-0123456789"),
            (
                Family::OpenAi,
                "authorization",
                "Bearer planted-key-0123456789",
            ),
        ] {
            let key = Some((&key, family));
            let asked = outgoing(
                &Method::POST,
                &base,
                "/v1/x",
                "a=b",
                &headers,
                key,
                Bytes::new(),
            );
            let asked = asked.unwrap();
            assert_eq!(asked.uri(), "https://example.org/base/v1/x?a=b");
            let sent: Vec<_> = asked.headers().iter().collect();
            assert_eq!(sent.len(), 3, "{:?}", asked.headers());
            assert_eq!(asked.headers()[name], value);
            assert!(
                sent.iter()
                    .all(|(_, it)| !it.as_bytes().ends_with(b"dummy"))
            );
        }
    }

    #[test]
    fn only_known_parts_of_a_query_go_out() {
        assert_eq!(
            query(Some("key=abc&alt=sse&beta=true&x=y")),
            "alt=sse&beta=true"
        );
        assert_eq!(query(None), "");
    }
}
