//! Pauses, kept: the cell stands and goes on as the log says, whatever its agent does about it.

use std::time::{Duration, Instant};

use domain::agent::EndReason;
use domain::case::{Case, Command};
use domain::conclude;
use domain::session::{self, Pause};
use ports::cells::Cell;

use super::{Seen, Watchdog};
use crate::recorder::Error;

impl Watchdog<'_> {
    /// Brings the cell to where the log wants it.
    pub(super) fn keep_pause(
        &self,
        case: &Case,
        cell: &dyn Cell,
        seen: &mut Seen,
    ) -> Result<(), Error> {
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

    pub(super) fn go_on(&self, cell: &dyn Cell) -> Result<(), Error> {
        cell.resume()
            .map_err(|error| Error::Fault(format!("session {} cannot go on: {error}", self.id)))
    }
}
