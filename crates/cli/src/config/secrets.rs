//! What agents may not see: files that are secrets by their name, and what the operator has
//! accepted among the things that look like credentials.

use engine::catalog::sheet::Table;
use ports::workspaces::Secrets;

use super::globs_of;

/// Files that are secrets by their name: they are not shown to agents, and not taken in.
const GLOBS: [&str; 29] = [
    "**/.env",
    "**/.env*",
    "**/*.pem",
    "**/*.key",
    "**/*.ppk",
    "**/*.p12",
    "**/*.pfx",
    "**/*.jks",
    "**/*.keystore",
    "**/*.kdbx",
    "**/id_rsa",
    "**/id_dsa",
    "**/id_ed25519",
    "**/id_ecdsa",
    "**/.netrc",
    "**/.npmrc",
    "**/.pypirc",
    "**/.pgpass",
    "**/.my.cnf",
    "**/.htpasswd",
    "**/.vault-token",
    "**/.dockercfg",
    "**/.docker/config.json",
    "**/.aws/credentials",
    "**/.kube/config",
    "**/.cargo/credentials.toml",
    "**/.terraformrc",
    "**/credentials.json",
    "**/.git-credentials",
];

/// Returns what the file says, beside what is known already.
pub(super) fn read(root: &Table<'_>) -> Secrets {
    let ours = GLOBS.iter().map(ToString::to_string);
    Secrets {
        globs: ours.chain(globs_of(root, "secrets")).collect(),
        accepted: root
            .tables("accepted_secret")
            .iter()
            .map(accepted)
            .collect(),
    }
}

/// A fingerprint is accepted for a reason, which stands in the file for whoever reads it.
fn accepted(table: &Table<'_>) -> String {
    let fingerprint = table.required_text("fingerprint");
    let reason = table.required_text("reason");
    table.finish();
    let digit = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    let is_one = fingerprint.len() == 16 && fingerprint.bytes().all(digit);
    if !(is_one || fingerprint.is_empty()) {
        let message = "must be the 16 hexadecimal digits that `palisade doctor` shows";
        table.fault("fingerprint", message);
    }
    if reason.trim().is_empty() && table.text("reason").is_some() {
        table.fault("reason", "say why this is no secret");
    }
    fingerprint
}
