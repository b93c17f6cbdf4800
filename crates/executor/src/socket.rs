//! The unix socket: who can reach it. Whoever reaches it, the kernel names them, and of a stranger
//! not a byte is read; the mode of the socket is the wall before that one.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::config::Config;

/// Only this user.
const PRIVATE_MODE: u32 = 0o600;

/// Every user, since peers of another user are configured: a group that holds just them cannot be
/// counted on.
const SHARED_MODE: u32 = 0o666;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Others could put a socket of theirs in its place, or could not come to it.
    #[error(
        "`[[peers]]` names other users, so the socket's folder {0} must belong to this user or root, \
         be writable by its owner alone, and let others through (chmod 711); RuntimeDirectory= with \
         RuntimeDirectoryMode=0711 makes one"
    )]
    Folder(PathBuf),
    /// It cannot be made.
    #[error("the socket {path} cannot be made")]
    Unmade {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the socket: of this user alone, unless the configuration names peers of another.
pub(crate) fn listen(path: &Path, config: &Config) -> Result<UnixListener, Fault> {
    let unmade = |source| Fault::Unmade {
        path: path.to_path_buf(),
        source,
    };
    let own = rustix::process::geteuid().as_raw();
    let is_shared = config.has_peers_beside(own);
    if is_shared {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let found = std::fs::metadata(folder).map_err(unmade)?;
        if !is_passage(found.uid(), found.mode(), own) {
            return Err(Fault::Folder(folder.to_path_buf()));
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unmade(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(unmade)?;
    let mode = if is_shared { SHARED_MODE } else { PRIVATE_MODE };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(unmade)?;
    Ok(listener)
}

/// Returns whether others can go through a folder and change nothing in it.
const fn is_passage(owner: u32, mode: u32, own: u32) -> bool {
    let is_ours = owner == own || owner == 0;
    is_ours && mode & 0o022 == 0 && mode & 0o011 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_is_ours_and_only_to_go_through() {
        for (owner, mode, is_one) in [
            (7, 0o711, true),
            (7, 0o755, true),
            (0, 0o710, true),
            (7, 0o700, false),
            (7, 0o1777, false),
            (7, 0o731, false),
            (7, 0o713, false),
            (8, 0o711, false),
        ] {
            assert_eq!(is_passage(owner, mode, 7), is_one, "{owner} {mode:o}");
        }
    }
}
