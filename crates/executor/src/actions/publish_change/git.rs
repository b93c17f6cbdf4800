//! Git on a source and a remote, in a cell that holds what the question needs: the repositories that
//! are folders, a configuration of our own, and for a remote behind HTTPS a door to it and its token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::tree::Commit;
use ports::cells::Access;
use wire::execution::Code;
use zeroize::Zeroizing;

use super::remote::{At, Remote, Web};
use crate::actions::Means;
use crate::reach::Reach;
use crate::run::{Ended, Run, Unfinished};
use crate::secret::Secret;

/// Where the source is in the cell.
const SOURCE: &str = "/source.git";
/// Where the remote is in the cell, if it is a folder.
const REMOTE: &str = "/remote.git";
/// Where git's whole configuration is in the cell.
const SETTINGS: &str = "/gitconfig";
/// Where the certificates are that are believed for a remote.
const AUTHORITY: &str = "/authority.pem";

/// Git's whole configuration but for the repositories' own: both are the operator's, and the only
/// ones in the cell.
const GIT_CONFIG: &str = "[safe]\n\tdirectory = *\n";

/// What overrides the source's own configuration. The remote's is its forge's, and stays.
const OVERRIDES: [&str; 14] = [
    "core.askPass=",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.alternateRefsCommand=false",
    "credential.helper=",
    "gc.auto=0",
    "http.cookieFile=",
    "http.followRedirects=false",
    "http.saveCookies=false",
    "http.sslVerify=true",
    "push.gpgSign=false",
    "push.followTags=false",
    "push.recurseSubmodules=no",
];

/// What a branch holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Commit(String),
}

/// Git on these two repositories.
pub(super) struct Git<'a> {
    program: &'a Path,
    settings: PathBuf,
    source: &'a Path,
    remote: &'a Remote,
    patience: Duration,
    means: Means<'a>,
}

/// What a call may touch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// The source alone.
    Source,
    /// The remote, to be read.
    Remote,
    /// Both, to push.
    Both,
}

impl<'a> Git<'a> {
    pub(super) fn new(
        program: &str,
        source: &'a Path,
        remote: &'a Remote,
        patience: Duration,
        means: Means<'a>,
    ) -> Result<Self, Code> {
        let program = means.programs.get(program).ok_or(Code::ProgramChanged)?;
        let file = means.scratch.path()?.join("gitconfig");
        std::fs::write(&file, GIT_CONFIG).map_err(|_| Code::Unavailable)?;
        Ok(Self {
            program,
            settings: file,
            source,
            remote,
            patience,
            means,
        })
    }

    /// Returns what a branch of the remote holds.
    pub(super) fn held(&self, branch: &str) -> Result<Held, Unfinished> {
        let address = self.address();
        let ended = match self.remote.at {
            At::Folder(_) => {
                let format = "--format=%(objectname)\t%(refname)";
                self.call(With::Remote, &["for-each-ref", format, "--", branch])?
            }
            At::Web(_) => self.call(
                With::Remote,
                &["ls-remote", "--refs", "--", &address, branch],
            )?,
        };
        if ended.code != 0 {
            return Err(Unfinished::NotStarted);
        }
        let text = String::from_utf8_lossy(&ended.output);
        let held = text.lines().find_map(|line| {
            let (object, name) = line.split_once('\t')?;
            (name == branch).then(|| Held::Commit(object.to_owned()))
        });
        Ok(held.unwrap_or(Held::Nothing))
    }

    /// Returns whether the source has a commit.
    pub(super) fn has(&self, commit: &Commit) -> Result<bool, Unfinished> {
        let object = format!("{commit}^{{commit}}");
        let ended = self.call(With::Source, &["cat-file", "-e", &object])?;
        Ok(ended.code == 0)
    }

    /// Returns whether one commit follows another.
    pub(super) fn follows(&self, earlier: &Commit, later: &Commit) -> Result<bool, Unfinished> {
        let (earlier, later) = (earlier.as_str(), later.as_str());
        let arguments = ["merge-base", "--is-ancestor", earlier, later];
        Ok(self.call(With::Source, &arguments)?.code == 0)
    }

    /// Pushes a commit, if the branch still holds what is expected.
    pub(super) fn push(
        &self,
        commit: &Commit,
        expected: Option<&Commit>,
        branch: &str,
    ) -> Result<Ended, Unfinished> {
        let expected = expected.map_or("", Commit::as_str);
        let lease = format!("--force-with-lease={branch}:{expected}");
        let what = format!("{commit}:{branch}");
        let address = self.address();
        self.call(
            With::Both,
            &[
                "push",
                "--porcelain",
                "--no-verify",
                &lease,
                "--",
                &address,
                &what,
            ],
        )
    }

    fn address(&self) -> String {
        match &self.remote.at {
            At::Folder(_) => REMOTE.to_owned(),
            At::Web(web) => web.site.to_string(),
        }
    }

    fn call(&self, with: With, arguments: &[&str]) -> Result<Ended, Unfinished> {
        let mut env = environment();
        let mut overrides: Vec<_> = OVERRIDES.map(str::to_owned).into();
        let mut shown = vec![(self.settings.clone(), SETTINGS, Access::ReadOnly)];
        let mut reach = None;
        let mut on = SOURCE;
        match &self.remote.at {
            At::Folder(folder) if with != With::Source => {
                let access = if with == With::Both {
                    Access::Writable
                } else {
                    on = REMOTE;
                    Access::ReadOnly
                };
                shown.push((folder.clone(), REMOTE, access));
            }
            At::Web(web) if with != With::Source => {
                if let Some(authority) = &web.authority {
                    shown.push((authority.clone(), AUTHORITY, Access::ReadOnly));
                    overrides.push(format!("http.sslCAInfo={AUTHORITY}"));
                }
                let secret = self.means.secrets.get(&web.secret);
                let token = secret.and_then(|it| authorization(web, it));
                env.extend(token.ok_or(Unfinished::NotStarted)?);
                reach = Some(Reach::of(web.site.place.clone()));
            }
            At::Folder(_) | At::Web(_) => {}
        }
        if on == SOURCE {
            shown.push((self.source.to_path_buf(), SOURCE, Access::ReadOnly));
        }
        env.insert("GIT_DIR".to_owned(), on.to_owned());
        let mut all = vec!["--no-pager".to_owned()];
        for setting in overrides {
            all.extend(["-c".to_owned(), setting]);
        }
        all.extend(arguments.iter().map(|it| (*it).to_owned()));
        let run = Run {
            program: self.program,
            arguments: all,
            env,
            workspace: None,
            shown,
            reach: reach.as_ref(),
            patience: self.patience,
        };
        run.finish(self.means)
    }
}

fn environment() -> BTreeMap<String, String> {
    [
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", SETTINGS),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_ALLOW_PROTOCOL", "file:https"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns the variables by which git shows a token to this remote and no other: an argument could be
/// read by whoever reads `/proc`.
fn authorization(web: &Web, secret: &Secret) -> Option<[(String, String); 3]> {
    let token = secret.variable()?;
    let both = Zeroizing::new(format!("{}:{}", web.user, *token));
    let both = Zeroizing::new(STANDARD.encode(both.as_bytes()));
    let place = &web.site.place;
    Some([
        ("GIT_CONFIG_COUNT".to_owned(), "1".to_owned()),
        (
            "GIT_CONFIG_KEY_0".to_owned(),
            format!("http.https://{place}/.extraHeader"),
        ),
        (
            "GIT_CONFIG_VALUE_0".to_owned(),
            format!("Authorization: Basic {}", *both),
        ),
    ])
}
