//! How a base is made: the layer of what differs from the nearest one, written as git holds it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::process::ChildStdout;
use std::time::SystemTime;

use domain::tree::Commit;
use ports::workspaces::Error;

use crate::base::{Base, Note, Yard};
use crate::disk::{self, failed};
use crate::git::git_error;
use crate::globs::DenyOnly;
use crate::layer::{Writer, whiteouts};
use crate::leaks::Search;
use crate::names::{Kind, Name, Names};
use crate::sealed;

/// The most layers a base is stacked of before it is checked out afresh.
const LAYERS_MAX: usize = 8;
/// The most earlier bases looked at for the nearest one.
const CANDIDATES_MAX: usize = 8;
/// How long before now the files of a base seem to have been written, in seconds: an edit in the
/// second after they were made has another time then, and git looks at it.
const SECONDS_BACK: u64 = 2;
/// The longest target of a symbolic link, in bytes.
const LINK_BYTES_MAX: u64 = 4_096;

impl Yard<'_> {
    /// Makes the base from nothing, or from the nearest that is there. The caller holds the lock.
    pub(crate) fn materialise(
        &self,
        commit: &Commit,
        variant: &str,
        hidden: &DenyOnly,
        accepted: &[String],
    ) -> Result<(), Error> {
        let all = self.names_at(commit)?;
        let total = all.all().len();
        let visible = all
            .all()
            .iter()
            .filter(|it| !hidden.matches_bytes(&it.path))
            .cloned()
            .collect();
        let mut names = Names::of(visible)?;
        let excluded = names.all().len() != total;
        let search = Search {
            git: self.git,
            repository: self.own,
            known: Some(&self.state.join("searched")),
        };
        search.check(commit, &names, accepted)?;

        let making = disk::workshop(&self.state.join("making-bases"))?;
        let files = making.join("files");
        disk::shown_folder(&files)?;
        let below = self.nearest(commit, variant, &names)?;
        let layers = self.write_layer(&files, &mut names, below.as_ref())?;
        let note = Note {
            layers: std::iter::once(commit.clone()).chain(layers).collect(),
        };
        let sealing = sealed::Sealing {
            git: self.git,
            own: self.own,
            commit,
            names: &names,
            excluded,
        };
        sealing.write(
            &making.join("git"),
            below.as_ref().map(Base::git_dir).as_deref(),
        )?;
        disk::write_whole(&making.join("names"), &names.written())?;
        let note =
            serde_json::to_vec(&note).map_err(|error| failed("writing base.json")(error.into()))?;
        disk::write_whole(&making.join("base.json"), &note)?;
        disk::sync(&making)?;
        let folder = self.folder(commit, variant);
        disk::private_folder(&self.bases().join(commit.as_str()))?;
        fs::rename(&making, &folder).map_err(failed(format!("making {}", folder.display())))
    }

    pub(crate) fn names_at(&self, commit: &Commit) -> Result<Names, Error> {
        let arguments = ["ls-tree", "-r", "-z", "--full-tree", commit.as_str()];
        let listed = self.git.on(self.own, &arguments).finish()?;
        if listed.code == 0 {
            return Names::of_ls_tree(&listed.output);
        }
        let known = self
            .git
            .on(self.own, &["cat-file", "-e", commit.as_str()])
            .finish()?;
        if known.code == 0 {
            Err(listed.error("ls-tree"))
        } else {
            Err(Error::NotFound(format!(
                "there is no commit {commit} in the repository"
            )))
        }
    }

    /// Returns the materialised base to stack upon: the one with the fewest differences, if
    /// stacking writes less than half of the files.
    fn nearest(
        &self,
        commit: &Commit,
        variant: &str,
        names: &Names,
    ) -> Result<Option<Base>, Error> {
        let mut candidates: Vec<(SystemTime, Commit)> = Vec::new();
        let bases = self.bases();
        let reading = || failed(format!("reading {}", bases.display()));
        for entry in fs::read_dir(&bases).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            let Some(other) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            let made = entry.path().join(variant).symlink_metadata();
            if let Ok(made) = made.and_then(|it| it.modified())
                && other != *commit
            {
                candidates.push((made, other));
            }
        }
        candidates.sort_unstable();
        let mut best: Option<(usize, Base)> = None;
        for (_, other) in candidates.iter().rev().take(CANDIDATES_MAX) {
            // A damaged base is no reason to fail: it is just not stacked upon.
            let Ok(Some(base)) = self.load(other, variant) else {
                continue;
            };
            let (gone, changed) = base.names.changes(names);
            let count = gone.len() + changed.len();
            let better = best.as_ref().is_none_or(|(fewest, _)| count < *fewest);
            if base.layers.len() < LAYERS_MAX && count * 2 <= names.all().len() && better {
                best = Some((count, base));
            }
        }
        Ok(best.map(|(_, base)| base))
    }

    /// Writes the layer of a base and returns the commits of the layers beneath it.
    fn write_layer(
        &self,
        files: &Path,
        names: &mut Names,
        below: Option<&Base>,
    ) -> Result<Vec<Commit>, Error> {
        let seconds = now_seconds().saturating_sub(SECONDS_BACK);
        let mut writer = Writer::new(files, Some(seconds));
        let nothing = Names::default();
        let lower = below.map_or(&nothing, |base| &base.names);
        let (gone, changed) = lower.changes(names);
        let changed: Vec<Name> = changed.into_iter().cloned().collect();
        let gone: BTreeSet<&[u8]> = gone.iter().map(|it| it.path.as_slice()).collect();
        let present = changed.iter().map(|it| it.path.as_slice()).collect();
        for path in whiteouts(lower, &gone, &present) {
            writer.whiteout(&path)?;
        }
        if below.is_none() {
            // The mount point of the git directory.
            fs::create_dir(files.join(".git")).map_err(failed("making the folder .git"))?;
        }
        let lengths = self.write_blobs(&mut writer, &changed)?;
        let written: HashMap<&[u8], u64> = changed
            .iter()
            .map(|it| it.path.as_slice())
            .zip(lengths)
            .collect();
        let stamped = names
            .all()
            .iter()
            .map(|it| {
                let mut name = it.clone();
                let old = lower.get(&it.path);
                (name.bytes, name.seconds) = match (written.get(it.path.as_slice()), old) {
                    (Some(bytes), _) => (*bytes, seconds),
                    (None, Some(old)) => (old.bytes, old.seconds),
                    (None, None) => (0, seconds),
                };
                name
            })
            .collect();
        *names = Names::of(stamped)?;
        Ok(below
            .map(|base| base.commits_of_layers())
            .unwrap_or_default())
    }

    /// Writes the blobs of `entries` into the layer, as they are: no filter, no attribute.
    fn write_blobs(&self, writer: &mut Writer, entries: &[Name]) -> Result<Vec<u64>, Error> {
        let blobs = || entries.iter().filter(|it| it.kind != Kind::Submodule);
        let requests: Vec<&str> = blobs().map(|it| it.object.as_str()).collect();
        let call = self.git.on(self.own, &["cat-file", "--batch", "--buffer"]);
        let (lengths, code, complaint) = call.pipe(
            move |stdin| {
                let mut buffered = std::io::BufWriter::new(stdin);
                requests
                    .iter()
                    .try_for_each(|it| writeln!(buffered, "{it}"))
                    .and_then(|()| buffered.flush())
                    .map_err(failed("asking git for files"))
            },
            |stdout| {
                entries
                    .iter()
                    .map(|entry| write_blob(writer, entry, stdout))
                    .collect::<Result<Vec<_>, Error>>()
            },
        )?;
        if code == 0 {
            Ok(lengths)
        } else {
            Err(git_error("cat-file", code, &complaint))
        }
    }
}

fn write_blob(
    writer: &mut Writer,
    entry: &Name,
    stdout: &mut std::io::BufReader<ChildStdout>,
) -> Result<u64, Error> {
    if entry.kind == Kind::Submodule {
        writer.folder(&entry.path)?;
        return Ok(0);
    }
    let reading = || failed(format!("reading `{}` from git", entry.path.escape_ascii()));
    let mut head = String::new();
    stdout.take(256).read_line(&mut head).map_err(reading())?;
    let bytes: u64 = head
        .trim_end()
        .strip_prefix(&entry.object)
        .and_then(|it| it.strip_prefix(" blob "))
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| Error::Git {
            command: "cat-file".into(),
            output: format!(
                "`{}` cannot be read ({}); fetch the missing object, or run `git fsck`",
                entry.path.escape_ascii(),
                head.trim()
            ),
        })?;
    if entry.kind == Kind::Symlink {
        if bytes > LINK_BYTES_MAX {
            return Err(Error::Unusable(format!(
                "the symbolic link `{}` is {bytes} bytes long",
                entry.path.escape_ascii()
            )));
        }
        let mut target = Vec::new();
        stdout
            .take(bytes)
            .read_to_end(&mut target)
            .map_err(reading())?;
        writer.symlink(&entry.path, &target)?;
    } else {
        let executable = entry.kind == Kind::Executable;
        let copied = writer.file(&entry.path, executable, &mut stdout.take(bytes))?;
        if copied != bytes {
            return Err(reading()(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let mut newline = [0];
    stdout.read_exact(&mut newline).map_err(reading())?;
    Ok(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of an index entry, as git compares it"
)]
fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |it| it.as_secs())
}
