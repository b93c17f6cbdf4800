//! `palisade audit`: recompute what the record promises.

use clap::{Parser, Subcommand};
use domain::WorkId;
use engine::views::detail;
use serde::Serialize;

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::counted;
use crate::table::one_line;
use crate::terminal::{self, BAD, BOLD, GOOD};

mod promoted;
mod there;

/// Check the record
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Recompute every hash chain, and check every promotion against what it leans on
    ///
    /// The chain of each stream of the event log is walked and recomputed. For each promoted work,
    /// or for the one that is named: dossier, manifest, files, evidence and specification are in
    /// the store and have their digests; the dossier speaks of this work and tree; the approval is
    /// for this dossier and counted when the change was landed; the commit names both in its
    /// trailers, stands on the base, and the target contains it. Exits with 1 if anything is
    /// broken.
    Verify {
        /// A work's name or identifier.
        #[arg(value_name = "WORK")]
        work: Option<String>,
    },
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// What it is about: `log`, or a work's name.
    about: String,
    /// What should be so.
    what: String,
    /// What was found instead, if it is broken.
    broken: Option<String>,
}

/// Collects checks about one thing.
struct Checklist {
    about: String,
    checks: Vec<Check>,
}

impl Checklist {
    fn about(about: &str) -> Self {
        let (about, checks) = (about.to_string(), Vec::new());
        Self { about, checks }
    }

    fn add(&mut self, what: impl Into<String>, found: Result<(), String>) {
        self.checks.push(Check {
            about: self.about.clone(),
            what: what.into(),
            broken: found.err(),
        });
    }
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let Verb::Verify { work } = &args.verb;
    there::check_place(&common.place()?)?;
    let context = common.context()?;
    let mut checks = log(&context)?;
    let chains_hold = checks.iter().all(|it| it.broken.is_none());
    match works(&context, work.as_deref()) {
        Ok(more) => checks.extend(more),
        // A log whose chain is broken may not be readable as events either.
        Err(failure) if !chains_hold => {
            let mut list = Checklist::about("log");
            list.add("every event can be read", Err(failure.error.to_string()));
            checks.extend(list.checks);
        }
        Err(failure) => return Err(failure),
    }
    let broken = checks.iter().filter(|it| it.broken.is_some()).count();
    if common.json {
        terminal::json(&checks)?;
    } else {
        print(&checks);
        let all = counted(checks.len(), "check");
        terminal::say(match broken {
            0 => terminal::styled(&format!("{all}, all hold"), GOOD),
            _ => terminal::styled(&format!("{all}, {broken} broken"), BAD),
        });
    }
    Ok(if broken == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn log(context: &Context) -> Result<Vec<Check>, Failure> {
    let found = context.recorder.world().log.verify()?;
    let found_events = found.events;
    let mut list = Checklist::about("log");
    let what = format!(
        "the hash chains of {} streams with {} events are whole",
        found.streams, found.events
    );
    let mut broken = found
        .broken
        .iter()
        .map(|(stream, version)| format!("{stream} from version {version} on"));
    let named: Vec<_> = broken.by_ref().take(10).collect();
    let more = broken.count();
    let found = if named.is_empty() {
        Ok(())
    } else if more > 0 {
        Err(format!("{}, and {more} more", named.join(", ")))
    } else {
        Err(named.join(", "))
    };
    list.add(what, found);
    if found_events == 0 {
        list.add(
            "what is stored is spoken of by events",
            there::nothing_without_events(&context.place),
        );
    }
    Ok(list.checks)
}

fn works(context: &Context, wanted: Option<&str>) -> Result<Vec<Check>, Failure> {
    let board = context.board()?;
    let works: Vec<WorkId> = match wanted {
        Some(text) => vec![board.find(text)?],
        None => board.cases.keys().copied().collect(),
    };
    let log = context.recorder.world().log.as_ref();
    let mut checks = Vec::new();
    for work in works {
        let detail = detail::read(log, &board, work)?;
        let promoted = detail.promotions.iter().filter(|it| it.commit.is_some());
        let promoted: Vec<_> = promoted.collect();
        if promoted.is_empty() && wanted.is_some() {
            let name = &detail.line.name;
            terminal::say(format!(
                "{name} has promoted nothing; only the log is checked"
            ));
        }
        for waiting in detail.promotions.iter().filter(|it| promoted::waits(it)) {
            let mut list = Checklist::about(&detail.line.name);
            promoted::check_waiting(context, waiting, &mut list);
            checks.extend(list.checks);
        }
        for promotion in promoted {
            let mut list = Checklist::about(&detail.line.name);
            promoted::check(context, &detail, promotion, &mut list);
            checks.extend(list.checks);
        }
    }
    Ok(checks)
}

fn print(checks: &[Check]) {
    let mut about = "";
    for check in checks {
        if check.about != about {
            about = &check.about;
            terminal::data(terminal::styled(about, BOLD));
        }
        match &check.broken {
            None => {
                let word = terminal::styled("ok", GOOD);
                terminal::data(format!("  {word}      {}", check.what));
            }
            Some(why) => {
                let word = terminal::styled("BROKEN", BAD);
                terminal::data(format!("  {word}  {}: {}", check.what, one_line(why)));
            }
        }
    }
}
