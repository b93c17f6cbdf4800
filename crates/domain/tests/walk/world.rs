//! The world as a dice: agents, gates, the target and the operator, all played from one seed.

use std::fmt;

use palisade_domain::agent::{EndReason, RefusalReason};
use palisade_domain::ambiguity::{self, Ambiguity, Answer, Priority, Report};
use palisade_domain::case::{Case, Command, Refusal};
use palisade_domain::checkpoint::{self, Checkpoint, Trigger};
use palisade_domain::conclude::{self, Left, Said};
use palisade_domain::due::Wait;
use palisade_domain::finding::{self, Finding, Resolver};
use palisade_domain::formula::Lane;
use palisade_domain::plan::{Budget, Plan};
use palisade_domain::policy::{self, GateFact};
use palisade_domain::promotion::{self, Proposal};
use palisade_domain::rollback::{self, Rollback, Strategy};
use palisade_domain::run::{Activity, Note, Run};
use palisade_domain::session::{End, Session};
use palisade_domain::tree::{Commit, Rule, Tree, Violation};
use palisade_domain::work::{self, Ending, Spent, Work};
use palisade_domain::{
    AmbiguityId, CheckpointId, FindingId, GoalId, Millis, PlanId, PromotionId, RunId, SessionId,
    Timestamp, WorkId, goal, plan, run, session,
};

use crate::setting;
use crate::witness::Witness;

const WORK: WorkId = WorkId::from_bits(1);
const GOAL: GoalId = GoalId::from_bits(1);
const PLAN: PlanId = PlanId::from_bits(1);

/// One history under way.
pub(crate) struct World {
    pub(crate) case: Case,
    pub(crate) witness: Witness,
    pub(crate) now: Timestamp,
    pub(crate) dependencies: Vec<(WorkId, work::State)>,
    pub(crate) formula: usize,
    seed: u64,
    dice: u64,
    last: u128,
    head: Commit,
}

impl fmt::Display for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "formula {}, seed {}", self.formula, self.seed)
    }
}

impl World {
    /// Returns a world in which a work was just submitted.
    pub(crate) fn new(formula: usize, seed: u64) -> Self {
        let mut world = Self {
            case: Case::default(),
            witness: Witness::default(),
            now: Timestamp(1_000),
            dependencies: vec![],
            formula,
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            last: 1_000,
            head: setting::base().base,
        };
        world.open();
        world
    }

    /// Returns bits that sort after all earlier ones.
    pub(crate) fn fresh(&mut self) -> u128 {
        self.last += 1;
        self.last
    }

    /// Returns a number below `sides` (splitmix64).
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn open(&mut self) {
        let sessions = 3 + u32::try_from(self.roll(60)).unwrap_or(0);
        let budget = Budget {
            sessions,
            rounds: u32::try_from(self.roll(16)).unwrap_or(0),
            wall: Millis(300 + self.roll(12_000)),
        };
        let plan = Plan {
            goal: GOAL,
            allowed: vec!["**".into()],
            denied: vec![],
            protected_allowed: vec![],
            commands: vec![],
            budget,
        };
        let goal = goal::Goal {
            title: "A goal".into(),
            spec: setting::digest(2),
            source: "spec.md".into(),
        };
        let others = if self.chance(20) { 2 } else { 0 };
        let depends_on: Vec<_> = (0..others).map(|it| WorkId::from_bits(500 + it)).collect();
        self.dependencies = depends_on
            .iter()
            .map(|it| (*it, work::State::Absent))
            .collect();
        let work = Work {
            name: "a-work".into(),
            goal: GOAL,
            plan: PLAN,
            target: "main".into(),
            formula: "f".into(),
            agent: "scripted".into(),
            depends_on,
            budget,
            models: std::collections::BTreeMap::new(),
        };
        let by = String::from("operator:ada");
        self.must(vec![
            Command::Goal(GOAL, goal::Command::Capture(goal)),
            Command::Plan(PLAN, plan::Command::Draft(plan)),
            Command::Plan(PLAN, plan::Command::Approve { by }),
            Command::Goal(GOAL, goal::Command::Plan(PLAN)),
            Command::Work(WORK, work::Command::Submit(work)),
        ]);
    }

    /// Has the case decide, and the witness look; returns whether anything happened.
    pub(crate) fn submit(&mut self, commands: Vec<Command>) -> Result<bool, Refusal> {
        let (case, events) = self.case.decide_all(commands)?;
        for event in &events {
            let text = serde_json::to_string(event).unwrap_or_default();
            let mut reader = serde_json::Deserializer::from_str(&text);
            let read = palisade_domain::event::Event::read(&event.stream(), &mut reader);
            assert_eq!(
                read.ok().as_ref(),
                Some(event),
                "{self}: does not read back"
            );
            self.witness.see(event, self.now);
        }
        self.case = case;
        Ok(!events.is_empty())
    }

    fn must(&mut self, commands: Vec<Command>) {
        let told = format!("{commands:?}");
        let done = self.submit(commands);
        assert!(done.is_ok(), "{self}: {done:?} for {told}");
    }

    /// What comes from outside at any time.
    pub(crate) fn interfere(&mut self) {
        self.now = self.now.after(Millis(self.roll(10)));
        if self.chance(1) {
            self.cancel();
        }
        if self.chance(5) {
            self.answer_one(false);
        }
        if self.chance(3) {
            self.decide_one(30);
        }
        if self.chance(2) {
            self.rework();
        }
        if self.chance(2) {
            self.want_rollback();
        }
        if self.chance(2) {
            self.head = setting::commit(self.fresh());
        }
    }

    fn cancel(&mut self) {
        let reason = String::from("enough");
        let canceled = self.submit(vec![Command::Work(WORK, work::Command::Cancel { reason })]);
        match canceled {
            Ok(_) | Err(Refusal::Work(work::Refusal::Over)) => {}
            Err(Refusal::Work(work::Refusal::Landing)) => {
                assert!(self.case.is_past_recall(), "{self}");
            }
            Err(other) => panic!("{self}: a work cannot be called off: {other}"),
        }
    }

    /// The operator wants something else than what is proposed, or being landed.
    fn rework(&mut self) {
        let Some((run, run::State::Active(_))) = self.case.run() else {
            return;
        };
        let promotions = self.case.promotions.iter().rev();
        let mut open = promotions.filter(|(_, it)| {
            matches!(
                it,
                promotion::State::Blocked(..)
                    | promotion::State::Ready(_)
                    | promotion::State::Dispatched(..)
            )
        });
        let Some((id, state)) = open.next() else {
            return;
        };
        let (id, landing) = (*id, state.name() == "dispatched");
        let (to, why) = (String::from("build"), String::from("smaller"));
        let notes = vec![Note::Operator { text: why.clone() }];
        let done = self.submit(vec![
            Command::Promotion(id, promotion::Command::Overtake { why }),
            Command::Run(run, run::Command::SendBack { to, notes }),
        ]);
        assert!(!landing || done.is_err(), "{self}: overtook a landing");
    }

    /// The operator wants the tree as it was at one of the checkpoints.
    fn want_rollback(&mut self) {
        let Some((run, run::State::Active(_))) = self.case.run() else {
            return;
        };
        let known: Vec<_> = self.case.checkpoints.keys().copied().collect();
        let at = usize::try_from(self.roll(64)).unwrap_or(0);
        let Some(to) = known.get(at % known.len().max(1)) else {
            return;
        };
        let to = self.chance(80).then_some(*to);
        let wanted = Rollback {
            to,
            strategy: Strategy::Full,
            paths: vec![],
            by: "operator:ada".into(),
            why: "it went astray".into(),
        };
        let asked = self.submit(vec![Command::Run(
            run,
            run::Command::RequestRollback(wanted),
        )]);
        match asked {
            Ok(_) | Err(Refusal::Run(run::Refusal::RollbackPending(_))) => {}
            Err(Refusal::Run(run::Refusal::Landing)) => {
                assert!(self.case.is_past_recall(), "{self}");
            }
            Err(other) => panic!("{self}: a rollback cannot be asked for: {other}"),
        }
    }

    fn roll_back(&mut self, run: RunId, wanted: Rollback) {
        let to = wanted.to;
        let state = to.and_then(|it| self.case.checkpoints.get(&it));
        let taken = state.and_then(checkpoint::State::checkpoint);
        let Some(redo) = rollback::redo(&self.case, to) else {
            panic!("{self}: no way back to {to:?}");
        };
        let accepted = self.case.active().map(|it| it.tree.clone());
        let Some(target) = taken.map(|it| it.tree.clone()).or(accepted) else {
            panic!("{self}: no tree");
        };
        let done = rollback::Done {
            rollback: wanted,
            before: CheckpointId::from_bits(self.fresh()),
            tree: target,
            reverted: vec![],
            kept: vec![],
            redo,
        };
        let tree = done.tree.digest;
        self.must(conclude::rolled_back(&self.case, run, done));
        let now = self.case.active().map(|it| it.tree.digest);
        assert_eq!(now, Some(tree), "{self}: another tree than was wanted");
    }

    fn answer_one(&mut self, grave_only: bool) {
        let open: Vec<_> = self
            .case
            .open_ambiguities()
            .filter(|(_, it)| !grave_only || it.priority <= Priority::P1)
            .map(|(id, _)| id)
            .collect();
        let Some(id) = open.first().copied() else {
            return;
        };
        let answer = match self.roll(4) {
            0 => Answer::Default,
            1 => Answer::Option { number: 1 },
            2 => Answer::Option { number: 2 },
            _ => Answer::Text {
                text: "neither".into(),
            },
        };
        let by = String::from("operator:ada");
        self.must(vec![Command::Ambiguity(
            id,
            ambiguity::Command::Answer { answer, by },
        )]);
    }

    /// The operator looks at a promotion, and says no in so many of a hundred cases.
    fn decide_one(&mut self, no: u64) {
        let open = self.case.promotions.iter().rev().find(|(_, it)| {
            matches!(
                it,
                promotion::State::Blocked(..)
                    | promotion::State::Ready(_)
                    | promotion::State::Approved(..)
            )
        });
        let Some((id, state)) = open.map(|(id, state)| (*id, state.clone())) else {
            return;
        };
        let refuses = self.chance(no);
        let command = if refuses {
            promotion::Command::Refuse {
                by: "operator:ada".into(),
                reason: "no".into(),
            }
        } else if let promotion::State::Ready(proposal) = state {
            let (dossier, now, span) = (proposal.dossier, self.now, Millis(self.roll(200)));
            let approve = |by: &str| promotion::Command::Approve {
                by: by.into(),
                dossier,
                now,
                span,
            };
            if self.chance(5) {
                // Neither an agent nor who bears an author's name.
                for by in ["agent:scripted", "agent:other", "operator:Scripted"] {
                    let forged = self.submit(vec![Command::Promotion(id, approve(by))]);
                    assert!(forged.is_err(), "{self}: `{by}` approved");
                }
            }
            approve("operator:ada")
        } else {
            return;
        };
        self.must(vec![Command::Promotion(id, command)]);
    }

    /// Moves what is waited for; panics when nobody could.
    pub(crate) fn answer(&mut self, wait: &Wait) {
        match wait {
            Wait::Effect => self.perform(),
            Wait::Dependency(id) => self.dependency(*id),
            Wait::Answers(open) => {
                assert!(!open.is_empty(), "{self}: waits for no answer");
                self.answer_one(true);
            }
            Wait::Decision(id) => {
                let state = self.case.promotions.get(id);
                assert!(
                    matches!(state, Some(promotion::State::Ready(_))),
                    "{self}: the operator cannot decide on {state:?}"
                );
                match self.roll(20) {
                    0 => self.cancel(),
                    1..=3 => self.answer_one(false),
                    _ => self.decide_one(10),
                }
            }
            Wait::Blocked(_) => self.unblock(),
        }
    }

    fn dependency(&mut self, id: WorkId) {
        let work = self.case.work().and_then(|(_, it)| it.record());
        let Some(open) = work.cloned() else {
            panic!("{self}: no work");
        };
        let ending = match self.roll(10) {
            0 => Ending::Failed { reason: "x".into() },
            1 => Ending::Canceled { reason: "x".into() },
            _ => Ending::Completed { commit: None },
        };
        for (other, state) in &mut self.dependencies {
            if *other == id {
                assert!(!matches!(state, work::State::Closed(..)));
                *state = work::State::Closed(open.clone(), ending.clone());
            }
        }
    }

    fn unblock(&mut self) {
        let open: Vec<_> = self.case.open_findings().map(|(id, _)| id).collect();
        if open.is_empty() || self.chance(30) {
            // Nothing of what blocks is in the operator's hands but the whole.
            return if self.chance(50) {
                self.cancel();
            } else {
                self.decide_one(100);
            };
        }
        let resolve = |id| {
            let name = String::from("operator:ada");
            let reason = String::from("it is meant so");
            let by = Resolver::Operator { name, reason };
            Command::Finding(id, finding::Command::Resolve(by))
        };
        self.must(open.into_iter().map(resolve).collect());
    }

    fn perform(&mut self) {
        let Some((run, state)) = self.case.run() else {
            return self.prepare();
        };
        let current = state.record().and_then(|it| it.current());
        let current = current.map(|(_, activity)| activity);
        let wanted = state.record().and_then(|it| it.rollback.clone());
        if let (None | Some(Activity::Decision { .. }), Some(wanted)) = (current, wanted) {
            return self.roll_back(run, wanted);
        }
        match current {
            Some(Activity::Session { session }) => self.play_session(session),
            Some(Activity::Gates) => self.run_gates(run),
            Some(Activity::Decision { promotion }) => self.assemble(run, promotion),
            Some(Activity::Landing { promotion }) => self.land(promotion),
            None => panic!("{self}: waits for an effect, and none is under way"),
        }
    }

    fn prepare(&mut self) {
        if self.chance(2) {
            let reason = String::from("the base cannot be checked out");
            return self.must(vec![Command::Work(WORK, work::Command::Fail { reason })]);
        }
        let id = RunId::from_bits(self.fresh());
        let run = Run {
            work: WORK,
            formula: setting::formula(self.formula),
            roles: setting::roles(),
            gates: setting::gates(),
            pinned: vec![],
            base: setting::base(),
        };
        self.must(vec![
            Command::Run(id, run::Command::Start(run)),
            Command::Work(WORK, work::Command::Begin { run: id }),
        ]);
    }

    fn play_session(&mut self, id: SessionId) {
        let state = self.case.sessions.get(&id);
        let Some(about) = state.and_then(session::State::session).cloned() else {
            panic!("{self}: {id} was never requested");
        };
        let reason = self.reason();
        let started = !matches!(reason, EndReason::LaunchFailed { .. });
        if started {
            let (fallback, walls) = (false, vec![]);
            self.must(vec![
                Command::Session(
                    id,
                    session::Command::Prepare {
                        fallback,
                        cell: None,
                    },
                ),
                Command::Session(id, session::Command::Start { walls }),
            ]);
            self.speak(id, &about);
        }
        let left = (started && about.lane == Lane::DryRun).then(|| self.left(id, &about));
        self.end_session(id, reason, left.as_ref());
    }

    fn end_session(&mut self, id: SessionId, reason: EndReason, left: Option<&Left>) {
        let end = End {
            reason,
            wall: Millis(self.roll(130)),
            output_bytes: 0,
            malformed: 0,
            late: 0,
        };
        let commands = conclude::session(&self.case, id, end.clone(), left);
        self.must(commands);
        let again = conclude::session(&self.case, id, end, None);
        assert!(self.submit(again).is_err(), "{self}: {id} ended twice");
    }

    fn reason(&mut self) -> EndReason {
        let detail = String::from("x");
        let refused = |refusal| EndReason::Refused {
            refusal,
            detail: "x".into(),
        };
        // Some histories are kinder than others, so that many come far.
        let kind = (0..self.seed % 4).fold(false, |kind, _| kind || self.chance(70));
        match self.roll(100) {
            _ if kind => EndReason::Done { summary: detail },
            0..=74 => EndReason::Done { summary: detail },
            75 => refused(RefusalReason::UnmetDependency),
            76 => refused(RefusalReason::TooLarge),
            77..=79 => refused(RefusalReason::AlreadyDone),
            80..=83 => EndReason::Failed { detail },
            84..=86 => EndReason::NoSignal {
                code: Some(1),
                killed_by: None,
            },
            87 => EndReason::NeverSpoke,
            88 => EndReason::Silent,
            89 => EndReason::Stalled { detail },
            90..=91 => EndReason::WallClock,
            92..=93 => EndReason::Flood,
            94..=95 => EndReason::Garbage,
            96 => EndReason::Stopped,
            97 => EndReason::OverBudget { detail },
            98 => EndReason::Interrupted,
            _ => EndReason::LaunchFailed { detail },
        }
    }

    /// Questions and findings that a session files.
    fn speak(&mut self, id: SessionId, about: &Session) {
        let (run, epoch) = (about.run, about.epoch);
        let stale = session::Command::Progress {
            epoch: epoch - 1,
            text: String::new(),
        };
        let stale = self.submit(vec![Command::Session(id, stale)]);
        assert!(stale.is_err(), "{self}: a stale signal was taken");
        if self.chance(20) {
            let priority = match self.roll(8) {
                0 => Priority::P0,
                1 | 2 => Priority::P1,
                3..=5 => Priority::P2,
                _ => Priority::P3,
            };
            let question = Ambiguity {
                work: WORK,
                run,
                session: id,
                step: about.step.clone(),
                role: about.role.clone(),
                priority,
                report: Report {
                    question: "Which?".into(),
                    why: "It matters.".into(),
                    options: vec!["eu".into(), "us".into()],
                    recommended: "eu".into(),
                    impact: "Some.".into(),
                    default_held: "eu".into(),
                },
                key: "which".into(),
                malformed: vec![],
            };
            let ambiguity = AmbiguityId::from_bits(self.fresh());
            let file = ambiguity::Command::File(question);
            self.must(vec![Command::Ambiguity(ambiguity, file)]);
        }
        if about.role == "reviewer" {
            self.review(id, about);
        }
    }

    fn review(&mut self, session: SessionId, about: &Session) {
        let tree = about.tree.digest;
        let open: Vec<_> = self.case.open_findings().map(|(id, _)| id).collect();
        for id in open {
            if self.chance(20) {
                let confirm = finding::Command::Confirm { session, tree };
                self.must(vec![Command::Finding(id, confirm)]);
            }
        }
        if self.chance(25) {
            let finding = Finding {
                work: WORK,
                run: about.run,
                session,
                tree,
                file: "src/lib.rs".into(),
                line: 1,
                rule: "x".into(),
                text: "x".into(),
            };
            let id = FindingId::from_bits(self.fresh());
            self.must(vec![Command::Finding(
                id,
                finding::Command::Report(finding),
            )]);
        }
    }

    fn left(&mut self, session: SessionId, about: &Session) -> Left {
        let before = about.tree.clone();
        let (after, files) = match self.roll(100) {
            0..=19 => (before.clone(), 0),
            20 | 21 => {
                // All changes were taken back.
                let digest = setting::digest(u128::from_be_bytes(*b"the base of all."));
                let tree = Tree {
                    base: before.base.clone(),
                    manifest: None,
                    digest,
                };
                (tree, 1)
            }
            _ => (setting::tree(&before.base, self.fresh()), 1),
        };
        let bad = files > 0 && self.chance(12);
        let violation = Violation {
            path: ".env".into(),
            rule: Rule::Secret,
            detail: "x".into(),
        };
        let clean = match (bad, self.chance(50)) {
            (false, _) => after.clone(),
            (true, true) => before,
            (true, false) => setting::tree(&before.base, self.fresh()),
        };
        Left {
            id: CheckpointId::from_bits(self.fresh()),
            checkpoint: checkpoint(Some(session), Trigger::TurnEnd, after, files),
            rules: setting::digest(3),
            violations: if bad { vec![violation] } else { vec![] },
            clean,
            micros: 0,
            asked: checkpoint::Asked::default(),
        }
    }

    fn run_gates(&mut self, run: RunId) {
        let Some(active) = self.case.active() else {
            panic!("{self}: no run");
        };
        let step = active.current().map(|(step, _)| step.to_string());
        let step = step.and_then(|it| active.run.formula.step(&it).cloned());
        let Some(step) = step else {
            panic!("{self}: no step");
        };
        let (wanted, tree) = (active.run.gates_of(&step.kind), active.tree.digest);
        let mut facts = Vec::new();
        for gate in wanted {
            let reasons = if self.chance(8) {
                vec!["red".to_string()]
            } else {
                vec![]
            };
            let fact = GateFact {
                gate,
                tree,
                reasons,
            };
            // A gate that is silent must not pass for one that is green.
            if !self.chance(2) {
                facts.push(fact);
            }
        }
        let said = facts.into_iter().map(|fact| Said {
            fact,
            log: palisade_domain::Digest::ZERO,
            has_run: true,
        });
        self.must(conclude::gates(&self.case, run, said.collect()));
    }

    /// Puts the tree on the target's head, or proposes it.
    fn assemble(&mut self, run: RunId, id: PromotionId) {
        let Some(active) = self.case.active().cloned() else {
            panic!("{self}: no run");
        };
        let moved = active.tree.base != self.head;
        if moved && !self.chance(3) {
            let number = self.fresh();
            let tree = Tree {
                manifest: active.tree.manifest,
                ..setting::tree(&self.head, number)
            };
            let captured = checkpoint(None, Trigger::BeforePromotion, tree.clone(), 1);
            let at = CheckpointId::from_bits(self.fresh());
            let (rules, violations) = (setting::digest(3), vec![]);
            let judge = checkpoint::Command::Judge {
                rules,
                violations,
                micros: 0,
                asked: checkpoint::Asked::default(),
            };
            let mut commands = vec![
                Command::Checkpoint(at, checkpoint::Command::Capture(captured)),
                Command::Checkpoint(at, judge),
                Command::Run(run, run::Command::Reopen { tree }),
            ];
            if self.chance(30) {
                commands.extend(self.conflict(run));
            }
            return self.must(commands);
        }
        let Some(facts) = self.case.facts(&self.head) else {
            panic!("{self}: no facts");
        };
        let proposal = Proposal {
            work: WORK,
            run,
            tree: active.tree,
            dossier: setting::digest(self.fresh()),
            target: "main".into(),
            lands_on: "refs/heads/main".into(),
            target_head: self.head.clone(),
        };
        let propose = promotion::Command::Propose(proposal, policy::blocks(&facts));
        self.must(vec![Command::Promotion(id, propose)]);
    }

    fn conflict(&self, run: RunId) -> Vec<Command> {
        let spend = Spent {
            rounds: 1,
            ..Spent::default()
        };
        let debit = || Command::Work(WORK, work::Command::Debit(spend));
        if let Err(refusal) = self.case.decide(debit()) {
            let reason = refusal.to_string();
            let end = run::Command::End(run::Outcome::Failed { reason });
            return vec![Command::Run(run, end)];
        }
        let notes = vec![Note::Conflict {
            paths: vec!["src/lib.rs".into()],
        }];
        let to = String::from("build");
        let back = run::Command::SendBack { to, notes };
        vec![debit(), Command::Run(run, back)]
    }

    fn land(&mut self, id: PromotionId) {
        let state = self.case.promotions.get(&id);
        let Some(promotion::State::Dispatched(proposal, _)) = state.cloned() else {
            panic!("{self}: lands what is {state:?}");
        };
        if self.head != proposal.target_head {
            let why = String::from("the target moved");
            return self.must(vec![Command::Promotion(
                id,
                promotion::Command::Overtake { why },
            )]);
        }
        let commit = setting::commit(self.fresh());
        self.head = commit.clone();
        let mut commands = vec![Command::Promotion(id, promotion::Command::Land { commit })];
        let at = self.case.checkpoint().map(|(at, _)| at);
        commands.extend(at.map(|at| Command::Checkpoint(at, checkpoint::Command::Promote)));
        self.must(commands);
    }

    /// Returns whether an agent is still at work.
    pub(crate) fn has_live_session(&self) -> bool {
        self.witness.live().is_some()
    }

    /// What the engine does when a work is closed under an agent at work.
    pub(crate) fn stop_session(&mut self) {
        if let Some(id) = self.witness.live() {
            self.end_session(id, EndReason::Stopped, None);
        }
    }
}

fn checkpoint(session: Option<SessionId>, trigger: Trigger, tree: Tree, files: u64) -> Checkpoint {
    Checkpoint {
        work: WORK,
        session,
        trigger,
        parent: None,
        tree,
        files,
        bytes: 0,
        files_total: files,
        bytes_total: 0,
        micros: 0,
        held_micros: 0,
    }
}
