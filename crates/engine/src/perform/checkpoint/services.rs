//! Services that vouch for checkpoints, each behind its breaker: one that failed three times in a row
//! is left alone, the session stands still for the operator to look, and goes on by itself once a
//! try shows that the service works again.

use domain::case::Command;
use domain::session::Pause;
use domain::{MessageId, SessionId, WorkId, breaker, conclude, message, session};
use ports::workspaces;

use crate::perform::Bench;
use crate::recorder::Error;
use crate::steering::note;

/// Captures what sessions leave.
pub const CHECKPOINTER: &str = "checkpointer";
/// Judges it.
pub const VALIDATOR: &str = "validator";
/// Keeps it.
pub const STORE: &str = "store";
/// Sees what sessions write.
pub const WATCHDOG: &str = "watchdog";

/// All services that have breakers.
pub const SERVICES: [&str; 4] = [CHECKPOINTER, VALIDATOR, STORE, WATCHDOG];

/// For whom a service is used.
#[derive(Clone, Copy)]
pub(in crate::perform) struct User<'a> {
    pub(in crate::perform) bench: &'a Bench<'a>,
    pub(in crate::perform) work: WorkId,
    pub(in crate::perform) session: SessionId,
}

impl User<'_> {
    /// Returns whether a service may be used: its breaker is closed, or this is the one try.
    pub(in crate::perform) fn attempt(self, service: &str) -> Result<bool, Error> {
        let recorder = self.bench.recorder;
        let now = recorder.world().clock.now();
        match recorder.breaker(service, &breaker::Command::Try { now }) {
            Ok(_) => Ok(true),
            Err(Error::Breaker { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that a session was captured and judged: what was left alone for long enough was tried.
    pub(in crate::perform) fn all_work(self) -> Result<(), Error> {
        for service in [CHECKPOINTER, STORE, VALIDATOR] {
            if self.attempt(service)? {
                self.works(service)?;
            }
        }
        Ok(())
    }

    /// Notes that a service worked. What stood still for it goes on.
    pub(in crate::perform) fn works(self, service: &str) -> Result<(), Error> {
        let recorder = self.bench.recorder;
        recorder.breaker(service, &breaker::Command::Succeed)?;
        let case = recorder.load(self.work)?;
        let state = case.sessions.get(&self.session);
        let is_held = state
            .and_then(session::State::pause)
            .is_some_and(|it| it.by == conclude::ENGINE && it.why.starts_with(&held_for(service)));
        if !is_held {
            return Ok(());
        }
        let by = conclude::ENGINE;
        let text = format!("The {service} works again. Go on.");
        let id = MessageId::from_bits(recorder.fresh());
        let resume = session::Command::Resume { by: by.to_string() };
        let whom = (self.work, self.session);
        self.submit(&resume, || {
            note(whom, id, message::Topic::Resume, text.clone(), by)
        })
    }

    /// Notes that a service failed. Once it is left alone, the session stands still.
    pub(in crate::perform) fn fails(
        self,
        service: &str,
        error: &dyn std::error::Error,
    ) -> Result<(), Error> {
        let recorder = self.bench.recorder;
        let (now, why) = (recorder.world().clock.now(), spelled(error));
        let fail = breaker::Command::Fail {
            why: why.clone(),
            now,
        };
        if recorder.breaker(service, &fail)?.is_closed() {
            return Ok(());
        }
        let by = conclude::ENGINE;
        let why = format!("{} ({why})", held_for(service));
        let id = MessageId::from_bits(recorder.fresh());
        let text = format!("You stand still from now on: {why}");
        let pause = session::Command::Pause(Pause {
            by: by.to_string(),
            why,
        });
        let whom = (self.work, self.session);
        self.submit(&pause, || {
            note(whom, id, message::Topic::Pause, text.clone(), by)
        })
    }

    /// Gives a try back that nobody has heard the end of.
    pub(in crate::perform) fn gives_up(self, service: &str) -> Result<(), Error> {
        give_up(self.bench.recorder, service, "the session was over before")
    }

    /// Records what becomes of the session, and tells it; nothing if it is so already.
    fn submit(self, command: &session::Command, told: impl Fn() -> Command) -> Result<(), Error> {
        let recorder = self.bench.recorder;
        let submitted = recorder.submit(self.work, None, |case| {
            let command = || Command::Session(self.session, command.clone());
            let changes = case.decide(command()).is_ok_and(|it| !it.is_empty());
            Ok(if changes {
                vec![command(), told()]
            } else {
                vec![]
            })
        });
        match submitted {
            Ok(_) | Err(Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Ends the try of a service that is being tried, as one that failed; else does nothing.
pub(crate) fn give_up(
    recorder: &crate::recorder::Recorder,
    service: &str,
    why: &str,
) -> Result<(), Error> {
    let state = crate::views::health::breaker_of(recorder.world().log.as_ref(), service)?;
    if !matches!(state, breaker::State::HalfOpen { .. }) {
        return Ok(());
    }
    let (now, why) = (recorder.world().clock.now(), why.to_string());
    let fail = breaker::Command::Fail { why, now };
    recorder.breaker(service, &fail).map(drop)
}

/// Returns which service a failure to capture is of.
pub(in crate::perform) const fn failed(error: &workspaces::Error) -> &'static str {
    match error {
        workspaces::Error::Artifacts { .. } | workspaces::Error::DiskFull { .. } => STORE,
        workspaces::Error::NotFound(_)
        | workspaces::Error::Unusable(_)
        | workspaces::Error::Secrets { .. }
        | workspaces::Error::Git { .. }
        | workspaces::Error::Io { .. } => CHECKPOINTER,
    }
}

fn held_for(service: &str) -> String {
    format!("the {service} fails again and again")
}

/// Returns an error's text with those of its causes.
fn spelled(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
