//! `palisade actions approve`: sign a permit for exactly one call, keep it, and have it used.

use std::time::Duration;

use clap::Parser;
use domain::action::{self, Approval as Given, Paper, Proposal};
use domain::{ActionId, PermitId};
use engine::actions;
use engine::views::actions::Line;
use ports::executor::Description;
use wire::execution::approval::{Open, Version};
use wire::execution::{Approval, Kind, Permit};

use super::asking::{WAIT_SECONDS, settle};
use super::{several, showing, tell};
use crate::commands::{Common, keys};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::keys::Keys;
use crate::moment;
use crate::terminal;

/// Approve actions with your key
///
/// A permit is for this one action with these very arguments, is used once, and expires. What was
/// approved is asked for at once; an executor that is away is asked again by every engine until the
/// permit expires.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Their identifiers, or the ends of them.
    #[arg(value_name = "ACTION", required = true)]
    actions: Vec<String>,
    /// How long the permit counts, such as 30m or 2h.
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    within: String,
    /// The key that signs, by its identifier or the end of it; your newest, if none is named.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only sign and record it; `palisade resume` or `palisade actions dispatch` asks the executor.
    #[arg(long)]
    no_dispatch: bool,
}

pub(crate) fn run(common: &Common, context: &Context, args: &Args) -> Outcome {
    let lines = several(context, &args.actions)?;
    for line in &lines {
        if !common.json {
            showing::print(line);
        }
        approve(context, line, &args.within, args.key.as_deref())?;
    }
    let ids: Vec<_> = lines.iter().map(|it| it.id).collect();
    if !args.no_dispatch {
        settle(context, &ids, Duration::from_secs(WAIT_SECONDS))?;
    }
    tell(common, context, &ids)
}

/// Signs a permit for an action and records the approval.
pub(crate) fn approve(
    context: &Context,
    line: &Line,
    within: &str,
    key: Option<&str>,
) -> Result<(), Failure> {
    if !line.blocks.is_empty() {
        let text = format!("it is blocked: {}", line.blocks.join("; "));
        return Err(Failure::new(Exit::Refused, text));
    }
    let state = context.recorder.action(line.id)?;
    let action::State::Proposed(proposal) = &state else {
        let text = format!("{} is {}, and waits for no approval", line.id, state.name());
        return Err(Failure::new(Exit::Refused, text));
    };
    let told = describe(context, &proposal.name)?;
    let given = sign(context, line.id, proposal, &told, (within, key))?;
    actions::approve(&context.recorder, line.id, &given)?;
    Ok(())
}

/// Asks the executor what it is like, and whether it can do this.
pub(crate) fn describe(context: &Context, name: &str) -> Result<Description, Failure> {
    let told = actions::executor(&context.recorder)?
        .describe()
        .map_err(engine::Error::Executor)?;
    if told.action(name).is_none() {
        let text = format!("this executor is not configured for `{name}`");
        return Err(Failure::new(Exit::Refused, text));
    }
    Ok(told)
}

/// Returns the operator's keys, away from the repository.
pub(crate) fn keyring(context: &Context) -> Result<Keys, Failure> {
    let config = context.place.environment.config.as_deref();
    Ok(Keys::within(config, Some(&context.place.root))?)
}

fn sign(
    context: &Context,
    id: ActionId,
    proposal: &Proposal,
    told: &Description,
    (within, key): (&str, Option<&str>),
) -> Result<Given, Failure> {
    let operator = &context.settings.operator;
    let keyring = keyring(context)?;
    let key = keys::chosen(&keyring, operator, key)?;
    if key.principal != *operator {
        let text = format!(
            "{} is the key of {}, and you are {operator}",
            key.id, key.principal
        );
        return Err(Failure::new(Exit::Refused, text));
    }
    let world = context.recorder.world();
    let now = world.clock.now();
    let expires = now.after(moment::span(within).map_err(Failure::usage)?);
    let facts = actions::facts(&context.recorder, proposal)?;
    let unknown = || Failure::usage(format!("`{}` is no action of this version", proposal.name));
    let permit_id = PermitId::from_bits(context.recorder.fresh());
    let permit = Permit {
        version: Version::One,
        permit_id,
        action: Kind::named(&proposal.name).ok_or_else(unknown)?,
        arguments: proposal.digest,
        subject: proposal.subject.clone(),
        lane: proposal.lane,
        target: told.target.parse()?,
        policy: told.policy,
        author: proposal.authors.first().cloned().unwrap_or_default(),
        requester: told.requester.clone(),
        approver: operator.clone(),
        open: Open {
            p0: facts.open.p0,
            p1: facts.open.p1,
        },
        not_before: now,
        expires,
    };
    let given = |envelope| Given {
        by: operator.clone(),
        paper: Paper::Permit(permit_id),
        envelope,
        policy: told.policy,
        target: told.target.clone(),
        requester: told.requester.clone(),
        at: now,
        expires,
    };
    // What the rules hold is not even signed.
    let held = action::blocks(proposal, &given(domain::Digest::ZERO), &facts);
    if !held.is_empty() {
        return Err(engine::Error::Action(action::Refusal::Blocked(held)).into());
    }
    let sealed = Approval::Permit(permit).seal(&keyring.signing(&key.id)?);
    let text = serde_json::to_string(&sealed)?;
    let envelope = world.artifacts.put(text.as_bytes())?;
    terminal::say(format!("{id}: {permit_id} signed with {}", key.id));
    Ok(given(envelope))
}
