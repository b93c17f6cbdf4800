//! Keys: the only thing of worth in this process. A key can be put into a request and watched for,
//! and nothing else; it is wiped when it is dropped.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::age::{self, Identity};

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: u64 = 4 << 10;

/// The shortest key, in bytes: a shorter one could not be told from words in a reply.
const KEY_BYTES_MIN: usize = 12;

/// The largest file of an identity, in bytes.
const IDENTITY_BYTES_MAX: usize = 8 << 10;

/// A provider's key. It has no `Debug`, `Display` or `Serialize` on purpose.
#[expect(missing_debug_implementations, reason = "nobody can print it")]
pub struct Key(Zeroizing<Vec<u8>>);

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A variable of the broker's own environment.
    Environment(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// A sealed file, and the identity that opens it.
    Age {
        /// The sealed file.
        file: PathBuf,
        /// The identity's file, which only its owner can read.
        identity: PathBuf,
    },
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The variable is not set.
    #[error("the variable `{0}` is not set in the broker's environment")]
    Unset(String),
    /// The file cannot be read.
    #[error("the key file {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Others could read the file, too.
    #[error("the key file {0} is open to others or not the broker's own; run `chmod 600` on it")]
    Open(PathBuf),
    /// The sealed file is not opened.
    #[error("the sealed key file {path}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: age::Fault,
    },
    /// The identity's file holds none.
    #[error("the file {0} holds no identity; `palisade-broker keys add` makes one")]
    NoIdentity(PathBuf),
    /// It is no key.
    #[error("what {0} holds is no key: it must be 12 to 4096 visible ASCII characters on one line")]
    Malformed(String),
}

impl Key {
    /// Reads a key; `lookup` reads a variable of the environment.
    ///
    /// # Errors
    /// When it is not there, open to others, or no key.
    pub fn read(source: &Source, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        match source {
            Source::Environment(name) => {
                let value = lookup(name).filter(|it| !it.is_empty());
                let value = value.ok_or_else(|| Fault::Unset(name.clone()))?;
                Self::of(value.into_bytes()).ok_or_else(|| Fault::Malformed(format!("`{name}`")))
            }
            Source::File(path) => {
                let bytes = closed_file(path, usize::try_from(KEY_BYTES_MAX).unwrap_or(0) + 2)?;
                Self::of(bytes.to_vec()).ok_or_else(|| Fault::Malformed(path.display().to_string()))
            }
            Source::Age { file, identity } => {
                let sealed = |source| Fault::Sealed {
                    path: file.clone(),
                    source,
                };
                let identity = read_identity(identity)?;
                let bytes = closed_file(file, age::FILE_BYTES_MAX + 1)?;
                let content = identity.open(&bytes).map_err(sealed)?;
                Self::of(content.to_vec())
                    .ok_or_else(|| Fault::Malformed(file.display().to_string()))
            }
        }
    }

    /// Returns the key in a text, if it is one.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        let key = Zeroizing::new(bytes.trim_ascii().to_vec());
        let fits =
            (KEY_BYTES_MIN..=usize::try_from(KEY_BYTES_MAX).unwrap_or(0)).contains(&key.len());
        (fits && key.iter().all(u8::is_ascii_graphic)).then_some(Self(key))
    }

    /// Returns the header's value with this key after `prefix`, marked so that nobody prints it.
    #[must_use]
    pub fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = Zeroizing::new(prefix.as_bytes().to_vec());
        value.extend_from_slice(&self.0);
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Hands the bytes to whoever watches for them.
    pub(crate) fn watched<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        with(&self.0)
    }
}

/// Reads the file of an identity.
///
/// # Errors
/// When it cannot be read, is open to others, or holds none.
pub fn read_identity(path: &Path) -> Result<Identity, Fault> {
    let bytes = closed_file(path, IDENTITY_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).ok();
    let identity = text.and_then(Identity::parse);
    identity.ok_or_else(|| Fault::NoIdentity(path.to_path_buf()))
}

/// Reads a file that is its owner's alone, up to so many bytes; it is no link.
///
/// # Errors
/// When it cannot be read, or is open to others.
pub fn closed_file(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |source| Fault::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    // Nor is it a pipe that keeps whoever opens it waiting.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
        .map_err(unreadable)?;
    // Of the open file, so that nobody can change it between the look and the reading.
    let metadata = file.metadata().map_err(unreadable)?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !own || !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
        return Err(Fault::Open(path.to_path_buf()));
    }
    // Of the right size at once, so that no copy stays behind in memory that was given back.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TEXT: &str = "planted-key-0123456789";

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_file_must_be_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, format!("{TEXT}\n")).unwrap();
        let source = Source::File(path.clone());
        for mode in [0o644, 0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Key::read(&source, &none), Err(Fault::Open(_))));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key = Key::read(&source, &none).unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(key.header("Bearer ").unwrap(), format!("Bearer {TEXT}"));
        assert!(!format!("{:?}", key.header("")).contains(TEXT));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "short",
            "with space inside",
            "two\nlines-of-text",
            "näh-0123456789",
        ] {
            assert!(Key::of(text.into()).is_none(), "{text}");
        }
        let unset = Key::read(&Source::Environment("A_KEY".into()), &none);
        assert!(matches!(unset, Err(Fault::Unset(_))));
        let set = |_: &str| Some(TEXT.to_owned());
        assert!(Key::read(&Source::Environment("A_KEY".into()), &set).is_ok());
    }
}
