//! The signal channel: a named pipe in the session's drop, and the thread that reads it.
//!
//! The pipe is made here, opened here before the agent starts, and read through that one
//! descriptor: what the agent later does to the name changes nothing. It is opened for reading
//! *and* writing, so that there is always a reader and never an end of file between two writers.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkfifoat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::lines::{Line, Lines};
use crate::question_files::{Look, QuestionFiles, SETTLED};
use crate::session::Input;
use crate::signal_line;

/// The name of the pipe in the drop.
pub(crate) const NAME: &str = "signals";

/// Read at once from the pipe, in bytes: what a pipe holds.
const PIECE_BYTES: usize = 64 << 10;

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
#[error("the signal channel cannot be made: {doing} `{path}`")]
pub(crate) struct Error {
    doing: &'static str,
    path: String,
    #[source]
    source: Errno,
}

/// The channel of one session.
#[derive(Debug)]
pub(crate) struct Channel {
    drop: OwnedFd,
    pipe: File,
    closing: OwnedFd,
    files: QuestionFiles,
    started: Instant,
}

/// Ends the reading of a channel once all that was written is read.
#[derive(Debug)]
pub(crate) struct Closer(OwnedFd);

impl Channel {
    /// Makes the pipe and the folder for questions in the drop folder `path`.
    pub(crate) fn make(path: &Path) -> Result<(Self, Closer), Error> {
        let fault = |doing| {
            move |source| Error {
                doing,
                path: path.display().to_string(),
                source,
            }
        };
        let folder = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let drop = rustix::fs::open(path, folder, Mode::empty())
            .map_err(fault("opening the drop folder"))?;
        match unlinkat(&drop, NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fault("removing the old pipe in")(error)),
        }
        mkfifoat(&drop, NAME, Mode::RUSR | Mode::WUSR).map_err(fault("making a pipe in"))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pipe =
            openat(&drop, NAME, flags, Mode::empty()).map_err(fault("opening the pipe in"))?;
        let files = QuestionFiles::make(&drop).map_err(fault("making the questions folder in"))?;
        let closing = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(fault("making a wake-up for"))?;
        let closer = closing.try_clone().map_err(|error| {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::MFILE);
            fault("sharing the wake-up for")(source)
        })?;
        let channel = Self {
            drop,
            pipe: File::from(pipe),
            closing,
            files,
            started: Instant::now(),
        };
        Ok((channel, Closer(closer)))
    }

    /// Reads until it is closed and all is read, then tells so. The last line of a session is preceded
    /// by every question file that was there before it.
    pub(crate) fn read(mut self, cap: usize, inputs: &SyncSender<Input>) {
        let mut lines = Lines::new(cap);
        let mut piece = vec![0; PIECE_BYTES];
        let mut going = true;
        while going {
            going = self.wait();
            let usual = if going { Look::Passing } else { Look::Last };
            if !self.pass_on(Vec::new(), usual, inputs) {
                return;
            }
            while let Some(length) = self.next(&mut piece) {
                let lines = lines.push(&piece[..length]);
                let look = if lines.iter().any(says_the_end) {
                    Look::Last
                } else {
                    usual
                };
                if !self.pass_on(lines, look, inputs) {
                    return;
                }
            }
        }
        let rest: Vec<Line> = lines.finish().into_iter().collect();
        if self.pass_on(rest, Look::Last, inputs) {
            self.remove();
            // A main loop that is gone needs no telling.
            drop(inputs.send(Input::SignalsEnded));
        }
    }

    /// Waits for something to read, or for the time to look at the drop; returns false when the
    /// channel is closed.
    fn wait(&self) -> bool {
        let mut both = [
            PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.closing.as_fd(), PollFlags::IN),
        ];
        let patience = Timespec::try_from(SETTLED).unwrap_or_default();
        loop {
            match poll(&mut both, Some(&patience)) {
                Ok(_) => return both[1].revents().is_empty(),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn next(&mut self, piece: &mut [u8]) -> Option<usize> {
        loop {
            match self.pipe.read(piece) {
                Ok(0) => return None,
                Ok(length) => return Some(length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Empty for now; any other error would come again, and the deadlines hold.
                Err(_) => return None,
            }
        }
    }

    fn pass_on(&mut self, lines: Vec<Line>, look: Look, inputs: &SyncSender<Input>) -> bool {
        let files = self.files.scan(&self.drop, self.started.elapsed(), look);
        files
            .into_iter()
            .map(Input::File)
            .chain(lines.into_iter().map(Input::Line))
            .all(|input| inputs.send(input).is_ok())
    }

    /// Takes the pipe out of the drop, so that whoever reads the drop later meets none.
    fn remove(&self) {
        let is_pipe = statat(&self.drop, NAME, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Fifo);
        if is_pipe {
            match unlinkat(&self.drop, NAME, AtFlags::empty()) {
                // When it cannot be removed, it stays: an empty pipe in a finished session's drop.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Returns whether the agent says in this line that its session is over. What it has dropped by then
/// is all there will be.
fn says_the_end(line: &Line) -> bool {
    match line {
        Line::Whole(bytes) => signal_line::says_the_end(bytes),
        Line::Overlong(_) => false,
    }
}

impl Closer {
    /// Lets the reader finish.
    pub(crate) fn close(&self) {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            // Adding one to a fresh counter cannot fail.
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::agent::Signal;
    use std::io::Write as _;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn all_that_was_written_before_the_close_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (channel, closer) = Channel::make(folder.path()).unwrap();
        let mut pipe = File::options()
            .write(true)
            .open(folder.path().join(NAME))
            .unwrap();
        pipe.write_all(b"one\ntwo\nthree").unwrap();
        std::fs::write(folder.path().join("ambiguities/q.md"), "why?").unwrap();
        closer.close();
        let (sender, inputs) = sync_channel(16);
        channel.read(100, &sender);
        drop(sender);
        let mut heard = inputs.iter();
        assert!(matches!(
            heard.next(),
            Some(Input::File(Ok(Signal::Ask { .. })))
        ));
        for expected in ["one", "two", "three"] {
            let Some(Input::Line(Line::Whole(line))) = heard.next() else {
                panic!("`{expected}` is missing");
            };
            assert_eq!(line, expected.as_bytes());
        }
        assert!(matches!(heard.next(), Some(Input::SignalsEnded)));
        assert!(heard.next().is_none());
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn the_word_that_ends_a_session_comes_after_the_questions_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (channel, closer) = Channel::make(folder.path()).unwrap();
        let (sender, inputs) = sync_channel(16);
        let reader = std::thread::spawn(move || channel.read(100, &sender));
        std::fs::write(folder.path().join("ambiguities/q.md"), "why?").unwrap();
        let mut pipe = File::options()
            .write(true)
            .open(folder.path().join(NAME))
            .unwrap();
        let done = br#"{"signal":"done","summary":"s"}"#;
        pipe.write_all(done).unwrap();
        pipe.write_all(b"\n").unwrap();
        let mut heard = inputs.iter();
        assert!(matches!(heard.next(), Some(Input::File(Ok(_)))));
        assert!(matches!(heard.next(), Some(Input::Line(_))));
        closer.close();
        assert!(matches!(heard.next(), Some(Input::SignalsEnded)));
        reader.join().unwrap();
    }

    #[test]
    fn a_question_is_heard_while_the_agent_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let (channel, closer) = Channel::make(folder.path()).unwrap();
        let (sender, inputs) = sync_channel(16);
        let reader = std::thread::spawn(move || channel.read(100, &sender));
        std::fs::write(folder.path().join("ambiguities/q.md"), "why?").unwrap();
        let mut heard = inputs.iter();
        assert!(matches!(heard.next(), Some(Input::File(Ok(_)))));
        closer.close();
        assert!(matches!(heard.next(), Some(Input::SignalsEnded)));
        reader.join().unwrap();
    }

    #[test]
    fn what_lies_at_the_name_is_replaced_and_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(NAME)).unwrap();
        let (channel, _closer) = Channel::make(folder.path()).unwrap();
        assert!(
            FileType::from_raw_mode(
                statat(&channel.drop, NAME, AtFlags::SYMLINK_NOFOLLOW)
                    .unwrap()
                    .st_mode
            ) == FileType::Fifo
        );
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "kept");
    }

    #[test]
    fn a_drop_that_is_not_there_is_told_with_its_path() {
        let error = Channel::make(Path::new("/nonexistent/drop")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/drop"), "{error}");
    }
}
