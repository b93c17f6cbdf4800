//! The demo's last act: what has landed is published to a bare repository and deployed to a folder,
//! by a real executor, each with a permit that the operator has signed.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser as _;
use domain::{ActionId, WorkId};
use engine::actions::{self, Wanted};
use serde_json::json;

use super::{git, heading};
use crate::commands::actions::asking::{WAIT_SECONDS, settle};
use crate::commands::actions::{approving, lines, showing};
use crate::commands::{Common, decide, keys};
use crate::config::Environment;
use crate::context::{Context, now};
use crate::exit::{Exit, Failure, Outcome};
use crate::keys::Keys;
use crate::terminal;

/// The program.
const PROGRAM: &str = "palisade-executor";

/// What it deploys with.
const DEPLOY: &str = include_str!("../../../demo/deploy.sh");

/// How long the permits of the demo count.
const WITHIN: &str = "1h";

/// An executor of the demo's own; it ends with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Plays it; without the executor's program it is left out, and that is said.
pub(super) fn act(common: &Common, folder: &Path, project: &Path, yes: bool) -> Outcome {
    heading(
        "The executor acts",
        "another program, the only one with credentials: each act on your signature",
    );
    let Some(program) = program()? else {
        terminal::say(format!(
            "{PROGRAM} is not beside this program, so nothing is published and deployed; \
             `cargo install --path crates/executor` brings it"
        ));
        return Ok(Exit::Done);
    };
    let ground = Ground::new(folder, project, &program)?;
    let common = Common {
        repo: Some(project.to_path_buf()),
        executor: Some(ground.socket.clone()),
        config: Some(ground.config.clone()),
        json: common.json,
    };
    let context = common.context()?;
    ground.admit(&context)?;
    let _running = ground.serve()?;
    let Some((work, commit)) = landed(&context, project)? else {
        terminal::say("nothing has landed, so there is nothing to publish");
        return Ok(Exit::InputRequired);
    };
    let artifact = ground.artifact(project, &commit)?;
    let asked = [
        (
            "publish_change",
            json!({"remote": "forge", "branch": "tally", "commit": commit, "expected": null}),
            "what has landed is published for others",
        ),
        (
            "deploy_staging",
            json!({"artifact": artifact}),
            "what has landed is tried on staging",
        ),
    ];
    let mut ids = Vec::new();
    for (name, arguments, why) in asked {
        let wanted = Wanted {
            name: name.to_owned(),
            arguments: arguments.to_string(),
            work: Some(work),
            session: None,
            by: context.settings.operator.clone(),
            author: None,
            why: why.to_owned(),
        };
        ids.push(actions::propose(&context.recorder, &wanted)?);
    }
    approve(&common, &context, &ids, yes)?;
    let exit = showing::receipts(&common, &context, &ids)?;
    ground.tell(&program)?;
    Ok(exit)
}

/// Approves what was proposed: by itself, or as the operator decides.
fn approve(common: &Common, context: &Context, ids: &[ActionId], yes: bool) -> Result<(), Failure> {
    if yes {
        for line in lines(context, ids)? {
            showing::print(&line);
            terminal::say(format!(
                "--yes signs a permit for {} (it counts once, for {WITHIN})",
                line.name
            ));
            approving::approve(context, &line, WITHIN, None)?;
        }
    } else {
        decide::run(common, &decide::Args::parse_from(["decide"]))?;
    }
    settle(context, ids, Duration::from_secs(WAIT_SECONDS))
}

/// Returns the work that landed last, with its commit.
fn landed(context: &Context, project: &Path) -> Result<Option<(WorkId, String)>, Failure> {
    let Ok(head) = git(project, &["rev-parse", "--verify", "palisade/main"]) else {
        return Ok(None);
    };
    let board = context.board()?;
    let mut cases = board.cases.iter();
    let found = cases.find(|(_, case)| case.landed().is_some_and(|it| it.to_string() == head));
    Ok(found.map(|(work, _)| (*work, head)))
}

/// Returns the executor's program: beside this one, or built as this one is by `cargo run`.
fn program() -> Result<Option<PathBuf>, Failure> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name(PROGRAM);
    if let Some((cargo, manifest)) = Environment::read().cargo {
        terminal::say(format!("cargo builds {PROGRAM}, once"));
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--bin", PROGRAM, "--package", PROGRAM])
            .arg("--manifest-path")
            .arg(manifest.join("Cargo.toml"));
        let is_release = own.parent().is_some_and(|it| it.ends_with("release"));
        if is_release {
            build.arg("--release");
        }
        let built = build.stdout(Stdio::null()).status()?;
        if !built.success() {
            let text = format!("{PROGRAM} cannot be built");
            return Err(Failure::new(Exit::Failed, text));
        }
    }
    Ok(program.is_file().then_some(program))
}

/// Where the executor is, and what it acts on.
struct Ground {
    program: PathBuf,
    folder: PathBuf,
    forge: PathBuf,
    staging: PathBuf,
    /// The operator's configuration, in the place of the real one.
    config: PathBuf,
    socket: PathBuf,
}

impl Ground {
    fn new(folder: &Path, project: &Path, program: &Path) -> Result<Self, Failure> {
        let ground = Self {
            program: program.to_path_buf(),
            folder: folder.join("executor"),
            forge: folder.join("forge.git"),
            staging: folder.join("staging"),
            config: folder.join("operator"),
            socket: folder.join("executor").join("executor.sock"),
        };
        fs::create_dir_all(&ground.staging)?;
        git(folder, &["init", "--quiet", "--bare", "forge.git"])?;
        let deploy = folder.join("deploy.sh");
        fs::write(&deploy, DEPLOY)?;
        fs::set_permissions(&deploy, fs::Permissions::from_mode(0o755))?;
        let mut init = Command::new(program);
        init.arg("init")
            .arg(&ground.folder)
            .arg("--source")
            .arg(project.join(".git"))
            .arg("--publish")
            .arg(format!("forge={}", ground.forge.display()))
            .arg("--deploy")
            .arg(&deploy)
            .arg("--staging")
            .arg(&ground.staging);
        said(&mut init)?;
        Ok(ground)
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("executor.toml")
    }

    /// Has the executor believe a key of the operator's, made for the demo.
    fn admit(&self, context: &Context) -> Result<(), Failure> {
        let ring = Keys::within(Some(&self.config), Some(&context.place.root))?;
        let key = ring.make(&context.settings.operator, now())?;
        let mut settings = OpenOptions::new().append(true).open(self.settings())?;
        writeln!(settings, "{}", keys::row(&key))?;
        Ok(())
    }

    fn serve(&self) -> Result<Running, Failure> {
        let child = Command::new(&self.program)
            .arg("serve")
            .arg("--config")
            .arg(self.settings())
            .arg("--socket")
            .arg(&self.socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut running = Running(child);
        let mut line = String::new();
        if let Some(told) = running.0.stdout.take() {
            BufReader::new(told).read_line(&mut line)?;
        }
        if line.starts_with("ready") {
            return Ok(running);
        }
        let text = format!("{PROGRAM} did not start; it says why above");
        Err(Failure::new(Exit::Failed, text))
    }

    /// Packs the project as it has landed and puts it among the artifacts; returns its digest.
    fn artifact(&self, project: &Path, commit: &str) -> Result<String, Failure> {
        let tar = self.folder.join("tally.tar");
        let output = format!("--output={}", tar.display());
        git(project, &["archive", "--format=tar", &output, commit])?;
        let mut keep = Command::new(&self.program);
        keep.arg("artifact")
            .arg(&tar)
            .arg("--into")
            .arg(self.folder.join("artifacts"));
        said(&mut keep)
    }

    fn tell(&self, program: &Path) -> Result<(), Failure> {
        let audit = self.folder.join("state").join("audit.jsonl");
        let mut verify = Command::new(program);
        verify.args(["audit", "verify"]).arg(&audit);
        terminal::say(format!("the executor's own record: {}", said(&mut verify)?));
        let (forge, staging) = (self.forge.display(), self.staging.display());
        terminal::say(format!("published to {forge}, deployed to {staging}"));
        Ok(())
    }
}

/// Runs a program and returns what it has said.
fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Failure::new(Exit::Failed, text(&output.stderr)))
}
