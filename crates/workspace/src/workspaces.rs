//! The adapter: the port's questions, each led to the file that answers it.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::tree::{Change, Commit, Entry, ImportRules, Tree};
use domain::{Digest, SessionId};
use ports::artifacts::Artifacts;
use ports::workspaces::{
    Captured, CommitText, Error, Judgement, Landed, LeftOpen, Listed, Mode, Opened, Rebased,
    Secrets, Stamp, Target, Withheld, Workspaces,
};

use crate::base::{Base, Shelf, Yard};
use crate::capture::Gathered;
use crate::disk::{self, failed};
use crate::filter::{self, Contents, Memory, Trees};
use crate::fresh::Fresh;
use crate::git::Git;
use crate::leaks::Proposals;
use crate::left;
use crate::looking;
use crate::manifest::{self, Blobs, View};
use crate::manifests::Manifests;
use crate::publish::{self, Press};
use crate::rebase::Carrying;
use crate::remembered::{self, Memories, Remembered};
use crate::repository::Repository;
use crate::sealed;
use crate::sessions::{self, Rooms};
use crate::showing::Showing;
use crate::stamp;
use crate::withheld;

mod capturing;

/// The folder of the controller's own repository, in the state.
pub(crate) const OWN: &str = "git";

/// The configuration of the controller's own repository.
const OWN_CONFIG: &str = "[core]
\trepositoryformatversion = VERSION
\tbare = true
\tlogallrefupdates = false
[gc]
\tauto = 0
[index]
\tskipHash = true
";

/// What to do where overlays are not to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: sessions get overlay layers.
    #[default]
    None,
    /// Copy the whole tree for each session, and compare all of it at capture.
    PlainCopy,
}

/// The sealed trees of one git repository.
pub struct GitWorkspaces {
    git: Git,
    user: Repository,
    /// The private folder for layers, sessions and the controller's own repository.
    state: PathBuf,
    own: PathBuf,
    artifacts: Arc<dyn Artifacts>,
    fallback: Fallback,
    shelf: Shelf,
    manifests: Manifests,
    memories: Memories,
    proposals: Proposals,
    compiled: filter::CompiledRules,
    guarded: Memory,
    fresh: Fresh,
}

impl fmt::Debug for GitWorkspaces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GitWorkspaces")
            .field("user", &self.user)
            .field("state", &self.state)
            .field("fallback", &self.fallback)
            .finish_non_exhaustive()
    }
}

impl GitWorkspaces {
    /// Opens the workspaces of the repository that `repo` lies in (bare or not), with layers and
    /// sessions kept in `state`, a private folder that is made if missing.
    ///
    /// # Errors
    /// When there is no repository or no `git` program, or `state` cannot be written.
    pub fn open(repo: &Path, state: &Path, artifacts: Arc<dyn Artifacts>) -> Result<Self, Error> {
        let git = Git::find()?;
        let user = Repository::find(&git, repo)?;
        disk::private_folder(state)?;
        let state =
            std::path::absolute(state).map_err(failed(format!("finding {}", state.display())))?;
        for name in ["bases", "layers", "sessions", "caches"] {
            disk::private_folder(&state.join(name))?;
        }
        let own = state.join(OWN);
        let made = Self {
            git,
            user,
            state,
            own,
            artifacts,
            fallback: Fallback::None,
            shelf: Shelf::default(),
            manifests: Manifests::default(),
            memories: Memories::default(),
            proposals: Proposals::default(),
            compiled: filter::CompiledRules::default(),
            guarded: Memory::default(),
            fresh: Fresh::default(),
        };
        made.make_own()?;
        Ok(made)
    }

    /// Returns the same workspaces with this fallback.
    #[must_use]
    pub fn with_fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Makes the controller's own bare repository: it sees the user's objects, and nothing of the
    /// user's configuration.
    fn make_own(&self) -> Result<(), Error> {
        let sha256 = self.user.object_format() == "sha256";
        let mut config = OWN_CONFIG.replace("VERSION", if sha256 { "1" } else { "0" });
        if sha256 {
            config.push_str("[extensions]\n\tobjectFormat = sha256\n");
        }
        for name in ["refs", "info", "objects/info", "objects/pack"] {
            disk::private_folder(&self.own.join(name))?;
        }
        let mut alternates = self.user.objects().into_os_string();
        alternates.push("\n");
        // `HEAD` comes last: git takes the folder for a repository only when it is there.
        for (name, bytes) in [
            ("config", config.as_bytes()),
            ("info/attributes", sealed::ATTRIBUTES.as_bytes()),
            ("objects/info/alternates", alternates.as_encoded_bytes()),
            ("HEAD", b"ref: refs/heads/none\n"),
        ] {
            let file = self.own.join(name);
            if std::fs::read(&file).is_ok_and(|it| it == bytes) {
                continue;
            }
            disk::write_whole(&file, bytes)?;
        }
        Ok(())
    }

    fn yard(&self) -> Yard<'_> {
        Yard {
            git: &self.git,
            own: &self.own,
            state: &self.state,
        }
    }

    fn rooms(&self) -> Rooms<'_> {
        Rooms {
            state: &self.state,
            artifacts: &*self.artifacts,
            plain: self.fallback == Fallback::PlainCopy,
        }
    }

    fn writable(&self, session: SessionId) -> Result<sessions::Record, Error> {
        let record = self.rooms().record(session)?;
        if record.writable {
            return Ok(record);
        }
        Err(Error::Unusable(format!(
            "{session} was not opened writable, so there is nothing to capture"
        )))
    }

    /// Returns the base as it was prepared last.
    fn base(&self, commit: &Commit) -> Result<Arc<Base>, Error> {
        let variant = self.yard().current_variant(commit)?.unwrap_or_default();
        self.base_variant(commit, &variant)
    }

    fn base_variant(&self, commit: &Commit, variant: &str) -> Result<Arc<Base>, Error> {
        self.shelf
            .get(commit, variant, || self.yard().load(commit, variant))
    }

    fn load(&self, tree: &Tree) -> Result<Arc<manifest::Changes>, Error> {
        self.manifests.load(&*self.artifacts, tree)
    }

    fn store(&self, base: &Commit, gathered: Gathered<'_>) -> Result<Tree, Error> {
        let Gathered { changes, blobs } = gathered;
        let tree = manifest::store_with(&*self.artifacts, base, &changes, blobs)?;
        self.manifests.keep(&tree, Arc::new(changes));
        Ok(tree)
    }

    fn same_base(from: &Tree, to: &Tree) -> Result<(), Error> {
        if from.base == to.base {
            return Ok(());
        }
        Err(Error::Unusable(format!(
            "the trees have different bases, {} and {}; rebase one of them first",
            from.base.short(),
            to.base.short()
        )))
    }

    fn press<'a>(&'a self, objects: Option<&'a Path>) -> Press<'a> {
        Press {
            git: &self.git,
            own: &self.own,
            artifacts: &*self.artifacts,
            objects,
        }
    }
}

impl Workspaces for GitWorkspaces {
    fn resolve(&self, revision: &str) -> Result<Commit, Error> {
        self.user.resolve(revision)
    }

    fn target(&self, branch: Option<&str>) -> Result<Target, Error> {
        self.user.target(branch)
    }

    fn read_at(&self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.user.read_at(commit, path)
    }

    fn list_at(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, Error> {
        self.user.list_at(commit, folder)
    }

    fn prepare(&self, base: &Commit, secrets: &Secrets) -> Result<Tree, Error> {
        self.yard().prepare(base, secrets)?;
        Ok(manifest::tree(base, None))
    }

    fn list(&self, tree: &Tree, folder: &str) -> Result<Vec<Listed>, Error> {
        let base = self.base(&tree.base)?;
        let view = View::of(&base, self.load(tree)?);
        let names = view.names_in(folder).into_iter();
        let listed = names.map(|(name, is_folder)| Listed {
            name: name.to_owned(),
            is_folder,
        });
        Ok(listed.collect())
    }

    fn withheld(&self, base: &Commit, secrets: &Secrets) -> Result<Vec<Withheld>, Error> {
        let yard = self.yard();
        let prepared = yard.prepare(base, secrets)?;
        withheld::values(&yard, &prepared, self.user.root(), &secrets.globs)
    }

    fn open(&self, session: SessionId, tree: &Tree, mode: Mode) -> Result<Opened, Error> {
        let base = self.base(&tree.base)?;
        let view = View::of(&base, self.load(tree)?);
        self.memories.forget(session);
        self.rooms().open(session, tree, &view, mode)
    }

    fn capture(&self, session: SessionId) -> Result<Captured, Error> {
        self.memories.forget(session);
        let mut look = |_: &str, _: &[u8]| ControlFlow::Continue(());
        let taken = self.take(session, &mut Remembered::default(), &mut look)?;
        taken.ok_or_else(|| Error::Unusable(format!("{session} could not be captured")))
    }

    fn recapture(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<Option<Captured>, Error> {
        let memory = self.memories.of(session);
        let mut memory = remembered::lock(&memory);
        let taken = self.take(session, &mut memory, look);
        if !matches!(taken, Ok(Some(_))) {
            // What was read may not have been kept.
            *memory = Remembered::default();
            self.memories.forget(session);
        }
        taken
    }

    fn look(&self, session: SessionId) -> Result<Stamp, Error> {
        let record = self.writable(session)?;
        stamp::of(&self.rooms().left_behind(session, &record))
    }

    fn look_through(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let record = self.rooms().record(session)?;
        if !record.writable {
            return Err(Error::Unusable(format!(
                "{session} was not opened writable, so there is nothing to look through"
            )));
        }
        let base = self.base_variant(&record.tree.base, &record.variant)?;
        let view = View::of(&base, self.load(&record.tree)?);
        let left = self.rooms().left_behind(session, &record);
        looking::through(&view, &left, record.plain, look)
    }

    fn judgement(
        &self,
        before: &Tree,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Judgement, Error> {
        Self::same_base(before, tree)?;
        let base = self.base(&tree.base)?;
        let before = View::of(&base, self.load(before)?);
        let after = View::of(&base, self.load(tree)?);
        let trees = Trees {
            before: &before,
            after: &after,
            contents: Contents::of(&*self.artifacts).remembering(&self.guarded, &self.fresh),
        };
        let compiled = self.compiled.of(rules)?;
        let credentials = |it: &Change| self.proposals.judge(&trees.contents, it, rules);
        let found = filter::judge(&trees, changes, &compiled, &credentials)?;
        self.fresh
            .release(changes.iter().filter_map(|it| match &it.entry {
                Entry::File { content, .. } => Some(content),
                Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => None,
            }));
        let (remembered, read) = trees.contents.asked();
        Ok(Judgement {
            violations: found,
            remembered,
            read,
        })
    }

    fn restore(&self, tree: &Tree, before: &Tree, paths: &[String]) -> Result<Tree, Error> {
        Self::same_base(before, tree)?;
        let base = self.base(&tree.base)?;
        let earlier = self.load(before)?;
        let mut changes = (*self.load(tree)?).clone();
        for path in paths {
            manifest::place(&mut changes, &base, path, earlier.get(path).cloned());
        }
        let blobs = Blobs::default();
        self.store(&tree.base, Gathered { changes, blobs })
    }

    fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, Error> {
        Self::same_base(from, to)?;
        let base = self.base(&from.base)?;
        let (from, to) = (self.load(from)?, self.load(to)?);
        manifest::difference(&*self.artifacts, &base, &from, &to)
    }

    fn diff(&self, from: &Tree, to: &Tree, bytes_max: usize) -> Result<String, Error> {
        Self::same_base(from, to)?;
        let showing = Showing {
            press: self.press(None),
            base: &from.base,
        };
        let (from, to) = (self.load(from)?, self.load(to)?);
        showing.diff(&from, &to, bytes_max)
    }

    fn rebase(&self, tree: &Tree, onto: &Commit) -> Result<Rebased, Error> {
        if tree.base == *onto {
            return Ok(Rebased::Clean(tree.clone()));
        }
        let carrying = Carrying {
            git: &self.git,
            own: &self.own,
            state: &self.state,
            artifacts: &*self.artifacts,
        };
        let changes = self.load(tree)?;
        match carrying.carry(&changes, &tree.base, onto)? {
            Ok(changes) => manifest::store(&*self.artifacts, onto, &changes).map(Rebased::Clean),
            Err(paths) => Ok(Rebased::Conflict(paths)),
        }
    }

    fn publish(&self, tree: &Tree, text: &CommitText) -> Result<Commit, Error> {
        let changes = manifest::load(&*self.artifacts, tree)?;
        for (path, entry) in &changes {
            publish::check(path, entry)?;
        }
        let objects = self.user.objects();
        let commit = self
            .press(Some(&objects))
            .print(&tree.base, &changes, text)?;
        self.user.keep(&commit)?;
        Ok(commit)
    }

    fn land(&self, target: &Target, commit: &Commit) -> Result<Landed, Error> {
        self.user.land(target, commit)
    }

    fn contains(&self, target: &Target, commit: &Commit) -> Result<bool, Error> {
        self.user.contains(target, commit)
    }

    fn read_left(
        &self,
        session: SessionId,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let record = self.rooms().record(session)?;
        left::read(&self.rooms().left_behind(session, &record), path, bytes_max)
    }

    fn left_open(&self) -> Result<Vec<LeftOpen>, Error> {
        self.rooms().left_open()
    }

    fn close(&self, session: SessionId) -> Result<(), Error> {
        self.memories.forget(session);
        self.rooms().close(session)
    }

    fn cache_layer(&self, owner: &str, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        sessions::cache_layer(&self.state, owner, name)
    }

    fn cached(&self) -> Result<Vec<String>, Error> {
        sessions::cached(&self.state)
    }

    fn remove_caches(&self, owner: &str) -> Result<(), Error> {
        sessions::remove_caches(&self.state, owner)
    }

    fn reachable(&self, tree: &Tree) -> Result<Vec<Digest>, Error> {
        // What is reachable is what the store holds, not what is remembered of it.
        let mut digests: Vec<Digest> = manifest::load(&*self.artifacts, tree)?
            .into_values()
            .filter_map(|entry| match entry {
                Entry::File { content, .. } => Some(content),
                Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => None,
            })
            .chain(tree.manifest)
            .collect();
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }
}
