//! Faults: what a replayed provider does wrong on purpose, so that tests can see what follows.
//!
//! A tape's folder may hold `faults.json`: `[{"call": 0, "fault": "too_many_requests"}]`, where calls
//! count from 0 in the order in which they are asked.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::Played;

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a slow stream waits before each piece.
const SLOW: Duration = Duration::from_millis(200);

/// A fault at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// At which.
    pub call: u64,
    /// What.
    pub fault: Kind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The status 429 instead of a reply.
    TooManyRequests,
    /// The status 500 instead of a reply.
    ServerError,
    /// The reply ends in its middle.
    Cut,
    /// It comes slowly.
    Slow,
    /// One of its events is broken.
    Malformed,
}

/// Reads a tape's faults; none when there is no such file.
///
/// # Errors
/// When it cannot be read, or is no such list.
pub fn read(folder: &Path) -> Result<Vec<Fault>, String> {
    let path = folder.join("faults.json");
    let mut text = String::new();
    match File::open(&path).map(|it| it.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) | Ok(Err(error)) => Err(format!("{}: {error}", path.display())),
        Ok(Ok(_)) => {
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

impl Fault {
    /// Returns what is answered instead of the tape, if this fault takes its place.
    #[must_use]
    pub fn instead(&self) -> Option<Played> {
        let (status, word) = match self.fault {
            Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
            Kind::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "api_error"),
            Kind::Cut | Kind::Slow | Kind::Malformed => return None,
        };
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
        let body = serde_json::json!({"type": "error", "error": {
            "type": word, "message": "a fault on purpose", "code": status.as_u16(),
        }});
        Some(Played {
            status,
            headers,
            pieces: vec![Bytes::from(body.to_string())],
            is_cut: false,
            pause: None,
        })
    }

    /// Returns a reply with this fault in it.
    #[must_use]
    pub fn upon(&self, mut played: Played) -> Played {
        let middle = played.pieces.len() / 2;
        match self.fault {
            Kind::Cut => {
                played.pieces.truncate(middle.max(1));
                if let Some(last) = played.pieces.last_mut() {
                    last.truncate(last.len() / 2);
                }
                played.is_cut = true;
            }
            Kind::Slow => played.pause = Some(SLOW),
            Kind::Malformed => {
                let broken = Bytes::from_static(b"event: \xff\ndata: {\"type\": \n\n");
                played.pieces.insert(middle, broken);
            }
            Kind::TooManyRequests | Kind::ServerError => {}
        }
        played
    }
}
