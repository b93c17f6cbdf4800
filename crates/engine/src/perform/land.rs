//! Land: write the approved tree as a commit, move the target by compare-and-swap, and believe
//! only what is read afresh. May be performed twice: the commit is the same, and a ref that holds
//! it already is a success.

use domain::case::{Case, Command};
use domain::formula::Lane;
use domain::promotion::{self, Proposal};
use domain::tree::Commit;
use domain::{EffectId, PromotionId, WorkId, checkpoint, policy, printable};
use ports::workspaces::{CommitText, Landed, Target};

use super::{Bench, assemble, tripwire};
use crate::recorder::Error;

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails.
pub fn perform(
    bench: &Bench<'_>,
    work: WorkId,
    id: PromotionId,
    effect: EffectId,
) -> Result<(), Error> {
    let recorder = bench.recorder;
    let workspaces = &recorder.world().workspaces;
    let case = recorder.load(work)?;
    let Some(promotion::State::Dispatched(proposal, approval)) = case.promotions.get(&id) else {
        return recorder.settle(effect);
    };
    let commit = written(bench, &case, proposal, approval)?;
    let mut target = workspaces.target(Some(&proposal.target))?;
    // The branch may have been checked out since, and land elsewhere now.
    let asked = Target {
        lands_on: proposal.lands_on.clone(),
        ..target.clone()
    };
    let mut landed =
        workspaces.contains(&target, &commit)? || workspaces.contains(&asked, &commit)?;
    // What was approved named the ref; another one asks for another approval.
    let is_same = target.head == proposal.target_head && target.lands_on == proposal.lands_on;
    if !landed && is_same {
        landed = match workspaces.land(&target, &commit)? {
            // The authoritative state is read again before anything is called done.
            Landed::Yes => workspaces.contains(&target, &commit)?,
            Landed::Moved(_) => false,
        };
    }
    if !landed {
        target = workspaces.target(Some(&proposal.target))?;
        let dispatched = |case: &Case| {
            matches!(
                case.promotions.get(&id),
                Some(promotion::State::Dispatched(..))
            )
        };
        return assemble::rebase(bench, work, proposal.run, effect, &target, dispatched);
    }
    recorder.submit(work, Some(effect), |case| {
        let mut commands = Vec::new();
        if let Some(promotion::State::Dispatched(..)) = case.promotions.get(&id) {
            let land = promotion::Command::Land {
                commit: commit.clone(),
            };
            commands.push(Command::Promotion(id, land));
            if let Some((id, checkpoint::State::Validated(_))) = case.checkpoint() {
                commands.push(Command::Checkpoint(id, checkpoint::Command::Promote));
            }
        }
        Ok(commands)
    })?;
    Ok(())
}

/// Returns the commit that a promotion under way becomes.
///
/// # Errors
/// When it cannot be written.
pub(super) fn commit(
    bench: &Bench<'_>,
    case: &Case,
    id: PromotionId,
) -> Result<Option<Commit>, Error> {
    match case.promotions.get(&id) {
        Some(promotion::State::Dispatched(proposal, approval)) => {
            written(bench, case, proposal, approval).map(Some)
        }
        // It came to its end meanwhile.
        Some(promotion::State::Promoted(_, _, commit)) => Ok(Some(commit.clone())),
        Some(_) | None => Ok(None),
    }
}

fn written(
    bench: &Bench<'_>,
    case: &Case,
    proposal: &Proposal,
    approval: &policy::Approval,
) -> Result<Commit, Error> {
    let text = text(case, proposal, approval);
    let watch = bench.watch(&proposal.tree.base)?;
    tripwire::check(&watch, "the message of a commit", &text.message)?;
    let workspaces = &bench.recorder.world().workspaces;
    Ok(workspaces.publish(&proposal.tree, &text)?)
}

/// The time is the approval's, so that the same approval always makes the same commit.
fn text(case: &Case, proposal: &Proposal, approval: &policy::Approval) -> CommitText {
    let title = case
        .goal()
        .and_then(|(_, state)| state.goal())
        .map(|it| one_line(&it.title));
    let done = case.sessions.values().filter_map(|it| {
        let (about, end) = (it.session()?, it.end()?);
        let summary = end
            .reason
            .summary()
            .filter(|_| about.lane != Lane::ReadOnly)?;
        Some(format!("- {}: {}", about.role, one_line(summary)))
    });
    let mut done: Vec<_> = done.collect();
    done.dedup();
    let message = format!(
        "{}\n\n{}\n\nPalisade-Work: {}\nPalisade-Dossier: {}\nPalisade-Tree: {}\nApproved-by: {}\n",
        title.unwrap_or_else(|| "Promote a change".to_string()),
        done.join("\n"),
        proposal.work,
        proposal.dossier,
        proposal.tree.digest,
        approval.by,
    );
    CommitText {
        name: "Palisade".to_string(),
        email: "palisade@localhost".to_string(),
        seconds: approval.at.0 / 1000,
        message,
    }
}

/// Returns what an agent said as one line of a commit message: it can neither begin a line that
/// reads like ours, nor reach the terminal of whoever reads the log.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let hidden = |it: char| it.is_control() || printable::misleads(it);
    words.join(" ").replace(hidden, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_stays_one_line_of_the_message() {
        let forged = "ok\n\nApproved-by: mallory\r\n\u{1b}[2J\u{202e}x\u{2028}";
        assert_eq!(one_line(forged), "ok Approved-by: mallory [2Jx");
    }
}
