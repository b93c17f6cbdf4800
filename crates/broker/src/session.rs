//! One open session: its grant, its door, and how it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::SessionId;
use domain::egress::{Connection, Host};
use domain::model::{CLASS_MODELS_MAX, FellBack, Model, Outage};
use globset::{Glob, GlobSet, GlobSetBuilder};
use ports::models::{
    CLASSES_MAX, CONNECTIONS_MAX, Grant, HOSTS_MAX, Halt, MODELS_MAX, WATCHED_BYTES_MAX,
    WATCHED_MAX,
};
use tokio::sync::{Semaphore, watch};

use crate::config::Limits;
use crate::door::Door;
use crate::egress::Reach;
use crate::fallback::Health;
use crate::tape::Reel;

/// The most notes to the operator.
const NOTES_MAX: usize = 32;

/// The longest role and the longest name of a tape, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// An open session.
#[derive(Debug)]
pub struct Session {
    /// Its identifier.
    pub id: SessionId,
    /// Its socket.
    pub socket: PathBuf,
    /// Who opened it; where there are peers, its socket answers nobody else.
    pub user: u32,
    /// What its requests are looked through for.
    pub door: Door,
    /// What is kept of its exchanges.
    pub reel: Reel,
    /// What may be reached beside models.
    pub reach: Option<Reach>,
    /// Requests at once.
    pub slots: Arc<Semaphore>,
    /// Whether models may be asked.
    pub asks_models: bool,
    models: Option<GlobSet>,
    wanted_connections: AtomicUsize,
    sent_bytes_max: u64,
    sent_bytes: AtomicU64,
    calls: AtomicU64,
    /// Models that stand in for each other.
    pub classes: Vec<Vec<Model>>,
    /// How they are.
    pub health: Mutex<Health>,
    standing: Mutex<Standing>,
    pace: Mutex<Pace>,
    ended: watch::Sender<Stage>,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Requests go through.
    #[default]
    Open,
    /// Requests are answered with why they do not go through.
    Halted,
    /// Its socket is gone.
    Closed,
}

#[derive(Debug, Default)]
struct Standing {
    refused: u64,
    last_refusal: Option<String>,
    halt: Option<Halt>,
    notes: BTreeSet<String>,
    fell_back: BTreeMap<(Model, Model, Outage), u64>,
    connections: Vec<Connection>,
}

/// How many requests there may be: a bucket that fills with time.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: Instant,
    per_minute: u32,
}

impl Pace {
    fn takes(&mut self, now: Instant) -> bool {
        let most = f64::from(self.per_minute);
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = (self.left + passed.as_secs_f64() * most / 60.0).min(most);
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

/// Returns what is wrong with a grant.
///
/// # Errors
/// With what is wrong.
pub fn check(grant: &Grant) -> Result<Option<GlobSet>, String> {
    if grant.watched.len() > WATCHED_MAX {
        return Err(format!("more than {WATCHED_MAX} watched values"));
    }
    if grant
        .watched
        .iter()
        .any(|it| it.value.len() > WATCHED_BYTES_MAX)
    {
        return Err(format!(
            "a watched value of more than {WATCHED_BYTES_MAX} bytes"
        ));
    }
    if grant.role.len() > NAME_BYTES_MAX {
        return Err(format!("a role of more than {NAME_BYTES_MAX} bytes"));
    }
    if grant.models.len() > MODELS_MAX {
        return Err(format!("more than {MODELS_MAX} patterns of models"));
    }
    if grant
        .egress
        .as_ref()
        .is_some_and(|it| it.hosts.len() > HOSTS_MAX)
    {
        return Err(format!("more than {HOSTS_MAX} hosts"));
    }
    let mut hosts = grant.egress.iter().flat_map(|it| &it.hosts);
    if let Some(host) = hosts.find(|it| Host::parse(it).is_none()) {
        return Err(format!("`{host}` is no host's name with its port"));
    }
    if grant.classes.len() > CLASSES_MAX
        || grant.classes.iter().any(|it| it.len() > CLASS_MODELS_MAX)
    {
        return Err(format!(
            "more than {CLASSES_MAX} classes, or {CLASS_MODELS_MAX} models of one"
        ));
    }
    if grant.models.is_empty() {
        return Ok(None);
    }
    let mut models = GlobSetBuilder::new();
    for pattern in &grant.models {
        models.add(Glob::new(pattern).map_err(|it| it.to_string())?);
    }
    models.build().map(Some).map_err(|it| it.to_string())
}

impl Session {
    /// Returns a session that has not been used yet.
    #[must_use]
    pub fn new(
        grant: &Grant,
        models: Option<GlobSet>,
        socket: PathBuf,
        reel: Reel,
        limits: &Limits,
    ) -> Self {
        Self {
            id: grant.session,
            socket,
            user: rustix::process::geteuid().as_raw(),
            door: Door::new(&grant.watched, &grant.accepted),
            reel,
            slots: Arc::new(Semaphore::new(limits.concurrent.max(1))),
            reach: None,
            asks_models: grant.asks_models,
            models,
            wanted_connections: AtomicUsize::new(0),
            sent_bytes_max: grant.sent_bytes_max,
            sent_bytes: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            classes: grant.classes.clone(),
            health: Mutex::default(),
            standing: Mutex::default(),
            pace: Mutex::new(Pace {
                left: f64::from(limits.requests_per_minute),
                at: Instant::now(),
                per_minute: limits.requests_per_minute,
            }),
            ended: watch::Sender::new(Stage::Open),
        }
    }

    /// The same, with what it may reach beside models.
    #[must_use]
    pub fn reaching(self, reach: Option<Reach>) -> Self {
        Self { reach, ..self }
    }

    /// The same, opened by a user.
    #[must_use]
    pub fn opened_by(self, user: u32) -> Self {
        Self { user, ..self }
    }

    /// Returns whether one more connection can be put on record; none is made that cannot.
    pub fn may_connect_once_more(&self) -> bool {
        self.wanted_connections.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX
    }

    /// Puts a connection on record.
    pub fn connected(&self, connection: Connection) {
        lock(&self.standing).connections.push(connection);
    }

    /// Returns whether the grant names this model.
    #[must_use]
    pub fn may_ask(&self, provider: &str, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|it| it.is_match(model) || it.is_match(format!("{provider}/{model}")))
    }

    /// Returns a number for the next call.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns whether one more request is within the pace.
    pub fn is_in_pace(&self) -> bool {
        lock(&self.pace).takes(Instant::now())
    }

    /// Counts what leaves, and returns which budget that would break.
    ///
    /// # Errors
    /// How far it is.
    pub fn send(&self, bytes: u64) -> Result<(), String> {
        let before = self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        if after > self.sent_bytes_max {
            self.sent_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let most = self.sent_bytes_max;
            return Err(format!(
                "the session's: {after} of {most} bytes would have been sent"
            ));
        }
        Ok(())
    }

    /// Returns how many bytes have left.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Lets nothing more through; the first reason stays.
    pub fn halt(&self, halt: Halt) {
        lock(&self.standing).halt.get_or_insert(halt);
        self.reach(Stage::Halted);
    }

    /// Ends whatever is under way.
    pub fn close(&self) {
        self.reach(Stage::Closed);
    }

    fn reach(&self, stage: Stage) {
        self.ended.send_if_modified(|it| {
            let is_further = *it < stage;
            *it = stage.max(*it);
            is_further
        });
    }

    /// Returns what tells how far the session is.
    #[must_use]
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.ended.subscribe()
    }

    /// Returns why nothing more goes through.
    #[must_use]
    pub fn halted(&self) -> Option<Halt> {
        lock(&self.standing).halt.clone()
    }

    /// Counts a refusal.
    pub fn refused(&self, why: String) {
        let mut standing = lock(&self.standing);
        standing.refused = standing.refused.saturating_add(1);
        standing.last_refusal = Some(why);
    }

    /// Notes something for the operator, once.
    pub fn note(&self, note: String) {
        let mut standing = lock(&self.standing);
        if standing.notes.len() < NOTES_MAX {
            standing.notes.insert(note);
        }
    }

    /// Counts that another model was asked than was wanted.
    pub fn fell_back(&self, from: &Model, to: &Model, why: Outage) {
        let mut standing = lock(&self.standing);
        let key = (from.clone(), to.clone(), why);
        let count = standing.fell_back.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// Fills in how the session stands.
    pub fn tell(&self, account: &mut ports::models::Account) {
        let standing = lock(&self.standing);
        account.sent_bytes = self.sent_bytes();
        account.refused = standing.refused;
        account.last_refusal = standing.last_refusal.clone();
        account.halt = standing.halt.clone();
        account.notes = standing.notes.iter().cloned().collect();
        account.tape = self.reel.name();
        account.connections.clone_from(&standing.connections);
        let fell_back = standing.fell_back.iter();
        account.fell_back = fell_back
            .map(|((from, to, why), count)| FellBack {
                from: from.clone(),
                to: to.clone(),
                why: *why,
                count: *count,
            })
            .collect();
    }
}

/// How long a closed session's exchanges may take to end.
pub const CLOSING: Duration = Duration::from_secs(5);

/// Locks; whoever panicked before left nothing half done that counts here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_and_recovers() {
        let start = Instant::now();
        let mut pace = Pace {
            left: 2.0,
            at: start,
            per_minute: 2,
        };
        assert!(pace.takes(start) && pace.takes(start) && !pace.takes(start));
        assert!(!pace.takes(start + Duration::from_secs(29)));
        let later = start + Duration::from_secs(90);
        assert!(pace.takes(later) && pace.takes(later) && !pace.takes(later));
    }
}
