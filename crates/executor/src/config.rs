//! `executor.toml`: the executor's whole policy, in a file that agents cannot write. Its digest is
//! pinned at the start, looked at again before each action, and named by every approval.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::formula::Lane;
use domain::{Digest, Millis, principal};
use sealed::telling;
use serde::Deserialize;
use wire::execution::{Kind, VerifyingKey, Word};

use crate::actions;
use crate::paper::{self, Readers};
use crate::peer::Peer;
use crate::revoked;
use crate::secret::{AgeStore, Aws, Source, Sources};

/// The largest configuration, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file is not believed.
    #[error(transparent)]
    Paper(#[from] paper::Fault),
    /// It is not TOML of this form.
    #[error("{path}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        why: String,
    },
    /// What it says cannot be meant.
    #[error("{path}: {why}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        why: String,
    },
}

/// The configuration, as it was when the executor was started.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    /// The digest of the file: the policy that approvals are given under.
    pub policy: Digest,
    pub(crate) file: File,
    /// The operators' keys, by their identifiers.
    pub(crate) keys: BTreeMap<String, (String, VerifyingKey)>,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Where actions take effect.
    pub(crate) target: Word,
    /// A private folder: the audit, copies of pinned programs, scratch.
    pub(crate) state: PathBuf,
    /// Identifiers of revoked approvals and keys, one a line.
    pub(crate) revoked: PathBuf,
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) peers: Vec<PeerRow>,
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    pub(crate) keys: Vec<KeyRow>,
    #[serde(default)]
    pub(crate) age: Option<AgeStore>,
    #[serde(default)]
    pub(crate) aws: Option<Aws>,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, Source>,
    #[serde(default)]
    pub(crate) programs: BTreeMap<String, ProgramRow>,
    pub(crate) actions: actions::Configured,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) requests_per_minute: u64,
    pub(crate) permit_hours: u64,
    pub(crate) grant_days: u64,
    pub(crate) audit_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: 600,
            permit_hours: 24,
            grant_days: 30,
            audit_bytes: 256 << 20,
        }
    }
}

impl Limits {
    pub(crate) const fn permit_span(&self) -> Millis {
        Millis::from_mins(self.permit_hours.saturating_mul(60))
    }

    pub(crate) const fn grant_span(&self) -> Millis {
        Millis::from_mins(self.grant_days.saturating_mul(24 * 60))
    }
}

/// Who may ask, and as whom: a user of this machine or a certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerRow {
    pub(crate) principal: String,
    pub(crate) uid: Option<u32>,
    /// The SHA-256 of the certificate, in lower-case hexadecimal.
    pub(crate) certificate: Option<String>,
}

/// How it is reached over TCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) clients: PathBuf,
}

/// An operator's key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRow {
    pub(crate) principal: String,
    pub(crate) key: String,
}

/// A program, by its content.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramRow {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
}

impl File {
    /// Returns where secrets come from.
    pub(crate) fn sources(&self) -> Sources<'_> {
        let mut lanes = BTreeMap::new();
        for (action, secret) in self.actions.secrets() {
            let kind = Kind::ALL.into_iter().find(|it| it.name() == action);
            let lane = kind.map_or(Lane::Execute, Kind::lane);
            let furthest = lanes.entry(secret).or_insert(lane);
            *furthest = lane.max(*furthest);
        }
        Sources {
            wanted: &self.secrets,
            age: self.age.as_ref(),
            aws: self.aws.as_ref(),
            lanes,
        }
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// When others could have written it, it is not of the form, or cannot be meant.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = paper::read(path, CONFIG_BYTES_MAX, Readers::Anybody)?;
        let syntax = |why: String| Fault::Syntax {
            path: path.to_path_buf(),
            why,
        };
        let text = std::str::from_utf8(&bytes).map_err(|it| syntax(it.to_string()))?;
        // What the file says is not repeated: a secret is easily written where its name belongs.
        let file: File = toml::from_str(text)
            .map_err(|it| syntax(telling::plainly(text, it.span(), it.message()).to_string()))?;
        let wrong = |why: String| Fault::Wrong {
            path: path.to_path_buf(),
            why,
        };
        let keys = keys(&file).map_err(wrong)?;
        check(&file).map_err(wrong)?;
        apart(&file, path).map_err(wrong)?;
        revoked::check(&file.revoked).map_err(wrong)?;
        Ok(Self {
            path: path.to_path_buf(),
            policy: paper::digest(&bytes),
            file,
            keys,
        })
    }

    /// Returns whether the file is still what it was at the start.
    pub(crate) fn is_unchanged(&self) -> bool {
        let now = paper::read(&self.path, CONFIG_BYTES_MAX, Readers::Anybody);
        now.is_ok_and(|it| paper::digest(&it) == self.policy)
    }

    /// Returns which of these identifiers was revoked.
    pub(crate) fn first_revoked(&self, ids: [&str; 2]) -> Option<usize> {
        revoked::first(&self.file.revoked, ids)
    }

    /// Returns whether a user other than this one may ask.
    pub(crate) fn has_peers_beside(&self, own: u32) -> bool {
        let users = self.file.peers.iter().filter_map(|it| it.uid);
        users.into_iter().any(|it| it != own)
    }

    /// Returns as whom a peer asks.
    pub(crate) fn principal(&self, peer: &Peer) -> Option<&str> {
        let row = self.file.peers.iter().find(|row| match peer {
            Peer::Process { uid } => row.uid == Some(*uid),
            Peer::Certificate { fingerprint } => row.certificate.as_ref() == Some(fingerprint),
        });
        row.map(|it| it.principal.as_str())
    }
}

fn keys(file: &File) -> Result<BTreeMap<String, (String, VerifyingKey)>, String> {
    let mut keys = BTreeMap::new();
    for (number, row) in (1_usize..).zip(&file.keys) {
        let key = VerifyingKey::read(&row.key).ok_or_else(|| {
            format!("`key` of the [[keys]] number {number} is not base64 of 32 bytes")
        })?;
        if !principal::is_operator(&row.principal) {
            return Err(format!(
                "`principal` of the [[keys]] number {number} is no operator, and only one approves"
            ));
        }
        if keys
            .insert(key.id(), (row.principal.clone(), key))
            .is_some()
        {
            return Err(format!("the key {} is there twice", key.id()));
        }
    }
    Ok(keys)
}

/// Checks that no program is given a folder in which it could write what the executor believes.
fn apart(file: &File, config: &Path) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let state = real(&file.state);
    let believed = [state.clone(), real(&file.revoked), real(config)];
    for (action, folder) in file.actions.written() {
        let folder = real(folder);
        if folder.starts_with(&state) || believed.iter().any(|it| it.starts_with(&folder)) {
            return Err(format!(
                "`{action}` writes to a folder that holds, or lies in, what the executor believes \
                 (`state`, `revoked` and this file); give it one of its own"
            ));
        }
    }
    Ok(())
}

fn check(file: &File) -> Result<(), String> {
    if !file.state.is_absolute() || !file.revoked.is_absolute() {
        return Err("`state` and `revoked` must be absolute paths".to_owned());
    }
    for (number, row) in (1_usize..).zip(&file.peers) {
        if row.uid.is_some() == row.certificate.is_some() {
            return Err(format!(
                "the [[peers]] number {number} needs either a `uid` or a `certificate`"
            ));
        }
        let is_operator = file
            .keys
            .iter()
            .any(|key| principal::is_same(&key.principal, &row.principal));
        if is_operator {
            return Err(format!(
                "the `principal` of the [[peers]] number {number} asks and approves: requester and \
                 approver must be different"
            ));
        }
    }
    for (name, row) in &file.programs {
        if !row.path.is_absolute() {
            return Err(format!("the program `{name}` needs an absolute path"));
        }
    }
    for (action, program) in file.actions.programs() {
        if !file.programs.contains_key(program) {
            return Err(format!(
                "`{action}` names a program that is none of [programs]"
            ));
        }
    }
    for (action, secret) in file.actions.secrets() {
        if !file.secrets.contains_key(secret) {
            return Err(format!(
                "`{action}` names a secret that is none of [secrets]: the name stands there, \
                 never the secret itself"
            ));
        }
    }
    file.sources().check()?;
    file.actions.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const KEY: &str = "sk-ant-api03-INLINEKEY";

    const WHOLE: &str = "target = \"staging\"\nstate = \"/s\"\nrevoked = \"/r\"\n[[peers]]\n\
        principal = \"service:engine\"\nuid = 1\n[[keys]]\nprincipal = \"operator:ada\"\n\
        key = \"AAAA\"\n[secrets]\nTOKEN = \"environment\"\n[programs]\n[actions]\n";

    fn told(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("executor.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Config::read(&path).unwrap_err().to_string()
    }

    #[test]
    fn no_fault_repeats_what_the_file_says() {
        for (from, to) in [
            ("\"environment\"", format!("\"{KEY}\"")),
            ("\"environment\"", format!("{{ ssm = \"{KEY}\" }}")),
            ("\"environment\"", format!("{{ value = \"{KEY}\" }}")),
            ("\"environment\"", format!("{{ {KEY} = 1 }}")),
            ("\"environment\"", KEY.to_owned()),
            ("\"environment\"", format!("\"{KEY}")),
            ("\"staging\"", format!("\"{KEY} !\"")),
            ("\"staging\"", format!("[\"{KEY}\"]")),
            ("\"/s\"", format!("\"{KEY}\"")),
            ("uid = 1", format!("uid = \"{KEY}\"")),
            ("uid = 1", format!("{KEY} = 1")),
            ("uid = 1", format!("uid = 1\nuid = \"{KEY}\"")),
            ("\"AAAA\"", format!("\"{KEY}\"")),
            (
                "[programs]",
                format!("[programs.x]\npath = \"/x\"\ndigest = \"{KEY}\""),
            ),
            (
                "[actions]",
                format!(
                    "[actions.deploy_staging]\nprogram = \"{KEY}\"\nfolder = \"/f\"\n\
                     artifacts = \"/a\"\n"
                ),
            ),
            (
                "[actions]",
                format!(
                    "[actions.fetch_metrics_summary]\n[actions.fetch_metrics_summary.metrics.x]\n\
                     url = \"https://{KEY}@h/?k={KEY}\"\nquery = \"q\"\n"
                ),
            ),
            ("[actions]", format!("[actions]\n{KEY} = 1\n")),
            ("[actions]", format!("[{KEY}]\n")),
        ] {
            let text = WHOLE.replace(from, &to);
            assert!(text.contains(KEY), "{from}");
            let told = told(&text);
            assert!(!told.contains("INLINE"), "{text}: {told}");
            assert!(!told.contains('|'), "a line of the file is shown: {told}");
        }
        let told = told(&WHOLE.replace("\"environment\"", &format!("\"{KEY}\"")));
        assert!(told.contains("executor.toml:"), "{told}");
        assert!(told.contains("`\"environment\"`"), "{told}");
    }
}
