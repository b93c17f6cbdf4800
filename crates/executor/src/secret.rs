//! Secrets: values that can be handed to one child and watched for, and nothing else. They are
//! wiped when they are dropped.

mod aws;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use hyper::header::HeaderValue;
use sealed::{Kind, Store};
use secrets::Watch;
use zeroize::Zeroizing;

pub(crate) use source::{AgeStore, Aws, Source, Sources};

use crate::paper::{self, Readers};

/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// A value longer than this is watched for in pieces, too, in bytes.
const WHOLE_BYTES_MAX: usize = 48;

/// The length of such a piece, in bytes: whatever shows twice as much in a row is found.
const PIECE_BYTES: usize = 24;

/// A secret. It has no `Debug`, `Display` or `Serialize` on purpose.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

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
    /// It is not opened.
    #[error("the secret `{name}`")]
    Sealed {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: sealed::store::Fault,
    },
    /// It could not be recognised in a reply, so it could get out unseen.
    #[error("the secret `{0}` could not be recognised in a reply: it must be {WANTED}")]
    Unwatchable(String),
    /// AWS does not give it.
    #[error(transparent)]
    Aws(#[from] aws::Fault),
}

/// What a secret must be, for people.
pub(crate) const WANTED: &str =
    "12 to 16384 bytes of text without NUL, with enough letters and digits";

/// What `palisade-executor keys` keeps.
pub(crate) const KEPT: Kind = Kind {
    name: "secret",
    bytes_max: VALUE_BYTES_MAX,
    wanted: WANTED,
    accepts: |bytes| Secret::of("", Zeroizing::new(bytes.to_vec())).is_ok(),
};

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

/// Loads every secret that is named; `lookup` reads a variable of the environment.
pub(crate) fn load(
    sources: &Sources<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Secret>, Fault> {
    let mut all = BTreeMap::new();
    for (name, source) in sources.wanted {
        let missing = |wanted| Fault::Missing {
            name: name.clone(),
            wanted,
        };
        let bytes = match source {
            Source::Age => {
                let age = sources.age.ok_or_else(|| {
                    missing("say with `[age]` in executor.toml where its store is")
                })?;
                let opened = Store::new(&age.store, KEPT).open(name);
                opened.map_err(|source| Fault::Sealed {
                    name: name.clone(),
                    source,
                })?
            }
            Source::Environment => lookup(name)
                .filter(|it| !it.is_empty())
                .map(|it| Zeroizing::new(it.into_bytes()))
                .ok_or_else(|| missing("set it in the executor's environment"))?,
            Source::Credential => {
                let folder = lookup(CREDENTIALS)
                    .ok_or_else(|| missing("the service needs `LoadCredential=`"))?;
                credential(name, Path::new(&folder))?
            }
            // All together, below.
            Source::Ssm(_) => continue,
        };
        all.insert(name.clone(), Secret::of(name, bytes)?);
    }
    for (name, bytes) in aws::load(sources, lookup)? {
        let secret = Secret::of(&name, bytes)?;
        all.insert(name, secret);
    }
    Ok(all)
}

/// Where systemd says that it puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

fn credential(name: &str, folder: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let path = folder.join(name);
    let most = u64::try_from(VALUE_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = paper::read(&path, most, Readers::Owner).map_err(|source| Fault::Paper {
        name: name.to_owned(),
        source,
    })?;
    Ok(Zeroizing::new(bytes.trim_ascii_end().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const VALUE: &str = "planted-Value-0123456789";

    fn loaded(
        source: Source,
        age: Option<&AgeStore>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, Secret>, Fault> {
        let wanted = BTreeMap::from([("DATABASE_PASSWORD".to_owned(), source)]);
        load(&Sources::local(&wanted, age), lookup)
    }

    fn private(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn an_age_file_is_opened_by_its_identity_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let age = AgeStore {
            store: folder.path().join("keys"),
        };
        let store = Store::new(&age.store, KEPT);
        assert!(loaded(Source::Age, None, &|_| None).is_err());
        assert!(loaded(Source::Age, Some(&age), &|_| None).is_err());
        let file = store.add("DATABASE_PASSWORD", VALUE.as_bytes()).unwrap();
        let all = loaded(Source::Age, Some(&age), &|_| None);
        let all = all.unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(**all["DATABASE_PASSWORD"].variable().unwrap(), *VALUE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(loaded(Source::Age, Some(&age), &|_| None).is_err());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let identity = age.store.join(sealed::store::IDENTITY);
        let other = sealed::Identity::generate().unwrap_or_else(|it| panic!("{it}"));
        private(&identity, other.text().as_bytes());
        let refused = loaded(Source::Age, Some(&age), &|_| None);
        assert!(matches!(refused, Err(Fault::Sealed { .. })));
    }

    #[test]
    fn what_would_not_be_loaded_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("keys"), KEPT);
        for wrong in ["short", "............", "with\0nul-0123456789"] {
            assert!(store.add("IT", wrong.as_bytes()).is_err(), "{wrong}");
        }
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
            let all = loaded(source.clone(), None, &lookup);
            let all = all.unwrap_or_else(|it| panic!("{it}"));
            assert_eq!(**all["DATABASE_PASSWORD"].variable().unwrap(), *VALUE);
            assert!(matches!(
                loaded(source, None, &|_| None),
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
