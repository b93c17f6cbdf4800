//! Tunnels: a connection from a cell to a listed host, encrypted from end to end. Whom it is for is
//! read from its first message; what else it holds nobody can see, so that it is bounded and on record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::egress::{Connection, HOST_BYTES_MAX, Host, Verdict};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::broker::Broker;
use crate::egress::Budget;
use crate::egress::hello::{self, Hello};
use crate::refusal::Refusal;
use crate::serving::Reply;
use crate::session::{Session, Stage};

/// How long a host may take to be found and to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// How long the first message may take.
const HELLO_PATIENCE: Duration = Duration::from_secs(15);

/// Copied at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A connection that is wanted, and told once, whatever becomes of it.
struct Wanted {
    session: Arc<Session>,
    host: String,
    port: u16,
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Wanted {
    fn end(&self, verdict: Verdict) {
        let millis = self.began.elapsed().as_millis();
        self.session.connected(Connection {
            host: self.host.clone(),
            port: self.port,
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
            millis: u64::try_from(millis).unwrap_or(u64::MAX),
            verdict,
        });
    }
}

/// Answers a wish to connect.
///
/// # Errors
/// Why there is no such way.
pub async fn open(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Refusal> {
    let authority = request.uri().authority();
    let asked = authority.map_or("", |it| it.as_str()).to_owned();
    if !session.may_connect_once_more() {
        let why = "the session has wanted too many connections".to_owned();
        return Err(Refusal::Egress(why));
    }
    let wanted = wanted(session, &asked);
    let reached = tokio::time::timeout(CONNECT_PATIENCE, reach(broker, session, &asked)).await;
    let (stream, place) = match reached {
        Ok(Ok(reached)) => reached,
        Ok(Err(verdict)) => {
            wanted.end(verdict);
            return Err(Refusal::Egress(format!("{asked}: {}", verdict.name())));
        }
        Err(_) => {
            wanted.end(Verdict::Unreachable);
            return Err(Refusal::Upstream(format!("{asked} did not answer in time")));
        }
    };
    let broker = Arc::clone(broker);
    drop(tokio::spawn(async move {
        let verdict = match hyper::upgrade::on(request).await {
            Ok(upgraded) => carry(&broker, &wanted, TokioIo::new(upgraded), stream).await,
            Err(_) => Verdict::Stopped,
        };
        wanted.end(verdict);
        drop(place);
    }));
    Ok(Response::new(Reply::Whole(None)))
}

fn wanted(session: &Arc<Session>, asked: &str) -> Wanted {
    let (host, port) = match Host::parse(asked) {
        Some(host) => (host.name, host.port),
        None => {
            let plain = asked.chars().filter(char::is_ascii_graphic);
            (plain.take(HOST_BYTES_MAX).collect(), 0)
        }
    };
    Wanted {
        session: Arc::clone(session),
        host,
        port,
        began: Instant::now(),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
    }
}

/// Connects to a host that may be reached.
async fn reach(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    asked: &str,
) -> Result<(TcpStream, OwnedSemaphorePermit), Verdict> {
    if session.halted().is_some() {
        return Err(Verdict::Stopped);
    }
    let host = Host::parse(asked).ok_or(Verdict::NotListed)?;
    let reach = session.reach.as_ref().ok_or(Verdict::NotListed)?;
    reach.admits(&host)?;
    let place = Arc::clone(&reach.places).acquire_owned().await;
    let place = place.map_err(|_| Verdict::Stopped)?;
    let may_be_private = broker.config.egress.get(&host).copied().unwrap_or(false);
    let (resolve, session) = (Arc::clone(&broker.resolve), Arc::clone(session));
    let located = tokio::task::spawn_blocking(move || {
        let reach = session.reach.as_ref().ok_or(Verdict::NotListed)?;
        reach.locate(&host, may_be_private, &*resolve)
    });
    let places = located.await.map_err(|_| Verdict::Unresolved)??;
    let stream = connect(&places).await.ok_or(Verdict::Unreachable)?;
    Ok((stream, place))
}

async fn connect(places: &[SocketAddr]) -> Option<TcpStream> {
    for place in places {
        if let Ok(stream) = TcpStream::connect(place).await {
            drop(stream.set_nodelay(true));
            return Some(stream);
        }
    }
    None
}

/// Carries a connection to its end: nothing leaves before its first message says whom it is for.
async fn carry(
    broker: &Broker,
    wanted: &Wanted,
    mut agent: impl AsyncRead + AsyncWrite + Unpin,
    host: TcpStream,
) -> Verdict {
    let Some(reach) = &wanted.session.reach else {
        return Verdict::NotListed;
    };
    let mut stage = wanted.session.stage();
    let first = tokio::select! {
        first = tokio::time::timeout(HELLO_PATIENCE, first(&mut agent)) => first,
        _stopped = stage.wait_for(|it| *it > Stage::Open) => return Verdict::Stopped,
    };
    let first = match first {
        Ok(Ok((name, first))) if name == wanted.host => first,
        Ok(Ok(_)) => return Verdict::OtherHost,
        Ok(Err(verdict)) => return verdict,
        Err(_) => return Verdict::NoTls,
    };
    let (sent, received) = reach.budgets();
    let (agent_read, agent_write) = tokio::io::split(agent);
    let (host_read, host_write) = host.into_split();
    let up = pump(first, agent_read, host_write, sent, &wanted.sent);
    let down = pump(
        Vec::new(),
        host_read,
        agent_write,
        received,
        &wanted.received,
    );
    let both = async { tokio::try_join!(up, down).map(drop) };
    tokio::select! {
        ended = both => ended.err().unwrap_or(Verdict::Carried),
        _stopped = stage.wait_for(|it| *it > Stage::Open) => Verdict::Stopped,
        () = stands_still(wanted, broker.config.limits.idle) => Verdict::Stopped,
    }
}

/// Reads until the first message is there, and returns whom it is for and all that was read.
async fn first(agent: &mut (impl AsyncRead + Unpin)) -> Result<(String, Vec<u8>), Verdict> {
    let mut first = Vec::new();
    let mut piece = vec![0; 4 << 10];
    loop {
        match hello::read(&first) {
            Hello::For(name) => return Ok((name, first)),
            Hello::Unusable => return Err(Verdict::NoTls),
            Hello::Partial => {}
        }
        match agent.read(&mut piece).await {
            Ok(0) | Err(_) => return Err(Verdict::NoTls),
            Ok(length) => first.extend_from_slice(&piece[..length]),
        }
    }
}

/// Copies one way, within a budget. An end that is passed on is no fault; what broke is the other's
/// matter, who sees it as well.
async fn pump(
    first: Vec<u8>,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    budget: &Budget,
    passed: &AtomicU64,
) -> Result<(), Verdict> {
    let mut piece = first;
    let mut length = piece.len();
    loop {
        let bytes = u64::try_from(length).unwrap_or(u64::MAX);
        if !budget.takes(bytes) {
            return Err(Verdict::OverCap);
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return Err(Verdict::Carried);
        }
        passed.fetch_add(bytes, Ordering::Relaxed);
        piece.resize(PIECE_BYTES, 0);
        length = match from.read(&mut piece).await {
            Ok(0) => {
                // Whoever is gone need not hear of it.
                drop(to.shutdown().await);
                return Ok(());
            }
            Ok(length) => length,
            Err(_) => return Err(Verdict::Carried),
        };
    }
}

/// Returns when nothing has passed for so long.
async fn stands_still(wanted: &Wanted, patience: Duration) {
    let passed = || {
        (
            wanted.sent.load(Ordering::Relaxed),
            wanted.received.load(Ordering::Relaxed),
        )
    };
    let mut before = passed();
    loop {
        tokio::time::sleep(patience).await;
        if passed() == before {
            return;
        }
        before = passed();
    }
}
