//! Honeypots: whatever could hear a cell on the host listens, and tells whether it heard anything.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use cell::attempts::{Argument, call};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// Longest time for somebody on the host to reach a server of the cell.
const PATIENCE: Duration = Duration::from_millis(500);

/// Ports that the kernel gives to nobody by itself, for a server of a cell's.
const FREE_PORTS: u16 = 20_000;
const FREE_PORTS_COUNT: u32 = 12_000;

/// The listeners of one trial.
#[derive(Debug)]
pub(crate) struct Honeypots {
    tcp: TcpListener,
    tcp6: Option<TcpListener>,
    udp: UdpSocket,
    udp6: Option<UdpSocket>,
    stream: UnixListener,
    control: UnixListener,
    /// Stands for the model of the session itself: whoever reaches it has gained nothing.
    _own: UnixListener,
    datagram: UnixDatagram,
    named: UnixListener,
    named_datagram: UnixDatagram,
    pipe: File,
    free: u16,
    name: String,
    key: u64,
}

impl Honeypots {
    /// Listens everywhere; sockets with a path lie in `folder`.
    pub(crate) fn listen(folder: &Path, name: &str, key: u32) -> io::Result<Self> {
        let pipe = folder.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o666), 0)?;
        let waits_not = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let abstract_name = |name: String| SocketAddr::from_abstract_name(name);
        let pots = Self {
            tcp: TcpListener::bind("127.0.0.1:0")?,
            // A machine may have no IPv6.
            tcp6: TcpListener::bind("[::1]:0").ok(),
            udp: UdpSocket::bind("127.0.0.1:0")?,
            udp6: UdpSocket::bind("[::1]:0").ok(),
            stream: UnixListener::bind(folder.join("stream"))?,
            control: UnixListener::bind(folder.join("control.sock"))?,
            _own: UnixListener::bind(folder.join("own"))?,
            datagram: UnixDatagram::bind(folder.join("datagram"))?,
            named: UnixListener::bind_addr(&abstract_name(name.to_owned())?)?,
            named_datagram: UnixDatagram::bind_addr(&abstract_name(format!("{name}-datagram"))?)?,
            pipe: File::options()
                .read(true)
                .custom_flags(waits_not)
                .open(pipe)?,
            free: FREE_PORTS + u16::try_from(key % FREE_PORTS_COUNT).unwrap_or(0),
            name: name.to_owned(),
            key: u64::from(key),
        };
        pots.tcp.set_nonblocking(true)?;
        pots.udp.set_nonblocking(true)?;
        if let Some(pot) = &pots.tcp6 {
            pot.set_nonblocking(true)?;
        }
        if let Some(pot) = &pots.udp6 {
            pot.set_nonblocking(true)?;
        }
        pots.stream.set_nonblocking(true)?;
        pots.control.set_nonblocking(true)?;
        pots.named.set_nonblocking(true)?;
        pots.datagram.set_nonblocking(true)?;
        pots.named_datagram.set_nonblocking(true)?;
        Ok(pots)
    }

    /// Returns the places that attempts name in braces.
    pub(crate) fn places(&self) -> Vec<(&'static str, String)> {
        let port = |it: io::Result<std::net::SocketAddr>| {
            it.map_or_else(|_| "9".to_owned(), |it| it.port().to_string())
        };
        let six = |it: &Option<TcpListener>| {
            it.as_ref()
                .map_or_else(|| "9".to_owned(), |it| port(it.local_addr()))
        };
        vec![
            ("{tcp}", port(self.tcp.local_addr())),
            ("{tcp6}", six(&self.tcp6)),
            ("{udp}", port(self.udp.local_addr())),
            (
                "{udp6}",
                self.udp6
                    .as_ref()
                    .map_or_else(|| "9".to_owned(), |it| port(it.local_addr())),
            ),
            ("{free}", self.free.to_string()),
            ("{abstract}", self.name.clone()),
            ("{key}", self.key.to_string()),
        ]
    }

    /// Looks for what is there only while the program runs: servers and queues of its own.
    pub(crate) fn look_around(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let served = std::net::SocketAddr::from(([127, 0, 0, 1], self.free));
        if TcpStream::connect_timeout(&served, PATIENCE).is_ok() {
            heard.push("a server of the cell was reached from the host".to_owned());
        }
        heard.extend(self.keyed());
        heard
    }

    /// Returns what was heard since they listen.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut note = |what: &str, heard_it: bool| {
            if heard_it {
                heard.push(format!("{what} heard something"));
            }
        };
        let mut room = [0; 512];
        note("tcp", self.tcp.accept().is_ok());
        note(
            "tcp by IPv6",
            self.tcp6.as_ref().is_some_and(|it| it.accept().is_ok()),
        );
        note("udp", self.udp.recv(&mut room).is_ok());
        note(
            "udp by IPv6",
            self.udp6
                .as_ref()
                .is_some_and(|it| it.recv(&mut room).is_ok()),
        );
        note("a socket with a path", self.stream.accept().is_ok());
        note("a broker's control socket", self.control.accept().is_ok());
        note(
            "a datagram socket with a path",
            self.datagram.recv(&mut room).is_ok(),
        );
        note("a socket without a path", self.named.accept().is_ok());
        note(
            "a datagram socket without a path",
            self.named_datagram.recv(&mut room).is_ok(),
        );
        note(
            "a named pipe",
            (&self.pipe).read(&mut room).is_ok_and(|bytes| bytes > 0),
        );
        heard
    }

    /// Finds queues, memory and semaphores by key and name, and removes them.
    fn keyed(&self) -> Vec<String> {
        const REMOVE: u64 = 0;
        let mut found = Vec::new();
        let number = |value| Argument::Number(value);
        if let Ok(id) = call("msgget", &[self.key, 0].map(number)) {
            call("msgctl", &[id, REMOVE, 0].map(number)).unwrap_or_default();
            found.push("a message queue of the cell's is on the host".to_owned());
        }
        if let Ok(id) = call("shmget", &[self.key, 0, 0].map(number)) {
            call("shmctl", &[id, REMOVE, 0].map(number)).unwrap_or_default();
            found.push("shared memory of the cell's is on the host".to_owned());
        }
        if let Ok(id) = call("semget", &[self.key, 0, 0].map(number)) {
            call("semctl", &[id, 0, REMOVE, 0].map(number)).unwrap_or_default();
            found.push("semaphores of the cell's are on the host".to_owned());
        }
        if let Ok(name) = CString::new(self.name.as_str())
            && call("mq_unlink", &[Argument::Text(&name)]).is_ok()
        {
            found.push("a named queue of the cell's is on the host".to_owned());
        }
        found
    }
}
