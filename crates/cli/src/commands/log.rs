//! `palisade log`: what happened, from the event log.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use clap::Parser;
use domain::event::Event;
use domain::{SessionId, WorkId, output};
use engine::recorder::decoded;
use engine::views::board::name_of;
use ports::log::{Position, Recorded};

use super::{Common, drive, status};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::moment;
use crate::naming::{self, Named};
use crate::table::{cut, one_line};
use crate::terminal::{self, DIM};

/// How many events are read at once.
const PAGE: usize = 1_000;

/// How often the log is looked at with `--follow`.
const LOOK: Duration = Duration::from_millis(200);

/// The most of a told line that is shown, in columns, where there is no terminal to ask.
const COLUMNS_MAX: usize = 2_000;

/// Show what happened to works, or what a session printed
///
/// A line for each event that matters; with --events, every one there is.
/// For a WORK, what happened to it; without one, to all works. For a SESSION, what the agent
/// printed there, which is shown and never acted upon. An identifier can be given by its end.
/// With --json, every event as a CloudEvents 1.0 envelope, one on a line.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier, or a session's identifier.
    #[arg(value_name = "WORK|SESSION")]
    about: Option<String>,
    /// Go on with what happens, until it is over or Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Every event: position, time, actor, type, stream and version.
    #[arg(long)]
    events: bool,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Told,
    Events,
    Envelopes,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let form = match (common.json, args.events) {
        (true, _) => Form::Envelopes,
        (false, true) => Form::Events,
        (false, false) => Form::Told,
    };
    let named = match &args.about {
        Some(text) => Some(naming::work_or_session(&context.board()?, text)?),
        None => None,
    };
    match named {
        Some(Named::Session(work, id)) => output(&context, form, args.follow, work, id)?,
        Some(Named::Work(work)) => works(&context, form, args.follow, Some(work))?,
        None => works(&context, form, args.follow, None)?,
    }
    Ok(Exit::Done)
}

fn works(context: &Context, form: Form, follow: bool, only: Option<WorkId>) -> Result<(), Failure> {
    let log = &context.recorder.world().log;
    let mut writer = Writer::new(context, form, only)?;
    let mut position = Position::default();
    loop {
        // Whether it is over is asked first: what happened until then is still read.
        let is_over = !follow || only.map_or(Ok(false), |it| over(context, it))?;
        loop {
            let page = match only {
                Some(work) => log.read_correlated(&work.to_string(), position)?,
                None => log.read_all(position, PAGE)?,
            };
            let Some(last) = page.last() else {
                break;
            };
            position = last.position;
            for recorded in &page {
                writer.write(recorded)?;
            }
        }
        if is_over {
            return Ok(());
        }
        wait(context, position)?;
    }
}

fn over(context: &Context, work: WorkId) -> Result<bool, Failure> {
    let lines = context.board()?.lines();
    Ok(lines
        .iter()
        .any(|it| it.work == work && status::is_over(it)))
}

fn wait(context: &Context, position: Position) -> Result<(), Failure> {
    let log = &context.recorder.world().log;
    let head = log.head()?;
    loop {
        thread::park_timeout(LOOK);
        let now = log.head()?;
        if now != head || now < position {
            return Ok(());
        }
    }
}

fn output(
    context: &Context,
    form: Form,
    follow: bool,
    work: WorkId,
    id: SessionId,
) -> Result<(), Failure> {
    let log = &context.recorder.world().log;
    let mut version = 0;
    loop {
        let ended = context
            .recorder
            .load(work)?
            .sessions
            .get(&id)
            .is_none_or(|it| it.end().is_some());
        for recorded in log.read_stream(&format!("output/{id}"), version)? {
            version = recorded.version;
            match form {
                Form::Envelopes => terminal::json_line(&context::envelope(&recorded))?,
                Form::Events => terminal::data(event_line(&recorded)),
                Form::Told => {
                    if let Event::Output(_, output::Event::Written { text, .. }) =
                        decoded(&recorded)?
                    {
                        terminal::put(&terminal::printable(&text));
                    }
                }
            }
        }
        if !follow || ended {
            break;
        }
        thread::park_timeout(LOOK);
    }
    if version == 0 && form != Form::Envelopes {
        terminal::say(format!("session {id} has printed nothing"));
    }
    Ok(())
}

/// Writes events in one form.
struct Writer {
    form: Form,
    names: BTreeMap<WorkId, String>,
    /// The work that all lines are about: its name is not repeated.
    only: Option<WorkId>,
    day: String,
    width: usize,
}

impl Writer {
    fn new(context: &Context, form: Form, only: Option<WorkId>) -> Result<Self, Failure> {
        let board = context.board()?;
        let named = board.cases.iter().map(|(id, case)| (*id, name_of(case)));
        Ok(Self {
            form,
            names: named.collect(),
            only,
            day: String::new(),
            width: terminal::width().unwrap_or(COLUMNS_MAX),
        })
    }

    fn write(&mut self, recorded: &Recorded) -> Result<(), Failure> {
        match self.form {
            Form::Envelopes => terminal::json_line(&context::envelope(recorded))?,
            Form::Events => {
                self.turn_to(recorded);
                terminal::data(event_line(recorded));
            }
            Form::Told => self.tell(recorded)?,
        }
        Ok(())
    }

    /// Says which day it is when it is another than before.
    fn turn_to(&mut self, recorded: &Recorded) {
        let day = moment::day(recorded.event.time);
        if day != self.day {
            terminal::data(terminal::styled(&day, DIM));
            self.day = day;
        }
    }

    fn tell(&mut self, recorded: &Recorded) -> Result<(), Failure> {
        let Ok(work) = recorded.event.correlation.parse::<WorkId>() else {
            return Ok(());
        };
        let event = decoded(recorded)?;
        if let Event::Work(id, domain::work::Event::Submitted(about)) = &event {
            self.names.insert(*id, about.name.clone());
        }
        let Some(told) = told(&event) else {
            return Ok(());
        };
        self.turn_to(recorded);
        let name = match self.only {
            Some(_) => String::new(),
            None => {
                let name = self.names.get(&work).cloned().unwrap_or_default();
                terminal::styled(&format!("{name:<16} "), DIM)
            }
        };
        let time = moment::time(recorded.event.time);
        terminal::data(format!("{time} {name}{}", self.fitted(&told)));
        Ok(())
    }

    /// Cuts a line to the terminal, unless it fits as it is, colours and all.
    fn fitted(&self, told: &str) -> String {
        let taken = 9 + if self.only.is_some() { 0 } else { 17 };
        let width = self.width.saturating_sub(taken);
        let plain = anstream::adapter::strip_str(told).to_string();
        let fitted = cut(&plain, width);
        if fitted == plain {
            told.to_string()
        } else {
            fitted
        }
    }
}

/// Returns what an event means in a line: what the operator is told while the engine runs, and
/// what he did himself.
pub(crate) fn told(event: &Event) -> Option<String> {
    use domain::{ambiguity, promotion, work};
    let said = |text: String| Some(one_line(&text));
    match event {
        Event::Work(_, work::Event::Submitted(it)) => {
            let (formula, agent) = (&it.formula, &it.agent);
            said(format!("submitted for {}: {formula}, {agent}", it.target))
        }
        Event::Work(_, work::Event::InputRequired { what }) => said(format!("waits for {what}")),
        Event::Work(_, work::Event::Closed(work::Ending::Completed { commit })) => {
            said(commit.as_ref().map_or_else(
                || "completed: nothing to do".to_string(),
                |it| format!("completed with {}", it.short()),
            ))
        }
        Event::Work(_, work::Event::Closed(work::Ending::Canceled { reason })) => {
            said(format!("canceled: {reason}"))
        }
        Event::Ambiguity(id, ambiguity::Event::Answered { answer, by }) => {
            let answer = match answer {
                ambiguity::Answer::Default => "the held default".to_string(),
                ambiguity::Answer::Option { number } => format!("option {number}"),
                ambiguity::Answer::Text { text } => text.clone(),
            };
            said(format!("{by} answers {id}: {answer}"))
        }
        Event::Promotion(_, promotion::Event::Approved(it)) => {
            said(format!("{} approves dossier {}", it.by, it.dossier.short()))
        }
        Event::Promotion(_, promotion::Event::Refused { by, reason }) => {
            said(format!("{by} rejects the proposal: {reason}"))
        }
        Event::Promotion(_, promotion::Event::Blocked { reasons }) => {
            let reasons: Vec<_> = reasons
                .iter()
                .map(domain::policy::Block::sentence)
                .collect();
            said(format!("cannot be promoted: {}", reasons.join("; ")))
        }
        Event::Promotion(_, promotion::Event::Overtaken { why }) => {
            said(format!("the proposal is overtaken: {why}"))
        }
        Event::Work(..)
        | Event::Ambiguity(..)
        | Event::Promotion(..)
        | Event::Breaker(..)
        | Event::Message(..)
        | Event::Checkpoint(..)
        | Event::Evidence(..)
        | Event::Finding(..)
        | Event::Action(..)
        | Event::Goal(..)
        | Event::Grant(..)
        | Event::Lease(..)
        | Event::Machine(..)
        | Event::Output(..)
        | Event::Plan(..)
        | Event::Run(..)
        | Event::Session(..) => drive::told(event),
    }
}

fn event_line(recorded: &Recorded) -> String {
    let event = &recorded.event;
    let kind = event
        .kind
        .trim_start_matches("io.palisade.")
        .trim_end_matches(".v1");
    format!(
        "{:>5} {} {:<14} {kind:<22} {} {}",
        recorded.position.0,
        moment::time(event.time),
        one_line(&event.actor),
        recorded.stream,
        recorded.version,
    )
}
