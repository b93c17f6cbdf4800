//! Claude Code, headless: `--agent claude`.
//!
//! The program streams what it does and asks leave for every tool; a judge of ours answers by role,
//! lane and plan. It speaks to its model through the session's bridge with a key that opens nothing,
//! keeps its settings in the cell's own folders, and calls nobody else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Program, Task};
use ports::cells::Cells;
use serde_json::json;

use crate::conduct::{converse, furnished, launch_failed};
use crate::follow_up::News;
use crate::package::{Package, shown};
use crate::permission::Judge;
use crate::surroundings::{self, BRIEF, DUMMY_KEY, TOOLS};

mod dialogue;

use dialogue::Stream;

/// What the driver has been tested with.
pub(crate) const PACKAGE: Package = Package {
    told: "Claude Code",
    name: "@anthropic-ai/claude-code",
    machines: "@anthropic-ai/claude-code",
    program: "claude",
    from: (2, 1, 329),
    until: (2, 2, 0),
};

/// Whose models it asks, or those of a server that speaks the same language.
const PROVIDER: &str = "anthropic";

/// Where the cell shows the program.
const PROGRAM: &str = "/palisade/bin/claude";

/// What keeps the program to itself: no telemetry, no reports, no updates.
const QUIET: [&str; 5] = [
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_AUTOUPDATER",
    "DISABLE_BUG_COMMAND",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
];

/// What it runs before each command of the agent. The program listens for others of its kind, and
/// gives every command a token for that; an agent that looks at its environment would then send what
/// looks like a credential to its model, and be ended for it.
const BEFORE_COMMANDS: &str = "unset CLAUDE_CODE_MESSAGING_SOCKET CLAUDE_CODE_MESSAGING_TOKEN\n";

/// The file that says so, in the brief.
const BEFORE_COMMANDS_FILE: &str = "claude.env";

/// How it is called: a stream in both directions, every leave asked for, nothing of the
/// repository's own settings, and no tools beside its own and ours.
const ARGUMENTS: [&str; 16] = [
    "-p",
    "--output-format",
    "stream-json",
    "--verbose",
    "--input-format",
    "stream-json",
    "--permission-prompt-tool",
    "stdio",
    "--permission-mode",
    "manual",
    "--setting-sources",
    "user",
    "--no-session-persistence",
    "--disallowedTools",
    "WebFetch,WebSearch,AskUserQuestion",
    "--strict-mcp-config",
];

/// The driver of Claude Code.
pub struct ClaudeDriver {
    program: PathBuf,
    model: Option<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl ClaudeDriver {
    /// Makes a driver for a program on the host, as npm or the maker's installer leave it.
    /// `agent_program` is the client on the host, a program that is [`crate::client`] when called
    /// `palisade-agent`.
    #[must_use]
    pub fn new(program: PathBuf, cells: Arc<dyn Cells>, agent_program: PathBuf) -> Self {
        Self {
            program,
            model: None,
            cells,
            agent_program,
        }
    }

    /// The same, asking for a model by its provider's name, and not for the program's own choice.
    #[must_use]
    pub fn with_model(self, model: &str) -> Self {
        let model = Some(model.to_owned());
        Self { model, ..self }
    }
}

impl fmt::Debug for ClaudeDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClaudeDriver")
            .field("program", &self.program)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for ClaudeDriver {
    fn name(&self) -> String {
        "claude".to_owned()
    }

    fn program(&self) -> Option<Program> {
        Some(PACKAGE.program(&self.program))
    }

    fn needs_model(&self) -> bool {
        true
    }

    fn speaks_to(&self, provider: &str) -> bool {
        surroundings::is_own_or_compatible(provider, PROVIDER)
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            governed: true,
            leave: Leave::Always,
            asked_to_stop: true,
            speaks_pause: false,
            follow_up: true,
            reports_usage: false,
        }
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        surroundings::needs_model(task, PACKAGE.told)?;
        let program = shown(PACKAGE.native(&self.program)?, PROGRAM);
        PACKAGE.check(
            &*self.cells,
            task,
            std::slice::from_ref(&program),
            &[PROGRAM],
        )?;
        task.cell.binds.push(program);
        surroundings::furnish(task, &self.agent_program);
        let before = task.brief.join(BEFORE_COMMANDS_FILE);
        std::fs::write(&before, BEFORE_COMMANDS)
            .map_err(|error| format!("{} cannot be written: {error}", before.display()))?;
        let home = surroundings::home(task);
        let variables = [
            ("ANTHROPIC_API_KEY", DUMMY_KEY.to_owned()),
            ("ANTHROPIC_BASE_URL", surroundings::provider(task, PROVIDER)),
            ("CLAUDE_CONFIG_DIR", format!("{home}/.claude")),
            ("CLAUDE_ENV_FILE", format!("{BRIEF}/{BEFORE_COMMANDS_FILE}")),
            ("TMPDIR", "/tmp".to_owned()),
        ];
        for (name, value) in variables {
            task.cell.env.insert(name.to_owned(), value);
        }
        if let Some(model) = surroundings::model(self.model.as_deref(), task) {
            task.cell.env.insert("ANTHROPIC_MODEL".to_owned(), model);
        }
        for name in QUIET {
            task.cell.env.insert(name.to_owned(), "1".to_owned());
        }
        let (command, args, env) = surroundings::tools(task);
        let server = json!({"type": "stdio", "command": command, "args": args, "env": env});
        let servers = json!({"mcpServers": {TOOLS: server}}).to_string();
        let words = std::iter::once(PROGRAM).chain(ARGUMENTS);
        let words = words.chain(["--mcp-config", &servers]);
        task.cell.argv = words.map(str::to_owned).collect();
        surroundings::lead_to_model(task);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => {
                let stream = Stream::new(Judge::of(&task), News::new(task.brief.clone()));
                converse(&*self.cells, &task, listener, Some(Box::new(stream)))
            }
            Err(why) => launch_failed(why),
        }
    }
}
