//! The program: serves, or reads an audit. It is the same for the product and for tests, which are
//! told of stages and kill it there.

mod init;
mod plan;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cell::{Launcher, LinuxCells};
use clap::{Parser, Subcommand};
use domain::Timestamp;

use crate::audit;
use crate::executor::{Executor, World};
use crate::stage::Stages;
use crate::{keys, openapi, serving, socket, tls};

/// The argument that makes this program the launcher of a cell.
pub const CELL: &str = "__cell";

/// Threads for what waits for disks and programs: more than requests that are worked on at once,
/// so that questions are answered while actions take their time.
const BLOCKING_THREADS_MAX: usize = 96;

/// The only one that acts: typed actions, signed approvals, an audit before each effect.
#[derive(Debug, Parser)]
#[command(name = "palisade-executor", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a folder with all that an executor for this machine needs.
    Init(init::Args),
    /// Serves until it is terminated.
    Serve {
        /// The whole policy; its digest is pinned.
        #[arg(long, value_name = "EXECUTOR.TOML")]
        config: PathBuf,
        /// Where the socket is made: in a folder of the executor's own, which its peers can enter.
        #[arg(long, value_name = "SOCKET")]
        socket: PathBuf,
    },
    /// Puts a file among the artifacts, by its content, and prints its digest.
    Artifact {
        /// The file.
        file: PathBuf,
        /// The `artifacts` of executor.toml.
        #[arg(long, value_name = "ARTIFACTS")]
        into: PathBuf,
    },
    /// Reads an audit, without a running executor.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Keeps secrets sealed, in a folder of their own.
    Keys {
        /// The folder, with the identity that opens what is in it.
        #[arg(long, value_name = "FOLDER")]
        store: PathBuf,
        #[command(subcommand)]
        what: keys::What,
    },
    /// Makes and reads plans of migrations, without a running executor.
    Plan {
        #[command(subcommand)]
        command: plan::Command,
    },
    /// Prints the contract.
    Openapi,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Tells whether every line is what was written.
    Verify {
        /// The audit.
        file: PathBuf,
    },
    /// Prints the entries, verified, one a line.
    Show {
        /// The audit.
        file: PathBuf,
    },
}

/// Runs the program; `stages` is told of each request's stages, `lookup` reads a variable.
#[must_use]
pub fn main(stages: Arc<dyn Stages>, lookup: fn(&str) -> Option<String>) -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Init(args) => init::run(&args, lookup),
        Command::Artifact { file, into } => init::keep(&file, &into),
        Command::Serve { config, socket } => serve(&config, &socket, stages, lookup),
        Command::Audit {
            command: AuditCommand::Verify { file },
        } => verify(&file),
        Command::Audit {
            command: AuditCommand::Show { file },
        } => show(&file),
        Command::Keys { store, what } => keys::run(&store, &what),
        Command::Plan { command } => plan::run(&command),
        Command::Openapi => say(&format!("{:#}", openapi::document())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            // Where nobody reads it, nobody misses it.
            drop(writeln!(std::io::stderr(), "palisade-executor: {told}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(
    config: &Path,
    socket: &Path,
    stages: Arc<dyn Stages>,
    lookup: fn(&str) -> Option<String>,
) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|it| it.to_string())?;
    let cells = Arc::new(LinuxCells::new(Launcher {
        program: program.clone(),
        argument: CELL.into(),
    }));
    let world = World {
        cells,
        bridge: program,
        now,
        lookup,
        stages,
    };
    let executor = Executor::start(config, world).map_err(|it| causes(&it))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|it| it.to_string())?;
    let served = runtime.block_on(listen(Arc::new(executor), socket));
    // What is under way dies with us, and is looked at when we start again.
    runtime.shutdown_background();
    served
}

async fn listen(executor: Arc<Executor>, at: &Path) -> Result<(), String> {
    let listener = socket::listen(at, &executor.config).map_err(|it| causes(&it))?;
    let mut told = "ready".to_owned();
    if let Some(settings) = executor.config.file.tls.clone() {
        let acceptor = tls::acceptor(&settings).map_err(|it| causes(&it))?;
        let listener = tokio::net::TcpListener::bind(settings.address).await;
        let listener = listener.map_err(|it| format!("{}: {it}", settings.address))?;
        let address = listener.local_addr().map_err(|it| it.to_string())?;
        told = format!("ready {address}");
        let executor = Arc::clone(&executor);
        drop(tokio::spawn(serving::serve_certificates(
            executor, listener, acceptor,
        )));
    }
    drop(tokio::spawn(serving::serve_processes(executor, listener)));
    say(&told)?;
    let signal = tokio::signal::unix::SignalKind::terminate();
    let mut terminated = tokio::signal::unix::signal(signal).map_err(|it| it.to_string())?;
    terminated.recv().await;
    Ok(())
}

fn verify(file: &Path) -> Result<(), String> {
    let head = audit::read(file, &mut |_| {}).map_err(|it| causes(&it))?;
    if head.torn_bytes > 0 {
        return Err(causes(&audit::Fault::Torn {
            path: file.to_path_buf(),
            bytes: head.torn_bytes,
        }));
    }
    say(&format!(
        "{} entries hold; the last is {}",
        head.sequence, head.digest
    ))
}

fn show(file: &Path) -> Result<(), String> {
    let mut lines = Vec::new();
    audit::read(file, &mut |it| lines.push(it)).map_err(|it| causes(&it))?;
    for line in lines {
        say(&serde_json::json!(line).to_string())?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|it| it.to_string())
}

/// Returns an error with its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        text.push_str(": ");
        text.push_str(&it.to_string());
        cause = it.source();
    }
    text
}
