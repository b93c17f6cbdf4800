//! Checkpoints of a running session: judged, recorded, and answered. A service that fails is left
//! alone by its breaker, and what it would have vouched for stays unjudged.

use std::sync::Arc;
use std::time::Duration;

use domain::case::Command;
use domain::checkpoint::{self, Checkpoint, Trigger};
use domain::conclude::{self, Left};
use domain::session::Session;
use domain::tree::{Change, Entry, Tree, Violation};
use domain::{CheckpointId, MessageId, Millis};
use ports::workspaces::{Captured, Judgement};

use super::told;
use crate::recorder::Error;
use judging::{Judging, Matter, Verdict, Word};
use services::{User, VALIDATOR};

mod judging;
pub mod services;

/// A captured tree, and what it was captured of.
pub(super) struct Taken<'a> {
    pub(super) about: &'a Session,
    pub(super) id: CheckpointId,
    pub(super) trigger: Trigger,
    pub(super) captured: Captured,
    /// How long the cell stood still.
    pub(super) held: Duration,
}

/// A checkpoint that nobody has judged yet.
pub(super) struct Unjudged {
    left: Left,
    matter: Matter,
    judging: Option<Judging>,
}

/// Records a checkpoint of a running session with what follows from it. Returns it if it could not
/// be judged within the time for that: then it is on record, and not promotable until it is.
pub(super) fn record(
    user: User<'_>,
    taken: &Taken<'_>,
    is_busy: bool,
) -> Result<Option<Unjudged>, Error> {
    let recorder = user.bench.recorder;
    let case = recorder.load(user.work)?;
    let parent = case.checkpoints.iter().rev().find_map(|(id, state)| {
        let it = state.checkpoint()?;
        (it.session == Some(user.session)).then(|| (*id, it.tree.clone()))
    });
    let before = parent.as_ref().map_or(&taken.about.tree, |(_, it)| it);
    let checkpoint = describe(user, taken, parent.as_ref().map(|(id, _)| *id), before)?;
    let Some((rules, digest)) = user.bench.rules(&case, Some(&taken.about.role)) else {
        return Ok(None);
    };
    let mut unjudged = Unjudged {
        matter: Matter {
            before: taken.about.tree.clone(),
            tree: taken.captured.tree.clone(),
            changes: taken.captured.changes.clone(),
            rules,
        },
        left: Left {
            id: taken.id,
            clean: checkpoint.tree.clone(),
            checkpoint,
            rules: digest,
            violations: vec![],
            micros: 0,
            asked: checkpoint::Asked::default(),
        },
        judging: None,
    };
    let why = if is_busy {
        "the validator is still busy with an earlier one".to_string()
    } else if !user.attempt(VALIDATOR)? {
        "the validator's breaker is open".to_string()
    } else {
        let budget = user.bench.settings.checkpoints.judging;
        match unjudged.judge(user, budget)? {
            Judged::Done => return Ok(None),
            Judged::NotYet => format!(
                "judging takes longer than {}",
                Millis(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX))
            ),
            Judged::Failed(why) => why,
        }
    };
    defer(user, &unjudged.left, &why)?;
    Ok(Some(unjudged))
}

/// What became of a judgement.
enum Judged {
    /// It is on record with what follows from it.
    Done,
    /// It takes longer.
    NotYet,
    /// There is none, and why.
    Failed(String),
}

impl Unjudged {
    /// Returns whether the validator is at it.
    pub(super) const fn is_under_way(&self) -> bool {
        self.judging.is_some()
    }

    /// Judges it, if the validator may be used and is done by now. Returns whether it was judged.
    pub(super) fn try_again(&mut self, user: User<'_>) -> Result<bool, Error> {
        if !self.is_under_way() && !user.attempt(VALIDATOR)? {
            return Ok(false);
        }
        let judged = self.judge(user, Duration::ZERO)?;
        Ok(matches!(judged, Judged::Done))
    }

    fn judge(&mut self, user: User<'_>, patience: Duration) -> Result<Judged, Error> {
        let judging = if let Some(judging) = self.judging.take() {
            judging
        } else {
            let workspaces = Arc::clone(&user.bench.recorder.world().workspaces);
            match Judging::begin(workspaces, self.matter.clone()) {
                Ok(judging) => judging,
                Err(error) => return failed(user, &error),
            }
        };
        match judging.within(patience) {
            Word::NotYet => {
                self.judging = Some(judging);
                Ok(Judged::NotYet)
            }
            Word::Lost => failed(user, &std::io::Error::other("it broke down")),
            Word::Is(Verdict { judgement, micros }) => match judgement {
                Err(error) => failed(user, &error),
                Ok(judgement) => {
                    user.works(VALIDATOR)?;
                    self.left.asked = asked(&judgement);
                    self.left.violations = told(judgement.violations);
                    self.left.micros = micros;
                    conclude(user, &self.left)?;
                    Ok(Judged::Done)
                }
            },
        }
    }
}

/// Returns what a judgement asked of contents, for the record.
pub(super) const fn asked(judgement: &Judgement) -> checkpoint::Asked {
    checkpoint::Asked {
        remembered: judgement.remembered,
        read: judgement.read,
    }
}

fn failed(user: User<'_>, error: &dyn std::error::Error) -> Result<Judged, Error> {
    user.fails(VALIDATOR, error)?;
    Ok(Judged::Failed(error.to_string()))
}

/// Records what a judged checkpoint means.
fn conclude(user: User<'_>, left: &Left) -> Result<(), Error> {
    let message = MessageId::from_bits(user.bench.recorder.fresh());
    let policy = user.bench.settings.checkpoints.on_violation;
    user.bench.recorder.submit(user.work, None, |case| {
        Ok::<_, Error>(conclude::watched(case, user.session, left, policy, message))
    })?;
    Ok(())
}

fn describe(
    user: User<'_>,
    taken: &Taken<'_>,
    parent: Option<CheckpointId>,
    before: &Tree,
) -> Result<Checkpoint, Error> {
    let workspaces = &user.bench.recorder.world().workspaces;
    let tree = &taken.captured.tree;
    let since = workspaces.changes(before, tree)?;
    let all = user.bench.changes_of(tree)?;
    Ok(Checkpoint {
        work: user.work,
        session: Some(user.session),
        trigger: taken.trigger,
        parent,
        tree: tree.clone(),
        files: count(&since),
        bytes: bytes(&since),
        files_total: count(&all),
        bytes_total: bytes(&all),
        micros: taken.captured.micros,
        held_micros: micros(taken.held),
    })
}

/// What nobody could judge is on record, and not promotable.
fn defer(user: User<'_>, left: &Left, why: &str) -> Result<(), Error> {
    user.bench.recorder.submit(user.work, None, |_| {
        let capture = checkpoint::Command::Capture(left.checkpoint.clone());
        let why = why.to_string();
        Ok::<_, Error>(vec![
            Command::Checkpoint(left.id, capture),
            Command::Checkpoint(left.id, checkpoint::Command::Defer { why }),
        ])
    })?;
    Ok(())
}

/// Returns the paths of violations, each once; nothing when the whole is what is wrong.
pub(super) fn paths(violations: &[Violation]) -> Vec<String> {
    let mut paths: Vec<_> = violations.iter().map(|it| it.path.clone()).collect();
    paths.sort();
    paths.dedup();
    paths
}

pub(super) fn count(changes: &[Change]) -> u64 {
    u64::try_from(changes.len()).unwrap_or(u64::MAX)
}

pub(super) fn bytes(changes: &[Change]) -> u64 {
    let of = |it: &Change| match &it.entry {
        Entry::File { bytes, .. } => *bytes,
        Entry::Symlink { .. } | Entry::Deleted | Entry::Foreign { .. } => 0,
    };
    changes.iter().map(of).sum()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
