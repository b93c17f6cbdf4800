//! `deploy_staging`: a configured program puts an artifact, by its digest, into staging's folder.
//! The program gets the artifact at `/artifact` (read-only), the folder at `/target`, and the
//! variables `ARTIFACT`, `TARGET` and `VERSION`; last it writes the version into the file that says
//! what is released, and that file is what the executor believes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Digest;
use ports::cells::Access;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::DeployStaging;
use wire::execution::{Code, Failure, Summary, Word};

use super::{Found, Means, Outcome, Prepared, environment, unfinished};
use crate::reach::Reach;
use crate::run::Run;

/// The largest artifact, in bytes.
const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

/// The longest content of the file that says what is released, in bytes.
const RELEASED_BYTES_MAX: u64 = 256;

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The program, of `[programs]`.
    pub(super) program: String,
    #[serde(default)]
    arguments: Vec<String>,
    /// Variables of the program, each with the secret that it holds.
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, String>,
    /// Artifacts, each named by the 64 digits of its digest.
    artifacts: PathBuf,
    /// Staging's folder.
    folder: PathBuf,
    /// The file in it that says what is released.
    released: Word,
    /// The hosts that the program may reach, through `HTTPS_PROXY`.
    reach: Option<Reach>,
    /// What the receipt calls the place where it is to be seen.
    url_id: Word,
    #[serde(default = "usual_timeout_seconds")]
    timeout_seconds: u64,
}

const fn usual_timeout_seconds() -> u64 {
    600
}

impl Settings {
    /// Returns the folder that deploying changes.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.artifacts.starts_with(&self.folder) {
            Err("`deploy_staging`: `artifacts` may not lie in `folder`".to_owned())
        } else if self.folder.is_absolute() && self.artifacts.is_absolute() {
            Ok(())
        } else {
            Err("`deploy_staging`: `artifacts` and `folder` must be absolute paths".to_owned())
        }
    }

    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a DeployStaging,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let program = means
            .programs
            .get(&self.program)
            .ok_or(Code::ProgramChanged)?;
        let mut env = environment(&self.secrets, means.secrets)?;
        env.extend([
            ("ARTIFACT".to_owned(), "/artifact".to_owned()),
            ("TARGET".to_owned(), "/target".to_owned()),
            ("VERSION".to_owned(), asked.artifact.to_string()),
        ]);
        // What is deployed is a copy of our own: the artifact may be exchanged at any time.
        let copy = means.scratch.path()?.join("artifact");
        self.copy(asked.artifact, &copy)?;
        let run = Run {
            program,
            arguments: self.arguments.clone(),
            env,
            workspace: None,
            shown: vec![
                (copy, "/artifact", Access::ReadOnly),
                (self.folder.clone(), "/target", Access::Writable),
            ],
            reach: self.reach.as_ref(),
            patience: Duration::from_secs(self.timeout_seconds),
        };
        let before = self.released();
        Ok(Prepared {
            before,
            perform: Box::new(move || self.perform(asked, run, means)),
        })
    }

    fn perform(&self, asked: &DeployStaging, run: Run<'_>, means: Means<'_>) -> Outcome {
        match run.finish(means) {
            Err(how) => unfinished(how),
            Ok(ended) if ended.code != 0 => Outcome::Failed(Failure::ProgramFailed, None),
            Ok(_) if self.holds(asked.artifact) => Outcome::Done(self.summary(asked.artifact)),
            Ok(_) => Outcome::Failed(Failure::NotSeen, None),
        }
    }

    /// Looks at what is released. Another version than the wanted one may be half replaced.
    pub(super) fn look(&self, asked: &DeployStaging, before: Option<&str>) -> Found {
        let wanted = asked.artifact.to_string();
        if self.holds(asked.artifact) && before != Some(wanted.as_str()) {
            Found::Done(self.summary(asked.artifact))
        } else {
            Found::Unclear
        }
    }

    fn summary(&self, version: Digest) -> Summary {
        Summary::DeployStaging {
            version,
            url_id: self.url_id.clone(),
        }
    }

    fn holds(&self, artifact: Digest) -> bool {
        self.released().is_some_and(|it| it == artifact.to_string())
    }

    /// Returns the version that is released, if the file says one.
    fn released(&self) -> Option<String> {
        let file = regular(&self.folder.join(self.released.as_str()))?;
        let mut text = String::new();
        file.take(RELEASED_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        let version: Digest = text.trim().parse().ok()?;
        Some(version.to_string())
    }

    fn copy(&self, artifact: Digest, to: &Path) -> Result<(), Code> {
        let name = artifact.to_string().replace("b3:", "");
        let file = regular(&self.artifacts.join(name)).ok_or(Code::ArtifactMissing)?;
        let mut from = file.take(ARTIFACT_BYTES_MAX + 1);
        let mut copy = File::options()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(to)
            .map_err(|_| Code::Unavailable)?;
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; 64 << 10];
        let mut length = 0_u64;
        loop {
            let count = from.read(&mut bytes).map_err(|_| Code::Unavailable)?;
            if count == 0 {
                break;
            }
            length += u64::try_from(count).unwrap_or(u64::MAX);
            hasher.update(&bytes[..count]);
            copy.write_all(&bytes[..count])
                .map_err(|_| Code::Unavailable)?;
        }
        let found = Digest::from_bytes(*hasher.finalize().as_bytes());
        if length > ARTIFACT_BYTES_MAX || found != artifact {
            return Err(Code::ArtifactMismatch);
        }
        Ok(())
    }
}

/// Opens a regular file, and never follows a link to it.
pub(super) fn regular(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
        .ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let digest = json!({"$ref": "#/components/schemas/Digest"});
    let arguments = json!({"artifact": digest});
    let summary = json!({"version": digest, "url_id": {"$ref": "#/components/schemas/Word"}});
    (arguments, summary)
}
