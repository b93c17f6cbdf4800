//! A witness who knows only the log: keeps books of its own and says what must never be.

use std::collections::{BTreeMap, BTreeSet};

use palisade_domain::ambiguity::{self, Priority};
use palisade_domain::case::Case;
use palisade_domain::event::Event;
use palisade_domain::plan::Budget;
use palisade_domain::policy::Approval;
use palisade_domain::promotion::{self, Proposal};
use palisade_domain::run::{self, Run};
use palisade_domain::{
    AmbiguityId, Digest, FindingId, PromotionId, SessionId, Timestamp, finding, goal, session, work,
};

/// Books about one history.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    seen: usize,
    budget: Option<Budget>,
    sessions: u32,
    rounds: u32,
    wall: u64,
    work_closed: bool,
    run_ended: bool,
    run: Option<Run>,
    tree: Option<Digest>,
    live: BTreeSet<SessionId>,
    ended: BTreeSet<SessionId>,
    words: BTreeMap<(String, Digest), bool>,
    grave: BTreeSet<AmbiguityId>,
    findings: BTreeSet<FindingId>,
    proposals: BTreeMap<PromotionId, Proposal>,
    approvals: BTreeMap<PromotionId, Approval>,
    under_way: Option<String>,
}

impl Witness {
    /// Returns how many events were seen.
    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    /// Returns the sessions that have not ended.
    pub(crate) fn live(&self) -> Option<SessionId> {
        self.live.first().copied()
    }

    /// Takes an event to the books, and panics at one that must never be.
    pub(crate) fn see(&mut self, event: &Event, now: Timestamp) {
        self.seen += 1;
        match event {
            Event::Work(_, event) => self.see_work(event),
            Event::Run(_, event) => self.see_run(event),
            Event::Session(id, session::Event::Requested(_)) => {
                assert!(self.live.is_empty(), "two sessions at once");
                assert!(self.live.insert(*id));
            }
            Event::Session(id, session::Event::Ended(_)) => {
                assert!(self.live.remove(id), "{id} ended, and was not live");
                assert!(self.ended.insert(*id), "{id} ended twice");
            }
            Event::Ambiguity(id, ambiguity::Event::Filed(it)) if it.priority <= Priority::P1 => {
                self.grave.insert(*id);
            }
            Event::Ambiguity(id, ambiguity::Event::Answered { .. } | ambiguity::Event::Closed) => {
                self.grave.remove(id);
            }
            Event::Finding(id, finding::Event::Reported(_)) => {
                self.findings.insert(*id);
            }
            Event::Finding(id, finding::Event::Resolved(_)) => {
                self.findings.remove(id);
            }
            Event::Promotion(id, event) => self.see_promotion(*id, event, now),
            Event::Session(..)
            | Event::Ambiguity(..)
            | Event::Finding(..)
            | Event::Action(..)
            | Event::Breaker(..)
            | Event::Checkpoint(..)
            | Event::Evidence(..)
            | Event::Goal(..)
            | Event::Grant(..)
            | Event::Lease(..)
            | Event::Machine(..)
            | Event::Message(..)
            | Event::Output(..)
            | Event::Plan(..) => {}
        }
    }

    fn see_work(&mut self, event: &work::Event) {
        assert!(!self.work_closed, "a closed work moved: {event:?}");
        match event {
            work::Event::Submitted(work) => self.budget = Some(work.budget),
            work::Event::Debited(spent) => {
                self.sessions += spent.sessions;
                self.rounds += spent.rounds;
                self.wall += spent.wall.0;
                let allowed = self.budget.is_some_and(|it| {
                    self.sessions <= it.sessions
                        && self.rounds <= it.rounds
                        && self.wall <= it.wall.0
                });
                assert!(allowed, "over the budget: {self:?}");
            }
            work::Event::Refunded { wall } => {
                assert!(wall.0 <= self.wall, "more given back than was taken");
                self.wall -= wall.0;
            }
            work::Event::Closed(_) => self.work_closed = true,
            work::Event::Admitted
            | work::Event::Began { .. }
            | work::Event::InputRequired { .. }
            | work::Event::InputTaken => {}
        }
    }

    fn see_run(&mut self, event: &run::Event) {
        assert!(!self.run_ended, "an ended run moved: {event:?}");
        match event {
            run::Event::Started(run) => {
                self.tree = Some(run.base.digest);
                self.run = Some(run.clone());
            }
            run::Event::StepBegan { step, .. } => {
                let before = self.under_way.replace(step.clone());
                assert_eq!(before, None, "`{step}` began, and another was under way");
                assert!(self.live.is_empty(), "`{step}` began beside a session");
            }
            run::Event::Advanced { tree } => self.tree = Some(tree.digest),
            run::Event::Reopened { tree } => {
                assert!(self.live.is_empty(), "reopened beside a session");
                self.under_way = None;
                self.tree = Some(tree.digest);
            }
            run::Event::SentBack { to, .. } => {
                assert!(self.live.is_empty(), "sent back beside a session");
                // A decision that does not lean on that step goes on.
                let again = self.run.as_ref().map(|it| it.formula.downstream(to));
                self.under_way = self
                    .under_way
                    .take()
                    .filter(|it| again.is_none_or(|all| !all.contains(it)));
            }
            run::Event::GatesJudged { facts } => {
                for fact in facts {
                    let word = fact.reasons.is_empty();
                    self.words.insert((fact.gate.clone(), fact.tree), word);
                }
            }
            run::Event::StepPassed { step } | run::Event::StepFailed { step, .. } => {
                assert_eq!(self.under_way.take().as_ref(), Some(step));
            }
            run::Event::RolledBack(done) => {
                assert!(self.live.is_empty(), "rolled back beside a session");
                self.tree = Some(done.tree.digest);
                self.under_way = self.under_way.take().filter(|it| !done.redo.contains(it));
            }
            run::Event::StepRetried { .. }
            | run::Event::RollbackRequested(_)
            | run::Event::RollbackAbandoned { .. } => {}
            run::Event::Ended(_) => self.run_ended = true,
        }
    }

    fn see_promotion(&mut self, id: PromotionId, event: &promotion::Event, now: Timestamp) {
        match event {
            promotion::Event::Proposed(proposal) => {
                self.proposals.insert(id, proposal.clone());
            }
            promotion::Event::Approved(approval) => {
                self.approvals.insert(id, approval.clone());
            }
            promotion::Event::Dispatched { tree } => self.may_land(id, *tree, now),
            promotion::Event::Promoted { .. } => {}
            promotion::Event::Refused { .. } | promotion::Event::Overtaken { .. } => {
                self.approvals.remove(&id);
            }
            promotion::Event::Blocked { .. } => {}
        }
    }

    /// What must be true of everything that reaches the target.
    fn may_land(&self, id: PromotionId, tree: Digest, now: Timestamp) {
        let (proposal, approval) = (&self.proposals[&id], self.approvals.get(&id));
        let approval = approval.unwrap_or_else(|| panic!("{id} lands, and nobody approved it"));
        assert_eq!(approval.dossier, proposal.dossier, "another dossier lands");
        assert_eq!(proposal.tree.digest, tree, "another tree lands");
        assert_eq!(self.tree, Some(tree), "a tree lands that is not the run's");
        assert!(approval.at <= now && now < approval.expires, "too late");
        assert!(approval.by.starts_with("operator:"), "an agent approved");
        assert!(!self.work_closed && !self.run_ended, "landed after the end");
        let gates = self.run.iter().flat_map(|it| &it.gates);
        for gate in gates {
            let word = self.words.get(&(gate.name.clone(), tree));
            assert_eq!(word, Some(&true), "gate `{}` on what lands", gate.name);
        }
        assert!(self.grave.is_empty(), "a P0 or P1 question is open");
        assert!(self.findings.is_empty(), "a finding is open");
        assert!(self.live.is_empty(), "a session is going on");
    }

    /// What must be true when nothing is due ever again.
    pub(crate) fn is_settled(&self, case: &Case) {
        assert!(self.work_closed, "over, and the work is not closed");
        assert!(self.live.is_empty(), "over, and a session is live");
        let ended = case.sessions.values().filter(|it| it.end().is_some());
        assert_eq!(ended.count(), case.sessions.len(), "a session never ended");
        assert_eq!(self.ended.len(), case.sessions.len());
        assert!(self.run.is_none() || self.run_ended, "a run goes on");
        for state in case.ambiguities.values() {
            assert!(
                matches!(state, ambiguity::State::Closed(..)),
                "a question of a closed work is {}",
                state.name()
            );
        }
        for state in case.promotions.values() {
            let settled = matches!(
                state,
                promotion::State::Promoted(..)
                    | promotion::State::Refused(..)
                    | promotion::State::Stale(..)
            );
            assert!(settled, "a promotion is left {}", state.name());
        }
        let goal = case.goal().map(|(_, it)| it.clone());
        assert!(
            matches!(goal, Some(goal::State::Done(_) | goal::State::Abandoned(_))),
            "the goal is left open"
        );
    }
}
