//! The door of one cell: a unix socket in it that takes `CONNECT` to the hosts of its action, and
//! nothing else. What passes is encrypted from end to end; it is bounded, counted and on record.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use domain::egress::{Connection, Verdict};

use crate::reach::{CONNECTIONS_MAX, Connections, Place, Reach};

/// How long a host may take to answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// How long the head of a request may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Copied at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A door that is open. What goes through it ends when it is closed.
#[derive(Debug)]
pub(crate) struct Relay {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reach: Reach,
    sent_left: AtomicU64,
    received_left: AtomicU64,
    connections: Arc<Connections>,
    is_closed: AtomicBool,
    /// What is open, to be cut at the end.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    programs: Vec<UnixStream>,
    hosts: Vec<TcpStream>,
}

impl Relay {
    /// Opens a door at a path that is the caller's alone.
    pub(crate) fn open(
        path: PathBuf,
        reach: &Reach,
        connections: Arc<Connections>,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let shared = Arc::new(Shared {
            reach: reach.clone(),
            sent_left: AtomicU64::new(reach.sent_mib.saturating_mul(1 << 20)),
            received_left: AtomicU64::new(reach.received_mib.saturating_mul(1 << 20)),
            connections,
            is_closed: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepted = Arc::clone(&shared);
        let accepting = std::thread::Builder::new().spawn(move || accept(&accepted, &listener))?;
        Ok(Self {
            path,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        let open = std::mem::take(&mut *self.shared.opened());
        for stream in &open.programs {
            drop(stream.shutdown(Shutdown::Both));
        }
        for stream in &open.hosts {
            drop(stream.shutdown(Shutdown::Both));
        }
        // Whoever accepts looks up, and sees that it is over.
        drop(UnixStream::connect(&self.path));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        drop(std::fs::remove_file(&self.path));
    }
}

impl Shared {
    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a way to cut a program's connection; none when the door is closed already.
    fn keep_program(&self, stream: &UnixStream) -> Option<usize> {
        let way = stream.try_clone().ok()?;
        let mut open = self.opened();
        open.programs.push(way);
        (!self.is_closed.load(Ordering::SeqCst)).then_some(open.programs.len())
    }

    /// The same for a host's.
    fn keep_host(&self, stream: &TcpStream) -> Option<()> {
        let way = stream.try_clone().ok()?;
        let mut open = self.opened();
        open.hosts.push(way);
        (!self.is_closed.load(Ordering::SeqCst)).then_some(())
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if shared.is_closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            // Counted as they begin: there are no more threads than that.
            let Some(number) = shared.keep_program(&stream) else {
                return;
            };
            if number > CONNECTIONS_MAX || !shared.connections.may_be_more() {
                note(shared, None, Verdict::OverCap);
                return;
            }
            let served =
                std::thread::Builder::new().spawn_scoped(scope, move || serve(shared, stream));
            drop(served);
        }
    });
}

/// A connection that is wanted.
struct Wanted {
    place: Place,
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
}

fn note(shared: &Shared, wanted: Option<&Wanted>, verdict: Verdict) {
    let passed = |it: &AtomicU64| it.load(Ordering::Relaxed);
    shared.connections.note(Connection {
        host: wanted.map_or_else(String::new, |it| it.place.host.clone()),
        port: wanted.map_or(0, |it| it.place.port),
        sent_bytes: wanted.map_or(0, |it| passed(&it.sent)),
        received_bytes: wanted.map_or(0, |it| passed(&it.received)),
        millis: wanted.map_or(0, |it| {
            u64::try_from(it.began.elapsed().as_millis()).unwrap_or(u64::MAX)
        }),
        verdict,
    });
}

fn serve(shared: &Shared, mut program: UnixStream) {
    let Some((place, rest)) = asked(&mut program) else {
        note(shared, None, Verdict::NotListed);
        refuse(&mut program, "400 Bad Request");
        return;
    };
    let wanted = Wanted {
        place,
        began: Instant::now(),
        sent: AtomicU64::default(),
        received: AtomicU64::default(),
    };
    let verdict = match reach(shared, &wanted.place) {
        Ok(host) => carry(shared, &wanted, &program, &host, &rest),
        Err(verdict) => {
            refuse(&mut program, "403 Forbidden");
            verdict
        }
    };
    note(shared, Some(&wanted), verdict);
    drop(program.shutdown(Shutdown::Both));
}

fn refuse(program: &mut UnixStream, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    drop(program.write_all(answer.as_bytes()));
    drop(program.shutdown(Shutdown::Both));
}

/// Reads whom a program wants, and what it has sent beyond that.
fn asked(program: &mut UnixStream) -> Option<(Place, Vec<u8>)> {
    let until = Instant::now() + HEAD_PATIENCE;
    let mut head = Vec::new();
    let mut piece = [0; 1 << 10];
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HEAD_BYTES_MAX {
            return None;
        }
        program.set_read_timeout(Some(left)).ok()?;
        let length = program.read(&mut piece).ok().filter(|it| *it > 0)?;
        head.extend_from_slice(&piece[..length]);
        if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
    };
    program.set_read_timeout(None).ok()?;
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let line = text.split("\r\n").next()?;
    let mut words = line.split(' ');
    let is_connect = words.next() == Some("CONNECT");
    let place = words.next()?.parse().ok()?;
    let is_http =
        words.next().is_some_and(|it| it.starts_with("HTTP/1.")) && words.next().is_none();
    (is_connect && is_http).then(|| (place, head[end..].to_vec()))
}

fn reach(shared: &Shared, place: &Place) -> Result<TcpStream, Verdict> {
    if !shared.reach.hosts.contains(place) {
        return Err(Verdict::NotListed);
    }
    let found = (place.host.as_str(), place.port).to_socket_addrs();
    let addresses: Vec<_> = found.map_err(|_| Verdict::Unresolved)?.collect();
    let until = Instant::now() + CONNECT_PATIENCE;
    for address in &addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        if let Ok(stream) = TcpStream::connect_timeout(address, left) {
            drop(stream.set_nodelay(true));
            return shared
                .keep_host(&stream)
                .map(|()| stream)
                .ok_or(Verdict::Stopped);
        }
    }
    Err(if addresses.is_empty() {
        Verdict::Unresolved
    } else {
        Verdict::Unreachable
    })
}

/// Carries a connection to its end, both ways.
fn carry(
    shared: &Shared,
    wanted: &Wanted,
    program: &UnixStream,
    host: &TcpStream,
    rest: &[u8],
) -> Verdict {
    let mut back = program;
    if back
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .is_err()
    {
        return Verdict::Stopped;
    }
    // Whichever way ends badly, the other ends with it.
    let cut = || {
        drop(program.shutdown(Shutdown::Both));
        drop(host.shutdown(Shutdown::Both));
    };
    let (up, down) = std::thread::scope(|scope| {
        let up = scope.spawn(|| {
            let from = rest.chain(program);
            let up = pump(from, host, &shared.sent_left, &wanted.sent);
            drop(host.shutdown(Shutdown::Write));
            if up != Verdict::Carried {
                cut();
            }
            up
        });
        let down = pump(host, program, &shared.received_left, &wanted.received);
        drop(program.shutdown(Shutdown::Write));
        if down != Verdict::Carried {
            cut();
        }
        (up.join().unwrap_or(Verdict::Stopped), down)
    });
    // What broke on one side is the other's matter, who sees it as well; and when the program has
    // ended, so has what it wanted.
    if up == Verdict::OverCap || down == Verdict::OverCap {
        Verdict::OverCap
    } else {
        Verdict::Carried
    }
}

/// Copies one way, within a budget.
fn pump(mut from: impl Read, mut to: impl Write, left: &AtomicU64, passed: &AtomicU64) -> Verdict {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return Verdict::Carried,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Verdict::Stopped,
        };
        let bytes = u64::try_from(length).unwrap_or(u64::MAX);
        let take = |left: u64| left.checked_sub(bytes);
        if left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            return Verdict::OverCap;
        }
        if to.write_all(&piece[..length]).is_err() {
            return Verdict::Stopped;
        }
        passed.fetch_add(bytes, Ordering::Relaxed);
    }
}
