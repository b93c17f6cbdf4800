//! `palisade-executor init`: a folder with all that an executor for this machine needs, and an
//! executor.toml to read and to change. Nothing is guessed that gives power: whose keys count is
//! added by whoever holds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::Digest;
use sealed::private;
use wire::execution::Word;

use super::say;
use crate::paper;

/// Makes what an executor for this machine needs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder: executor.toml, the list of what was revoked, the audit, artifacts.
    folder: PathBuf,
    /// Lets commits be pushed to a bare repository of this machine.
    #[arg(long, value_name = "NAME=REPOSITORY")]
    publish: Vec<String>,
    /// The git directory that these commits are taken from.
    #[arg(long, value_name = "GIT_DIR", default_value = ".git")]
    source: PathBuf,
    /// Lets artifacts be deployed by this program, which is pinned by its content.
    #[arg(long, value_name = "PROGRAM", requires = "staging")]
    deploy: Option<PathBuf>,
    /// The folder that it deploys to.
    #[arg(long, value_name = "FOLDER", requires = "deploy")]
    staging: Option<PathBuf>,
    /// As whom this user asks; never who approves.
    #[arg(long, value_name = "PRINCIPAL", default_value = "service:engine")]
    requester: String,
}

/// Makes the folder and says what comes next.
pub(super) fn run(args: &Args, lookup: fn(&str) -> Option<String>) -> Result<(), String> {
    let folder = std::path::absolute(&args.folder).map_err(|it| it.to_string())?;
    let config = folder.join("executor.toml");
    if config.symlink_metadata().is_ok() {
        return Err(format!("{} is there already", config.display()));
    }
    let text = text(args, &folder, lookup)?;
    for folder in [&folder, &folder.join("state"), &folder.join("artifacts")] {
        private::folder(folder).map_err(|it| super::causes(&it))?;
    }
    let revoked = folder.join("revoked");
    if revoked.symlink_metadata().is_err() {
        let none = b"# identifiers of approvals and keys that count no more, one a line\n";
        private::create(&revoked, none).map_err(|it| super::causes(&it))?;
    }
    private::create(&config, text.as_bytes()).map_err(|it| super::causes(&it))?;
    let (config, socket) = (config.display(), folder.join("executor.sock"));
    let socket = socket.display();
    say(&format!(
        "made {config}; read it, then:\n\
         \x20 palisade keys init >> {config}     # or `keys show`: whose approvals count\n\
         \x20 palisade-executor serve --config {config} --socket {socket}\n\
         \x20 palisade --executor {socket} actions describe"
    ))
}

/// Puts a file among the artifacts, by its content, and says the digest that an approval names.
pub(super) fn keep(file: &Path, artifacts: &Path) -> Result<(), String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |it: std::io::Error| format!("{path}: {it}")
    };
    let copy = artifacts.join(format!(".{}.new", std::process::id()));
    let kept = std::fs::copy(file, &copy)
        .map_err(told(file))
        .and_then(|_| {
            let mut hasher = blake3::Hasher::new();
            let copied = std::fs::File::open(&copy).and_then(|mut it| {
                std::io::copy(&mut it, &mut hasher)?;
                it.sync_all()
            });
            copied.map_err(told(&copy))?;
            let digest = hasher.finalize();
            let path = artifacts.join(digest.to_hex().as_str());
            std::fs::rename(&copy, &path).map_err(told(&path))?;
            Ok(Digest::from_bytes(*digest.as_bytes()))
        });
    match kept {
        Ok(digest) => say(&digest.to_string()),
        Err(why) => {
            drop(std::fs::remove_file(&copy));
            Err(why)
        }
    }
}

fn text(args: &Args, folder: &Path, lookup: fn(&str) -> Option<String>) -> Result<String, String> {
    if args.publish.is_empty() && args.deploy.is_none() {
        return Err(
            "an executor that can do nothing is not needed: say --publish or --deploy".into(),
        );
    }
    if args.requester.trim().is_empty() || args.requester.starts_with("operator:") {
        return Err("who asks never approves: the requester is no operator".to_owned());
    }
    let uid = rustix::process::geteuid().as_raw();
    let at = |name: &str| quoted(&folder.join(name));
    let mut parts = vec![format!(
        "# What this executor may do, whole: nothing else is. Approvals name the digest of this file,\n\
         # so that a change ends those that were given before it. docs/EXECUTOR.md has every setting.\n\
         target = \"local\"\nstate = {}\nrevoked = {}\n\n\
         # Who asks. Give the executor a user of its own as soon as it holds a secret: whoever runs as\n\
         # its user is the executor.\n\
         [[peers]]\nprincipal = {}\nuid = {uid}\n",
        at("state")?,
        at("revoked")?,
        quoted(Path::new(&args.requester))?,
    )];
    if !args.publish.is_empty() {
        parts.push(program("git", &git(lookup)?)?);
        parts.push(publishing(args)?);
    }
    if let (Some(deploy), Some(staging)) = (&args.deploy, &args.staging) {
        parts.push(program("deploy", &existing(deploy)?)?);
        let (artifacts, staging) = (at("artifacts")?, quoted(&existing(staging)?)?);
        parts.push(format!(
            "\n# Puts an artifact, by its digest, in place; last the program writes $VERSION into RELEASED.\n\
             [actions.deploy_staging]\nprogram = \"deploy\"\nartifacts = {artifacts}\n\
             folder = {staging}\nreleased = \"RELEASED\"\nurl_id = \"staging\"\n"
        ));
    }
    parts.push("\n# Whose approvals count: the rows that `palisade keys` prints.\n".to_owned());
    Ok(parts.concat())
}

fn publishing(args: &Args) -> Result<String, String> {
    let source = quoted(&existing(&args.source)?)?;
    let mut parts = vec![format!(
        "\n# Pushes a commit that was approved, to branches refs/heads/agents/palisade/…\n\
         [actions.publish_change]\nprogram = \"git\"\nsource = {source}\n\
         namespace = \"agents/palisade\"\n"
    )];
    let mut named = BTreeSet::new();
    for row in &args.publish {
        let (name, repository) = row
            .split_once('=')
            .ok_or_else(|| format!("`{row}` is not written NAME=REPOSITORY"))?;
        let name: Word = name.parse().map_err(|it| format!("`{name}`: {it}"))?;
        if !named.insert(name.clone()) {
            return Err(format!("`{name}` is said twice"));
        }
        let repository = quoted(&existing(Path::new(repository))?)?;
        // A word may have dots in it.
        parts.push(format!("remotes.\"{name}\" = {repository}\n"));
    }
    Ok(parts.concat())
}

/// Returns the pinned row of a program.
fn program(name: &str, path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|it| format!("{}: {it}", path.display()))?;
    let (path, digest) = (quoted(path)?, paper::digest(&bytes));
    Ok(format!(
        "\n[programs.{name}]\npath = {path}\ndigest = \"{digest}\"\n"
    ))
}

fn git(lookup: fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let path = lookup("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|it| it.join("git"))
        .find(|it| it.is_file());
    found
        .and_then(|it| it.canonicalize().ok())
        .ok_or_else(|| "`git` is not in PATH, and --publish needs it".to_owned())
}

fn existing(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize()
        .map_err(|it| format!("{}: {it}", path.display()))
}

fn quoted(path: &Path) -> Result<String, String> {
    let text = path
        .to_str()
        .ok_or_else(|| format!("{} is no UTF-8", path.display()))?;
    Ok(toml::Value::from(text).to_string())
}
