//! The commands: one file each, whose doc comments are the help.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::{Context, Place};
use crate::exit::{ALL, Exit, Outcome};
use crate::terminal;

pub(crate) mod actions;
pub(crate) mod admin;
pub(crate) mod agents;
pub(crate) mod answer;
pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod checkpoint;
pub(crate) mod checkpoints;
pub(crate) mod completions;
pub(crate) mod cost;
pub(crate) mod decide;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod drive;
pub(crate) mod export;
pub(crate) mod formulas;
pub(crate) mod gates;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod pause;
pub(crate) mod queue;
pub(crate) mod resolve;
pub(crate) mod resume;
pub(crate) mod roles;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod status;
mod steer;
pub(crate) mod stop;
pub(crate) mod tape;
pub(crate) mod timeline;
pub(crate) mod watch;

/// Run coding agents unattended: they propose from sealed workspaces, you decide, and every change
/// carries its evidence.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, max_term_width = 100, after_help = after_help())]
struct Cli {
    /// The repository to work on, instead of the one this folder is in.
    #[arg(long, global = true, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The executor's socket, instead of the one in palisade.toml.
    #[arg(long, global = true, value_name = "SOCKET")]
    executor: Option<PathBuf>,
    /// Print data as JSON on stdout.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Doctor(doctor::Args),
    Run(run::Args),
    Resume(resume::Args),
    Stop(stop::Args),
    Status(status::Args),
    Watch(watch::Args),
    Show(show::Args),
    Diff(diff::Args),
    Log(log::Args),
    Timeline(timeline::Args),
    Stats(stats::Args),
    Cost(cost::Args),
    Tape(tape::Args),
    Attach(attach::Args),
    Pause(pause::Args),
    Send(send::Args),
    Checkpoint(checkpoint::Args),
    Checkpoints(checkpoints::Args),
    Rollback(rollback::Args),
    Export(export::Args),
    Queue(queue::Args),
    Answer(answer::Args),
    Decide(decide::Args),
    Resolve(resolve::Args),
    Actions(actions::Args),
    Keys(keys::Args),
    Audit(audit::Args),
    Agents(agents::Args),
    Formulas(formulas::Args),
    Roles(roles::Args),
    Gates(gates::Args),
    Admin(admin::Args),
    Completions(completions::Args),
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Common {
    repo: Option<PathBuf>,
    executor: Option<PathBuf>,
    /// The operator's configuration, in the place of the one that the environment names.
    config: Option<PathBuf>,
    /// Whether data goes out as JSON.
    pub(crate) json: bool,
}

impl Common {
    /// Finds the repository.
    pub(crate) fn place(&self) -> Result<Place, crate::exit::Failure> {
        let mut place = Place::find(self.repo.as_deref())?;
        let named = self.executor.clone();
        place.environment.executor = named.or(place.environment.executor);
        if let Some(config) = &self.config {
            place.environment.config = Some(config.clone());
        }
        Ok(place)
    }

    /// Finds the repository and opens its state.
    ///
    /// Whatever the command shows, a downgrade is said first.
    pub(crate) fn context(&self) -> Result<Context, crate::exit::Failure> {
        let context = self.place()?.open()?;
        crate::boundary::say_downgrade(&context.recorder.machine()?);
        Ok(context)
    }
}

fn after_help() -> String {
    let lines: Vec<_> = ALL
        .iter()
        .map(|(exit, told)| format!("  {}  {told}", exit.code()))
        .collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Reads the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // A closed terminal is no reason to fail differently.
            drop(error.print());
            return exit.into();
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal::complain(&failure.error);
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let common = Common {
        repo: cli.repo,
        executor: cli.executor,
        config: None,
        json: cli.json,
    };
    match cli.command {
        Command::Init(args) => init::run(&common, &args),
        Command::Doctor(args) => doctor::run(&common, &args),
        Command::Run(args) => run::run(&common, &args),
        Command::Resume(args) => resume::run(&common, &args),
        Command::Demo(args) => demo::run(&common, &args),
        Command::Decide(args) => decide::run(&common, &args),
        Command::Actions(args) => actions::run(&common, &args),
        Command::Admin(args) => admin::run(&common, &args),
        Command::Agents(args) => agents::run(&common, &args),
        Command::Answer(args) => answer::run(&common, &args),
        Command::Audit(args) => audit::run(&common, &args),
        Command::Completions(args) => Ok(completions::run(&args)),
        Command::Diff(args) => diff::run(&common, &args),
        Command::Formulas(args) => formulas::run(&common, &args),
        Command::Gates(args) => gates::run(&common, &args),
        Command::Keys(args) => keys::run(&common, &args),
        Command::Log(args) => log::run(&common, &args),
        Command::Attach(args) => attach::run(&common, &args),
        Command::Checkpoint(args) => checkpoint::run(&common, &args),
        Command::Checkpoints(args) => checkpoints::run(&common, &args),
        Command::Export(args) => export::run(&common, &args),
        Command::Pause(args) => pause::run(&common, &args),
        Command::Rollback(args) => rollback::run(&common, &args),
        Command::Send(args) => send::run(&common, &args),
        Command::Stats(args) => stats::run(&common, &args),
        Command::Cost(args) => cost::run(&common, &args),
        Command::Tape(args) => tape::run(&common, &args),
        Command::Timeline(args) => timeline::run(&common, &args),
        Command::Queue(args) => queue::run(&common, &args),
        Command::Resolve(args) => resolve::run(&common, &args),
        Command::Roles(args) => roles::run(&common, &args),
        Command::Show(args) => show::run(&common, &args),
        Command::Status(args) => status::run(&common, &args),
        Command::Stop(args) => stop::run(&common, &args),
        Command::Watch(args) => watch::run(&common, &args),
    }
}
