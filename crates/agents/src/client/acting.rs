//! The deeds of a story's steps.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Signal, getpid, kill_process};

use super::messages;
use super::voice::Voice;
use crate::story::{Act, Stream};
use crate::surroundings::CLIENT;

/// Between two looks for a path that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Written at once in a flood, in bytes.
const FLOOD_PIECE: usize = 64 << 10;

/// What comes after a step.
pub(super) enum Next {
    /// The next step.
    Step,
    /// The end.
    Exit(ExitCode),
}

/// Does what a step says, or tells what went wrong.
pub(super) fn act(act: &Act, voice: &Voice) -> Result<Next, String> {
    match act {
        Act::Exit(code) => {
            return Ok(Next::Exit(ExitCode::from(u8::try_from(*code).unwrap_or(1))));
        }
        Act::Say { signal, epoch } => match epoch {
            Some(epoch) => voice.say_in(Some(*epoch), signal),
            None => voice.say(signal),
        }
        .map_err(|error| error.to_string())?,
        Act::Raw(line) => speak(voice, line)?,
        Act::Garbage(count) => {
            for number in 1..=*count {
                speak(voice, &format!("{{\"signal\": garbage {number}"))?;
            }
        }
        Act::Run { argv, expect } => run(argv, *expect)?,
        Act::Print { text, stream } => write_out(*stream, format!("{text}\n").as_bytes())?,
        Act::Flood { bytes, stream } => flood(*bytes, *stream)?,
        Act::SleepMs(count) => thread::sleep(Duration::from_millis(*count)),
        Act::Hang => loop {
            thread::park();
        },
        Act::Background => background()?,
        Act::KillSelf(number) => kill_self(*number)?,
        Act::Acknowledge(text) => {
            for message in messages::wait(&super::voice::brief()).map_err(|it| it.to_string())? {
                let text = text.clone();
                let signal = domain::agent::Signal::Acknowledge { message, text };
                voice.say(&signal).map_err(|error| error.to_string())?;
            }
        }
        Act::WaitFor(path) => {
            while fs::symlink_metadata(path).is_err() {
                thread::sleep(LOOK_AGAIN);
            }
        }
        Act::Write { .. }
        | Act::Append { .. }
        | Act::Replace { .. }
        | Act::Delete(_)
        | Act::Rename { .. }
        | Act::Symlink { .. }
        | Act::Fifo(_)
        | Act::Sparse { .. }
        | Act::Require { .. } => change(act).map_err(|error| error.to_string())?,
    }
    Ok(Next::Step)
}

fn change(act: &Act) -> io::Result<()> {
    match act {
        Act::Write {
            path,
            text,
            executable,
        } => {
            make_folders(path)?;
            fs::write(path, text)?;
            if *executable {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
            }
            Ok(())
        }
        Act::Append { path, text } => {
            make_folders(path)?;
            let mut file = fs::File::options().create(true).append(true).open(path)?;
            file.write_all(text.as_bytes())
        }
        Act::Replace { path, old, new } => {
            let text = fs::read_to_string(path)?;
            if !text.contains(old.as_str()) {
                return Err(io::Error::other(format!("`{path}` does not hold `{old}`")));
            }
            fs::write(path, text.replacen(old.as_str(), new, 1))
        }
        Act::Delete(path) => {
            if fs::symlink_metadata(path)?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Act::Rename { path, to } => {
            make_folders(to)?;
            fs::rename(path, to)
        }
        Act::Symlink { path, to } => {
            make_folders(path)?;
            symlink(to, path)
        }
        Act::Fifo(path) => {
            make_folders(path)?;
            Ok(mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?)
        }
        Act::Sparse { path, bytes } => {
            make_folders(path)?;
            fs::File::create(path)?.set_len(*bytes)
        }
        Act::Require { path, contains } => {
            if fs::read_to_string(path)?.contains(contains.as_str()) {
                return Ok(());
            }
            Err(io::Error::other(format!(
                "`{path}` does not hold `{contains}`"
            )))
        }
        Act::Acknowledge(_)
        | Act::WaitFor(_)
        | Act::Run { .. }
        | Act::Print { .. }
        | Act::Flood { .. }
        | Act::Say { .. }
        | Act::Raw(_)
        | Act::Garbage(_)
        | Act::SleepMs(_)
        | Act::Hang
        | Act::Background
        | Act::Exit(_)
        | Act::KillSelf(_) => Ok(()),
    }
}

fn make_folders(path: &str) -> io::Result<()> {
    match Path::new(path).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::create_dir_all(folder),
        Some(_) | None => Ok(()),
    }
}

fn speak(voice: &Voice, line: &str) -> Result<(), String> {
    voice
        .line(format!("{line}\n").as_bytes())
        .map_err(|error| error.to_string())
}

fn run(argv: &[String], expect: i32) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("nothing to run")?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if status.code() == Some(expect) {
        return Ok(());
    }
    Err(format!(
        "`{}` ended with {status}, expected was {expect}",
        argv.join(" ")
    ))
}

fn write_out(stream: Stream, bytes: &[u8]) -> Result<(), String> {
    let written = match stream {
        Stream::Out => write_all(&mut io::stdout(), bytes),
        Stream::Err => write_all(&mut io::stderr(), bytes),
    };
    written.map_err(|error| error.to_string())
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn flood(bytes: u64, stream: Stream) -> Result<(), String> {
    let piece = vec![b'~'; FLOOD_PIECE];
    let mut left = bytes;
    while left > 0 {
        let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        write_out(stream, &piece[..length])?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    Ok(())
}

fn background() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        // The program may be one that is this client only under its name.
        .arg0(CLIENT)
        .arg("linger")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(|error| format!("the child cannot be started: {error}"))
}

fn kill_self(number: i32) -> Result<(), String> {
    let signal = Signal::from_named_raw(number).ok_or("there is no such signal")?;
    kill_process(getpid(), signal).map_err(|error| error.to_string())?;
    // Whoever gets here ignored it, or is the first process of its namespace.
    Err(format!("signal {number} did not end this process"))
}
