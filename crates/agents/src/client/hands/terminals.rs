//! Terminals that an agent program leaves to its client: commands with an end and bounded output.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::{Fault, Mouth};
use crate::json_rpc::{self, INTERNAL_ERROR, INVALID_PARAMS, NOT_FOUND, Request};

/// Terminals at once that were not released.
const TERMINALS_MAX: usize = 32;

/// Kept of the output of one, in bytes: the end of it.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Words and variables of one command.
const WORDS_MAX: usize = 4_096;

/// Answers that may wait for the end of one terminal.
const WAITING_MAX: usize = 64;

/// Read at once, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// How long the output of an ended command may still come, from processes that it left.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// The terminals of one session.
#[derive(Debug, Default)]
pub(super) struct Terminals(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    made: u64,
    terminals: BTreeMap<String, Arc<Terminal>>,
}

/// One command, running or ended.
#[derive(Debug)]
struct Terminal {
    group: Pid,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    output: Vec<u8>,
    room: usize,
    is_truncated: bool,
    is_drained: bool,
    /// The command was waited for: its group may be another's by now.
    is_over: bool,
    exit: Option<Value>,
    /// Who waits for the end: the identifiers of their requests.
    waiting: Vec<(Value, Mouth)>,
}

impl Terminals {
    pub(super) fn create(&self, params: &Value) -> Result<Value, Fault> {
        let mut open = self.open();
        if open.terminals.len() >= TERMINALS_MAX {
            let told = format!("{TERMINALS_MAX} terminals are open: release some");
            return Err(Fault::of(INTERNAL_ERROR, told));
        }
        let mut command = command(params)?;
        let terminal = begin(&mut command, room(params)).map_err(|error| {
            let program = command.get_program().to_string_lossy();
            Fault::of(
                INTERNAL_ERROR,
                format!("`{program}` cannot be run: {error}"),
            )
        })?;
        open.made += 1;
        let id = format!("terminal-{}", open.made);
        open.terminals.insert(id.clone(), terminal);
        Ok(json!({"terminalId": id}))
    }

    pub(super) fn output(&self, params: &Value) -> Result<Value, Fault> {
        let terminal = self.named(params)?;
        let state = terminal.state();
        // Where the kept end begins in the middle of a letter, that letter is left out.
        let start = match state.output.iter().position(|it| it & 0xC0 != 0x80) {
            Some(start) if state.is_truncated => start,
            Some(_) | None => 0,
        };
        Ok(json!({
            "output": String::from_utf8_lossy(&state.output[start..]),
            "truncated": state.is_truncated,
            "exitStatus": state.exit,
        }))
    }

    /// Answers a request once its terminal has ended.
    pub(super) fn answer_at_exit(&self, order: &Request, mouth: &Mouth) -> Result<(), Fault> {
        let terminal = self.named(&order.params)?;
        let mut state = terminal.state();
        if let Some(exit) = &state.exit {
            mouth.say(json_rpc::result(&order.id, exit).as_bytes());
        } else if state.waiting.len() >= WAITING_MAX {
            let told = format!("{WAITING_MAX} requests wait for this terminal already");
            return Err(Fault::of(INTERNAL_ERROR, told));
        } else {
            state.waiting.push((order.id.clone(), mouth.clone()));
        }
        Ok(())
    }

    pub(super) fn kill(&self, params: &Value) -> Result<Value, Fault> {
        self.named(params)?.kill();
        Ok(json!({}))
    }

    pub(super) fn release(&self, params: &Value) -> Result<Value, Fault> {
        let terminal = self.named(params)?;
        let id = params["terminalId"].as_str().unwrap_or_default();
        self.open().terminals.remove(id);
        terminal.kill();
        Ok(json!({}))
    }

    fn named(&self, params: &Value) -> Result<Arc<Terminal>, Fault> {
        let id = params["terminalId"].as_str().unwrap_or_default();
        let found = self.open().terminals.get(id).map(Arc::clone);
        found.ok_or_else(|| Fault::of(NOT_FOUND, "there is no such terminal"))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn room(params: &Value) -> usize {
    let asked = params["outputByteLimit"].as_u64();
    let asked = asked.and_then(|it| usize::try_from(it).ok());
    asked.unwrap_or(OUTPUT_BYTES_MAX).min(OUTPUT_BYTES_MAX)
}

fn command(params: &Value) -> Result<Command, Fault> {
    let bad = |told: &str| Fault::of(INVALID_PARAMS, told);
    let program = params["command"].as_str().filter(|it| !it.is_empty());
    let mut command = Command::new(program.ok_or_else(|| bad("`command` names the program"))?);
    let list = |name: &str| {
        let given = &params[name];
        let list = given.as_array().map(Vec::as_slice);
        let list = list.or(given.is_null().then_some(&[]));
        let told = format!("`{name}` is a list of at most {WORDS_MAX}");
        list.filter(|it| it.len() <= WORDS_MAX)
            .ok_or_else(|| bad(&told))
    };
    for word in list("args")? {
        command.arg(word.as_str().ok_or_else(|| bad("`args` are words"))?);
    }
    for variable in list("env")? {
        let name = variable["name"].as_str().unwrap_or_default();
        let value = variable["value"].as_str();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(bad("`env` has a variable without a name"));
        }
        command.env(
            name,
            value.ok_or_else(|| bad("`env` has a variable without a value"))?,
        );
    }
    if let Some(cwd) = params["cwd"].as_str() {
        command.current_dir(cwd);
    }
    Ok(command)
}

fn begin(command: &mut Command, room: usize) -> io::Result<Arc<Terminal>> {
    let (from, to) = io::pipe()?;
    // A group of its own, so that what it starts ends with it.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(to.try_clone()?)
        .stderr(to);
    let child = command.spawn()?;
    // What is still open of the pipe here would keep its end from being seen.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let terminal = Arc::new(Terminal {
        group: Pid::from_child(&child),
        state: Mutex::new(State {
            output: Vec::new(),
            room,
            is_truncated: false,
            is_drained: false,
            is_over: false,
            exit: None,
            waiting: Vec::new(),
        }),
        changed: Condvar::new(),
    });
    let (hearing, waiting) = (Arc::clone(&terminal), Arc::clone(&terminal));
    thread::Builder::new().spawn(move || hearing.hear(from))?;
    thread::Builder::new().spawn(move || waiting.wait(child))?;
    Ok(terminal)
}

impl Terminal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, mut from: PipeReader) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => self.state().keep(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.state().is_drained = true;
        self.changed.notify_all();
    }

    fn wait(&self, mut child: Child) {
        let exit = match child.wait() {
            Ok(status) => ended(status),
            Err(error) => json!({"exitCode": null, "signal": error.to_string()}),
        };
        let mut state = self.state();
        state.is_over = true;
        let waited = self
            .changed
            .wait_timeout_while(state, DRAIN_MAX, |it| !it.is_drained);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.exit = Some(exit.clone());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (id, mouth) in waiting {
            mouth.say(json_rpc::result(&id, &exit).as_bytes());
        }
    }

    /// Ends the command with all that it started, if it goes on.
    fn kill(&self) {
        if !self.state().is_over {
            // A group that is gone by now needs none.
            kill_process_group(self.group, Signal::KILL).unwrap_or_default();
        }
    }
}

impl State {
    fn keep(&mut self, piece: &[u8]) {
        self.output.extend_from_slice(piece);
        let over = self.output.len().saturating_sub(self.room);
        if over > 0 {
            self.is_truncated = true;
            self.output.drain(..over);
        }
    }
}

fn ended(status: ExitStatus) -> Value {
    let signal = status.signal().map(|number| match number {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        6 => "SIGABRT".to_owned(),
        9 => "SIGKILL".to_owned(),
        11 => "SIGSEGV".to_owned(),
        13 => "SIGPIPE".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    });
    json!({"exitCode": status.code(), "signal": signal})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(terminals: &Terminals, params: &Value) -> Value {
        terminals.create(params).unwrap()
    }

    /// Waits for the end of a terminal, and returns what it printed.
    fn printed(terminals: &Terminals, id: &Value) -> Value {
        let terminal = terminals.named(id).unwrap();
        let state = terminal.state();
        let patience = Duration::from_secs(60);
        let waited = terminal
            .changed
            .wait_timeout_while(state, patience, |it| !it.is_drained);
        drop(waited.unwrap());
        loop {
            let output = terminals.output(id).unwrap();
            if !output["exitStatus"].is_null() {
                return output;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_command_prints_in_its_folder_with_its_variables_and_ends() {
        let terminals = Terminals::default();
        let script = "echo $WORD; pwd; echo oops >&2; exit 3";
        let env = json!([{"name": "WORD", "value": "said"}]);
        let params = json!({"command": "sh", "args": ["-c", script], "env": env, "cwd": "/"});
        let id = made(&terminals, &params);
        let output = printed(&terminals, &id);
        assert_eq!(output["output"], "said\n/\noops\n");
        assert_eq!(output["exitStatus"], json!({"exitCode": 3, "signal": null}));
        terminals.release(&id).unwrap();
        assert_eq!(terminals.output(&id).unwrap_err().code, NOT_FOUND);
    }

    #[test]
    fn a_flood_keeps_its_end_and_whole_letters() {
        let terminals = Terminals::default();
        let script = "i=0; while [ $i -lt 5000 ]; do echo line-$i-ö; i=$((i+1)); done";
        let args = json!(["-c", script]);
        let id = made(
            &terminals,
            &json!({"command": "sh", "args": args, "outputByteLimit": 15}),
        );
        let output = printed(&terminals, &id);
        assert_eq!(output["truncated"], true);
        assert_eq!(output["output"], "\nline-4999-ö\n");
        let args = json!(["-c", "printf 'öö'"]);
        let id = made(
            &terminals,
            &json!({"command": "sh", "args": args, "outputByteLimit": 3}),
        );
        assert_eq!(printed(&terminals, &id)["output"], "ö");
    }

    #[test]
    fn a_command_that_is_killed_says_by_what() {
        let terminals = Terminals::default();
        let id = made(
            &terminals,
            &json!({"command": "cat", "args": ["/dev/zero"]}),
        );
        terminals.kill(&id).unwrap();
        assert_eq!(printed(&terminals, &id)["exitStatus"]["signal"], "SIGKILL");
        // What has ended is not killed again.
        terminals.kill(&id).unwrap();
    }

    #[test]
    fn everything_has_a_limit_and_bad_commands_are_told() {
        let terminals = Terminals::default();
        // A name below a new folder: nothing else on the machine can have made it.
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let many: Vec<_> = (0..=WORDS_MAX).map(|_| "x").collect();
        for (params, why) in [
            (json!({}), "names the program"),
            (json!({"command": ""}), "names the program"),
            (json!({"command": "true", "args": "x"}), "list"),
            (json!({"command": "true", "args": [7]}), "words"),
            (json!({"command": "true", "args": many}), "at most"),
            (
                json!({"command": "true", "env": [{"name": "a=b"}]}),
                "without a name",
            ),
            (
                json!({"command": "true", "env": [{"name": "a"}]}),
                "without a value",
            ),
            (json!({"command": "no-such-program"}), "cannot be run"),
            (json!({"command": "true", "cwd": absent}), "cannot be run"),
        ] {
            let told = terminals.create(&params).unwrap_err().told;
            assert!(told.contains(why), "{params}: {told}");
        }
        let ids: Vec<_> = (0..TERMINALS_MAX)
            .map(|_| made(&terminals, &json!({"command": "true"})))
            .collect();
        let over = terminals.create(&json!({"command": "true"})).unwrap_err();
        assert!(over.told.contains("release some"), "{over:?}");
        terminals.release(&ids[0]).unwrap();
        made(&terminals, &json!({"command": "true"}));
    }
}
