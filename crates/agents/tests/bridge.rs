//! The bridge with real processes: what goes in comes out, whole, in both directions.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits before it calls something stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program behind a bridge, which tells its address and then does as told.
struct Crossed {
    child: Child,
    stdin: ChildStdin,
    address: SocketAddr,
}

impl Crossed {
    /// The program runs one line of shell it is told.
    fn to(socket: &Path) -> Self {
        let mut child = bridge("127.0.0.1:0", socket)
            .args([
                "/bin/sh",
                "-c",
                "echo $PALISADE_MODEL_URL; read line; eval \"$line\"",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().parse();
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            address: address.unwrap(),
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn tell(mut self, line: &str) -> ExitStatus {
        writeln!(self.stdin, "{line}").unwrap();
        self.child.wait().unwrap()
    }
}

fn bridge(listen: &str, socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-agent"));
    command
        .args(["bridge", "--listen", listen, "--to"])
        .arg(socket)
        .arg("--");
    command
}

/// Listens on a socket and lets `serve` handle each connection in a thread.
fn server(folder: &Path, serve: fn(UnixStream)) -> std::path::PathBuf {
    let socket = folder.join("model.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            thread::spawn(move || serve(client.unwrap()));
        }
    });
    socket
}

/// Sends back in reverse what came, once the client has said its last.
fn reverses(mut client: UnixStream) {
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    all.reverse();
    client.write_all(&all).unwrap();
}

#[test]
fn a_half_closed_connection_still_brings_the_whole_answer() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&server(folder.path(), reverses));
    let sent: Vec<u8> = (0..3_000_000_u32).map(|it| (it % 251) as u8).collect();
    let mut client = crossed.connect();
    let mut writer = client.try_clone().unwrap();
    let expected: Vec<u8> = sent.iter().rev().copied().collect();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == expected, "{} bytes", answer.len());
    assert_eq!(crossed.tell("exit 0").code(), Some(0));
}

#[test]
fn an_answer_comes_piece_by_piece_while_the_client_waits_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&server(folder.path(), |mut client| {
        let mut byte = [0];
        while client.read(&mut byte).unwrap() == 1 {
            client.write_all(&byte).unwrap();
        }
    }));
    let mut client = crossed.connect();
    for sent in *b"abc" {
        client.write_all(&[sent]).unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [sent]);
    }
    crossed.tell("exit 0");
}

#[test]
fn an_early_answer_is_read_though_the_rest_of_the_question_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&server(folder.path(), |mut client| {
        client.write_all(b"too long").unwrap();
    }));
    let mut client = crossed.connect();
    // More than all buffers on the way hold.
    let sent = client.write_all(&vec![0; 8 << 20]);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!((sent.is_ok(), answer.as_str()), (true, "too long"));
    crossed.tell("exit 0");
}

#[test]
fn a_client_that_hangs_up_is_heard_on_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&server(folder.path(), |mut client| {
        let mark = client.local_addr().unwrap();
        let mark = mark.as_pathname().unwrap().with_extension("ended");
        client.write_all(b"begin").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        std::fs::write(mark, "").unwrap();
    }));
    let mut client = crossed.connect();
    client.read_exact(&mut [0; 5]).unwrap();
    drop(client);
    let mark = folder.path().join("model.ended");
    let begun = Instant::now();
    while !mark.exists() {
        assert!(begun.elapsed() < PATIENCE, "nobody told the server");
        thread::yield_now();
    }
    crossed.tell("exit 0");
}

#[test]
fn more_connections_than_are_carried_at_once_all_get_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&server(folder.path(), reverses));
    let clients: Vec<_> = (0..150).map(|_| crossed.connect()).collect();
    for (number, mut client) in clients.into_iter().enumerate() {
        client.write_all(format!("{number:03}").as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let expected: String = format!("{number:03}").chars().rev().collect();
        assert_eq!(answer, expected);
    }
    crossed.tell("exit 0");
}

#[test]
fn an_absent_broker_is_told_as_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let crossed = Crossed::to(&folder.path().join("none.sock"));
    let mut client = crossed.connect();
    client
        .write_all(b"POST /anthropic HTTP/1.1\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("does not answer"), "{answer}");
    crossed.tell("exit 0");
}

#[test]
fn the_programs_end_is_the_bridges_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let socket = server(folder.path(), reverses);
    let crossed = Crossed::to(&socket);
    assert_eq!(crossed.tell("exit 7").code(), Some(7));
    let crossed = Crossed::to(&socket);
    let address = crossed.address;
    assert_eq!(crossed.tell("kill -TERM $$").signal(), Some(15));
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "the copier lives on");
        thread::yield_now();
    }
}

#[test]
fn what_cannot_be_bridged_is_told() {
    let socket = Path::new("/nonexistent.sock");
    for (listen, program, why) in [
        ("0.0.0.0:0", "/bin/true", "no loopback address"),
        ("192.0.2.1:80", "/bin/true", "no loopback address"),
        ("127.0.0.1:0", "/nonexistent/agent", "cannot be started"),
    ] {
        let output = bridge(listen, socket).arg(program).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(127), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
