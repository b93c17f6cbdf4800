//! `publish_change`: pushes a commit to an allow-listed bare repository, into the identity's branch
//! namespace, and only forward. Git runs in a cell that holds the two repositories and a
//! configuration of our own; the remote's `pre-receive` decides there like any forge's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::tree::Commit;
use ports::cells::Access;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::PublishChange;
use wire::execution::{Code, Failure, Summary, Word};

use super::{Found, Means, Outcome, Prepared, unfinished};
use crate::run::{Ended, Run, Unfinished};

/// Where the source is in the cell.
const SOURCE: &str = "/source.git";
/// Where the remote is in the cell.
const REMOTE: &str = "/remote.git";
/// Where git's whole configuration is in the cell.
const SETTINGS: &str = "/gitconfig";

/// Git's whole configuration but for the repositories' own: both are the operator's, and the only
/// ones in the cell.
const GIT_CONFIG: &str = "[safe]\n\tdirectory = *\n";

/// What overrides the source's own configuration. The remote's is its forge's, and stays.
const OVERRIDES: [&str; 9] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.alternateRefsCommand=false",
    "credential.helper=",
    "gc.auto=0",
    "push.gpgSign=false",
    "push.followTags=false",
    "push.recurseSubmodules=no",
];

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Git, of `[programs]`.
    pub(super) program: String,
    /// The git directory that commits are taken from.
    source: PathBuf,
    /// What every branch begins with: words with `/` between them.
    namespace: String,
    /// The bare repositories that may be pushed to.
    remotes: BTreeMap<Word, PathBuf>,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    300
}

/// What a branch holds.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Commit(String),
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self
            .namespace
            .split('/')
            .any(|it| it.parse::<Word>().is_err())
        {
            return Err("`publish_change`: `namespace` must be words with `/` between".to_owned());
        }
        let mut paths = self.remotes.values().chain([&self.source]);
        if paths.any(|it| !it.is_absolute()) {
            return Err("`publish_change`: `source` and `remotes` must be absolute".to_owned());
        }
        Ok(())
    }

    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a PublishChange,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let remote = self.remotes.get(&asked.remote).ok_or(Code::NotAllowed)?;
        let git = Git::new(self, remote, means)?;
        let unavailable = |_| Code::Unavailable;
        let held = git.held(&self.branch(asked)).map_err(unavailable)?;
        let wanted = match &asked.expected {
            None => Held::Nothing,
            Some(commit) => Held::Commit(commit.to_string()),
        };
        if held != wanted {
            return Err(Code::TargetMoved);
        }
        if !git.has(&asked.commit).map_err(unavailable)? {
            return Err(Code::ArtifactMissing);
        }
        if let Some(expected) = &asked.expected
            && !git.follows(expected, &asked.commit).map_err(unavailable)?
        {
            return Err(Code::NotForward);
        }
        let before = asked.expected.as_ref().map(ToString::to_string);
        Ok(Prepared {
            before: Some(before.unwrap_or_default()),
            perform: Box::new(move || self.perform(asked, &git)),
        })
    }

    fn perform(&self, asked: &PublishChange, git: &Git<'_>) -> Outcome {
        let branch = self.branch(asked);
        let pushed = git.push(asked, &branch);
        match (pushed, git.held(&branch)) {
            // What the remote holds is what counts, whatever git said about it.
            (_, Ok(Held::Commit(it))) if it == asked.commit.as_str() => {
                Outcome::Done(self.summary(asked))
            }
            (Ok(ended), Ok(_)) if ended.code != 0 => Outcome::Failed(Failure::TargetRefused, None),
            (Ok(_), Ok(_)) => Outcome::Failed(Failure::NotSeen, None),
            (Err(how), Ok(_)) => unfinished(how),
            (_, Err(_)) => Outcome::Unclear,
        }
    }

    /// Looks at what the remote holds.
    pub(super) fn look(
        &self,
        asked: &PublishChange,
        before: Option<&str>,
        means: Means<'_>,
    ) -> Found {
        let git = self
            .remotes
            .get(&asked.remote)
            .and_then(|remote| Git::new(self, remote, means).ok());
        let Some(git) = git else {
            return Found::Unclear;
        };
        match git.held(&self.branch(asked)) {
            Ok(Held::Commit(it)) if it == asked.commit.as_str() => Found::Done(self.summary(asked)),
            // The cell died with the executor, so what was not done then is not being done now.
            Ok(Held::Commit(it)) if before == Some(it.as_str()) => Found::Nothing,
            Ok(Held::Nothing) if before == Some("") => Found::Nothing,
            Ok(Held::Commit(_) | Held::Nothing) | Err(_) => Found::Unclear,
        }
    }

    fn branch(&self, asked: &PublishChange) -> String {
        format!("refs/heads/{}/{}", self.namespace, asked.branch)
    }

    fn summary(&self, asked: &PublishChange) -> Summary {
        Summary::PublishChange {
            remote: asked.remote.clone(),
            branch: format!("{}/{}", self.namespace, asked.branch),
            commit: asked.commit.clone(),
        }
    }
}

/// Git on these two repositories.
struct Git<'a> {
    program: &'a Path,
    settings: PathBuf,
    source: &'a Path,
    remote: &'a Path,
    patience: Duration,
    means: Means<'a>,
}

impl<'a> Git<'a> {
    fn new(settings: &'a Settings, remote: &'a Path, means: Means<'a>) -> Result<Self, Code> {
        let program = means
            .programs
            .get(&settings.program)
            .ok_or(Code::ProgramChanged)?;
        let file = means.scratch.join("gitconfig");
        std::fs::write(&file, GIT_CONFIG).map_err(|_| Code::Unavailable)?;
        Ok(Self {
            program,
            settings: file,
            source: &settings.source,
            remote,
            patience: Duration::from_secs(settings.timeout_seconds),
            means,
        })
    }

    /// Returns what a branch of the remote holds.
    fn held(&self, branch: &str) -> Result<Held, Unfinished> {
        let format = "--format=%(refname) %(objectname)";
        let ended = self.call(
            REMOTE,
            Access::ReadOnly,
            &["for-each-ref", format, "--", branch],
        )?;
        if ended.code != 0 {
            return Err(Unfinished::NotStarted);
        }
        let text = String::from_utf8_lossy(&ended.output);
        let held = text.lines().find_map(|line| {
            let (name, object) = line.split_once(' ')?;
            (name == branch).then(|| Held::Commit(object.to_owned()))
        });
        Ok(held.unwrap_or(Held::Nothing))
    }

    /// Returns whether the source has a commit.
    fn has(&self, commit: &Commit) -> Result<bool, Unfinished> {
        let object = format!("{commit}^{{commit}}");
        let ended = self.call(SOURCE, Access::ReadOnly, &["cat-file", "-e", &object])?;
        Ok(ended.code == 0)
    }

    /// Returns whether one commit follows another.
    fn follows(&self, earlier: &Commit, later: &Commit) -> Result<bool, Unfinished> {
        let (earlier, later) = (earlier.as_str(), later.as_str());
        let arguments = ["merge-base", "--is-ancestor", earlier, later];
        Ok(self.call(SOURCE, Access::ReadOnly, &arguments)?.code == 0)
    }

    /// Pushes, if the branch still holds what is expected.
    fn push(&self, asked: &PublishChange, branch: &str) -> Result<Ended, Unfinished> {
        let expected = asked.expected.as_ref().map_or("", Commit::as_str);
        let lease = format!("--force-with-lease={branch}:{expected}");
        let what = format!("{}:{branch}", asked.commit);
        self.call(
            SOURCE,
            Access::Writable,
            &[
                "push",
                "--porcelain",
                "--atomic",
                "--no-verify",
                &lease,
                "--",
                REMOTE,
                &what,
            ],
        )
    }

    /// Runs git on one of the two; the remote can be written only to push.
    fn call(&self, on: &str, remote: Access, arguments: &[&str]) -> Result<Ended, Unfinished> {
        let mut all = vec!["--no-pager".to_owned()];
        for setting in OVERRIDES {
            all.extend(["-c".to_owned(), setting.to_owned()]);
        }
        all.extend(arguments.iter().map(|it| (*it).to_owned()));
        let env = [
            ("GIT_DIR", on),
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", SETTINGS),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ALLOW_PROTOCOL", "file"),
        ];
        let run = Run {
            program: self.program,
            arguments: all,
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            workspace: None,
            shown: vec![
                (self.settings.clone(), SETTINGS, Access::ReadOnly),
                (self.source.to_path_buf(), SOURCE, Access::ReadOnly),
                (self.remote.to_path_buf(), REMOTE, remote),
            ],
            patience: self.patience,
        };
        run.finish(self.means.cells)
    }
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let commit = json!({"$ref": "#/components/schemas/Commit"});
    let arguments = json!({
        "remote": word, "branch": word, "commit": commit,
        "expected": {"oneOf": [commit, {"type": "null"}]},
    });
    let summary = json!({
        "remote": word, "commit": commit, "branch": {"type": "string", "maxLength": 512},
    });
    (arguments, summary)
}
