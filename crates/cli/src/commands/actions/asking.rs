//! Asking the executor: what it can do, and for what was approved.

use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use domain::ActionId;
use domain::action::State;
use engine::actions;
use serde_json::{Value, json};

use super::{one, tell};
use crate::commands::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal::{self, BOLD, printable};

/// How long it takes until an action that is under way is looked at again.
const LOOK: Duration = Duration::from_millis(200);

/// How long a command waits for what was approved, in seconds, unless it is told otherwise.
pub(crate) const WAIT_SECONDS: u64 = 60;

/// Ask the executor for what was approved and is due
///
/// Every engine does so as well while it runs. What the executor has answered is not asked for again;
/// sent twice, a request is done once.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Identifiers, or the ends of them; all that are due, if there is none.
    #[arg(value_name = "ACTION")]
    actions: Vec<String>,
    /// Seconds to wait for answers.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_SECONDS)]
    wait: u64,
}

pub(crate) fn run(common: &Common, context: &Context, args: &Args) -> Outcome {
    let ids: Result<Vec<_>, Failure> = args
        .actions
        .iter()
        .map(|it| Ok(one(context, it)?.id))
        .collect();
    let mut ids = ids?;
    if ids.is_empty() {
        let board = context.board()?;
        let asked = |(_, state): &(&ActionId, &State)| {
            matches!(state, State::Permitted(..) | State::Dispatched(..))
        };
        ids = board
            .actions
            .iter()
            .filter(asked)
            .map(|(id, _)| *id)
            .collect();
    }
    settle(context, &ids, Duration::from_secs(args.wait))?;
    tell(common, context, &ids)
}

/// Has the executor do what is due of these actions, and waits for the answers as long as it is
/// there to give any.
pub(crate) fn settle(
    context: &Context,
    ids: &[ActionId],
    patience: Duration,
) -> Result<(), Failure> {
    let recorder = &context.recorder;
    actions::executor(recorder)?;
    let began = Instant::now();
    loop {
        let board = context.board()?;
        let due = actions::due(recorder, &board)?;
        for task in due.into_iter().filter(|it| ids.contains(&it.action())) {
            actions::carry_out(recorder, task)?;
        }
        let under_way = |id: &&ActionId| match recorder.action(**id) {
            Ok(State::Permitted(..)) => true,
            // Who was not there is not waited for; who fell silent may be at it.
            Ok(State::Dispatched(_, _, attempt)) => attempt.failed == 0 || attempt.is_unclear,
            Ok(
                State::Absent
                | State::Proposed(_)
                | State::Settled(..)
                | State::Denied(..)
                | State::Withdrawn(..)
                | State::Expired(..),
            )
            | Err(_) => false,
        };
        if ids.iter().find(under_way).is_none() || began.elapsed() >= patience {
            return Ok(());
        }
        thread::park_timeout(LOOK);
    }
}

/// Lists what the executor can be asked for.
pub(crate) fn describe(common: &Common, context: &Context) -> Outcome {
    let told = actions::executor(&context.recorder)?
        .describe()
        .map_err(engine::Error::Executor)?;
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    if common.json {
        let listed: Vec<_> = told
            .actions
            .iter()
            .map(|it| {
                json!({
                    "name": it.name, "lane": it.lane, "needs": it.needs,
                    "arguments": schema(&it.arguments),
                })
            })
            .collect();
        terminal::json(&json!({
            "policy": told.policy, "target": told.target, "requester": told.requester,
            "actions": listed,
        }))?;
        return Ok(Exit::Done);
    }
    for it in &told.actions {
        let name = terminal::styled(&printable(&it.name), BOLD);
        terminal::data(format!("{name} (needs a {})", it.needs.name()));
        let schema = schema(&it.arguments);
        let fields = schema.get("properties").and_then(Value::as_object);
        for (field, form) in fields.into_iter().flatten() {
            let line = format!("  {field}: {form}");
            terminal::data(printable(&line));
        }
    }
    let (target, policy) = (&told.target, told.policy.short());
    terminal::say(format!(
        "target {target}, policy {policy}, asked as {}",
        told.requester
    ));
    Ok(Exit::Done)
}
