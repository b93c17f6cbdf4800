//! The ground that no mount may show: the machine's own folders, the operator's keys, and what
//! Palisade and git keep of this repository.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

/// Folders that are too wide to show, though folders in them may be shown.
const TOO_WIDE: [&str; 12] = [
    "/", "/boot", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var",
    "/var/lib",
];

/// Folders and files of the system that reach into the machine or hold its keys.
const CLOSED: [&str; 16] = [
    "/boot",
    "/dev",
    "/etc/gshadow",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/pki/tls/private",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/proc",
    "/run",
    "/sys",
    "/var/lib/docker",
    "/var/run",
];

/// Folders of a home that are too wide to show, though folders in them may be shown.
const WIDE_AT_HOME: [&str; 4] = [".cache", ".config", ".local", ".local/share"];

/// What in a home holds keys. Nothing that contains one is shown, and nothing in one.
const KEYS_AT_HOME: [&str; 20] = [
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".config/google-chrome",
    ".config/hub",
    ".config/op",
    ".config/sops",
    ".docker",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".git-credentials",
    ".password-store",
    ".ssh",
    ".terraform.d",
    ".vault-token",
];

/// A folder that directly holds one of these is somebody's home, whoever's it is.
const MARKS_OF_A_HOME: [&str; 3] = [".ssh", ".aws", ".gnupg"];

/// Places in a cell that Palisade and the cell make themselves.
const TAKEN: [&str; 6] = ["/", "/etc", "/home/agent", "/tmp", "/usr", "/workspace"];

/// Places in a cell where nothing may be mounted at or beneath.
const TAKEN_WHOLE: [&str; 7] = [
    "/.agent",
    "/.nothing",
    "/brief",
    "/dev",
    "/palisade",
    "/proc",
    "/workspace/.git",
];

/// Where things are that no cell may see.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// The root of the working tree.
    pub(crate) root: PathBuf,
    /// The git directory.
    pub(crate) git: PathBuf,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The operator's home.
    pub(crate) home: Option<PathBuf>,
    /// The operator's own configuration of Palisade, with the keys that approvals are signed with.
    pub(crate) own: Option<PathBuf>,
}

impl Ground {
    /// Returns why a host path may not be shown in cells, if it may not. Where it leads over links
    /// counts, not how it is spelled.
    pub(crate) fn refuses(&self, source: &Path) -> Option<String> {
        if !is_plain(source) {
            return Some("must be an absolute path without `..`".to_string());
        }
        // What is not there shows nothing; then the spelling is all there is to judge.
        let real = real(source);
        self.judge(source)
            .or_else(|| self.judge(&real))
            .or_else(|| special(&real))
    }

    fn judge(&self, path: &Path) -> Option<String> {
        if TOO_WIDE.iter().any(|it| path == Path::new(it)) {
            let path = path.display();
            return Some(format!(
                "{path} is too wide to be shown to agents; name what is needed in it"
            ));
        }
        if let Some(closed) = CLOSED.iter().find(|it| path.starts_with(it)) {
            return Some(format!(
                "{closed} reaches into this machine and is never shown to agents"
            ));
        }
        let git = (&self.git, "the repository's git folder");
        let state = (&self.state, "the state of Palisade");
        let own = self
            .own
            .iter()
            .map(|it| (it, "your own keys and settings of Palisade"));
        for (kept, name) in [git, state].into_iter().chain(own) {
            if touches(path, &real(kept)) {
                let kept = kept.display();
                return Some(format!("it shows {name}, {kept}, which agents may not see"));
            }
        }
        if real(&self.root).starts_with(path) {
            return Some(
                "it shows the working tree; agents get a sealed tree of their own at /workspace"
                    .to_string(),
            );
        }
        self.home
            .as_ref()
            .and_then(|home| judge_at_home(home, path))
            .or_else(|| {
                let mark = MARKS_OF_A_HOME.iter().find(|it| path.join(it).exists())?;
                Some(format!(
                    "it contains {mark}; name the folders that are needed in it"
                ))
            })
    }
}

fn judge_at_home(home: &Path, path: &Path) -> Option<String> {
    let home = real(home);
    if home.starts_with(path) {
        return Some(
            "it shows your whole home; name the folders that are needed in it".to_string(),
        );
    }
    if WIDE_AT_HOME.iter().any(|it| path == home.join(it)) {
        return Some(
            "it holds the data of many programs; name the folders that are needed in it"
                .to_string(),
        );
    }
    let key = KEYS_AT_HOME.iter().find(|it| {
        let key = home.join(it);
        path.starts_with(&key) || key.starts_with(path) && key.exists()
    })?;
    Some(format!("it shows ~/{key}, which holds keys"))
}

/// Returns why nothing may be mounted at a place of a cell, if so.
pub(crate) fn refuses_target(target: &Path) -> Option<String> {
    if !is_plain(target) {
        return Some("must be an absolute path in the cell, without `..`".to_string());
    }
    let taken = TAKEN.iter().any(|it| target == Path::new(it))
        || TAKEN_WHOLE.iter().any(|it| target.starts_with(it));
    taken.then(|| {
        let target = target.display();
        format!("{target} is made by the cell itself; choose another place")
    })
}

/// Returns whether a path is absolute and leads straight down.
pub(crate) fn is_plain(path: &Path) -> bool {
    let down = |it: Component<'_>| matches!(it, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(down) && path.to_str().is_some()
}

fn touches(path: &Path, kept: &Path) -> bool {
    path.starts_with(kept) || kept.starts_with(path)
}

/// A socket reaches out of the cell, and a device into the machine.
fn special(path: &Path) -> Option<String> {
    let kind = path.symlink_metadata().ok()?.file_type();
    let special =
        kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device();
    special.then(|| {
        "it is neither a file nor a folder; sockets and devices reach out of the cell".to_string()
    })
}

/// Returns where a path really leads, as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(real) = above.canonicalize() {
            return match path.strip_prefix(above) {
                Ok(rest) if rest.as_os_str().is_empty() => real,
                Ok(rest) => real.join(rest),
                Err(_) => path.to_path_buf(),
            };
        }
    }
    path.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(home: &Path) -> Ground {
        let root = home.join("src/app");
        std::fs::create_dir_all(root.join(".git/palisade")).unwrap();
        std::fs::create_dir_all(root.join(".venv")).unwrap();
        Ground {
            git: root.join(".git"),
            state: root.join(".git/palisade"),
            root,
            home: Some(home.to_path_buf()),
            own: Some(home.join("elsewhere/palisade")),
        }
    }

    #[test]
    fn the_operators_keys_are_shown_to_nobody() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let ground = ground(&home);
        for path in [
            "elsewhere",
            "elsewhere/palisade",
            "elsewhere/palisade/keys/a.toml",
        ] {
            let why = ground.refuses(&home.join(path));
            assert!(why.is_some_and(|it| it.contains("keys")), "{path}");
        }
        assert_eq!(ground.refuses(&home.join("elsewhere/other")), None);
    }

    #[test]
    fn wide_and_private_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("ada");
        let ground = ground(&home);
        for private in [".ssh", ".config/gh", ".cargo/registry"] {
            std::fs::create_dir_all(home.join(private)).unwrap();
        }
        for wide in [
            "/",
            "/etc",
            "/root",
            "/home",
            "/proc/self",
            "/run/docker.sock",
            "/var/run/x",
        ] {
            assert!(ground.refuses(Path::new(wide)).is_some(), "{wide}");
        }
        for private in [
            "",
            ".ssh",
            ".ssh/id_rsa",
            ".config",
            ".config/gh",
            ".local/share",
            "src",
            "src/app",
            "src/app/.git",
            "src/app/.git/hooks",
            "src/app/.git/palisade",
        ] {
            let path = home.join(private);
            assert!(ground.refuses(&path).is_some(), "{private}");
        }
        for fine in [
            ".cargo",
            ".cargo/registry",
            "src/app/.venv",
            "src/other",
            ".not/there",
        ] {
            assert_eq!(ground.refuses(&home.join(fine)), None, "{fine}");
        }
        assert_eq!(ground.refuses(Path::new("/usr/share/maven")), None);
    }

    #[test]
    fn where_a_link_leads_counts() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("ada");
        let ground = ground(&home);
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        let tools = dir.path().join("tools");
        std::os::unix::fs::symlink(home.join(".ssh"), &tools).unwrap();
        assert!(ground.refuses(&tools).unwrap().contains("~/.ssh"));
        assert!(ground.refuses(&tools.join("id_rsa")).is_some());
    }

    #[test]
    fn the_home_of_another_is_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let ground = ground(&dir.path().join("ada"));
        std::fs::create_dir_all(dir.path().join("bob/.aws")).unwrap();
        assert!(
            ground
                .refuses(&dir.path().join("bob"))
                .unwrap()
                .contains(".aws")
        );
    }

    #[test]
    fn sockets_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ground = ground(&dir.path().join("ada"));
        let path = dir.path().join("agent.sock");
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(ground.refuses(&path).unwrap().contains("socket"));
        drop(socket);
    }

    #[test]
    fn the_places_of_the_cell_are_taken() {
        for taken in [
            "/",
            "/etc",
            "/usr",
            "/proc/1",
            "/workspace",
            "/workspace/.git/hooks",
            "/.agent/x",
            "relative",
            "/a/../b",
        ] {
            assert!(refuses_target(Path::new(taken)).is_some(), "{taken}");
        }
        for free in [
            "/etc/maven",
            "/home/agent/.cargo/registry",
            "/usr/local/go",
            "/workspace/node_modules",
        ] {
            assert_eq!(refuses_target(Path::new(free)), None, "{free}");
        }
    }
}
