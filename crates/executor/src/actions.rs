//! The actions, one file each: what is configured for it, what is checked before its intent is
//! recorded, how it is performed, and how the target tells afterwards whether it was.

mod deploy_staging;
mod fetch_metrics_summary;
mod get_staging_config_values;
mod publish_change;
pub(crate) mod run_db_migration_plan;
mod run_tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use domain::Timestamp;
use ports::cells::Cells;
use serde::Deserialize;
use serde_json::Value;
use wire::execution::{Action, Code, Failure, Kind, Summary};

use self::run_db_migration_plan::Mode;
use crate::guard::Guard;
use crate::reach::Connections;
use crate::run::{Programs, Unfinished};
use crate::scratch::Scratch;
use crate::secret::Secret;

/// What is configured for each action; what is not configured is not done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configured {
    deploy_staging: Option<deploy_staging::Settings>,
    fetch_metrics_summary: Option<fetch_metrics_summary::Settings>,
    get_staging_config_values: Option<get_staging_config_values::Settings>,
    publish_change: Option<publish_change::Settings>,
    /// Also for rehearsals.
    run_db_migration_plan: Option<run_db_migration_plan::Settings>,
    run_tests: Option<run_tests::Settings>,
}

/// What actions are performed with.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) cells: &'a dyn Cells,
    pub(crate) programs: &'a Programs,
    pub(crate) secrets: &'a BTreeMap<String, Secret>,
    pub(crate) guard: &'a Guard,
    /// Where connections are noted.
    pub(crate) connections: &'a Arc<Connections>,
    /// This program, as it is shown in cells with a door.
    pub(crate) bridge: &'a Path,
    /// A private folder for what is needed in between.
    pub(crate) scratch: &'a Scratch,
    pub(crate) now: Timestamp,
}

/// An action of which everything is checked that can be, and nothing done.
pub(crate) struct Prepared<'a> {
    /// What the target holds before, where it can tell.
    pub(crate) before: Option<String>,
    /// Does it.
    pub(crate) perform: Box<dyn FnOnce() -> Outcome + 'a>,
}

/// What an action came to.
pub(crate) enum Outcome {
    /// It is done.
    Done(Summary),
    /// It came out badly, with what can be said of it all the same.
    Failed(Failure, Option<Summary>),
    /// Nobody can say whether it happened.
    Unclear,
}

/// What the target tells afterwards.
pub(crate) enum Found {
    /// It is done.
    Done(Summary),
    /// Nothing of it happened.
    Nothing,
    /// It does not tell.
    Unclear,
}

impl Configured {
    /// Returns whether an action is configured.
    pub(crate) const fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::DeployStaging => self.deploy_staging.is_some(),
            Kind::FetchMetricsSummary => self.fetch_metrics_summary.is_some(),
            Kind::GetStagingConfigValues => self.get_staging_config_values.is_some(),
            Kind::PublishChange => self.publish_change.is_some(),
            Kind::RehearseDbMigrationPlan | Kind::RunDbMigrationPlan => {
                self.run_db_migration_plan.is_some()
            }
            Kind::RunTests => self.run_tests.is_some(),
        }
    }

    /// Returns every program that is named, with the action that names it.
    pub(crate) fn programs(&self) -> Vec<(&'static str, &str)> {
        let mut all = Vec::new();
        if let Some(it) = &self.deploy_staging {
            all.push(("deploy_staging", it.program.as_str()));
        }
        if let Some(it) = &self.publish_change {
            all.push(("publish_change", it.program.as_str()));
        }
        for suite in self.run_tests.iter().flat_map(|it| it.suites.values()) {
            all.push(("run_tests", suite.program.as_str()));
        }
        all
    }

    /// Returns every secret that is named, with the action that names it.
    pub(crate) fn secrets(&self) -> Vec<(&'static str, &str)> {
        let mut all = Vec::new();
        for name in self
            .deploy_staging
            .iter()
            .flat_map(|it| it.secrets.values())
        {
            all.push(("deploy_staging", name.as_str()));
        }
        if let Some(it) = &self.run_db_migration_plan {
            all.extend(it.secrets().map(|name| ("run_db_migration_plan", name)));
        }
        if let Some(it) = &self.fetch_metrics_summary {
            all.extend(it.secrets().map(|name| ("fetch_metrics_summary", name)));
        }
        for remote in self
            .publish_change
            .iter()
            .flat_map(|it| it.remotes.values())
        {
            all.extend(remote.secrets().map(|name| ("publish_change", name)));
        }
        for suite in self.run_tests.iter().flat_map(|it| it.suites.values()) {
            all.extend(
                suite
                    .secrets
                    .values()
                    .map(|name| ("run_tests", name.as_str())),
            );
        }
        for key in self
            .get_staging_config_values
            .iter()
            .flat_map(|it| it.keys.values())
        {
            if let get_staging_config_values::Key::Secret(name) = key {
                all.push(("get_staging_config_values", name.as_str()));
            }
        }
        all
    }

    /// Returns every folder that a program may write to, with the action that gives it.
    pub(crate) fn written(&self) -> Vec<(&'static str, &Path)> {
        let deployed = self.deploy_staging.iter();
        deployed.map(|it| ("deploy_staging", it.folder())).collect()
    }

    /// Checks what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(it) = &self.deploy_staging {
            it.check()?;
        }
        if let Some(it) = &self.publish_change {
            it.check()?;
        }
        if let Some(it) = &self.fetch_metrics_summary {
            it.check()?;
        }
        if let Some(it) = &self.run_db_migration_plan {
            it.check()?;
        }
        Ok(())
    }

    /// Checks everything about an action that can be checked before it is recorded.
    pub(crate) fn prepare<'a>(
        &'a self,
        action: &'a Action,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        match action {
            Action::DeployStaging(it) => own(self.deploy_staging.as_ref())?.prepare(it, means),
            Action::FetchMetricsSummary(it) => {
                own(self.fetch_metrics_summary.as_ref())?.prepare(it, means)
            }
            Action::GetStagingConfigValues(it) => {
                own(self.get_staging_config_values.as_ref())?.prepare(it, means)
            }
            Action::PublishChange(it) => own(self.publish_change.as_ref())?.prepare(it, means),
            Action::RehearseDbMigrationPlan(it) => {
                own(self.run_db_migration_plan.as_ref())?.prepare(it, Mode::Rehearse, means)
            }
            Action::RunDbMigrationPlan(it) => {
                own(self.run_db_migration_plan.as_ref())?.prepare(it, Mode::Apply, means)
            }
            Action::RunTests(it) => own(self.run_tests.as_ref())?.prepare(it, means),
        }
    }

    /// Looks at the target, to tell whether an action happened whose end nobody saw.
    pub(crate) fn look(&self, action: &Action, before: Option<&str>, means: Means<'_>) -> Found {
        match action {
            Action::DeployStaging(it) => match &self.deploy_staging {
                Some(settings) => settings.look(it, before),
                None => Found::Unclear,
            },
            Action::PublishChange(it) => match &self.publish_change {
                Some(settings) => settings.look(it, before, means),
                None => Found::Unclear,
            },
            Action::RunDbMigrationPlan(it) => match &self.run_db_migration_plan {
                Some(settings) => settings.look(it, before, means),
                None => Found::Unclear,
            },
            // These only read, or keep nothing: nobody was told what they came to, so there is nothing of them.
            Action::FetchMetricsSummary(_)
            | Action::GetStagingConfigValues(_)
            | Action::RehearseDbMigrationPlan(_)
            | Action::RunTests(_) => Found::Nothing,
        }
    }
}

/// Returns the schemas of an action's arguments and summary.
pub(crate) fn schemas(kind: Kind) -> (Value, Value) {
    match kind {
        Kind::DeployStaging => deploy_staging::schemas(),
        Kind::FetchMetricsSummary => fetch_metrics_summary::schemas(),
        Kind::GetStagingConfigValues => get_staging_config_values::schemas(),
        Kind::PublishChange => publish_change::schemas(),
        Kind::RehearseDbMigrationPlan | Kind::RunDbMigrationPlan => {
            run_db_migration_plan::schemas()
        }
        Kind::RunTests => run_tests::schemas(),
    }
}

/// Returns which of an action's arguments and fields of its summary may be left out.
pub(crate) const fn optional(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::PublishChange => publish_change::optional(),
        Kind::DeployStaging
        | Kind::FetchMetricsSummary
        | Kind::GetStagingConfigValues
        | Kind::RehearseDbMigrationPlan
        | Kind::RunDbMigrationPlan
        | Kind::RunTests => &[],
    }
}

fn own<T>(settings: Option<&T>) -> Result<&T, Code> {
    settings.ok_or(Code::NotConfigured)
}

/// Returns the failure that an unfinished program is.
const fn unfinished(how: Unfinished) -> Outcome {
    match how {
        Unfinished::NotStarted => Outcome::Failed(Failure::ProgramNotStarted, None),
        Unfinished::TimedOut => Outcome::Failed(Failure::TimedOut, None),
    }
}

/// Returns the environment of one child: its secrets, each under the variable it is wanted in.
fn environment(
    wanted: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, Secret>,
) -> Result<BTreeMap<String, String>, Code> {
    let mut env = BTreeMap::new();
    for (variable, name) in wanted {
        let value = secrets.get(name).and_then(Secret::variable);
        let value = value.ok_or(Code::Unavailable)?;
        env.insert(variable.clone(), (*value).clone());
    }
    Ok(env)
}
