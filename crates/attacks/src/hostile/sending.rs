//! Sending: every way out that a program may look for.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use cell::attempts::{Argument, call};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};

use super::Answer;

/// What is sent: the question of a name, as a resolver would put it, with a secret for a name.
const QUERY: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06secret\x07example\x00\x00\x01\x00\x01";
const SECRET: &[u8] = b"secret";
/// Longest time to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn act(verb: &str, words: &[&str]) -> Option<Answer> {
    Some(match (verb, words) {
        ("tcp", [address]) => over_tcp(address).into(),
        ("tcp-fast-open", [address]) => fast_open(address).into(),
        ("http", [address]) => http(address).into(),
        ("http", [address, model]) => past_the_model(address, Path::new(model)).into(),
        ("other-session", [own, other]) => other_session(Path::new(own), Path::new(other)).into(),
        ("udp", [address]) => over_udp(address, SECRET).into(),
        ("udp-connected", [address]) => udp_connected(address).into(),
        ("dns", [address]) => over_udp(address, QUERY).into(),
        ("unix", [path]) => UnixStream::connect(path)
            .and_then(|mut it| it.write_all(SECRET))
            .into(),
        ("unix-datagram", [path]) => UnixDatagram::unbound()
            .and_then(|it| it.send_to(SECRET, path))
            .into(),
        ("unix-descriptor", [path]) => pass_descriptor(Path::new(path)).into(),
        ("abstract", [name]) => UnixAddress::from_abstract_name(name)
            .and_then(|address| UnixStream::connect_addr(&address))
            .and_then(|mut it| it.write_all(SECRET))
            .into(),
        ("abstract-datagram", [name]) => UnixAddress::from_abstract_name(name)
            .and_then(|address| UnixDatagram::unbound()?.send_to_addr(SECRET, &address))
            .into(),
        ("named-pipe", [path]) => named_pipe(path).into(),
        ("inherited", []) => inherited().into(),
        ("serve", [address]) => match TcpListener::bind(address) {
            Ok(listener) => Answer::holding(listener),
            Err(error) => Answer::said(error.to_string()),
        },
        ("socket", [family, kind, protocol]) => socket(family, kind, protocol).into(),
        ("rare-families", []) => rare_families(),
        ("message-queue", [key]) => message_queue(key).into(),
        ("shared-memory", [key]) => keyed("shmget", key, true).into(),
        ("semaphores", [key]) => keyed("semget", key, false).into(),
        ("named-queue", [name]) => named_queue(name).into(),
        _ => return None,
    })
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(io::Error::other)
}

fn over_tcp(to: &str) -> io::Result<()> {
    TcpStream::connect_timeout(&address(to)?, PATIENCE)?.write_all(SECRET)
}

fn http(to: &str) -> io::Result<()> {
    TcpStream::connect_timeout(&address(to)?, PATIENCE)?
        .write_all(b"GET /latest/meta-data/ HTTP/1.0\r\n\r\n")
}

/// Asks a server beside the model, at the address and by way of the model's own connection.
fn past_the_model(to: &str, model: &Path) -> io::Result<()> {
    let mut way = UnixStream::connect(model)?;
    way.write_all(format!("CONNECT {to} HTTP/1.1\r\n\r\n").as_bytes())?;
    http(&to.replace("localhost", "127.0.0.1"))
}

/// Looks for another session's socket: beside its own, beside where its own lies on the host, and
/// where it is said to be.
fn other_session(own: &Path, other: &Path) -> io::Result<()> {
    UnixStream::connect(own)?;
    let mut places = vec![other.to_owned()];
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let sources = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        let (root, at) = (words.next()?, words.next()?);
        (Path::new(at) == own).then(|| Path::new(root).to_owned())
    });
    for folder in sources.chain([own.to_owned()]) {
        let Some(folder) = folder.parent() else {
            continue;
        };
        places.extend(other.file_name().map(|name| folder.join(name)));
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        places.extend(entries.map(|it| it.path()).filter(|it| it != own));
    }
    let mut sent = Err(io::Error::from(io::ErrorKind::NotFound));
    for place in places {
        let tried = UnixStream::connect(place).and_then(|mut it| it.write_all(SECRET));
        sent = tried.or(sent);
    }
    sent
}

/// Sends data together with the first packet, without a call that connects.
fn fast_open(to: &str) -> io::Result<()> {
    const FAST_OPEN: u32 = 0x2000_0000;
    let to = address(to)?;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let flags = SendFlags::from_bits_retain(FAST_OPEN);
    rustix::net::sendto(&socket, SECRET, flags, &to)?;
    Ok(())
}

fn over_udp(to: &str, bytes: &[u8]) -> io::Result<()> {
    let to = address(to)?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    UdpSocket::bind(any)?.send_to(bytes, to)?;
    Ok(())
}

fn udp_connected(to: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address(to)?)?;
    socket.send(SECRET)?;
    Ok(())
}

fn pass_descriptor(path: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(path)?;
    let secret = rustix::fs::memfd_create("secret", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [secret.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    rustix::net::sendmsg(
        &stream,
        &[io::IoSlice::new(SECRET)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn named_pipe(path: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    File::options()
        .write(true)
        .custom_flags(flags)
        .open(path)?
        .write_all(SECRET)
}

/// Writes to everything that is open beside the three streams.
fn inherited() -> io::Result<()> {
    let mut sent = Err(io::Error::from(io::ErrorKind::NotFound));
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|it| it.to_string_lossy().starts_with("socket:"));
        let number: u32 = entry
            .file_name()
            .to_str()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        if number > 2 && is_socket {
            sent = write_to(number).or(sent);
        }
    }
    sent
}

/// A socket cannot be opened again by its path, but a child's output can be anything.
fn write_to(number: u32) -> io::Result<()> {
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("echo secret >&{number}")])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("the shell could not write to it"))
    }
}

fn socket(family: &str, kind: &str, protocol: &str) -> io::Result<u64> {
    let mut words = [0; 3];
    for (word, text) in words.iter_mut().zip([family, kind, protocol]) {
        *word = text.parse().map_err(io::Error::other)?;
    }
    Ok(call("socket", &words.map(Argument::Number))?)
}

/// Tries every family that nothing in a cell needs.
fn rare_families() -> Answer {
    let mut said = Vec::new();
    for family in (3..64).filter(|it| ![10, 16, 17, 40].contains(it)) {
        for kind in [1, 2, 3, 5] {
            if call("socket", &[family, kind, 0].map(Argument::Number)).is_ok() {
                said.push(format!("family {family} type {kind}"));
            }
        }
    }
    if said.is_empty() {
        Answer::said("none of them")
    } else {
        Answer::said(said.join(", "))
    }
}

fn keyed(name: &str, key: &str, is_memory: bool) -> io::Result<u64> {
    const CREATE: u64 = 0o1000 | 0o600;
    let key: u64 = key.parse().map_err(io::Error::other)?;
    let size = if is_memory { 4_096 } else { 1 };
    Ok(call(name, &[key, size, CREATE].map(Argument::Number))?)
}

fn message_queue(key: &str) -> io::Result<u64> {
    const CREATE: u64 = 0o1000 | 0o600;
    let key: u64 = key.parse().map_err(io::Error::other)?;
    Ok(call("msgget", &[key, CREATE].map(Argument::Number))?)
}

fn named_queue(name: &str) -> io::Result<u64> {
    const CREATE_AND_BOTH: u64 = 0o102;
    let name = std::ffi::CString::new(name)?;
    let arguments = [
        Argument::Text(&name),
        Argument::Number(CREATE_AND_BOTH),
        Argument::Number(0o600),
        Argument::Number(0),
    ];
    Ok(call("mq_open", &arguments)?)
}
