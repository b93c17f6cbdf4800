//! The player: answers from a tape, of one session or of all sessions of a work.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::WorkId;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde_json::Value;
use wire::tape::{EXCHANGES_MAX, Exchange, about, exchange, index, of_work};

use super::faults::{self, Fault};
use super::{Played, matching};
use crate::route::Route;
use crate::session::lock;

/// Works whose tapes are kept in memory at once; of more, those that were asked longest ago begin
/// anew.
const PLAYING_MAX: usize = 32;

/// The most that is kept in memory of what one name plays, in bytes.
const FILM_BYTES_MAX: usize = 1 << 30;

/// What answers for one session.
#[derive(Clone, Debug)]
pub struct Player {
    name: String,
    film: Arc<Mutex<Film>>,
}

/// The works that are answered from the tapes of another.
#[derive(Debug)]
pub(super) struct Shelf(Mutex<Vec<(WorkId, String, Arc<Mutex<Film>>)>>);

/// What was kept, and how much of it was played.
#[derive(Debug)]
struct Film {
    exchanges: Vec<Kept>,
    faults: Vec<Fault>,
    calls: u64,
}

#[derive(Debug)]
struct Kept {
    key: String,
    exchange: Exchange,
    is_played: bool,
}

impl Shelf {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns what answers for a session of `work` from the tape `name`: one session's, from its
    /// beginning, or a whole work's, where the session before it has left off.
    ///
    /// # Errors
    /// When there is no such tape for this user, or it cannot be read.
    pub(super) fn player(
        &self,
        tapes: &Path,
        name: &str,
        work: WorkId,
        user: u32,
    ) -> Result<Player, String> {
        let mut sessions = of_work(tapes, name)?;
        let is_work = !sessions.is_empty();
        if !is_work {
            sessions.push(name.to_owned());
        }
        if !sessions.iter().all(|it| may_play(tapes, it, user)) {
            return Err(format!("the tape {name} was recorded for another user"));
        }
        let film = if is_work {
            self.film(tapes, name, work, &sessions)?
        } else {
            Arc::new(Mutex::new(Film::read(tapes, name, &sessions)?))
        };
        let name = name.to_owned();
        Ok(Player { name, film })
    }

    fn film(
        &self,
        tapes: &Path,
        name: &str,
        work: WorkId,
        sessions: &[String],
    ) -> Result<Arc<Mutex<Film>>, String> {
        let mut playing = lock(&self.0);
        let known = playing.iter().position(|it| it.0 == work && it.1 == name);
        let film = match known {
            Some(at) => playing.remove(at).2,
            None => Arc::new(Mutex::new(Film::read(tapes, name, sessions)?)),
        };
        playing.push((work, name.to_owned(), Arc::clone(&film)));
        if playing.len() > PLAYING_MAX {
            playing.remove(0);
        }
        Ok(film)
    }
}

/// Returns whether a user may hear a tape: whoever had it recorded, and the broker's own. One that
/// does not say whose it is belongs to the broker.
fn may_play(tapes: &Path, name: &str, user: u32) -> bool {
    let own = rustix::process::geteuid().as_raw();
    user == own || about(tapes, name).is_some_and(|it| it.user == Some(user))
}

impl Player {
    /// Returns the tape's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers a request.
    ///
    /// # Errors
    /// With the difference from what is most like it, when nothing matches.
    pub fn play(&self, route: &Route, model: &str, request: &Value) -> Result<Played, String> {
        lock(&self.film).play(route, model, request)
    }
}

impl Film {
    fn read(tapes: &Path, name: &str, sessions: &[String]) -> Result<Self, String> {
        let mut exchanges = Vec::new();
        let mut bytes = 0_usize;
        for session in sessions {
            let mut lines = index(tapes, session)?;
            // They are in the order of their ends; what ran at once was asked in this one.
            lines.sort_by_key(|it| it.call);
            for line in lines {
                let exchange = exchange(tapes, session, &line.digest)?;
                let length = usize::try_from(line.bytes).unwrap_or(usize::MAX);
                bytes = bytes.saturating_add(length.max(exchange.reply.len()));
                if bytes > FILM_BYTES_MAX {
                    return Err(format!(
                        "the tapes of {name} have more than {FILM_BYTES_MAX} bytes"
                    ));
                }
                // The index has the key as it was made then; how it is made may have changed.
                let key = matching::key(&exchange.path, &exchange.request);
                exchanges.push(Kept {
                    key,
                    exchange,
                    is_played: false,
                });
            }
            if exchanges.len() > EXCHANGES_MAX {
                return Err(format!(
                    "the tapes of {name} have more than {EXCHANGES_MAX} exchanges"
                ));
            }
        }
        Ok(Self {
            exchanges,
            faults: faults::read(&tapes.join(name))?,
            calls: 0,
        })
    }

    fn play(&mut self, route: &Route, model: &str, request: &Value) -> Result<Played, String> {
        let call = self.calls;
        self.calls += 1;
        let fault = self.faults.iter().find(|it| it.call == call);
        if let Some(played) = fault.and_then(Fault::instead) {
            return Ok(played);
        }
        let key = matching::key(&route.path, request);
        let exchanges = &mut self.exchanges;
        // The first that was not played yet; an agent that asks again hears the last one again.
        let next = exchanges
            .iter()
            .position(|it| it.key == key && !it.is_played);
        let at = next.or_else(|| exchanges.iter().rposition(|it| it.key == key));
        let Some(kept) = at.and_then(|it| exchanges.get_mut(it)) else {
            let kept: Vec<_> = exchanges.iter().map(|it| &it.exchange).collect();
            return Err(matching::difference(&kept, &route.path, model, request));
        };
        kept.is_played = true;
        if let Some(why) = &kept.exchange.withheld {
            return Err(format!("the reply was not kept: {why}"));
        }
        let played = played(&kept.exchange);
        Ok(match fault {
            None => played,
            Some(fault) => fault.upon(played),
        })
    }
}

fn played(exchange: &Exchange) -> Played {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&exchange.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let pieces = exchange.reply.split_inclusive("\n\n");
    Played {
        status: StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::BAD_GATEWAY),
        headers,
        pieces: pieces.map(|it| Bytes::from(it.to_owned())).collect(),
        is_cut: exchange.is_cut,
        pause: None,
    }
}
