//! The watchdog of a session: looks at what the agent writes, takes checkpoints while the cell
//! stands still, tells the agent what it must know, and keeps pauses. Everything it does follows
//! from the log and the layer as they are, so a look that is missed changes nothing.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use domain::agent::EndReason;
use domain::case::{Case, Command};
use domain::checkpoint::{self, Trigger};
use domain::formula::Lane;
use domain::message::{self, Next};
use domain::session::{self, Pause, Session};
use domain::{CheckpointId, Digest, MessageId, SessionId, WorkId, conclude};
use ports::cells::Cell;
use ports::workspaces::Stamp;
use secrets::Watch;

use super::messages::Letters;
use super::{Bench, checkpoint as taking};
use crate::recorder::Error;

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
    letters: Letters,
}

impl<'a> Watchdog<'a> {
    /// Returns the watchdog of a session that is open and does not run yet, whose brief is at
    /// `brief`.
    ///
    /// # Errors
    /// When the layer that it is to watch cannot be looked at.
    pub fn new(
        bench: &'a Bench<'a>,
        work: WorkId,
        id: SessionId,
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
        Ok(())
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
        self.tell(&case, seen)?;
        if self.about.lane == Lane::ReadOnly || self.end().is_some() {
            return Ok(());
        }
        if let Some((trigger, id)) = self.due(&case, seen)? {
            self.take(cell, seen, trigger, id)?;
        }
        Ok(())
    }

    /// Brings the cell to where the log wants it.
    fn keep_pause(&self, case: &Case, cell: &dyn Cell, seen: &mut Seen) -> Result<(), Error> {
        match case.sessions.get(&self.id) {
            Some(session::State::Pausing(..)) => {
                if seen.paused.is_none() {
                    self.stand(cell)?;
                    seen.paused = Some(Instant::now());
                }
                self.submit(|| vec![Command::Session(self.id, session::Command::Stand)])
            }
            Some(session::State::Paused(_, pause)) => {
                let since = *seen.paused.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.patience(pause) {
                    let detail = format!("{}; nobody came", pause.why);
                    self.end_with(EndReason::Escalated { detail });
                }
                Ok(())
            }
            Some(session::State::Running(_)) => {
                if seen.paused.take().is_some() {
                    self.go_on(cell)?;
                }
                Ok(())
            }
            Some(
                session::State::Absent
                | session::State::Requested(_)
                | session::State::Starting(_)
                | session::State::Ended(..),
            )
            | None => Ok(()),
        }
    }

    /// An operator may take a long time over something that an operator has stopped.
    fn patience(&self, pause: &Pause) -> Duration {
        let checkpoints = &self.bench.settings.checkpoints;
        if pause.by == conclude::ENGINE {
            checkpoints.escalation
        } else {
            checkpoints.pause
        }
    }

    fn stand(&self, cell: &dyn Cell) -> Result<(), Error> {
        cell.pause()
            .map_err(|error| Error::Fault(format!("session {} cannot be paused: {error}", self.id)))
    }

    fn go_on(&self, cell: &dyn Cell) -> Result<(), Error> {
        cell.resume()
            .map_err(|error| Error::Fault(format!("session {} cannot go on: {error}", self.id)))
    }

    fn tell(&self, case: &Case, seen: &mut Seen) -> Result<(), Error> {
        let now = self.bench.recorder.world().clock.now();
        let mine = |it: &message::State| it.message().is_some_and(|it| it.session == self.id);
        for (id, state) in case.messages.iter().filter(|(_, it)| mine(it)) {
            match state.next(now) {
                // Whoever stands still cannot answer.
                Next::Escalate if seen.paused.is_some() => {}
                Next::Nothing => {}
                Next::Deliver => self.submit(|| {
                    let deliver = message::Command::Deliver { at: now };
                    vec![Command::Message(*id, deliver)]
                })?,
                Next::Escalate => self.submit(|| self.escalate(*id))?,
            }
        }
        let case = self.bench.recorder.load(self.work)?;
        let mine = case.messages.iter().filter(|(_, it)| mine(it));
        seen.letters.write(mine)
    }

    fn escalate(&self, id: MessageId) -> Vec<Command> {
        let by = conclude::ENGINE.to_string();
        let why = format!("message {id} was not acknowledged");
        vec![
            Command::Message(id, message::Command::Escalate),
            Command::Session(self.id, session::Command::Pause(Pause { by, why })),
        ]
    }

    /// Returns why a checkpoint is due, if one is, and under which identifier.
    fn due(&self, case: &Case, seen: &mut Seen) -> Result<Option<(Trigger, CheckpointId)>, Error> {
        let fresh = || CheckpointId::from_bits(self.bench.recorder.fresh());
        let asked = case.checkpoints.iter().find(
            |(_, state)| matches!(state, checkpoint::State::Requested(it) if it.session == self.id),
        );
        let now = Instant::now();
        if now < seen.look_again && asked.is_none() {
            return Ok(None);
        }
        let stamp = self.bench.recorder.world().workspaces.look(self.id)?;
        seen.look_again = now + now.elapsed() * LOOK_SHARE;
        if seen.stamp != Some(stamp) {
            seen.stamp = Some(stamp);
            seen.changed = now;
        }
        if let Some((id, _)) = asked {
            return Ok(Some((Trigger::Manual, *id)));
        }
        if seen.captured == Some(stamp) {
            return Ok(None);
        }
        let settings = &self.bench.settings.checkpoints;
        let before = seen.captured.map_or(0, |it| it.bytes);
        let trigger = if now - seen.changed >= settings.quiet {
            Trigger::Quiet
        } else if stamp.bytes.saturating_sub(before) >= settings.bytes {
            Trigger::Size
        } else if now - seen.taken >= settings.interval {
            Trigger::Interval
        } else {
            return Ok(None);
        };
        Ok(Some((trigger, fresh())))
    }

    /// Takes a checkpoint while the cell stands still, and judges it when it moves again.
    fn take(
        &self,
        cell: &dyn Cell,
        seen: &mut Seen,
        trigger: Trigger,
        id: CheckpointId,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let stands = seen.paused.is_some();
        // A cell that has ended meanwhile is captured by the end of its session.
        if !stands && cell.pause().is_err() {
            return Ok(());
        }
        let workspaces = &self.bench.recorder.world().workspaces;
        let stamp = workspaces.look(self.id);
        // Nothing of it is kept before it is known to hold nothing that must not be seen.
        let captured = match self.bench.recapture(self.id, &self.watch) {
            Err(Error::Incident(detail)) => {
                self.end_with(EndReason::Incident { detail });
                return Ok(());
            }
            Ok(captured) => Ok(captured),
            Err(Error::Workspaces(error)) => Err(error),
            Err(error) => return Err(error),
        };
        if !stands {
            self.go_on(cell)?;
        }
        let held = began.elapsed();
        seen.taken = began;
        let captured = match captured {
            Ok(captured) => {
                taking::works(self.bench, taking::CHECKPOINTER)?;
                captured
            }
            Err(error) => return taking::fails(self.bench, taking::CHECKPOINTER, &error),
        };
        seen.captured = stamp.ok().or(seen.stamp);
        if captured.tree.digest == seen.tree && trigger != Trigger::Manual {
            return Ok(());
        }
        seen.tree = captured.tree.digest;
        taking::record(
            self.bench,
            &taking::Taken {
                work: self.work,
                session: self.id,
                about: self.about,
                id,
                trigger,
                captured,
                held,
            },
        )
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
