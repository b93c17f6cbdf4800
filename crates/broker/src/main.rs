//! The program: reads its settings, makes its sockets, says that it is ready, and ends when whoever
//! started it does.
#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::key::KEYS;
use broker::{Broker, Config, Folders};
use clap::{Parser, Subcommand};
use domain::Timestamp;
use palisade_broker as broker;
use ports::clock::Clock;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sealed::Store;
use sealed::store::IDENTITY;

/// The largest file of settings, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The only way from a cell to a model: adds keys, keeps budgets, stops secrets.
#[derive(Debug, Parser)]
#[command(
    name = "palisade-broker",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(flatten)]
    serve: Option<Serve>,
    #[command(subcommand)]
    other: Option<Other>,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
enum Other {
    /// Keep keys sealed, in a folder of their own
    Keys {
        /// The folder, with the identity that opens what is in it.
        #[arg(long, value_name = "FOLDER")]
        store: PathBuf,
        #[command(subcommand)]
        what: What,
    },
}

/// What is done with sealed keys.
#[derive(Debug, Subcommand)]
enum What {
    /// Seal a key that is read from standard input
    ///
    /// The first one makes the store's identity. A key never stands among the arguments, where every
    /// process could read it.
    Add {
        /// What it is called.
        name: String,
    },
    /// Tell the names of all keys, and whether each opens
    List,
    /// Remove a key
    Remove {
        /// Which.
        name: String,
    },
}

/// What it serves with.
#[derive(Debug, clap::Args)]
struct Serve {
    /// The settings: providers, models, keys, limits.
    #[arg(long, value_name = "BROKER.TOML")]
    config: PathBuf,
    /// Where its sockets are made: a private folder with a short path.
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// Where tapes are kept.
    #[arg(long, value_name = "FOLDER")]
    tapes: PathBuf,
    /// Ends when standard input does, and so with whoever started it.
    #[arg(long)]
    until_input_ends: bool,
}

/// The machine's clock.
#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn fresh_bits(&self) -> u128 {
        // Nothing here needs a new identifier; sessions come with theirs.
        u128::from(self.now().0)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Nobody but the machine's own may look into this process, or at what it leaves when it dies.
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|it| it.to_string());
    let done = closed.and_then(|()| match (&arguments.other, &arguments.serve) {
        (Some(Other::Keys { store, what }), _) => keys(&Store::new(store, KEYS), what),
        (None, Some(serve)) => run(serve),
        (None, None) => Err("say with `--config` what it serves".to_owned()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            tell(&format!("palisade-broker: {told}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "keys may be in the broker's own environment, and nowhere else is it read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn keys(store: &Store, what: &What) -> Result<(), String> {
    let mut told = String::new();
    match what {
        What::Add { name } => {
            let path = store
                .add(name, std::io::stdin())
                .map_err(|it| causes(&it))?;
            // Where the configuration is, nobody has said: these are right beside any.
            let path = std::path::absolute(&path).map_err(|it| it.to_string())?;
            let identity = path.with_file_name(IDENTITY);
            told = format!(
                "key.age = {:?}\nidentity = {:?}    # at the beginning of broker.toml\n",
                path.display().to_string(),
                identity.display().to_string()
            );
        }
        What::List => {
            for key in store.list().map_err(|it| causes(&it))? {
                told.push_str(&key.to_string());
                told.push('\n');
            }
        }
        What::Remove { name } => store.remove(name).map_err(|it| causes(&it))?,
    }
    let said = std::io::stdout().write_all(told.as_bytes());
    said.map_err(|it| it.to_string())
}

fn run(arguments: &Serve) -> Result<(), String> {
    let text = text(&arguments.config).map_err(|it| told(&arguments.config, &it))?;
    let name = arguments.config.display().to_string();
    let beside = arguments.config.parent().unwrap_or(Path::new("."));
    let open = |path: &Path| self::text(&beside.join(path));
    let config = Config::parse(&name, &text, &open).map_err(|it| it.to_string())?;
    let config = config.beside(beside);
    let folders = Folders {
        run: arguments.run.clone(),
        tapes: arguments.tapes.clone(),
    };
    let broker = Broker::new(config, folders, Arc::new(MachineClock), &variable);
    let broker = Arc::new(broker.map_err(|it| causes(&it))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|it| it.to_string())?;
    let until = arguments.until_input_ends;
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    if until {
        std::thread::spawn(move || {
            // The end of input, or its failure: whoever started us is gone.
            drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
            let (Ok(()) | Err(())) = ended.send(());
        });
        runtime.block_on(serve(&broker, async move { drop(end.await) }))?;
    } else {
        runtime.block_on(serve(&broker, std::future::pending()))?;
        drop(ended);
    }
    runtime.shutdown_background();
    Ok(())
}

async fn serve(broker: &Arc<Broker>, end: impl Future<Output = ()>) -> Result<(), String> {
    broker::start(broker).map_err(|it| causes(&it))?;
    let said = writeln!(std::io::stdout(), "ready").and_then(|()| std::io::stdout().flush());
    said.map_err(|it| it.to_string())?;
    let signal = tokio::signal::unix::SignalKind::terminate();
    let mut terminated = tokio::signal::unix::signal(signal).map_err(|it| it.to_string())?;
    tokio::select! {
        () = end => {}
        _signal = terminated.recv() => {}
    }
    Ok(())
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Returns an error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        text.push_str(": ");
        text.push_str(&it.to_string());
        cause = it.source();
    }
    text
}

fn tell(line: &str) {
    // Where nobody reads it, nobody misses it.
    drop(writeln!(std::io::stderr(), "{line}"));
}
