//! `publish_change`: pushes a commit to an allow-listed remote, into the identity's branch namespace,
//! and only forward; then, if that is asked for, opens a pull request at the remote's forge. A remote
//! is a bare repository here, whose `pre-receive` decides like any forge's, or one behind HTTPS.

mod git;
mod remote;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrets::Scanner;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::{PublishChange, PullRequest, Text, Title};
use wire::execution::reply::Opened;
use wire::execution::{Code, Failure, Summary, Word};

use self::git::{Git, Held};
pub(super) use self::remote::Remote;
use super::{Found, Means, Outcome, Prepared, unfinished};
use crate::forge::{self, Fault, Forge, Opening, Wanted};

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
    /// What may be pushed to.
    pub(super) remotes: BTreeMap<Word, Remote>,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    300
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
        if !self.source.is_absolute() {
            return Err("`publish_change`: `source` must be absolute".to_owned());
        }
        Ok(())
    }

    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a PublishChange,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let remote = self.remotes.get(&asked.remote).ok_or(Code::NotAllowed)?;
        let forge = match &asked.pull_request {
            None => None,
            Some(what) => Some(proposable(remote, what, means)?),
        };
        let git = self.git(remote, means)?;
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
            perform: Box::new(move || self.perform(asked, &git, forge.as_ref())),
        })
    }

    fn perform(&self, asked: &PublishChange, git: &Git<'_>, forge: Option<&Forge<'_>>) -> Outcome {
        let branch = self.branch(asked);
        let pushed = git.push(&asked.commit, asked.expected.as_ref(), &branch);
        match (pushed, git.held(&branch)) {
            // What the remote holds is what counts, whatever git said about it.
            (_, Ok(Held::Commit(it))) if it == asked.commit.as_str() => match forge {
                None => Outcome::Done(self.summary(asked, None)),
                Some(forge) => self.propose(asked, forge),
            },
            (Ok(ended), Ok(_)) if ended.code != 0 => Outcome::Failed(Failure::TargetRefused, None),
            (Ok(_), Ok(_)) => Outcome::Failed(Failure::NotSeen, None),
            (Err(how), Ok(_)) => unfinished(how),
            (_, Err(_)) => Outcome::Unclear,
        }
    }

    /// Opens a pull request for what was pushed, unless it is open.
    fn propose(&self, asked: &PublishChange, forge: &Forge<'_>) -> Outcome {
        let branch = self.branch(asked);
        let Some(wanted) = wanted(asked, &branch) else {
            return Outcome::Done(self.summary(asked, None));
        };
        let found = match forge.find(wanted) {
            Ok(None) => match forge.open(wanted) {
                Ok(Opening::Done(number)) => Ok(Some(number)),
                // Also when nobody can say what became of it: if it is there, it was done.
                Ok(Opening::IsThere) => forge.find(wanted),
                Err(Fault::Unclear) => match forge.find(wanted) {
                    Ok(Some(number)) => Ok(Some(number)),
                    Ok(None) | Err(_) => Err(Fault::Unclear),
                },
                Err(fault) => Err(fault),
            },
            found => found,
        };
        let failure = match found {
            Ok(Some(number)) => return Outcome::Done(self.summary(asked, Some((number, forge)))),
            Err(Fault::Unclear) => return Outcome::Unclear,
            Ok(None) | Err(Fault::Refused) => Failure::TargetRefused,
            Err(Fault::Unreachable) => Failure::TargetUnreachable,
            Err(Fault::Unreadable) => Failure::Unreadable,
        };
        // The commit is there all the same.
        Outcome::Failed(failure, Some(self.summary(asked, None)))
    }

    /// Looks at what the remote holds, and its forge.
    pub(super) fn look(
        &self,
        asked: &PublishChange,
        before: Option<&str>,
        means: Means<'_>,
    ) -> Found {
        let remote = self.remotes.get(&asked.remote);
        let git = remote.and_then(|it| Some((it, self.git(it, means).ok()?)));
        let Some((remote, git)) = git else {
            return Found::Unclear;
        };
        let branch = self.branch(asked);
        match git.held(&branch) {
            Ok(Held::Commit(it)) if it == asked.commit.as_str() => {
                self.look_for_pull_request(asked, remote, means)
            }
            // Elsewhere it may still be under way, though whoever sent it is dead.
            Ok(Held::Commit(_) | Held::Nothing) if !remote.is_here() => Found::Unclear,
            // The cell died with the executor, so what was not done then is not being done now.
            Ok(Held::Commit(it)) if before == Some(it.as_str()) => Found::Nothing,
            Ok(Held::Nothing) if before == Some("") => Found::Nothing,
            Ok(Held::Commit(_) | Held::Nothing) | Err(_) => Found::Unclear,
        }
    }

    fn look_for_pull_request(
        &self,
        asked: &PublishChange,
        remote: &Remote,
        means: Means<'_>,
    ) -> Found {
        let Some(what) = &asked.pull_request else {
            return Found::Done(self.summary(asked, None));
        };
        let branch = self.branch(asked);
        let forge = proposable(remote, what, means).ok();
        match (forge, wanted(asked, &branch)) {
            (Some(forge), Some(wanted)) => match forge.find(wanted) {
                Ok(Some(number)) => Found::Done(self.summary(asked, Some((number, &forge)))),
                Ok(None) | Err(_) => Found::Unclear,
            },
            (Some(_), None) | (None, _) => Found::Unclear,
        }
    }

    fn git<'a>(&'a self, remote: &'a Remote, means: Means<'a>) -> Result<Git<'a>, Code> {
        let patience = Duration::from_secs(self.timeout_seconds);
        Git::new(&self.program, &self.source, remote, patience, means)
    }

    fn branch(&self, asked: &PublishChange) -> String {
        format!("refs/heads/{}/{}", self.namespace, asked.branch)
    }

    fn summary(&self, asked: &PublishChange, opened: Option<(u64, &Forge<'_>)>) -> Summary {
        Summary::PublishChange {
            remote: asked.remote.clone(),
            branch: format!("{}/{}", self.namespace, asked.branch),
            commit: asked.commit.clone(),
            pull_request: opened.map(|(number, forge)| Opened {
                number,
                url_id: forge.url_id().clone(),
            }),
        }
    }
}

fn wanted<'a>(asked: &'a PublishChange, branch: &'a str) -> Option<Wanted<'a>> {
    Some(Wanted {
        head: branch.strip_prefix("refs/heads/")?,
        what: asked.pull_request.as_ref()?,
    })
}

/// Returns the forge of a remote, if a pull request may be opened there.
fn proposable<'a>(
    remote: &'a Remote,
    what: &PullRequest,
    means: Means<'a>,
) -> Result<Forge<'a>, Code> {
    let settings: &forge::Settings = remote.forge.as_ref().ok_or(Code::NotAllowed)?;
    if !settings.bases.contains(&what.base) {
        return Err(Code::NotAllowed);
    }
    // Whoever wrote it may have copied a credential that we do not hold. It would be public.
    let scanner = Scanner::standard().map_err(|_| Code::Unavailable)?;
    let texts = [what.title.as_str(), what.text.as_str()];
    if texts
        .iter()
        .any(|it| !scanner.scan(it.as_bytes()).is_empty())
    {
        return Err(Code::SecretInRequest);
    }
    let token = means.secrets.get(&settings.secret);
    let token = token.ok_or(Code::Unavailable)?;
    Ok(Forge::new(settings, token, means.connections))
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let commit = json!({"$ref": "#/components/schemas/Commit"});
    let arguments = json!({
        "remote": word, "branch": word, "commit": commit,
        "expected": {"oneOf": [commit, {"type": "null"}]},
        "pull_request": {
            "type": "object", "additionalProperties": false,
            "required": ["base", "title", "text"],
            "properties": {
                "base": word,
                "title": {"type": "string", "minLength": 1, "maxLength": Title::BYTES_MAX},
                "text": {"type": "string", "minLength": 1, "maxLength": Text::BYTES_MAX},
            },
        },
    });
    let summary = json!({
        "remote": word, "commit": commit, "branch": {"type": "string", "maxLength": 512},
        "pull_request": {
            "type": "object", "additionalProperties": false,
            "required": ["number", "url_id"],
            "properties": {"number": {"type": "integer", "minimum": 1}, "url_id": word},
        },
    });
    (arguments, summary)
}

/// Returns which arguments and fields of the summary may be left out.
pub(super) const fn optional() -> &'static [&'static str] {
    &["pull_request"]
}
