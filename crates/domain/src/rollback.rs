//! Rollbacks: putting a work's tree back to a checkpoint. What is asked for, what it means for the
//! steps, and which changes a strategy keeps.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::checkpoint::{self, Trigger};
use crate::formula::{Formula, Kind};
use crate::tree::Tree;
use crate::{CheckpointId, session};

/// How a tree is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Exactly that state, nothing else.
    Full,
    /// Only the named paths, or those that break rules when none is named.
    Paths,
    /// Keeps what is valid; puts back what breaks rules, and what was changed together with it.
    Smart,
}

impl Strategy {
    /// Returns the literal used in commands and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Paths => "paths",
            Self::Smart => "smart",
        }
    }
}

/// A rollback that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The checkpoint to go to; none for the tree that was accepted last, which a session that is
    /// under way started from.
    pub to: Option<CheckpointId>,
    /// How.
    pub strategy: Strategy,
    /// The paths, for [`Strategy::Paths`].
    pub paths: Vec<String>,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub why: String,
}

/// A rollback that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was wanted.
    pub rollback: Rollback,
    /// The checkpoint of the tree as it was before: going there undoes the rollback.
    pub before: CheckpointId,
    /// The tree as it is now.
    pub tree: Tree,
    /// The paths that were put back.
    pub reverted: Vec<String>,
    /// The changed paths that were kept.
    pub kept: Vec<String>,
    /// The steps that are to be done again.
    pub redo: Vec<String>,
}

/// Returns the steps that are to be done again once the tree is that of a checkpoint: the step whose
/// session it was taken from, unless the session was done with it, and all that lean on it.
#[must_use]
pub fn redo(case: &Case, to: Option<CheckpointId>) -> Option<Vec<String>> {
    let formula = &case.active()?.run.formula;
    let Some(to) = to else {
        // The step of a session that ended for it is begun anew as it is.
        return Some(Vec::new());
    };
    let state = case.checkpoints.get(&to)?;
    let taken = state.checkpoint()?;
    let Some(session) = taken.session else {
        return Some(after_sessions(formula));
    };
    let about = case.sessions.get(&session)?;
    let step = &about.session()?.step;
    let was_done = taken.trigger == Trigger::TurnEnd
        && matches!(
            state,
            checkpoint::State::Validated(_) | checkpoint::State::Promoted(_)
        )
        && about.end().is_some_and(|it| it.reason.summary().is_some());
    let mut steps: BTreeSet<String> = formula.downstream(step).into_iter().collect();
    if was_done {
        steps.remove(step);
    } else {
        steps.insert(step.clone());
    }
    Some(steps.into_iter().collect())
}

/// A checkpoint of the whole was taken when all sessions were done.
fn after_sessions(formula: &Formula) -> Vec<String> {
    let steps = formula.steps.iter().filter(|it| match it.kind {
        Kind::Session { .. } | Kind::Judge(_) => false,
        Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => true,
    });
    steps.map(|it| it.id.clone()).collect()
}

/// Returns which of the changed paths [`Strategy::Smart`] puts back: those that break rules, those
/// beneath or above them, and those of their folder whose content names one of them.
///
/// `names` says whether the content of the first path mentions the second by its file name. The
/// rule errs towards putting back: what is kept must stand without what is gone.
#[must_use]
pub fn smart(
    changed: &[String],
    violating: &BTreeSet<String>,
    names: &dyn Fn(&str, &str) -> bool,
) -> BTreeSet<String> {
    let mut reverted: BTreeSet<String> = changed
        .iter()
        .filter(|path| violating.iter().any(|it| is_related(path, it)))
        .cloned()
        .collect();
    loop {
        let more: Vec<String> = changed
            .iter()
            .filter(|path| !reverted.contains(*path))
            .filter(|path| reverted.iter().any(|gone| names(path, gone)))
            .cloned()
            .collect();
        if more.is_empty() {
            return reverted;
        }
        reverted.extend(more);
    }
}

fn is_related(path: &str, other: &str) -> bool {
    let beneath = |it: &str, folder: &str| {
        it.strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    path == other || beneath(path, other) || beneath(other, path)
}

impl Case {
    /// Returns the session whose agent runs or stands still, if there is one.
    #[must_use]
    pub fn live_session(&self) -> Option<(crate::SessionId, &session::State)> {
        self.sessions
            .iter()
            .rev()
            .find(|(_, state)| state.live().is_some())
            .map(|(id, state)| (*id, state))
    }

    /// Returns how many checkpoints in a row, up to the last that was judged, broke rules.
    #[must_use]
    pub fn violations_in_a_row(&self) -> usize {
        let judged = self.checkpoints.values().rev().filter(|it| {
            !matches!(
                it,
                checkpoint::State::Absent
                    | checkpoint::State::Requested(_)
                    | checkpoint::State::Captured(_)
            )
        });
        judged
            .take_while(|it| matches!(it, checkpoint::State::Violated(..)))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|it| (*it).to_string()).collect()
    }

    fn list(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|it| (*it).to_string()).collect()
    }

    #[test]
    fn what_stands_by_itself_is_kept() {
        let changed = list(&["src/a", "src/b", ".env"]);
        let gone = smart(&changed, &set(&[".env"]), &|_, _| false);
        assert_eq!(gone, set(&[".env"]));
    }

    #[test]
    fn what_names_something_that_is_put_back_is_put_back_too() {
        let changed = list(&["main", "uses-bad", "uses-user", "bad"]);
        let names = |path: &str, other: &str| {
            matches!(
                (path, other),
                ("uses-bad", "bad") | ("uses-user", "uses-bad")
            )
        };
        let gone = smart(&changed, &set(&["bad"]), &names);
        assert_eq!(gone, set(&["bad", "uses-bad", "uses-user"]));
    }

    #[test]
    fn a_folder_that_became_a_link_takes_what_is_beneath_it_along() {
        let changed = list(&["a", "a/b", "ab"]);
        assert_eq!(
            smart(&changed, &set(&["a"]), &|_, _| false),
            set(&["a", "a/b"])
        );
    }

    proptest! {
        #[test]
        fn only_changed_paths_are_put_back_and_all_violating_ones_are(
            changed in prop::collection::btree_set("[ab]{1,2}", 0..6),
            violating in prop::collection::btree_set("[ab]{1,2}", 0..6),
            edges in prop::collection::btree_set(("[ab]{1,2}", "[ab]{1,2}"), 0..6),
        ) {
            let all: Vec<String> = changed.iter().cloned().collect();
            let names = |path: &str, other: &str| {
                edges.contains(&(path.to_string(), other.to_string()))
            };
            let gone = smart(&all, &violating, &names);
            prop_assert!(gone.is_subset(&changed));
            prop_assert!(changed.intersection(&violating).all(|it| gone.contains(it)));
            // Nothing that is kept names anything that is gone.
            for kept in changed.difference(&gone) {
                prop_assert!(!gone.iter().any(|it| names(kept, it)));
            }
        }
    }
}
