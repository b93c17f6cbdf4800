//! The second wall for files: Landlock allows writing only where the plan says, whatever a mount
//! may have been got wrong; it also keeps signals and abstract sockets inside.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::launcher::{LeftOut, Part, writes};
use crate::link::{Fault, WallReport};
use crate::plan::{self, HOME, Plan, WORKSPACE};

/// The newest set of rights that is asked for; an older kernel keeps as many of them as it knows.
const RIGHTS: ABI = ABI::V7;
const PRIVATE: [&str; 3] = ["/tmp", HOME, "/dev/shm"];
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
const WALL: &str = "landlock";
const MEND: &str = "the kernel must be 5.13 or later with CONFIG_SECURITY_LANDLOCK=y and have \
    `landlock` in its `lsm=` boot option";

/// Restricts this process, and all it will start, to the paths of the plan.
pub(crate) fn restrict(plan: &Plan) -> Result<WallReport, Fault> {
    let scope = writes::in_force(plan);
    let writable = plan
        .mounts
        .iter()
        .filter(|mount| mount.is_writable())
        .filter(|mount| scope.is_none() || mount.target != Path::new(WORKSPACE));
    let paths = PRIVATE
        .iter()
        .chain(&DEVICES)
        .map(Path::new)
        .chain(writable.map(|mount| mount.target.as_path()))
        .chain(scope.into_iter().flat_map(plan::Scope::writable));
    restrict_to(plan.left_out, paths)
}

/// Restricts this process to reading, and to writing beneath these paths.
pub(crate) fn restrict_to<'a>(
    left_out: LeftOut,
    writable: impl Iterator<Item = &'a Path>,
) -> Result<WallReport, Fault> {
    let fault = |why: String| Fault::Wall {
        wall: WALL.to_owned(),
        why,
    };
    if left_out.has(Part::LandlockKernel) {
        return Err(fault(format!("the kernel has none; {MEND}")));
    }
    let mut rules = begin(left_out).map_err(|error| fault(format!("{error}; {MEND}")))?;
    rules = allow(rules, Path::new("/"), AccessFs::from_read(RIGHTS))?;
    for path in writable {
        rules = allow(rules, path, AccessFs::from_all(RIGHTS))?;
    }
    let status = rules
        .no_new_privs(!left_out.has(Part::Rights))
        .restrict_self()
        .map_err(|error| fault(error.to_string()))?;
    match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => {
            let version = effective_abi as i32;
            let scopes = if effective_abi >= ABI::V6 && !left_out.has(Part::Scopes) {
                ", signals and abstract sockets scoped"
            } else {
                ""
            };
            Ok(WallReport::stands(WALL, format!("ABI {version}{scopes}")))
        }
        _ => Err(fault(MEND.to_owned())),
    }
}

fn begin(left_out: LeftOut) -> Result<RulesetCreated, RulesetError> {
    let rules = Ruleset::default()
        // The first version is required; the rest is kept as far as the kernel knows it.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?;
    if left_out.has(Part::Scopes) {
        return rules.create();
    }
    rules.scope(Scope::from_all(RIGHTS))?.create()
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Fault> {
    // Not a missing wall: that one may be accepted to be missing is no reason to leave this one out.
    let doing = || format!("allowing {}", path.display());
    let is_folder = path
        .metadata()
        .map_err(|error| Fault::setup(doing())(error))?
        .is_dir();
    let rights = if is_folder {
        rights
    } else {
        rights & AccessFs::from_file(RIGHTS)
    };
    let opened = PathFd::new(path).map_err(|error| Fault::setup(doing())(error))?;
    rules
        .add_rule(PathBeneath::new(opened, rights))
        .map_err(|error| Fault::setup(doing())(error))
}
