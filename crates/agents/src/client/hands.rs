//! The hands of a session: they do inside the cell what an agent program asks its client to do.
//!
//! An agent that speaks the Agent Client Protocol may leave files and terminals to its client. Ours
//! is the engine, which judges and says no in words, and never touches a path that an agent names:
//! what it allows comes back here as an order on standard input, is done with the rights of any
//! program of this cell, and is answered to the agent. All else on standard input is passed on.
//! The agent's output is the cell's own; nothing stands in between.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::json_rpc::{self, Heard, Request};
use crate::lines::{Line, Lines};

mod files;
mod terminals;

pub(crate) use files::Missing;
use terminals::Terminals;

/// The longest line on standard input, in bytes. Prompts and orders are shorter; they come from the
/// engine alone.
const LINE_BYTES_MAX: usize = 32 << 20;

/// Read at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// How long a program has to end by itself once its turn is cancelled or its standard input closed.
/// The engine ends the whole cell two seconds after it asked.
const END_WITHIN: Duration = Duration::from_millis(700);

/// Why there are no hands.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is nothing to run.
    #[error("an agent program is named after `--`")]
    Nothing,
    /// The agent program does not start.
    #[error("`{program}` cannot be started")]
    Program {
        /// Which.
        program: String,
        #[source]
        source: io::Error,
    },
    /// Its end cannot be waited for.
    #[error("the agent program cannot be waited for")]
    Wait(#[source] io::Error),
}

/// Runs an agent program and does what the engine lets it have done; returns its exit code.
pub(super) fn serve(program: &[OsString], missing: Missing) -> Result<ExitCode, Error> {
    let (name, arguments) = program.split_first().ok_or(Error::Nothing)?;
    let mut agent = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Program {
            program: name.to_string_lossy().into_owned(),
            source,
        })?;
    let mouth = Mouth::new(agent.stdin.take());
    // Nothing is sent: each end of a channel is told by being dropped.
    let (closed, closing) = channel();
    let own = Hands {
        mouth,
        terminals: Terminals::default(),
        missing,
        closed: Some(closed),
    };
    thread::spawn(move || own.follow(io::stdin().lock()));
    let pid = Pid::from_child(&agent);
    let (ended, ending) = channel();
    thread::spawn(move || hurry(pid, &closing, &ending));
    let code = wait(&mut agent);
    drop(ended);
    code
}

fn wait(agent: &mut Child) -> Result<ExitCode, Error> {
    let status = agent.wait().map_err(Error::Wait)?;
    // As shells say it.
    let code = status.code().or(status.signal().map(|it| it + 128));
    let code = code.and_then(|it| u8::try_from(it).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Asks a program to end that was told by its protocol to, and does not. The engine ends the whole
/// cell afterwards.
fn hurry(agent: Pid, closing: &Receiver<Infallible>, ending: &Receiver<Infallible>) {
    if closing.recv().is_err()
        && let Err(RecvTimeoutError::Timeout) = ending.recv_timeout(END_WITHIN)
    {
        // One that is gone by now needs none.
        kill_process(agent, Signal::TERM).unwrap_or_default();
    }
}

/// The standard input of the agent program, for whoever has something to tell it.
#[derive(Clone, Debug)]
struct Mouth(Arc<Mutex<Option<ChildStdin>>>);

impl Mouth {
    fn new(stdin: Option<ChildStdin>) -> Self {
        Self(Arc::new(Mutex::new(stdin)))
    }

    /// Says a whole line. Whoever does not listen any more is told nothing.
    fn say(&self, line: &[u8]) {
        let mut stdin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = stdin.as_mut()
            && to.write_all(line).and_then(|()| to.flush()).is_err()
        {
            *stdin = None;
        }
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Hands {
    mouth: Mouth,
    terminals: Terminals,
    missing: Missing,
    /// Dropped when the program is to end.
    closed: Option<Sender<Infallible>>,
}

impl Hands {
    /// Passes lines on and carries orders out, until there are no more.
    fn follow(mut self, mut from: impl Read) {
        let mut lines = Lines::new(LINE_BYTES_MAX);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => {
                    for line in lines.push(&piece[..length]) {
                        self.take(line);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.mouth.close();
    }

    fn take(&mut self, line: Line) {
        let Line::Whole(mut line) = line else {
            return;
        };
        match json_rpc::performed(&line) {
            Some(order) => self.perform(&order),
            None => {
                if is_cancel(&line) {
                    self.closed = None;
                }
                line.push(b'\n');
                self.mouth.say(&line);
            }
        }
    }

    fn perform(&self, order: &Request) {
        let done = match order.method.as_str() {
            "fs/read_text_file" => files::read(&order.params, self.missing),
            "fs/write_text_file" => files::write(&order.params),
            "terminal/create" => self.terminals.create(&order.params),
            "terminal/output" => self.terminals.output(&order.params),
            "terminal/wait_for_exit" => match self.terminals.answer_at_exit(order, &self.mouth) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            "terminal/kill" => self.terminals.kill(&order.params),
            "terminal/release" => self.terminals.release(&order.params),
            other => Err(Fault {
                code: json_rpc::METHOD_NOT_FOUND,
                told: format!("`{other}` is not done here"),
            }),
        };
        let said = match done {
            Ok(result) => json_rpc::result(&order.id, &result),
            Err(fault) => json_rpc::error(&order.id, fault.code, &fault.told),
        };
        self.mouth.say(said.as_bytes());
    }
}

fn is_cancel(line: &[u8]) -> bool {
    matches!(json_rpc::read(line), Some(Heard::Told { method, .. }) if method == "session/cancel")
}

/// Why something was not done, for the agent to read.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    code: i64,
    told: String,
}

impl Fault {
    fn of(code: i64, told: impl Into<String>) -> Self {
        let told = told.into();
        Self { code, told }
    }
}
