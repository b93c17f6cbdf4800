//! `palisade doctor --attack`: hostile agents try the walls of this very machine, in real cells,
//! and the result is kept as evidence that runs refer to.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use attacks::list;
use attacks::record::{FORMAT, Record, Verdict, oracles, walls};
use attacks::suite::{Ground, LeftOpen, Place, Row, random_word, template};
use domain::machine::{Command, Trial};
use ports::cells::Wall;

use super::super::Common;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::table::{Cell, Table};
use crate::terminal::{self, BAD, DIM, GOOD, styled};
use crate::{again, boundary};

/// Fewest and most trials at once: they wait more than they compute.
const AT_ONCE_MIN: usize = 4;
const AT_ONCE_MAX: usize = 8;

/// Tries everything; `canary` is in the environment and on the command line of this process.
pub(super) fn run(common: &Common, canary: Option<&str>) -> Outcome {
    let Some(canary) = canary else {
        return Err(again::with_canary(&format!("canary-{}", random_word()?)));
    };
    let context = common.context()?;
    context.check_walls()?;
    let probed = context.recorder.world().cells.probe();
    let folders = Folders::make(&context.place.state)?;
    let record = attack(&context, &folders, canary, &probed)?;
    drop(folders);
    let text = serde_json::to_vec_pretty(&record)?;
    let digest = context.recorder.world().artifacts.put(&text)?;
    let counted = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let trial = Trial {
        kernel: record.kernel.clone(),
        version: record.version.clone(),
        record: digest,
        attempts: counted(record.made()),
        failed: counted(record.failed()),
        at: context.recorder.world().clock.now(),
    };
    context
        .recorder
        .on_machine(&Command::Record(trial.clone()))?;
    if common.json {
        terminal::json(&record)?;
    } else {
        show(&record);
    }
    terminal::say(format!("on record as {digest}"));
    if trial.passed() {
        Ok(Exit::Done)
    } else {
        Ok(Exit::Failed)
    }
}

/// The folders of one run; removed when dropped.
struct Folders {
    scratch: PathBuf,
    /// Elsewhere, because the path of a socket must be short.
    sockets: PathBuf,
}

impl Folders {
    fn make(state: &Path) -> Result<Self, Failure> {
        let word = random_word()?;
        let folders = Self {
            scratch: state.join(format!("attack-{word}")),
            sockets: std::env::temp_dir().join(format!("palisade-{word}")),
        };
        for folder in [&folders.scratch, &folders.sockets] {
            context::private_folder(folder)?;
        }
        Ok(folders)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.scratch, &self.sockets] {
            if let Err(error) = super::trial::clear(folder) {
                terminal::say(format!("{} cannot be removed: {error}", folder.display()));
            }
        }
    }
}

fn attack(
    context: &Context,
    folders: &Folders,
    canary: &str,
    probed: &[Wall],
) -> Result<Record, Failure> {
    let begun = Instant::now();
    let hosts_canary = format!("canary-{}", random_word()?);
    let host = template(&folders.scratch.join("template"), &hosts_canary)?;
    let collector = context::Collector::open(&host.join("repo"), &folders.scratch)?;
    let place = Place {
        hostile: std::env::current_exe()?,
        scratch: folders.scratch.join("scenes"),
        sockets: folders.sockets.clone(),
        left_open: LeftOpen::open(&host.join(".env"))?,
        template: host,
        canary: hosts_canary,
        own_canary: canary.to_string(),
        accepted: context.settings.accepted_downgrades.clone(),
    };
    let cells = context.recorder.world().cells.clone();
    let ground = Ground::prepare(cells.as_ref(), collector.engine(), place)?;
    let shown = ground.prove();
    let attempts = list::all();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let at_once = at_once.clamp(AT_ONCE_MIN, AT_ONCE_MAX);
    let done = AtomicUsize::new(0);
    let rows = ground.run(&attempts, None, at_once, &|row| {
        progress(&done, attempts.len(), row);
    });
    Ok(Record {
        format: FORMAT.to_string(),
        version: boundary::VERSION.to_string(),
        kernel: boundary::kernel(),
        walls: walls(probed),
        accepted: context.settings.accepted_downgrades.clone(),
        attempts: rows.iter().map(attacks::record::Line::of).collect(),
        oracles: oracles(shown),
        millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Tells how far it is, where somebody looks.
fn progress(done: &AtomicUsize, all: usize, row: &Row) {
    /// How often.
    const EVERY: usize = 25;
    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
    if std::io::stderr().is_terminal() && done.is_multiple_of(EVERY) && row.is_held() {
        let told = format!("{done} of {all} attempts made");
        terminal::say(styled(&told, DIM));
    }
}

fn show(record: &Record) {
    let mut table = Table::new(&["GROUP", "A HOSTILE AGENT", "STOPPED", "NOT", "NOT HERE"]);
    let count = |it: usize| {
        if it == 0 {
            String::new()
        } else {
            it.to_string()
        }
    };
    for group in record.groups() {
        table.row([
            group.name.into(),
            group.told.into(),
            Cell::styled(group.stopped.to_string(), GOOD),
            Cell::styled(count(group.failed), BAD),
            Cell::styled(count(group.not_here), DIM),
        ]);
    }
    table.print(0);
    for line in record.attempts.iter().filter(|it| it.failed()) {
        terminal::data(format_args!(
            "{} {} {}",
            styled("NOT STOPPED", BAD),
            line.id,
            line.told
        ));
        let seen = match &line.outcome {
            Verdict::Breached(seen) => seen.clone(),
            Verdict::Untried(why) | Verdict::NotHere(why) => vec![why.clone()],
            Verdict::Stopped => Vec::new(),
        };
        for seen in seen {
            terminal::data(format_args!("  {}", terminal::printable(&seen)));
        }
        let said = terminal::printable(&line.said);
        terminal::data(format_args!("  the program said: {said}"));
    }
    for (oracle, why) in record.oracles.iter().filter(|(_, why)| !why.is_empty()) {
        terminal::data(format_args!("{} `{oracle}`: {why}", styled("BLIND", BAD)));
    }
    let shown = record.oracles.values().filter(|it| it.is_empty()).count();
    terminal::say(format!(
        "{} attempts on kernel {}: {} not stopped; {shown} of {} oracles shown to see; {}.{} s",
        record.made(),
        record.kernel,
        record.failed(),
        record.oracles.len(),
        record.millis / 1_000,
        record.millis % 1_000 / 100,
    ));
}
