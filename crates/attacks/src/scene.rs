//! The scene of an attempt: a host with secrets, an engine's state, an operator's repository, and a
//! work's tree, all of it planted.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tree::{Fingerprint, fingerprint};

/// Files of the host that hold the canary, by their paths in the scene.
const SECRETS: [&str; 21] = [
    ".env",
    "home/.aws/credentials",
    "home/.bashrc",
    "home/.cargo/credentials.toml",
    "home/.config/palisade/provider.key",
    "home/.docker/config.json",
    "home/.git-credentials",
    "home/.kube/config",
    "home/.netrc",
    "home/.ssh/id_ed25519",
    "other/notes",
    "other/task.md",
    "questions/junit.xml",
    "questions/q.md",
    "repo/uncommitted",
    "state/artifacts/aa",
    "state/broker.toml",
    "state/events.sqlite",
    "state/tapes/session/index.jsonl",
    "tools/credentials.toml",
    "cron/job",
];
/// Files of the host without a secret.
const PLAIN: [&str; 4] = [
    "repo/.palisade/roles/builder.toml",
    "repo/palisade.toml",
    "tools/tool",
    "trap/none",
];
/// The tree of the base.
const TREE: [&str; 4] = ["README", "src/main", "src/kept", "docs/guide"];

/// Makes what every scene is a copy of: the host's folder, with a repository in whose history,
/// configuration and ignored files the canary lies. Its last commit has no secret but those that an
/// engine must leave out.
///
/// # Errors
/// When the folder cannot be written or git fails.
pub fn template(folder: &Path, canary: &str) -> io::Result<PathBuf> {
    let host = folder.join("host");
    for path in SECRETS {
        put(&host.join(path), &format!("secret = {canary}\n"))?;
    }
    for path in PLAIN {
        put(&host.join(path), "plain\n")?;
    }
    fs::set_permissions(host.join("tools/tool"), fs::Permissions::from_mode(0o755))?;
    let repo = host.join("repo");
    git(&repo, &["init", "--quiet", "--template="])?;
    for path in TREE {
        put(&repo.join(path), &format!("{path}\n"))?;
    }
    for path in [".env", "deploy.pem", "src/removed"] {
        put(&repo.join(path), &format!("secret = {canary}\n"))?;
    }
    let added: Vec<&str> = TREE
        .iter()
        .copied()
        .chain([".env", "deploy.pem", "src/removed"])
        .collect();
    // Stored plain, so that the canary is found without unpacking.
    git(&repo, &["config", "core.looseCompression", "0"])?;
    git(
        &repo,
        &[&["add", "--force", "--"], added.as_slice()].concat(),
    )?;
    commit(&repo, &format!("begin with {canary}"))?;
    git(&repo, &["rm", "--quiet", "src/removed"])?;
    commit(&repo, "remove a secret")?;
    let remote = format!("https://user:{canary}@example.org/repo.git");
    git(&repo, &["remote", "add", "origin", &remote])?;
    Ok(host)
}

/// Runs git in a repository of the scene, without anything of the machine's configuration.
pub(crate) fn git(repo: &Path, arguments: &[&str]) -> io::Result<()> {
    let output = careful_git(repo).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!(
        "git {arguments:?} in {}: {said}",
        repo.display()
    )))
}

/// Returns git, in an environment of its own.
pub(crate) fn careful_git(repo: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "safe.directory=*",
            "-C",
        ])
        .arg(repo)
        .stdin(Stdio::null());
    command
}

fn commit(repo: &Path, message: &str) -> io::Result<()> {
    git(repo, &["commit", "--quiet", "--message", message])
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}

/// The scene of one trial; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scene {
    dir: PathBuf,
    /// Elsewhere, because the path of a socket must be short.
    sockets: PathBuf,
}

impl Scene {
    /// Stages a scene in folders that do not exist yet.
    pub(crate) fn stage(dir: PathBuf, sockets: PathBuf, template: &Path) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        fs::create_dir_all(&sockets)?;
        // From here on, dropping removes.
        let scene = Self { dir, sockets };
        copy(template, &scene.path("host"))?;
        for folder in ["upper", "work", "cache-upper", "cache-work"] {
            fs::create_dir(scene.path(folder))?;
        }
        fs::create_dir_all(scene.path("drop/ambiguities"))?;
        for path in TREE {
            put(&scene.path("base").join(path), &format!("{path}\n"))?;
        }
        let fire = scene.path("host/trap/fire");
        put(&fire, &scene.trap())?;
        fs::set_permissions(fire, fs::Permissions::from_mode(0o755))?;
        Ok(scene)
    }

    /// Returns a path of the scene.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the folder of the host's sockets.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.sockets.clone()
    }

    /// Returns the text of a program that leaves a mark on the host when it is run.
    pub(crate) fn trap(&self) -> String {
        format!(
            "#!/bin/sh\necho ran >>'{}'\ncat\n",
            self.path("host/trap/ran").display()
        )
    }

    /// Returns whether something of the agent's ran on the host.
    pub(crate) fn trap_was_sprung(&self) -> bool {
        self.path("host/trap/ran").exists()
    }

    /// Returns the fingerprint of all that no cell may change: the host, the base that works share,
    /// and, where a plan gives a scope, what of the tree is outside of it.
    pub(crate) fn guarded(&self, is_scoped: bool) -> Fingerprint {
        let mut found = Fingerprint::new();
        for part in ["host", "base"] {
            let leaves_out = |it: &Path| part == "host" && it.starts_with("trap");
            for (path, line) in fingerprint(&self.path(part), &leaves_out) {
                found.insert(Path::new(part).join(path), line);
            }
        }
        if is_scoped {
            let leaves_out = |it: &Path| it.starts_with("src") && it != Path::new("src/kept");
            for (path, line) in fingerprint(&self.path("upper"), &|it| {
                leaves_out(it) && it != Path::new("src")
            }) {
                if path != Path::new("src") {
                    found.insert(Path::new("upper").join(path), line);
                }
            }
        }
        found
    }

    /// Returns the places that attempts name in braces.
    pub(crate) fn places(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        vec![
            ("{host}", text(self.path("host"))),
            ("{sockets}", text(self.sockets())),
            ("{trap-file}", text(self.path("host/trap/fire"))),
            ("{trap}", self.trap()),
            ("{upwards}", "../".repeat(24)),
        ]
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        open_up(&self.path("work"));
        open_up(&self.path("cache-work"));
        // What is left lies in the folder for scratch, which its owner removes.
        drop(fs::remove_dir_all(&self.dir));
        drop(fs::remove_dir_all(&self.sockets));
    }
}

/// Overlays leave folders in their scratch that permit nothing to anyone.
fn open_up(folder: &Path) {
    drop(fs::set_permissions(
        folder,
        fs::Permissions::from_mode(0o700),
    ));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let at = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &at)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &at)?;
        } else {
            fs::copy(entry.path(), &at)?;
        }
    }
    Ok(())
}
