//! The broker itself: providers with their keys, the open sessions and the ledger.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use domain::SessionId;
use domain::usage::{Amount, Usage};
use ports::clock::Clock;
use ports::models::{Account, Grant, Halt};
use secrets::{Scanner, Watch};
use tokio::net::UnixListener;
use wire::message::Refusal;

use crate::config::{Config, Provider};
use crate::egress::{self, AT_ONCE_MAX, Reach, Resolve};
use crate::key::{self, Key};
use crate::ledger::{Ledger, Owner};
use crate::serving;
use crate::session::{self, Session, lock};
use crate::tape::Tapes;
use crate::upstream::Upstream;

/// The most sessions open at once.
const SESSIONS_MAX: usize = 1_024;

/// The most sessions that are known, open or not.
const SESSIONS_KNOWN_MAX: usize = 4 * SESSIONS_MAX;

const DAY_MILLIS: u64 = 86_400_000;

/// Everything that exchanges share.
pub struct Broker {
    pub(crate) config: Config,
    pub(crate) upstream: Upstream,
    pub(crate) scanner: Scanner,
    /// The keys, watched for in whatever comes back.
    pub(crate) own_keys: Watch,
    keys: BTreeMap<String, Key>,
    /// Finds the addresses of hosts beside models.
    pub(crate) resolve: Arc<Resolve>,
    clock: Arc<dyn Clock>,
    run: PathBuf,
    tapes: Tapes,
    ledger: Mutex<Ledger>,
    sessions: Mutex<BTreeMap<SessionId, Arc<Session>>>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Broker")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Why a broker cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A key is missing.
    #[error("the key of `{provider}`")]
    Key {
        /// Whose.
        provider: String,
        /// Why.
        #[source]
        source: key::Fault,
    },
    /// The scanner's table is wrong.
    #[error("{0}")]
    Scanner(secrets::scanner::BadRule),
    /// The machine's certificates cannot be read.
    #[error("the machine's certificates cannot be read; install `ca-certificates`")]
    Certificates(#[source] std::io::Error),
    /// A folder or socket cannot be made.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Where a broker keeps what.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Its sockets: a private folder with a short path.
    pub run: PathBuf,
    /// Its tapes, which stay.
    pub tapes: PathBuf,
}

impl Broker {
    /// Returns a broker that serves nobody yet; `lookup` reads a variable of its environment.
    ///
    /// # Errors
    /// When a key or the machine's certificates are missing, or a folder cannot be made private.
    pub fn new(
        config: Config,
        folders: Folders,
        clock: Arc<dyn Clock>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Fault> {
        let mut keys = BTreeMap::new();
        for provider in config.providers.values() {
            if let Some(source) = &provider.key {
                let key = Key::read(source, lookup).map_err(|source| Fault::Key {
                    provider: provider.name.clone(),
                    source,
                })?;
                keys.insert(provider.name.clone(), key);
            }
        }
        let mut own_keys = Vec::new();
        for (name, key) in &keys {
            key.watched(|it| own_keys.push((name.as_str(), it.to_vec())));
        }
        let watch = Watch::of(own_keys.iter().map(|(name, it)| (*name, it.as_slice())));
        own_keys
            .iter_mut()
            .for_each(|(_, it)| zeroize::Zeroize::zeroize(it));
        enclosed(&folders.run, &config.peers)?;
        Ok(Self {
            upstream: Upstream::new().map_err(Fault::Certificates)?,
            scanner: Scanner::standard().map_err(Fault::Scanner)?,
            own_keys: watch,
            keys,
            resolve: Arc::new(egress::resolve),
            clock,
            run: folders.run,
            tapes: Tapes::new(folders.tapes, config.limits.tape_bytes),
            config,
            ledger: Mutex::default(),
            sessions: Mutex::default(),
        })
    }

    /// The same, finding hosts beside models otherwise than by the machine's resolver.
    #[must_use]
    pub fn resolving_by(self, resolve: Arc<Resolve>) -> Self {
        Self { resolve, ..self }
    }

    /// Returns the folder of its sockets.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Returns a provider's key.
    pub(crate) fn key(&self, provider: &Provider) -> Option<&Key> {
        self.keys.get(&provider.name)
    }

    /// Opens a session for a user and serves its socket. To other peers it does not exist.
    ///
    /// # Errors
    /// When it is open already, its grant is not acceptable, or no budget is left.
    pub fn open(self: &Arc<Self>, grant: &Grant, user: u32) -> Result<PathBuf, Refusal> {
        let id = grant.session;
        let models = session::check(grant).map_err(|detail| Refusal::Refused { detail })?;
        self.may_open(&mut lock(&self.sessions), id, user)?;
        // A tape may be long: nobody waits for it but who opens the session.
        let reel = self
            .tapes
            .reel(grant, user)
            .map_err(|detail| Refusal::Refused { detail })?;
        let mut sessions = lock(&self.sessions);
        self.may_open(&mut sessions, id, user)?;
        let socket = self.run.join(socket_name(id));
        let listener = listen(&socket, &self.config.peers).map_err(|error| Refusal::Failed {
            detail: format!("the session's socket cannot be made: {error}"),
        })?;
        let owner = Owner {
            work: grant.work,
            goal: grant.goal,
            day: self.clock.now().0 / DAY_MILLIS,
        };
        if let Err(detail) = lock(&self.ledger).open(id, owner, &grant.caps, &grant.before) {
            remove(&socket);
            return Err(Refusal::OverBudget { detail });
        }
        let egress = grant.egress.as_ref();
        let reach = egress.map(|it| Reach::new(it, &self.config.egress));
        let limits = &self.config.limits;
        let session = Session::new(grant, models, socket.clone(), reel, limits);
        let session = session.reaching(reach).opened_by(user);
        let session = Arc::new(session);
        sessions.insert(id, Arc::clone(&session));
        drop(tokio::spawn(serving::serve(
            Arc::clone(self),
            session,
            listener,
        )));
        Ok(socket)
    }

    /// Looks whether a user may open a session now, and forgets the oldest of those that are over.
    fn may_open(
        &self,
        sessions: &mut BTreeMap<SessionId, Arc<Session>>,
        id: SessionId,
        user: u32,
    ) -> Result<(), Refusal> {
        let own = rustix::process::geteuid().as_raw();
        if let Some(known) = sessions.get(&id)
            && known.user != user
            && user != own
        {
            let detail = "the session was opened by another user".to_owned();
            return Err(Refusal::Refused { detail });
        }
        while sessions.len() > SESSIONS_KNOWN_MAX {
            let over = sessions.keys().find(|it| !lock(&self.ledger).is_open(**it));
            let Some(over) = over.copied() else { break };
            sessions.remove(&over);
            lock(&self.ledger).forget(over);
        }
        if lock(&self.ledger).is_open(id) {
            return Err(Refusal::AlreadyOpen { session: id });
        }
        if lock(&self.ledger).open_count() >= SESSIONS_MAX {
            let detail = format!("{SESSIONS_MAX} sessions are open");
            return Err(Refusal::Failed { detail });
        }
        Ok(())
    }

    /// Returns whether a user may hear of a session: who opened it, and the broker's own.
    #[must_use]
    pub fn may_hear_of(&self, id: SessionId, user: u32) -> bool {
        let sessions = lock(&self.sessions);
        let own = rustix::process::geteuid().as_raw();
        user == own || sessions.get(&id).is_some_and(|it| it.user == user)
    }

    /// Returns how a session stands.
    ///
    /// # Errors
    /// When nothing is known of it.
    pub fn account(&self, id: SessionId) -> Result<Account, Refusal> {
        let used = lock(&self.ledger).used(id);
        let used = used.ok_or(Refusal::NotFound { session: id })?;
        let mut account = Account {
            used,
            ..Account::default()
        };
        if let Some(session) = lock(&self.sessions).get(&id) {
            session.tell(&mut account);
        }
        Ok(account)
    }

    /// Closes a session and returns how it stood.
    ///
    /// # Errors
    /// When nothing is known of it.
    pub async fn close(&self, id: SessionId) -> Result<Account, Refusal> {
        let session = lock(&self.sessions).get(&id).cloned();
        if let Some(session) = session {
            session.close();
            remove(&session.socket);
            // Each exchange under way holds a slot until it is accounted for.
            let all = u32::try_from(self.config.limits.concurrent.max(1)).unwrap_or(u32::MAX);
            let waited = tokio::time::timeout(session::CLOSING, async {
                drop(session.slots.acquire_many(all).await);
                if let Some(reach) = &session.reach {
                    let all = u32::try_from(AT_ONCE_MAX).unwrap_or(u32::MAX);
                    drop(reach.places.acquire_many(all).await);
                }
            });
            let waited = waited.await;
            if waited.is_err() {
                session.note("an exchange did not end in time and may be missing here".to_owned());
            }
        }
        lock(&self.ledger).close(id);
        self.account(id)
    }

    /// Notes what a call has taken so far; halts the session when a budget is used up.
    pub(crate) fn pending(&self, session: &Session, call: u64, amount: Amount) -> Option<String> {
        let over = lock(&self.ledger).pending(session.id, call, amount)?;
        session.halt(Halt::OverBudget {
            detail: over.clone(),
        });
        Some(over)
    }

    /// Notes what a call has taken in the end; halts the session when a budget is used up.
    pub(crate) fn settle(&self, session: &Session, call: u64, by: &(String, String), usage: Usage) {
        let over = lock(&self.ledger).settle(session.id, call, by, usage);
        if let Some(detail) = over {
            session.halt(Halt::OverBudget { detail });
        }
    }

    /// Returns whether money is bounded for a session.
    pub(crate) fn counts_money(&self, session: SessionId) -> bool {
        lock(&self.ledger).counts_money(session)
    }
}

/// Returns a name short enough for every folder: sockets have at most 107 bytes.
fn socket_name(id: SessionId) -> String {
    let digest = blake3::hash(id.to_string().as_bytes());
    format!("{}.sock", &digest.to_hex()[..16])
}

/// Makes a folder that only its owner enters; where there are peers they pass through, and each
/// socket looks at who is there.
fn enclosed(folder: &Path, peers: &[u32]) -> Result<(), Fault> {
    let doing = |doing: &str| {
        let doing = format!("{doing} {}", folder.display());
        move |source| Fault::Io { doing, source }
    };
    std::fs::create_dir_all(folder).map_err(doing("making the folder"))?;
    let mode = if peers.is_empty() { 0o700 } else { 0o711 };
    let closed = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder, closed).map_err(doing("closing the folder"))
}

/// Listens at a path, in place of whatever a dead broker left there.
pub(crate) fn listen(path: &Path, peers: &[u32]) -> std::io::Result<UnixListener> {
    remove(path);
    let listener = UnixListener::bind(path)?;
    // Other users come no further than the run folder, unless the operator opened it to them.
    let mode = if peers.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn remove(path: &Path) {
    // What is not there need not be removed; what cannot be is found by whoever binds next.
    drop(std::fs::remove_file(path));
}
