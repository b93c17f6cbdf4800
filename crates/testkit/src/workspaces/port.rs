//! The port's questions, each led to where it is answered.

use std::ops::ControlFlow;
use std::path::PathBuf;

use domain::tree::{Change, Commit, Entry, ImportRules, Rule, Tree, Violation};
use domain::{Digest, SessionId};
use ports::workspaces::{
    Captured, CommitText, Error, Judgement, Landed, Listed, Mode, Opened, Rebased, Secrets, Stamp,
    Target, Withheld, Workspaces,
};

use super::{MemoryWorkspaces, files, leaks, rules, same_base, store};

impl Workspaces for MemoryWorkspaces {
    fn resolve(&self, revision: &str) -> Result<Commit, Error> {
        let held = self.held();
        let name = if revision == "HEAD" {
            &held.current
        } else {
            revision
        };
        let of_ref = ["", "refs/heads/"]
            .iter()
            .find_map(|it| held.refs.get(&format!("{it}{name}")).cloned());
        let of_name = || name.parse().ok().filter(|it| held.commits.contains_key(it));
        of_ref
            .or_else(of_name)
            .ok_or_else(|| Error::NotFound(format!("there is no revision `{revision}`")))
    }

    fn target(&self, branch: Option<&str>) -> Result<Target, Error> {
        let current = self.held().current.clone();
        self.look(branch.unwrap_or(&current))
    }

    fn read_at(&self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.files_of(commit)?.get(path) {
            Some(Entry::File { content, .. }) => {
                let bytes = self.artifacts.get(content).map_err(store(path))?;
                Ok(Some(bytes))
            }
            Some(Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. }) | None => Ok(None),
        }
    }

    fn list_at(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, Error> {
        let folder = folder.trim_end_matches('/');
        let inside = |path: &str| match path.rsplit_once('/') {
            Some((above, _)) => above == folder,
            None => matches!(folder, "" | "."),
        };
        let files = self.files_of(commit)?;
        let found = files
            .iter()
            .filter(|(path, entry)| matches!(entry, Entry::File { .. }) && inside(path.as_str()));
        Ok(found.map(|(path, _)| path.clone()).collect())
    }

    fn prepare(&self, base: &Commit, secrets: &Secrets) -> Result<Tree, Error> {
        self.call("preparing a base", || {
            let files = self.files_of(base)?;
            leaks::check(self.artifacts.as_ref(), base, &files, secrets)?;
            self.held().prepared.insert(base.clone());
            Ok(files::tree(base, None))
        })
    }

    fn list(&self, tree: &Tree, folder: &str) -> Result<Vec<Listed>, Error> {
        if !self.held().prepared.contains(&tree.base) {
            let text = format!("the base {} was never prepared", tree.base);
            return Err(Error::Unusable(text));
        }
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let files = self.whole(tree)?;
        let inside = files.keys().filter_map(|it| it.strip_prefix(&prefix));
        let mut listed: Vec<_> = inside
            .map(|it| Listed {
                name: it.split('/').next().unwrap_or_default().to_owned(),
                is_folder: it.contains('/'),
            })
            .collect();
        listed.sort();
        listed.dedup();
        Ok(listed)
    }

    fn withheld(&self, base: &Commit, secrets: &Secrets) -> Result<Vec<Withheld>, Error> {
        self.call("reading what is withheld", || {
            leaks::withheld(self.artifacts.as_ref(), &self.files_of(base)?, secrets)
        })
    }

    fn open(&self, session: SessionId, tree: &Tree, mode: Mode) -> Result<Opened, Error> {
        self.call("opening a session", || self.opened(session, tree, mode))
    }

    fn capture(&self, session: SessionId) -> Result<Captured, Error> {
        self.call("capturing a session", || self.captured(session))
    }

    fn look(&self, session: SessionId) -> Result<Stamp, Error> {
        self.call("looking at a session", || self.looked(session))
    }

    fn look_through(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.call("looking through a session", || {
            self.looked_through(session, look)
        })
    }

    fn judgement(
        &self,
        _before: &Tree,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Judgement, Error> {
        self.call("judging changes", || {
            let base = self.files_of(&tree.base)?;
            let mut found = rules::judge(&base, &self.whole(tree)?, changes, rules);
            for change in changes {
                let Entry::File { content, .. } = &change.entry else {
                    continue;
                };
                let bytes = self.artifacts.get(content).map_err(store(&change.path))?;
                for (line, fingerprint) in leaks::keys(&bytes) {
                    if !rules.accepted_secrets.contains(&fingerprint) {
                        found.push(Violation {
                            path: change.path.clone(),
                            rule: Rule::Secret,
                            detail: format!("line {line} holds a key ({fingerprint}); remove it"),
                        });
                    }
                }
            }
            found.sort();
            let is_file = |it: &&Change| matches!(it.entry, Entry::File { .. });
            let files = changes.iter().filter(is_file).count();
            Ok(Judgement {
                violations: found,
                remembered: 0,
                // It remembers nothing.
                read: u64::try_from(files).unwrap_or(u64::MAX),
            })
        })
    }

    fn restore(&self, tree: &Tree, before: &Tree, paths: &[String]) -> Result<Tree, Error> {
        self.call("restoring paths", || {
            same_base(tree, before)?;
            let (mut whole, earlier) = (self.whole(tree)?, self.whole(before)?);
            for path in paths {
                files::place(&mut whole, path, earlier.get(path));
            }
            self.keep(&tree.base, &whole)
        })
    }

    fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, Error> {
        same_base(from, to)?;
        Ok(files::difference(&self.whole(from)?, &self.whole(to)?))
    }

    fn diff(&self, from: &Tree, to: &Tree, bytes_max: usize) -> Result<String, Error> {
        self.call("comparing trees", || {
            let changes = self.changes(from, to)?;
            let before = self.whole(from)?;
            files::diff(&before, &changes, self.artifacts.as_ref(), bytes_max)
        })
    }

    fn rebase(&self, tree: &Tree, onto: &Commit) -> Result<Rebased, Error> {
        self.call("rebasing a tree", || self.rebased(tree, onto))
    }

    fn publish(&self, tree: &Tree, text: &CommitText) -> Result<Commit, Error> {
        self.call("writing a commit", || self.published(tree, text))
    }

    fn land(&self, target: &Target, commit: &Commit) -> Result<Landed, Error> {
        self.call("moving a ref", || Ok(self.held().land(target, commit)))
    }

    fn contains(&self, target: &Target, commit: &Commit) -> Result<bool, Error> {
        let held = self.held();
        let now = held.refs.get(&target.lands_on);
        Ok(now.is_some_and(|it| held.is_ancestor(commit, it)))
    }

    fn read_left(
        &self,
        session: SessionId,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(left) = self.record(session)?.left else {
            return Ok(None);
        };
        self.call("reading what a session left", || {
            files::read(&left, path, bytes_max)
        })
    }

    fn left_open(&self) -> Result<Vec<ports::workspaces::LeftOpen>, Error> {
        let held = self.held();
        let left = held.sessions.iter();
        Ok(left
            .map(|(session, it)| ports::workspaces::LeftOpen {
                session: *session,
                writable: it.mode == Mode::Writable,
            })
            .collect())
    }

    fn close(&self, session: SessionId) -> Result<(), Error> {
        self.call("closing a session", || {
            files::remove(&self.session_folder(session))?;
            self.held().sessions.remove(&session);
            Ok(())
        })
    }

    fn cache_layer(&self, owner: &str, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let folder = self
            .caches(owner)
            .join(blake3::hash(name.as_bytes()).to_hex().as_str());
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        self.call("making a cache layer", || {
            files::make(&upper)?;
            files::make(&work)
        })?;
        Ok((upper, work))
    }

    fn remove_caches(&self, owner: &str) -> Result<(), Error> {
        self.call("removing cache layers", || {
            files::remove(&self.caches(owner))
        })
    }

    fn reachable(&self, tree: &Tree) -> Result<Vec<Digest>, Error> {
        let bare = files::tree(&tree.base, None);
        let changes = self.changes(&bare, tree)?;
        let mut digests: Vec<Digest> = changes
            .iter()
            .filter_map(|it| match &it.entry {
                Entry::File { content, .. } => Some(*content),
                Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => None,
            })
            .chain(tree.manifest)
            .collect();
        digests.sort();
        digests.dedup();
        Ok(digests)
    }
}

impl MemoryWorkspaces {
    fn caches(&self, owner: &str) -> PathBuf {
        let owner = blake3::hash(owner.as_bytes()).to_hex();
        self.folder.path().join("caches").join(owner.as_str())
    }
}
