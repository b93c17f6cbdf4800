//! `palisade run`: a specification becomes a proposal.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use domain::WorkId;
use domain::model::Model;
use engine::catalog::spec::{self, Spec};
use engine::intake::{self, Request};
use engine::views::board::Board;

use super::{Common, drive};
use crate::boundary;
use crate::config::models::class;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::lock;
use crate::terminal;

/// Take specifications through the work cycle, up to your decision
///
/// Each SPEC is a Markdown file whose optional YAML front matter bounds the work: `name`, `allow`
/// and `deny` (globs), `protected`, `target`, `depends_on` (names), `budget` (`sessions`, `rounds`,
/// `minutes`). Works run at the same time, each in sealed workspaces of its own. The command comes
/// back when all of them wait for you or are over; the log is the truth, so it can be killed at
/// any moment and `palisade resume` goes on.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The specifications.
    #[arg(required = true, value_name = "SPEC.md")]
    specs: Vec<PathBuf>,
    /// The agent: one that `palisade agents` lists, such as `claude`; `command:PROGRAM ARGS…` or
    /// `scripted:STORY.toml`; without it, the `agent` of palisade.toml.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The models of a class, for these works alone: the first is asked, the others stand in for it.
    /// In place of [models.classes] in palisade.toml.
    #[arg(long = "model", value_name = "CLASS=PROVIDER/MODEL[,…]", value_parser = class)]
    models: Vec<(String, Vec<Model>)>,
    /// The formula to run.
    #[arg(long, default_value = "work-cycle", value_name = "NAME")]
    formula: String,
    /// The branch the change is meant for; the one the repository is on, unless the front matter
    /// says otherwise.
    #[arg(long, value_name = "BRANCH")]
    target: Option<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut specs = Vec::new();
    for path in &args.specs {
        specs.push((path.clone(), read(path)?));
    }
    let named = args
        .agent
        .as_deref()
        .map(|it| absolute(it, &std::env::current_dir()?));
    let named = named.transpose()?;
    let mut context = common.context()?;
    let agent = match (named, &context.config.agent) {
        (Some(agent), _) => agent,
        (None, Some(agent)) => absolute(agent, &context.place.root)?,
        (None, None) => {
            let mend = "give `--agent command:PROGRAM`, or set `agent` in palisade.toml";
            return Err(Failure::usage(format!("there is no agent to run; {mend}")));
        }
    };
    context.check_walls()?;
    boundary::ask_for_record(&mut context)?;
    if !context.config.exists {
        terminal::say(
            "note: there is no palisade.toml, so cells see the system only, no toolchains; \
             `palisade init` writes one for review",
        );
    }
    if context.place.has_uncommitted_changes() {
        terminal::say(
            "note: works start from commits; what is not committed in your checkout is not part of \
             them",
        );
    }
    // A name that stands for no agent is a mistake of the command line, not a failed session.
    (context.recorder.world().drivers)(&agent).map_err(Failure::usage)?;
    let mut works = Vec::new();
    {
        // Whether a name is taken is looked up before it is recorded; two runs take turns at that.
        let _turn = lock::wait(&context.place.state)?;
        let specs = order(specs)?;
        check(&context, args, &specs)?;
        for (path, (spec, raw)) in specs {
            let id = submit(&context, args, &agent, &path, spec, raw, &works)?;
            works.push(id);
        }
    }
    let ids: Vec<_> = works.iter().map(|(_, id)| *id).collect();
    drive::drive(common, &context, &ids)
}

fn read(path: &Path) -> Result<(Spec, Vec<u8>), Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let mut raw = Vec::new();
    // One byte over the limit is enough to be told, also by what never ends.
    let most = u64::try_from(spec::BYTES_MAX).unwrap_or(u64::MAX) + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut raw))
        .map_err(|error| wrong(error.to_string()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let spec = spec::read(&raw, &stem).map_err(wrong)?;
    Ok((spec, raw))
}

type Named = (PathBuf, (Spec, Vec<u8>));

/// Puts specifications after those they depend on.
fn order(mut specs: Vec<Named>) -> Result<Vec<Named>, Failure> {
    let mut ordered: Vec<Named> = Vec::new();
    while !specs.is_empty() {
        let names: Vec<_> = specs
            .iter()
            .map(|(_, (spec, _))| spec.name.clone())
            .collect();
        let free = specs
            .iter()
            .position(|(_, (spec, _))| !spec.depends_on.iter().any(|it| names.contains(it)));
        let Some(free) = free else {
            let text = format!("{} depend on each other in a circle", names.join(", "));
            return Err(Failure::usage(text));
        };
        ordered.push(specs.remove(free));
    }
    Ok(ordered)
}

/// Refuses all when one could not be submitted: what a command line gets wrong leaves nothing behind.
fn check(context: &Context, args: &Args, specs: &[Named]) -> Result<(), Failure> {
    let board = context.board()?;
    let mut earlier: Vec<&str> = Vec::new();
    for (path, (spec, _)) in specs {
        let named = |failure: Failure| Failure {
            exit: Exit::Usage,
            error: anyhow::anyhow!("{}: {}", path.display(), failure.error),
        };
        if earlier.contains(&spec.name.as_str()) {
            let text = format!(
                "another of these specifications is called `{}`, too; set another `name:` in the \
                 front matter",
                spec.name
            );
            return Err(named(Failure::usage(text)));
        }
        let others = spec.depends_on.iter();
        for name in others.filter(|it| !earlier.contains(&it.as_str())) {
            board.find(name).map_err(|it| named(it.into()))?;
        }
        check_free(&board, &spec.name).map_err(named)?;
        target(context, args, spec).map_err(named)?;
        earlier.push(&spec.name);
    }
    Ok(())
}

/// Refuses a name that an open work has.
fn check_free(board: &Board, name: &str) -> Result<(), Failure> {
    let is_open = |state: &str| matches!(state, "submitted" | "working" | "input_required");
    let mut lines = board.lines().into_iter();
    if lines.any(|it| it.name == name && is_open(&it.state)) {
        return Err(Failure::usage(format!(
            "an open work is called `{name}` already; `palisade show {name}`, `palisade stop {name}`, \
             or set another `name:` in the front matter"
        )));
    }
    Ok(())
}

/// Returns the branch that a change is meant for.
fn target(context: &Context, args: &Args, spec: &Spec) -> Result<String, Failure> {
    let wanted = args.target.as_deref().or(spec.target.as_deref());
    let workspaces = &context.recorder.world().workspaces;
    Ok(workspaces.target(wanted)?.branch)
}

fn submit(
    context: &Context,
    args: &Args,
    agent: &str,
    path: &Path,
    spec: Spec,
    raw: Vec<u8>,
    earlier: &[(String, WorkId)],
) -> Result<(String, WorkId), Failure> {
    let board = context.board()?;
    let mut depends_on = Vec::new();
    for name in &spec.depends_on {
        let known = earlier.iter().find(|(it, _)| it == name).map(|(_, id)| *id);
        depends_on.push(known.map_or_else(|| board.find(name), Ok)?);
    }
    check_free(&board, &spec.name)?;
    let target = target(context, args, &spec)?;
    let name = spec.name.clone();
    let request = Request {
        spec,
        raw,
        source: path.display().to_string(),
        target,
        formula: args.formula.clone(),
        agent: agent.to_string(),
        depends_on,
        models: args.models.iter().cloned().collect(),
    };
    let id = intake::submit(&context.recorder, &request)?;
    Ok((name, id))
}

/// An agent's program or story is named from the folder `here`; the engine may run in another.
fn absolute(agent: &str, here: &Path) -> Result<String, Failure> {
    match agent.split_once(':') {
        Some(("command", rest)) => {
            let argv =
                agents::command::parse(rest, here).map_err(|it| Failure::usage(it.to_string()))?;
            let words: Vec<_> = argv.iter().map(|it| quoted(it)).collect();
            Ok(format!("command:{}", words.join(" ")))
        }
        Some((kind, rest)) if is_agent_program(kind) => {
            Ok(format!("{kind}:{}", here.join(rest).display()))
        }
        Some(("scripted", rest)) => Ok(format!("scripted:{}", here.join(rest).display())),
        Some(_) | None => Ok(agent.to_string()),
    }
}

/// Tells whether a kind of agent is one whose program may be named.
fn is_agent_program(kind: &str) -> bool {
    let kind = kind.split('@').next().unwrap_or(kind);
    matches!(kind, "claude" | "codex")
}

fn quoted(word: &str) -> String {
    let plain =
        |it: char| it.is_ascii_alphanumeric() || matches!(it, '/' | '.' | '-' | '_' | '=' | ':');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_read_back() {
        let word = "it's a $(test)";
        let spec = format!("/bin/sh {}", quoted(word));
        assert_eq!(
            agents::command::parse(&spec, Path::new("/")).unwrap()[1],
            word
        );
    }

    #[test]
    fn specs_that_depend_on_each_other_are_refused() {
        let spec = |name: &str, needs: &str| {
            let text = format!("---\nname: {name}\ndepends_on: [{needs}]\n---\n# {name}\n");
            let raw = text.into_bytes();
            (PathBuf::from(name), (spec::read(&raw, name).unwrap(), raw))
        };
        assert!(order(vec![spec("a", "b"), spec("b", "a")]).is_err());
        let ordered = order(vec![spec("a", "b"), spec("b", "")]).unwrap();
        assert_eq!(ordered[0].1.0.name, "b");
    }
}
