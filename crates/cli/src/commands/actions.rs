//! `palisade actions`: what is done beyond commits, from proposal to receipt.

use clap::{Parser, Subcommand};
use domain::ActionId;
use engine::actions;
use engine::views::actions::{Line, all};

use super::Common;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::{naming, terminal};

pub(crate) mod approving;
pub(crate) mod asking;
mod granting;
mod proposing;
pub(crate) mod showing;

/// What is done beyond commits: proposed, approved by you, executed once, with a receipt
///
/// Agents and you propose; you approve, with a key of yours (`palisade keys`); the executor, another
/// program that holds the credentials, does it. Without a verb, lists what is open and the last ones
/// that are over.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List actions: those that are open, and the last ten that are over
    List {
        /// List all that are over, too.
        #[arg(long)]
        all: bool,
    },
    /// Show one with all that is known of it
    Show {
        /// Its identifier, or the end of it.
        #[arg(value_name = "ACTION")]
        action: String,
    },
    /// List what the executor can be asked for, and with which arguments
    Describe,
    Propose(proposing::Args),
    Approve(approving::Args),
    /// Say no
    Deny {
        /// Their identifiers, or the ends of them.
        #[arg(value_name = "ACTION", required = true)]
        actions: Vec<String>,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take back what the executor was not asked for yet
    Withdraw {
        /// Its identifier, or the end of it.
        #[arg(value_name = "ACTION")]
        action: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    Dispatch(asking::Args),
    /// Show receipts; one that nobody could say anything about is asked for again
    Receipts {
        /// An action's identifier, or the end of it.
        #[arg(value_name = "ACTION")]
        action: Option<String>,
    },
    Grant(granting::Args),
    Grants(granting::GrantsArgs),
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    match &args.verb {
        None => showing::list(common, &context, false),
        Some(Verb::List { all }) => showing::list(common, &context, *all),
        Some(Verb::Show { action }) => {
            let line = one(&context, action)?;
            showing::show(common, &context, &line)
        }
        Some(Verb::Describe) => asking::describe(common, &context),
        Some(Verb::Propose(args)) => proposing::run(common, &context, args),
        Some(Verb::Approve(args)) => approving::run(common, &context, args),
        Some(Verb::Deny { actions, reason }) => deny(common, &context, actions, reason),
        Some(Verb::Withdraw { action, reason }) => {
            let id = one(&context, action)?.id;
            actions::withdraw(&context.recorder, id, reason)?;
            tell(common, &context, &[id])
        }
        Some(Verb::Dispatch(args)) => asking::run(common, &context, args),
        Some(Verb::Receipts { action }) => match action {
            Some(action) => {
                let id = one(&context, action)?.id;
                actions::look_again(&context.recorder, id)?;
                showing::receipts(common, &context, &[id])
            }
            None => showing::receipts(common, &context, &[]),
        },
        Some(Verb::Grant(args)) => granting::grant(common, &context, args),
        Some(Verb::Grants(args)) => granting::grants(common, &context, args),
    }
}

fn deny(common: &Common, context: &Context, names: &[String], reason: &str) -> Outcome {
    let lines = several(context, names)?;
    for line in &lines {
        actions::deny(&context.recorder, line.id, reason)?;
    }
    let ids: Vec<_> = lines.iter().map(|it| it.id).collect();
    tell(common, context, &ids)
}

/// Returns the action that a text names.
pub(crate) fn one(context: &Context, text: &str) -> Result<Line, Failure> {
    let lines = all(&context.board()?, &context.settings.operator);
    let ids = lines.iter().map(|it| it.id);
    let id = naming::find(ids, text, "action", "palisade actions list --all")?;
    let mut lines = lines.into_iter();
    let line = lines.find(|it| it.id == id);
    line.ok_or_else(|| Failure::usage(format!("there is no action `{text}`")))
}

/// Returns the actions that texts name.
fn several(context: &Context, names: &[String]) -> Result<Vec<Line>, Failure> {
    names.iter().map(|it| one(context, it)).collect()
}

/// Returns the lines of these actions as they are now.
pub(crate) fn lines(context: &Context, ids: &[ActionId]) -> Result<Vec<Line>, Failure> {
    let mut lines = all(&context.board()?, &context.settings.operator);
    lines.retain(|it| ids.contains(&it.id));
    Ok(lines)
}

/// Tells how these actions stand.
pub(crate) fn tell(common: &Common, context: &Context, ids: &[ActionId]) -> Outcome {
    let lines = lines(context, ids)?;
    if common.json {
        let told: Result<Vec<_>, Failure> = lines
            .iter()
            .map(|it| showing::with_receipt(context, it))
            .collect();
        terminal::json(&told?)?;
    } else {
        for line in &lines {
            showing::sentence(context, line)?;
        }
    }
    Ok(showing::exit(&lines))
}

/// Returns the exit code of what only waits.
pub(crate) const WAITS: Exit = Exit::InputRequired;
