//! The watchdog of a session: looks at what the agent writes, takes checkpoints while the cell
//! stands still, tells the agent what it must know, and keeps pauses. Everything it does follows
//! from the log and the layer as they are, so a look that is missed changes nothing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use domain::agent::EndReason;
use domain::allowance::Used;
use domain::case::{Case, Command};
use domain::formula::Lane;
use domain::message::{Message, Topic};
use domain::session::{self, Session};
use domain::severity::Severity;
use domain::{Digest, Millis, SessionId, WorkId, conclude};
use ports::cells::Cell;
use ports::workspaces::Stamp;
use secrets::Watch;

use super::checkpoint::Unjudged;
use super::checkpoint::services::{User, VALIDATOR};
use super::messages::Letters;
use super::{Bench, allowance};
use crate::recorder::Error;
use news::News;
use pulse::{Batches, Finding, Pulse};

mod looking;
mod news;
mod pulse;
mod standing;
mod telling;

/// How often the watchdog looks, at the least. A look at an unchanged layer costs a stat for each of
/// its files.
const LOOK: Duration = Duration::from_millis(200);

/// How often at the most, where a shorter quiet period is set.
const LOOK_MIN: Duration = Duration::from_millis(5);

/// A look may take at most this share of the time: one part in so many.
const LOOK_SHARE: u32 = 20;

/// Watches over one session. Threads: the driver's hands over the cell, one of its own looks.
#[derive(Debug)]
pub struct Watchdog<'a> {
    bench: &'a Bench<'a>,
    work: WorkId,
    id: SessionId,
    about: &'a Session,
    brief: PathBuf,
    watch: Arc<Watch>,
    /// The writable layer before the agent ran, if there is one.
    opened: Option<Stamp>,
    /// What the work's caches held before the agent ran.
    caches: Used,
    /// What the brief says already.
    known: Mutex<News>,
    /// Signals heard so far.
    signals: AtomicU64,
    cell: OnceLock<Arc<dyn Cell>>,
    end: Mutex<Option<EndReason>>,
    over: Mutex<bool>,
    woken: Condvar,
}

/// What is remembered from look to look.
struct Seen {
    stamp: Option<Stamp>,
    changed: Instant,
    taken: Instant,
    /// The stamp of the last checkpoint.
    captured: Option<Stamp>,
    /// The tree of the last checkpoint.
    tree: Digest,
    look_again: Instant,
    paused: Option<Instant>,
    /// Whether the last look at the layer failed.
    is_blind: bool,
    unjudged: Option<Unjudged>,
    pulse: Pulse,
    batches: Option<Batches>,
    news: News,
    letters: Letters,
}

impl<'a> Watchdog<'a> {
    /// Returns the watchdog of a session that is open and does not run yet, whose brief is at
    /// `brief` and was written of `case`.
    ///
    /// # Errors
    /// When the layer that it is to watch cannot be looked at.
    pub fn new(
        bench: &'a Bench<'a>,
        case: &Case,
        (work, id): (WorkId, SessionId),
        about: &'a Session,
        brief: PathBuf,
        watch: Arc<Watch>,
    ) -> Result<Self, Error> {
        let opened = match about.lane {
            Lane::ReadOnly => None,
            Lane::DryRun | Lane::Execute => Some(bench.recorder.world().workspaces.look(id)?),
        };
        Ok(Self {
            bench,
            work,
            id,
            about,
            brief,
            watch,
            opened,
            caches: allowance::caches(bench, work)?,
            known: Mutex::new(News::known(case, id)),
            signals: AtomicU64::new(0),
            cell: OnceLock::new(),
            end: Mutex::default(),
            over: Mutex::default(),
            woken: Condvar::new(),
        })
    }

    /// Takes over the control of the running cell.
    pub fn cell(&self, cell: Arc<dyn Cell>) {
        // There is one cell; a second word about it changes nothing.
        drop(self.cell.set(cell));
    }

    /// Notes that the agent has signalled something.
    pub fn signalled(&self) {
        self.signals.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns why the session is to end, once it is.
    #[must_use]
    pub fn end(&self) -> Option<EndReason> {
        lock(&self.end).clone()
    }

    /// Returns a guard that ends the watch when it is dropped, whatever ended the session.
    #[must_use]
    pub const fn until_dropped(&'a self) -> Until<'a> {
        Until(self)
    }

    /// Watches until the session is over.
    ///
    /// # Errors
    /// When what is seen cannot be recorded: then the session ends as well.
    pub fn watch(&self) -> Result<(), Error> {
        let now = Instant::now();
        let mut seen = Seen {
            stamp: self.opened,
            changed: now,
            taken: now,
            captured: self.opened,
            tree: self.about.tree.digest,
            look_again: now,
            paused: None,
            is_blind: false,
            unjudged: None,
            pulse: Pulse::new(now),
            batches: self.opened.map(Batches::from),
            news: std::mem::take(&mut *lock(&self.known)),
            letters: Letters::beneath(&self.brief),
        };
        let pace = self.bench.settings.checkpoints.quiet;
        while !self.is_over_after(pace.clamp(LOOK_MIN, LOOK)) {
            if let Some(cell) = self.cell.get()
                && let Err(error) = self.look(cell.as_ref(), &mut seen)
            {
                self.end_with(EndReason::Stopped);
                return Err(error);
            }
        }
        self.look_last(&mut seen)
    }

    /// Puts on record what was written since the last look, and gives back what is being tried.
    fn look_last(&self, seen: &mut Seen) -> Result<(), Error> {
        if seen.unjudged.as_ref().is_some_and(Unjudged::is_under_way) {
            self.user().gives_up(VALIDATOR)?;
        }
        let Some(batches) = &mut seen.batches else {
            return Ok(());
        };
        // What cannot be looked at now is seen by the capture that follows, or is its failure.
        if let Ok(stamp) = self.bench.recorder.world().workspaces.look(self.id) {
            let whole = batches.take(stamp, Instant::now());
            let rest = batches.rest();
            for batch in [whole, rest].into_iter().flatten() {
                self.submit(|| vec![Command::Session(self.id, session::Command::Write(batch))])?;
            }
        }
        Ok(())
    }

    const fn user(&self) -> User<'_> {
        User {
            bench: self.bench,
            work: self.work,
            session: self.id,
        }
    }

    pub(super) fn is_over_after(&self, patience: Duration) -> bool {
        let over = lock(&self.over);
        let waited = self
            .woken
            .wait_timeout_while(over, patience, |over| !*over)
            .unwrap_or_else(PoisonError::into_inner);
        *waited.0
    }

    pub(super) fn end_with(&self, reason: EndReason) {
        lock(&self.end).get_or_insert(reason);
    }

    fn look(&self, cell: &dyn Cell, seen: &mut Seen) -> Result<(), Error> {
        let case = self.bench.recorder.load(self.work)?;
        if let Some(wanted) = case.active().and_then(|it| it.rollback.as_ref()) {
            let detail = wanted.why.clone();
            self.end_with(EndReason::RolledBack { detail });
        }
        self.keep_pause(&case, cell, seen)?;
        self.feel(seen)?;
        self.tell(&case, seen)?;
        if self.about.lane == Lane::ReadOnly || self.end().is_some() {
            return Ok(());
        }
        if let Some((trigger, id)) = self.due(&case, seen)? {
            self.take(cell, seen, trigger, id)?;
        }
        if let Some(unjudged) = &mut seen.unjudged
            && unjudged.try_again(self.user())?
        {
            seen.unjudged = None;
        }
        Ok(())
    }

    /// Tells an agent that gets nowhere, and ends its session when it still does not.
    fn feel(&self, seen: &mut Seen) -> Result<(), Error> {
        let now = Instant::now();
        if seen.paused.is_some() {
            seen.pulse.moves(now);
            return Ok(());
        }
        let stall = self.bench.settings.agent_limits.stall;
        let span = Millis(u64::try_from(stall.as_millis()).unwrap_or(u64::MAX));
        let heard = self.signals.load(Ordering::Relaxed);
        match seen.pulse.feel(now, heard, stall) {
            Finding::Fine => Ok(()),
            Finding::Warn => self.queue(&Message {
                work: self.work,
                session: self.id,
                topic: Topic::Notice,
                severity: Severity::Warning,
                text: format!(
                    "Nothing was heard of you but output, and nothing was written, for half of \
                     {span}. Say with a `progress` signal what you do, or your session ends."
                ),
                from: conclude::ENGINE.to_string(),
                acknowledge_within: None,
            }),
            Finding::Stalled => {
                let detail = format!("neither a signal nor a change of its tree for {span}");
                self.end_with(EndReason::Stalled { detail });
                Ok(())
            }
        }
    }

    /// Records what follows from what was seen. Where somebody else was faster it is refused, and
    /// the next look sees what is so now.
    fn submit(&self, commands: impl Fn() -> Vec<Command>) -> Result<(), Error> {
        let submitted = self
            .bench
            .recorder
            .submit(self.work, None, |_| Ok(commands()));
        match submitted {
            Ok(_) | Err(Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Ends a watch when it is dropped.
#[derive(Debug)]
pub struct Until<'a>(&'a Watchdog<'a>);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        *lock(&self.0.over) = true;
        self.0.woken.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
