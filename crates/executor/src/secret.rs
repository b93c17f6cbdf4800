//! Secrets: values that can be handed to one child and watched for, and nothing else. They are
//! wiped when they are dropped.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::header::HeaderValue;
use secrets::Watch;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::paper::{self, Readers};

/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// The largest encrypted file, in bytes.
const STORE_BYTES_MAX: u64 = 1 << 20;

/// A value longer than this is watched for in pieces, too, in bytes.
const WHOLE_BYTES_MAX: usize = 48;

/// The length of such a piece, in bytes: whatever shows twice as much in a row is found.
const PIECE_BYTES: usize = 24;

/// A secret. It has no `Debug`, `Display` or `Serialize` on purpose.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

/// Where a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The age-encrypted file of `[age]`, by this name.
    Age,
    /// A variable of the executor's own environment, by this name.
    Environment,
    /// A file of this name in the folder that systemd's `LoadCredential=` fills.
    Credential,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is nowhere.
    #[error("the secret `{name}` is not there: {wanted}")]
    Missing {
        /// Which.
        name: String,
        /// Where it is wanted.
        wanted: &'static str,
    },
    /// A file is not believed.
    #[error("the secret `{name}`")]
    Paper {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: paper::Fault,
    },
    /// It could not be recognised in a reply, so it could get out unseen.
    #[error(
        "the secret `{0}` could not be recognised in a reply: it must be 12 to 16384 bytes of text \
         without NUL, with enough letters and digits"
    )]
    Unwatchable(String),
    /// The age file or its identity is not usable.
    #[error("the age file cannot be opened: {0}")]
    Age(String),
}

impl Secret {
    /// Returns a secret of these bytes, if each way of writing it would be recognised.
    pub(crate) fn of(name: &str, bytes: Zeroizing<Vec<u8>>) -> Result<Self, Fault> {
        let secret = Self(bytes);
        if secret.is_watchable() {
            Ok(secret)
        } else {
            Err(Fault::Unwatchable(name.to_owned()))
        }
    }

    /// Returns the value as text for one child's environment.
    pub(crate) fn variable(&self) -> Option<Zeroizing<String>> {
        std::str::from_utf8(&self.0)
            .ok()
            .map(|it| Zeroizing::new(it.to_owned()))
    }

    /// Returns the value for a request's header, after these words.
    pub(crate) fn header(&self, before: &str) -> Option<HeaderValue> {
        let value = self.variable()?;
        let whole = Zeroizing::new(format!("{before}{}", *value));
        let mut header = HeaderValue::from_str(&whole).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    fn is_watchable(&self) -> bool {
        if self.0.len() > VALUE_BYTES_MAX || self.0.contains(&0) || self.variable().is_none() {
            return false;
        }
        let watch = Watch::of(self.watched().iter().map(|it| ("it", it.as_slice())));
        let guard = crate::guard::Guard::watching(watch);
        crate::guard::forms(&self.0)
            .iter()
            .all(|it| guard.look(it).is_some())
    }

    /// Returns what is watched for: the value, as it is escaped in JSON, and pieces of a long one.
    pub(crate) fn watched(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut all = vec![self.0.clone()];
        for ascii in [false, true] {
            let escaped = crate::guard::escaped(&self.0, ascii);
            if *escaped != *self.0 {
                all.push(escaped);
            }
        }
        if self.0.len() > WHOLE_BYTES_MAX {
            let pieces = self.0.chunks_exact(PIECE_BYTES);
            all.extend(pieces.map(|it| Zeroizing::new(it.to_vec())));
        }
        all
    }
}

/// Where the age file is, and the identity that opens it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgeFile {
    /// A TOML table of names and values, encrypted to the identity.
    pub(crate) file: std::path::PathBuf,
    /// The identity: `AGE-SECRET-KEY-1…`, in a file that only its owner can read.
    pub(crate) identity: std::path::PathBuf,
}

/// Loads every secret that is named; `lookup` reads a variable of the environment.
pub(crate) fn load(
    wanted: &BTreeMap<String, Source>,
    age: Option<&AgeFile>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Secret>, Fault> {
    let store = match age {
        Some(age) if wanted.values().any(|it| *it == Source::Age) => open(age)?,
        Some(_) | None => BTreeMap::new(),
    };
    let mut all = BTreeMap::new();
    for (name, source) in wanted {
        let missing = |wanted| Fault::Missing {
            name: name.clone(),
            wanted,
        };
        let bytes = match source {
            Source::Age => store
                .get(name)
                .cloned()
                .ok_or_else(|| missing("name it in the age file of `[age]`"))?,
            Source::Environment => lookup(name)
                .filter(|it| !it.is_empty())
                .map(|it| Zeroizing::new(it.into_bytes()))
                .ok_or_else(|| missing("set it in the executor's environment"))?,
            Source::Credential => {
                let folder = lookup("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| missing("the service needs `LoadCredential=`"))?;
                credential(name, Path::new(&folder))?
            }
        };
        all.insert(name.clone(), Secret::of(name, bytes)?);
    }
    Ok(all)
}

fn credential(name: &str, folder: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let path = folder.join(name);
    let most = u64::try_from(VALUE_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = paper::read(&path, most, Readers::Owner).map_err(|source| Fault::Paper {
        name: name.to_owned(),
        source,
    })?;
    Ok(Zeroizing::new(bytes.trim_ascii_end().to_vec()))
}

fn open(age: &AgeFile) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, Fault> {
    let paper = |source| Fault::Paper {
        name: "age".to_owned(),
        source,
    };
    let identity = paper::read(&age.identity, 4_096, Readers::Owner).map_err(paper)?;
    let identity = std::str::from_utf8(&identity)
        .ok()
        .and_then(|text| text.lines().find(|it| it.starts_with("AGE-SECRET-KEY-1")))
        .and_then(|it| it.trim().parse::<age::x25519::Identity>().ok())
        .ok_or_else(|| Fault::Age("the identity file holds no `AGE-SECRET-KEY-1…`".to_owned()))?;
    let sealed = paper::read(&age.file, STORE_BYTES_MAX, Readers::Anybody).map_err(paper)?;
    let plain = age::decrypt(&identity, &sealed);
    // Whatever the library would say of it: this is all that may be known.
    let wrong = "the identity is not one that it is encrypted to, or it is damaged";
    let plain = Zeroizing::new(plain.map_err(|_| Fault::Age(wrong.to_owned()))?);
    let text = std::str::from_utf8(&plain).ok();
    // A parser's message would repeat the line it stumbles over.
    let table: BTreeMap<String, String> = text
        .and_then(|it| toml::from_str(it).ok())
        .ok_or_else(|| Fault::Age("what it holds is no TOML table of texts".to_owned()))?;
    Ok(table
        .into_iter()
        .map(|(name, value)| (name, Zeroizing::new(value.into_bytes())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const VALUE: &str = "planted-Value-0123456789";

    fn wanted(source: Source) -> BTreeMap<String, Source> {
        BTreeMap::from([("DATABASE_PASSWORD".to_owned(), source)])
    }

    fn private(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn an_age_file_is_opened_by_its_identity_and_no_other() {
        use age::secrecy::ExposeSecret as _;
        let folder = tempfile::tempdir().unwrap();
        let identity = age::x25519::Identity::generate();
        let sealed = age::encrypt(
            &identity.to_public(),
            format!("DATABASE_PASSWORD = \"{VALUE}\"\n").as_bytes(),
        )
        .unwrap();
        let age = AgeFile {
            file: folder.path().join("secrets.age"),
            identity: folder.path().join("identity"),
        };
        private(&age.file, &sealed);
        let text = identity.to_string();
        private(&age.identity, text.expose_secret().as_bytes());
        let loaded = load(&wanted(Source::Age), Some(&age), &|_| None);
        let loaded = loaded.unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(**loaded["DATABASE_PASSWORD"].variable().unwrap(), *VALUE);
        fs::set_permissions(&age.identity, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&wanted(Source::Age), Some(&age), &|_| None).is_err());
        let other = age::x25519::Identity::generate().to_string();
        private(&age.identity, other.expose_secret().as_bytes());
        fs::set_permissions(&age.identity, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = load(&wanted(Source::Age), Some(&age), &|_| None);
        assert!(matches!(refused, Err(Fault::Age(_))));
    }

    #[test]
    fn credentials_and_the_environment_are_sources() {
        let folder = tempfile::tempdir().unwrap();
        private(&folder.path().join("DATABASE_PASSWORD"), VALUE.as_bytes());
        let path = folder.path().to_str().unwrap().to_owned();
        let lookup = |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => Some(path.clone()),
            "DATABASE_PASSWORD" => Some(VALUE.to_owned()),
            _ => None,
        };
        for source in [Source::Environment, Source::Credential] {
            let loaded = load(&wanted(source), None, &lookup);
            let loaded = loaded.unwrap_or_else(|it| panic!("{it}"));
            assert_eq!(**loaded["DATABASE_PASSWORD"].variable().unwrap(), *VALUE);
            assert!(matches!(
                load(&wanted(source), None, &|_| None),
                Err(Fault::Missing { .. })
            ));
        }
    }

    #[test]
    fn what_could_get_out_unseen_is_not_loaded() {
        for value in [
            "",
            "short",
            "............",
            "--__--__--__a1b2",
            "with\0nul-0123456789",
        ] {
            let loaded = Secret::of("it", Zeroizing::new(value.into()));
            assert!(matches!(loaded, Err(Fault::Unwatchable(_))), "{value}");
        }
        assert!(Secret::of("it", Zeroizing::new(VALUE.into())).is_ok());
    }
}
