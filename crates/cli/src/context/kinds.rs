//! The kinds of agents: how each is named, and which driver runs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agents::{
    AcpDriver, ClaudeDriver, CodexDriver, CommandDriver, GeminiDriver, OpenCodeDriver,
    ScriptedDriver, Story,
};
use anyhow::Context as _;
use ports::agents::Driver;
use ports::cells::Cells;

use super::sealed;
use crate::exit::{Exit, Failure};
use crate::reading;

/// A kind of agent.
pub(crate) struct Kind {
    /// How it is named after `--agent`.
    pub(crate) agent: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// Who is asked what it guarantees.
    pub(crate) driver: Box<dyn Driver>,
}

/// Returns every kind of agent. Its driver says what it guarantees; nothing is run.
pub(crate) fn kinds() -> Result<Vec<Kind>, Failure> {
    let own = std::env::current_exe().context("this program has no path")?;
    let cells = sealed(&own, None);
    let story = Story::parse("[[turn]]\nsteps = [{ done = \"nothing\" }]\n");
    let story = story.map_err(|_| Failure::new(Exit::Failed, "the empty story does not parse"))?;
    let own = || own.clone();
    let cells = || cells.clone();
    let any = || vec!["true".to_string()];
    let at = |kind| program(kind, "");
    let kind = |agent, what, driver| Kind {
        agent,
        what,
        driver,
    };
    Ok(vec![
        kind(
            "claude[@MODEL][:PROGRAM]",
            "Claude Code, headless",
            Box::new(ClaudeDriver::new(at("claude"), cells(), own())),
        ),
        kind(
            "codex[@MODEL][:PROGRAM]",
            "Codex, headless; the cell stands for its own sandbox",
            Box::new(CodexDriver::new(at("codex"), cells(), own())),
        ),
        kind(
            "gemini[@MODEL][:PROGRAM]",
            "Gemini CLI, by the Agent Client Protocol",
            Box::new(GeminiDriver::new(at("gemini"), cells(), own())),
        ),
        kind(
            "opencode[@PROVIDER/MODEL][:PROGRAM]",
            "OpenCode, by the Agent Client Protocol",
            Box::new(OpenCodeDriver::new(at("opencode"), cells(), own())),
        ),
        kind(
            "acp:PROGRAM ARGS…",
            "any program that speaks the Agent Client Protocol, version 1",
            Box::new(AcpDriver::new(any(), cells(), own())),
        ),
        kind(
            "command:PROGRAM ARGS…",
            "any program that calls palisade-agent",
            Box::new(CommandDriver::new(any(), cells(), own())),
        ),
        kind(
            "scripted:STORY.toml",
            "acts out a story, without a model",
            Box::new(ScriptedDriver::new(story, cells(), own())),
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
            "gemini" => {
                let driver = GeminiDriver::new(program(kind, rest), cells.clone(), own.clone());
                Ok(match model {
                    Some(model) => Arc::new(driver.with_model(model)),
                    None => Arc::new(driver),
                })
            }
            "opencode" => {
                let driver = OpenCodeDriver::new(program(kind, rest), cells.clone(), own.clone());
                Ok(match model {
                    Some(model) => Arc::new(driver.with_model(model)),
                    None => Arc::new(driver),
                })
            }
            "acp" => {
                let argv =
                    agents::command::parse(rest, Path::new("/")).map_err(|it| it.to_string())?;
                Ok(Arc::new(AcpDriver::new(argv, cells.clone(), own.clone())))
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
                "there is no agent `{name}`; known are `claude`, `codex`, `gemini`, `opencode`, `acp:PROGRAM …`, `command:PROGRAM …` and `scripted:STORY.toml`"
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
