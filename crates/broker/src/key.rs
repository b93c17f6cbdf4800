//! Keys: the only thing of worth in this process. A key can be put into a request and watched for,
//! and nothing else; it is wiped when it is dropped.

use std::path::PathBuf;

use hyper::header::HeaderValue;
use sealed::{private, store};
use zeroize::Zeroizing;

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 4 << 10;

/// The shortest key, in bytes: a shorter one could not be told from words in a reply.
const KEY_BYTES_MIN: usize = 12;

/// What `palisade-broker keys` keeps.
pub const KEYS: store::Kind = store::Kind {
    name: "key",
    bytes_max: KEY_BYTES_MAX,
    wanted: "12 to 4096 visible ASCII characters on one line",
    accepts: is_key,
};

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
    /// The file is not believed.
    #[error(transparent)]
    Private(#[from] private::Fault),
    /// The sealed file or its identity is not.
    #[error(transparent)]
    Sealed(#[from] store::Fault),
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
                let bytes = private::read(path, KEY_BYTES_MAX + 2)?;
                Self::of(bytes.to_vec()).ok_or_else(|| Fault::Malformed(path.display().to_string()))
            }
            Source::Age { file, identity } => {
                let content = store::open(file, &store::read_identity(identity)?)?;
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
        is_key(&key).then_some(Self(key))
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

fn is_key(bytes: &[u8]) -> bool {
    (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

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
            let told = Key::read(&source, &none).err();
            assert!(matches!(
                told,
                Some(Fault::Private(private::Fault::OpenFile(_)))
            ));
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
