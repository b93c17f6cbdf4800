//! The operator's keys: one file each in the operator's own configuration, which no cell is shown. What
//! is not private is not used, nothing is written over, and what was revoked is gone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::Timestamp;
use rustix::fs::{OFlags, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use wire::execution::{SigningKey, VerifyingKey};
use zeroize::{Zeroize as _, Zeroizing};

/// The folder in the operator's configuration.
const FOLDER: &str = "palisade/keys";

/// What a key's file ends with.
const KEY: &str = "key";

/// What the note of a revoked key ends with.
const REVOKED: &str = "revoked";

/// The largest file of a key, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// The most keys.
const KEYS_MAX: usize = 1_000;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There is no place for them.
    #[error("neither XDG_CONFIG_HOME nor HOME says where your configuration is; set one")]
    Nowhere,
    /// They would be shown to agents.
    #[error("{0} is in the repository; keys are kept outside of it: set XDG_CONFIG_HOME")]
    InRepository(PathBuf),
    /// Others could read or change it.
    #[error("{path} is not private: {why}; nobody but you may reach it: chmod {mode} {path}")]
    Wide {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What it should be.
        mode: &'static str,
    },
    /// It is not a key's file.
    #[error("{0} is not a key that this program has written")]
    Unreadable(PathBuf),
    /// The file system failed.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No key can be made.
    #[error(transparent)]
    NoKey(#[from] wire::execution::envelope::NoKey),
    /// There are too many.
    #[error("there are {KEYS_MAX} keys in {0} already")]
    TooMany(PathBuf),
}

/// What is told of a key: nothing of what it signs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Its identifier, as the executor knows it.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) principal: String,
    /// The key that verifies, as executor.toml holds it.
    pub(crate) key: String,
    /// Milliseconds since 1970, of its making.
    pub(crate) made: Timestamp,
    /// Why it signs no more, if it was revoked.
    pub(crate) revoked: Option<String>,
}

/// What is kept of a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    principal: String,
    key: String,
    made: Timestamp,
    /// The seed; none when it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    /// Why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// The operator's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Returns the keys that are kept in this configuration folder, away from the repository.
    pub(crate) fn within(config: Option<&Path>, root: Option<&Path>) -> Result<Self, Fault> {
        let folder = config.ok_or(Fault::Nowhere)?.join(FOLDER);
        if let Some(root) = root.and_then(|it| it.canonicalize().ok()) {
            let known = folder.ancestors().find_map(|it| it.canonicalize().ok());
            if known.is_some_and(|it| it.starts_with(&root)) {
                return Err(Fault::InRepository(folder));
            }
        }
        Ok(Self { folder })
    }

    /// Returns where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all keys, the newest first; none when there never was one.
    pub(crate) fn all(&self) -> Result<Vec<Shown>, Fault> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io_fault("listing", &self.folder)(source)),
        };
        check_folder(&self.folder)?;
        let mut all: Vec<Shown> = Vec::new();
        for entry in entries.take(KEYS_MAX.saturating_mul(2)) {
            let path = entry.map_err(io_fault("listing", &self.folder))?.path();
            let ending = path.extension().and_then(|it| it.to_str());
            if matches!(ending, Some(KEY | REVOKED)) {
                all.push(shown(&path, &read(&path)?)?);
            }
        }
        // A death between the two files of a revocation leaves both: it is revoked.
        let revoked: Vec<_> = all.iter().filter(|it| it.revoked.is_some()).collect();
        let revoked: Vec<_> = revoked.into_iter().map(|it| it.id.clone()).collect();
        all.retain(|it| it.revoked.is_some() || !revoked.contains(&it.id));
        all.sort_by(|one, other| (other.made, &other.id).cmp(&(one.made, &one.id)));
        Ok(all)
    }

    /// Makes a key and keeps it.
    pub(crate) fn make(&self, principal: &str, now: Timestamp) -> Result<Shown, Fault> {
        if self.all()?.len() >= KEYS_MAX {
            return Err(Fault::TooMany(self.folder.clone()));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(io_fault("making", &self.folder))?;
        check_folder(&self.folder)?;
        let seed = Zeroizing::new(SigningKey::new_seed()?);
        let public = SigningKey::from_seed(&seed)?.verifying();
        let kept = Kept {
            principal: principal.to_owned(),
            key: public.written(),
            made: now,
            seed: Some(hexadecimal(&seed)),
            revoked: None,
        };
        let path = self.path(&public.id(), KEY);
        self.write(&path, &kept)?;
        shown(&path, &kept)
    }

    /// Returns what signs, of a key that was not revoked.
    pub(crate) fn signing(&self, id: &str) -> Result<SigningKey, Fault> {
        check_folder(&self.folder)?;
        let path = self.path(id, KEY);
        let unreadable = || Fault::Unreadable(path.clone());
        if self.path(id, REVOKED).exists() {
            return Err(unreadable());
        }
        let kept = read(&path)?;
        let seed = kept
            .seed
            .as_deref()
            .and_then(bytes)
            .ok_or_else(unreadable)?;
        let key = SigningKey::from_seed(&seed)?;
        if key.verifying().id() == id {
            Ok(key)
        } else {
            Err(unreadable())
        }
    }

    /// Has a key sign no more: a note says why, and what it signed with is removed.
    pub(crate) fn revoke(&self, id: &str, why: &str) -> Result<Shown, Fault> {
        check_folder(&self.folder)?;
        let (path, note) = (self.path(id, KEY), self.path(id, REVOKED));
        if !note.exists() {
            let kept = read(&path)?;
            let revoked = Kept {
                principal: kept.principal.clone(),
                key: kept.key.clone(),
                made: kept.made,
                seed: None,
                revoked: Some(why.to_owned()),
            };
            self.write(&note, &revoked)?;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_fault("removing", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        sync(&self.folder)?;
        shown(&note, &read(&note)?)
    }

    fn path(&self, id: &str, ending: &str) -> PathBuf {
        let name = id.strip_prefix("ed25519:").unwrap_or(id);
        // A name is never a path: what is no identifier is found nowhere.
        let plain = name.bytes().all(|it| it.is_ascii_hexdigit());
        let name = if plain { name } else { "none" };
        self.folder.join(format!("{name}.{ending}"))
    }

    /// Writes a file whole or not at all, and never over another.
    fn write(&self, path: &Path, kept: &Kept) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(kept);
        let text = Zeroizing::new(text.map_err(|_| Fault::Unreadable(path.to_path_buf()))?);
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(io_fault("making", &fresh))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io_fault("writing", &fresh))?;
        let folder = File::open(&self.folder).map_err(io_fault("opening", &self.folder))?;
        let (from, to) = (fresh.file_name(), path.file_name());
        let (Some(from), Some(to)) = (from, to) else {
            return Err(Fault::Unreadable(path.to_path_buf()));
        };
        renameat_with(&folder, from, &folder, to, RenameFlags::NOREPLACE)
            .map_err(io::Error::from)
            .map_err(io_fault("keeping", path))?;
        sync(&self.folder)
    }
}

fn shown(path: &Path, kept: &Kept) -> Result<Shown, Fault> {
    let public = VerifyingKey::read(&kept.key);
    let public = public.ok_or_else(|| Fault::Unreadable(path.to_path_buf()))?;
    Ok(Shown {
        id: public.id(),
        principal: kept.principal.clone(),
        key: kept.key.clone(),
        made: kept.made,
        revoked: kept.revoked.clone(),
    })
}

fn read(path: &Path) -> Result<Kept, Fault> {
    // A pipe is not waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(io_fault("opening", path))?;
    let about = file.metadata().map_err(io_fault("looking at", path))?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(Fault::Unreadable(path.to_path_buf()));
    }
    check(path, &about, "600")?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(io_fault("reading", path))?;
    serde_json::from_str(&text).map_err(|_| Fault::Unreadable(path.to_path_buf()))
}

fn check_folder(folder: &Path) -> Result<(), Fault> {
    let about = std::fs::symlink_metadata(folder).map_err(io_fault("looking at", folder))?;
    if !about.is_dir() {
        return Err(Fault::Unreadable(folder.to_path_buf()));
    }
    check(folder, &about, "700")
}

fn check(path: &Path, about: &std::fs::Metadata, mode: &'static str) -> Result<(), Fault> {
    let why = if about.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user".to_owned()
    } else if about.mode() & 0o077 != 0 {
        format!("its mode is {:o}", about.mode() & 0o777)
    } else {
        return Ok(());
    };
    let path = path.to_path_buf();
    Err(Fault::Wide { path, why, mode })
}

fn sync(folder: &Path) -> Result<(), Fault> {
    let opened = File::open(folder).map_err(io_fault("opening", folder))?;
    opened.sync_all().map_err(io_fault("keeping", folder))
}

fn io_fault(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Fault {
    move |source| Fault::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

fn hexadecimal(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|it| [it >> 4, it & 15]);
    digits
        .map(|it| char::from(DIGITS[usize::from(it)]))
        .collect()
}

fn bytes(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const ADA: &str = "operator:ada";

    fn keys() -> (tempfile::TempDir, Keys) {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::within(Some(home.path()), None).unwrap();
        (home, keys)
    }

    fn widen(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_private_and_signs_what_its_public_half_verifies() {
        let (_home, keys) = keys();
        assert_eq!(keys.all().unwrap(), []);
        let made = keys.make(ADA, Timestamp(1)).unwrap();
        let path = keys.path(&made.id, KEY);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(keys.folder())), (0o600, 0o700));
        let sealed = keys.signing(&made.id).unwrap().seal("t", b"payload");
        let public = VerifyingKey::read(&made.key).unwrap();
        assert_eq!(sealed.open("t", &public).unwrap(), b"payload");
        assert_eq!(keys.all().unwrap(), [made]);
        let left = std::fs::read_dir(keys.folder()).unwrap().count();
        assert_eq!(left, 1, "nothing is left in between");
    }

    #[test]
    fn what_others_can_reach_is_not_used() {
        let (_home, keys) = keys();
        let made = keys.make(ADA, Timestamp(1)).unwrap();
        let path = keys.path(&made.id, KEY);
        for (path, wide, fine) in [
            (path.as_path(), 0o640, 0o600),
            (path.as_path(), 0o604, 0o600),
            (keys.folder(), 0o750, 0o700),
        ] {
            widen(path, wide);
            assert!(matches!(keys.signing(&made.id), Err(Fault::Wide { .. })));
            assert!(matches!(keys.all(), Err(Fault::Wide { .. })));
            widen(path, fine);
        }
        keys.signing(&made.id).unwrap();
        let link = keys.folder().join("aa.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(keys.all().is_err(), "a link is not followed");
    }

    #[test]
    fn what_was_revoked_never_signs_again() {
        let (_home, keys) = keys();
        let one = keys.make(ADA, Timestamp(1)).unwrap();
        let two = keys.make(ADA, Timestamp(2)).unwrap();
        let revoked = keys.revoke(&one.id, "lost").unwrap();
        assert_eq!(revoked.revoked.as_deref(), Some("lost"));
        assert!(keys.signing(&one.id).is_err());
        let seed = std::fs::read_to_string(keys.path(&one.id, REVOKED)).unwrap();
        assert!(!seed.contains("seed"));
        assert_eq!(keys.revoke(&one.id, "again").unwrap(), revoked);
        // A death before the key itself was removed.
        let back = std::fs::read(keys.path(&two.id, KEY)).unwrap();
        keys.revoke(&two.id, "lost").unwrap();
        std::fs::write(keys.path(&two.id, KEY), back).unwrap();
        widen(&keys.path(&two.id, KEY), 0o600);
        assert!(keys.signing(&two.id).is_err());
        assert!(keys.all().unwrap().iter().all(|it| it.revoked.is_some()));
    }

    #[test]
    fn nothing_is_written_over_and_no_name_is_a_path() {
        let (_home, keys) = keys();
        let made = keys.make(ADA, Timestamp(1)).unwrap();
        let path = keys.path(&made.id, KEY);
        let kept = read(&path).unwrap();
        assert!(matches!(keys.write(&path, &kept), Err(Fault::Io { .. })));
        assert!(keys.signing("../../etc/passwd").is_err());
    }

    #[test]
    fn keys_are_not_kept_in_a_repository() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("config");
        let refused = Keys::within(Some(&inside), Some(root.path()));
        assert!(matches!(refused, Err(Fault::InRepository(_))));
        assert!(matches!(Keys::within(None, None), Err(Fault::Nowhere)));
    }
}
