//! What looks like a credential, and what withheld files hold, told plainly: keys with a body, and
//! what long variables are set to.

use domain::Digest;
use domain::tree::{Commit, Entry};
use ports::artifacts::Artifacts;
use ports::workspaces::{Error, Leak, Secrets, Withheld};

use super::files::Files;
use super::globs::takes;
use super::store;

/// Returns a fault if files of a base that agents would see hold keys.
pub(super) fn check(
    artifacts: &dyn Artifacts,
    base: &Commit,
    files: &Files,
    secrets: &Secrets,
) -> Result<(), Error> {
    let mut found = Vec::new();
    for (path, content) in shown(files, secrets, true) {
        let bytes = artifacts.get(content).map_err(store(path))?;
        for (line, fingerprint) in keys(&bytes) {
            found.push(Leak {
                path: path.to_owned(),
                line,
                rule: "private-key".to_owned(),
                fingerprint,
            });
        }
    }
    found.retain(|it| !secrets.accepted.contains(&it.fingerprint));
    if found.is_empty() {
        return Ok(());
    }
    let base = base.clone();
    Err(Error::Secrets { base, found })
}

/// Returns the lines and fingerprints of keys in a text.
pub(super) fn keys(bytes: &[u8]) -> Vec<(u64, String)> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY");
    let pairs = lines.windows(2).enumerate();
    pairs
        .filter(|(_, pair)| begins(pair[0]) && pair[1].len() >= 40)
        .map(|(at, pair)| {
            let hexadecimal = blake3::hash(pair[1].as_bytes()).to_hex();
            let line = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(2);
            (line, hexadecimal[..16].to_owned())
        })
        .collect()
}

/// Returns the values of variables in withheld files that no other file holds.
pub(super) fn withheld(
    artifacts: &dyn Artifacts,
    files: &Files,
    secrets: &Secrets,
) -> Result<Vec<Withheld>, Error> {
    let mut open = Vec::new();
    for (path, content) in shown(files, secrets, true) {
        let bytes = artifacts.get(content).map_err(store(path))?;
        open.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let mut values = Vec::new();
    for (path, content) in shown(files, secrets, false) {
        let bytes = artifacts.get(content).map_err(store(path))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let value = line.split_once('=').map_or("", |(_, value)| value);
            if value.len() >= 12 && !open.iter().any(|it| it.contains(value)) {
                values.push(Withheld {
                    path: path.to_owned(),
                    value: value.as_bytes().to_vec(),
                });
            }
        }
    }
    Ok(values)
}

fn shown<'a>(
    files: &'a Files,
    secrets: &'a Secrets,
    is_shown: bool,
) -> impl Iterator<Item = (&'a str, &'a Digest)> {
    files.iter().filter_map(move |(path, entry)| match entry {
        Entry::File { content, .. } => {
            let is_taken = secrets.globs.iter().any(|it| takes(it, path));
            (is_taken != is_shown).then_some((path.as_str(), content))
        }
        Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => None,
    })
}
