//! Manifests: all changes on a base as one artifact, and the identity of the tree they make.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use domain::Digest;
use domain::tree::{Change, Commit, Entry, Manifest, Tree};
use ports::artifacts::Artifacts;
use ports::workspaces::Error;

use crate::base::Base;
use crate::disk::{failed, store_failed};
use crate::fresh::Fresh;
use crate::names::{Kind, Name};

/// The most bytes that wait to be kept at once.
const BATCH_BYTES_MAX: usize = 24 << 20;
/// The most files that wait to be kept at once.
const BATCH_FILES_MAX: usize = 16_384;
/// Of fewer bytes nothing is asked ahead: it takes less time than a thread does.
const AHEAD_BYTES_MIN: usize = 64 << 10;

/// The changes of a tree by path.
pub(crate) type Changes = BTreeMap<String, Entry>;

/// Returns the tree of `base` with this manifest. Its digest is the BLAKE3 digest of the text
/// `palisade.tree.v1`, the base, and the manifest's digest or `-`, each ended by a newline.
pub(crate) fn tree(base: &Commit, manifest: Option<Digest>) -> Tree {
    let written = manifest.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let identity = format!("palisade.tree.v1\n{base}\n{written}\n");
    Tree {
        base: base.clone(),
        manifest,
        digest: Digest::from_bytes(*blake3::hash(identity.as_bytes()).as_bytes()),
    }
}

/// Refuses a tree whose digest is not that of its base and manifest.
pub(crate) fn check(of: &Tree) -> Result<(), Error> {
    if *of == tree(&of.base, of.manifest) {
        return Ok(());
    }
    Err(Error::Unusable(format!(
        "the tree digest {} does not belong to its base and manifest",
        of.digest
    )))
}

/// Returns the changes that a tree holds.
pub(crate) fn load(artifacts: &dyn Artifacts, of: &Tree) -> Result<Changes, Error> {
    check(of)?;
    let Some(digest) = of.manifest else {
        return Ok(Changes::new());
    };
    let bytes = artifacts
        .get(&digest)
        .map_err(store_failed("reading a manifest"))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
        Error::Unusable(format!("the artifact {digest} is not a manifest: {error}"))
    })?;
    let count = manifest.changes.len();
    let changes: Changes = manifest
        .changes
        .into_iter()
        .map(|it| (it.path, it.entry))
        .collect();
    if changes.len() == count {
        Ok(changes)
    } else {
        Err(Error::Unusable(format!(
            "the manifest {digest} names a path twice"
        )))
    }
}

/// Keeps the changes and returns the tree they make on `base`.
pub(crate) fn store(
    artifacts: &dyn Artifacts,
    base: &Commit,
    changes: &Changes,
) -> Result<Tree, Error> {
    store_with(artifacts, base, changes, Blobs::default())
}

/// Keeps the changes together with `blobs`, with one wait for the disk.
pub(crate) fn store_with(
    artifacts: &dyn Artifacts,
    base: &Commit,
    changes: &Changes,
    mut blobs: Blobs<'_>,
) -> Result<Tree, Error> {
    if changes.is_empty() {
        blobs.flush(artifacts, "keeping changed files")?;
        return Ok(tree(base, None));
    }
    let manifest = Manifest {
        changes: listed(changes),
    };
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|error| failed("writing a manifest")(error.into()))?;
    let digest = blobs.add(bytes);
    blobs.flush(artifacts, "keeping a manifest")?;
    Ok(tree(base, Some(digest)))
}

/// What can be found out about contents while the disk is waited for.
pub(crate) type Ahead<'a> = dyn Fn(&Digest, &[u8]) + Sync + 'a;

/// Bytes that wait to be kept together.
#[derive(Default)]
pub(crate) struct Blobs<'a> {
    waiting: Vec<(Digest, Vec<u8>)>,
    /// How many of the first are files of a session.
    files: usize,
    bytes: usize,
    /// Where they are held once they are kept.
    fresh: Option<&'a Fresh>,
    /// What is asked of them while the disk takes them.
    ahead: Option<&'a Ahead<'a>>,
}

impl fmt::Debug for Blobs<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Blobs")
            .field("waiting", &self.waiting.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> Blobs<'a> {
    /// Returns none yet, that are to be held here once they are kept, and are handed to `ahead`
    /// meanwhile.
    pub(crate) fn held_in(fresh: &'a Fresh, ahead: &'a Ahead<'a>) -> Self {
        Self {
            fresh: Some(fresh),
            ahead: Some(ahead),
            ..Self::default()
        }
    }

    /// Adds one and returns its digest.
    pub(crate) fn add(&mut self, content: Vec<u8>) -> Digest {
        let digest = Digest::from_bytes(*blake3::hash(&content).as_bytes());
        self.push(digest, content);
        digest
    }

    /// Adds a file with this digest; files come before all else.
    pub(crate) fn put(&mut self, digest: Digest, content: Vec<u8>) {
        self.files += 1;
        self.push(digest, content);
    }

    fn push(&mut self, digest: Digest, content: Vec<u8>) {
        self.bytes += content.len();
        self.waiting.push((digest, content));
    }

    /// Returns whether so many wait that they had better be kept now.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes > BATCH_BYTES_MAX || self.waiting.len() >= BATCH_FILES_MAX
    }

    /// Keeps all that wait.
    pub(crate) fn flush(&mut self, artifacts: &dyn Artifacts, doing: &str) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.bytes);
        let files = std::mem::take(&mut self.files);
        if waiting.is_empty() {
            return Ok(());
        }
        let blobs: Vec<&[u8]> = waiting.iter().map(|(_, it)| it.as_slice()).collect();
        let is_kept = AtomicBool::new(false);
        let ahead = self.ahead.filter(|_| bytes >= AHEAD_BYTES_MIN);
        let digests = thread::scope(|scope| {
            if let Some(ahead) = ahead {
                let (files, is_kept) = (waiting.iter().take(files), &is_kept);
                let ask = move || {
                    // Nobody waits for more than one answer.
                    let files = files.take_while(|_| !is_kept.load(Ordering::Relaxed));
                    files.for_each(|(digest, content)| ahead(digest, content));
                };
                // Only a gain of time is lost when there is no thread for it.
                drop(thread::Builder::new().spawn_scoped(scope, ask));
            }
            let digests = artifacts.put_all(&blobs);
            is_kept.store(true, Ordering::Relaxed);
            digests
        });
        let digests = digests.map_err(store_failed(doing))?;
        if !digests.iter().eq(waiting.iter().map(|(digest, _)| digest)) {
            return Err(Error::Unusable(
                "the artifact store answered with other digests than those of what it was given"
                    .into(),
            ));
        }
        if let Some(fresh) = self.fresh {
            fresh.hold(waiting);
        }
        Ok(())
    }
}

/// Returns the changes as a sorted list.
pub(crate) fn listed(changes: &Changes) -> Vec<Change> {
    changes
        .iter()
        .map(|(path, entry)| Change {
            path: path.clone(),
            entry: entry.clone(),
        })
        .collect()
}

/// Returns what differs from `from` to `to`; where `to` has no change, what the base holds.
pub(crate) fn difference(
    artifacts: &dyn Artifacts,
    base: &Base,
    from: &Changes,
    to: &Changes,
) -> Result<Vec<Change>, Error> {
    let mut changed = Changes::new();
    for (path, entry) in to {
        if from.get(path) != Some(entry) {
            changed.insert(path.clone(), entry.clone());
        }
    }
    let mut blobs = Blobs::default();
    for path in from.keys().filter(|it| !to.contains_key(*it)) {
        let entry = at_base(&mut blobs, base, path)?;
        // What never was in the base and is not there now is gone from the earlier tree.
        changed.insert(path.clone(), entry.unwrap_or(Entry::Deleted));
        if blobs.is_full() {
            blobs.flush(artifacts, "keeping files of the base")?;
        }
    }
    blobs.flush(artifacts, "keeping files of the base")?;
    Ok(listed(&changed))
}

/// Returns what the base holds at `path`, which is to be kept as an artifact.
fn at_base(blobs: &mut Blobs<'_>, base: &Base, path: &str) -> Result<Option<Entry>, Error> {
    let Some(name) = base.names.get(path.as_bytes()) else {
        return Ok(None);
    };
    let content = content_at_base(base, name)?;
    Ok(match name.kind {
        Kind::File | Kind::Executable => Some(Entry::File {
            content: blobs.add(content),
            bytes: name.bytes,
            executable: name.kind == Kind::Executable,
        }),
        Kind::Symlink => Some(Entry::Symlink {
            target: String::from_utf8_lossy(&content).into_owned(),
        }),
        Kind::Submodule => None,
    })
}

/// Returns the bytes of a base's file or the target of its link.
pub(crate) fn content_at_base(base: &Base, name: &Name) -> Result<Vec<u8>, Error> {
    let path = name.path.escape_ascii();
    let place = base.file(&name.path).ok_or_else(|| {
        Error::Unusable(format!(
            "`{path}` is missing from the materialised base; remove the folder {} and run the command again",
            base.folder.display()
        ))
    })?;
    let content = match name.kind {
        Kind::File | Kind::Executable => fs::read(&place),
        Kind::Symlink => fs::read_link(&place).map(|it| it.as_os_str().as_bytes().to_vec()),
        Kind::Submodule => Ok(Vec::new()),
    };
    content.map_err(failed(format!("reading `{path}` of the base")))
}

/// A tree as a cell sees it: the base with the changes that can be materialised.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) base: &'a Base,
    pub(crate) changes: Arc<Changes>,
}

/// What a view holds at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'a> {
    /// A changed file or link.
    Changed(&'a Entry),
    /// What the base holds.
    Base(&'a Name),
}

impl<'a> View<'a> {
    /// Returns the view of `changes` on `base`; foreign things are never materialised.
    pub(crate) fn of(base: &'a Base, changes: impl Into<Arc<Changes>>) -> Self {
        let mut changes = changes.into();
        let is_foreign = |it: &Entry| matches!(it, Entry::Foreign { .. });
        if changes.values().any(is_foreign) {
            Arc::make_mut(&mut changes).retain(|_, entry| !is_foreign(entry));
        }
        Self { base, changes }
    }

    /// Returns what is at exactly this path.
    pub(crate) fn at(&self, path: &str) -> Option<Held<'_>> {
        match self.changes.get(path) {
            Some(Entry::Deleted) => None,
            Some(entry) => Some(Held::Changed(entry)),
            None => self.base.names.get(path.as_bytes()).map(Held::Base),
        }
    }

    /// Returns whether anything lies beneath this folder.
    pub(crate) fn has_under(&self, folder: &str) -> bool {
        let mut beneath = self.base.names.beneath(folder.as_bytes());
        beneath.any(|it| !self.is_deleted(&it.path)) || self.changed_under(folder).next().is_some()
    }

    /// Returns the names in this folder (`""`: the root) that are UTF-8, and whether each is one of a
    /// folder.
    pub(crate) fn names_in(&self, folder: &str) -> BTreeMap<&str, bool> {
        let mut found = BTreeMap::new();
        let skipped = if folder.is_empty() {
            0
        } else {
            folder.len() + 1
        };
        let mut rest = self.base.names.under(folder.as_bytes());
        while let Some(name) = rest.first() {
            let tail = name.path.get(skipped..).unwrap_or_default();
            let end = tail.iter().position(|it| *it == b'/');
            // All that lies beneath a folder is passed over at once.
            let first = tail.get(..end.unwrap_or(tail.len())).unwrap_or_default();
            let beneath = name.path.get(..skipped + first.len() + 1);
            let same = beneath.filter(|_| end.is_some()).map_or(1, |beneath| {
                rest.partition_point(|it| it.path.starts_with(beneath))
            });
            let (here, others) = rest.split_at(same);
            rest = others;
            if here.iter().any(|it| !self.is_deleted(&it.path))
                && let Ok(first) = std::str::from_utf8(first)
            {
                found.insert(first, end.is_some() || name.kind == Kind::Submodule);
            }
        }
        for path in self.changed_under(folder) {
            let tail = path.get(skipped..).unwrap_or_default();
            let (first, is_folder) = tail
                .split_once('/')
                .map_or((tail, false), |(first, _)| (first, true));
            found.insert(first, is_folder);
        }
        found
    }

    /// Returns the paths beneath this folder (`""`: the root), as bytes.
    pub(crate) fn under(&self, folder: &str) -> Vec<Vec<u8>> {
        let of_base = self
            .base
            .names
            .under(folder.as_bytes())
            .iter()
            .filter(|it| it.kind != Kind::Submodule && !self.is_deleted(&it.path))
            .map(|it| it.path.clone());
        let changed = self
            .changed_under(folder)
            .map(|path| path.as_bytes().to_vec());
        of_base.chain(changed).collect()
    }

    fn is_deleted(&self, path: &[u8]) -> bool {
        std::str::from_utf8(path)
            .is_ok_and(|path| matches!(self.changes.get(path), Some(Entry::Deleted)))
    }

    fn changed_under(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        self.changes
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .filter(|(_, entry)| !matches!(entry, Entry::Deleted))
            .map(|(path, _)| path.as_str())
    }
}

/// Puts `entry` at `path` and mends what cannot stand beside it: what lies beneath a file, and a
/// file where a folder is needed.
pub(crate) fn place(changes: &mut Changes, base: &Base, path: &str, entry: Option<Entry>) {
    let in_base = base.names.get(path.as_bytes()).is_some();
    let present = match &entry {
        Some(entry) => !matches!(entry, Entry::Deleted),
        None => in_base,
    };
    match entry {
        Some(Entry::Deleted) if !in_base => drop(changes.remove(path)),
        Some(entry) => drop(changes.insert(path.to_owned(), entry)),
        None => drop(changes.remove(path)),
    }
    if !present {
        return;
    }
    let prefix = format!("{path}/");
    let beneath: Vec<String> = changes
        .range(prefix.clone()..)
        .map(|(path, _)| path)
        .take_while(|it| it.starts_with(&prefix))
        .cloned()
        .collect();
    let of_base = base
        .names
        .under(path.as_bytes())
        .iter()
        .filter_map(|it| String::from_utf8(it.path.clone()).ok());
    let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
    for other in beneath.into_iter().chain(of_base).chain(above) {
        if base
            .names
            .get(other.as_bytes())
            .is_some_and(|it| it.kind != Kind::Submodule)
        {
            changes.insert(other, Entry::Deleted);
        } else {
            changes.remove(&other);
        }
    }
}
