//! Codex, headless: `--agent codex`.
//!
//! It runs as an app-server: what it asks leave for is answered by a judge of ours, which says why
//! not; it is told more while it works, and asked to stop. Its own sandbox is off, since the cell
//! admits none within it and is the tighter one. It speaks to its model through the session's bridge
//! with a key that opens nothing, keeps its settings in the cell's own home, and calls nobody else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Program, Task};
use ports::cells::{Bind, Cells};

use crate::conduct::{converse, furnished, launch_failed};
use crate::follow_up::News;
use crate::package::{Package, shown};
use crate::permission::Judge;
use crate::surroundings::{self, DUMMY_KEY, TOOLS};

mod dialogue;

use dialogue::Server;

#[cfg(target_arch = "x86_64")]
const NATIVE: &str = "vendor/x86_64-unknown-linux-musl/bin/codex";
#[cfg(target_arch = "aarch64")]
const NATIVE: &str = "vendor/aarch64-unknown-linux-musl/bin/codex";

/// What the driver has been tested with.
pub(crate) const PACKAGE: Package = Package {
    told: "Codex",
    name: "@openai/codex",
    machines: "@openai/codex",
    program: NATIVE,
    from: (0, 169, 0),
    until: (0, 170, 0),
};

/// Whose models it asks, or those of a server that speaks the same language.
const PROVIDER: &str = "openai";

/// Where the cell shows the program's package, and the program in it.
const FOLDER: &str = "/palisade/codex";
const PROGRAM: &str = "/palisade/codex/bin/codex";

/// Marks the folder of a whole package, whose programs belong together.
const MARK: &str = "codex-package.json";

/// How it is called: driven by messages on its standard input.
const ARGUMENT: &str = "app-server";

/// Settings that keep the program to itself and lead it to its model.
const SETTINGS: [&str; 14] = [
    "model_provider=\"palisade\"",
    "model_providers.palisade.name=\"palisade\"",
    "model_providers.palisade.wire_api=\"responses\"",
    "model_providers.palisade.env_key=\"OPENAI_API_KEY\"",
    // What a provider looks up on the web would leave the cell by its door.
    "web_search=\"disabled\"",
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
    "feedback.enabled=false",
    "otel.exporter=\"none\"",
    "features.plugins=false",
    "features.remote_plugin=false",
    "features.apps=false",
    "features.tool_suggest=false",
    "features.plugin_sharing=false",
];

/// The driver of Codex.
pub struct CodexDriver {
    program: PathBuf,
    model: Option<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl CodexDriver {
    /// Makes a driver for a program on the host, as npm leaves it. `agent_program` is the client on
    /// the host, a program that is [`crate::client`] when called `palisade-agent`.
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

    fn bind(&self) -> Result<Bind, String> {
        let native = PACKAGE.native(&self.program)?;
        let package = native.parent().and_then(Path::parent);
        match package.filter(|it| it.join(MARK).is_file()) {
            Some(package) => Ok(shown(package.to_owned(), FOLDER)),
            None => Ok(shown(native, PROGRAM)),
        }
    }
}

impl fmt::Debug for CodexDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CodexDriver")
            .field("program", &self.program)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for CodexDriver {
    fn name(&self) -> String {
        "codex".to_owned()
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
            leave: Leave::WhereItAsks,
            asked_to_stop: true,
            speaks_pause: false,
            follow_up: true,
            reports_usage: false,
        }
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        surroundings::needs_model(task, PACKAGE.told)?;
        let program = self.bind()?;
        PACKAGE.check(
            &*self.cells,
            task,
            std::slice::from_ref(&program),
            &[PROGRAM],
        )?;
        task.cell.binds.push(program);
        surroundings::furnish(task, &self.agent_program);
        surroundings::home(task);
        let variables = [("OPENAI_API_KEY", DUMMY_KEY), ("TMPDIR", "/tmp")];
        for (name, value) in variables {
            task.cell.env.insert(name.to_owned(), value.to_owned());
        }
        let address = surroundings::provider(task, PROVIDER);
        let model = format!("model_providers.palisade.base_url=\"{address}/v1\"");
        let settings = SETTINGS.map(str::to_owned).into_iter().chain([model]);
        let settings = settings.chain(tools(task));
        let mut argv: Vec<String> = vec![PROGRAM.to_owned(), ARGUMENT.to_owned()];
        argv.extend(settings.flat_map(|it| ["-c".to_owned(), it]));
        task.cell.argv = argv;
        surroundings::lead_to_model(task);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => {
                let news = News::new(task.brief.clone());
                let model = surroundings::model(self.model.as_deref(), &task);
                let server = Server::new(Judge::of(&task), news, model);
                converse(&*self.cells, &task, listener, Some(Box::new(server)))
            }
            Err(why) => launch_failed(why),
        }
    }
}

/// Returns the settings that name the server of our tools. Their values are plain text, which is
/// the same in JSON and TOML.
fn tools(task: &Task) -> Vec<String> {
    let (command, args, env) = surroundings::tools(task);
    let mut settings = vec![
        format!("mcp_servers.{TOOLS}.command={command:?}"),
        format!("mcp_servers.{TOOLS}.args={args:?}"),
    ];
    let env = env.iter();
    settings.extend(env.map(|(name, value)| format!("mcp_servers.{TOOLS}.env.{name}={value:?}")));
    settings
}
