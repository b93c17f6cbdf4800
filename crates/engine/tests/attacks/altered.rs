//! Ports with a wall taken out of them: each passes everything on but for what a control alters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use domain::tree::{Change, Commit, ImportRules, Tree};
use domain::{Digest, SessionId, Timestamp};
use palisade_engine::World;
use ports::agents::{Driver, Guarantees, Listener, Outcome, Report, Task, Verdict};
use ports::cells::Cell;
use ports::clock::Clock;
use ports::log::{
    Batch, Error as LogError, EventLog, PendingEffect, Position, Recorded, Verification,
};
use ports::workspaces::{
    Captured, CommitText, Error, Judgement, Landed, Listed, Mode, Opened, Rebased, Secrets, Stamp,
    Target, Withheld, Workspaces,
};

type Publish = dyn Fn(&Tree, &CommitText) -> (Tree, CommitText) + Send + Sync;
type Restate = dyn Fn(Target) -> Target + Send + Sync;

/// Workspaces that remember what is published, and lack whatever is set.
#[expect(
    clippy::struct_excessive_bools,
    reason = "walls that are gone, each by itself"
)]
pub(crate) struct Altered {
    pub(crate) inner: Arc<dyn Workspaces>,
    /// Every commit that was written, with its tree's digest and its message.
    pub(crate) published: Published,
    /// The import filter finds nothing.
    pub(crate) judges_nothing: bool,
    /// What is published in place of what was asked for.
    pub(crate) publish: Option<Box<Publish>>,
    /// What the target is said to be.
    pub(crate) target: Option<Box<Restate>>,
    /// Nothing is ever said to have landed, and what is landed replaces whatever is there.
    pub(crate) lands_blindly: bool,
    /// A capture that fails is taken for one that found nothing.
    pub(crate) swallows: bool,
    /// All sessions and gates share one cache.
    pub(crate) shares_caches: bool,
    /// Changes below this path are not told.
    pub(crate) hides: Option<&'static str>,
}

/// What was published.
pub(crate) type Published = Arc<Mutex<BTreeMap<Commit, (Digest, String)>>>;

impl Altered {
    /// Returns workspaces that only remember.
    pub(crate) fn over(inner: Arc<dyn Workspaces>, published: &Published) -> Self {
        Self {
            inner,
            published: Arc::clone(published),
            judges_nothing: false,
            publish: None,
            target: None,
            lands_blindly: false,
            swallows: false,
            shares_caches: false,
            hides: None,
        }
    }
}

impl Workspaces for Altered {
    fn resolve(&self, revision: &str) -> Result<Commit, Error> {
        self.inner.resolve(revision)
    }

    fn target(&self, branch: Option<&str>) -> Result<Target, Error> {
        let target = self.inner.target(branch)?;
        Ok(match &self.target {
            Some(restate) => restate(target),
            None => target,
        })
    }

    fn read_at(&self, commit: &Commit, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.inner.read_at(commit, path)
    }

    fn list_at(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, Error> {
        self.inner.list_at(commit, folder)
    }

    fn withheld(&self, base: &Commit, secrets: &Secrets) -> Result<Vec<Withheld>, Error> {
        self.inner.withheld(base, secrets)
    }

    fn look_through(
        &self,
        session: SessionId,
        look: &mut dyn FnMut(&str, &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<(), Error> {
        self.inner.look_through(session, look)
    }

    fn prepare(&self, base: &Commit, secrets: &Secrets) -> Result<Tree, Error> {
        self.inner.prepare(base, secrets)
    }

    fn list(&self, tree: &Tree, folder: &str) -> Result<Vec<Listed>, Error> {
        self.inner.list(tree, folder)
    }

    fn look(&self, session: SessionId) -> Result<Stamp, Error> {
        self.inner.look(session)
    }

    fn open(&self, session: SessionId, tree: &Tree, mode: Mode) -> Result<Opened, Error> {
        self.inner.open(session, tree, mode)
    }

    fn capture(&self, session: SessionId) -> Result<Captured, Error> {
        match self.inner.capture(session) {
            Err(Error::DiskFull { .. }) if self.swallows => Err(Error::NotFound(String::new())),
            other => other,
        }
    }

    fn judgement(
        &self,
        before: &Tree,
        tree: &Tree,
        changes: &[Change],
        rules: &ImportRules,
    ) -> Result<Judgement, Error> {
        if self.judges_nothing {
            return Ok(Judgement::default());
        }
        self.inner.judgement(before, tree, changes, rules)
    }

    fn restore(&self, tree: &Tree, before: &Tree, paths: &[String]) -> Result<Tree, Error> {
        self.inner.restore(tree, before, paths)
    }

    fn changes(&self, from: &Tree, to: &Tree) -> Result<Vec<Change>, Error> {
        let mut changes = self.inner.changes(from, to)?;
        if let Some(hidden) = self.hides {
            changes.retain(|it| !it.path.starts_with(hidden));
        }
        Ok(changes)
    }

    fn diff(&self, from: &Tree, to: &Tree, bytes_max: usize) -> Result<String, Error> {
        self.inner.diff(from, to, bytes_max)
    }

    fn rebase(&self, tree: &Tree, onto: &Commit) -> Result<Rebased, Error> {
        self.inner.rebase(tree, onto)
    }

    fn publish(&self, tree: &Tree, text: &CommitText) -> Result<Commit, Error> {
        let (tree, text) = match &self.publish {
            Some(publish) => publish(tree, text),
            None => (tree.clone(), text.clone()),
        };
        let commit = self.inner.publish(&tree, &text)?;
        let said = (tree.digest, text.message);
        self.published.lock().unwrap().insert(commit.clone(), said);
        Ok(commit)
    }

    fn land(&self, target: &Target, commit: &Commit) -> Result<Landed, Error> {
        if !self.lands_blindly {
            return self.inner.land(target, commit);
        }
        let now = self.inner.target(Some(&target.branch))?;
        self.inner.land(&now, commit)
    }

    fn contains(&self, target: &Target, commit: &Commit) -> Result<bool, Error> {
        self.inner.contains(target, commit)
    }

    fn read_left(
        &self,
        session: SessionId,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.inner.read_left(session, path, bytes_max)
    }

    fn left_open(&self) -> Result<Vec<ports::workspaces::LeftOpen>, Error> {
        self.inner.left_open()
    }

    fn close(&self, session: SessionId) -> Result<(), Error> {
        self.inner.close(session)
    }

    fn cache_layer(&self, owner: &str, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let owner = if self.shares_caches { "all" } else { owner };
        self.inner.cache_layer(owner, name)
    }

    fn remove_caches(&self, owner: &str) -> Result<(), Error> {
        if self.shares_caches {
            return Ok(());
        }
        self.inner.remove_caches(owner)
    }

    fn reachable(&self, tree: &Tree) -> Result<Vec<Digest>, Error> {
        self.inner.reachable(tree)
    }
}

/// What a driver tells in place of what the agent did; nothing for what it keeps to itself.
pub(crate) type Retell = fn(&Task, Report) -> Option<Report>;

/// A driver between the agent and the engine, which tells something else.
struct Retelling {
    inner: Arc<dyn Driver>,
    retell: Retell,
    end: fn(Outcome) -> Outcome,
}

impl Driver for Retelling {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    fn run(&self, task: Task, listener: &dyn Listener) -> Outcome {
        let told = Told {
            task: task.clone(),
            listener,
            retell: self.retell,
        };
        (self.end)(self.inner.run(task, &told))
    }
}

struct Told<'a> {
    task: Task,
    listener: &'a dyn Listener,
    retell: Retell,
}

impl Listener for Told<'_> {
    fn report(&self, report: Report) -> Verdict {
        match (self.retell)(&self.task, report) {
            Some(report) => self.listener.report(report),
            None => self.listener.poll(),
        }
    }

    fn poll(&self) -> Verdict {
        self.listener.poll()
    }

    fn cell(&self, cell: Arc<dyn Cell>) {
        self.listener.cell(cell);
    }
}

/// Returns a world whose drivers tell something else.
pub(crate) fn retold(mut world: World, retell: Retell, end: fn(Outcome) -> Outcome) -> World {
    let drivers = world.drivers;
    world.drivers = Arc::new(move |name: &str| {
        let inner = drivers(name)?;
        Ok(Arc::new(Retelling { inner, retell, end }) as Arc<dyn Driver>)
    });
    world
}

/// A log that reads and delivers otherwise.
pub(crate) struct OddLog {
    pub(crate) inner: Arc<dyn EventLog>,
    /// Streams that begin so are never read; with [`OddLog::stands_in`], another's events are.
    pub(crate) blind_to: Option<&'static str>,
    /// What is read of such a stream that holds nothing: the first stream of its kind that does.
    pub(crate) stands_in: bool,
    /// Delivers every effect once more after it was settled.
    pub(crate) twice: Option<Mutex<Vec<(PendingEffect, bool)>>>,
}

impl EventLog for OddLog {
    fn append(&self, batch: Batch) -> Result<Position, LogError> {
        self.inner.append(batch)
    }

    fn read_stream(&self, stream: &str, version: u64) -> Result<Vec<Recorded>, LogError> {
        let found = self.inner.read_stream(stream, version)?;
        match self.blind_to {
            Some(kind) if stream.starts_with(kind) => {
                if !self.stands_in {
                    return Ok(Vec::new());
                }
                if !found.is_empty() {
                    return Ok(found);
                }
                let all = self.inner.read_all(Position(0), usize::MAX)?;
                let first = all.into_iter().find(|it| it.stream.starts_with(kind));
                Ok(first.into_iter().collect())
            }
            Some(_) | None => Ok(found),
        }
    }

    fn read_correlated(
        &self,
        correlation: &str,
        after: Position,
    ) -> Result<Vec<Recorded>, LogError> {
        self.inner.read_correlated(correlation, after)
    }

    fn read_all(&self, after: Position, limit: usize) -> Result<Vec<Recorded>, LogError> {
        self.inner.read_all(after, limit)
    }

    fn head(&self) -> Result<Position, LogError> {
        self.inner.head()
    }

    fn pending(&self) -> Result<Vec<PendingEffect>, LogError> {
        let mut pending = self.inner.pending()?;
        if let Some(known) = &self.twice {
            let mut known = known.lock().unwrap();
            for (effect, again) in known.iter_mut().filter(|it| !it.1) {
                if pending.iter().all(|it| it.effect.id != effect.effect.id) {
                    *again = true;
                    pending.push(effect.clone());
                }
            }
            for effect in &pending {
                if known.iter().all(|it| it.0.effect.id != effect.effect.id) {
                    known.push((effect.clone(), false));
                }
            }
        }
        Ok(pending)
    }

    fn verify(&self) -> Result<Verification, LogError> {
        self.inner.verify()
    }
}

/// A clock that shows the same for ever, and still counts identifiers.
pub(crate) struct Stopped {
    pub(crate) inner: Arc<dyn Clock>,
    pub(crate) at: Timestamp,
}

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.at
    }

    fn fresh_bits(&self) -> u128 {
        self.inner.fresh_bits()
    }
}
