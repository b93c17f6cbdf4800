//! What the launcher is to do, complete: compiled and checked by the engine, so that the launcher
//! only carries out.

mod scope;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use ports::cells::{ACCEPTABLE, Access, CellSpec, Error, Layers, Limits, Tree};
use serde::{Deserialize, Serialize};

use crate::launcher::LeftOut;

pub(crate) use scope::{Scope, View};

/// Where the work's own tree appears.
pub(crate) const WORKSPACE: &str = "/workspace";
/// Where programs are offered by name.
pub(crate) const TOOLS: &str = "/palisade/tools";
/// The private home.
pub(crate) const HOME: &str = "/home/agent";
/// Most arguments, variables, mounts and masks together.
const PARTS_MAX: usize = 16_384;
/// Least size of a private folder: one page.
const TMP_BYTES_MIN: u64 = 4_096;
/// Places that the cell makes itself and that nothing may cover.
const RESERVED: [&str; 6] = ["/", "/proc", "/dev", "/etc", "/palisade", "/usr"];

/// What is asked of the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a cell and run a program in it.
    Run(Plan),
    /// Try every wall; overlays are tried in the folder, when one is given.
    Probe(Option<PathBuf>),
}

/// One cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
    /// In mounting order: what lies above comes first.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) masks: Vec<PathBuf>,
    /// Where the tree is written; none when all or nothing of it is.
    pub(crate) scope: Option<Scope>,
    pub(crate) programs: Option<BTreeMap<String, PathBuf>>,
    pub(crate) accepted: Vec<String>,
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) tmp_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) disk_files: u64,
    /// Never part of a request: only a launcher made for tests sets it, for itself.
    #[serde(skip)]
    pub(crate) left_out: LeftOut,
}

/// One mount of a cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: PathBuf,
    pub(crate) what: What,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// A host path as it is.
    Bind { source: PathBuf, writable: bool },
    /// Layers, top-most first, with changes going to `upper`.
    Layered {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        git_place: bool,
    },
    /// Layers, top-most first, that nobody can write.
    Fixed {
        lowers: Vec<PathBuf>,
        git_place: bool,
    },
}

impl Mount {
    /// Returns whether the program may write beneath it.
    pub(crate) fn is_writable(&self) -> bool {
        match &self.what {
            What::Bind { writable, .. } => *writable,
            What::Layered { .. } => true,
            What::Fixed { .. } => false,
        }
    }
}

impl Plan {
    /// Returns the plan of a cell with nothing of its own, for probing.
    pub(crate) fn empty() -> Self {
        let Limits {
            memory_bytes,
            processes,
            file_bytes,
            open_files,
            cpu_seconds,
            tmp_bytes,
            disk_bytes,
            disk_files,
        } = Limits::default();
        Self {
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: PathBuf::from("/"),
            mounts: Vec::new(),
            masks: Vec::new(),
            scope: None,
            programs: None,
            accepted: Vec::new(),
            memory_bytes,
            processes,
            file_bytes,
            open_files,
            cpu_seconds,
            tmp_bytes,
            disk_bytes,
            disk_files,
            left_out: LeftOut::default(),
        }
    }

    /// Compiles a specification.
    pub(crate) fn compile(spec: &CellSpec) -> Result<Self, Error> {
        let parts = spec.argv.len()
            + spec.env.len()
            + spec.binds.len()
            + spec.layered.len()
            + spec.masks.len()
            + spec.programs.as_ref().map_or(0, BTreeMap::len);
        if parts > PARTS_MAX {
            return Err(refused(
                "reading the specification",
                format!("{parts} parts are more than {PARTS_MAX}"),
            ));
        }
        let Limits {
            memory_bytes,
            processes,
            file_bytes,
            open_files,
            cpu_seconds,
            tmp_bytes,
            disk_bytes,
            disk_files,
        } = spec.limits;
        check_program(spec)?;
        let mut mounts = mounts(spec);
        // Parents first, so that nothing mounted earlier is buried by what is mounted later; the
        // sort is stable, so the given order holds among equals.
        mounts.sort_by_key(|mount| mount.target.components().count());
        for mount in &mounts {
            check_inside(&mount.target)?;
            check_sources(&mount.what)?;
        }
        for path in spec.masks.iter().chain([&spec.cwd]) {
            check_inside_shape(path)?;
        }
        check_programs(spec)?;
        check_accepted(spec)?;
        Ok(Self {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            mounts,
            masks: spec.masks.clone(),
            scope: scope(spec)?,
            programs: spec.programs.clone(),
            accepted: spec.accepted.clone(),
            memory_bytes,
            processes,
            file_bytes,
            open_files,
            cpu_seconds,
            // To the kernel, a file system in memory of size zero has no limit.
            tmp_bytes: tmp_bytes.max(TMP_BYTES_MIN),
            disk_bytes,
            disk_files,
            left_out: LeftOut::default(),
        })
    }
}

fn mounts(spec: &CellSpec) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if let Some(tree) = &spec.workspace {
        let git_place = tree.git_dir.is_some();
        let what = match tree.layers.clone() {
            Layers::Overlay {
                lowers,
                upper,
                work,
            } => What::Layered {
                lowers,
                upper,
                work,
                git_place,
            },
            Layers::ReadOnly { lowers } => What::Fixed { lowers, git_place },
            Layers::Plain { dir } => What::Bind {
                source: dir,
                writable: true,
            },
        };
        mounts.push(Mount {
            target: WORKSPACE.into(),
            what,
        });
        if let Some(git_dir) = &tree.git_dir {
            mounts.push(Mount {
                target: Path::new(WORKSPACE).join(".git"),
                what: What::Bind {
                    source: git_dir.clone(),
                    writable: false,
                },
            });
        }
    }
    mounts.extend(spec.binds.iter().map(|bind| Mount {
        target: bind.target.clone(),
        what: What::Bind {
            source: bind.source.clone(),
            writable: match bind.access {
                Access::ReadOnly => false,
                Access::Writable => true,
            },
        },
    }));
    mounts.extend(spec.layered.iter().map(|layered| Mount {
        target: layered.target.clone(),
        what: What::Layered {
            lowers: vec![layered.source.clone()],
            upper: layered.upper.clone(),
            work: layered.work.clone(),
            git_place: false,
        },
    }));
    mounts
}

fn check_program(spec: &CellSpec) -> Result<(), Error> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    let why =
        if program.is_empty() {
            "no program is named"
        } else if !program.starts_with('/') {
            "the program must be an absolute path inside the cell"
        } else if spec.argv.iter().any(|argument| argument.contains('\0')) {
            "an argument holds a NUL byte"
        } else if spec.env.iter().any(|(name, value)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        }) {
            "a variable has an empty name, `=` in its name, or a NUL byte"
        } else {
            return Ok(());
        };
    Err(Error::Program {
        program,
        why: why.to_owned(),
    })
}

/// Returns where a writable tree is written.
fn scope(spec: &CellSpec) -> Result<Option<Scope>, Error> {
    match &spec.workspace {
        Some(Tree {
            layers: Layers::Overlay { .. } | Layers::Plain { .. },
            writes,
            ..
        }) => Scope::compile(writes),
        Some(Tree {
            layers: Layers::ReadOnly { .. },
            ..
        })
        | None => Ok(None),
    }
}

fn check_programs(spec: &CellSpec) -> Result<(), Error> {
    for (name, program) in spec.programs.iter().flatten() {
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            return Err(refused(
                format!("offering a program as {name:?}"),
                "a program's name is one part of a path".to_owned(),
            ));
        }
        check_inside_shape(program)?;
    }
    Ok(())
}

fn check_accepted(spec: &CellSpec) -> Result<(), Error> {
    match spec
        .accepted
        .iter()
        .find(|name| !ACCEPTABLE.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(refused(
            format!("accepting that `{name}` is missing"),
            format!(
                "a cell is never made without it; only these have a second wall behind them: {}",
                ACCEPTABLE.join(", ")
            ),
        )),
    }
}

fn check_inside(target: &Path) -> Result<(), Error> {
    check_inside_shape(target)?;
    if RESERVED
        .iter()
        .any(|reserved| target == Path::new(reserved))
        || target.starts_with("/proc")
        || target.starts_with(TOOLS)
        || target.starts_with("/dev") && !target.starts_with("/dev/shm")
    {
        return Err(refused(
            format!("mounting at {}", target.display()),
            "the cell makes this place itself; choose another target".to_owned(),
        ));
    }
    Ok(())
}

fn check_inside_shape(path: &Path) -> Result<(), Error> {
    let plain = path.components().all(|part| match part {
        Component::RootDir | Component::Normal(_) => true,
        Component::Prefix(_) | Component::CurDir | Component::ParentDir => false,
    });
    if path.is_absolute() && plain && path.to_str().is_some_and(|text| !text.contains('\0')) {
        return Ok(());
    }
    Err(refused(
        format!("placing {}", path.display()),
        "a path inside the cell must be absolute, UTF-8 and without `..`".to_owned(),
    ))
}

fn check_sources(what: &What) -> Result<(), Error> {
    let sources: Vec<&PathBuf> = match what {
        What::Bind { source, .. } => vec![source],
        What::Layered {
            lowers,
            upper,
            work,
            ..
        } => lowers.iter().chain([upper, work]).collect(),
        What::Fixed { lowers, .. } => lowers.iter().collect(),
    };
    for source in &sources {
        let doing = || format!("mounting {}", source.display());
        if !source.is_absolute() || source.to_str().is_none() {
            return Err(refused(
                doing(),
                "a host path must be absolute and UTF-8".to_owned(),
            ));
        }
        if let Err(error) = source.symlink_metadata() {
            return Err(refused(doing(), error.to_string()));
        }
    }
    let layers = match what {
        What::Bind { .. } => 1,
        What::Layered { lowers, .. } | What::Fixed { lowers, .. } => lowers.len(),
    };
    if layers == 0 {
        return Err(refused(
            "stacking layers".to_owned(),
            "no lower layer is named".to_owned(),
        ));
    }
    Ok(())
}

fn refused(doing: impl Into<String>, why: String) -> Error {
    Error::Setup {
        doing: doing.into(),
        why,
    }
}
