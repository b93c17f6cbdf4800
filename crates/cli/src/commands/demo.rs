//! `palisade demo`: the whole cycle on a small real project, in a minute.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use domain::ambiguity::Answer;
use domain::{WorkId, policy};
use engine::answers;
use engine::catalog::spec;
use engine::intake::{self, Request};

use super::{Common, answer, audit, decide, drive, init};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal::{self, BOLD, DIM, GOOD};

mod acting;

/// How often proposals are decided on: each landing moves the base of those that are left.
const SITTINGS_MAX: usize = 10;

/// See it work: three agents, real cells, one decision
///
/// Writes a small Rust project into a scratch folder and runs three works over it at the same time,
/// with scripted agents in real cells: one asks a question, one leaves a token in the tree and is
/// stopped, put back and goes on, one gets a review finding and mends it. Then it is your turn: answer
/// and decide. Last an executor publishes and deploys what has landed, on your signature. Needs no
/// account, no key and no network.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Where to write the project; a fresh folder in the temporary folder, if there is none.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Answer with the held defaults and approve everything, without asking.
    #[arg(long)]
    yes: bool,
}

const PROJECT: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../demo/Cargo.toml.txt")),
    // Agents may not write beside it, so that nothing has to.
    ("Cargo.lock", include_str!("../../demo/Cargo.lock.txt")),
    ("README.md", include_str!("../../demo/README.md.txt")),
    (".gitignore", "/target\n/palisade.toml\n"),
    ("src/lib.rs", include_str!("../../demo/src/lib.rs.txt")),
    ("src/mean.rs", include_str!("../../demo/src/mean.rs.txt")),
    (
        "src/median.rs",
        include_str!("../../demo/src/median.rs.txt"),
    ),
    ("src/mode.rs", include_str!("../../demo/src/mode.rs.txt")),
];

struct Work {
    name: &'static str,
    spec: &'static str,
    story: &'static str,
}

const WORKS: &[Work] = &[
    Work {
        name: "even-median",
        spec: include_str!("../../demo/specs/even-median.md"),
        story: include_str!("../../demo/stories/even-median.toml"),
    },
    Work {
        name: "empty-mean",
        spec: include_str!("../../demo/specs/empty-mean.md"),
        story: include_str!("../../demo/stories/empty-mean.toml"),
    },
    Work {
        name: "mode",
        spec: include_str!("../../demo/specs/mode.md"),
        story: include_str!("../../demo/stories/mode.toml"),
    },
];

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let folder = scratch(args.dir.as_deref())?;
    let project = folder.join("tally");
    write_project(&project)?;
    let inside = Common {
        repo: Some(project.clone()),
        executor: None,
        config: None,
        json: common.json,
    };
    heading("A small project", &format!("{}", project.display()));
    init::run(&inside, &init::Args::parse_from(["init"]))?;
    commit(&project)?;
    let context = inside.context()?;
    context.check_walls()?;
    heading(
        "Three works, each in sealed workspaces",
        "agents are scripted, cells and gates are real",
    );
    let works = submit(&context, &folder)?;
    drive::drive(&inside, &context, &works)?;
    heading("Your turn", "questions first, then the proposals");
    let mut shown = Vec::new();
    for _ in 0..SITTINGS_MAX {
        let board = context.board()?;
        if board.questions().is_empty() && board.decisions().is_empty() {
            break;
        }
        let moved = if args.yes {
            say_yes(&inside, &context, &works, &mut shown)?
        } else {
            sit(&inside, &context)?
        };
        if !moved {
            terminal::say(format!(
                "nothing more was decided; go on in {}",
                project.display()
            ));
            return Ok(Exit::InputRequired);
        }
    }
    let acted = acting::act(common, &folder, &project, args.yes)?;
    let exit = finish(&inside, &context, &project)?;
    Ok(if exit == Exit::Done { acted } else { exit })
}

fn heading(title: &str, more: &str) {
    let title = terminal::styled(title, BOLD);
    terminal::say(format!("\n{title}  {}", terminal::styled(more, DIM)));
}

fn scratch(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let folder = match dir {
        Some(dir) => std::path::absolute(dir)?,
        None => std::env::temp_dir().join(format!("palisade-demo-{}", std::process::id())),
    };
    if folder.join("tally").exists() {
        let text = format!(
            "{} holds a demo already; name another folder",
            folder.display()
        );
        return Err(Failure::usage(text));
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn write_project(project: &Path) -> Result<(), Failure> {
    for (path, text) in PROJECT {
        let path = project.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    git(project, &["init", "--quiet", "--initial-branch=main"])?;
    Ok(())
}

fn commit(project: &Path) -> Result<(), Failure> {
    git(project, &["add", "--all"])?;
    git(
        project,
        &["commit", "--quiet", "--message", "A small project"],
    )?;
    Ok(())
}

/// Runs git and returns what it has said.
fn git(project: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let identity = [
        "-c",
        "user.name=Palisade demo",
        "-c",
        "user.email=demo@localhost",
    ];
    let output = Command::new("git")
        .arg("-C")
        .arg(project)
        .args(identity)
        .args([
            "-c",
            "commit.gpgSign=false",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(arguments)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_string());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Failure::new(
        Exit::Failed,
        format!("git {}: {why}", arguments[0]),
    ))
}

fn submit(context: &Context, folder: &Path) -> Result<Vec<WorkId>, Failure> {
    let stories = folder.join("stories");
    std::fs::create_dir_all(&stories)?;
    let target = context.recorder.world().workspaces.target(None)?;
    let mut works = Vec::new();
    for work in WORKS {
        let story = stories.join(format!("{}.toml", work.name));
        std::fs::write(&story, work.story)?;
        let source = folder.join(format!("{}.md", work.name));
        std::fs::write(&source, work.spec)?;
        let request = Request {
            spec: spec::read(work.spec.as_bytes(), work.name).map_err(Failure::usage)?,
            raw: work.spec.as_bytes().to_vec(),
            source: source.display().to_string(),
            target: target.branch.clone(),
            formula: "work-cycle".to_string(),
            agent: format!("scripted:{}", story.display()),
            depends_on: Vec::new(),
            models: std::collections::BTreeMap::new(),
        };
        works.push(intake::submit(&context.recorder, &request)?);
    }
    Ok(works)
}

/// Lets the operator answer and decide; returns whether anything was decided.
fn sit(common: &Common, context: &Context) -> Result<bool, Failure> {
    let before = context.board()?.position;
    if !context.board()?.questions().is_empty() {
        answer::run(common, &answer::Args::parse_from(["answer"]))?;
    }
    if !context.board()?.decisions().is_empty() {
        decide::run(common, &decide::Args::parse_from(["decide"]))?;
    }
    Ok(context.board()?.position != before)
}

/// Answers with the held defaults and approves what can be approved, and says so.
fn say_yes(
    common: &Common,
    context: &Context,
    works: &[WorkId],
    shown: &mut Vec<WorkId>,
) -> Result<bool, Failure> {
    let mut moved = false;
    let board = context.board()?;
    let questions = board.questions();
    for open in &questions {
        let (asked, held) = (
            &open.ambiguity.report.question,
            &open.ambiguity.report.default_held,
        );
        terminal::say(format!("--yes answers {}: {asked} → {held}", open.name));
    }
    if !questions.is_empty() {
        let defaults: Vec<_> = questions
            .iter()
            .map(|it| (it.id, Answer::Default))
            .collect();
        answers::answer(&context.recorder, &board, &defaults)?;
        drive::drive(common, context, works)?;
        moved = true;
    }
    for open in context
        .board()?
        .decisions()
        .iter()
        .filter(|it| it.blocks.is_empty())
    {
        if shown.contains(&open.work) {
            let base = open.proposal.tree.base.short();
            terminal::say(format!(
                "{} is proposed again on {base}: the target moved, the gates passed there",
                open.name
            ));
        } else {
            decide::show_dossier(context, open)?;
            shown.push(open.work);
        }
        let text = format!(
            "--yes approves {} (dossier {})",
            open.name,
            open.proposal.dossier.short()
        );
        terminal::say(text);
        let (dossier, span) = (open.proposal.dossier, policy::APPROVAL_SPAN);
        answers::approve(&context.recorder, open.work, open.id, dossier, span)?;
        moved = true;
    }
    drive::drive(common, context, works)?;
    Ok(moved)
}

fn finish(common: &Common, context: &Context, project: &Path) -> Outcome {
    heading("The evidence", "recomputed from the log, the store and git");
    let exit = audit::run(common, &audit::Args::parse_from(["audit", "verify"]))?;
    let all = context
        .board()?
        .lines()
        .iter()
        .all(|it| it.state == "completed");
    heading("Where to look next", "");
    let here = project.display();
    for line in [
        format!("cd {here}"),
        "git log --stat palisade/main      # what was promoted; your checkout is untouched"
            .to_string(),
        "git merge --ff-only palisade/main # take it".to_string(),
        "palisade status                   # and: show, log, diff, queue, --help".to_string(),
    ] {
        terminal::say(format!("  {}", terminal::styled(&line, GOOD)));
    }
    Ok(if all { exit } else { Exit::InputRequired })
}
