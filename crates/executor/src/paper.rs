//! Files that the executor believes: read once through one descriptor, of a trusted owner, and not
//! to be written by others.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use domain::Digest;
use zeroize::Zeroizing;

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no regular file.
    #[error("{0} is no regular file")]
    NotAFile(PathBuf),
    /// Somebody else could have written it.
    #[error(
        "{0} could be written by others: it must belong to root or to the executor's own user, and \
         neither group nor others may write it (`chmod go-w`)"
    )]
    Writable(PathBuf),
    /// Somebody else could read it.
    #[error("{0} holds a secret and is open to others; run `chmod 600` on it")]
    Open(PathBuf),
    /// It is too large.
    #[error("{path} is over {bytes_max} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most it may have.
        bytes_max: u64,
    },
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Anybody.
    Anybody,
    /// Its owner alone.
    Owner,
}

/// Reads a file that nobody but root and the executor's own user can have written.
pub(crate) fn read(
    path: &Path,
    bytes_max: u64,
    readers: Readers,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |source| Fault::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let no_wait = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(no_wait.bits()).unwrap_or(0))
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile(path.to_path_buf()));
    }
    let own = rustix::process::geteuid().as_raw();
    if !matches!(metadata.uid(), 0) && metadata.uid() != own || metadata.mode() & 0o022 != 0 {
        return Err(Fault::Writable(path.to_path_buf()));
    }
    if readers == Readers::Owner && metadata.mode() & 0o077 != 0 {
        return Err(Fault::Open(path.to_path_buf()));
    }
    if metadata.len() > bytes_max {
        return Err(Fault::TooLarge {
            path: path.to_path_buf(),
            bytes_max,
        });
    }
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// Returns the digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_a_file_that_others_cannot_write_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::write(&path, "text").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o666, 0o620, 0o602] {
            set(mode);
            let read = read(&path, 9, Readers::Anybody);
            assert!(matches!(read, Err(Fault::Writable(_))), "{mode:o}");
        }
        set(0o644);
        assert_eq!(*read(&path, 9, Readers::Anybody).unwrap(), b"text");
        assert!(matches!(
            read(&path, 9, Readers::Owner),
            Err(Fault::Open(_))
        ));
        assert!(matches!(
            read(&path, 3, Readers::Anybody),
            Err(Fault::TooLarge { .. })
        ));
        set(0o600);
        assert_eq!(*read(&path, 4, Readers::Owner).unwrap(), b"text");
        let nothing = read(folder.path(), 9, Readers::Anybody);
        assert!(matches!(nothing, Err(Fault::NotAFile(_))));
    }
}
