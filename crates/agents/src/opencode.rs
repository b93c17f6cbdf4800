//! OpenCode, headless: `--agent opencode`.
//!
//! The program speaks the Agent Client Protocol, so what it asks leave for is judged as every such
//! agent's is ([`crate::acp`]). It asks models of any provider that the broker leads to: the name of a
//! model begins with its provider's.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ports::agents::{Driver, Guarantees, Leave, Listener, Outcome, Program, Task};
use ports::cells::Cells;
use serde_json::{Value, json};

use crate::acp::{self, attend, talk};
use crate::client::Missing;
use crate::conduct::{furnished, launch_failed};
use crate::package::{Package, shown};
use crate::surroundings::{self, DUMMY_KEY, MODEL_ADDRESS};

/// What the driver has been tested with.
pub(crate) const PACKAGE: Package = Package {
    told: "OpenCode",
    name: "opencode-ai",
    machines: "opencode",
    program: "bin/opencode",
    from: (1, 18, 33),
    until: (1, 19, 0),
};

/// Where the cell shows the program.
const PROGRAM: &str = "/palisade/bin/opencode";

/// The model when none is named.
const MODEL: &str = "anthropic/claude-sonnet-4-5";

/// What the program is told of the model it speaks to: how much it reads and writes at once, in
/// tokens. The provider has its own word on both.
const CONTEXT_TOKENS: u64 = 200_000;
const OUTPUT_TOKENS: u64 = 32_000;

/// What keeps the program to itself.
const QUIET: [&str; 6] = [
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_SHARE",
];

/// The driver of OpenCode.
pub struct OpenCodeDriver {
    program: PathBuf,
    model: Option<String>,
    cells: Arc<dyn Cells>,
    agent_program: PathBuf,
}

impl OpenCodeDriver {
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

    /// The same, asking for a model: `anthropic/NAME`, `openai/NAME`, `gemini/NAME`, or `SERVER/NAME`
    /// for the server that `broker.toml` calls so.
    #[must_use]
    pub fn with_model(self, model: &str) -> Self {
        let model = Some(model.to_owned());
        Self { model, ..self }
    }
}

impl fmt::Debug for OpenCodeDriver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OpenCodeDriver")
            .field("program", &self.program)
            .field("agent_program", &self.agent_program)
            .finish_non_exhaustive()
    }
}

/// Returns the program's whole configuration.
///
/// # Errors
/// When the name of the model has no provider.
fn settings(model: &str) -> Result<Value, String> {
    let (provider, name) = model.split_once('/').ok_or_else(|| {
        format!("`{model}` names no provider: give it as `anthropic/NAME` or `SERVER/NAME`")
    })?;
    let (package, path) = match provider {
        "anthropic" => ("@ai-sdk/anthropic", "anthropic/v1".to_owned()),
        "openai" => ("@ai-sdk/openai", "openai/v1".to_owned()),
        "gemini" => ("@ai-sdk/google", "gemini/v1beta".to_owned()),
        server => (
            "@ai-sdk/openai-compatible",
            format!("compatible/{server}/v1"),
        ),
    };
    let limit = json!({"context": CONTEXT_TOKENS, "output": OUTPUT_TOKENS});
    let provider = json!({
        "npm": package,
        "name": "palisade",
        "options": {"baseURL": format!("http://{MODEL_ADDRESS}/{path}"), "apiKey": DUMMY_KEY},
        "models": {name: {"name": name, "tool_call": true, "limit": limit}},
    });
    let chosen = format!("palisade/{name}");
    Ok(json!({
        "model": chosen,
        "small_model": chosen,
        "enabled_providers": ["palisade"],
        "provider": {"palisade": provider},
        "autoupdate": false,
        "share": "disabled",
        "snapshot": false,
        "lsp": false,
        "formatter": false,
        // What is asked, our judge answers; what the web would know is behind the cell's door.
        "permission": {
            "edit": "ask", "bash": "ask", "external_directory": "ask",
            "webfetch": "deny", "websearch": "deny", "codesearch": "deny",
        },
    }))
}

impl Driver for OpenCodeDriver {
    fn name(&self) -> String {
        "opencode".to_owned()
    }

    fn program(&self) -> Option<Program> {
        Some(PACKAGE.program(&self.program))
    }

    fn needs_model(&self) -> bool {
        true
    }

    fn guarantees(&self) -> Guarantees {
        acp::guarantees(Leave::Always)
    }

    fn furnish(&self, task: &mut Task) -> Result<(), String> {
        surroundings::needs_model(task, PACKAGE.told)?;
        let given = task.model.as_ref().map(ToString::to_string);
        let model = self.model.clone().or(given);
        let settings = settings(model.as_deref().unwrap_or(MODEL))?;
        let program = shown(PACKAGE.native(&self.program)?, PROGRAM);
        PACKAGE.check(
            &*self.cells,
            task,
            std::slice::from_ref(&program),
            &[PROGRAM],
        )?;
        task.cell.binds.push(program);
        surroundings::furnish(task, &self.agent_program);
        surroundings::home(task);
        for name in QUIET {
            task.cell.env.insert(name.to_owned(), "1".to_owned());
        }
        let variables = [
            ("OPENCODE_CONFIG_CONTENT", settings.to_string()),
            ("TMPDIR", "/tmp".to_owned()),
        ];
        for (name, value) in variables {
            task.cell.env.insert(name.to_owned(), value);
        }
        let words = [PROGRAM, "acp"].map(str::to_owned);
        attend(task, words.into_iter(), Missing::IsAnError);
        Ok(())
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        match furnished(self, task) {
            Ok(task) => talk(&*self.cells, &task, listener, PACKAGE.told),
            Err(why) => launch_failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_asked_where_its_provider_is() {
        for (model, package, url) in [
            (
                "anthropic/a",
                "@ai-sdk/anthropic",
                "http://127.0.0.1:4141/anthropic/v1",
            ),
            (
                "openai/a",
                "@ai-sdk/openai",
                "http://127.0.0.1:4141/openai/v1",
            ),
            (
                "gemini/a",
                "@ai-sdk/google",
                "http://127.0.0.1:4141/gemini/v1beta",
            ),
            (
                "ollama/a",
                "@ai-sdk/openai-compatible",
                "http://127.0.0.1:4141/compatible/ollama/v1",
            ),
        ] {
            let settings = settings(model).unwrap();
            let provider = &settings["provider"]["palisade"];
            assert_eq!(provider["npm"], package);
            assert_eq!(provider["options"]["baseURL"], url);
            assert_eq!(settings["model"], "palisade/a");
            assert_eq!(settings["small_model"], "palisade/a");
        }
        // The name of a model may have a slash of its own.
        let settings_of = settings("vllm/org/model").unwrap();
        assert_eq!(settings_of["model"], "palisade/org/model");
        let told = settings("claude").unwrap_err();
        assert!(told.contains("names no provider"), "{told}");
    }
}
