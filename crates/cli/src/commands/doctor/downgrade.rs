//! Downgrades: the operator accepts, on record, that a wall is missing on this machine, or accepts
//! it no longer.

use domain::machine::{Command, Downgrade};

use crate::boundary;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Accepts what is missing, as far as it can be accepted at all.
pub(super) fn accept(context: &Context, reason: &str) -> Outcome {
    let (walls, cannot) = boundary::missing(&context.recorder.world().cells.probe());
    if !cannot.is_empty() {
        let told = format!(
            "these walls have no second one behind them and cannot be accepted to be missing:\n  {}",
            cannot.join("\n  ")
        );
        return Err(Failure::new(Exit::Unsupported, told));
    }
    let command = Command::Accept(Downgrade {
        kernel: boundary::kernel(),
        walls,
        by: context.settings.operator.clone(),
        reason: reason.to_string(),
        at: context.recorder.world().clock.now(),
    });
    let machine = context.recorder.on_machine(&command)?;
    boundary::say_downgrade(&machine);
    terminal::say(
        "on record; it holds for this kernel until `palisade doctor --withdraw-downgrade`",
    );
    Ok(Exit::Done)
}

/// Accepts it no longer.
pub(super) fn withdraw(context: &Context) -> Outcome {
    let by = context.settings.operator.clone();
    context.recorder.on_machine(&Command::Withdraw { by })?;
    terminal::say("withdrawn; a machine that lacks a wall runs nothing again");
    Ok(Exit::Done)
}
