//! `palisade actions propose`: file an action for approval.

use clap::Parser;
use domain::tree::Commit;
use engine::actions::{self, Wanted};
use serde_json::{Map, Value};

use super::asking::{WAIT_SECONDS, settle};
use super::tell;
use crate::commands::Common;
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// What stands for the commit that the work has landed.
const LANDED: &str = "@landed";

/// Propose an action
///
/// It waits for an approval, or runs at once on a standing grant that covers it. What the arguments
/// are, `palisade actions describe` tells. The word `@landed` in them stands for the commit that
/// --work has landed.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The action's name, such as publish_change.
    #[arg(value_name = "NAME")]
    name: String,
    /// All arguments, as a JSON object.
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// One argument: FIELD=TEXT, or FIELD:=JSON for what is no text.
    #[arg(long, value_name = "FIELD=TEXT")]
    set: Vec<String>,
    /// The work whose change is brought into the world: its agents are the authors.
    #[arg(long, value_name = "WORK")]
    work: Option<String>,
    /// Who made what is brought into the world, where there is no work; you, unless it is said. An
    /// author never approves.
    #[arg(long, value_name = "PRINCIPAL", conflicts_with = "work")]
    author: Option<String>,
    /// Why it is wanted.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Only record it, even where a standing grant covers it.
    #[arg(long)]
    no_dispatch: bool,
}

pub(crate) fn run(common: &Common, context: &Context, args: &Args) -> Outcome {
    let board = context.board()?;
    let work = args.work.as_deref().map(|it| board.find(it)).transpose()?;
    let mut arguments = Value::Object(arguments(args)?);
    if names_landed(&arguments) {
        let landed = work.and_then(|it| board.cases.get(&it)?.landed());
        let landed = landed.ok_or_else(|| {
            Failure::usage(
                "`@landed` stands for the commit that --work has landed, and there is none",
            )
        })?;
        put_landed(&mut arguments, &landed);
    }
    let wanted = Wanted {
        name: args.name.clone(),
        arguments: arguments.to_string(),
        work,
        session: None,
        by: context.settings.operator.clone(),
        author: args.author.clone(),
        why: args.why.clone(),
    };
    let id = actions::propose(&context.recorder, &wanted)?;
    if !args.no_dispatch {
        settle(context, &[id], std::time::Duration::from_secs(WAIT_SECONDS))?;
    }
    tell(common, context, &[id])
}

fn arguments(args: &Args) -> Result<Map<String, Value>, Failure> {
    let read = |text: &str| -> Result<Value, Failure> {
        serde_json::from_str(text)
            .map_err(|it| Failure::usage(format!("`{text}` is no JSON: {it}")))
    };
    let mut all = match args.arguments.as_deref().map(read).transpose()? {
        None => Map::new(),
        Some(Value::Object(all)) => all,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        ) => {
            return Err(Failure::usage("`--arguments` is a JSON object"));
        }
    };
    for set in &args.set {
        let (field, text) = set
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`{set}` is not written FIELD=TEXT")))?;
        let (field, value) = match field.strip_suffix(':') {
            Some(field) => (field, read(text)?),
            None => (field, Value::from(text)),
        };
        if all.insert(field.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("`{field}` is said twice")));
        }
    }
    Ok(all)
}

fn names_landed(value: &Value) -> bool {
    match value {
        Value::String(text) => text == LANDED,
        Value::Array(all) => all.iter().any(names_landed),
        Value::Object(all) => all.values().any(names_landed),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn put_landed(value: &mut Value, commit: &Commit) {
    match value {
        Value::String(text) if text == LANDED => *text = commit.to_string(),
        Value::Array(all) => all.iter_mut().for_each(|it| put_landed(it, commit)),
        Value::Object(all) => all.values_mut().for_each(|it| put_landed(it, commit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
