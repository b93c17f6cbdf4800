//! A road: a house with a broker's settings, a scripted provider behind it, and an agent program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::scripted_model::{ScriptedModel, Turn};

use crate::house::{House, Said};
use crate::scene::installed;

/// The key at the broker, which must be seen nowhere but at the provider.
pub(crate) const KEY: &str = "planted-KEY-for-the-road-0123456789xyz";

/// An agent program, as a model that plays it calls its tools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hand {
    /// As `--agent` names it, with a model.
    agent: &'static str,
    program: &'static str,
    provider: &'static str,
    models: &'static str,
    is_codex: bool,
}

impl Hand {
    pub(crate) const CLAUDE: Self = Self {
        agent: "claude@claude-sonnet-4-5",
        program: ".bin/claude",
        provider: "anthropic",
        models: "claude-*",
        is_codex: false,
    };

    pub(crate) const CODEX: Self = Self {
        agent: "codex@gpt-5.5",
        program: ".bin/codex",
        provider: "openai",
        models: "gpt-*",
        is_codex: true,
    };

    /// Writes a file by the program's own tool, whether it is there or not.
    pub(crate) fn write(self, path: &str, text: &str) -> Vec<Turn> {
        if self.is_codex {
            let lines: Vec<_> = text.lines().map(|it| format!("+{it}\n")).collect();
            let lines = lines.concat();
            let patch = format!(
                "*** Begin Patch\n*** Delete File: {path}\n*** Add File: {path}\n{lines}*** End Patch"
            );
            let fresh = patch.replace(&format!("*** Delete File: {path}\n"), "");
            let input = json!({"cmd": format!(
                "if [ -e {path} ]; then apply_patch '{patch}'; else apply_patch '{fresh}'; fi")});
            return vec![Turn::Call("exec_command", input)];
        }
        let path = format!("/workspace/{path}");
        vec![
            Turn::Call("Read", json!({"file_path": path})),
            Turn::Call("Write", json!({"file_path": path, "content": text})),
        ]
    }

    /// Runs a command in a shell.
    pub(crate) fn run(self, command: &str) -> Turn {
        if self.is_codex {
            return Turn::Call("exec_command", json!({"cmd": command}));
        }
        let input = json!({"command": command, "description": "scripted"});
        Turn::Call("Bash", input)
    }

    /// Calls one of our tools.
    pub(crate) fn ours(self, tool: &str, input: Value) -> Turn {
        let name = match (self.is_codex, tool) {
            (false, "ask") => "mcp__palisade__ask",
            (false, "finish") => "mcp__palisade__finish",
            (false, "get_task") => "mcp__palisade__get_task",
            (false, "refuse") => "mcp__palisade__refuse",
            (false, _) => "mcp__palisade__report_finding",
            (true, "ask") => "mcp__palisade/ask",
            (true, "finish") => "mcp__palisade/finish",
            (true, "get_task") => "mcp__palisade/get_task",
            (true, "refuse") => "mcp__palisade/refuse",
            (true, _) => "mcp__palisade/report_finding",
        };
        Turn::Call(name, input)
    }
}

/// Returns what a model says to who speaks in a role and a round, both as the prompt tells them.
pub(crate) fn cast(
    hand: Hand,
    play: impl Fn(&Hand, &str, u32) -> Vec<Turn> + Send + Sync + 'static,
) -> impl Fn(&str) -> Vec<Turn> + Send + Sync + 'static {
    move |said| {
        let told = said.split("You are the ").nth(1);
        let told = told.and_then(|it| it.split_once(" (round "));
        let Some((role, rest)) = told else {
            return Vec::new();
        };
        let round = rest.split(')').next().and_then(|it| it.parse().ok());
        play(&hand, role, round.unwrap_or(1))
    }
}

/// A road for one program.
pub(crate) struct Road {
    pub(crate) house: House,
    pub(crate) provider: ScriptedModel,
    hand: Hand,
}

impl Road {
    pub(crate) fn new(
        hand: Hand,
        script: impl Fn(&str) -> Vec<Turn> + Send + Sync + 'static,
    ) -> Self {
        let house = House::with("");
        let provider = ScriptedModel::on_loopback(script).unwrap();
        let key = house.path("keys/provider.key");
        house.put("keys/provider.key", &format!("{KEY}\n"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let Hand {
            provider: name,
            models,
            ..
        } = hand;
        let (upstream, key) = (provider.upstream(), key.display());
        house.put(
            "repo/.git/palisade/broker.toml",
            &format!(
                "[{name}]\nupstream = \"{upstream}\"\nmodels = [\"{models}\"]\nkey.file = \"{key}\"\n"
            ),
        );
        let broker = Path::new(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-broker");
        let built = "build the broker first: cargo build -p palisade-broker";
        assert!(broker.is_file(), "{built}");
        Self {
            house,
            provider,
            hand,
        }
    }

    /// Returns how `--agent` names the program.
    pub(crate) fn agent(&self) -> String {
        let program: PathBuf = installed(self.hand.program);
        format!("{}:{}", self.hand.agent, program.display())
    }

    /// Returns where tapes are kept.
    pub(crate) fn tapes(&self) -> PathBuf {
        self.house.path("repo/.git/palisade/tapes")
    }

    /// Takes a specification as far as it goes.
    pub(crate) fn take(&self, spec: &str) -> Said {
        let spec = format!("../{spec}.md");
        self.house.run(&["run", &spec, "--agent", &self.agent()])
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
