//! The store of sealed keys: a folder with an identity and a file for each key. A key comes in by
//! standard input and never goes out; what is told of it is its name, and whether it opens.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::age::{self, Identity};
use crate::key::{self, KEY_BYTES_MAX, Key, Source};

/// The identity's file in a store.
pub const IDENTITY: &str = "identity.txt";

/// What sealed files end in.
const ENDING: &str = ".age";

/// The longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A folder of sealed keys.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// Why a store cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The name is none.
    #[error("`{0}` is no name of a key: at most 64 letters, digits, `-` and `_`")]
    Name(String),
    /// There is one of this name.
    #[error("there is a key `{0}` already; remove it first")]
    Taken(String),
    /// There is none of this name.
    #[error("there is no key `{0}`")]
    Missing(String),
    /// What came in is no key.
    #[error(
        "what came in by standard input is no key: 12 to 4096 visible ASCII characters on one line"
    )]
    NoKey,
    /// It cannot be read or opened.
    #[error(transparent)]
    Key(#[from] key::Fault),
    /// It cannot be sealed.
    #[error("the key cannot be sealed")]
    Seal(#[source] age::Fault),
    /// A file or folder cannot be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// One sealed key, as it is told.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Why it does not open, if so.
    pub fault: Option<key::Fault>,
}

impl Store {
    /// Returns the store in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Seals a key that comes from `input`, and returns its file. The first one makes the store's
    /// identity.
    ///
    /// # Errors
    /// When the name is taken, what comes in is no key, or it cannot be kept.
    pub fn add(&self, name: &str, input: impl Read) -> Result<PathBuf, Fault> {
        let path = self.path(name)?;
        if path.symlink_metadata().is_ok() {
            return Err(Fault::Taken(name.to_owned()));
        }
        // Of the right size at once, so that no copy stays behind in memory that was given back.
        let most = KEY_BYTES_MAX + 2;
        let room = usize::try_from(most).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
        let read = input.take(most).read_to_end(&mut bytes);
        read.map_err(|source| Fault::Io {
            doing: "standard input cannot be read".to_owned(),
            source,
        })?;
        let key = Key::of(bytes.to_vec()).ok_or(Fault::NoKey)?;
        let identity = self.identity()?;
        let sealed = key.watched(|it| identity.seal(it)).map_err(Fault::Seal)?;
        create(&path, &sealed)?;
        Ok(path)
    }

    /// Returns all keys by their names.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Fault> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(doing("reading", &self.0))?,
        };
        let names = entries
            .flatten()
            .filter_map(|it| it.file_name().into_string().ok());
        let mut names: Vec<_> = names
            .filter_map(|it| it.strip_suffix(ENDING).map(str::to_owned))
            .filter(|it| self.path(it).is_ok())
            .collect();
        names.sort();
        let listed = names.into_iter().map(|name| {
            let source = Source::Age {
                file: self.0.join(format!("{name}{ENDING}")),
                identity: self.0.join(IDENTITY),
            };
            let fault = Key::read(&source, &|_| None).err();
            Listed { name, fault }
        });
        Ok(listed.collect())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Fault::Missing(name.to_owned()))
            }
            other => other.map_err(doing("removing", &path)),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, Fault> {
        let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(letter) {
            return Err(Fault::Name(name.to_owned()));
        }
        Ok(self.0.join(format!("{name}{ENDING}")))
    }

    /// Returns the store's identity; makes folder and identity when there is none.
    fn identity(&self) -> Result<Identity, Fault> {
        let path = self.0.join(IDENTITY);
        if path.symlink_metadata().is_ok() {
            return Ok(key::read_identity(&path)?);
        }
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(&self.0);
        made.map_err(doing("making the folder", &self.0))?;
        let identity = Identity::generate().map_err(Fault::Seal)?;
        create(&path, identity.text().as_bytes())?;
        Ok(identity)
    }
}

/// Writes a new file that is its owner's alone, whole or not at all.
fn create(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let fault = doing("writing", path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(&fault)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is none; that it stays is told with the fault.
        drop(fs::remove_file(path));
    }
    written.map_err(fault)
}

fn doing(doing: &str, path: &Path) -> impl Fn(io::Error) -> Fault {
    let doing = format!("{doing} {}", path.display());
    move |source| Fault::Io {
        doing: doing.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const KEY: &str = "planted-canary-KEY_0123456789xyz";

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("keys"));
        (folder, store)
    }

    fn told(store: &Store) -> Vec<(String, Option<String>)> {
        let listed = store.list().unwrap().into_iter();
        listed
            .map(|it| (it.name, it.fault.map(|it| format!("{it:?}"))))
            .collect()
    }

    #[test]
    fn a_key_is_sealed_and_told_by_its_name_alone() {
        let (_folder, store) = store();
        assert_eq!(told(&store), []);
        let path = store.add("openai", format!("{KEY}\n").as_bytes()).unwrap();
        store.add("anthropic", KEY.as_bytes()).unwrap();
        let names: Vec<_> = told(&store).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["anthropic", "openai"]);
        assert!(told(&store).iter().all(|it| it.1.is_none()));
        let watch = secrets::Watch::of([("the key", KEY.as_bytes())]);
        for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(
                watch.look(&fs::read(&path).unwrap()),
                None,
                "{}",
                path.display()
            );
        }
        let taken = store.add("openai", KEY.as_bytes()).unwrap_err();
        assert!(matches!(taken, Fault::Taken(_)));
        store.remove("openai").unwrap();
        assert!(matches!(store.remove("openai"), Err(Fault::Missing(_))));
    }

    #[test]
    fn what_is_no_key_or_no_name_is_not_kept() {
        let (_folder, store) = store();
        for wrong in ["", "short", "two\nlines-of-text-here"] {
            assert!(matches!(
                store.add("a", wrong.as_bytes()),
                Err(Fault::NoKey)
            ));
        }
        let endless = store.add("a", io::repeat(b'k'));
        assert!(matches!(endless, Err(Fault::NoKey)));
        for wrong in ["", "../a", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(
                matches!(store.add(wrong, KEY.as_bytes()), Err(Fault::Name(_))),
                "{wrong}"
            );
        }
        assert_eq!(told(&store), []);
    }

    #[test]
    fn another_identity_opens_nothing() {
        let (_folder, store) = store();
        let path = store.add("openai", KEY.as_bytes()).unwrap();
        let identity = path.with_file_name(IDENTITY);
        fs::remove_file(&identity).unwrap();
        store.add("other", KEY.as_bytes()).unwrap();
        let told = told(&store);
        assert!(told[0].1.as_ref().unwrap().contains("Other"), "{told:?}");
        assert_eq!(told[1].1, None);
    }

    #[test]
    fn what_others_can_read_or_a_link_leads_to_is_not_read() {
        let (_folder, store) = store();
        let path = store.add("openai", KEY.as_bytes()).unwrap();
        let identity = path.with_file_name(IDENTITY);
        for file in [&path, &identity] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
            let told = told(&store);
            assert!(told[0].1.as_ref().unwrap().starts_with("Open("), "{told:?}");
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for file in [&path, &identity] {
            let elsewhere = file.with_extension("elsewhere");
            fs::rename(file, &elsewhere).unwrap();
            symlink(&elsewhere, file).unwrap();
            let told = told(&store);
            assert!(
                told[0].1.as_ref().unwrap().starts_with("Unreadable"),
                "{told:?}"
            );
            fs::remove_file(file).unwrap();
            fs::rename(&elsewhere, file).unwrap();
        }
        assert_eq!(told(&store), [("openai".to_owned(), None)]);
    }
}
