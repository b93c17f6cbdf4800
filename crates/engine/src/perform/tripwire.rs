//! Tripwires: what no cell may know is watched for in everything that comes out of one. A sighting
//! means that a wall has a hole: the cell is ended, and nothing of what it said last or left is
//! kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use domain::SessionId;
use domain::agent::Signal;
use domain::tree::Commit;
use ports::agents::{Report, Stream};
use ports::cells::Cell;
use ports::models::Watched;
use ports::workspaces::{Captured, Withheld};
use secrets::{Sighting, Watch};

use super::{Bench, canaries};
use crate::recorder::{Error, Recorder};

/// The most bases whose watches are kept in memory.
const WATCHES_MAX: usize = 16;

/// What is watched for, on each base. It is in memory alone.
#[derive(Debug, Default)]
pub struct Tripwires {
    canaries: OnceLock<Vec<Withheld>>,
    watches: Mutex<BTreeMap<Commit, Arc<Watch>>>,
}

impl Tripwires {
    /// Returns tripwires that are not laid yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            canaries: OnceLock::new(),
            watches: Mutex::new(BTreeMap::new()),
        }
    }

    /// Plants the canaries of a state folder; does nothing the second time.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn plant(&self, state: &Path, recorder: &Recorder) -> Result<&[Withheld], Error> {
        if let Some(planted) = self.canaries.get() {
            return Ok(planted);
        }
        let planted = canaries::plant(state, recorder)?;
        Ok(self.canaries.get_or_init(|| planted))
    }

    /// Forgets what is withheld on a base, so that it is read again.
    pub fn forget(&self, base: &Commit) {
        lock(&self.watches).remove(base);
    }
}

impl Bench<'_> {
    /// Returns the watch for whatever works on this base.
    pub(super) fn watch(&self, base: &Commit) -> Result<Arc<Watch>, Error> {
        if let Some(watch) = lock(&self.tripwires.watches).get(base) {
            return Ok(Arc::clone(watch));
        }
        let values = self.watched_values(base)?;
        let named = values
            .iter()
            .map(|it| (it.of.as_str(), it.value.as_slice()));
        let watch = Arc::new(Watch::of(named));
        let mut watches = lock(&self.tripwires.watches);
        if watches.len() >= WATCHES_MAX {
            watches.clear();
        }
        watches.insert(base.clone(), Arc::clone(&watch));
        Ok(watch)
    }

    /// Returns what must not be seen coming out of whatever works on this base.
    pub(super) fn watched_values(&self, base: &Commit) -> Result<Vec<Watched>, Error> {
        let canaries = self.tripwires.plant(&self.settings.state, self.recorder)?;
        let workspaces = &self.recorder.world().workspaces;
        let withheld = workspaces.withheld(base, &self.settings.secrets)?;
        let named = |kind: &str, it: &Withheld| Watched {
            of: format!("the {kind} `{}`", it.path),
            value: it.value.clone(),
        };
        let canaries = canaries.iter().map(|it| named("canary", it));
        let withheld = withheld.iter().map(|it| named("withheld file", it));
        Ok(canaries.chain(withheld).collect())
    }

    /// Looks through what a session left, before any of it is kept.
    pub(super) fn look_through(&self, session: SessionId, watch: &Watch) -> Result<(), Error> {
        let mut seen = None;
        let workspaces = &self.recorder.world().workspaces;
        match workspaces.look_through(session, &mut looking(watch, &mut seen)) {
            // It never had a workspace.
            Ok(()) | Err(ports::workspaces::Error::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        seen.map_or(Ok(()), |it| Err(Error::Incident(it)))
    }

    /// Captures a session that goes on, and looks through what it has not looked through before.
    pub(super) fn recapture(&self, session: SessionId, watch: &Watch) -> Result<Captured, Error> {
        let mut seen = None;
        let workspaces = &self.recorder.world().workspaces;
        let captured = workspaces.recapture(session, &mut looking(watch, &mut seen))?;
        match (captured, seen) {
            (Some(captured), None) => Ok(captured),
            (_, Some(seen)) => Err(Error::Incident(seen)),
            (None, None) => Err(Error::Fault(format!(
                "what session {session} left was not captured, and nobody said why"
            ))),
        }
    }
}

/// Returns what looks at a path and its content, and tells `seen` what it saw.
fn looking(watch: &Watch, seen: &mut Option<String>) -> impl FnMut(&str, &[u8]) -> ControlFlow<()> {
    move |path, content| {
        let sighting = watch
            .look(path.as_bytes())
            .map(|it| (it, "the name of a file"))
            .or_else(|| watch.look(content).map(|it| (it, "a file")));
        match sighting {
            None => ControlFlow::Continue(()),
            Some((sighting, place)) => {
                *seen = Some(told(&sighting, &format!("{place} that the session left")));
                ControlFlow::Break(())
            }
        }
    }
}

/// Returns an error if a text that would be kept or shown tells what no cell may know.
pub(super) fn check(watch: &Watch, place: &str, text: &str) -> Result<(), Error> {
    match watch.look(text.as_bytes()) {
        None => Ok(()),
        Some(sighting) => Err(Error::Incident(told(&sighting, place))),
    }
}

fn told(sighting: &Sighting, place: &str) -> String {
    let Sighting { of, form } = sighting;
    format!("a value of {of} was seen {} in {place}", form.name())
}

/// The wire across everything that one session says.
#[derive(Debug, Default)]
pub(super) struct Wire {
    watch: Arc<Watch>,
    out: Held,
    err: Held,
    said: secrets::Stream,
    caught: Option<String>,
}

/// One stream of output, with the end that may be the beginning of a value.
#[derive(Debug, Default)]
struct Held {
    stream: secrets::Stream,
    bytes: Vec<u8>,
}

impl Wire {
    /// Returns a wire for what is watched for.
    pub(super) fn of(watch: Arc<Watch>) -> Self {
        Self {
            watch,
            ..Self::default()
        }
    }

    /// Takes a report and returns what of it may be kept now. After a sighting that is nothing.
    pub(super) fn pass(&mut self, report: Report) -> Option<Report> {
        if self.caught.is_some() {
            return None;
        }
        if let Report::Output(stream, bytes) = report {
            return self.output(stream, bytes);
        }
        for text in texts(&report) {
            if let Some(sighting) = self.said.feed(&self.watch, text.as_bytes()) {
                self.caught = Some(told(&sighting, "what the agent signalled"));
                return None;
            }
        }
        Some(report)
    }

    fn output(&mut self, stream: Stream, bytes: Vec<u8>) -> Option<Report> {
        let (held, place) = match stream {
            Stream::Out => (&mut self.out, "the agent's output"),
            Stream::Err => (&mut self.err, "the agent's error output"),
        };
        if let Some(sighting) = held.stream.feed(&self.watch, &bytes) {
            held.bytes.clear();
            self.caught = Some(told(&sighting, place));
            return None;
        }
        held.bytes.extend(bytes);
        let unsettled = held.stream.unsettled(&self.watch).min(held.bytes.len());
        let settled = held.bytes.len() - unsettled;
        let settled: Vec<u8> = held.bytes.drain(..settled).collect();
        (!settled.is_empty()).then_some(Report::Output(stream, settled))
    }

    /// Returns what was held back, once nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<Report> {
        if self.caught.is_some() {
            return Vec::new();
        }
        let (out, err) = (
            std::mem::take(&mut self.out.bytes),
            std::mem::take(&mut self.err.bytes),
        );
        [(Stream::Out, out), (Stream::Err, err)]
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(stream, bytes)| Report::Output(stream, bytes))
            .collect()
    }

    /// Returns what was seen, and where.
    pub(super) fn caught(&self) -> Option<&str> {
        self.caught.as_deref()
    }
}

/// The wire across what one gate prints and leaves.
#[derive(Debug)]
pub(super) struct Alarm {
    watch: Arc<Watch>,
    caught: Mutex<Option<String>>,
}

impl Alarm {
    /// Returns an alarm for what is watched for.
    pub(super) const fn of(watch: Arc<Watch>) -> Self {
        Self {
            watch,
            caught: Mutex::new(None),
        }
    }

    /// Takes the next piece of a stream; ends the cell at once when a value is seen in it.
    pub(super) fn hear(&self, stream: &mut secrets::Stream, piece: &[u8], cell: &dyn Cell) {
        if let Some(sighting) = stream.feed(&self.watch, piece) {
            lock(&self.caught).get_or_insert(told(&sighting, "the output of a gate"));
            // Whoever waits for the cell finds it ended, or ends it at its deadline.
            let (Ok(()) | Err(_)) = cell.kill();
        }
    }

    /// Returns an error if something was seen, also in what the gate left.
    pub(super) fn check(&self, left: Option<&[u8]>) -> Result<(), Error> {
        if let Some(detail) = lock(&self.caught).clone() {
            return Err(Error::Incident(detail));
        }
        match left.and_then(|it| self.watch.look(it)) {
            None => Ok(()),
            Some(sighting) => Err(Error::Incident(told(&sighting, "the report of a gate"))),
        }
    }
}

/// Returns every text in a report that an agent has written.
fn texts(report: &Report) -> Vec<&str> {
    match report {
        Report::Started | Report::Output(..) => Vec::new(),
        Report::Malformed(why, raw) => vec![why, raw],
        Report::Called(call) => vec![&call.tool, &call.subject],
        Report::Signal(_, signal) | Report::Late(signal) => match signal {
            Signal::Progress { text } => vec![text],
            Signal::Ask { report, priority } => vec![report, priority],
            Signal::Finding {
                file, rule, text, ..
            } => vec![file, rule, text],
            Signal::Acknowledge { text, .. } => vec![text],
            Signal::ProposeAction {
                action,
                arguments,
                why,
            } => vec![action, arguments, why],
            Signal::Done { summary } => vec![summary],
            Signal::Refuse { detail, .. } => vec![detail],
            Signal::Fail { reason } => vec![reason],
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "q7Zr0vTn2KxWm5Lp";

    fn wire() -> Wire {
        Wire::of(Arc::new(Watch::of([("`.env`", VALUE.as_bytes())])))
    }

    fn output(text: &str) -> Report {
        Report::Output(Stream::Out, text.as_bytes().to_vec())
    }

    #[test]
    fn what_may_be_a_beginning_waits() {
        let mut wire = wire();
        assert_eq!(wire.pass(output("a b\n")), Some(output("a b\n")));
        assert_eq!(wire.pass(output("see q7Zr0")), Some(output("see ")));
        assert_eq!(wire.pass(output("v or not")), Some(output("q7Zr0v or not")));
        assert_eq!(wire.pass(output("q7Zr0vTn")), None);
        assert_eq!(wire.rest(), [output("q7Zr0vTn")]);
        assert_eq!(wire.rest(), []);
    }

    #[test]
    fn a_value_in_pieces_is_caught_and_none_of_it_passed_on() {
        let mut wire = wire();
        assert_eq!(wire.pass(output("see ")), Some(output("see ")));
        for piece in ["q7Z", "r0vTn2Kx"] {
            if let Some(Report::Output(_, bytes)) = wire.pass(output(piece)) {
                assert!(bytes.len() < 4, "{}", String::from_utf8_lossy(&bytes));
            }
        }
        assert_eq!(wire.pass(output("Wm5Lp\n")), None);
        assert!(wire.caught().unwrap().contains("`.env`"));
        assert!(!wire.caught().unwrap().contains("q7Zr"));
        assert_eq!(wire.pass(output("later")), None);
        assert_eq!(wire.rest(), []);
    }

    #[test]
    fn each_stream_is_its_own() {
        let mut wire = wire();
        wire.pass(output(&VALUE[..8]));
        let other = Report::Output(Stream::Err, VALUE.as_bytes()[8..].to_vec());
        wire.pass(other);
        assert_eq!(wire.caught(), None);
        wire.pass(output(&VALUE[8..]));
        assert!(wire.caught().is_some());
    }

    #[test]
    fn every_text_of_every_signal_is_looked_at() {
        let text = || VALUE.to_string();
        let none = String::new;
        let signals = [
            Signal::Progress { text: text() },
            Signal::Ask {
                report: text(),
                priority: none(),
            },
            Signal::Ask {
                report: none(),
                priority: text(),
            },
            Signal::Finding {
                file: text(),
                line: 1,
                rule: none(),
                text: none(),
            },
            Signal::Finding {
                file: none(),
                line: 1,
                rule: text(),
                text: none(),
            },
            Signal::Finding {
                file: none(),
                line: 1,
                rule: none(),
                text: text(),
            },
            Signal::Done { summary: text() },
            Signal::Refuse {
                reason: domain::agent::RefusalReason::TooLarge,
                detail: text(),
            },
            Signal::Fail { reason: text() },
        ];
        for signal in signals {
            for report in [
                Report::Signal(1, signal.clone()),
                Report::Late(signal.clone()),
            ] {
                let mut wire = wire();
                assert_eq!(wire.pass(report.clone()), None, "{report:?}");
                assert!(wire.caught().is_some());
            }
        }
        let mut wire = wire();
        assert_eq!(wire.pass(Report::Malformed(none(), text())), None);
        assert!(wire.pass(Report::Started).is_none());
    }
}
