//! Conducts a session: thin threads bring what is heard, one loop carries out what is judged.
//!
//! Every thread sends into one bounded queue: an agent that prints faster than its listener takes
//! is held by its own full pipe, not kept in memory. Only the loop talks to the listener.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use domain::agent::EndReason;
use ports::agents::{Driver, Listener, Outcome, Report, Stream, Task, Verdict};
use ports::cells::{Cell, Cells, Launched};

use crate::active_clock::{ActiveClock, ClockedCell};
use crate::channel::{Channel, Closer};
use crate::dialogue::{Dialogue, Ear, Talk, Word};
use crate::session::{Input, Output, State, step};

/// Inputs that wait for the loop. With [`PIECE_BYTES`], the memory a flooding agent can take.
const QUEUE_MAX: usize = 32;

/// Read at once from a stream, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// The listener is asked this often; the port demands 200 ms at least.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// A kill that did not end the cell is repeated after this time.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How long the watcher waits at a time. Only a bound: the end of the cell wakes it at once.
const WATCH: Duration = Duration::from_secs(60);

/// Runs one session whose cell is complete, from launch to end; the program is told the prompt and
/// no more.
pub(crate) fn conduct(cells: &dyn Cells, task: &Task, listener: &dyn Listener) -> Outcome {
    converse(cells, task, listener, None)
}

/// The same, in a dialogue with the program, if there is one.
pub(crate) fn converse(
    cells: &dyn Cells,
    task: &Task,
    listener: &dyn Listener,
    dialogue: Option<Box<dyn Dialogue>>,
) -> Outcome {
    let (channel, closer) = match Channel::make(&task.drop) {
        Ok(made) => made,
        Err(error) => return launch_failed(with_sources(&error)),
    };
    let launched = match cells.launch(&task.cell) {
        Ok(launched) => launched,
        Err(error) => return launch_failed(with_sources(&error)),
    };
    let clock = Arc::new(ActiveClock::start());
    let cell = Arc::clone(&launched.cell);
    let (inputs, talk) = match listen(launched, channel, task, dialogue) {
        Ok(both) => both,
        Err(error) => {
            end_now(&*cell);
            return launch_failed(format!("a thread for the session cannot be made: {error}"));
        }
    };
    listener.cell(Arc::new(ClockedCell::new(
        Arc::clone(&cell),
        Arc::clone(&clock),
    )));
    let state = State::new(task.epoch, task.limits, task.cell.limits);
    Loop {
        state: state.asking_first(talk.is_some()),
        clock,
        cell,
        talk,
        closer,
        listener,
        polled: Instant::now(),
        killed: None,
    }
    .run(&inputs)
}

/// Returns a task whose cell is complete.
pub(crate) fn furnished(driver: &dyn Driver, mut task: Task) -> Result<Task, String> {
    if task.cell.argv.is_empty() {
        driver.furnish(&mut task)?;
    }
    Ok(task)
}

/// Returns the outcome of a session that never ran.
pub(crate) fn launch_failed(detail: String) -> Outcome {
    Outcome {
        reason: EndReason::LaunchFailed { detail },
        output_bytes: 0,
        malformed: 0,
        late: 0,
    }
}

/// Returns an error's text with those of its causes.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

struct Loop<'a> {
    state: State,
    clock: Arc<ActiveClock>,
    cell: Arc<dyn Cell>,
    talk: Option<Talk>,
    closer: Closer,
    listener: &'a dyn Listener,
    polled: Instant,
    killed: Option<Instant>,
}

impl Loop<'_> {
    fn run(mut self, inputs: &Receiver<Input>) -> Outcome {
        if self.listener.report(Report::Started) == Verdict::Stop
            && let Some(outcome) = self.take(Input::Stop)
        {
            return outcome;
        }
        loop {
            let input = match inputs.recv_timeout(self.patience()) {
                Ok(input) => input,
                Err(RecvTimeoutError::Timeout) => Input::Tick,
                // Every thread has told its end by now; what is left is a matter of time.
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(self.patience());
                    Input::Tick
                }
            };
            if let Some(outcome) = self.take(input).or_else(|| self.poll()) {
                return outcome;
            }
            self.kill_again();
        }
    }

    /// Returns how long to wait for the next input.
    fn patience(&self) -> Duration {
        let until_poll = POLL_EVERY.saturating_sub(self.polled.elapsed());
        match self.state.deadline() {
            Some(deadline) => until_poll.min(deadline.saturating_sub(self.clock.now())),
            None => until_poll,
        }
    }

    fn poll(&mut self) -> Option<Outcome> {
        if self.polled.elapsed() < POLL_EVERY {
            return None;
        }
        self.polled = Instant::now();
        match self.listener.poll() {
            Verdict::Continue => None,
            Verdict::Stop => self.take(Input::Stop),
        }
    }

    fn take(&mut self, input: Input) -> Option<Outcome> {
        if let Input::Exited(_) | Input::Lost(_) = input {
            // A cell that was killed while paused is never resumed, and its end must be timed.
            self.clock.resume();
        }
        let mut stop = false;
        for output in step(&mut self.state, input, self.clock.now()) {
            match output {
                Output::Report(report) => stop |= self.listener.report(report) == Verdict::Stop,
                Output::Cancel => self.cancel(),
                Output::Kill => self.kill(),
                Output::CloseSignals => self.closer.close(),
                Output::Finished(outcome) => return Some(outcome),
            }
        }
        if stop { self.take(Input::Stop) } else { None }
    }

    /// Asks first, and kills what cannot be asked: a paused program hears nothing.
    fn cancel(&mut self) {
        let is_asked = !self.clock.is_paused() && self.talk.as_ref().is_some_and(Talk::cancel);
        if !is_asked {
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.killed = Some(Instant::now());
        // A failure shows in the cell still running, and then it is tried again.
        drop(self.cell.kill());
    }

    fn kill_again(&mut self) {
        if self.killed.is_some_and(|at| at.elapsed() >= KILL_AGAIN) {
            self.kill();
        }
    }
}

/// Starts the threads of a session. They end with the cell, or when the loop is gone.
fn listen(
    launched: Launched,
    channel: Channel,
    task: &Task,
    dialogue: Option<Box<dyn Dialogue>>,
) -> std::io::Result<(Receiver<Input>, Option<Talk>)> {
    let (sender, inputs) = sync_channel(QUEUE_MAX);
    let Launched { streams, cell } = launched;
    let talk = match dialogue {
        Some(dialogue) => {
            let (talk, mouth) = Talk::begin(dialogue, &task.prompt);
            spawn("prompt", move || mouth.speak(streams.stdin))?;
            Some(talk)
        }
        None => {
            let prompt = task.prompt.clone();
            spawn("prompt", move || tell(streams.stdin, &prompt))?;
            None
        }
    };
    let (to, ear) = (sender.clone(), talk.as_ref().map(Talk::ear));
    spawn("stdout", move || {
        hear(streams.stdout, Stream::Out, &to, ear);
    })?;
    let to = sender.clone();
    spawn("stderr", move || {
        hear(streams.stderr, Stream::Err, &to, None);
    })?;
    let to = sender.clone();
    let cap = task.limits.signal_bytes_max;
    spawn("signals", move || channel.read(cap, &to))?;
    spawn("watch", move || watch(&*cell, &sender))?;
    Ok((inputs, talk))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let builder = thread::Builder::new().name(format!("agent-{name}"));
    builder.spawn(work).map(drop)
}

fn tell(mut stdin: Box<dyn Write + Send>, prompt: &str) {
    // An agent need not read it: the prompt is also in the brief.
    drop(
        stdin
            .write_all(prompt.as_bytes())
            .and_then(|()| stdin.flush()),
    );
}

fn hear(
    mut from: Box<dyn Read + Send>,
    stream: Stream,
    inputs: &SyncSender<Input>,
    mut ear: Option<Ear>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let piece = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => &piece[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let words = ear.as_mut().map(|it| it.hear(piece)).unwrap_or_default();
        let output = Input::Output(stream, piece.to_vec());
        let words = words.into_iter().map(|word| match word {
            Word::Called(call) => Input::Called(call),
            Word::Told(signal) => Input::Told(signal),
            Word::Ended(signal) => Input::Ended(signal),
        });
        for input in std::iter::once(output).chain(words) {
            if inputs.send(input).is_err() {
                return;
            }
        }
    }
    // A loop that is gone needs no telling.
    drop(inputs.send(Input::StreamEnded(stream)));
}

fn watch(cell: &dyn Cell, inputs: &SyncSender<Input>) {
    let input = loop {
        match cell.wait(WATCH) {
            Ok(Some(exit)) => break Input::Exited(exit),
            Ok(None) => {}
            Err(error) => break Input::Lost(with_sources(&error)),
        }
    };
    drop(inputs.send(input));
}

/// Ends a cell that is not listened to.
fn end_now(cell: &dyn Cell) {
    while cell.kill().is_ok() {
        match cell.wait(KILL_AGAIN) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ports::cells::{CellSpec, Denied, Error, Exit, Streams, Wall};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Condvar, Mutex};
    use testkit::agents::{Recorder, Setting};

    /// A cell that obeys only the last of some kills, or that is lost at once.
    #[derive(Debug, Default)]
    struct Stubborn {
        kills_needed: u32,
        lost: bool,
        kills: AtomicU32,
        dead: Mutex<bool>,
        changed: Condvar,
    }

    impl Stubborn {
        fn is_dead_within(&self, patience: Duration) -> bool {
            let dead = self.dead.lock().unwrap();
            let waited = self
                .changed
                .wait_timeout_while(dead, patience, |dead| !*dead);
            *waited.unwrap().0
        }

        fn die(&self) {
            *self.dead.lock().unwrap() = true;
            self.changed.notify_all();
        }
    }

    impl Cell for Stubborn {
        fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
            if self.lost {
                let doing = "waiting".to_owned();
                let source = ErrorKind::BrokenPipe.into();
                return Err(Error::Io { doing, source });
            }
            Ok(self.is_dead_within(patience).then_some(Exit::Signal(9)))
        }

        fn kill(&self) -> Result<(), Error> {
            let kills = self.kills.fetch_add(1, Ordering::AcqRel) + 1;
            if kills < self.kills_needed {
                let doing = "killing".to_owned();
                let source = ErrorKind::PermissionDenied.into();
                return Err(Error::Io { doing, source });
            }
            self.die();
            Ok(())
        }

        fn pause(&self) -> Result<(), Error> {
            Ok(())
        }

        fn resume(&self) -> Result<(), Error> {
            Ok(())
        }

        fn walls(&self) -> Vec<Wall> {
            Vec::new()
        }

        fn denied(&self) -> Vec<Denied> {
            Vec::new()
        }
    }

    struct Only(Arc<Stubborn>);

    impl Cells for Only {
        fn probe(&self) -> Vec<Wall> {
            Vec::new()
        }

        fn launch(&self, _: &CellSpec) -> Result<Launched, Error> {
            Ok(Launched {
                streams: Streams {
                    stdin: Box::new(std::io::sink()),
                    stdout: Box::new(std::io::empty()),
                    stderr: Box::new(&b"hello"[..]),
                },
                cell: Arc::<Stubborn>::clone(&self.0),
            })
        }
    }

    #[test]
    fn a_kill_that_fails_is_repeated_until_the_cell_is_gone() {
        let cell = Arc::new(Stubborn {
            kills_needed: 2,
            ..Stubborn::default()
        });
        let recorder = Recorder::default();
        recorder.stop();
        let outcome = conduct(&Only(Arc::clone(&cell)), &Setting::new().task, &recorder);
        assert_eq!(outcome.reason, EndReason::Stopped);
        assert!(*cell.dead.lock().unwrap());
    }

    #[test]
    fn a_cell_that_cannot_be_supervised_is_killed_and_told() {
        let cell = Arc::new(Stubborn {
            lost: true,
            ..Stubborn::default()
        });
        let recorder = Recorder::default();
        let outcome = conduct(&Only(Arc::clone(&cell)), &Setting::new().task, &recorder);
        let EndReason::LaunchFailed { detail } = outcome.reason else {
            panic!("{outcome:?}");
        };
        assert!(
            detail.contains("could not be supervised: cell: waiting"),
            "{detail}"
        );
        assert_eq!(recorder.output(Stream::Err), "hello");
        assert!(*cell.dead.lock().unwrap());
    }

    #[test]
    fn the_clock_goes_on_when_a_paused_cell_has_ended() {
        let setting = Setting::new();
        let task = &setting.task;
        let clock = Arc::new(ActiveClock::start());
        clock.pause();
        let mut session = Loop {
            state: State::new(task.epoch, task.limits, task.cell.limits),
            clock: Arc::clone(&clock),
            cell: Arc::new(Stubborn::default()),
            talk: None,
            closer: Channel::make(&task.drop).unwrap().1,
            listener: &Recorder::default(),
            polled: Instant::now(),
            killed: None,
        };
        assert_eq!(session.take(Input::Exited(Exit::Signal(9))), None);
        assert!(!clock.is_paused());
    }
}
