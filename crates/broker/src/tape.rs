//! The tape: exchanges are kept as files named by their content, and can be answered from there.
//!
//! A tape is a folder: `index.jsonl` has one line for each exchange, in order, `exchanges/` the
//! exchanges by the digest of their bytes, and `about.json` whose they were. Headers are not kept, and
//! replies in which a credential was seen are not either.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::model::Model;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use ports::models::Grant;
use secrets::Scanner;
use serde_json::Value;
use wire::tape::{ABOUT, About, Exchange, Line};

use crate::route::Route;
use crate::session::lock;

pub mod faults;
pub mod matching;
pub mod player;

use player::{Player, Shelf};

/// All tapes.
#[derive(Debug)]
pub struct Tapes {
    folder: PathBuf,
    bytes_max: u64,
    playing: Shelf,
}

/// What is done with one session's exchanges.
#[derive(Debug)]
pub enum Reel {
    /// Nothing.
    Off,
    /// They are kept.
    Record(Arc<Recorder>),
    /// They are answered from a tape.
    Replay(Player),
}

/// What records one session.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    folder: PathBuf,
    scanner: Option<Scanner>,
    left: AtomicU64,
    calls: AtomicU64,
    index: Mutex<File>,
}

/// An answer from the tape.
#[derive(Debug)]
pub struct Played {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The reply in pieces: one for each event.
    pub pieces: Vec<Bytes>,
    /// Whether it then ends early.
    pub is_cut: bool,
    /// What to wait before each piece.
    pub pause: Option<Duration>,
}

/// A recording whose reply has not begun.
#[derive(Debug)]
pub struct Take(Option<(Arc<Recorder>, Exchange, String, u64)>);

/// A recording whose reply is coming.
#[derive(Debug)]
pub struct Recording {
    take: Take,
    reply: Vec<u8>,
}

impl Tapes {
    /// Returns the tapes in a folder; each has a bound.
    #[must_use]
    pub const fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self {
            folder,
            bytes_max,
            playing: Shelf::new(),
        }
    }

    /// Returns what is to be done for a session of a user.
    ///
    /// # Errors
    /// When a tape cannot be made or read, or is another user's.
    pub fn reel(&self, grant: &Grant, user: u32) -> Result<Reel, String> {
        match &grant.tape {
            ports::models::Tape::Off => Ok(Reel::Off),
            ports::models::Tape::Record => {
                let recorder = Recorder::open(&self.folder, grant, user, self.bytes_max);
                let told = |error| format!("the tape cannot be made: {error}");
                Ok(Reel::Record(Arc::new(recorder.map_err(told)?)))
            }
            ports::models::Tape::Replay(name) => {
                let player = self.playing.player(&self.folder, name, grant.work, user);
                player.map(Reel::Replay)
            }
        }
    }
}

impl Reel {
    /// Returns the tape's name.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Record(recorder) => Some(recorder.name.clone()),
            Self::Replay(player) => Some(player.name().to_owned()),
        }
    }

    /// Begins to record a request, if that is wanted.
    #[must_use]
    pub fn begin(&self, route: &Route, model: &str, body: &Bytes) -> Take {
        let Self::Record(recorder) = self else {
            return Take(None);
        };
        let request = request(body);
        let key = matching::key(&route.path, &request);
        let exchange = Exchange {
            path: route.path.clone(),
            model: model.to_owned(),
            served_by: None,
            request: matching::redacted(request),
            status: 0,
            content_type: String::new(),
            reply: String::new(),
            is_cut: false,
            withheld: None,
        };
        let call = recorder.calls.fetch_add(1, Ordering::Relaxed);
        Take(Some((Arc::clone(recorder), exchange, key, call)))
    }

    /// Answers from the tape, if one plays.
    #[must_use]
    pub fn play(&self, route: &Route, model: &str, body: &Bytes) -> Option<Result<Played, String>> {
        match self {
            Self::Off | Self::Record(_) => None,
            Self::Replay(player) => Some(player.play(route, model, &request(body))),
        }
    }
}

fn request(body: &Bytes) -> Value {
    // What was passed on is JSON, or nothing.
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

impl Recorder {
    fn open(tapes: &Path, grant: &Grant, user: u32, bytes_max: u64) -> std::io::Result<Self> {
        let name = grant.session.to_string();
        let folder = tapes.join(&name);
        fs::create_dir_all(folder.join("exchanges"))?;
        let about = About {
            work: grant.work.to_string(),
            role: grant.role.clone(),
            user: Some(user),
        };
        fs::write(folder.join(ABOUT), serde_json::to_vec(&about)?)?;
        let index = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("index.jsonl"))?;
        Ok(Self {
            name,
            folder,
            scanner: Scanner::standard().ok(),
            left: AtomicU64::new(bytes_max),
            calls: AtomicU64::new(0),
            index: Mutex::new(index),
        })
    }

    fn keep(&self, mut exchange: Exchange, key: String, call: u64) -> std::io::Result<()> {
        let hits = match &self.scanner {
            Some(scanner) => scanner.scan(exchange.reply.as_bytes()),
            None => Vec::new(),
        };
        let why = match (&self.scanner, hits.first()) {
            (None, _) => Some("it could not be looked through".to_owned()),
            (Some(_), Some(hit)) => Some(format!(
                "it holds what looks like a credential: {}",
                hit.rule
            )),
            (Some(_), None) => None,
        };
        if let Some(why) = why {
            exchange.reply.clear();
            exchange.withheld = Some(why);
        }
        let bytes = serde_json::to_vec(&exchange)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let takes = |left: u64| left.checked_sub(length);
        let kept = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes);
        if kept.is_err() {
            return Ok(());
        }
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let path = self.folder.join("exchanges").join(format!("{digest}.json"));
        fs::write(path, &bytes)?;
        let line = Line {
            call,
            key,
            digest,
            path: exchange.path,
            model: exchange.model,
            status: exchange.status,
            bytes: length,
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        lock(&self.index).write_all(&line)
    }
}

impl Take {
    /// Notes that another model answers than was asked.
    pub fn served_by(&mut self, model: &Model) {
        if let Some((_, exchange, ..)) = &mut self.0 {
            exchange.served_by = Some(model.to_string());
        }
    }

    /// Keeps the error of a provider.
    pub fn fail(self, status: StatusCode, headers: &HeaderMap, body: &Bytes) {
        let mut recording = self.begun(status, headers);
        recording.piece(body);
        recording.finish();
    }

    /// Begins to record the reply.
    #[must_use]
    pub fn begun(mut self, status: StatusCode, headers: &HeaderMap) -> Recording {
        if let Some((_, exchange, ..)) = &mut self.0 {
            exchange.status = status.as_u16();
            let content_type = headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|it| it.to_str().ok());
            exchange.content_type = content_type.unwrap_or_default().to_owned();
        }
        Recording {
            take: self,
            reply: Vec::new(),
        }
    }
}

impl Recording {
    /// Takes the next piece of the reply.
    pub fn piece(&mut self, piece: &[u8]) {
        if self.take.0.is_some() {
            self.reply.extend_from_slice(piece);
        }
    }

    /// Keeps a reply that came whole.
    pub fn finish(self) {
        self.close(false);
    }

    /// Keeps as much of a reply as there was.
    pub fn cut(self) {
        self.close(true);
    }

    fn close(self, is_cut: bool) {
        if let Some((recorder, mut exchange, key, call)) = self.take.0 {
            exchange.is_cut = is_cut;
            exchange.reply = String::from_utf8_lossy(&self.reply).into_owned();
            // A tape that cannot be written ends no session; `palisade tape show` finds the gap.
            drop(recorder.keep(exchange, key, call));
        }
    }
}
