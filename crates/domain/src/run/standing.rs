//! Where a run stands: what its steps, and whoever decides about them, ask of it.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Active, Activity, Event, Refusal, Run, State, Status};
use crate::formula::Kind;
use crate::rollback::Rollback;

impl Status {
    /// Returns the status's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active(_) => "active",
            Self::Passed(_) => "passed",
            Self::Failed(..) => "failed",
        }
    }
}

impl State {
    /// Returns the run and its progress, going on or over.
    #[must_use]
    pub const fn record(&self) -> Option<&Active> {
        match self {
            Self::Absent => None,
            Self::Active(active) | Self::Ended(active, _) => Some(active),
        }
    }
}

impl Run {
    /// Returns the gates that a step runs: those it names, or all; none for other kinds of step.
    #[must_use]
    pub fn gates_of(&self, kind: &Kind) -> Vec<String> {
        match kind {
            Kind::Gate { gates } if gates.is_empty() => {
                self.gates.iter().map(|it| it.name.clone()).collect()
            }
            Kind::Gate { gates } => gates.clone(),
            Kind::Session { .. } | Kind::Judge(_) | Kind::Decision | Kind::Action { .. } => {
                Vec::new()
            }
        }
    }
}

impl Active {
    /// Returns the step under way and what is done for it.
    #[must_use]
    pub fn current(&self) -> Option<(&str, Activity)> {
        self.steps
            .iter()
            .find_map(|(id, progress)| match progress.status {
                Status::Active(activity) => Some((id.as_str(), activity)),
                Status::Waiting | Status::Passed(_) | Status::Failed(..) => None,
            })
    }

    /// Returns the first step that could begin: it waits, and all it needs has passed.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        let ready = |needs: &[String]| needs.iter().all(|it| self.has_passed(it));
        let steps = &self.run.formula.steps;
        let next = steps
            .iter()
            .find(|it| self.status(&it.id) == &Status::Waiting && ready(&it.needs));
        next.map(|it| it.id.as_str())
    }

    /// Returns where a step stands.
    #[must_use]
    pub fn status(&self, step: &str) -> &Status {
        self.steps
            .get(step)
            .map_or(&Status::Waiting, |it| &it.status)
    }

    /// Returns whether a step has passed.
    #[must_use]
    pub fn has_passed(&self, step: &str) -> bool {
        matches!(self.status(step), Status::Passed(_))
    }

    pub(super) fn expect_active(&self, step: &str) -> Result<(), Refusal> {
        match self.status(step) {
            Status::Active(_) => Ok(()),
            other @ (Status::Waiting | Status::Passed(_) | Status::Failed(..)) => {
                Err(Refusal::NotNow {
                    step: step.into(),
                    status: other.name(),
                })
            }
        }
    }

    /// A session or a gate cannot be recalled by a note in the log: it is waited for, else two
    /// would work on one tree.
    pub(super) fn expect_idle(&self) -> Result<(), Refusal> {
        match self.current() {
            Some((busy, Activity::Session { .. } | Activity::Gates)) => {
                Err(Refusal::Busy(busy.into()))
            }
            Some((_, Activity::Decision { .. } | Activity::Landing { .. })) | None => Ok(()),
        }
    }

    pub(super) fn can_send_back(&self, to: &str) -> Result<(), Refusal> {
        if self.run.formula.step(to).is_none() {
            return Err(Refusal::NoSuchStep(to.into()));
        }
        self.expect_idle()?;
        // The target may hold the change already; only what was read there may reopen it.
        match self.current() {
            Some((busy, Activity::Landing { .. })) => Err(Refusal::Busy(busy.into())),
            Some((_, Activity::Session { .. } | Activity::Gates | Activity::Decision { .. }))
            | None => Ok(()),
        }
    }

    /// One rollback at a time, and none of what may be landed already.
    pub(super) fn admit_rollback(&self, wanted: Rollback) -> Result<Event, Refusal> {
        if let Some(pending) = &self.rollback {
            return Err(Refusal::RollbackPending(pending.why.clone()));
        }
        let acted = self
            .run
            .formula
            .steps
            .iter()
            .any(|it| matches!(it.kind, Kind::Action { .. }) && self.has_passed(&it.id));
        let acting = matches!(self.current(), Some((_, Activity::Landing { .. })));
        if acted || acting {
            return Err(Refusal::Landing);
        }
        Ok(Event::RollbackRequested(wanted))
    }

    pub(super) fn is_session(&self, step: &str) -> bool {
        let kind = self.run.formula.step(step).map(|it| &it.kind);
        matches!(kind, Some(Kind::Session { .. }))
    }

    pub(super) fn can_begin(&self, step: &str) -> Result<(), Refusal> {
        let known = self.run.formula.step(step);
        let known = known.ok_or_else(|| Refusal::NoSuchStep(step.into()))?;
        if let Some((busy, _)) = self.current() {
            return Err(Refusal::Busy(busy.into()));
        }
        let status = self.status(step);
        if *status != Status::Waiting {
            return Err(Refusal::NotNow {
                step: step.into(),
                status: status.name(),
            });
        }
        match known.needs.iter().find(|it| !self.has_passed(it)) {
            Some(need) => Err(Refusal::NotReady {
                step: step.into(),
                need: need.clone(),
            }),
            None => Ok(()),
        }
    }
}
