//! Living: taking more than is given, and not ending when it is over.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process, setsid};

use super::{Answer, GOT, NAME, OUTCOME, say};

/// The verb of a child of ours.
pub(super) const CHILD: &str = "child";
/// A child that does nothing, for a long time.
pub(super) const LINGER: &str = "linger";
/// Said behind a verb: leave after the attempt rather than hold on.
pub(super) const LEAVE: &str = "and-leave";
/// A child that leaves a child of its own in a session of its own.
const FORSAKE: &str = "forsake";
/// Longer than any test waits; then even what escaped ends.
const LONG: Duration = Duration::from_secs(120);
const MEBIBYTE: usize = 1 << 20;

pub(super) fn act(verb: &str, words: &[&str], token: &str) -> Option<Answer> {
    Some(match (verb, words) {
        ("fork-bomb", [count]) => fork_bomb(number(count), token),
        ("thread-bomb", [count]) => thread_bomb(number(count)),
        ("take-memory", [mebibytes]) => take_memory(number(mebibytes)),
        ("fill", [path, mebibytes]) => fill(path, number(mebibytes)).into(),
        ("litter", [folder, count, kibibytes]) => {
            litter(folder, number(count), number(kibibytes)).into()
        }
        ("open-many", [count]) => open_many(number(count)),
        ("write-score", [path, text]) => std::fs::write(path, text).into(),
        ("flood", [mebibytes]) => flood(number(mebibytes)).into(),
        ("spin", []) => spin(),
        ("sleep", []) => sleep(),
        ("ignore-endings", []) => ignore_endings(),
        ("leave-child", [_]) => child(LINGER, token, false).into(),
        ("leave-session", [_]) => child(FORSAKE, token, false).into(),
        ("leave-holding-output", [_]) => child(FORSAKE, token, true).into(),
        ("leave-many", [_, count]) => (0..number(count))
            .try_for_each(|_| child(FORSAKE, token, false))
            .into(),
        ("signal", [process]) => signal(process).into(),
        _ => return None,
    })
}

/// Is what a child of the program does: `child WHAT TOKEN`.
pub(super) fn be_a_child(arguments: &[String], token: &str) -> ExitCode {
    match arguments.first().map(String::as_str) {
        Some(FORSAKE) => {
            away();
            match child(LINGER, token, true) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Some(LINGER) => {
            away();
            linger();
            ExitCode::SUCCESS
        }
        Some(_) | None => ExitCode::from(2),
    }
}

/// Leaves the terminal, the group and the session; who leads one already has left.
fn away() {
    if setsid().is_err() {
        std::thread::yield_now();
    }
}

fn linger() {
    let end = std::time::Instant::now() + LONG;
    while std::time::Instant::now() < end {
        std::thread::park_timeout(LONG);
    }
}

fn child(what: &str, token: &str, keeps_output: bool) -> io::Result<()> {
    let output = || {
        if keeps_output {
            Stdio::inherit()
        } else {
            Stdio::null()
        }
    };
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .args([CHILD, what, token])
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output())
        .spawn()?;
    Ok(())
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

fn fork_bomb(count: usize, token: &str) -> Answer {
    for made in 0..count {
        if let Err(error) = child(LINGER, token, false) {
            return Answer::said(format!("{error} after {made}"));
        }
    }
    Answer::got()
}

fn thread_bomb(count: usize) -> Answer {
    for made in 0..count {
        let thread = std::thread::Builder::new().stack_size(16 << 10);
        if let Err(error) = thread.spawn(linger) {
            return Answer::said(format!("{error} after {made}"));
        }
    }
    Answer::got()
}

/// Takes memory and uses it, so that it is really there.
fn take_memory(mebibytes: usize) -> Answer {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for taken in 0..mebibytes {
        let mut part = Vec::new();
        if part.try_reserve_exact(MEBIBYTE).is_err() {
            return Answer::said(format!("refused after {taken} MiB"));
        }
        part.resize(MEBIBYTE, 1);
        held.push(part);
    }
    Answer::holding(held)
}

fn litter(folder: &str, count: usize, kibibytes: usize) -> io::Result<()> {
    let part = part(kibibytes << 10);
    (0..count).try_for_each(|number| std::fs::write(format!("{folder}/litter-{number}"), &part))
}

/// Bytes that are not all alike, so that no layer below may take them for nothing.
fn part(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

fn fill(path: &str, mebibytes: usize) -> io::Result<()> {
    let part = part(MEBIBYTE);
    let mut file = File::create(path)?;
    for _ in 0..mebibytes {
        file.write_all(&part)?;
    }
    Ok(())
}

fn open_many(count: usize) -> Answer {
    let mut held = Vec::new();
    for opened in 0..count {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => {
                return Answer {
                    said: format!("{error} after {opened}"),
                    held: vec![Box::new(held)],
                };
            }
        }
    }
    Answer::holding(held)
}

fn flood(mebibytes: usize) -> io::Result<()> {
    let part = vec![b'#'; MEBIBYTE];
    let mut out = io::stdout().lock();
    for _ in 0..mebibytes {
        out.write_all(&part)?;
    }
    Ok(())
}

fn spin() -> Answer {
    loop {
        std::hint::spin_loop();
    }
}

/// Says that it has begun, and then does not end with its input.
fn sleep() -> Answer {
    let said = say(&format!("\n{OUTCOME}{GOT}"));
    linger();
    said.into()
}

/// Refuses every ending that can be refused: a shell ignores them for us, and what it starts
/// inherits that.
fn ignore_endings() -> Answer {
    let error = Command::new("/bin/sh")
        .args([
            "-c",
            "trap '' TERM INT HUP QUIT PIPE ALRM USR1 USR2 XCPU; \
             printf '\\noutcome: got it\\n'; exec \"$@\"",
            "sh",
        ])
        .args(std::env::args_os().next())
        .args([CHILD, LINGER])
        .args(std::env::args_os().next_back())
        .exec();
    Answer::said(error.to_string())
}

/// Sends a signal that ends whoever does not expect it.
fn signal(process: &str) -> io::Result<()> {
    let process = process.parse().map_err(io::Error::other)?;
    let process = rustix::process::Pid::from_raw(process)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(process, Signal::TERM)?)
}
