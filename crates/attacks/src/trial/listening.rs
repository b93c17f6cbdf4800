//! Listens to the hostile program: waits for its lines, and keeps what it prints up to a cap.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Running;
use crate::attempt::Oracle;
use crate::hostile::{OUTCOME, READY};

/// Most of the output that is kept, in bytes.
pub(crate) const KEPT_BYTES_MAX: usize = 4 << 20;
/// How much more the careless engine keeps before it is stopped, having shown what it does.
const CARELESS_BYTES_MAX: usize = KEPT_BYTES_MAX * 4;
/// The newest output, in which the outcome is looked for beyond the cap, in bytes.
const TAIL_BYTES: usize = 4_096;
const PIECE_BYTES: usize = 64 << 10;

/// How much of the output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A beginning; the rest is read and thrown away.
    UpToACap,
    /// All of it, as a careless engine would.
    Everything,
}

#[derive(Default)]
struct Heard {
    kept: Vec<u8>,
    tail: Vec<u8>,
    is_over: bool,
}

/// The ear on one program.
pub(crate) struct Listener {
    stdin: Option<Box<dyn Write + Send>>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Listener {
    /// Begins to read; `None` when the program's streams are gone.
    pub(crate) fn begin(running: &mut Running, keeps: Kept) -> Option<Self> {
        type Reader = Box<dyn Read + Send>;
        let (stdin, stdout, stderr): (Box<dyn Write + Send>, Reader, Reader) = match running {
            Running::Cell(launched) => {
                let streams = &mut launched.streams;
                let stdin = std::mem::replace(&mut streams.stdin, Box::new(std::io::sink()));
                let stdout = std::mem::replace(&mut streams.stdout, Box::new(std::io::empty()));
                let stderr = std::mem::replace(&mut streams.stderr, Box::new(std::io::empty()));
                (stdin, stdout, stderr)
            }
            Running::Process(child) => (
                Box::new(child.stdin.take()?),
                Box::new(child.stdout.take()?),
                Box::new(std::io::empty()),
            ),
        };
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let told = heard.clone();
        let reader = std::thread::spawn(move || read(stdout, &told, keeps));
        let errors = std::thread::spawn(move || {
            let mut said = Vec::new();
            let most = u64::try_from(KEPT_BYTES_MAX).unwrap_or(u64::MAX);
            // What a closed stream still held is no matter.
            drop(stderr.take(most).read_to_end(&mut said));
            said
        });
        Some(Self {
            stdin: Some(stdin),
            heard,
            reader: Some(reader),
            errors: Some(errors),
        })
    }

    /// Waits for the line before the attempt.
    pub(crate) fn wait_for_ready(&self, patience: Duration) -> bool {
        let ready = format!("{READY}\n");
        self.wait(patience, |heard| {
            heard.kept.starts_with(ready.as_bytes()).then_some(())
        })
        .is_some()
    }

    /// Lets the program begin; one that is gone already will be noticed by its silence.
    pub(crate) fn go(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            drop(stdin.write_all(b"go\n").and_then(|()| stdin.flush()));
        }
    }

    /// Waits for the line after the attempt and returns what it says.
    pub(crate) fn wait_for_outcome(&self, patience: Duration) -> Option<String> {
        let begin = format!("\n{OUTCOME}");
        self.wait(patience, |heard| {
            let tail = String::from_utf8_lossy(&heard.tail).into_owned();
            let (_, rest) = tail.rsplit_once(&begin)?;
            let (line, _) = rest.split_once('\n')?;
            Some(line.to_owned())
        })
    }

    /// Closes the program's input.
    pub(crate) fn release(&mut self) {
        self.stdin = None;
    }

    /// Returns all that was kept, once the output has ended.
    pub(crate) fn finish(
        &mut self,
        patience: Duration,
        breaches: &mut Vec<(Oracle, String)>,
    ) -> Vec<u8> {
        self.release();
        let is_over = self.wait(patience, |heard| heard.is_over.then_some(()));
        if is_over.is_none() {
            breaches.push((
                Oracle::EndsInTime,
                "its output never ends: whoever reads it waits for ever".to_owned(),
            ));
            return Vec::new();
        }
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        let mut kept = {
            let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut heard.kept)
        };
        if kept.len() > KEPT_BYTES_MAX {
            breaches.push((
                Oracle::StaysBounded,
                format!("{} bytes of output were kept", kept.len()),
            ));
        }
        if let Some(errors) = self.errors.take() {
            kept.extend(errors.join().unwrap_or_default());
        }
        kept
    }

    /// Waits until something was heard, the output is over, or time is up.
    fn wait<T>(&self, patience: Duration, found: impl Fn(&Heard) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        let (heard, news) = &*self.heard;
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = found(&heard) {
                return Some(found);
            }
            let left = patience.checked_sub(begun.elapsed())?;
            if heard.is_over {
                return None;
            }
            (heard, _) = news
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn read(mut stdout: Box<dyn Read + Send>, told: &(Mutex<Heard>, Condvar), keeps: Kept) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = stdout.read(&mut piece).unwrap_or(0);
        let piece = piece.get(..read).unwrap_or_default();
        let mut heard = told.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match keeps {
            Kept::UpToACap => KEPT_BYTES_MAX.saturating_sub(heard.kept.len()),
            Kept::Everything => CARELESS_BYTES_MAX.saturating_sub(heard.kept.len()),
        };
        heard
            .kept
            .extend_from_slice(piece.get(..room.min(read)).unwrap_or_default());
        heard.tail.extend_from_slice(piece);
        let surplus = heard.tail.len().saturating_sub(TAIL_BYTES);
        drop(heard.tail.drain(..surplus));
        heard.is_over = read == 0;
        drop(heard);
        told.1.notify_all();
        if read == 0 {
            return;
        }
    }
}
