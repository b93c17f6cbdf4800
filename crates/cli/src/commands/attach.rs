//! `palisade attach`: a session, live, without a hand on it.

use std::thread;
use std::time::Duration;

use clap::Parser;
use domain::event::Event;
use domain::{SessionId, WorkId, output};
use engine::recorder::decoded;
use ports::log::Position;

use super::{Common, timeline};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal::{self, DIM};
use crate::{lock, moment};

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How many looks in a row must find no engine before it is taken for gone.
const LOOKS_ALONE_MAX: u32 = 10;

/// Look on while a work's agent works
///
/// What it prints on stdout; signals, checkpoints, messages, violations and pauses on stderr (with
/// --json, each event as a CloudEvents envelope on stdout). It begins with what the session has
/// printed so far and ends with the session. Nothing that is typed reaches the agent: `palisade send`
/// tells it something, Ctrl-C ends only the looking.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    let work = board.find(&args.work)?;
    let case = context.recorder.load(work)?;
    let open = case
        .sessions
        .iter()
        .rev()
        .find(|(_, it)| it.end().is_none());
    let Some((id, _)) = open else {
        let text = format!(
            "no session of `{}` is under way; see `palisade status`",
            args.work
        );
        return Err(Failure::usage(text));
    };
    let view = View {
        common,
        context: &context,
        work,
        id: *id,
    };
    view.follow(context.recorder.world().log.head()?)
}

/// What is looked at.
struct View<'a> {
    common: &'a Common,
    context: &'a Context,
    work: WorkId,
    id: SessionId,
}

impl View<'_> {
    fn follow(&self, mut position: Position) -> Outcome {
        let (mut version, mut alone) = (0, 0);
        terminal::say(terminal::styled(&format!("session {}", self.id), DIM));
        loop {
            // Whether it is over is asked first: what happened until then is still read.
            let case = self.context.recorder.load(self.work)?;
            let is_over = case
                .sessions
                .get(&self.id)
                .is_none_or(|it| it.end().is_some());
            version = self.output(version)?;
            position = self.events(position)?;
            if is_over {
                return Ok(Exit::Done);
            }
            alone = match lock::holder(&self.context.place.state) {
                Some(_) => 0,
                None => alone + 1,
            };
            if alone >= LOOKS_ALONE_MAX {
                terminal::say("no engine runs, nothing moves; `palisade resume` goes on");
                return Ok(Exit::Failed);
            }
            thread::park_timeout(LOOK);
        }
    }

    fn output(&self, mut version: u64) -> Result<u64, Failure> {
        let log = &self.context.recorder.world().log;
        for recorded in log.read_stream(&format!("output/{}", self.id), version)? {
            version = recorded.version;
            if self.common.json {
                terminal::json_line(&context::envelope(&recorded))?;
            } else if let Event::Output(_, output::Event::Written { text, .. }) =
                decoded(&recorded)?
            {
                terminal::put(&terminal::printable(&text));
            }
        }
        Ok(version)
    }

    fn events(&self, mut position: Position) -> Result<Position, Failure> {
        let log = &self.context.recorder.world().log;
        for recorded in log.read_correlated(&self.work.to_string(), position)? {
            position = recorded.position;
            if self.common.json {
                terminal::json_line(&context::envelope(&recorded))?;
                continue;
            }
            let told = timeline::told(&decoded(&recorded)?);
            let time = moment::time(recorded.event.time);
            let line = terminal::printable(&told).replace('\n', " ");
            terminal::say(format!("{} {line}", terminal::styled(&time, DIM)));
        }
        Ok(position)
    }
}
