//! Performing: one file for each effect. An effect leaves nothing to choose, may be performed
//! twice, and its outcome is recorded in the transaction that settles it.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::effect::Effect;
use domain::tree::{Change, ImportRules, Manifest, Rule, Tree, Violation};
use domain::{Digest, EffectId, WorkId};

use crate::perform::tripwire::Tripwires;
use crate::recorder::{Error, Recorder};
use crate::settings::Settings;
use crate::world::digest_of;

mod allowance;
pub mod assemble;
pub mod brief;
pub mod canaries;
pub mod checkpoint;
pub mod clean_up;
pub mod compile;
mod denials;
pub(crate) mod execute;
mod facts;
pub mod gates;
mod judge;
pub mod junit;
pub mod land;
pub mod listener;
mod messages;
mod models;
pub mod prepare;
pub mod rollback;
pub mod session;
pub mod test_output;
pub mod tripwire;
pub mod watchdog;

/// The most violations that are put on record, in bytes of text: they stand in an event, twice.
const VIOLATIONS_BYTES_MAX: usize = 128 * 1024;

/// What performers need.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Loads and records.
    pub recorder: &'a Recorder,
    /// What the operator has decided.
    pub settings: &'a Settings,
    /// Whether the engine shall stop.
    pub stopping: &'a AtomicBool,
    /// What is watched for in everything that comes out of cells.
    pub tripwires: &'a Tripwires,
}

/// Asks the world for an effect of a work, and records the outcome.
///
/// # Errors
/// When the log, the store or the disk fails: the effect stays in the outbox.
pub fn perform(bench: &Bench<'_>, work: WorkId, id: EffectId, effect: Effect) -> Result<(), Error> {
    match effect {
        Effect::Prepare { work } => prepare::perform(bench, work, id),
        Effect::RunSession { session } => session::perform(bench, work, session, id),
        Effect::Judge { session } => judge::perform(bench, work, session, id),
        Effect::RunGates { run } => gates::perform(bench, work, run, id),
        Effect::Assemble { run, promotion } => assemble::perform(bench, work, run, promotion, id),
        Effect::Land { promotion } => land::perform(bench, work, promotion, id),
        Effect::RollBack { run } => rollback::perform(bench, work, run, id),
        Effect::CleanUp { work } => clean_up::perform(bench, work, id),
        Effect::Execute { action } => execute::perform(bench.recorder, action, id),
    }
}

/// Returns whether an effect takes one of the places that are limited: it runs a cell.
#[must_use]
pub const fn needs_slot(effect: Effect) -> bool {
    match effect {
        Effect::RunSession { .. } | Effect::RunGates { .. } => true,
        Effect::Prepare { .. }
        | Effect::Judge { .. }
        | Effect::Assemble { .. }
        | Effect::Land { .. }
        | Effect::RollBack { .. }
        | Effect::CleanUp { .. }
        | Effect::Execute { .. } => false,
    }
}

/// Returns the base of a tree, bare; its digest is asked of the workspace before it is used.
fn bare(tree: &Tree) -> Tree {
    Tree {
        base: tree.base.clone(),
        manifest: None,
        digest: Digest::ZERO,
    }
}

/// Returns the violations that fit on record, the last of them saying how many do not.
fn told(mut violations: Vec<Violation>) -> Vec<Violation> {
    let mut bytes = 0_usize;
    let fits = violations.iter().position(|it| {
        bytes = bytes
            .saturating_add(it.path.len())
            .saturating_add(it.detail.len());
        bytes > VIOLATIONS_BYTES_MAX
    });
    if let Some(fits) = fits {
        let more = violations.len().saturating_sub(fits);
        violations.truncate(fits);
        violations.push(Violation {
            path: ".".to_string(),
            rule: Rule::Count,
            detail: format!("{more} more changes were turned away; make fewer at a time"),
        });
    }
    violations
}

impl Bench<'_> {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Returns all changes of a tree on its base.
    fn changes_of(&self, tree: &Tree) -> Result<Vec<Change>, Error> {
        let Some(digest) = tree.manifest else {
            return Ok(Vec::new());
        };
        let bytes = self.recorder.world().artifacts.get(&digest)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|it| Error::Fault(format!("{digest} is no manifest: {it}")))?;
        Ok(manifest.changes)
    }

    /// Returns the rules for what a work may bring home in a role; without one, in any of its
    /// roles: for the whole of a proposal.
    fn rules(
        &self,
        case: &domain::case::Case,
        role: Option<&str>,
    ) -> Option<(ImportRules, Digest)> {
        let (plan, active) = (case.plan()?, case.active()?);
        let roles = active
            .run
            .roles
            .iter()
            .filter(|it| role.is_none_or(|role| it.name == role));
        let (mut role_paths, mut denied, mut executable) = (Vec::new(), plan.denied.clone(), false);
        let (mut documents_only, mut guards_tests) = (false, false);
        for it in roles {
            role_paths.extend(it.write.iter().cloned());
            executable |= it.may_set_executable;
            if role.is_some() {
                denied.extend(it.deny.iter().cloned());
                documents_only |= it.documents_only;
                guards_tests |= it.guards_tests;
            }
        }
        let named = |glob: &&String| !plan.protected_allowed.contains(glob);
        // Who rewrites a gate's script passes every gate.
        let scripts = active.run.gates.iter().filter_map(|it| it.script());
        let scripts = scripts.filter(|it| !plan.protected_allowed.iter().any(|own| own == it));
        let rules = ImportRules {
            role_paths,
            plan_allowed: plan.allowed.clone(),
            plan_denied: denied,
            protected: self
                .settings
                .protected
                .iter()
                .filter(named)
                .cloned()
                .chain(scripts.map(from_the_root))
                .collect(),
            secrets: self.settings.secrets.globs.clone(),
            accepted_secrets: self.settings.secrets.accepted.clone(),
            may_set_executable: executable,
            file_bytes_max: self.settings.file_bytes_max,
            total_bytes_max: self.settings.total_bytes_max,
            files_max: self.settings.files_max,
            documents_only,
            guards_tests,
        };
        let text = serde_json::to_vec(&rules).ok()?;
        Some((rules, digest_of(&text)))
    }
}

/// Returns the glob that means this path and no other.
fn from_the_root(path: &str) -> String {
    let mut glob = String::from("/");
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_protected_where_it_is_and_nowhere_else() {
        assert_eq!(from_the_root("ci/check.sh"), "/ci/check.sh");
        assert_eq!(from_the_root("a*[b]"), r"/a\*\[b\]");
    }
}
