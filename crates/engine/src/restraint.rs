//! Restraint: while a service that sessions lean on is left alone by its breaker, no session is
//! started. Once it has rested, one session goes first; the others wait for what becomes of it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::breaker::State;

use crate::perform::checkpoint::services::SERVICES;
use crate::recorder::{Error, Recorder};
use crate::views::health::breaker_of;

/// How often the breakers are looked at while a session waits for them.
const LOOK: Duration = Duration::from_millis(100);

/// Who goes first.
#[derive(Debug, Default)]
pub(crate) struct Restraint {
    is_trying: Mutex<bool>,
    tried: Condvar,
}

/// The leave to start a session; dropping that of who goes first lets the next one try.
#[derive(Debug)]
pub(crate) struct Leave<'a>(Option<&'a Restraint>);

/// How the services stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// All can be relied on.
    Fine,
    /// One is left alone, or somebody is trying it.
    Resting,
    /// One was left alone long enough to be tried.
    Rested,
}

/// What is to become of a session that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It waits on.
    Wait,
    /// It need not wait.
    Go,
    /// It is not to start at all.
    GiveUp,
}

impl Leave<'_> {
    /// Returns the leave of what leans on no service.
    pub(crate) const fn unasked() -> Self {
        Self(None)
    }
}

impl Restraint {
    /// Returns a restraint that nobody waits for.
    pub(crate) const fn new() -> Self {
        Self {
            is_trying: Mutex::new(false),
            tried: Condvar::new(),
        }
    }

    /// Waits until a session may start, or as long as `word` says so; none when it is to be left.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn wait(
        &self,
        recorder: &Recorder,
        word: impl Fn() -> Result<Word, Error>,
    ) -> Result<Option<Leave<'_>>, Error> {
        loop {
            let standing = standing(recorder)?;
            if standing == Standing::Fine {
                return Ok(Some(Leave(None)));
            }
            match word()? {
                Word::Wait => {}
                Word::Go => return Ok(Some(Leave(None))),
                Word::GiveUp => return Ok(None),
            }
            let mut is_trying = self.is_trying();
            if standing == Standing::Rested && !*is_trying {
                *is_trying = true;
                return Ok(Some(Leave(Some(self))));
            }
            drop(
                self.tried
                    .wait_timeout(is_trying, LOOK)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    fn is_trying(&self) -> MutexGuard<'_, bool> {
        self.is_trying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(restraint) = self.0 {
            *restraint.is_trying() = false;
            restraint.tried.notify_all();
        }
    }
}

fn standing(recorder: &Recorder) -> Result<Standing, Error> {
    let world = recorder.world();
    let now = world.clock.now();
    let mut worst = Standing::Fine;
    for service in SERVICES {
        match breaker_of(world.log.as_ref(), service)? {
            State::Closed { .. } => {}
            State::HalfOpen { .. } => return Ok(Standing::Resting),
            // A clock that was set back must not keep it shut for ever.
            State::Open { since, rest, .. } if now >= since && now.since(since) < rest => {
                return Ok(Standing::Resting);
            }
            State::Open { .. } => worst = Standing::Rested,
        }
    }
    Ok(worst)
}
