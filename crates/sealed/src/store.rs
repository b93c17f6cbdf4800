//! A store: a folder with an identity and a sealed file for each value. A value comes in by standard
//! input and never goes out by a command; what is told of it is its name, and whether it opens.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::age::{self, Identity};
use crate::private;

/// The identity's file in a store.
pub const IDENTITY: &str = "identity.txt";

/// What sealed files end in.
const ENDING: &str = ".age";

/// The longest name of a value, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The largest file of an identity, in bytes.
const IDENTITY_BYTES_MAX: usize = 8 << 10;

/// What is kept in a store.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What one is called, such as `key`.
    pub name: &'static str,
    /// The largest, in bytes.
    pub bytes_max: usize,
    /// What one must be, for people.
    pub wanted: &'static str,
    /// Whether some bytes are one.
    pub accepts: fn(&[u8]) -> bool,
}

/// A folder of sealed values.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    kind: Kind,
}

/// Why a store cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The name is none.
    #[error("`{0}` is no name of a {1}: at most 64 letters, digits, `-` and `_`")]
    Name(String, &'static str),
    /// There is one of this name.
    #[error("there is a {1} `{0}` already; remove it first")]
    Taken(String, &'static str),
    /// There is none of this name.
    #[error("there is no {1} `{0}`; add it with `keys --store … add {0}`")]
    Missing(String, &'static str),
    /// What came in, or what was sealed, is none.
    #[error("that is no {0}: it must be {1}")]
    NotOne(&'static str, &'static str),
    /// The identity's file holds none.
    #[error(
        "the file {0} holds no identity; `keys --store … add NAME` makes one in an empty store"
    )]
    NoIdentity(PathBuf),
    /// It cannot be sealed.
    #[error("it cannot be sealed")]
    Seal(#[source] age::Fault),
    /// It is not opened.
    #[error("the sealed file {path}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: age::Fault,
    },
    /// A file or folder is not used.
    #[error(transparent)]
    Private(#[from] private::Fault),
    /// Something cannot be read or removed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// One sealed value, as it is told: its name, and whether it opens.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Why it does not open, if so.
    pub fault: Option<Fault>,
}

impl fmt::Display for Listed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.name)?;
        let Some(fault) = &self.fault else {
            return out.write_str("opens");
        };
        write!(out, "{fault}")?;
        let mut cause = std::error::Error::source(fault);
        while let Some(it) = cause {
            write!(out, ": {it}")?;
            cause = it.source();
        }
        Ok(())
    }
}

impl Store {
    /// Returns the store in a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, kind: Kind) -> Self {
        let folder = folder.into();
        Self { folder, kind }
    }

    /// Seals a value that comes from `input`, and returns its file. The first one makes the store's
    /// identity.
    ///
    /// # Errors
    /// When the name is taken, what comes in is none, or it cannot be kept.
    pub fn add(&self, name: &str, input: impl Read) -> Result<PathBuf, Fault> {
        let path = self.path(name)?;
        let taken = || Fault::Taken(name.to_owned(), self.kind.name);
        if path.symlink_metadata().is_ok() {
            return Err(taken());
        }
        // Of the right size at once, so that no copy stays behind in memory that was given back.
        let room = self.kind.bytes_max + 2;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
        let most = u64::try_from(room).unwrap_or(u64::MAX);
        let read = input.take(most).read_to_end(&mut bytes);
        read.map_err(|source| Fault::Io {
            doing: "standard input cannot be read".to_owned(),
            source,
        })?;
        let value = self.checked(&bytes)?;
        let sealed = self.identity()?.seal(value).map_err(Fault::Seal)?;
        match private::create(&path, &sealed) {
            Err(private::Fault::Taken(_)) => Err(taken()),
            other => Ok(other.map(|()| path)?),
        }
    }

    /// Returns all values by their names.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Fault> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(doing("reading", &self.folder))?,
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
            let fault = self.open(&name).err();
            Listed { name, fault }
        });
        Ok(listed.collect())
    }

    /// Opens a value.
    ///
    /// # Errors
    /// When there is none of this name, or it is not opened.
    pub fn open(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let path = self.path(name)?;
        if !path.exists() {
            return Err(Fault::Missing(name.to_owned(), self.kind.name));
        }
        let identity = read_identity(&self.folder.join(IDENTITY))?;
        let content = open(&path, &identity)?;
        self.checked(&content)?;
        Ok(Zeroizing::new(content.trim_ascii().to_vec()))
    }

    /// Removes a value.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Fault::Missing(name.to_owned(), self.kind.name))
            }
            other => other.map_err(doing("removing", &path)),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, Fault> {
        let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(letter) {
            return Err(Fault::Name(name.to_owned(), self.kind.name));
        }
        Ok(self.folder.join(format!("{name}{ENDING}")))
    }

    /// Returns a value without what stands around it, such as the end of its line.
    fn checked<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let value = bytes.trim_ascii();
        if value.len() <= self.kind.bytes_max && (self.kind.accepts)(value) {
            Ok(value)
        } else {
            Err(Fault::NotOne(self.kind.name, self.kind.wanted))
        }
    }

    /// Returns the store's identity; makes folder and identity when there is none.
    fn identity(&self) -> Result<Identity, Fault> {
        let path = self.folder.join(IDENTITY);
        if path.symlink_metadata().is_ok() {
            return read_identity(&path);
        }
        private::folder(&self.folder)?;
        let identity = Identity::generate().map_err(Fault::Seal)?;
        match private::create(&path, identity.text().as_bytes()) {
            // Somebody else made it meanwhile: there is one to a store.
            Err(private::Fault::Taken(_)) => read_identity(&path),
            other => Ok(other.map(|()| identity)?),
        }
    }
}

/// Reads the file of an identity.
///
/// # Errors
/// When it cannot be read, is open to others, or holds none.
pub fn read_identity(path: &Path) -> Result<Identity, Fault> {
    let bytes = private::read(path, IDENTITY_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).ok();
    let identity = text.and_then(Identity::parse);
    identity.ok_or_else(|| Fault::NoIdentity(path.to_path_buf()))
}

/// Opens a sealed file.
///
/// # Errors
/// When it cannot be read, is open to others, or is not for this identity.
pub fn open(path: &Path, identity: &Identity) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let bytes = private::read(path, age::FILE_BYTES_MAX)?;
    identity.open(&bytes).map_err(|source| Fault::Sealed {
        path: path.to_path_buf(),
        source,
    })
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

    const KEYS: Kind = Kind {
        name: "key",
        bytes_max: 4 << 10,
        wanted: "12 or more visible characters on one line",
        accepts: |it| it.len() >= 12 && it.iter().all(u8::is_ascii_graphic),
    };

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("keys"), KEYS);
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
        assert_eq!(*store.open("openai").unwrap(), KEY.as_bytes());
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
        assert!(matches!(taken, Fault::Taken(..)));
        store.remove("openai").unwrap();
        assert!(matches!(store.remove("openai"), Err(Fault::Missing(..))));
        assert!(matches!(store.open("openai"), Err(Fault::Missing(..))));
    }

    #[test]
    fn what_is_no_key_or_no_name_is_not_kept() {
        let (_folder, store) = store();
        for wrong in ["", "short", "two\nlines-of-text-here"] {
            let told = store.add("a", wrong.as_bytes());
            assert!(matches!(told, Err(Fault::NotOne(..))));
        }
        let endless = store.add("a", io::repeat(b'k'));
        assert!(matches!(endless, Err(Fault::NotOne(..))));
        for wrong in ["", "../a", "a/b", "a.b", "ä", &"a".repeat(65)] {
            let told = store.add(wrong, KEY.as_bytes());
            assert!(matches!(told, Err(Fault::Name(..))), "{wrong}");
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
        let listed = store.list().unwrap();
        let line = listed[0].to_string();
        assert!(
            line.ends_with("it is sealed for another identity"),
            "{line}"
        );
        assert_eq!(listed[1].to_string(), "other: opens");
    }

    #[test]
    fn of_many_who_add_at_once_there_is_one_identity_and_all_open() {
        let (_folder, store) = store();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let store = &store;
                scope.spawn(move || store.add(&format!("k{number}"), KEY.as_bytes()).unwrap());
            }
        });
        let told = told(&store);
        assert_eq!(told.len(), 8);
        assert!(told.iter().all(|it| it.1.is_none()), "{told:?}");
    }

    #[test]
    fn what_others_can_read_or_a_link_leads_to_is_not_read() {
        let (_folder, store) = store();
        let path = store.add("openai", KEY.as_bytes()).unwrap();
        let identity = path.with_file_name(IDENTITY);
        for file in [&path, &identity] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
            let told = told(&store);
            assert!(
                told[0].1.as_ref().unwrap().contains("OpenFile("),
                "{told:?}"
            );
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        for file in [&path, &identity] {
            let elsewhere = file.with_extension("elsewhere");
            fs::rename(file, &elsewhere).unwrap();
            symlink(&elsewhere, file).unwrap();
            let told = told(&store);
            assert!(told[0].1.as_ref().unwrap().contains("Io {"), "{told:?}");
            fs::remove_file(file).unwrap();
            fs::rename(&elsewhere, file).unwrap();
        }
        assert_eq!(told(&store), [("openai".to_owned(), None)]);
    }

    #[test]
    fn a_store_in_a_folder_that_others_may_enter_is_not_begun() {
        let (_folder, store) = store();
        fs::create_dir(&store.folder).unwrap();
        fs::set_permissions(&store.folder, fs::Permissions::from_mode(0o755)).unwrap();
        let told = store.add("openai", KEY.as_bytes()).unwrap_err();
        assert!(told.to_string().contains("chmod 700"), "{told}");
        assert!(!store.folder.join(IDENTITY).exists());
    }
}
