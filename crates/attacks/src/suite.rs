//! The suite: runs attempts in parallel, with every wall and, for a control, without those that are
//! said to stop them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use domain::tree::Tree;
use ports::cells::Cells;

use crate::attempt::{Attempt, Given, Need, Oracle};
use crate::collecting::{Engine, Session};
use crate::hostile::NAME;
use crate::proof;
use crate::scene::Scene;
pub use crate::scene::template;
use crate::trial;
pub use crate::trial::Outcome;

/// What the suite stands on.
pub struct Ground<'a> {
    /// Makes cells with every wall.
    pub(crate) cells: &'a dyn Cells,
    /// The hostile program, on the host.
    pub(crate) hostile: PathBuf,
    /// An empty folder to stage scenes in.
    scratch: PathBuf,
    /// An empty folder for sockets.
    sockets: PathBuf,
    /// The host's folder of every scene, as [`template`] made it.
    pub(crate) template: PathBuf,
    /// In the template's files; nothing that comes out may hold it.
    canary: String,
    /// In the environment, the command line and an open file of this process.
    own_canary: String,
    left_open: LeftOpen,
    pub(crate) accepted: Vec<String>,
    engine: Engine<'a>,
    tree: Tree,
    /// What the processes of this suite carry on their command lines.
    pub(crate) token: String,
    next: AtomicU32,
}

impl std::fmt::Debug for Ground<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ground")
            .field("scratch", &self.scratch)
            .finish_non_exhaustive()
    }
}

/// Where a suite runs, and what it plants.
#[derive(Debug)]
pub struct Place {
    /// The hostile program, on the host.
    pub hostile: PathBuf,
    /// An empty folder to stage scenes in, where cells' layers work.
    pub scratch: PathBuf,
    /// An empty folder for sockets, whose path is short.
    pub sockets: PathBuf,
    /// The host's folder of every scene, as [`template`] made it.
    pub template: PathBuf,
    /// The canary in the template's files.
    pub canary: String,
    /// The canary in the environment and on the command line of this process; only the process
    /// itself can tell whether it is there.
    pub own_canary: String,
    /// What this process leaves open.
    pub left_open: LeftOpen,
    /// Walls that the operator has accepted to be missing.
    pub accepted: Vec<String>,
}

/// What this process leaves open for every process that it starts: a secret file and a socket. An
/// engine must not do that, and its launcher must mend it.
#[derive(Debug)]
pub struct LeftOpen {
    ours: UnixStream,
    /// Open as long as this is.
    _theirs: [OwnedFd; 2],
}

impl LeftOpen {
    /// Opens them.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(secret: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = [OwnedFd::from(theirs), std::fs::File::open(secret)?.into()];
        for open in &theirs {
            rustix::io::fcntl_setfd(open, rustix::io::FdFlags::empty())?;
        }
        Ok(Self {
            ours,
            _theirs: theirs,
        })
    }

    fn heard(&self) -> bool {
        use io::Read as _;
        (&self.ours).read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The attempt.
    pub attempt: &'static Attempt,
    /// With every wall.
    pub held: Result<Outcome, Missing>,
    /// Without the walls that stop it, where controls were asked for.
    pub control: Option<Result<Outcome, Missing>>,
}

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// This machine or this user cannot show it.
    #[error("not here: {0}")]
    NotHere(String),
    /// There is no control, and this is why.
    #[error("no control: {0}")]
    NoControl(&'static str),
    /// The trial could not be carried out.
    #[error("it could not be tried: {0}")]
    Failed(String),
}

impl Row {
    /// Returns whether the walls held; no when it could not be tried.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match &self.held {
            Ok(outcome) => outcome.held(),
            Err(Missing::NotHere(_)) => true,
            Err(Missing::NoControl(_) | Missing::Failed(_)) => false,
        }
    }

    /// Returns whether the control failed as it must, or why there is none.
    #[must_use]
    pub fn is_controlled(&self) -> bool {
        match &self.control {
            Some(Ok(outcome)) => outcome.fails(self.attempt.oracle),
            Some(Err(Missing::NotHere(_) | Missing::NoControl(_))) | None => true,
            Some(Err(Missing::Failed(_))) => false,
        }
    }
}

/// Why the suite cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tree that sessions start from cannot be made.
    #[error("the attack suite cannot prepare its repository")]
    Workspaces(#[from] ports::workspaces::Error),
    /// Chance is to be had nowhere.
    #[error("the attack suite has no random numbers")]
    Random(#[source] io::Error),
}

impl<'a> Ground<'a> {
    /// Prepares a suite.
    ///
    /// # Errors
    /// When the repository's tree cannot be prepared.
    pub fn prepare(cells: &'a dyn Cells, engine: Engine<'a>, place: Place) -> Result<Self, Error> {
        let tree = engine.prepare()?;
        let Place {
            hostile,
            scratch,
            sockets,
            template,
            canary,
            own_canary,
            left_open,
            accepted,
        } = place;
        Ok(Self {
            cells,
            hostile,
            scratch,
            sockets,
            template,
            canary,
            own_canary,
            left_open,
            accepted,
            engine,
            tree,
            token: format!("attack-{}", random_word()?),
            next: AtomicU32::new(1),
        })
    }

    /// Runs these attempts, `at_once` at a time, with controls by `weak` where it is given: it makes
    /// cells without the walls that it is told. Calls `told` after each.
    pub fn run(
        &self,
        attempts: &[&'static Attempt],
        weak: Option<&(dyn Fn(&str) -> Box<dyn Cells> + Sync)>,
        at_once: usize,
        told: &(dyn Fn(&Row) + Sync),
    ) -> Vec<Row> {
        let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
        let next = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once.max(1) {
                scope.spawn(|| {
                    loop {
                        let taken = usize::try_from(next.fetch_add(1, Ordering::Relaxed));
                        let Some((place, attempt)) =
                            taken.ok().and_then(|it| Some((it, *attempts.get(it)?)))
                        else {
                            return;
                        };
                        let row = self.row(attempt, weak);
                        told(&row);
                        rows.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((place, row));
                    }
                });
            }
        });
        let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn row(
        &self,
        attempt: &'static Attempt,
        weak: Option<&(dyn Fn(&str) -> Box<dyn Cells> + Sync)>,
    ) -> Row {
        let held = match missing(attempt) {
            Some(why) => Err(Missing::NotHere(why)),
            None => trial::run(self, self.cells, attempt, None).map_err(Missing::Failed),
        };
        let control = weak.map(|weak| self.control(attempt, weak));
        Row {
            attempt,
            held,
            control,
        }
    }

    fn control(
        &self,
        attempt: &'static Attempt,
        weak: &(dyn Fn(&str) -> Box<dyn Cells> + Sync),
    ) -> Result<Outcome, Missing> {
        let control = &attempt.control;
        if let Some(why) = control.none {
            return Err(Missing::NoControl(why));
        }
        if let Some(why) = missing(attempt) {
            return Err(Missing::NotHere(why));
        }
        if control.as_root_only && !rustix::process::geteuid().is_root() {
            let why = "an ordinary user is stopped by the file's own mode as well".to_owned();
            return Err(Missing::NotHere(why));
        }
        let outcome = if control.without.is_empty() {
            trial::run(self, self.cells, attempt, Some(control))
        } else {
            let cells = weak(control.without);
            trial::run(self, cells.as_ref(), attempt, Some(control))
        };
        outcome.map_err(Missing::Failed)
    }

    /// Returns for each oracle whether it was shown to be able to fail, without weakening a wall, or
    /// why it was not.
    #[must_use]
    pub fn prove(&self) -> Vec<(Oracle, Result<(), String>)> {
        proof::all(self)
    }

    /// Stages a scene.
    pub(crate) fn stage(&self, number: u32) -> io::Result<Scene> {
        let number = number.to_string();
        Scene::stage(
            self.scratch.join(&number),
            self.sockets.join(number),
            &self.template,
        )
    }

    /// Starts a process of the host that has nothing to do with any cell.
    pub(crate) fn bystander(&self, token: &str) -> io::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        Command::new(&self.hostile)
            .arg0(NAME)
            .args(["child", "linger", token])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A key for queues that nobody else on this machine uses.
    pub(crate) fn key(&self, number: u32) -> u32 {
        let hash = blake3::hash(format!("{} {number}", self.token).as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        // Zero would mean: for nobody else.
        (u32::from_ne_bytes([a, b, c, d]) >> 2) | 1
    }

    /// What an agent writes into what must not be collected.
    pub(crate) fn agents_canary(&self) -> String {
        format!("{}-of-the-agent", self.token)
    }

    /// What must not come out: in what was collected, what agents planted must not be either.
    pub(crate) fn canaries(&self, is_collected: bool) -> Vec<String> {
        let mut canaries = vec![self.canary.clone(), self.own_canary.clone()];
        if is_collected {
            canaries.push(self.agents_canary());
        }
        canaries
    }

    pub(crate) fn open_session(&self, number: u32) -> Result<Session, ports::workspaces::Error> {
        self.engine.open(u128::from(number), &self.tree)
    }

    pub(crate) fn collect(&self, session: &Session, folder: &Path) -> Result<Vec<u8>, String> {
        self.engine.collect(session, folder)
    }

    /// Returns whether something came by the socket that was left open. Only for the one attempt that
    /// would use it: all trials share it.
    pub(crate) fn heard_by_what_is_open(&self) -> bool {
        self.left_open.heard()
    }

    pub(crate) fn close(&self, session: &Session) {
        self.engine.close(session);
    }

    pub(crate) fn questions(&self, folder: &Path) -> Vec<u8> {
        self.engine.read_questions(folder)
    }
}

/// Returns a word that nobody can guess.
///
/// # Errors
/// When the kernel's random numbers cannot be read.
pub fn random_word() -> Result<String, Error> {
    use io::Read as _;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut it| it.read_exact(&mut bytes))
        .map_err(Error::Random)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Returns why this machine cannot show an attempt, if it cannot.
fn missing(attempt: &Attempt) -> Option<String> {
    let needs = attempt.given.iter().filter_map(|it| match it {
        Given::Needs(need) => Some(*need),
        Given::Shown(..)
        | Given::Writable(..)
        | Given::Layered(..)
        | Given::Masked(_)
        | Given::Session
        | Given::OwnGit
        | Given::Scoped
        | Given::PlainBase
        | Given::Limited(_) => None,
    });
    needs.into_iter().find_map(|need| match need {
        Need::SixthVersion => std::net::TcpListener::bind("[::1]:0")
            .err()
            .map(|_| "no IPv6 on the loopback".to_owned()),
        Need::Path(path) => (!Path::new(path).exists()).then(|| format!("no {path}")),
    })
}
