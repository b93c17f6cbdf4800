//! The part of `palisade admin sweep` that looks after artifacts.

use engine::collection::{self, GRACE, Intent};
use serde::Serialize;

use crate::context::{self, Context};
use crate::exit::Failure;
use crate::moment::{bytes, counted};
use crate::terminal;

/// What was done with artifacts that nothing reaches.
#[derive(Debug, Serialize)]
pub(super) struct Swept {
    /// Whether they were only counted.
    dry_run: bool,
    #[serde(flatten)]
    outcome: collection::Outcome,
}

/// Removes the artifacts that the log does not reach, or counts them.
pub(super) fn sweep(context: &Context, intent: Intent) -> Result<Swept, Failure> {
    let store = context::collector(&context.place.state)?;
    let log = context.recorder.world().log.as_ref();
    let outcome = collection::collect(log, store.as_ref(), GRACE, intent)?;
    Ok(Swept {
        dry_run: intent == Intent::Count,
        outcome,
    })
}

impl Swept {
    /// Says it to a person.
    pub(super) fn tell(&self) {
        let count = usize::try_from(self.outcome.artifacts).unwrap_or(usize::MAX);
        let verb = if self.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        let what = format!(
            "artifacts: {} of {} {verb}",
            counted(count, "artifact"),
            bytes(self.outcome.bytes)
        );
        terminal::data(what);
        terminal::say(format!(
            "the log reaches {} digests; what is younger than a day stays as well",
            self.outcome.reached
        ));
    }
}
