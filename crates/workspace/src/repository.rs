//! The user's repository: what revisions and branches mean, and the one ref that is moved.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use domain::tree::Commit;
use ports::artifacts::ARTIFACT_BYTES_MAX;
use ports::workspaces::{Error, Landed, Target};

use crate::git::{Call, Git};
use crate::names::{Kind, check_path, ls_tree_line};

/// The folder of branches that changes land on while the branch itself is checked out.
const LANDING: &str = "refs/heads/palisade/";
const HEADS: &str = "refs/heads/";

/// The user's repository.
#[derive(Debug)]
pub(crate) struct Repository {
    git: Git,
    git_dir: PathBuf,
    common_dir: PathBuf,
    /// The working tree; none of a bare repository.
    root: Option<PathBuf>,
    sha256: bool,
}

impl Repository {
    /// Finds the repository that `path` lies in.
    pub(crate) fn find(git: &Git, path: &Path) -> Result<Self, Error> {
        let ask = |question: &[&str]| -> Result<Option<Vec<u8>>, Error> {
            let mut arguments = vec!["rev-parse"];
            arguments.extend(question);
            let finished = git.anywhere(path, &arguments).finish()?;
            let output = finished.output.strip_suffix(b"\n").map(<[u8]>::to_vec);
            Ok(output.filter(|_| finished.code == 0))
        };
        if !path.is_dir() {
            return Err(Error::NotFound(format!(
                "there is no folder {}",
                path.display()
            )));
        }
        let missing = || {
            Error::Unusable(format!(
                "{} is not inside a git repository; run `git init` there, and make a first commit",
                path.display()
            ))
        };
        let folder = |bytes: Option<Vec<u8>>| {
            bytes
                .map(|it| PathBuf::from(OsString::from_vec(it)))
                .ok_or_else(missing)
        };
        let git_dir = folder(ask(&["--absolute-git-dir"])?)?;
        let common_dir = folder(ask(&["--path-format=absolute", "--git-common-dir"])?)?;
        let root = ask(&["--show-toplevel"])?.map(|it| PathBuf::from(OsString::from_vec(it)));
        let format = ask(&["--show-object-format"])?.unwrap_or_default();
        Ok(Self {
            git: git.clone(),
            git_dir,
            common_dir,
            root,
            sha256: format == b"sha256",
        })
    }

    /// Returns the git directory of the working tree it was found by.
    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Returns the working tree, if there is one.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Returns where its objects lie.
    pub(crate) fn objects(&self) -> PathBuf {
        self.common_dir.join("objects")
    }

    /// Returns the name of its object format.
    pub(crate) const fn object_format(&self) -> &'static str {
        if self.sha256 { "sha256" } else { "sha1" }
    }

    fn call(&self, arguments: &[&str]) -> Call {
        self.git.on(&self.git_dir, arguments)
    }

    /// Returns the commit that a revision names.
    pub(crate) fn resolve(&self, revision: &str) -> Result<Commit, Error> {
        self.commit(revision)?.ok_or_else(|| {
            Error::NotFound(format!(
                "`{revision}` names no commit in this repository; see `git log` and `git branch`"
            ))
        })
    }

    fn commit(&self, revision: &str) -> Result<Option<Commit>, Error> {
        let peeled = format!("{revision}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &peeled,
        ];
        if revision.is_empty() || revision.contains('\0') {
            return Ok(None);
        }
        let finished = self.call(&arguments).finish()?;
        if finished.code != 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&finished.output).trim().to_owned();
        text.parse().map(Some).map_err(|_| Error::Git {
            command: "rev-parse".into(),
            output: text,
        })
    }

    fn ref_commit(&self, name: &str) -> Result<Option<Commit>, Error> {
        self.commit(name)
    }

    /// Returns where changes for `branch` land.
    pub(crate) fn target(&self, branch: Option<&str>) -> Result<Target, Error> {
        let branch = match branch {
            Some(branch) => branch.to_owned(),
            None => self.current_branch()?,
        };
        let full = format!("{HEADS}{branch}");
        if self.call(&["check-ref-format", &full]).finish()?.code != 0 {
            return Err(Error::NotFound(format!("`{branch}` is not a branch name")));
        }
        let Some(at_branch) = self.ref_commit(&full)? else {
            return Err(self.no_such_branch(&branch)?);
        };
        let landing = format!("{LANDING}{branch}");
        let checked_out = self.checked_out()?;
        if checked_out.contains(&landing) {
            return Err(Error::Unusable(format!(
                "the landing branch palisade/{branch} is checked out in a working tree, which is \
                 never touched; run `git switch {branch}` there"
            )));
        }
        let at_landing = self.ref_commit(&landing)?;
        let head = match &at_landing {
            None => at_branch.clone(),
            Some(landed) if self.is_ancestor(&at_branch, landed)? => landed.clone(),
            Some(landed) if self.is_ancestor(landed, &at_branch)? => at_branch.clone(),
            Some(_) => {
                return Err(Error::Unusable(format!(
                    "{branch} and palisade/{branch} have diverged; on {branch}, run `git merge \
                     palisade/{branch}`, or delete it with `git branch -D palisade/{branch}`"
                )));
            }
        };
        if checked_out.contains(&full) {
            self.refuse_blocked(&landing)?;
            return Ok(Target {
                branch,
                lands_on: landing,
                head,
                expected: at_landing,
            });
        }
        Ok(Target {
            branch,
            lands_on: full,
            head,
            expected: Some(at_branch),
        })
    }

    fn current_branch(&self) -> Result<String, Error> {
        let head = self.call(&["symbolic-ref", "--quiet", "HEAD"]).finish()?;
        let full = String::from_utf8_lossy(&head.output).trim().to_owned();
        match full.strip_prefix(HEADS) {
            Some(branch) if head.code == 0 => Ok(branch.to_owned()),
            _ => Err(Error::Unusable(
                "the repository is on no branch (detached HEAD); run `git switch <branch>`, or \
                 name the branch that you mean"
                    .into(),
            )),
        }
    }

    fn no_such_branch(&self, branch: &str) -> Result<Error, Error> {
        let any = self.call(&["rev-list", "-n", "1", "--all"]).output()?;
        Ok(if any.is_empty() {
            Error::Unusable(
                "the repository has no commit yet; make one, for example with `git commit \
                 --allow-empty -m start`"
                    .into(),
            )
        } else if self.current_branch().is_ok_and(|it| it == branch) {
            Error::Unusable(format!(
                "the branch {branch} has no commit yet; make one, or run `git switch` to a branch \
                 that has"
            ))
        } else {
            Error::NotFound(format!(
                "there is no branch `{branch}`; see `git branch`, or make it with `git branch {branch}`"
            ))
        })
    }

    /// Refuses a ref that cannot exist because another has a part of its name.
    fn refuse_blocked(&self, name: &str) -> Result<(), Error> {
        for (at, _) in name.match_indices('/').skip(2) {
            let above = &name[..at];
            if self.ref_commit(above)?.is_some() {
                let short = above.trim_start_matches(HEADS);
                return Err(Error::Unusable(format!(
                    "the branch `{short}` is in the way of `{}`; rename it with `git branch -m \
                     {short} <other name>`",
                    name.trim_start_matches(HEADS)
                )));
            }
        }
        Ok(())
    }

    /// Returns the full names of all branches that are checked out in a working tree.
    fn checked_out(&self) -> Result<Vec<String>, Error> {
        let listed = self
            .call(&["worktree", "list", "--porcelain", "-z"])
            .output()?;
        Ok(listed
            .split(|byte| *byte == 0)
            .filter_map(|line| line.strip_prefix(b"branch "))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }

    fn is_ancestor(&self, ancestor: &Commit, of: &Commit) -> Result<bool, Error> {
        let (ancestor, of) = (ancestor.as_str(), of.as_str());
        let finished = self
            .call(&["merge-base", "--is-ancestor", ancestor, of])
            .finish()?;
        match finished.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(finished.error("merge-base")),
        }
    }

    /// Moves the target's ref by compare-and-swap.
    pub(crate) fn land(&self, target: &Target, commit: &Commit) -> Result<Landed, Error> {
        let name = &target.lands_on;
        if !name.starts_with(HEADS) {
            return Err(Error::Unusable(format!("`{name}` is not a branch")));
        }
        if let Some(now) = self.ref_commit(name)?
            && self.is_ancestor(commit, &now)?
        {
            return Ok(Landed::Yes);
        }
        if self.checked_out()?.contains(name) {
            return Err(Error::Unusable(format!(
                "`{name}` is checked out in a working tree by now, which is never touched; try \
                 again, so that changes land beside it"
            )));
        }
        if let Some(expected) = &target.expected
            && !self.is_ancestor(expected, commit)?
        {
            return Err(Error::Unusable(format!(
                "{} does not build on {}, which `{name}` held; rebase it first",
                commit.short(),
                expected.short()
            )));
        }
        self.refuse_blocked(name)?;
        let zero = "0".repeat(commit.as_str().len());
        let old = target
            .expected
            .as_ref()
            .map_or(zero.as_str(), Commit::as_str);
        let message = "palisade: land";
        let moved = self
            .call(&[
                "update-ref",
                "--no-deref",
                "-m",
                message,
                name,
                commit.as_str(),
                old,
            ])
            .durable()
            .finish()?;
        if moved.code == 0 {
            return Ok(Landed::Yes);
        }
        let now = self.ref_commit(name)?;
        match &now {
            Some(now) if self.is_ancestor(commit, now)? => Ok(Landed::Yes),
            _ if now == target.expected => Err(moved.error("update-ref")),
            _ => Ok(Landed::Moved(now)),
        }
    }

    /// Returns whether the target's ref contains the commit.
    pub(crate) fn contains(&self, target: &Target, commit: &Commit) -> Result<bool, Error> {
        match self.ref_commit(&target.lands_on)? {
            Some(now) => self.is_ancestor(commit, &now),
            None => Ok(false),
        }
    }

    /// Keeps a published commit from being collected as garbage.
    pub(crate) fn keep(&self, commit: &Commit) -> Result<(), Error> {
        let name = format!("refs/palisade/works/{commit}");
        self.call(&["update-ref", "--no-deref", &name, commit.as_str()])
            .durable()
            .output()
            .map(drop)
    }

    /// Returns the content of a regular file in a commit.
    pub(crate) fn read_at(&self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, Error> {
        if check_path(path.as_bytes()).is_err() {
            return Ok(None);
        }
        let listed = self.list(commit, path)?;
        let Some((kind, object, _)) = listed.into_iter().find(|(_, _, it)| it == path.as_bytes())
        else {
            return Ok(None);
        };
        if !matches!(kind, Kind::File | Kind::Executable) {
            return Ok(None);
        }
        let size = self.call(&["cat-file", "-s", &object]).text()?;
        if size
            .parse::<u64>()
            .map_or(true, |it| it > ARTIFACT_BYTES_MAX)
        {
            return Err(Error::Unusable(format!(
                "`{path}` is {size} bytes long, over the limit of {ARTIFACT_BYTES_MAX}"
            )));
        }
        self.call(&["cat-file", "blob", &object]).output().map(Some)
    }

    /// Returns the paths of the regular files directly in a folder of a commit.
    pub(crate) fn list_at(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, Error> {
        let folder = folder.trim_end_matches('/');
        let folder = if folder == "." { "" } else { folder };
        if !folder.is_empty() && check_path(folder.as_bytes()).is_err() {
            return Ok(Vec::new());
        }
        let inside = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let mut paths: Vec<String> = self
            .list(commit, &inside)?
            .into_iter()
            .filter(|(kind, _, _)| matches!(kind, Kind::File | Kind::Executable))
            .filter_map(|(_, _, path)| String::from_utf8(path).ok())
            .filter(|path| path.starts_with(&inside))
            .collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn list(&self, commit: &Commit, path: &str) -> Result<Vec<(Kind, String, Vec<u8>)>, Error> {
        let mut arguments = vec!["ls-tree", "-z", "--full-tree", commit.as_str(), "--"];
        if !path.is_empty() {
            arguments.push(path);
        }
        let listed = self.call(&arguments).output()?;
        Ok(listed
            .split(|byte| *byte == 0)
            .filter(|line| !line.is_empty())
            // Folders (`040000 tree`) are no kind of file.
            .filter_map(|line| ls_tree_line(line).ok())
            .map(|(kind, object, path)| (kind, object, path.to_vec()))
            .collect())
    }
}
