//! Assemble: take the checkpoint before promotion, put the dossier together, propose. If the
//! target has moved, the change is rebased first, and gates and decision begin anew.

use std::time::Instant;

use domain::case::{Case, Command};
use domain::checkpoint::{self, Checkpoint, Trigger};
use domain::formula::Kind;
use domain::promotion::{self, Proposal};
use domain::run::{self, Active, Activity, Note};
use domain::tree::Tree;
use domain::{CheckpointId, EffectId, PromotionId, RunId, WorkId, policy};
use ports::workspaces::{Rebased, Target};

use super::checkpoint::{asked, bytes, count};
use super::{Bench, standing, told};
use crate::recorder::Error;
use crate::views::dossier;

/// The most conflicting paths that are put on record, in bytes: they stand in an event.
const CONFLICTS_BYTES_MAX: usize = 128 * 1024;

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails.
pub fn perform(
    bench: &Bench<'_>,
    work: WorkId,
    run: RunId,
    id: PromotionId,
    effect: EffectId,
) -> Result<(), Error> {
    let recorder = bench.recorder;
    let case = recorder.load(work)?;
    if !waits(&case, id) {
        return recorder.settle(effect);
    }
    let (Some(active), Some(record)) = (
        case.active(),
        case.work().and_then(|(_, state)| state.record()),
    ) else {
        return recorder.settle(effect);
    };
    let target = recorder
        .world()
        .workspaces
        .target(Some(&record.work.target))?;
    standing::check(bench, &target)?;
    if target.head != active.tree.base {
        return rebase(bench, work, run, effect, &target, |case| waits(case, id));
    }
    let (checkpoint_id, checkpoint) = captured(bench, &case, work, active)?;
    let (proposal, blocks) = propose(bench, &case, work, run, &checkpoint, &target)?;
    recorder.submit(work, Some(effect), |case| {
        if !waits(case, id) {
            return Ok(vec![]);
        }
        let mut commands = checkpoint_commands(checkpoint_id, &checkpoint);
        let propose = promotion::Command::Propose(proposal.clone(), blocks.clone());
        commands.push(Command::Promotion(id, propose));
        Ok(commands)
    })?;
    Ok(())
}

fn waits(case: &Case, id: PromotionId) -> bool {
    let current = case.active().and_then(Active::current);
    let asked = matches!(current, Some((_, Activity::Decision { promotion })) if promotion == id);
    asked && !case.promotions.contains_key(&id)
}

/// A checkpoint of the whole proposal and its judgement.
struct Captured {
    checkpoint: Checkpoint,
    rules: domain::Digest,
    violations: Vec<domain::tree::Violation>,
    micros: u64,
    asked: checkpoint::Asked,
}

fn captured(
    bench: &Bench<'_>,
    case: &Case,
    work: WorkId,
    active: &Active,
) -> Result<(CheckpointId, Captured), Error> {
    let workspaces = &bench.recorder.world().workspaces;
    let base = workspaces.prepare(&active.tree.base, &bench.settings.secrets)?;
    let changes = workspaces.changes(&base, &active.tree)?;
    let (rules, digest) = bench
        .rules(case, None)
        .ok_or_else(|| Error::Fault(format!("work {work} has no plan in force")))?;
    let began = Instant::now();
    let judgement = workspaces.judgement(&base, &active.tree, &changes, &rules)?;
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let checkpoint = Checkpoint {
        work,
        session: None,
        trigger: Trigger::BeforePromotion,
        parent: case.checkpoints.keys().next_back().copied(),
        tree: active.tree.clone(),
        files: count(&changes),
        bytes: bytes(&changes),
        files_total: count(&changes),
        bytes_total: bytes(&changes),
        micros: 0,
        held_micros: 0,
    };
    let id = CheckpointId::from_bits(bench.recorder.fresh());
    Ok((
        id,
        Captured {
            checkpoint,
            rules: digest,
            micros,
            asked: asked(&judgement),
            violations: told(judgement.violations),
        },
    ))
}

fn checkpoint_commands(id: CheckpointId, captured: &Captured) -> Vec<Command> {
    let capture = checkpoint::Command::Capture(captured.checkpoint.clone());
    let judge = checkpoint::Command::Judge {
        rules: captured.rules,
        violations: captured.violations.clone(),
        micros: captured.micros,
        asked: captured.asked,
    };
    vec![
        Command::Checkpoint(id, capture),
        Command::Checkpoint(id, judge),
    ]
}

fn propose(
    bench: &Bench<'_>,
    case: &Case,
    work: WorkId,
    run: RunId,
    checkpoint: &Captured,
    target: &Target,
) -> Result<(Proposal, Vec<policy::Block>), Error> {
    // The facts are those of the case with this checkpoint in it.
    let id = CheckpointId::from_bits(u128::MAX);
    let (seen, _) = case.decide_all(checkpoint_commands(id, checkpoint))?;
    let missing = || Error::Fault(format!("work {work} has no run to propose"));
    let facts = seen.facts(&target.head).ok_or_else(missing)?;
    let tree = seen.active().ok_or_else(missing)?.tree.clone();
    let dossier = dossier::assemble(bench.recorder, &seen, work, &facts, bench.settings)?;
    let text = serde_json::to_vec_pretty(&dossier)
        .map_err(|it| Error::Fault(format!("the dossier cannot be written: {it}")))?;
    let dossier = bench.recorder.world().artifacts.put(&text)?;
    let proposal = Proposal {
        work,
        run,
        tree,
        dossier,
        target: target.branch.clone(),
        lands_on: target.lands_on.clone(),
        target_head: target.head.clone(),
    };
    Ok((proposal, policy::blocks(&facts)))
}

/// Puts the work on the target's present head. `still` says whether this is still wanted when it
/// is recorded.
pub(super) fn rebase(
    bench: &Bench<'_>,
    work: WorkId,
    run: RunId,
    effect: EffectId,
    target: &Target,
    still: impl Fn(&Case) -> bool,
) -> Result<(), Error> {
    let recorder = bench.recorder;
    let workspaces = &recorder.world().workspaces;
    let case = recorder.load(work)?;
    let Some(active) = case.active() else {
        return recorder.settle(effect);
    };
    workspaces.prepare(&target.head, &bench.settings.secrets)?;
    let (tree, conflicts) = carried(bench, &active.tree, target)?;
    let first = active
        .run
        .formula
        .steps
        .iter()
        .find(|it| matches!(it.kind, Kind::Session { .. }));
    let first = first.map(|it| it.id.clone());
    recorder.submit(work, Some(effect), |case| {
        if !still(case) {
            return Ok(vec![]);
        }
        let why = format!("the target moved to {}", target.head.short());
        let mut commands = Vec::new();
        for (id, state) in &case.promotions {
            if matches!(state, promotion::State::Dispatched(..)) {
                let overtake = promotion::Command::Overtake { why: why.clone() };
                commands.push(Command::Promotion(*id, overtake));
            }
        }
        // A work that was called off meanwhile has no run to go on with.
        if !matches!(case.runs.get(&run), Some(run::State::Active(_))) {
            return Ok(commands);
        }
        commands.push(Command::Run(
            run,
            run::Command::Reopen { tree: tree.clone() },
        ));
        if let (Some(to), false) = (&first, conflicts.is_empty()) {
            let notes = vec![Note::Conflict {
                paths: shown(&conflicts),
            }];
            commands.push(Command::Run(
                run,
                run::Command::SendBack {
                    to: to.clone(),
                    notes,
                },
            ));
        }
        Ok(commands)
    })?;
    Ok(())
}

/// Returns the paths that fit on record, the last line saying how many do not.
fn shown(paths: &[String]) -> Vec<String> {
    let mut bytes = 0_usize;
    let fits = paths.iter().take_while(|it| {
        bytes = bytes.saturating_add(it.len());
        bytes <= CONFLICTS_BYTES_MAX
    });
    let mut shown: Vec<_> = fits.cloned().collect();
    let more = paths.len().saturating_sub(shown.len());
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

/// Carries the changes over; files that were changed on both sides take the target's content.
fn carried(bench: &Bench<'_>, tree: &Tree, target: &Target) -> Result<(Tree, Vec<String>), Error> {
    let workspaces = &bench.recorder.world().workspaces;
    match workspaces.rebase(tree, &target.head)? {
        Rebased::Clean(tree) => Ok((tree, Vec::new())),
        Rebased::Conflict(paths) => {
            let base = workspaces.prepare(&tree.base, &bench.settings.secrets)?;
            let rest = workspaces.restore(tree, &base, &paths)?;
            match workspaces.rebase(&rest, &target.head)? {
                Rebased::Clean(tree) => Ok((tree, paths)),
                Rebased::Conflict(more) => Err(Error::Fault(format!(
                    "cannot be carried over: {}",
                    more.join(", ")
                ))),
            }
        }
    }
}
