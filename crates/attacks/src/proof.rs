//! Proof that each oracle can fail, without weakening a wall: this process itself does, in a scene
//! of its own, what the oracle must see. The control column of a machine that runs the product.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::attempt::Oracle;
use crate::collecting;
use crate::honeypots::Honeypots;
use crate::processes;
use crate::scene::Scene;
use crate::suite::Ground;
use crate::tree::differences;

/// Longest time for a process of our own to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns for each oracle whether it saw what it must, or why it did not.
pub(crate) fn all(ground: &Ground<'_>) -> Vec<(Oracle, Result<(), String>)> {
    Oracle::ALL
        .into_iter()
        .map(|oracle| (oracle, one(ground, oracle)))
        .collect()
}

fn one(ground: &Ground<'_>, oracle: Oracle) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    match oracle {
        Oracle::NothingLeaks => finds_canaries(ground),
        Oracle::HostUnchanged => {
            let scene = scene(ground).map_err(told)?;
            let before = scene.guarded(false);
            fs::write(scene.path("host/.env"), "changed\n").map_err(told)?;
            let seen = differences(&before, &scene.guarded(false));
            sees(seen.len() == 1, "a changed file")
        }
        Oracle::NothingRuns => {
            let scene = scene(ground).map_err(told)?;
            let ran = Command::new("/bin/sh")
                .arg(scene.path("host/trap/fire"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            ran.map_err(told)?;
            sees(scene.trap_was_sprung(), "a trap that was sprung")
        }
        Oracle::NothingHeard => hears(ground),
        Oracle::NothingGained => {
            let own = [PathBuf::from("/proc/self")];
            let before = processes::traits(&own);
            let held = UdpSocket::bind("127.0.0.1:0").map_err(told)?;
            let after = processes::traits(&own);
            drop(held);
            let gained = after.difference(&before);
            let sockets = gained.filter(|it| it.starts_with("descriptor socket:"));
            sees(sockets.count() >= 1, "a socket that was opened")
        }
        Oracle::Refused => {
            use cell::attempts::{Argument, call};
            // Asks which personality it has, and changes nothing.
            let answer = call("personality", &[Argument::Number(0xffff_ffff)]);
            sees(answer.is_ok(), "a call that is not refused")
        }
        Oracle::DiesWhole | Oracle::EndsInTime | Oracle::StaysBounded => {
            sees_a_process(ground, oracle)
        }
        Oracle::CollectsWell => {
            let scene = scene(ground).map_err(told)?;
            let upper = scene.path("upper");
            std::os::unix::fs::symlink("nothing", upper.join("nowhere")).map_err(told)?;
            let collected = collecting::carelessly(upper, scene.path("drop"), None);
            sees(collected.is_err(), "a collector that stumbles")
        }
    }
}

fn sees(seen: bool, what: &str) -> Result<(), String> {
    if seen {
        Ok(())
    } else {
        Err(format!("it did not see {what}"))
    }
}

fn scene(ground: &Ground<'_>) -> std::io::Result<Scene> {
    ground.stage(ground.next_number())
}

/// The canaries are where they were planted: on this host and in this process.
fn finds_canaries(ground: &Ground<'_>) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let planted = [
        (ground.template.join(".env"), 0),
        (PathBuf::from("/proc/self/environ"), 1),
        (PathBuf::from("/proc/self/cmdline"), 1),
    ];
    let canaries = ground.canaries(false);
    for (path, which) in planted {
        let text = fs::read(&path).map_err(told)?;
        let canary = canaries.get(which).map(String::as_str).unwrap_or_default();
        sees(
            !canary.is_empty() && crate::trial::holds(&text, canary.as_bytes()),
            &format!("the canary in {}", path.display()),
        )?;
    }
    Ok(())
}

/// Every listener hears this process.
fn hears(ground: &Ground<'_>) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let number = ground.next_number();
    let scene = ground.stage(number).map_err(told)?;
    let name = format!("{}-{number}", ground.token);
    let sockets = scene.sockets();
    let pots = Honeypots::listen(&sockets, &name, ground.key(number)).map_err(told)?;
    let places = pots.places();
    let port = |wanted: &str| -> Option<u16> {
        let (_, port) = places.iter().find(|(name, _)| *name == wanted)?;
        port.parse().ok()
    };
    let mut sent = 0;
    let mut note = |result: std::io::Result<()>| -> Result<(), String> {
        sent += 1;
        result.map_err(told)
    };
    if let Some(port) = port("{tcp}") {
        note(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).map(drop))?;
    }
    if let Some(port) = port("{udp}") {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        note(UdpSocket::bind("127.0.0.1:0").and_then(|it| it.send_to(b"x", to).map(drop)))?;
    }
    note(UnixStream::connect(sockets.join("stream")).map(drop))?;
    let datagram = UnixDatagram::unbound().map_err(told)?;
    note(datagram.send_to(b"x", sockets.join("datagram")).map(drop))?;
    let address = UnixAddress::from_abstract_name(&name).map_err(told)?;
    note(UnixStream::connect_addr(&address).map(drop))?;
    let address = UnixAddress::from_abstract_name(format!("{name}-datagram")).map_err(told)?;
    note(datagram.send_to_addr(b"x", &address).map(drop))?;
    let pipe = fs::File::options().write(true).open(sockets.join("pipe"));
    note(pipe.and_then(|mut it| it.write_all(b"x")))?;
    let heard = pots.heard();
    sees(
        heard.len() == sent,
        &format!("all of {sent} callers, but only {heard:?}"),
    )
}

/// A process with our token is found, counted, and lives until it is ended.
fn sees_a_process(ground: &Ground<'_>, oracle: Oracle) -> Result<(), String> {
    let token = format!("{}-{}", ground.token, ground.next_number());
    let mut child = ground
        .bystander(&token)
        .map_err(|error| error.to_string())?;
    // It has memory of its own only once its program has begun.
    let begun = Instant::now();
    let mut found = processes::with_token(&token);
    while processes::memory_bytes(&found) == 0 && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
        found = processes::with_token(&token);
    }
    let seen = match oracle {
        Oracle::DiesWhole => found.iter().any(|it| processes::is_alive(it)),
        Oracle::StaysBounded => {
            processes::threads(&found) > 0 && processes::memory_bytes(&found) > 0
        }
        Oracle::EndsInTime
        | Oracle::NothingLeaks
        | Oracle::HostUnchanged
        | Oracle::NothingRuns
        | Oracle::NothingHeard
        | Oracle::NothingGained
        | Oracle::Refused
        | Oracle::CollectsWell => matches!(child.try_wait(), Ok(None)),
    };
    drop(child.kill());
    drop(child.wait());
    sees(seen, "a process that goes on")
}
