//! A stage for one work: what is due is done until something must be waited for.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::agent::EndReason;
use crate::ambiguity::{self, Ambiguity, Answer, Priority, Report};
use crate::case::{Case, Command};
use crate::checkpoint::{Checkpoint, Trigger};
use crate::conclude::{self, Left, Said};
use crate::due::{Context, Due, Wait, due};
use crate::event::Event;
use crate::formula::{Action, Check, Formula, Gate, Kind, Lane, Role, Step};
use crate::plan::{Budget, Plan};
use crate::policy::{self, GateFact};
use crate::promotion::{self, Proposal};
use crate::run::{Active, Activity, Outcome, Run};
use crate::session::End;
use crate::tree::{Commit, Tree};
use crate::work::{Spent, Work};
use crate::{
    AmbiguityId, CheckpointId, Digest, FindingId, GoalId, Millis, PlanId, PromotionId, RunId,
    SessionId, Timestamp, WorkId, finding, goal, plan, run, session, work,
};

pub(super) const WORK: WorkId = WorkId::from_bits(1);
pub(super) const GOAL: GoalId = GoalId::from_bits(1);

pub(super) struct Stage {
    pub(super) case: Case,
    pub(super) log: Vec<Event>,
    pub(super) now: Timestamp,
    pub(super) head: Commit,
    pub(super) dependencies: Vec<(WorkId, work::State)>,
    last: u128,
}

pub(super) fn commit(digit: char) -> Commit {
    let text: String = core::iter::repeat_n(digit, 40).collect();
    text.parse().unwrap()
}

pub(super) fn tree(byte: u8) -> Tree {
    Tree {
        base: commit('a'),
        manifest: (byte > 0).then(|| Digest::from_bytes([byte; 32])),
        digest: Digest::from_bytes([byte; 32]),
    }
}

pub(super) fn step(id: &str, needs: &[&str], kind: Kind, on_fail: Option<&str>) -> Step {
    Step {
        id: id.into(),
        needs: needs.iter().map(|it| String::from(*it)).collect(),
        kind,
        on_fail: on_fail.map(String::from),
    }
}

pub(super) fn session(role: &str, accept: Vec<Check>) -> Kind {
    Kind::Session {
        role: role.into(),
        lane: Lane::DryRun,
        prompt: String::new(),
        accept,
        attempts: 2,
        wall: Millis(100),
    }
}

pub(super) fn check() -> Kind {
    Kind::Gate { gates: vec![] }
}

pub(super) fn promote() -> Kind {
    Kind::Action {
        action: Action::Promote,
    }
}

/// build → check → review → decide → promote.
pub(super) fn cycle() -> Vec<Step> {
    let build = session("builder", vec![Check::HasChanges]);
    let review = session("reviewer", vec![Check::NoOpenFindings]);
    vec![
        step("build", &[], build, None),
        step("check", &["build"], check(), Some("build")),
        step("review", &["check"], review, Some("build")),
        step("decide", &["review"], Kind::Decision, None),
        step("promote", &["decide"], promote(), None),
    ]
}

pub(super) fn budget() -> Budget {
    Budget {
        sessions: 10,
        rounds: 2,
        wall: Millis(1_000),
    }
}

impl Stage {
    /// A work was submitted, with its goal and plan.
    pub(super) fn submitted(budget: Budget, depends_on: Vec<WorkId>) -> Self {
        let mut stage = Self {
            case: Case::default(),
            log: vec![],
            now: Timestamp(100),
            head: commit('a'),
            dependencies: vec![],
            last: 100,
        };
        let plan_id = PlanId::from_bits(1);
        let plan = Plan {
            goal: GOAL,
            allowed: vec!["**".into()],
            denied: vec![],
            protected_allowed: vec![],
            commands: vec![],
            budget,
        };
        let goal = goal::Goal {
            title: "t".into(),
            spec: Digest::ZERO,
            source: "s".into(),
        };
        let work = Work {
            name: "w".into(),
            goal: GOAL,
            plan: plan_id,
            target: "main".into(),
            formula: "f".into(),
            agent: "scripted".into(),
            depends_on,
            budget,
            models: alloc::collections::BTreeMap::new(),
        };
        stage.must(vec![
            Command::Goal(GOAL, goal::Command::Capture(goal)),
            Command::Plan(plan_id, plan::Command::Draft(plan)),
            Command::Goal(GOAL, goal::Command::Plan(plan_id)),
            Command::Work(WORK, work::Command::Submit(work)),
        ]);
        stage
    }

    /// A run of these steps began, and the first of them waits for its effect.
    pub(super) fn running(steps: Vec<Step>, budget: Budget) -> Self {
        let mut stage = Self::submitted(budget, vec![]);
        assert_eq!(stage.go(), Due::Wait(Wait::Effect));
        let role = |name: &str, may_report_findings| Role {
            name: name.into(),
            description: String::new(),
            lane: Lane::DryRun,
            write: vec![],
            deny: vec![],
            may_set_executable: false,
            may_report_findings,
            tools: vec![],
            documents_only: false,
            guards_tests: false,
            model: None,
            may_fetch_packages: false,
            may_propose: Vec::new(),
        };
        let run = Run {
            work: WORK,
            formula: Formula {
                name: "f".into(),
                description: String::new(),
                steps,
            },
            roles: vec![role("builder", false), role("reviewer", true)],
            gates: vec![Gate {
                name: "unit".into(),
                argv: vec!["true".into()],
                wall: Millis(1),
                junit: None,
                tests_min: 0,
            }],
            pinned: vec![],
            prompts: vec![],
            base: tree(0),
        };
        let id = RunId::from_bits(1);
        stage.must(vec![
            Command::Run(id, run::Command::Start(run)),
            Command::Work(WORK, work::Command::Begin { run: id }),
        ]);
        stage.go();
        stage
    }

    /// The cycle came as far as the operator's decision, on tree 1.
    pub(super) fn deciding() -> Self {
        let mut stage = Self::running(cycle(), budget());
        stage.built(1);
        stage.gates(&[]);
        stage.built(1);
        stage.propose();
        stage
    }

    pub(super) fn fresh(&mut self) -> u128 {
        self.last += 1;
        self.last
    }

    pub(super) fn due(&mut self) -> Due {
        let context = Context {
            now: self.now,
            fresh: self.fresh(),
            dependencies: &self.dependencies.clone(),
        };
        due(&self.case, &context)
    }

    pub(super) fn must(&mut self, commands: Vec<Command>) {
        let (case, events) = self.case.decide_all(commands).unwrap();
        self.case = case;
        self.log.extend(events);
    }

    /// Does what is due until something must be waited for.
    pub(super) fn go(&mut self) -> Due {
        for _ in 0..40 {
            match self.due() {
                Due::Do(commands) => self.must(commands),
                other @ (Due::Wait(_) | Due::Over) => return other,
            }
        }
        panic!("due for ever");
    }

    pub(super) fn active(&self) -> &Active {
        self.case.active().unwrap()
    }

    pub(super) fn current(&self) -> Option<(&str, Activity)> {
        self.active().current()
    }

    pub(super) fn step_name(&self) -> &str {
        self.current().map_or("", |(step, _)| step)
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        match self.case.run() {
            Some((_, run::State::Ended(_, outcome))) => Some(outcome),
            Some((_, run::State::Active(_) | run::State::Absent)) | None => None,
        }
    }

    pub(super) fn open(&self) -> &work::Open {
        self.case.work().unwrap().1.record().unwrap()
    }

    pub(super) fn spent(&self) -> Spent {
        self.open().spent
    }

    pub(super) fn session_id(&self) -> SessionId {
        match self.current() {
            Some((_, Activity::Session { session })) => session,
            other => panic!("no session is under way, but {other:?}"),
        }
    }

    /// The session under way ends; with a tree, it leaves that.
    pub(super) fn ends(&mut self, reason: EndReason, left: Option<&Left>) -> Due {
        let id = self.session_id();
        let end = End {
            reason,
            wall: Millis(40),
            output_bytes: 0,
            malformed: 0,
            late: 0,
        };
        let commands = conclude::session(&self.case, id, end, left);
        self.must(commands);
        self.go()
    }

    pub(super) fn left(&mut self, byte: u8) -> Left {
        let files = u64::from(self.active().tree.digest != tree(byte).digest);
        Left {
            id: CheckpointId::from_bits(self.fresh()),
            checkpoint: Checkpoint {
                work: WORK,
                session: Some(self.session_id()),
                trigger: Trigger::TurnEnd,
                parent: None,
                tree: tree(byte),
                files,
                bytes: 0,
                files_total: files,
                bytes_total: 0,
                micros: 0,
                held_micros: 0,
            },
            rules: Digest::ZERO,
            violations: vec![],
            clean: tree(byte),
            micros: 0,
            asked: crate::checkpoint::Asked::default(),
        }
    }

    /// The session under way is done, and leaves this tree.
    pub(super) fn built(&mut self, byte: u8) -> Due {
        let left = self.left(byte);
        let summary = "built".into();
        self.ends(EndReason::Done { summary }, Some(&left))
    }

    /// The gates under way speak.
    pub(super) fn gates(&mut self, reasons: &[&str]) -> Due {
        let fact = GateFact {
            gate: "unit".into(),
            tree: self.active().tree.digest,
            reasons: reasons.iter().map(|it| String::from(*it)).collect(),
        };
        self.gates_say(vec![fact])
    }

    pub(super) fn gates_say(&mut self, facts: Vec<GateFact>) -> Due {
        let said = facts.into_iter().map(|fact| Said {
            fact,
            log: Digest::ZERO,
            has_run: true,
        });
        let commands = conclude::gates(&self.case, RunId::from_bits(1), said.collect());
        self.must(commands);
        self.go()
    }

    pub(super) fn promotion_id(&self) -> PromotionId {
        match self.current() {
            Some((_, Activity::Decision { promotion } | Activity::Landing { promotion })) => {
                promotion
            }
            other => panic!("no promotion is under way, but {other:?}"),
        }
    }

    pub(super) fn promotion(&self, id: PromotionId) -> &promotion::State {
        &self.case.promotions[&id]
    }

    /// The dossier is put together for what is being decided on.
    pub(super) fn propose(&mut self) -> Due {
        let (id, facts) = (self.promotion_id(), self.case.facts(&self.head).unwrap());
        let proposal = Proposal {
            work: WORK,
            run: RunId::from_bits(1),
            tree: self.active().tree.clone(),
            dossier: Digest::from_bytes([u8::try_from(self.fresh() % 251).unwrap(); 32]),
            target: "main".into(),
            lands_on: "refs/heads/main".into(),
            target_head: self.head.clone(),
        };
        let propose = promotion::Command::Propose(proposal, policy::blocks(&facts));
        self.must(vec![Command::Promotion(id, propose)]);
        self.go()
    }

    /// The operator says yes; nothing else happens yet.
    pub(super) fn approve(&mut self, span: u64) {
        let id = self.promotion_id();
        let approve = promotion::Command::Approve {
            by: "operator:ada".into(),
            dossier: self.promotion(id).proposal().unwrap().dossier,
            now: self.now,
            span: Millis(span),
        };
        self.must(vec![Command::Promotion(id, approve)]);
    }

    pub(super) fn refuse(&mut self, id: PromotionId) {
        let (by, reason) = ("operator:ada".into(), "not now".into());
        let refuse = promotion::Command::Refuse { by, reason };
        self.must(vec![Command::Promotion(id, refuse)]);
    }

    pub(super) fn land(&mut self) {
        let (id, commit) = (self.promotion_id(), commit('c'));
        let land = promotion::Command::Land { commit };
        self.must(vec![Command::Promotion(id, land)]);
    }

    /// The session under way asks; the default is `eu`, option 2 is `us`.
    pub(super) fn ask(&mut self, priority: Priority) -> AmbiguityId {
        let session = self.session_id();
        let question = Ambiguity {
            work: WORK,
            run: RunId::from_bits(1),
            session,
            step: self.step_name().into(),
            role: "builder".into(),
            priority,
            report: Report {
                question: "Which?".into(),
                why: "w".into(),
                options: vec!["eu".into(), "us".into()],
                recommended: "eu".into(),
                impact: "i".into(),
                default_held: "eu".into(),
            },
            key: "which".into(),
            malformed: vec![],
        };
        let id = AmbiguityId::from_bits(self.fresh());
        let file = ambiguity::Command::File(question);
        self.must(vec![Command::Ambiguity(id, file)]);
        id
    }

    pub(super) fn answer(&mut self, id: AmbiguityId, number: u32) {
        let (answer, by) = (Answer::Option { number }, "operator:ada".into());
        let answer = ambiguity::Command::Answer { answer, by };
        self.must(vec![Command::Ambiguity(id, answer)]);
    }

    pub(super) fn find(&mut self) -> FindingId {
        let session = self.session_id();
        let about = session::State::session(&self.case.sessions[&session]).unwrap();
        let finding = finding::Finding {
            work: WORK,
            run: RunId::from_bits(1),
            session,
            tree: about.tree.digest,
            file: "f".into(),
            line: 1,
            rule: "r".into(),
            text: "t".into(),
        };
        let id = FindingId::from_bits(self.fresh());
        self.must(vec![Command::Finding(
            id,
            finding::Command::Report(finding),
        )]);
        id
    }

    pub(super) fn work_is(&self, state: &str) {
        assert_eq!(self.case.work().unwrap().1.name(), state);
    }
}
