//! `palisade-agent`: the program an agent calls inside its cell to speak.
//!
//! Exit codes: 0 said, 1 could not be said (no reader, no pipe, a bad file), 2 a mistake in the
//! call. What it needs to know is in the variables that drivers set, see [`crate::command`].

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use domain::MessageId;
use domain::agent::{RefusalReason, Signal};

use crate::conduct::with_sources;
use crate::report::{Question, REPORT_BYTES_MAX, Sections};
use crate::signal_line::{PRIORITIES, PRIORITY_DEFAULT};

mod acting;
mod bridge;
mod hands;
mod mcp;
mod messages;
mod play;
mod voice;

use voice::Voice;

pub(crate) use hands::Missing;
pub(crate) use messages::{all as messages_in, is_open};

/// Speaks for an agent in its cell: progress, questions, findings, and how the work ended.
#[derive(Debug, Parser)]
#[command(name = "palisade-agent", version, arg_required_else_help = true)]
struct Call {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tells what you are doing.
    Progress {
        /// What you are doing, in a sentence.
        text: String,
    },
    /// Asks the operator, without waiting: go on with the default you name.
    Ask(Ask),
    /// Reports something wrong in the change under review.
    Finding {
        /// The file, relative to the root.
        #[arg(long)]
        file: String,
        /// The line, from 1; 0 for the whole file.
        #[arg(long, default_value_t = 0)]
        line: u32,
        /// The rule that was broken, in a word.
        #[arg(long)]
        rule: String,
        /// What is wrong and what would mend it.
        text: String,
    },
    /// Proposes an action of the executor; a human decides, and you are told under which name.
    Propose {
        /// The action's name, one of those that your role may propose.
        action: String,
        /// Its arguments, as a JSON object.
        #[arg(long, default_value = "{}")]
        arguments: String,
        /// Why it is wanted.
        #[arg(long)]
        why: String,
    },
    /// Prints what you were told while you work: one message a line, as JSON.
    Messages {
        /// Prints only those that wait for your acknowledgement.
        #[arg(long)]
        open: bool,
        /// Waits until there is one.
        #[arg(long)]
        wait: bool,
    },
    /// Says that a message was read and understood.
    Ack {
        /// The message, as `messages` names it.
        message: MessageId,
        /// What you will do about it.
        text: String,
    },
    /// Ends the session: the work is done.
    Done {
        /// What was done, for the operator's decision.
        summary: String,
    },
    /// Ends the session: the work cannot be done, and why.
    Refuse {
        /// Which of the reasons.
        reason: Reason,
        /// The details.
        detail: String,
    },
    /// Ends the session: you give up.
    Fail {
        /// Why.
        reason: String,
    },
    /// Plays a story, for tests and shows.
    Play {
        /// The story, a TOML file.
        story: PathBuf,
    },
    /// Prints the prompt of this session.
    Brief,
    /// Serves all of this as tools to a program that speaks the Model Context Protocol.
    Mcp,
    /// Runs a program beside a loopback address that leads to a socket: how it reaches its model.
    #[command(hide = true)]
    Bridge {
        /// The loopback address.
        #[arg(long)]
        listen: SocketAddr,
        /// The socket that it leads to.
        #[arg(long)]
        to: PathBuf,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Runs a program that leaves files and terminals to its client, and does with these what the
    /// engine says.
    #[command(hide = true)]
    Hands {
        /// A file that is not there reads as an empty one.
        #[arg(long)]
        missing_is_empty: bool,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Copies between standard input, a listener, and a socket: the bridge's own process.
    #[command(hide = true)]
    Copy {
        /// The process with which it ends.
        #[arg(long)]
        parent: u32,
        /// The socket.
        #[arg(long)]
        to: PathBuf,
    },
    /// Stays for ever, in a session of its own: what `background` in a story starts.
    #[command(hide = true)]
    Linger,
}

#[derive(Debug, Args)]
struct Ask {
    /// A file with the six sections of a report, or `-` for standard input.
    #[arg(conflicts_with_all = ["question", "why", "option", "recommend", "impact", "default"])]
    file: Option<PathBuf>,
    /// What you need to know.
    #[arg(long, required_unless_present = "file")]
    question: Option<String>,
    /// Why you cannot decide it.
    #[arg(long, required_unless_present = "file")]
    why: Option<String>,
    /// An option you weighed; give two or more.
    #[arg(long, required_unless_present = "file")]
    option: Vec<String>,
    /// The option you recommend.
    #[arg(long, required_unless_present = "file")]
    recommend: Option<String>,
    /// What depends on the answer.
    #[arg(long, required_unless_present = "file")]
    impact: Option<String>,
    /// What you go on with until it is answered.
    #[arg(long, required_unless_present = "file")]
    default: Option<String>,
    /// How urgent it is.
    #[arg(long, default_value = PRIORITY_DEFAULT, value_parser = PRIORITIES, ignore_case = true)]
    priority: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Reason {
    /// Something it depends on is missing.
    UnmetDependency,
    /// More than one session can do.
    TooLarge,
    /// Nothing is left to do.
    AlreadyDone,
}

/// Why nothing was said.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The signal did not go out.
    #[error(transparent)]
    Voice(#[from] voice::Error),
    /// A file could not be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// Which.
        path: String,
        #[source]
        source: io::Error,
    },
    /// The prompt could not be printed.
    #[error("the prompt cannot be printed")]
    Print(#[source] io::Error),
    /// What the agent was told could not be printed.
    #[error(transparent)]
    Messages(#[from] messages::Error),
    /// The question is not complete.
    #[error(transparent)]
    Question(#[from] crate::report::Error),
    /// The story was not played to its end.
    #[error(transparent)]
    Play(#[from] play::Error),
    /// There is no bridge.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    /// There are no hands.
    #[error(transparent)]
    Hands(#[from] hands::Error),
    /// The tools cannot be served.
    #[error("standard input or output of the tools")]
    Serve(#[source] io::Error),
    /// Nothing is copied.
    #[error("the bridge cannot copy")]
    Copy(#[source] io::Error),
    /// There can be no session of its own.
    #[error("a session of its own cannot be made")]
    Linger(#[source] rustix::io::Errno),
}

/// Runs the client with the arguments of the process, its own name first.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let call = match Call::try_parse_from(args) {
        Ok(call) => call,
        Err(error) => {
            // Nobody is left to be told when standard error is closed.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(call.verb) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(
                io::stderr(),
                "palisade-agent: {}",
                with_sources(&error)
            ));
            ExitCode::from(match error {
                Error::Question(_) => 2,
                Error::Voice(_)
                | Error::Read { .. }
                | Error::Print(_)
                | Error::Messages(_)
                | Error::Play(_)
                | Error::Serve(_)
                | Error::Copy(_)
                | Error::Linger(_) => 1,
                // As shells say it: the program could not be run.
                Error::Bridge(_) | Error::Hands(_) => 127,
            })
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode, Error> {
    let signal = match verb {
        Verb::Progress { text } => Signal::Progress { text },
        Verb::Ask(ask) => asked(ask)?,
        Verb::Finding {
            file,
            line,
            rule,
            text,
        } => Signal::Finding {
            file,
            line,
            rule,
            text,
        },
        Verb::Propose {
            action,
            arguments,
            why,
        } => Signal::ProposeAction {
            action,
            arguments,
            why,
        },
        Verb::Messages { open, wait } => return Ok(messages::print(&voice::brief(), open, wait)?),
        Verb::Ack { message, text } => Signal::Acknowledge { message, text },
        Verb::Done { summary } => Signal::Done { summary },
        Verb::Refuse { reason, detail } => Signal::Refuse {
            reason: reason.into(),
            detail,
        },
        Verb::Fail { reason } => Signal::Fail { reason },
        Verb::Play { story } => return Ok(play::play(&story)?),
        Verb::Brief => return brief(),
        Verb::Mcp => {
            return mcp::serve()
                .map(|()| ExitCode::SUCCESS)
                .map_err(Error::Serve);
        }
        Verb::Bridge {
            listen,
            to,
            program,
        } => return Err(bridge::cross(listen, &to, &program).into()),
        Verb::Hands {
            missing_is_empty,
            program,
        } => {
            let missing = if missing_is_empty {
                Missing::IsEmpty
            } else {
                Missing::IsAnError
            };
            return Ok(hands::serve(&program, missing)?);
        }
        Verb::Copy { parent, to } => {
            return bridge::copy(parent, to)
                .map(|()| ExitCode::SUCCESS)
                .map_err(Error::Copy);
        }
        Verb::Linger => return linger(),
    };
    Voice::of_process()?.say(&signal)?;
    Ok(ExitCode::SUCCESS)
}

impl From<Reason> for RefusalReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::UnmetDependency => Self::UnmetDependency,
            Reason::TooLarge => Self::TooLarge,
            Reason::AlreadyDone => Self::AlreadyDone,
        }
    }
}

fn asked(ask: Ask) -> Result<Signal, Error> {
    let question = match &ask.file {
        Some(file) => Question::read(&read_report(file)?)?,
        None => Question::of(&Sections {
            question: ask.question.unwrap_or_default(),
            why: ask.why.unwrap_or_default(),
            options: ask.option,
            recommend: ask.recommend.unwrap_or_default(),
            impact: ask.impact.unwrap_or_default(),
            default: ask.default.unwrap_or_default(),
        })?,
    };
    Ok(Signal::Ask {
        report: question.into_text(),
        priority: ask.priority.to_ascii_uppercase(),
    })
}

fn read_report(path: &Path) -> Result<String, Error> {
    let fault = |source| Error::Read {
        path: path.display().to_string(),
        source,
    };
    let from: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(fault)?)
    };
    let mut text = String::new();
    // One byte over, so that an overlong report is seen to be one.
    let cap = u64::try_from(REPORT_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(cap + 1)
        .read_to_string(&mut text)
        .map_err(fault)?;
    Ok(text)
}

fn brief() -> Result<ExitCode, Error> {
    let path = voice::brief().join("prompt.md");
    let fault = |source| Error::Read {
        path: path.display().to_string(),
        source,
    };
    let mut file = std::fs::File::open(&path).map_err(fault)?;
    io::copy(&mut file, &mut io::stdout()).map_err(Error::Print)?;
    Ok(ExitCode::SUCCESS)
}

fn linger() -> Result<ExitCode, Error> {
    rustix::process::setsid().map_err(Error::Linger)?;
    loop {
        std::thread::park();
    }
}
