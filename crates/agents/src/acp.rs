//! Any agent that speaks the Agent Client Protocol: `--agent "acp:PROGRAM ARGS…"`.
//!
//! The program is talked to over its standard input and output, in version 1 of the protocol. It asks
//! leave of our judge, who answers by role, lane and plan; files and terminals that it leaves to its
//! client are judged the same way and handled inside its own cell. Our tools are a server of the
//! session. What stands against the official crates is in `docs/adr/0012-acp-by-hand.md`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Task};
use ports::cells::Cells;
use serde_json::{Value, json};

use crate::client::Missing;
use crate::command;
use crate::conduct::{converse, furnished, launch_failed};
use crate::follow_up::News;
use crate::permission::Judge;
use crate::surroundings::{self, CLIENT, DUMMY_KEY, MODEL_ADDRESS, PROGRAMS, TOOLS};

mod conversation;
mod leave;
mod update;

use conversation::{Conversation, Manner};

/// Where programs of this kind look for their model, and the key they want: none is a real one.
const MODEL_VARIABLES: [(&str, &str); 3] = [
    ("ANTHROPIC_BASE_URL", "/anthropic"),
    ("OPENAI_BASE_URL", "/openai/v1"),
    ("GOOGLE_GEMINI_BASE_URL", "/gemini"),
];
const KEY_VARIABLES: [&str; 3] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"];

/// The driver of any program that speaks the protocol.
pub struct AcpDriver {
    argv: Vec<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl AcpDriver {
    /// Makes a driver for a command as [`command::parse`] returns it. `agent_program` is the client
    /// on the host, a program that is [`crate::client`] when called `palisade-agent`.
    #[must_use]
    pub fn new(argv: Vec<String>, cells: Arc<dyn Cells>, agent_program: PathBuf) -> Self {
        Self {
            argv,
            cells,
            agent_program,
        }
    }
}

impl fmt::Debug for AcpDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AcpDriver")
            .field("argv", &self.argv)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for AcpDriver {
    fn name(&self) -> String {
        let program = self.argv.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        format!("acp:{}", name.to_string_lossy())
    }

    fn needs_model(&self) -> bool {
        true
    }

    fn guarantees(&self) -> Guarantees {
        guarantees(Leave::WhereItAsks)
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| command::Error::Empty.to_string())?;
        let program = surroundings::admit(task, Path::new(program), &self.agent_program)
            .map_err(|why| format!("the agent program {why}"))?;
        surroundings::furnish(task, &self.agent_program);
        surroundings::home(task);
        for (name, path) in MODEL_VARIABLES {
            let url = format!("http://{MODEL_ADDRESS}{path}");
            task.cell.env.entry(name.to_owned()).or_insert(url);
        }
        for name in KEY_VARIABLES {
            let key = task.cell.env.entry(name.to_owned());
            key.or_insert_with(|| DUMMY_KEY.to_owned());
        }
        let argv = std::iter::once(program).chain(arguments.to_vec());
        attend(task, argv, Missing::IsAnError);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => talk(&*self.cells, &task, listener, &self.name()),
            Err(why) => launch_failed(why),
        }
    }
}

/// Returns what a program guarantees that is driven by this protocol.
pub(crate) const fn guarantees(leave: Leave) -> Guarantees {
    Guarantees {
        governed: true,
        leave,
        asked_to_stop: true,
        speaks_pause: false,
        follow_up: true,
        reports_usage: false,
    }
}

/// Completes a furnished task with a program that speaks the protocol: beside it are the hands that
/// do what it leaves to its client, and its way to a model.
pub(crate) fn attend(task: &mut Task, program: impl Iterator<Item = String>, missing: Missing) {
    let mut argv = vec![format!("{PROGRAMS}/{CLIENT}"), "hands".to_owned()];
    match missing {
        Missing::IsAnError => {}
        Missing::IsEmpty => argv.push("--missing-is-empty".to_owned()),
    }
    argv.push("--".to_owned());
    argv.extend(program);
    task.cell.argv = argv;
    surroundings::lead_to_model(task);
}

/// Runs a furnished session of a program that speaks the protocol. `told` is what it is called to
/// the operator.
pub(crate) fn talk(cells: &dyn Cells, task: &Task, listener: &dyn Listener, told: &str) -> Outcome {
    let manner = Manner {
        told: format!("`{told}`"),
        tools: tools(task),
    };
    let news = News::new(task.brief.clone());
    let conversation = Conversation::new(manner, Judge::of(task), news);
    converse(cells, task, listener, Some(Box::new(conversation)))
}

/// Returns the server of our tools as the protocol names one.
fn tools(task: &Task) -> Value {
    let (command, args, env) = surroundings::tools(task);
    let env: Vec<Value> = env
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({"name": TOOLS, "command": command, "args": args, "env": env})
}
