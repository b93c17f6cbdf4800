//! The bridge: a loopback address inside a cell that leads to the one socket of its session.
//!
//! An agent program wants an HTTP address for its model, and a cell has no network but its own
//! loopback. So the address is made here, a process of its own copies bytes between it and the
//! socket, and this process becomes the agent program: its exit code, its signals and its streams
//! are the program's own. What the copied bytes mean is the broker's matter alone.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::surroundings::{CLIENT, MODEL_VARIABLE};

/// Connections copied at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Copied at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// How long a client may keep a connection open that the other side has ended.
const LINGER: Duration = Duration::from_secs(5);

/// Why there is no bridge.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The address is one that others could reach.
    #[error("`{0}` is no loopback address: a bridge is for its own cell alone")]
    Open(SocketAddr),
    /// The address is taken, or there is no loopback.
    #[error("nothing can listen at `{address}`")]
    Listen {
        /// Which address.
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// There is nothing to run.
    #[error("the bridge needs a program after `--`")]
    Nothing,
    /// The process that copies does not start.
    #[error("the process that copies bytes cannot be started")]
    Copier(#[source] io::Error),
    /// The agent program does not start.
    #[error("`{program}` cannot be started")]
    Program {
        /// Which.
        program: String,
        #[source]
        source: io::Error,
    },
}

/// Listens, leaves the copying to a process of its own, and becomes the program. Returns only when
/// that fails.
pub(super) fn cross(listen: SocketAddr, to: &Path, program: &[OsString]) -> Error {
    match begin(listen, to) {
        Ok(address) => become_program(address, program),
        Err(error) => error,
    }
}

fn begin(listen: SocketAddr, to: &Path) -> Result<SocketAddr, Error> {
    if !listen.ip().is_loopback() {
        return Err(Error::Open(listen));
    }
    let fault = |source| Error::Listen {
        address: listen,
        source,
    };
    let listener = TcpListener::bind(listen).map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    // From here on connections wait in the kernel's queue: the program cannot come too early.
    let copier = Command::new(std::env::current_exe().map_err(Error::Copier)?)
        .arg0(CLIENT)
        .args(["copy", "--parent", &std::process::id().to_string(), "--to"])
        .arg(to)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::Copier)?;
    // It ends with this process, whatever program that has become.
    drop(copier);
    Ok(address)
}

fn become_program(address: SocketAddr, program: &[OsString]) -> Error {
    let Some((name, arguments)) = program.split_first() else {
        return Error::Nothing;
    };
    let source = Command::new(name)
        .args(arguments)
        .env(MODEL_VARIABLE, format!("http://{address}"))
        .exec();
    Error::Program {
        program: name.to_string_lossy().into_owned(),
        source,
    }
}

/// Copies between the listener that is this process's standard input and a socket, until the parent
/// ends.
///
/// # Errors
/// When standard input is no listener, or the parent is gone already.
pub(super) fn copy(parent: u32, to: PathBuf) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if parent.is_none() || getppid() != parent {
        return Err(io::Error::other("the program has ended already"));
    }
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let slots = Arc::new(Slots::default());
    let to = Arc::new(to);
    loop {
        let slot = Slots::take(&slots);
        let client = match listener.accept() {
            Ok((client, _)) => client,
            // Whoever hung up while waiting is no reason to end.
            Err(error) if passes(&error) => continue,
            Err(error) => return Err(error),
        };
        let to = Arc::clone(&to);
        let carried = thread::Builder::new().spawn(move || {
            carry(client, &to);
            drop(slot);
        });
        // Without a thread the connection is closed, and the client tries again.
        drop(carried);
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// Carries one connection to its end, both ways.
fn carry(client: TcpStream, to: &Path) {
    // Events of a stream are small, and each is waited for.
    drop(client.set_nodelay(true));
    let server = match UnixStream::connect(to) {
        Ok(server) => server,
        Err(error) => return tell_absent(client, &error),
    };
    let timed = client.set_read_timeout(Some(LINGER));
    let (Ok(()), Ok(upwards), Ok(from)) = (timed, server.try_clone(), client.try_clone()) else {
        return;
    };
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    let up = thread::Builder::new().spawn(move || send_up(from, &upwards, &seen));
    let Ok(up) = up else {
        return;
    };
    bring_down(&server, &client);
    ended.store(true, Ordering::Release);
    // A panic there has been told; the connection is over either way.
    drop(up.join());
}

/// Copies what the client sends. Its end is passed on; what the server no longer takes is read and
/// dropped for a while, so that an early answer is not lost to a reset.
fn send_up(mut client: TcpStream, mut server: &UnixStream, ended: &AtomicBool) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut taken = true;
    loop {
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => taken = taken && server.write_all(&piece[..length]).is_ok(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => {
                if ended.load(Ordering::Acquire) {
                    break;
                }
            }
            // The client is gone: the server must not go on answering.
            Err(_) => {
                drop(server.shutdown(Shutdown::Both));
                return;
            }
        }
    }
    drop(server.shutdown(Shutdown::Write));
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Copies what the server answers, piece by piece as it comes.
fn bring_down(mut server: &UnixStream, mut client: &TcpStream) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match server.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                if client.write_all(&piece[..length]).is_err() {
                    // Nobody wants the rest; the server must hear of it.
                    drop(server.shutdown(Shutdown::Both));
                    drop(client.shutdown(Shutdown::Both));
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    drop(client.shutdown(Shutdown::Write));
}

/// Answers in the place of a broker that is not there, in a form that agents show.
fn tell_absent(mut client: TcpStream, error: &io::Error) {
    let body = format!(
        "{{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\
         \"the model broker of this session does not answer: {}\"}}}}",
        error.kind()
    );
    let answer = format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    drop(client.write_all(answer.as_bytes()));
    drop(client.shutdown(Shutdown::Write));
    // Until the client has read it and hangs up, or for as long as is reasonable.
    drop(client.set_read_timeout(Some(LINGER)));
    let mut rest = client.take(PIECE_BYTES as u64);
    drop(io::copy(&mut rest, &mut io::sink()));
}

/// A bounded number of connections.
#[derive(Debug, Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of them, given back when dropped.
#[derive(Debug)]
struct Slot(Arc<Slots>);

impl Slots {
    fn take(this: &Arc<Self>) -> Slot {
        let taken = this.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = this
            .freed
            .wait_while(taken, |it| *it >= CONNECTIONS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(Arc::clone(this))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        self.0.freed.notify_one();
    }
}
