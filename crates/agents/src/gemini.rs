//! Gemini CLI, headless: `--agent gemini`.
//!
//! The program speaks the Agent Client Protocol, so what it asks leave for is judged as every such
//! agent's is ([`crate::acp`]). It speaks to its model through the session's bridge with a key that
//! opens nothing, takes its settings from the session's brief, and calls nobody else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Program, Task};
use ports::cells::Cells;
use serde_json::json;

use crate::acp::{self, attend, talk};
use crate::client::Missing;
use crate::conduct::{furnished, launch_failed};
use crate::package::{Package, node, shown};
use crate::surroundings::{self, DUMMY_KEY};

/// What the driver has been tested with.
pub(crate) const PACKAGE: Package = Package {
    told: "Gemini CLI",
    name: "@google/gemini-cli",
    machines: "@google/gemini-cli",
    program: "bundle/gemini.js",
    from: (0, 61, 0),
    until: (0, 62, 0),
};

/// Where the cell shows the program's package, and the program in it.
const FOLDER: &str = "/palisade/gemini";
const PROGRAM: &str = "/palisade/gemini/bundle/gemini.js";

/// The settings, in the brief, and where the program looks for them in its home.
const SETTINGS: &str = "gemini-settings.json";
const SETTINGS_AT: &str = ".gemini/settings.json";

/// The provider whose language it speaks.
const PROVIDER: &str = "gemini";

/// The model when none is named: without a name the program asks another model which to take.
const MODEL: &str = "gemini-2.5-pro";

/// The driver of Gemini CLI.
pub struct GeminiDriver {
    program: PathBuf,
    model: Option<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl GeminiDriver {
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

    /// The same, asking for a model by its provider's name.
    #[must_use]
    pub fn with_model(self, model: &str) -> Self {
        let model = Some(model.to_owned());
        Self { model, ..self }
    }

    fn settle(task: &mut Task, home: &str) -> Result<(), String> {
        let settings = json!({
            "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
            "privacy": {"usageStatisticsEnabled": false},
            "telemetry": {"enabled": false},
            "security": {
                "auth": {"selectedType": "gemini-api-key"},
                "folderTrust": {"enabled": false},
            },
            // What a provider looks up on the web would leave the cell by its door.
            "tools": {"exclude": ["web_fetch", "google_web_search"]},
        });
        let path = task.brief.join(SETTINGS);
        std::fs::write(&path, settings.to_string())
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        task.cell
            .binds
            .push(shown(path, &format!("{home}/{SETTINGS_AT}")));
        Ok(())
    }
}

impl fmt::Debug for GeminiDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GeminiDriver")
            .field("program", &self.program)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

impl Driver for GeminiDriver {
    fn name(&self) -> String {
        "gemini".to_owned()
    }

    fn program(&self) -> Option<Program> {
        Some(PACKAGE.program(&self.program))
    }

    fn needs_model(&self) -> bool {
        true
    }

    fn speaks_to(&self, provider: &str) -> bool {
        provider == PROVIDER
    }

    fn guarantees(&self) -> Guarantees {
        acp::guarantees(Leave::WhereItAsks)
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        surroundings::needs_model(task, PACKAGE.told)?;
        let folder = PACKAGE.folder(&self.program)?;
        let node = node(task, &self.program, &self.agent_program)?;
        task.cell.binds.push(shown(folder, FOLDER));
        let binds = task.cell.binds.clone();
        PACKAGE.check(&*self.cells, task, &binds, &[&node, PROGRAM])?;
        surroundings::furnish(task, &self.agent_program);
        let home = surroundings::home(task);
        Self::settle(task, &home)?;
        let variables = [
            ("GEMINI_API_KEY", DUMMY_KEY.to_owned()),
            (
                "GOOGLE_GEMINI_BASE_URL",
                surroundings::provider(task, PROVIDER),
            ),
            ("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned()),
            ("GEMINI_CLI_NO_RELAUNCH", "true".to_owned()),
            ("TMPDIR", "/tmp".to_owned()),
        ];
        for (name, value) in variables {
            task.cell.env.insert(name.to_owned(), value);
        }
        let model = surroundings::model(self.model.as_deref(), task);
        let model = model.as_deref().unwrap_or(MODEL);
        let words = [node.as_str(), PROGRAM, "--acp", "-m", model];
        // A file that is not there must read as empty, or it gives up every new one.
        attend(task, words.map(str::to_owned).into_iter(), Missing::IsEmpty);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => talk(&*self.cells, &task, listener, PACKAGE.told),
            Err(why) => launch_failed(why),
        }
    }
}
