//! The way to the target: what is due about a dossier, its approval and its landing.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::{Desk, Due, Wait};
use crate::ambiguity::Priority;
use crate::case::Command;
use crate::formula::Step;
use crate::run::{Activity, Status};
use crate::{PromotionId, policy, promotion, run};

pub(super) fn decision(desk: &Desk<'_>, step: &str, promotion: PromotionId) -> Due {
    match desk.case.promotions.get(&promotion) {
        None | Some(promotion::State::Absent) => Due::Wait(Wait::Effect),
        Some(promotion::State::Blocked(proposal, _)) => {
            let facts = desk.case.facts(&proposal.target_head);
            if facts.is_some_and(|it| policy::blocks(&it).is_empty()) {
                return desk.reopen("what blocked it is settled");
            }
            let asked: Vec<_> = desk
                .case
                .open_ambiguities()
                .filter(|(_, it)| it.priority <= Priority::P1)
                .map(|(id, _)| id)
                .collect();
            Due::Wait(if asked.is_empty() {
                Wait::Blocked(promotion)
            } else {
                Wait::Answers(asked)
            })
        }
        Some(promotion::State::Ready(_)) => Due::Wait(Wait::Decision(promotion)),
        Some(
            promotion::State::Approved(..)
            | promotion::State::Dispatched(..)
            | promotion::State::Promoted(..),
        ) => desk.pass(step),
        Some(promotion::State::Refused(_, reason)) => desk.refused(reason),
        Some(promotion::State::Stale(_, why)) => desk.reopen(why),
    }
}

pub(super) fn landing(desk: &Desk<'_>, step: &str, promotion: PromotionId) -> Due {
    match desk.case.promotions.get(&promotion) {
        Some(promotion::State::Promoted(..)) => desk.pass(step),
        Some(promotion::State::Dispatched(..)) => Due::Wait(Wait::Effect),
        None
        | Some(
            promotion::State::Absent
            | promotion::State::Blocked(..)
            | promotion::State::Ready(_)
            | promotion::State::Approved(..)
            | promotion::State::Refused(..)
            | promotion::State::Stale(..),
        ) => desk.reopen("it was not landed"),
    }
}

/// Nothing is landed but what was approved: the permit is made here, from the facts of this moment.
pub(super) fn begin(desk: &Desk<'_>, step: &Step) -> Due {
    // At most one is open at a time. Identifiers are no order: a clock may have jumped back.
    let approved = desk.case.promotions.iter().find_map(|(id, it)| match it {
        promotion::State::Approved(proposal, approval) => Some((*id, proposal, approval)),
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Dispatched(..)
        | promotion::State::Promoted(..)
        | promotion::State::Refused(..)
        | promotion::State::Stale(..) => None,
    });
    let Some((id, proposal, approval)) = approved else {
        return without_approval(desk, step);
    };
    let Some(facts) = desk.case.facts(&proposal.target_head) else {
        return desk.end(format!("step `{}`: there is nothing to judge", step.id));
    };
    match policy::judge(&facts, proposal.dossier, Some(approval), desk.context.now) {
        Ok(permit) if permit.tree() == proposal.tree.digest => {
            let (step, activity) = (step.id.clone(), Activity::Landing { promotion: id });
            Due::Do(vec![
                desk.run(run::Command::Begin { step, activity }),
                Command::Promotion(id, promotion::Command::Dispatch(permit)),
            ])
        }
        Ok(_) => desk.reopen("the tree is another than the one that was approved"),
        Err(blocks) => {
            let why: Vec<_> = blocks.iter().map(policy::Block::sentence).collect();
            desk.reopen(&why.join("; "))
        }
    }
}

/// The operator may take a yes back until the permit is spent.
fn without_approval(desk: &Desk<'_>, step: &Step) -> Due {
    let refused = desk.case.promotions.values().find_map(|it| match it {
        promotion::State::Refused(_, reason) => Some(reason),
        promotion::State::Absent
        | promotion::State::Blocked(..)
        | promotion::State::Ready(_)
        | promotion::State::Approved(..)
        | promotion::State::Dispatched(..)
        | promotion::State::Promoted(..)
        | promotion::State::Stale(..) => None,
    });
    match refused {
        Some(reason) => desk.refused(reason),
        None if desk.case.promotions.is_empty() => {
            desk.end(format!("step `{}`: nothing was approved", step.id))
        }
        None => desk.reopen("it is not approved"),
    }
}

/// Returns whether a gate passed on an earlier tree, and nobody has asked it about this one.
pub(super) fn lacks_evidence(desk: &Desk<'_>) -> bool {
    let (active, tree) = (desk.active, desk.active.tree.digest);
    let mut passed_on_another =
        active.run.formula.steps.iter().filter(
            |it| matches!(active.status(&it.id), Status::Passed(digest) if *digest != tree),
        );
    passed_on_another.any(|step| {
        let mut gates = active.run.gates_of(&step.kind).into_iter();
        gates.any(|gate| {
            let mut facts = active.gates.iter();
            !facts.any(|it| it.gate == gate && it.tree == tree)
        })
    })
}
