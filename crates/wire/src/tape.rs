//! Tapes: how recorded exchanges are kept on disk, and how they are read. The broker writes them.
//!
//! A tape is a folder: `index.jsonl` has one line for each exchange, in order, `exchanges/` the
//! exchanges by the digest of their bytes, and `about.json` whose they were.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest exchange that is read back, in bytes.
const EXCHANGE_BYTES_MAX: u64 = 256 << 20;

/// The most that a tape says of whose it is, in bytes.
const ABOUT_BYTES_MAX: u64 = 16 << 10;

/// The most exchanges of one tape.
pub const EXCHANGES_MAX: usize = 100_000;

/// The file of a tape that says whose it is.
pub const ABOUT: &str = "about.json";

/// Whose a tape is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The work that the session was for.
    pub work: String,
    /// The session's role.
    pub role: String,
    /// The user who had it recorded; tapes of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// One exchange, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The path at the provider, after the provider's name.
    pub path: String,
    /// The model that was asked.
    pub model: String,
    /// The one that answered in its place; its name stood in the request instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The request, without what names people and accounts.
    pub request: Value,
    /// The status of the reply.
    pub status: u16,
    /// What the reply is.
    pub content_type: String,
    /// The reply, as far as it came.
    pub reply: String,
    /// Whether it was cut.
    pub is_cut: bool,
    /// Why the reply was not kept, if so.
    pub withheld: Option<String>,
}

/// One line of a tape's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which exchange of the session it was.
    pub call: u64,
    /// What the request is found by.
    pub key: String,
    /// The digest of the exchange's bytes.
    pub digest: String,
    /// The path, for people.
    pub path: String,
    /// The model, for people.
    pub model: String,
    /// The status of the reply.
    pub status: u16,
    /// The bytes of the exchange.
    pub bytes: u64,
}

/// Returns the names of all tapes, sorted.
///
/// # Errors
/// When their folder cannot be read.
pub fn names(tapes: &Path) -> Result<Vec<String>, String> {
    let entries = match std::fs::read_dir(tapes) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| format!("{}: {error}", tapes.display()))?,
    };
    let mut names: Vec<_> = entries
        .flatten()
        .filter(|it| it.path().join("index.jsonl").is_file())
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Returns whose a tape is; nothing for one that does not say so.
#[must_use]
pub fn about(tapes: &Path, name: &str) -> Option<About> {
    let mut bytes = Vec::new();
    let file = File::open(tapes.join(name).join(ABOUT)).ok()?;
    file.take(ABOUT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the tapes of a work's sessions, in the order in which these began.
///
/// # Errors
/// When their folder cannot be read.
pub fn of_work(tapes: &Path, work: &str) -> Result<Vec<String>, String> {
    let mut names = names(tapes)?;
    // A session's name begins with its time.
    names.retain(|it| about(tapes, it).is_some_and(|it| it.work == work));
    Ok(names)
}

/// Reads a tape's index.
///
/// # Errors
/// When it cannot be read, or is no index.
pub fn index(tapes: &Path, name: &str) -> Result<Vec<Line>, String> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        return Err("a tape's name has letters, digits, `-` and `_`".to_owned());
    }
    let path = tapes.join(name).join("index.jsonl");
    let told = |error: &dyn std::fmt::Display| format!("the tape {}: {error}", path.display());
    let file = File::open(&path).map_err(|it| told(&it))?;
    let mut lines = Vec::new();
    for line in BufReader::new(file.take(EXCHANGE_BYTES_MAX)).lines() {
        let line = line.map_err(|it| told(&it))?;
        lines.push(serde_json::from_str(&line).map_err(|it| told(&it))?);
        if lines.len() > EXCHANGES_MAX {
            return Err(told(&format!("it has more than {EXCHANGES_MAX} exchanges")));
        }
    }
    Ok(lines)
}

/// Reads one exchange, and checks that it is the one that was kept.
///
/// # Errors
/// When it cannot be read, or was changed.
pub fn exchange(tapes: &Path, name: &str, digest: &str) -> Result<Exchange, String> {
    let is_digest = digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_digest {
        return Err(format!("`{digest}` is no digest"));
    }
    let path = tapes
        .join(name)
        .join("exchanges")
        .join(format!("{digest}.json"));
    let told = |error: &dyn std::fmt::Display| format!("the exchange {}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|it| it.take(EXCHANGE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|it| told(&it))?;
    if blake3::hash(&bytes).to_hex().as_str() != digest {
        return Err(told(&"it is not what was kept"));
    }
    serde_json::from_slice(&bytes).map_err(|it| told(&it))
}
