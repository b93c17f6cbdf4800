//! Standing: what a work may begin on. A landing branch holds what was approved and nothing else, so
//! a commit that no promotion put there is nobody's approved change, and no work is built on it.

use std::collections::BTreeMap;

use domain::event::Event;
use domain::promotion::{self, State};
use domain::{PromotionId, WorkId};
use ports::log::Position;
use ports::workspaces::{self, Target};

use super::{Bench, land};
use crate::recorder::{Error, decoded};

/// How many events are read at a time.
const PAGE: usize = 4_096;

/// What the streams of promotions begin with.
const PROMOTIONS: &str = "promotion/";

/// Refuses a target whose head stands on its landing branch by nobody's approval.
///
/// # Errors
/// When it does, or log or repository cannot be read.
pub(super) fn check(bench: &Bench<'_>, target: &Target) -> Result<(), Error> {
    let workspaces = &bench.recorder.world().workspaces;
    // What the operator's own branch holds, the operator has taken.
    let own = Target {
        lands_on: format!("refs/heads/{}", target.branch),
        ..target.clone()
    };
    if workspaces.contains(&own, &target.head)? {
        return Ok(());
    }
    let promotions = promotions(bench)?;
    let is_landed = promotions
        .iter()
        .any(|(_, (_, it))| matches!(it, State::Promoted(_, _, commit) if *commit == target.head));
    if is_landed || is_landing(bench, target, &promotions)? {
        return Ok(());
    }
    let (branch, head) = (&target.branch, target.head.short());
    Err(Error::Workspaces(workspaces::Error::Unusable(format!(
        "palisade/{branch} holds {head}, which nobody's approval has put there, so nothing is built \
         on it; look at it with `git log {branch}..palisade/{branch}`, then take it over with `git \
         merge --ff-only palisade/{branch}` on {branch}, or delete it with `git branch -D \
         palisade/{branch}`"
    ))))
}

/// All promotions on record, with their works.
type Promotions = BTreeMap<PromotionId, (Option<WorkId>, State)>;

fn promotions(bench: &Bench<'_>) -> Result<Promotions, Error> {
    let log = &bench.recorder.world().log;
    let (mut promotions, mut position) = (Promotions::new(), Position(0));
    loop {
        let page = log.read_all(position, PAGE)?;
        for recorded in &page {
            position = recorded.position;
            if !recorded.stream.starts_with(PROMOTIONS) {
                continue;
            }
            if let Event::Promotion(id, event) = decoded(recorded)? {
                let (work, state) = promotions.remove(&id).unwrap_or_default();
                let work = work.or_else(|| recorded.event.correlation.parse().ok());
                promotions.insert(id, (work, promotion::evolve(state, &event)));
            }
        }
        if page.len() < PAGE {
            return Ok(promotions);
        }
    }
}

/// Returns whether the head is what an approved change becomes: another work is landing it this very
/// moment, or was interrupted after the ref was moved.
fn is_landing(bench: &Bench<'_>, target: &Target, promotions: &Promotions) -> Result<bool, Error> {
    for (id, (work, state)) in promotions {
        let (Some(work), State::Dispatched(proposal, _)) = (work, state) else {
            continue;
        };
        if proposal.target == target.branch
            && land::commit(bench, &bench.recorder.load(*work)?, *id)?.as_ref()
                == Some(&target.head)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
