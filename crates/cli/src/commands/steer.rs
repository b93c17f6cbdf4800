//! What the commands share that steer a running session: an engine must be at work, and is waited
//! for.

use std::thread;
use std::time::Duration;

use domain::WorkId;
use domain::case::Case;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::lock;

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How many looks in a row must find no engine before it is taken for gone.
const LOOKS_ALONE_MAX: u32 = 10;

/// Refuses when no engine is at work: then no agent runs either, whatever the log last said.
pub(crate) fn check_engine(context: &Context) -> Result<(), Failure> {
    match lock::holder(&context.place.state) {
        Some(_) => Ok(()),
        None => Err(Failure::usage(
            "no engine is at work here, so no agent runs; `palisade resume` goes on with the works",
        )),
    }
}

/// Waits until a case says so; none when the engine that would bring it about is gone.
pub(crate) fn until<T>(
    context: &Context,
    work: WorkId,
    says: impl Fn(&Case) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let mut alone = 0;
    loop {
        if let Some(said) = says(&context.recorder.load(work)?) {
            return Ok(Some(said));
        }
        alone = match lock::holder(&context.place.state) {
            Some(_) => 0,
            None => alone + 1,
        };
        if alone >= LOOKS_ALONE_MAX {
            let told = "the engine at work here has ended; what was asked for is on record, and \
                        `palisade resume` goes on";
            return Err(Failure::new(Exit::Failed, told));
        }
        thread::park_timeout(LOOK);
    }
}
