//! `palisade keys`: what the operator signs approvals with.

use clap::{Parser, Subcommand};
use serde::Serialize;

use super::Common;
use crate::config::Environment;
use crate::context::now;
use crate::exit::{Exit, Failure, Outcome};
use crate::keys::{Keys, Shown};
use crate::moment;
use crate::terminal::{self, DIM};

/// The keys that you sign approvals with
///
/// Each is a file of its own in your configuration (`$XDG_CONFIG_HOME/palisade/keys`), which no cell
/// is shown. The executor believes those whose `[[keys]]` rows are in its executor.toml; they are
/// printed here, and so are the lines for its file of what was revoked.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make your first key
    Init,
    /// List all keys
    List,
    /// Print the row of a key for executor.toml; without an identifier, of the one that signs
    Show {
        /// Its identifier, or the end of it.
        #[arg(value_name = "KEY")]
        key: Option<String>,
    },
    /// Make the next key; the one before signs only where it is named, until it is revoked
    Rotate,
    /// Have a key never sign again
    Revoke {
        /// Its identifier, or the end of it.
        #[arg(value_name = "KEY")]
        key: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    key: &'a Shown,
    /// The row for executor.toml, unless it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    /// The line for the executor's file of what was revoked, of this key or the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_line: Option<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let environment = Environment::read();
    let root = common.place().ok().map(|it| it.root);
    let keys = Keys::within(environment.config.as_deref(), root.as_deref())?;
    let operator = environment.operator.as_str();
    match &args.verb {
        Verb::Init => {
            if let Ok(Some(known)) = current(&keys, operator) {
                let text = format!(
                    "you have a key, {}; `palisade keys rotate` makes the next",
                    known.id
                );
                return Err(Failure::new(Exit::Refused, text));
            }
            made(common, &keys.make(operator, now())?, None)
        }
        Verb::Rotate => {
            let before = current(&keys, operator)?;
            let before = before.ok_or_else(|| none(operator))?;
            made(common, &keys.make(operator, now())?, Some(&before))
        }
        Verb::List => list(common, &keys),
        Verb::Show { key } => show(common, &chosen(&keys, operator, key.as_deref())?),
        Verb::Revoke { key, reason } => {
            if reason.trim().is_empty() || reason.contains(char::is_control) {
                return Err(Failure::usage("say in one line why it is revoked"));
            }
            let known = chosen(&keys, operator, Some(key))?;
            revoked(common, &keys.revoke(&known.id, reason)?)
        }
    }
}

/// Returns the key that signs for an operator: the newest that was not revoked.
pub(crate) fn current(keys: &Keys, operator: &str) -> Result<Option<Shown>, Failure> {
    let all = keys.all()?.into_iter();
    let mut own = all.filter(|it| it.principal == operator && it.revoked.is_none());
    Ok(own.next())
}

/// Returns the key that is meant: by its identifier or the end of it, else the one that signs.
pub(crate) fn chosen(keys: &Keys, operator: &str, name: Option<&str>) -> Result<Shown, Failure> {
    let Some(name) = name else {
        return current(keys, operator)?.ok_or_else(|| none(operator));
    };
    let mut all = keys.all()?;
    all.retain(|it| it.id == name || (name.len() >= 4 && it.id.ends_with(name)));
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Failure::usage(format!("`{name}` fits several keys"))),
        (None, _) => Err(Failure::usage(format!(
            "there is no key `{name}`; see `palisade keys list`"
        ))),
    }
}

fn none(operator: &str) -> Failure {
    Failure::usage(format!(
        "{operator} has no key to sign with; `palisade keys init` makes one"
    ))
}

pub(crate) fn row(key: &Shown) -> String {
    let principal = serde_json::Value::from(key.principal.as_str());
    format!("[[keys]]\nprincipal = {principal}\nkey = \"{}\"", key.key)
}

fn revoked_line(key: &Shown, why: &str) -> String {
    format!("{}  {}: {why}", key.id, key.principal)
}

fn made(common: &Common, key: &Shown, before: Option<&Shown>) -> Outcome {
    let line = before.map(|it| revoked_line(it, &format!("followed by {}", key.id)));
    if common.json {
        let row = Some(row(key));
        terminal::json(&Said {
            key,
            row,
            revoked_line: line,
        })?;
        return Ok(Exit::Done);
    }
    terminal::say(format!("made {}; its row for executor.toml:", key.id));
    terminal::data(row(key));
    if let (Some(line), Some(before)) = (line, before) {
        terminal::say(format!(
            "when the executor knows it, revoke the one before (`palisade keys revoke {}`), with \
             this line in the executor's file of what was revoked:",
            before.id
        ));
        terminal::data(line);
    }
    Ok(Exit::Done)
}

fn revoked(common: &Common, key: &Shown) -> Outcome {
    let line = revoked_line(key, key.revoked.as_deref().unwrap_or_default());
    if common.json {
        let revoked_line = Some(line);
        terminal::json(&Said {
            key,
            row: None,
            revoked_line,
        })?;
        return Ok(Exit::Done);
    }
    terminal::say(
        "it never signs again here; what it has signed ends with this line in the executor's file of what was revoked:",
    );
    terminal::data(line);
    Ok(Exit::Done)
}

fn list(common: &Common, keys: &Keys) -> Outcome {
    let all = keys.all()?;
    if common.json {
        terminal::json(&all)?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        terminal::say("no keys yet; `palisade keys init` makes one");
    }
    for key in all {
        let made = moment::day(key.made);
        let state = key.revoked.map_or_else(String::new, |why| {
            format!("  revoked: {}", terminal::printable(&why))
        });
        let line = format!("{}  {}  {made}{state}", key.id, key.principal);
        terminal::data(line);
    }
    let folder = keys.folder().display().to_string();
    terminal::say(terminal::styled(&folder, DIM));
    Ok(Exit::Done)
}

fn show(common: &Common, key: &Shown) -> Outcome {
    if let Some(why) = &key.revoked {
        let text = format!("{} was revoked: {why}", key.id);
        return Err(Failure::new(Exit::Refused, text));
    }
    if common.json {
        let row = Some(row(key));
        terminal::json(&Said {
            key,
            row,
            revoked_line: None,
        })?;
    } else {
        terminal::data(row(key));
    }
    Ok(Exit::Done)
}
