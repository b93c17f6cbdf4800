//! The time a session has had: a clock that stands still while the cell is paused.
//!
//! Deadlines hold the agent to its work. A session that the operator paused over lunch has used
//! none of its time, so all deadlines are measured on this clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ports::cells::{Cell, Denied, Error, Exit, Wall};

/// The clock of one session.
#[derive(Debug)]
pub(crate) struct ActiveClock(Mutex<Hands>);

#[derive(Debug)]
struct Hands {
    started: Instant,
    paused_before: Duration,
    paused_since: Option<Instant>,
}

impl ActiveClock {
    /// Starts a clock now.
    pub(crate) fn start() -> Self {
        Self(Mutex::new(Hands {
            started: Instant::now(),
            paused_before: Duration::ZERO,
            paused_since: None,
        }))
    }

    /// Returns the time since the start, without the pauses.
    pub(crate) fn now(&self) -> Duration {
        self.hands().at(Instant::now())
    }

    /// Stands still from now on.
    pub(crate) fn pause(&self) {
        self.hands().pause(Instant::now());
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.hands().resume(Instant::now());
    }

    /// Tells whether it stands still.
    pub(crate) fn is_paused(&self) -> bool {
        self.hands().paused_since.is_some()
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn at(&self, now: Instant) -> Duration {
        let until = self.paused_since.unwrap_or(now);
        (until - self.started).saturating_sub(self.paused_before)
    }

    fn pause(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused_since.take() {
            self.paused_before += now - since;
        }
    }
}

/// A cell whose pauses stop the clock of its session: what the listener is handed.
#[derive(Debug)]
pub(crate) struct ClockedCell {
    cell: Arc<dyn Cell>,
    clock: Arc<ActiveClock>,
}

impl ClockedCell {
    /// Ties a cell to a clock.
    pub(crate) fn new(cell: Arc<dyn Cell>, clock: Arc<ActiveClock>) -> Self {
        Self { cell, clock }
    }
}

impl Cell for ClockedCell {
    fn wait(&self, patience: Duration) -> Result<Option<Exit>, Error> {
        self.cell.wait(patience)
    }

    fn kill(&self) -> Result<(), Error> {
        self.cell.kill()
    }

    fn pause(&self) -> Result<(), Error> {
        // First the clock: time in which the freezer is closing is not the agent's.
        self.clock.pause();
        self.cell.pause().inspect_err(|_| self.clock.resume())
    }

    fn resume(&self) -> Result<(), Error> {
        self.cell.resume()?;
        self.clock.resume();
        Ok(())
    }

    fn walls(&self) -> Vec<Wall> {
        self.cell.walls()
    }

    fn denied(&self) -> Vec<Denied> {
        self.cell.denied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count_however_often_they_are_asked_for() {
        let started = Instant::now();
        let at = |seconds| started + Duration::from_secs(seconds);
        let mut hands = Hands {
            started,
            paused_before: Duration::ZERO,
            paused_since: None,
        };
        assert_eq!(hands.at(at(2)).as_secs(), 2);
        hands.pause(at(3));
        hands.pause(at(4));
        assert_eq!(hands.at(at(9)).as_secs(), 3);
        hands.resume(at(10));
        hands.resume(at(11));
        assert_eq!(hands.at(at(11)).as_secs(), 4);
        hands.pause(at(12));
        hands.resume(at(20));
        assert_eq!(hands.at(at(21)).as_secs(), 6);
    }

    /// A cell whose switches work, or do not.
    #[derive(Debug)]
    struct Switch {
        works: bool,
    }

    impl Cell for Switch {
        fn wait(&self, _: Duration) -> Result<Option<Exit>, Error> {
            Ok(None)
        }

        fn kill(&self) -> Result<(), Error> {
            Ok(())
        }

        fn pause(&self) -> Result<(), Error> {
            let doing = "pausing".to_owned();
            let source = std::io::ErrorKind::Other.into();
            self.works.then_some(()).ok_or(Error::Io { doing, source })
        }

        fn resume(&self) -> Result<(), Error> {
            self.pause()
        }

        fn walls(&self) -> Vec<Wall> {
            Vec::new()
        }

        fn denied(&self) -> Vec<Denied> {
            Vec::new()
        }
    }

    #[test]
    fn the_clock_stands_while_the_cell_is_paused() {
        let clock = Arc::new(ActiveClock::start());
        let cell = ClockedCell::new(Arc::new(Switch { works: true }), Arc::clone(&clock));
        cell.pause().unwrap();
        assert_eq!(clock.now(), clock.now());
        cell.resume().unwrap();
        assert!(!clock.is_paused());
    }

    #[test]
    fn the_clock_follows_the_cell_when_a_switch_fails() {
        let clock = Arc::new(ActiveClock::start());
        let cell = ClockedCell::new(Arc::new(Switch { works: false }), Arc::clone(&clock));
        cell.pause().unwrap_err();
        assert!(!clock.is_paused());
        clock.pause();
        cell.resume().unwrap_err();
        assert!(clock.is_paused());
    }
}
