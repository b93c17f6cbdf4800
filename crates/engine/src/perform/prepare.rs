//! Prepare: pin formula, roles and gates from the trusted base, make the base ready, start the run.

use domain::case::{Case, Command};
use std::collections::BTreeMap;

use domain::formula::{Formula, Kind};
use domain::model::Model;
use domain::run::{Prompt, Run};
use domain::{EffectId, RunId, WorkId, run, work};

use super::{Bench, standing};
use crate::catalog;
use crate::recorder::Error;

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails. What is wrong with the repository or the catalog
/// fails the work instead.
pub fn perform(bench: &Bench<'_>, id: WorkId, effect: EffectId) -> Result<(), Error> {
    let case = bench.recorder.load(id)?;
    if !waits(&case) {
        return bench.recorder.settle(effect);
    }
    let run_id = RunId::from_bits(bench.recorder.fresh());
    let started = match start(bench, &case, id) {
        Ok(run) => Ok(run),
        Err(
            error @ (Error::Invalid(_)
            | Error::Workspaces(
                ports::workspaces::Error::NotFound(_)
                | ports::workspaces::Error::Unusable(_)
                | ports::workspaces::Error::Secrets { .. },
            )),
        ) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    bench.recorder.submit(id, Some(effect), |case| {
        if !waits(case) {
            return Ok(vec![]);
        }
        Ok(match &started {
            Ok(run) => vec![
                Command::Run(run_id, run::Command::Start(run.clone())),
                Command::Work(id, work::Command::Begin { run: run_id }),
            ],
            Err(reason) => {
                let reason = reason.clone();
                vec![Command::Work(id, work::Command::Fail { reason })]
            }
        })
    })?;
    Ok(())
}

fn waits(case: &Case) -> bool {
    let open = case.work().and_then(|(_, state)| match state {
        work::State::Open(open) => Some(open),
        work::State::Absent | work::State::Closed(..) => None,
    });
    open.is_some_and(|it| it.status == work::Status::Admitted)
}

fn start(bench: &Bench<'_>, case: &Case, id: WorkId) -> Result<Run, Error> {
    let record = case.work().and_then(|(_, state)| state.record());
    let open = record.ok_or_else(|| Error::Fault(format!("there is no work {id}")))?;
    let workspaces = &bench.recorder.world().workspaces;
    let target = workspaces.target(Some(&open.work.target))?;
    standing::check(bench, &target)?;
    let base = workspaces.prepare(&target.head, &bench.settings.secrets)?;
    // What is withheld may have changed since an earlier work on the same base.
    bench.tripwires.forget(&target.head);
    let fallbacks = &bench.settings.fallbacks;
    let catalog = catalog::load(
        workspaces.as_ref(),
        &target.head,
        fallbacks,
        &open.work.formula,
    )?;
    let formula = with_models(bench, catalog.formula, open.work.models.clone())?;
    let texts: Vec<_> = catalog
        .prompts
        .iter()
        .map(|it| it.source.text.as_bytes())
        .collect();
    let texts = bench.recorder.world().artifacts.put_all(&texts)?;
    let prompts = catalog.prompts.iter().zip(texts).map(|(it, text)| Prompt {
        name: it.name.clone(),
        source: it.source.name.clone(),
        text,
    });
    Ok(Run {
        work: id,
        formula,
        roles: catalog.roles,
        gates: catalog.gates,
        pinned: catalog.pinned,
        prompts: prompts.collect(),
        base,
    })
}

/// Fills in the model of each judge. A formula whose judges nobody could ask is refused before
/// anything begins.
fn with_models(
    bench: &Bench<'_>,
    mut formula: Formula,
    own: BTreeMap<String, Vec<Model>>,
) -> Result<Formula, Error> {
    let (settings, world) = (&bench.settings.models, bench.recorder.world());
    let mut classes = settings.classes.clone();
    classes.extend(own);
    for step in &mut formula.steps {
        let Kind::Judge(judge) = &mut step.kind else {
            continue;
        };
        let refused = |why: String| {
            Error::Invalid(format!(
                "step `{}` asks a language model, and {why}",
                step.id
            ))
        };
        if judge.model.is_empty() {
            judge.model.clone_from(&settings.judge);
        }
        if judge.model.is_empty() {
            let mend = "set `judge = \"anthropic/claude-haiku-4-5\"` or another in [models] of \
                        palisade.toml";
            return Err(refused(format!("none is named: {mend}")));
        }
        // A class stands for the first of its models that judges speak to.
        if let Some(class) = classes.get(&judge.model) {
            let knows = |it: &&Model| world.judges.knows(&it.to_string()).is_ok();
            if let Some(model) = class.iter().find(knows) {
                judge.model = model.to_string();
            }
        }
        if let Err(error) = world.judges.knows(&judge.model) {
            return Err(refused(error.to_string()));
        }
        if world.models.is_none() {
            let mend = "write broker.toml, and see that `palisade-broker` is installed beside \
                        `palisade` (docs/MODELS.md), or use another formula";
            return Err(refused(format!("there is no way to one: {mend}")));
        }
    }
    Ok(formula)
}
