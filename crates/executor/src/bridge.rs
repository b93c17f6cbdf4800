//! In the cell of an action that reaches the world: an address on the cell's own loopback that leads
//! to the door, since programs know proxies by an address and not by a socket. A process of its own
//! copies the bytes; this one becomes the program.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

/// The argument that makes this program a bridge.
pub const BRIDGE: &str = "__bridge";

/// The argument that makes it the process that copies.
const COPY: &str = "__copy";

/// Where this program is in the cell.
pub(crate) const PROGRAM: &str = "/bridge";

/// Where the door is in the cell.
pub(crate) const DOOR: &str = "/door";

/// The variables by which programs find a proxy for what is encrypted. There is none for the rest.
const VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// What a shell says of a program that cannot be started.
const NOT_STARTED: u8 = 126;

/// Is the bridge: the first argument after [`BRIDGE`] is the program. Returns only when that fails.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(2).collect();
    let fault = if arguments.first().is_some_and(|it| it == COPY) {
        copy()
    } else {
        cross(&arguments)
    };
    // There is nobody else to tell.
    drop(writeln!(io::stderr(), "bridge: {fault}"));
    ExitCode::from(NOT_STARTED)
}

fn cross(program: &[OsString]) -> io::Error {
    let Some((name, arguments)) = program.split_first() else {
        return io::Error::other("there is no program after it");
    };
    match begin() {
        Ok(address) => Command::new(name)
            .args(arguments)
            .envs(VARIABLES.map(|it| (it, address.as_str())))
            .exec(),
        Err(error) => error,
    }
}

/// Leaves the copying to a process of its own, and returns the proxy's address.
fn begin() -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = format!("http://{}", listener.local_addr()?);
    // From here on connections wait in the kernel's queue: the program cannot come too early. What
    // copies knows none of its secrets, and ends with the cell.
    let copier = Command::new(PROGRAM)
        .args([BRIDGE, COPY])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(copier);
    Ok(address)
}

fn copy() -> io::Error {
    let listener = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(listener) => TcpListener::from(listener),
        Err(error) => return error,
    };
    loop {
        match listener.accept() {
            // Without a thread the connection is closed, and the program tries again.
            Ok((program, _)) => drop(std::thread::Builder::new().spawn(move || carry(&program))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return error,
        }
    }
}

fn carry(program: &TcpStream) {
    drop(program.set_nodelay(true));
    let Ok(door) = UnixStream::connect(DOOR) else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (program, &door);
            let copied = io::copy(&mut from, &mut to);
            drop(door.shutdown(if copied.is_ok() {
                Shutdown::Write
            } else {
                Shutdown::Both
            }));
        });
        let (mut from, mut to) = (&door, program);
        let copied = io::copy(&mut from, &mut to);
        drop(program.shutdown(if copied.is_ok() {
            Shutdown::Write
        } else {
            Shutdown::Both
        }));
    });
}
