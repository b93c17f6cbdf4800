//! Deciding on actions, in the same sitting as on proposals.

use std::time::Duration;

use domain::ActionId;
use engine::actions;
use engine::views::actions::Line;
use serde::Serialize;

use super::{Args, Shown};
use crate::commands::Common;
use crate::commands::actions::asking::{WAIT_SECONDS, settle};
use crate::commands::actions::{approving, one, showing, tell};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// How long a permit counts that is given in a sitting.
const WITHIN: &str = "1h";

/// What waits for a decision, as programs read it: a proposal, or an action under that name.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Either<'a> {
    Proposal(&'a Shown),
    Action { action: &'a Line },
}

/// Returns both, in one list.
pub(super) fn both<'a>(shown: &'a [Shown], actions: &'a [Line]) -> Vec<Either<'a>> {
    let proposals = shown.iter().map(Either::Proposal);
    let actions = actions.iter().map(|action| Either::Action { action });
    proposals.chain(actions).collect()
}

/// Returns whether a text names an action rather than a work.
pub(super) fn names(text: &str) -> bool {
    text.parse::<ActionId>().is_ok()
}

/// Decides on the action that was named.
pub(super) fn decide_one(common: &Common, context: &Context, name: &str, args: &Args) -> Outcome {
    let line = one(context, name)?;
    if args.rework.is_some() {
        return Err(Failure::usage(
            "an action is approved or denied; propose another one",
        ));
    }
    if let Some(reason) = &args.reject {
        actions::deny(&context.recorder, line.id, reason)?;
        return tell(common, context, &[line.id]);
    }
    if args.approve {
        if !common.json {
            showing::print(&line);
        }
        // An identifier names exactly one action with exactly these arguments.
        approving::approve(context, &line, WITHIN, None)?;
        if !args.no_resume {
            settle(context, &[line.id], Duration::from_secs(WAIT_SECONDS))?;
        }
        return tell(common, context, &[line.id]);
    }
    decide_all(common, context, &[line])
}

/// Shows actions that wait and, on a terminal, asks.
pub(super) fn decide_all(common: &Common, context: &Context, lines: &[Line]) -> Outcome {
    if common.json {
        terminal::json(&both(&[], lines))?;
    } else if lines.is_empty() {
        terminal::say("no proposal waits for a decision");
    } else {
        offer(context, lines)?;
    }
    Ok(if lines.is_empty() {
        Exit::Done
    } else {
        Exit::InputRequired
    })
}

/// Shows actions and, on a terminal, asks for a verdict on each.
pub(super) fn offer(context: &Context, lines: &[Line]) -> Result<(), Failure> {
    for line in lines {
        showing::print(line);
        if terminal::is_interactive() {
            ask(context, line)?;
        }
    }
    Ok(())
}

fn ask(context: &Context, line: &Line) -> Result<(), Failure> {
    let may_approve = line.blocks.is_empty();
    let choices = if may_approve {
        "[a]pprove exactly this, [d]eny, [l]ater?"
    } else {
        "[d]eny, [l]ater?"
    };
    loop {
        let Some(answer) = terminal::ask(choices)? else {
            return Ok(());
        };
        match answer.trim() {
            "a" | "approve" if may_approve => {
                approving::approve(context, line, WITHIN, None)?;
                settle(context, &[line.id], Duration::from_secs(WAIT_SECONDS))?;
                break;
            }
            "d" | "deny" => {
                if let Some(reason) = terminal::ask("why?")?.filter(|it| !it.trim().is_empty()) {
                    actions::deny(&context.recorder, line.id, &reason)?;
                    break;
                }
            }
            "l" | "later" | "q" => return Ok(()),
            _ => {}
        }
    }
    for line in crate::commands::actions::lines(context, &[line.id])? {
        showing::sentence(context, &line)?;
    }
    Ok(())
}
