//! The listener of a session: what the agent signals becomes commands, what it prints is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::agent::Signal;
use domain::ambiguity::{self, Ambiguity, report};
use domain::case::{Case, Command};
use domain::output::{self, PIECE_BYTES_MAX};
use domain::session::{self, Session};
use domain::{AmbiguityId, MessageId, SessionId, WorkId, message, work};
use ports::agents::{Listener, Report, Stream, Verdict};
use ports::cells::{Cell, Denied};
use ports::log::Position;
use secrets::Watch;

use super::Bench;
use super::denials::Denials;
use super::tripwire::Wire;
use super::watchdog::Watchdog;
use crate::recorder::Error;

mod calls;
mod findings;
mod proposing;

/// Questions accepted from one session; more are refused, and that is recorded.
const QUESTIONS_MAX: usize = 100;

/// Questions of one work: all of them are closed in one transaction.
const QUESTIONS_OF_WORK_MAX: usize = 300;

/// Signs of life recorded from one session.
const PROGRESS_MAX: usize = 500;

/// The longest acknowledgement that is kept, in characters.
const ACKNOWLEDGEMENT_CHARS_MAX: usize = 2_000;

/// Raw text kept of a refused signal, in characters.
const RAW_CHARS_MAX: usize = 2_000;

/// Listens to one session.
#[derive(Debug)]
pub struct SessionListener<'a> {
    bench: &'a Bench<'a>,
    work: WorkId,
    id: SessionId,
    about: &'a Session,
    watchdog: &'a Watchdog<'a>,
    stop: AtomicBool,
    state: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    head: Position,
    progress: usize,
    questions: usize,
    proposals: usize,
    calls: calls::Known,
    written: u64,
    pieces: Vec<(output::Stream, Vec<u8>)>,
    cell: Option<Arc<dyn Cell>>,
    denials: Denials,
    wire: Wire,
    failure: Option<Error>,
}

impl<'a> SessionListener<'a> {
    /// Returns the listener of a session, with what is watched for in everything it says.
    #[must_use]
    pub fn new(
        bench: &'a Bench<'a>,
        work: WorkId,
        id: SessionId,
        about: &'a Session,
        watchdog: &'a Watchdog<'a>,
        watch: Arc<Watch>,
    ) -> Self {
        let heard = Heard {
            wire: Wire::of(watch),
            ..Heard::default()
        };
        let (stop, state) = (AtomicBool::new(false), Mutex::new(heard));
        Self {
            bench,
            work,
            id,
            about,
            watchdog,
            stop,
            state,
        }
    }

    /// Keeps what is left to keep, and returns what went wrong while listening.
    ///
    /// # Errors
    /// When something that was heard could not be recorded.
    pub fn finish(&self) -> Result<(), Error> {
        let mut heard = self.heard();
        for report in heard.wire.rest() {
            self.hear(&mut heard, report)?;
        }
        self.flush(&mut heard)?;
        self.note_denied(&mut heard, true)?;
        heard.failure.take().map_or(Ok(()), Err)
    }

    /// Returns what was seen that no cell may know, if anything.
    #[must_use]
    pub fn incident(&self) -> Option<String> {
        self.heard().wire.caught().map(str::to_string)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, heard: &mut Heard, report: Report) -> Result<(), Error> {
        match report {
            Report::Started => Ok(()),
            Report::Output(stream, bytes) => {
                let stream = match stream {
                    Stream::Out => output::Stream::Out,
                    Stream::Err => output::Stream::Err,
                };
                heard.pieces.push((stream, bytes));
                let waiting: usize = heard.pieces.iter().map(|(_, it)| it.len()).sum();
                if waiting >= PIECE_BYTES_MAX / 2 {
                    self.flush(heard)
                } else {
                    Ok(())
                }
            }
            Report::Signal(epoch, signal) => self.signal(heard, epoch, signal),
            Report::Malformed(why, raw) => self.refuse(&why, &raw),
            Report::Called(call) => self.called(&mut heard.calls, &call),
            Report::Late(signal) => self.refuse("a signal after the end", &format!("{signal:?}")),
        }
    }

    fn signal(&self, heard: &mut Heard, epoch: u64, signal: Signal) -> Result<(), Error> {
        if epoch != self.about.epoch {
            let (given, current) = (epoch, self.about.epoch);
            let refusal = session::Refusal::StaleEpoch { given, current };
            return self.refuse(&refusal.to_string(), &format!("{signal:?}"));
        }
        self.watchdog.signalled();
        match signal {
            Signal::Progress { text } => {
                heard.progress += 1;
                if heard.progress > PROGRESS_MAX {
                    return Ok(());
                }
                let text: String = text
                    .chars()
                    .filter(|it| !it.is_control())
                    .take(500)
                    .collect();
                let progress = session::Command::Progress {
                    epoch,
                    text: text.clone(),
                };
                match self.submit(|_| {
                    let progress = session::Command::Progress {
                        epoch,
                        text: text.clone(),
                    };
                    Ok(vec![Command::Session(self.id, progress)])
                }) {
                    Err(Error::Refused(refusal)) => {
                        self.refuse(&refusal.to_string(), &format!("{progress:?}"))
                    }
                    other => other,
                }
            }
            Signal::Ask { report, priority } => {
                heard.questions += 1;
                if heard.questions > QUESTIONS_MAX {
                    return self.refuse("more questions than one session may file", &report);
                }
                self.ask(&report, &priority)
            }
            Signal::Finding {
                file,
                line,
                rule,
                text,
            } => self.finding(&file, line, &rule, &text),
            Signal::Acknowledge { message, text } => self.acknowledge(message, &text),
            Signal::ProposeAction {
                action,
                arguments,
                why,
            } => self.propose(&mut heard.proposals, &action, arguments, &why),
            // Terminal signals are the session's end reason; the driver judges them.
            Signal::Done { .. } | Signal::Refuse { .. } | Signal::Fail { .. } => Ok(()),
        }
    }

    fn acknowledge(&self, message: MessageId, text: &str) -> Result<(), Error> {
        let text: String = text
            .chars()
            .filter(|it| !it.is_control())
            .take(ACKNOWLEDGEMENT_CHARS_MAX)
            .collect();
        let case = self.bench.recorder.load(self.work)?;
        let mine = case
            .messages
            .get(&message)
            .and_then(message::State::message);
        if mine.is_none_or(|it| it.session != self.id) {
            let why = format!("there is no message {message} for this session");
            return self.refuse(&why, &text);
        }
        let acknowledged = self.submit(|_| {
            let text = text.clone();
            let acknowledge = message::Command::Acknowledge { text };
            Ok(vec![Command::Message(message, acknowledge)])
        });
        match acknowledged {
            Err(Error::Refused(refusal)) => self.refuse(&refusal.to_string(), &text),
            other => other,
        }
    }

    fn ask(&self, raw: &str, priority: &str) -> Result<(), Error> {
        if self.bench.recorder.load(self.work)?.ambiguities.len() >= QUESTIONS_OF_WORK_MAX {
            return self.refuse("more questions than one work may file", raw);
        }
        let filing = report::read(raw, priority);
        let key = report::normalized(&filing.report.question);
        let id = AmbiguityId::from_bits(self.bench.recorder.fresh());
        self.submit(|case| {
            // The same question of the same work is one question, whoever asks it again.
            let known = case
                .ambiguities
                .values()
                .filter_map(ambiguity::State::ambiguity);
            if known.into_iter().any(|it| it.key == key) {
                return Ok(vec![]);
            }
            let ambiguity = Ambiguity {
                work: self.work,
                run: self.about.run,
                session: self.id,
                step: self.about.step.clone(),
                role: self.about.role.clone(),
                priority: filing.priority,
                report: filing.report.clone(),
                key: key.clone(),
                malformed: filing.malformed.clone(),
            };
            Ok(vec![Command::Ambiguity(
                id,
                ambiguity::Command::File(ambiguity),
            )])
        })
    }

    fn refuse(&self, why: &str, raw: &str) -> Result<(), Error> {
        let raw: String = raw
            .chars()
            .filter(|it| !it.is_control())
            .take(RAW_CHARS_MAX)
            .collect();
        self.submit(|_| {
            let refuse = session::Command::Refuse {
                why: why.to_string(),
                raw: raw.clone(),
            };
            Ok(vec![Command::Session(self.id, refuse)])
        })
    }

    fn submit(
        &self,
        decide: impl FnMut(&Case) -> Result<Vec<Command>, Error>,
    ) -> Result<(), Error> {
        self.bench
            .recorder
            .submit(self.work, None, decide)
            .map(|_| ())
    }

    /// Puts on record what the kernel refused; at the end, all of it.
    fn note_denied(&self, heard: &mut Heard, is_end: bool) -> Result<(), Error> {
        let told = heard.cell.as_ref().map(|it| it.denied());
        heard.denials.add(told.unwrap_or_default());
        let due = heard.denials.due(is_end);
        if due.is_empty() {
            return Ok(());
        }
        self.submit(|_| {
            let deny = |Denied { what, count }| session::Command::Deny { what, count };
            let commands = due.iter().cloned().map(deny);
            Ok(commands.map(|it| Command::Session(self.id, it)).collect())
        })
    }

    fn flush(&self, heard: &mut Heard) -> Result<(), Error> {
        let pieces = std::mem::take(&mut heard.pieces);
        let mut joined: Vec<(output::Stream, Vec<u8>)> = Vec::new();
        for (stream, bytes) in pieces {
            match joined.last_mut() {
                Some((last, so_far)) if *last == stream => so_far.extend(bytes),
                Some(_) | None => joined.push((stream, bytes)),
            }
        }
        for (stream, bytes) in joined {
            // A replacement character is three bytes long: a third of the cap always fits.
            for piece in bytes.chunks(PIECE_BYTES_MAX / 3) {
                let text = String::from_utf8_lossy(piece).into_owned();
                self.bench
                    .recorder
                    .write_output(self.id, heard.written, stream, text)?;
                heard.written += 1;
            }
        }
        Ok(())
    }

    fn must_stop(&self) -> Result<bool, Error> {
        if self.bench.is_stopping() || self.watchdog.end().is_some() {
            return Ok(true);
        }
        let head = self.bench.recorder.world().log.head()?;
        if self.heard().head == head {
            return Ok(false);
        }
        self.heard().head = head;
        let case = self.bench.recorder.load(self.work)?;
        Ok(matches!(
            case.works.get(&self.work),
            Some(work::State::Closed(..))
        ))
    }
}

impl Listener for SessionListener<'_> {
    fn report(&self, report: Report) -> Verdict {
        let mut heard = self.heard();
        let passed = heard.wire.pass(report);
        if heard.wire.caught().is_some() {
            self.stop.store(true, Ordering::Relaxed);
            // The driver ends it as well, since it is told to stop; this is at once.
            if let Some(Ok(()) | Err(_)) = heard.cell.take().map(|it| it.kill()) {}
        }
        if let Some(report) = passed
            && let Err(error) = self.hear(&mut heard, report)
        {
            // What cannot be recorded must not go on: the session is ended, the error surfaces.
            heard.failure.get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
        if self.stop.load(Ordering::Relaxed) {
            Verdict::Stop
        } else {
            Verdict::Continue
        }
    }

    fn poll(&self) -> Verdict {
        // What was printed is in the log soon, for whoever follows it.
        let mut heard = self.heard();
        let flushed = self.flush(&mut heard);
        let noted = flushed.and_then(|()| self.note_denied(&mut heard, false));
        drop(heard);
        match noted.and_then(|()| self.must_stop()) {
            Ok(false) if !self.stop.load(Ordering::Relaxed) => Verdict::Continue,
            Ok(_) => Verdict::Stop,
            Err(error) => {
                self.heard().failure.get_or_insert(error);
                Verdict::Stop
            }
        }
    }

    fn cell(&self, cell: Arc<dyn Cell>) {
        self.heard().cell = Some(Arc::clone(&cell));
        let walls = cell.walls().into_iter().map(|wall| match wall.state {
            Ok(how) => format!("{}: {how}", wall.name),
            Err(why) => format!("{}: missing: {why}", wall.name),
        });
        let walls: Vec<_> = walls.collect();
        let started = self.submit(|_| {
            let walls = walls.clone();
            Ok(vec![Command::Session(
                self.id,
                session::Command::Start { walls },
            )])
        });
        if let Err(error) = started {
            self.heard().failure.get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
        self.watchdog.cell(cell);
    }
}
