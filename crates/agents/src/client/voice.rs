//! How the client speaks: one line at a time into the signal pipe, whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use domain::agent::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;

use crate::signal_line;
use crate::surroundings::{
    BRIEF, BRIEF_VARIABLE, EPOCH_VARIABLE, SIGNAL_BYTES_VARIABLE, SIGNALS_VARIABLE,
};

/// How long a line may wait for its turn and for room in the pipe.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two tries for the lock.
const LOCK_AGAIN: Duration = Duration::from_millis(5);

/// Why a line was not said.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A variable is missing.
    #[error("`{0}` is not set: this program speaks only inside a cell of palisade")]
    Variable(&'static str),
    /// A variable holds something else than was set by the driver.
    #[error("`{0}` must be a whole number from 0")]
    Number(&'static str),
    /// Nobody reads.
    #[error("nobody listens at `{0}`: the session is over")]
    Deaf(String),
    /// What is there is not a pipe.
    #[error("`{0}` is not the signal pipe: something replaced it")]
    Replaced(String),
    /// The line is too long.
    #[error("the signal has {bytes} bytes, at most {cap} are taken; say it shorter")]
    Long {
        /// Its length.
        bytes: usize,
        /// The cap.
        cap: usize,
    },
    /// The pipe stayed full, or locked.
    #[error("`{0}` was busy for {WAIT_MAX:?}")]
    Busy(String),
    /// The signal cannot be written as JSON.
    #[error("the signal cannot be written as JSON")]
    Form(#[source] serde_json::Error),
    /// The pipe failed.
    #[error("`{path}`: {doing}")]
    Io {
        doing: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
}

/// The way into the signal pipe.
#[derive(Debug)]
pub(super) struct Voice {
    pipe: File,
    path: String,
    epoch: Option<u64>,
    cap: Option<usize>,
}

impl Voice {
    /// Opens the pipe that this process's variables name.
    pub(super) fn of_process() -> Result<Self, Error> {
        let path = variable(SIGNALS_VARIABLE).ok_or(Error::Variable(SIGNALS_VARIABLE))?;
        let epoch = number(EPOCH_VARIABLE)?;
        let cap = number(SIGNAL_BYTES_VARIABLE)?.and_then(|cap| usize::try_from(cap).ok());
        Self::open(Path::new(&path), epoch, cap)
    }

    fn open(path: &Path, epoch: Option<u64>, cap: Option<usize>) -> Result<Self, Error> {
        let name = path.display().to_string();
        // Without waiting: a pipe that nobody reads must be an error, not a hang.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pipe = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(pipe) => pipe,
            Err(Errno::NXIO | Errno::NOENT) => return Err(Error::Deaf(name)),
            Err(Errno::LOOP) => return Err(Error::Replaced(name)),
            Err(error) => {
                return Err(Error::Io {
                    doing: "opening",
                    path: name,
                    source: error.into(),
                });
            }
        };
        let is_pipe = fstat(&pipe)
            .is_ok_and(|facts| FileType::from_raw_mode(facts.st_mode) == FileType::Fifo);
        if !is_pipe {
            return Err(Error::Replaced(name));
        }
        Ok(Self {
            pipe: File::from(pipe),
            path: name,
            epoch,
            cap,
        })
    }

    /// Says a signal in this session's epoch.
    pub(super) fn say(&self, signal: &Signal) -> Result<(), Error> {
        self.say_in(self.epoch, signal)
    }

    /// Says a signal in some epoch.
    pub(super) fn say_in(&self, epoch: Option<u64>, signal: &Signal) -> Result<(), Error> {
        let line = signal_line::encode(epoch, signal).map_err(Error::Form)?;
        let bytes = line.trim_end().len();
        match self.cap {
            Some(cap) if bytes > cap => Err(Error::Long { bytes, cap }),
            Some(_) | None => self.line(line.as_bytes()),
        }
    }

    /// Writes a line, newline included, without another one coming between its bytes: the kernel
    /// promises that for short ones only.
    pub(super) fn line(&self, line: &[u8]) -> Result<(), Error> {
        let until = Instant::now() + WAIT_MAX;
        self.lock(until)?;
        let said = self.write(line, until);
        match flock(&self.pipe, FlockOperation::Unlock) {
            // The lock goes with the descriptor at the latest.
            Ok(()) | Err(_) => said,
        }
    }

    fn lock(&self, until: Instant) -> Result<(), Error> {
        loop {
            match flock(&self.pipe, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                    thread::sleep(LOCK_AGAIN);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(Error::Busy(self.path.clone())),
                Err(error) => return Err(self.io("locking", error.into())),
            }
        }
    }

    fn write(&self, mut line: &[u8], until: Instant) -> Result<(), Error> {
        while !line.is_empty() {
            match (&self.pipe).write(line) {
                Ok(length) => line = &line[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(until)?,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(Error::Deaf(self.path.clone()));
                }
                Err(error) => return Err(self.io("writing", error)),
            }
        }
        Ok(())
    }

    fn wait(&self, until: Instant) -> Result<(), Error> {
        let patience = until.saturating_duration_since(Instant::now());
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let mut pipe = [PollFd::new(&self.pipe, PollFlags::OUT)];
        match poll(&mut pipe, Some(&patience)) {
            Ok(0) => Err(Error::Busy(self.path.clone())),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(self.io("waiting for room", error.into())),
        }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

/// Returns the folder of the brief.
pub(super) fn brief() -> PathBuf {
    variable(BRIEF_VARIABLE)
        .unwrap_or_else(|| BRIEF.to_owned())
        .into()
}

/// Returns a variable of this process.
pub(super) fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this program runs inside a cell and is told everything by its environment"
    )]
    std::env::var(name).ok()
}

fn number(name: &'static str) -> Result<Option<u64>, Error> {
    match variable(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| Error::Number(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkfifoat;
    use std::io::Read as _;

    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signals");
        mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        (folder, path)
    }

    fn done(summary: String) -> Signal {
        Signal::Done { summary }
    }

    #[test]
    fn a_pipe_without_reader_is_an_error_and_no_hang() {
        let (_folder, path) = pipe();
        let error = Voice::open(&path, None, None).unwrap_err();
        assert!(error.to_string().contains("nobody listens"), "{error}");
    }

    #[test]
    fn what_is_not_the_pipe_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signals");
        std::fs::write(&file, "").unwrap();
        let error = Voice::open(&file, None, None).unwrap_err();
        assert!(matches!(error, Error::Replaced(_)), "{error}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let error = Voice::open(&link, None, None).unwrap_err();
        assert!(matches!(error, Error::Replaced(_)), "{error}");
        let error = Voice::open(&folder.path().join("none"), None, None).unwrap_err();
        assert!(matches!(error, Error::Deaf(_)), "{error}");
    }

    #[test]
    fn long_lines_of_many_voices_arrive_whole() {
        let (_folder, path) = pipe();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mut reader = File::from(rustix::fs::open(&path, flags, Mode::empty()).unwrap());
        let voices: Vec<_> = (0..4)
            .map(|number| {
                let path = path.clone();
                thread::spawn(move || {
                    let voice = Voice::open(&path, Some(1), None).unwrap();
                    voice
                        .say(&done(number.to_string().repeat(100_000)))
                        .unwrap();
                })
            })
            .collect();
        let mut bytes = Vec::new();
        let mut piece = vec![0; 65_536];
        while bytes.iter().filter(|byte| **byte == b'\n').count() < 4 {
            let length = reader.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..length]);
        }
        for voice in voices {
            voice.join().unwrap();
        }
        for line in bytes.split(|byte| *byte == b'\n').take(4) {
            signal_line::decode(line, 1).unwrap();
        }
    }

    #[test]
    fn a_signal_over_the_cap_is_told_to_the_agent() {
        let (_folder, path) = pipe();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let _reader = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        let voice = Voice::open(&path, None, Some(100)).unwrap();
        voice.say(&done("short".to_owned())).unwrap();
        let error = voice.say(&done("x".repeat(100))).unwrap_err();
        assert!(error.to_string().contains("at most 100"), "{error}");
    }
}
