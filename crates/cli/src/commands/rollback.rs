//! `palisade rollback`: put a work's tree back to a checkpoint.

use clap::{Parser, ValueEnum};
use domain::event::Event;
use domain::rollback::{Done, Rollback, Strategy};
use domain::{CheckpointId, WorkId, run};
use engine::coordinator::Coordinator;
use engine::perform::rollback::Planned;
use engine::recorder::decoded;
use engine::steering;
use ports::log::Position;
use serde::Serialize;

use super::{Common, steer};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lock::{self, Taken};
use crate::moment::counted;
use crate::naming;
use crate::terminal::{self, BAD, GOOD, WARN};

/// The word for the tree that was accepted last.
const START: &str = "start";

/// The most paths of a kind that are listed.
const PATHS_SHOWN: usize = 50;

/// Put a work's tree back to a checkpoint
///
/// A checkpoint of the tree as it is comes first, so that a rollback can be undone by another one.
/// The session under way is ended for it and told why; another goes on from the restored tree. What
/// the base's ignore rules exclude (build output) is part of no checkpoint: sessions begin without.
/// What is landed already is not rolled back but reverted.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A work's name or identifier.
    #[arg(value_name = "WORK")]
    work: String,
    /// The checkpoint; `start` is the tree that was accepted last.
    #[arg(long, value_name = "CHECKPOINT|start")]
    to: String,
    /// How: exactly that state, only some paths, or all but what is valid.
    #[arg(long, value_enum)]
    strategy: Option<Way>,
    /// A path to put back, with all beneath it; implies `--strategy paths`. May be repeated.
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Why, for the record and for the next session.
    #[arg(long, value_name = "TEXT", default_value = "the operator wants it")]
    why: String,
    /// Only say what would be put back, kept and done again.
    #[arg(long)]
    dry_run: bool,
}

/// A strategy, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Exactly that state, nothing else.
    Full,
    /// The paths given with --path; without any, those that break rules.
    Paths,
    /// Keeps what is valid; puts back what breaks rules, and what names it.
    Smart,
}

/// What a rollback did, or would do.
#[derive(Debug, Serialize)]
struct Shown {
    done: bool,
    before: Option<CheckpointId>,
    reverted: Vec<String>,
    kept: Vec<String>,
    redo: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let work = context.board()?.find(&args.work)?;
    let wanted = wanted(&context, work, args)?;
    if args.dry_run {
        let planned = steering::foresee(&context.recorder, &context.settings, work, &wanted)?;
        return print(common, &Shown::from(planned));
    }
    let since = context.recorder.world().log.head()?;
    match lock::take(&context.place.state)? {
        Taken::Ours(_lock) => {
            steering::request_rollback(&context.recorder, work, &wanted)?;
            let coordinator = Coordinator::new(&context.recorder, &context.settings);
            if !coordinator.roll_back(work)? {
                terminal::say(
                    "the rollback is on record; it is carried out when the engine runs again: \
                     palisade resume",
                );
                return Ok(Exit::InputRequired);
            }
        }
        Taken::Theirs(_) => {
            steering::request_rollback(&context.recorder, work, &wanted)?;
            steer::until(&context, work, |case| {
                let pending = case.active().is_some_and(|it| it.rollback.is_some());
                (!pending).then_some(())
            })?;
        }
    }
    outcome(common, &context, work, since)
}

fn wanted(context: &Context, work: WorkId, args: &Args) -> Result<Rollback, Failure> {
    let to = if args.to == START {
        None
    } else {
        let case = context.recorder.load(work)?;
        let ids = case.checkpoints.keys().copied();
        Some(naming::find(
            ids,
            &args.to,
            "checkpoint",
            "palisade checkpoints WORK",
        )?)
    };
    let strategy = match (args.strategy, args.path.is_empty()) {
        (Some(Way::Full), true) | (None, true) => Strategy::Full,
        (Some(Way::Smart), true) => Strategy::Smart,
        (Some(Way::Paths), _) | (None, false) => Strategy::Paths,
        (Some(Way::Full | Way::Smart), false) => {
            return Err(Failure::usage(
                "`--path` goes with `--strategy paths` alone",
            ));
        }
    };
    Ok(Rollback {
        to,
        strategy,
        paths: args.path.clone(),
        by: context.recorder.actor().to_string(),
        why: args.why.clone(),
    })
}

/// Says what became of the rollback that was asked for after `since`.
fn outcome(common: &Common, context: &Context, work: WorkId, since: Position) -> Outcome {
    let log = &context.recorder.world().log;
    for recorded in log.read_correlated(&work.to_string(), since)? {
        match decoded(&recorded)? {
            Event::Run(_, run::Event::RolledBack(done)) => {
                return print(common, &Shown::from(done));
            }
            Event::Run(_, run::Event::RollbackAbandoned { why }) => {
                let text = format!("the tree was not put back: {why}");
                return Err(Failure::new(Exit::Failed, text));
            }
            Event::Ambiguity(..)
            | Event::Breaker(..)
            | Event::Checkpoint(..)
            | Event::Evidence(..)
            | Event::Finding(..)
            | Event::Action(..)
            | Event::Goal(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Message(..)
            | Event::Output(..)
            | Event::Plan(..)
            | Event::Promotion(..)
            | Event::Run(..)
            | Event::Session(..)
            | Event::Work(..) => {}
        }
    }
    Err(Failure::new(
        Exit::Failed,
        "the run was over before the tree was put back",
    ))
}

fn print(common: &Common, shown: &Shown) -> Outcome {
    if common.json {
        terminal::json(shown)?;
        return Ok(Exit::Done);
    }
    let (gone, again) = if shown.done {
        ("put back", "is done again")
    } else {
        ("would be put back", "would be done again")
    };
    list(&shown.reverted, gone, BAD);
    list(&shown.kept, "kept", GOOD);
    list(&shown.redo, again, WARN);
    let files = counted(shown.reverted.len(), "path");
    terminal::say(format!("{files} {gone}, {} kept", shown.kept.len()));
    match (shown.done, shown.before) {
        (true, Some(before)) => {
            terminal::say(format!(
                "undo it with: palisade rollback WORK --to {before}"
            ));
        }
        (false, _) => terminal::say("nothing was changed: this was --dry-run"),
        (true, None) => {}
    }
    Ok(Exit::Done)
}

fn list(lines: &[String], word: &str, style: anstyle::Style) {
    for line in lines.iter().take(PATHS_SHOWN) {
        let line = crate::table::one_line(line);
        terminal::data(format!(
            "{} {line}",
            terminal::styled(&format!("{word:<20}"), style)
        ));
    }
    if lines.len() > PATHS_SHOWN {
        terminal::data(format!(
            "{word:<20} … and {} more",
            lines.len() - PATHS_SHOWN
        ));
    }
}

impl From<Planned> for Shown {
    fn from(planned: Planned) -> Self {
        Self {
            done: false,
            before: planned.before,
            reverted: planned.reverted,
            kept: planned.kept,
            redo: planned.redo,
        }
    }
}

impl From<Done> for Shown {
    fn from(done: Done) -> Self {
        Self {
            done: true,
            before: Some(done.before),
            reverted: done.reverted,
            kept: done.kept,
            redo: done.redo,
        }
    }
}
