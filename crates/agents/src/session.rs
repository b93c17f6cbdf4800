//! The judgement of a session: a state machine from what is heard to what is done about it.
//!
//! No clock, thread or process is in here; [`crate::conduct`] brings the inputs and carries out the
//! outputs. The rules, in one place:
//!
//! - The first thing that decides the end is the reason for the end: a terminal signal, a
//!   deadline, a cap, a stop. Later ones change nothing.
//! - Who never says or prints anything is ended earlier than who falls silent.
//! - After a terminal signal the process has the grace to end by itself; then it is killed.
//! - After the end is decided, signals are reported as late and never acted upon.
//! - A process that ends has said what it has said: its signals are read to the last before the
//!   session is judged to have ended without one.

use std::time::Duration;

use domain::agent::{EndReason, Signal};
use domain::session::ToolCall;
use ports::agents::{Limits, Outcome, Report, Stream};
use ports::cells::{self, Exit};

use crate::lines::{HEAD_BYTES_MAX, Line};
use crate::signal_line;

/// How long the streams of an ended cell may stay open before they are given up.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long a program that was asked to stop may take.
pub(crate) const CANCEL_MAX: Duration = Duration::from_secs(2);

/// A question file in the drop, or why it is not one.
pub(crate) type QuestionFile = Result<Signal, (String, String)>;

/// What is heard of a session.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A piece of output.
    Output(Stream, Vec<u8>),
    /// A line of the signal channel.
    Line(Line),
    /// A file of the drop.
    File(QuestionFile),
    /// The program ended; every process of the cell is gone.
    Exited(Exit),
    /// The cell can no longer be supervised, and why.
    Lost(String),
    /// A stream is read to its end.
    StreamEnded(Stream),
    /// The signal channel and the drop are read to their end.
    SignalsEnded,
    /// The agent has called a tool, or wanted to, as its program tells.
    Called(ToolCall),
    /// The program tells this of its work in its own protocol.
    Told(Signal),
    /// The program has ended its work, and this is what it comes to unless the agent said otherwise.
    Ended(Signal),
    /// The engine wants the session ended.
    Stop,
    /// Nothing; time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Tell the listener.
    Report(Report),
    /// Ask the program to stop; kill the cell if it has no word for that.
    Cancel,
    /// Kill the cell.
    Kill,
    /// Read the signal channel to its end.
    CloseSignals,
    /// The session is over. Always the last.
    Finished(Outcome),
}

/// A session between two inputs.
#[derive(Debug)]
pub(crate) struct State {
    epoch: u64,
    limits: Limits,
    /// What the cell may use: for the text of an end that it caused.
    cell: cells::Limits,
    /// Whether the program can be asked to stop.
    can_cancel: bool,
    /// When something was last heard; never so far is `None`.
    heard_at: Option<Duration>,
    end: Option<End>,
    /// What the program's own end means, for want of a word of the agent's.
    implied: Option<(Signal, Duration)>,
    exit: Option<(Ended, Duration)>,
    killed: bool,
    finished: bool,
    open: Open,
    output_bytes: u64,
    accepted: u32,
    malformed: u32,
    late: u32,
}

#[derive(Debug)]
struct End {
    reason: EndReason,
    /// The process has until then to end by itself.
    until: Duration,
}

#[derive(Debug)]
enum Ended {
    By(Exit),
    Lost(String),
}

/// What is not yet read to its end.
#[derive(Debug)]
struct Open {
    out: bool,
    err: bool,
    signals: bool,
}

impl State {
    /// Returns the state of a session that just started, at zero.
    pub(crate) const fn new(epoch: u64, limits: Limits, cell: cells::Limits) -> Self {
        Self {
            epoch,
            limits,
            cell,
            can_cancel: false,
            heard_at: None,
            end: None,
            implied: None,
            exit: None,
            killed: false,
            finished: false,
            open: Open {
                out: true,
                err: true,
                signals: true,
            },
            output_bytes: 0,
            accepted: 0,
            malformed: 0,
            late: 0,
        }
    }

    /// Returns the same for a program that can be asked to stop, and is before it is killed.
    pub(crate) fn asking_first(self, can_cancel: bool) -> Self {
        Self { can_cancel, ..self }
    }

    /// Returns when something must be done even if nothing is heard.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match (&self.exit, &self.end) {
            (Some((_, at)), _) => Some(at.saturating_add(DRAIN_MAX)),
            (None, _) if self.killed => None,
            (None, None) => Some(self.limits.wall.min(self.quiet_until())),
            (None, Some(end)) => Some(self.limits.wall.min(end.until)),
        }
    }

    /// Returns until when silence is borne. The first word has a deadline of its own.
    fn idle_until(&self) -> Duration {
        match self.heard_at {
            Some(at) => at.saturating_add(self.limits.idle),
            None => self.limits.idle.min(self.limits.first_word),
        }
    }

    /// Returns what silence means by now.
    const fn silence(&self) -> EndReason {
        match self.heard_at {
            Some(_) => EndReason::Silent,
            None => EndReason::NeverSpoke,
        }
    }

    /// Returns when a session without an end is ended for saying and doing nothing.
    fn quiet_until(&self) -> Duration {
        match &self.implied {
            Some((_, at)) => at.saturating_add(self.limits.grace).min(self.idle_until()),
            None => self.idle_until(),
        }
    }

    /// Leaves a program that was asked to stop less time than one that stops by itself.
    fn cut_grace(&mut self, now: Duration) {
        if let Some(end) = &mut self.end {
            end.until = end.until.min(now.saturating_add(CANCEL_MAX));
        }
    }

    /// Tells whether the program was asked to stop and still has time to.
    fn is_cancelling(&self, now: Duration) -> bool {
        let end = self.end.as_ref();
        self.can_cancel && end.is_some_and(|it| it.reason == EndReason::Stopped && now < it.until)
    }

    const fn drained(&self) -> bool {
        !self.open.out && !self.open.err && !self.open.signals
    }
}

/// Takes one input at a time of the session's own clock, and returns what is to be done.
pub(crate) fn step(state: &mut State, input: Input, now: Duration) -> Vec<Output> {
    let mut outputs = Vec::new();
    if state.finished {
        return outputs;
    }
    match input {
        Input::Output(stream, bytes) => take_output(state, stream, bytes, now, &mut outputs),
        Input::Line(line) => take_line(state, line, now, &mut outputs),
        Input::File(file) => take_file(state, file, now, &mut outputs),
        Input::Exited(exit) => take_exit(state, Ended::By(exit), now, &mut outputs),
        Input::Lost(why) => {
            kill(state, &mut outputs);
            take_exit(state, Ended::Lost(why), now, &mut outputs);
        }
        Input::StreamEnded(Stream::Out) => state.open.out = false,
        Input::StreamEnded(Stream::Err) => state.open.err = false,
        Input::SignalsEnded => state.open.signals = false,
        Input::Called(call) => outputs.push(Output::Report(Report::Called(call))),
        Input::Told(signal) => take_signal(state, state.epoch, signal, now, &mut outputs),
        Input::Ended(signal) => {
            state.implied.get_or_insert((signal, now));
        }
        Input::Stop => {
            let is_first = state.end.is_none();
            decide(state, EndReason::Stopped, now);
            if is_first && state.can_cancel && state.exit.is_none() {
                state.cut_grace(now);
                outputs.push(Output::Cancel);
            } else if !state.is_cancelling(now) {
                kill(state, &mut outputs);
            }
        }
        Input::Tick => {}
    }
    keep_deadlines(state, now, &mut outputs);
    finish(state, now, &mut outputs);
    outputs
}

fn take_output(
    state: &mut State,
    stream: Stream,
    mut bytes: Vec<u8>,
    now: Duration,
    outputs: &mut Vec<Output>,
) {
    state.heard_at = Some(now);
    let room = state
        .limits
        .output_bytes_kept
        .saturating_sub(state.output_bytes);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    state.output_bytes = state.output_bytes.saturating_add(length);
    bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    if !bytes.is_empty() {
        outputs.push(Output::Report(Report::Output(stream, bytes)));
    }
    if state.output_bytes > state.limits.output_bytes_max {
        decide(state, EndReason::Flood, now);
        kill(state, outputs);
    }
}

fn take_line(state: &mut State, line: Line, now: Duration, outputs: &mut Vec<Output>) {
    state.heard_at = Some(now);
    match line {
        Line::Whole(bytes) => match signal_line::decode(&bytes, state.epoch) {
            Ok((epoch, signal)) => take_signal(state, epoch, signal, now, outputs),
            Err(error) => refuse(state, error.to_string(), &bytes, now, outputs),
        },
        Line::Overlong(head) => {
            let why = format!(
                "not a signal: the line is over {} bytes",
                state.limits.signal_bytes_max
            );
            refuse(state, why, &head, now, outputs);
        }
    }
}

fn take_file(state: &mut State, file: QuestionFile, now: Duration, outputs: &mut Vec<Output>) {
    state.heard_at = Some(now);
    match file {
        Ok(signal) => take_signal(state, state.epoch, signal, now, outputs),
        Err((why, raw)) => refuse(state, why, raw.as_bytes(), now, outputs),
    }
}

fn take_signal(
    state: &mut State,
    epoch: u64,
    signal: Signal,
    now: Duration,
    outputs: &mut Vec<Output>,
) {
    if state.end.is_some() {
        state.late = state.late.saturating_add(1);
        // Counted without end, told with one: the grace is enough time for very many.
        if state.late <= state.limits.signals_max {
            outputs.push(Output::Report(Report::Late(signal)));
        }
        return;
    }
    let reason = end_reason(&signal);
    // The cap is against chatter; the word that ends the session is never refused for it.
    if reason.is_none() && state.accepted >= state.limits.signals_max {
        let why = format!("over the cap of {} signals", state.limits.signals_max);
        let raw = signal_line::encode(Some(epoch), &signal).unwrap_or_default();
        return refuse(state, why, raw.as_bytes(), now, outputs);
    }
    state.accepted = state.accepted.saturating_add(1);
    outputs.push(Output::Report(Report::Signal(epoch, signal)));
    if let Some(reason) = reason {
        decide(state, reason, now);
    }
}

fn end_reason(signal: &Signal) -> Option<EndReason> {
    match signal {
        Signal::Progress { .. }
        | Signal::Ask { .. }
        | Signal::Finding { .. }
        | Signal::Acknowledge { .. }
        | Signal::ProposeAction { .. } => None,
        Signal::Done { summary } => Some(EndReason::Done {
            summary: summary.clone(),
        }),
        Signal::Refuse { reason, detail } => Some(EndReason::Refused {
            refusal: *reason,
            detail: detail.clone(),
        }),
        Signal::Fail { reason } => Some(EndReason::Failed {
            detail: reason.clone(),
        }),
    }
}

fn refuse(state: &mut State, why: String, raw: &[u8], now: Duration, outputs: &mut Vec<Output>) {
    state.malformed = state.malformed.saturating_add(1);
    let over = state.malformed > state.limits.malformed_max;
    // One over the cap is told, since it ends the session; what follows is only counted.
    if state.malformed <= state.limits.malformed_max.saturating_add(1) {
        let head = &raw[..raw.len().min(HEAD_BYTES_MAX)];
        let raw = String::from_utf8_lossy(head).into_owned();
        outputs.push(Output::Report(Report::Malformed(why, raw)));
    }
    if over {
        decide(state, EndReason::Garbage, now);
        kill(state, outputs);
    }
}

fn take_exit(state: &mut State, ended: Ended, now: Duration, outputs: &mut Vec<Output>) {
    if state.exit.is_none() {
        state.exit = Some((ended, now));
        outputs.push(Output::CloseSignals);
    }
}

fn decide(state: &mut State, reason: EndReason, now: Duration) {
    if state.end.is_none() {
        let until = now.saturating_add(state.limits.grace);
        state.end = Some(End { reason, until });
    }
}

fn kill(state: &mut State, outputs: &mut Vec<Output>) {
    if !state.killed && state.exit.is_none() {
        state.killed = true;
        outputs.push(Output::Kill);
    }
}

fn keep_deadlines(state: &mut State, now: Duration, outputs: &mut Vec<Output>) {
    if state.exit.is_some() {
        return;
    }
    let wall = now >= state.limits.wall;
    match &state.end {
        None if wall => decide(state, EndReason::WallClock, now),
        None if now >= state.idle_until() => decide(state, state.silence(), now),
        None if now >= state.quiet_until() => {}
        Some(end) if wall || now >= end.until => {}
        None | Some(_) => return,
    }
    kill(state, outputs);
}

fn finish(state: &mut State, now: Duration, outputs: &mut Vec<Output>) {
    let Some((_, at)) = &state.exit else {
        return;
    };
    if !state.drained() && now < at.saturating_add(DRAIN_MAX) {
        return;
    }
    if state.end.is_none()
        && let Some((signal, _)) = state.implied.take()
        && let Some(reason) = end_reason(&signal)
    {
        outputs.push(Output::Report(Report::Signal(state.epoch, signal)));
        decide(state, reason, now);
    }
    let Some((ended, _)) = &state.exit else {
        return;
    };
    let reason = match (&state.end, ended) {
        (Some(end), _) => end.reason.clone(),
        (None, Ended::By(Exit::Code(code))) => EndReason::NoSignal {
            code: Some(*code),
            killed_by: None,
        },
        (None, Ended::By(Exit::Signal(signal))) => EndReason::NoSignal {
            code: None,
            killed_by: Some(*signal),
        },
        (None, Ended::By(Exit::OverQuota { bytes, files })) => EndReason::OverQuota {
            detail: state.cell.outgrown(*bytes, *files),
        },
        (None, Ended::Lost(why)) => EndReason::LaunchFailed {
            detail: format!("the cell could not be supervised: {why}"),
        },
    };
    state.finished = true;
    outputs.push(Output::Finished(Outcome {
        reason,
        output_bytes: state.output_bytes,
        malformed: state.malformed,
        late: state.late,
    }));
}

#[cfg(test)]
mod tests;
