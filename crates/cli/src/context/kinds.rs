//! The kinds of agents: how each is named, and which driver runs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agents::{ClaudeDriver, CodexDriver, CommandDriver, ScriptedDriver, Story};
use anyhow::Context as _;
use ports::agents::{Driver, Guarantees};
use ports::cells::Cells;

use super::sealed;
use crate::exit::{Exit, Failure};
use crate::reading;

/// Returns every kind of agent: how it is named, what it is, and what its driver guarantees. The
/// drivers are asked; nothing is run.
pub(crate) fn kinds() -> Result<Vec<(&'static str, &'static str, Guarantees)>, Failure> {
    let own = std::env::current_exe().context("this program has no path")?;
    let cells = sealed(&own, None);
    let story = Story::parse("[[turn]]\nsteps = [{ done = \"nothing\" }]\n");
    let story = story.map_err(|_| Failure::new(Exit::Failed, "the empty story does not parse"))?;
    let command = CommandDriver::new(vec!["true".to_string()], cells.clone(), own.clone());
    let claude = ClaudeDriver::new(PathBuf::new(), cells.clone(), own.clone());
    let codex = CodexDriver::new(PathBuf::new(), cells.clone(), own.clone());
    let scripted = ScriptedDriver::new(story, cells, own);
    Ok(vec![
        (
            "claude[@MODEL][:PROGRAM]",
            "Claude Code, headless; our judge answers what it asks leave for",
            claude.guarantees(),
        ),
        (
            "codex[@MODEL][:PROGRAM]",
            "Codex, headless; the cell stands for its own sandbox",
            codex.guarantees(),
        ),
        (
            "command:PROGRAM ARGS…",
            "any program that calls palisade-agent",
            command.guarantees(),
        ),
        (
            "scripted:STORY.toml",
            "acts out a story, without a model",
            scripted.guarantees(),
        ),
    ])
}

/// Returns what finds a driver by the name given with `--agent`.
pub(super) fn drivers(
    cells: Arc<dyn Cells>,
    own: PathBuf,
) -> impl Fn(&str) -> Result<Arc<dyn Driver>, String> + Send + Sync {
    move |name| {
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        let (kind, model) = match kind.split_once('@') {
            Some((kind, model)) => (kind, Some(model)),
            None => (kind, None),
        };
        match kind {
            "claude" => {
                let driver = ClaudeDriver::new(program(kind, rest), cells.clone(), own.clone());
                Ok(match model {
                    Some(model) => Arc::new(driver.with_model(model)),
                    None => Arc::new(driver),
                })
            }
            "codex" => {
                let driver = CodexDriver::new(program(kind, rest), cells.clone(), own.clone());
                Ok(match model {
                    Some(model) => Arc::new(driver.with_model(model)),
                    None => Arc::new(driver),
                })
            }
            "command" => {
                let argv =
                    agents::command::parse(rest, Path::new("/")).map_err(|it| it.to_string())?;
                let driver = CommandDriver::new(argv, cells.clone(), own.clone());
                Ok(Arc::new(driver))
            }
            "scripted" => {
                let text = reading::named(Path::new(rest))
                    .map_err(|error| format!("the story `{rest}` cannot be read: {error}"))?;
                let story = Story::parse(&text).map_err(|faults| {
                    let lines: Vec<_> = faults.iter().map(|it| format!("{rest}:{it}")).collect();
                    lines.join("\n")
                })?;
                let driver = ScriptedDriver::new(story, cells.clone(), own.clone());
                Ok(Arc::new(driver))
            }
            _ => Err(format!(
                "there is no agent `{name}`; known are `claude`, `codex`, `command:PROGRAM …` and `scripted:STORY.toml`"
            )),
        }
    }
}

/// Returns where an agent program is: where the operator says, or where such programs are installed.
fn program(kind: &str, said: &str) -> PathBuf {
    if !said.is_empty() {
        return PathBuf::from(said);
    }
    let folders = ["/usr/local/bin", "/usr/bin"].map(|it| Path::new(it).join(kind));
    let found = folders.iter().find(|it| it.exists());
    found.unwrap_or(&folders[0]).clone()
}
