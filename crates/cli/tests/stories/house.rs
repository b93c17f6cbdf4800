//! A house for a story: a scratch repository, an agent, and the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A repository with one gate and a story for the agent.
pub(crate) struct House {
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The gate: every file in `tests/` is a shell script that must succeed.
const GATE: &str = r#"#!/bin/sh
echo "TAP version 13"
number=0
for test in tests/*.t; do
    number=$((number + 1))
    if sh "$test"; then echo "ok $number - $test"; else echo "not ok $number - $test"; red=1; fi
done
exit ${red:-0}
"#;

/// An agent that does its work without ado.
pub(crate) const GOOD: &str = r#"
[[turn]]
role = "builder"
steps = [{ write = "src/bye", text = "bye\n" }, { done = "wrote src/bye" }]
[[turn]]
role = "tester"
steps = [{ write = "tests/bye.t", text = "grep -q bye src/bye\n" }, { done = "tested it" }]
[[turn]]
role = "reviewer"
steps = [{ done = "fine" }]
[[turn]]
role = "docs"
steps = [{ refuse = "already_done", detail = "nothing to say" }]
"#;

impl House {
    pub(crate) fn with(story: &str) -> Self {
        let house = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        house.put("repo/src/hello", "hello\n");
        house.put("repo/tests/hello.t", "grep -q hello src/hello\n");
        house.put("repo/gate.sh", GATE);
        house.put(
            "repo/.palisade/gates.toml",
            "[[gate]]\nname = \"unit\"\nargv = [\"/bin/sh\", \"gate.sh\"]\n",
        );
        house.put("repo/.env", "TOKEN=canary-0a1b2c\n");
        house.put("story.toml", story);
        house.spec("spec", "# Say goodbye\n\nWrite `src/bye`.\n");
        house.git(&["init", "--quiet", "--initial-branch=main"]);
        house.git(&["add", "--all"]);
        house.git(&["commit", "--quiet", "--message", "base"]);
        house
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn spec(&self, name: &str, body: &str) {
        let front = "---\nallow: [src/**, tests/**, \"*.md\"]\n---\n";
        self.put(&format!("{name}.md"), &format!("{front}{body}"));
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(self.path("repo"))
            .args(["-c", "user.name=story", "-c", "user.email=story@localhost"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            // The same commits have the same names in every house.
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command
            .args(arguments)
            .current_dir(self.path("repo"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("USER", "ada")
            .env("LAUNCHER_CANARY", "canary-3c4d5e")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(&self.command(arguments).output().unwrap())
    }

    /// Runs a command as on a terminal with colours: nothing is taken out of what it prints.
    pub(crate) fn run_in_colour(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command.env("CLICOLOR_FORCE", "1");
        said(&command.output().unwrap())
    }

    /// Approves the proposal that waits, as a program does that has looked at it.
    pub(crate) fn approve(&self, words: &[&str]) -> Said {
        let dossier = self.dossier(words);
        let mut arguments = vec!["decide", "--approve", "--dossier", &dossier];
        arguments.extend(words);
        self.run(&arguments)
    }

    /// Returns the dossier of the proposal that waits; zeros when none does.
    pub(crate) fn dossier(&self, words: &[&str]) -> String {
        let mut arguments = vec!["decide", "--json"];
        arguments.extend(words);
        let shown = self.run(&arguments).out;
        let waiting: Value = serde_json::from_str(&shown).unwrap_or_default();
        let dossier = waiting[0]["decision"]["proposal"]["dossier"].as_str();
        dossier.map_or_else(|| format!("b3:{}", "0".repeat(64)), str::to_owned)
    }

    /// Starts a command and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts a command and keeps what it says, for whoever waits for it.
    pub(crate) fn start_with_output(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn take(&self, spec: &str) -> Said {
        self.run(&[
            "run",
            &format!("../{spec}.md"),
            "--agent",
            "scripted:../story.toml",
        ])
    }

    /// The board's line of a work.
    pub(crate) fn line(&self, name: &str) -> Value {
        let said = self.run(&["status", "--json", "--all"]);
        let board: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let lines = board.as_array().unwrap_or_else(|| panic!("{board}"));
        lines
            .iter()
            .find(|it| it["name"] == name)
            .unwrap_or_else(|| panic!("{board}"))
            .clone()
    }

    /// The first session of a work in a role.
    pub(crate) fn session(&self, name: &str, role: &str) -> String {
        let said = self.run(&["show", name, "--json"]);
        let work: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let sessions = work["sessions"].as_array().unwrap();
        let found = sessions.iter().find(|it| it["about"]["role"] == role);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Everything below the repository's working tree, but for the git folder.
    pub(crate) fn working_tree(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("repo")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().is_some_and(|it| it == ".git") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

/// Returns what a command that is over has said.
pub(crate) fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns whether any file below a folder holds a text.
pub(crate) fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            holds(&path, text)
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            bytes.windows(text.len()).any(|it| it == text.as_bytes())
        }
    })
}
