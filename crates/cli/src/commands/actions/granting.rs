//! `palisade actions grant` and `grants`: standing approvals for actions that need no permit for each
//! call.

use std::collections::BTreeSet;

use clap::Parser;
use domain::{GrantId, grant};
use serde::Serialize;
use wire::execution::approval::Version;
use wire::execution::{Approval, Grant, Kind};

use super::approving::{describe, keyring};
use crate::commands::{Common, keys};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure, Outcome};
use crate::moment::{age, day_and_time, span};
use crate::naming;
use crate::table::Table;
use crate::terminal::{self};

/// Grant actions for a time
///
/// Only those that need no permit for each call, such as run_tests. Whatever is proposed of them is
/// executed at once, as often as the grant says, until it expires or is revoked.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Names of actions.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How often, all of them together.
    #[arg(long, value_name = "N")]
    uses: u32,
    /// For how long, such as 8h or 7d.
    #[arg(long, value_name = "SPAN")]
    within: String,
    /// The key that signs; your newest, if none is named.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// List standing grants, or revoke one
#[derive(Debug, Parser)]
pub(crate) struct GrantsArgs {
    /// Revoke this one, by its identifier or the end of it; prints the line for the executor's file
    /// of what was revoked.
    #[arg(long, value_name = "GRANT", requires = "reason")]
    revoke: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", requires = "revoke")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    id: GrantId,
    state: &'static str,
    #[serde(flatten)]
    grant: grant::Grant,
    used: u32,
    is_over: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_line: Option<String>,
}

pub(crate) fn grant(common: &Common, context: &Context, args: &Args) -> Outcome {
    let operator = &context.settings.operator;
    let mut kinds = BTreeSet::new();
    let mut told = None;
    for name in &args.names {
        told = Some(describe(context, name)?);
        let kind = Kind::named(name);
        let kind = kind.ok_or_else(|| Failure::usage(format!("there is no action `{name}`")))?;
        if kind.needs_permit() {
            let text =
                format!("each call of `{name}` needs a permit of its own: no grant covers it");
            return Err(Failure::new(Exit::Refused, text));
        }
        kinds.insert(kind);
    }
    let told = told.ok_or_else(|| Failure::usage("name an action"))?;
    let keyring = keyring(context)?;
    let key = keys::chosen(&keyring, operator, args.key.as_deref())?;
    let world = context.recorder.world();
    let at = world.clock.now();
    let expires = at.after(span(&args.within).map_err(Failure::usage)?);
    let id = GrantId::from_bits(context.recorder.fresh());
    let signed = Grant {
        version: Version::One,
        grant_id: id,
        actions: kinds.clone(),
        targets: BTreeSet::from([told.target.parse()?]),
        policy: told.policy,
        requester: told.requester.clone(),
        approver: operator.clone(),
        not_before: at,
        expires,
        uses_max: args.uses,
    };
    let sealed = Approval::Grant(signed).seal(&keyring.signing(&key.id)?);
    let envelope = world
        .artifacts
        .put(serde_json::to_string(&sealed)?.as_bytes())?;
    let given = grant::Grant {
        actions: kinds.iter().map(|it| it.name().to_owned()).collect(),
        target: told.target,
        requester: told.requester,
        policy: told.policy,
        envelope,
        by: operator.clone(),
        at,
        expires,
        uses_max: args.uses,
    };
    let state = context
        .recorder
        .on_grant(id, &grant::Command::Give(given))?;
    if common.json {
        terminal::json(&shown(id, &state))?;
        return Ok(Exit::Done);
    }
    terminal::data(id);
    let (until, uses) = (day_and_time(expires), args.uses);
    terminal::say(format!(
        "granted until {until}, {uses} times; what waits of it is asked for by the next `palisade resume` or proposal"
    ));
    Ok(Exit::Done)
}

pub(crate) fn grants(common: &Common, context: &Context, args: &GrantsArgs) -> Outcome {
    let board = context.board()?;
    if let (Some(name), Some(reason)) = (&args.revoke, &args.reason) {
        let ids = board.grants.keys().copied();
        let id = naming::find(ids, name, "grant", "palisade actions grants")?;
        return revoke(common, context, id, reason);
    }
    let all: Vec<_> = board
        .grants
        .iter()
        .filter_map(|(id, state)| shown(*id, state))
        .collect();
    if common.json {
        terminal::json(&all)?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        terminal::say("no grants; `palisade actions grant NAME --uses N --within 7d` gives one");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["GRANT", "STATE", "ACTIONS", "USED", "ENDS"]).with_whole_first();
    let now = context::now();
    for it in &all {
        let ends = if now < it.grant.expires {
            format!("in {}", age(it.grant.expires.since(now)))
        } else {
            "expired".to_owned()
        };
        table.row([
            it.id.to_string().into(),
            it.state.into(),
            it.grant.actions.join(", ").into(),
            format!("{}/{}", it.used, it.grant.uses_max).into(),
            ends.into(),
        ]);
    }
    table.print(0);
    Ok(Exit::Done)
}

fn revoke(common: &Common, context: &Context, id: GrantId, reason: &str) -> Outcome {
    if reason.contains(char::is_control) {
        return Err(Failure::usage("say in one line why it is revoked"));
    }
    let by = context.settings.operator.clone();
    let line = format!("{id}  {by}: {reason}");
    let reason = reason.to_owned();
    let revoke = grant::Command::Revoke { by, reason };
    let state = context.recorder.on_grant(id, &revoke)?;
    if common.json {
        let revoked_line = Some(line);
        let shown = shown(id, &state).map(|it| Shown { revoked_line, ..it });
        terminal::json(&shown)?;
    } else {
        terminal::say(
            "it is used no more from here; for the executor to refuse it, put this line into its file of what was revoked:",
        );
        terminal::data(line);
    }
    Ok(Exit::Done)
}

fn shown(id: GrantId, state: &grant::State) -> Option<Shown> {
    let (grant, used) = state.grant()?;
    let is_over = context::now() >= grant.expires || used >= grant.uses_max;
    Some(Shown {
        id,
        state: state.name(),
        grant: grant.clone(),
        used,
        is_over: is_over || matches!(state, grant::State::Revoked(..)),
        revoked_line: None,
    })
}
