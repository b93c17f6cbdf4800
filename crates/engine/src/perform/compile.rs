//! Compiling: from a plan, a role and its lane, the operator's settings and an opened tree to the
//! cell that a session or a gate runs in. Whatever is not said here is not in the cell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use domain::SessionId;
use domain::case::Case;
use domain::formula::{Lane, Role};
use domain::session::Session;
use domain::tree::Tree;
use ports::cells::{self, Access, Bind, CellSpec, Layered, Writes};
use ports::workspaces::Mode;

use super::Bench;
use super::brief::Folders;
use crate::recorder::Error;
use crate::settings::Settings;

mod programs;
mod reach;
mod writes;

/// Where the brief is in a cell.
const BRIEF: &str = "/brief";

/// Where the drop is in a cell.
const DROP: &str = "/.agent";

/// The base's ignore file that tells where build output goes.
const IGNORE_FILE: &str = ".gitignore";

/// What a cell is compiled from.
#[derive(Debug)]
struct Order<'a> {
    settings: &'a Settings,
    /// The tree, opened.
    tree: cells::Tree,
    /// Where it may be written, if it is writable at all.
    writes: Writes,
    /// Writable layers over caches, by the name of their mount's layer.
    caches: BTreeMap<String, (PathBuf, PathBuf)>,
    /// What the session has of its own.
    own: Vec<Bind>,
    /// The programs it finds by name; none leaves the whole `PATH`.
    programs: Option<BTreeMap<String, PathBuf>>,
}

/// A cell, complete but for its program.
#[derive(Debug)]
pub struct Compiled {
    /// The cell.
    pub spec: CellSpec,
    /// Whether the declared fallback for overlays is in use.
    pub fallback: bool,
}

/// Why a session's cell was not made.
#[derive(Debug)]
pub enum Fault {
    /// What the plan or role asks for is not to be had on this machine.
    Unmet(String),
    /// The world failed.
    World(Error),
}

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::World(error.into())
    }
}

/// Returns the cell. Pure: everything that had to be looked up is in the order.
fn compile(order: Order<'_>) -> CellSpec {
    let settings = order.settings;
    let (mut binds, mut layered) = (Vec::new(), Vec::new());
    for mount in &settings.mounts {
        let (source, target) = (mount.source.clone(), mount.target.clone());
        match mount.layer.as_ref().and_then(|it| order.caches.get(it)) {
            None => binds.push(Bind {
                source,
                target,
                access: Access::ReadOnly,
            }),
            Some((upper, work)) => layered.push(Layered {
                source,
                target,
                upper: upper.clone(),
                work: work.clone(),
            }),
        }
    }
    binds.extend(order.own);
    let mut env = settings.env.clone();
    if order.programs.is_some() {
        env.insert(programs::PATH.to_owned(), programs::FOLDER.to_owned());
    }
    CellSpec {
        argv: Vec::new(),
        env,
        cwd: "/workspace".into(),
        workspace: Some(cells::Tree {
            writes: order.writes,
            ..order.tree
        }),
        binds,
        layered,
        masks: settings.masks.clone(),
        programs: order.programs,
        accepted: settings.accepted_downgrades.clone(),
        limits: settings.cell_limits,
    }
}

/// Returns the programs that a session in this role finds by name: those of the plan and of the
/// role; none when neither names any.
#[must_use]
pub fn named_programs<'a>(case: &'a Case, role: Option<&'a Role>) -> BTreeSet<&'a str> {
    let plan = case.plan().map(|it| it.commands.as_slice());
    let role = role.map(|it| it.tools.as_slice());
    let all = plan.unwrap_or_default().iter();
    all.chain(role.unwrap_or_default())
        .map(String::as_str)
        .collect()
}

/// Returns the role of a session in the run that is under way.
pub(super) fn role_of<'a>(case: &'a Case, about: &Session) -> Option<&'a Role> {
    let roles = case.active()?.run.roles.iter();
    roles.into_iter().find(|it| it.name == about.role)
}

impl Bench<'_> {
    /// Compiles the cell of a session. Its caches are those of its work: sessions share them.
    ///
    /// # Errors
    /// When a named program is not to be had, or the workspace fails.
    pub(super) fn session_cell(
        &self,
        case: &Case,
        id: SessionId,
        about: &Session,
        folders: &Folders,
    ) -> Result<Compiled, Fault> {
        let (settings, workspaces) = (self.settings, &self.recorder.world().workspaces);
        let names = named_programs(case, role_of(case, about));
        let programs = (!names.is_empty())
            .then(|| programs::find(names.into_iter(), &settings.env, &settings.mounts))
            .transpose()
            .map_err(Fault::Unmet)?;
        let (mode, writes) = match about.lane {
            Lane::ReadOnly => (Mode::ReadOnly, Writes::default()),
            Lane::DryRun | Lane::Execute => (Mode::Writable, self.writes(case, about)?),
        };
        let opened = workspaces.open(id, &about.tree, mode)?;
        let order = Order {
            settings,
            tree: opened.tree,
            writes,
            caches: self.caches(&about.work.to_string())?,
            own: vec![
                bind(&folders.brief, BRIEF, Access::ReadOnly),
                bind(&folders.drop, DROP, Access::Writable),
            ],
            programs,
        };
        Ok(Compiled {
            spec: compile(order),
            fallback: opened.fallback,
        })
    }

    /// Compiles the cell of a gate: a scratch copy of the tree, and caches of its own, so that no
    /// agent can prepare what a gate will find.
    ///
    /// # Errors
    /// When the workspace fails.
    pub(super) fn gate_cell(&self, layers: SessionId, tree: &Tree) -> Result<CellSpec, Error> {
        let workspaces = &self.recorder.world().workspaces;
        let opened = workspaces.open(layers, tree, Mode::Scratch)?;
        Ok(compile(Order {
            settings: self.settings,
            tree: opened.tree,
            writes: Writes::everywhere(),
            caches: self.caches(&layers.to_string())?,
            own: Vec::new(),
            programs: None,
        }))
    }

    /// Returns where a session may write: what its import rules can admit in its tree.
    fn writes(&self, case: &Case, about: &Session) -> Result<Writes, Error> {
        let workspaces = &self.recorder.world().workspaces;
        let Some((rules, _)) = self.rules(case, Some(&about.role)) else {
            return Ok(Writes::default());
        };
        let ignore = workspaces.read_at(&about.tree.base, IGNORE_FILE)?;
        let ignore = String::from_utf8_lossy(ignore.as_deref().unwrap_or_default()).into_owned();
        Ok(writes::compile(&rules, &ignore, |folder| {
            workspaces.list(&about.tree, folder)
        })?)
    }

    fn caches(&self, owner: &str) -> Result<BTreeMap<String, (PathBuf, PathBuf)>, Error> {
        let workspaces = &self.recorder.world().workspaces;
        let names = self
            .settings
            .mounts
            .iter()
            .filter_map(|it| it.layer.as_ref());
        names
            .map(|name| Ok((name.clone(), workspaces.cache_layer(owner, name)?)))
            .collect()
    }
}

fn bind(source: &Path, target: &str, access: Access) -> Bind {
    Bind {
        source: source.to_path_buf(),
        target: target.into(),
        access,
    }
}
