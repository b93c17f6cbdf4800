//! Looking: what is written to the layer, and when it is kept as a checkpoint.

use std::time::Instant;

use domain::CheckpointId;
use domain::agent::EndReason;
use domain::allowance::Used;
use domain::case::{Case, Command};
use domain::checkpoint::{self, Trigger};
use domain::session;
use ports::cells::Cell;
use ports::workspaces::Stamp;

use super::super::checkpoint::services::{self, CHECKPOINTER, STORE, WATCHDOG};
use super::super::checkpoint::{self as taking, Unjudged};
use super::{LOOK_SHARE, Seen, Watchdog};
use crate::recorder::Error;

impl Watchdog<'_> {
    /// Returns why a checkpoint is due, if one is, and under which identifier.
    pub(super) fn due(
        &self,
        case: &Case,
        seen: &mut Seen,
    ) -> Result<Option<(Trigger, CheckpointId)>, Error> {
        let fresh = || CheckpointId::from_bits(self.bench.recorder.fresh());
        let asked = case.checkpoints.iter().find(
            |(_, state)| matches!(state, checkpoint::State::Requested(it) if it.session == self.id),
        );
        let now = Instant::now();
        if now < seen.look_again && asked.is_none() {
            return Ok(None);
        }
        let Some(stamp) = self.stamp(seen)? else {
            return Ok(None);
        };
        seen.look_again = now + now.elapsed() * LOOK_SHARE;
        if seen.stamp != Some(stamp) {
            seen.stamp = Some(stamp);
            seen.changed = now;
            seen.pulse.moves(now);
        }
        if let Some(batches) = &mut seen.batches
            && let Some(batch) = batches.take(stamp, now)
        {
            self.submit(|| vec![Command::Session(self.id, session::Command::Write(batch))])?;
        }
        if let Some(detail) = self.over(case, stamp) {
            self.end_with(EndReason::OverBudget { detail });
            return Ok(None);
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

    /// Returns what of the work's allowance is used up, with what the layer holds now.
    fn over(&self, case: &Case, stamp: Stamp) -> Option<String> {
        let opened = self.opened.map_or((0, 0), |it| (it.bytes, it.entries));
        let bytes = stamp.bytes.saturating_sub(opened.0);
        let files = stamp.entries.saturating_sub(opened.1);
        let used = self.caches.and(bytes, files);
        let recorded = Used::of(case);
        let all = Used {
            output_bytes: recorded.output_bytes,
            ..recorded.and(used.disk_bytes, used.files)
        };
        all.over(&self.bench.settings.allowance)
    }

    /// Looks at the layer, if looking is not left alone. The session goes on when that fails, and
    /// the next look tries again; when it fails again and again, the session stands still.
    fn stamp(&self, seen: &mut Seen) -> Result<Option<Stamp>, Error> {
        if seen.is_blind && !self.user().attempt(WATCHDOG)? {
            return Ok(None);
        }
        match self.bench.recorder.world().workspaces.look(self.id) {
            Ok(stamp) => {
                if std::mem::take(&mut seen.is_blind) {
                    self.user().works(WATCHDOG)?;
                }
                Ok(Some(stamp))
            }
            Err(error) => {
                seen.is_blind = true;
                self.user().fails(WATCHDOG, &error)?;
                Ok(None)
            }
        }
    }

    /// Takes a checkpoint while the cell stands still, and judges it when it moves again.
    pub(super) fn take(
        &self,
        cell: &dyn Cell,
        seen: &mut Seen,
        trigger: Trigger,
        id: CheckpointId,
    ) -> Result<(), Error> {
        let user = self.user();
        if !user.attempt(CHECKPOINTER)? {
            return Ok(());
        }
        if !user.attempt(STORE)? {
            return user.gives_up(CHECKPOINTER);
        }
        let began = Instant::now();
        let stands = seen.paused.is_some();
        // A cell that has ended meanwhile is captured by the end of its session.
        if !stands && cell.pause().is_err() {
            user.gives_up(CHECKPOINTER)?;
            return user.gives_up(STORE);
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
                user.works(CHECKPOINTER)?;
                user.works(STORE)?;
                captured
            }
            Err(error) => {
                let failed = services::failed(&error);
                user.fails(failed, &error)?;
                return user.gives_up(if failed == STORE { CHECKPOINTER } else { STORE });
            }
        };
        seen.captured = stamp.ok().or(seen.stamp);
        if captured.tree.digest == seen.tree && trigger != Trigger::Manual {
            return Ok(());
        }
        seen.tree = captured.tree.digest;
        let is_busy = seen.unjudged.as_ref().is_some_and(Unjudged::is_under_way);
        let unjudged = taking::record(
            user,
            &taking::Taken {
                about: self.about,
                id,
                trigger,
                captured,
                held,
            },
            is_busy,
        )?;
        // The latest is what counts, unless the validator is at an earlier one.
        if !is_busy {
            seen.unjudged = unjudged;
        }
        Ok(())
    }
}
