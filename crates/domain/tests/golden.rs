//! Every stored event has golden data: what is written today reads back forever.
//! `PALISADE_BLESS=1` writes the files anew; the difference is then a change of stored data.
#![expect(
    clippy::unwrap_used,
    reason = "a sample that cannot be made must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_domain::action::{self, Needs, Open, Paper, Settlement, Verdict as Reasoned};
use palisade_domain::agent::{EndReason, RefusalReason};
use palisade_domain::ambiguity::{self, Ambiguity, Answer, Priority, Report};
use palisade_domain::checkpoint::{self, Checkpoint, Trigger};
use palisade_domain::egress::{Connection, Verdict};
use palisade_domain::event::Event;
use palisade_domain::finding::{self, Finding, Resolver};
use palisade_domain::formula::{Action, Check, Formula, Gate, Judge, Kind, Lane, Role, Step};
use palisade_domain::gate::{self, Ended, Evidence};
use palisade_domain::message::{self, Message, Topic};
use palisade_domain::model::{FellBack, Model, Outage};
use palisade_domain::output::{self, Stream};
use palisade_domain::plan::{self, Budget, Plan};
use palisade_domain::policy::{Approval, Block, GateFact};
use palisade_domain::promotion::{self, Proposal};
use palisade_domain::rollback::{self, Rollback, Strategy};
use palisade_domain::run::{self, Activity, Mend, Note, Outcome, Pin, Run};
use palisade_domain::session::{self, Actor, End, Judgement, Session};
use palisade_domain::severity::Severity;
use palisade_domain::tree::{Commit, Rule, Tree, Violation};
use palisade_domain::usage::{ModelUsage, Money, Tokens, Usage};
use palisade_domain::work::{self, Ending, Spent, Work};
use palisade_domain::{
    ActionId, AmbiguityId, CheckpointId, Digest, ExecutionId, FindingId, GoalId, GrantId,
    MessageId, Millis, PermitId, PlanId, PromotionId, RunId, SessionId, Timestamp, WorkId, breaker,
    goal, grant, lease, machine,
};
use serde_json::Value;

/// Lists samples of all variants; a variant that is not listed does not compile.
macro_rules! every {
    ($($pattern:pat => $sample:expr),* $(,)?) => {{
        let all = vec![$($sample),*];
        for it in &all {
            match it { $($pattern => {})* }
        }
        all
    }};
}

/// UUIDv7 bits as the engine makes them: all 128 of them must survive.
const BITS: u128 = 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057;
const WORK: WorkId = WorkId::from_bits(BITS);
const RUN: RunId = RunId::from_bits(BITS + 1);
const SESSION: SessionId = SessionId::from_bits(BITS + 2);
const PROMOTION: PromotionId = PromotionId::from_bits(BITS + 3);
const FINDING: FindingId = FindingId::from_bits(BITS + 4);
const MESSAGE: MessageId = MessageId::from_bits(BITS + 9);
const AMBIGUITY: AmbiguityId = AmbiguityId::from_bits(BITS + 5);
const CHECKPOINT: CheckpointId = CheckpointId::from_bits(BITS + 6);
const GOAL: GoalId = GoalId::from_bits(BITS + 7);
const PLAN: PlanId = PlanId::from_bits(BITS + 8);
/// Over 2^53: a reader that goes through floating point would lose it.
const MANY: u64 = u64::MAX - 1;

fn commit() -> Commit {
    "0123456789abcdef0123456789abcdef01234567".parse().unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn tree() -> Tree {
    Tree {
        base: commit(),
        manifest: Some(digest(1)),
        digest: digest(2),
    }
}

fn bare() -> Tree {
    Tree {
        manifest: None,
        ..tree()
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|it| String::from(*it)).collect()
}

fn violations() -> Vec<Violation> {
    let rules = every! {
        Rule::RoleScope => Rule::RoleScope,
        Rule::PlanAllowed => Rule::PlanAllowed,
        Rule::PlanDenied => Rule::PlanDenied,
        Rule::Protected => Rule::Protected,
        Rule::Secret => Rule::Secret,
        Rule::GitInternals => Rule::GitInternals,
        Rule::SymlinkEscape => Rule::SymlinkEscape,
        Rule::Path => Rule::Path,
        Rule::FileType => Rule::FileType,
        Rule::Mode => Rule::Mode,
        Rule::Size => Rule::Size,
        Rule::Count => Rule::Count,
        Rule::Content => Rule::Content,
        Rule::TestWeakened => Rule::TestWeakened,
    };
    let violation = |rule: Rule| Violation {
        path: "src/\u{e9}.rs".into(),
        rule,
        detail: "may not \"be\"\nwritten".into(),
    };
    rules.into_iter().map(violation).collect()
}

fn budget() -> Budget {
    Budget {
        sessions: 24,
        rounds: 5,
        wall: Millis(MANY),
    }
}

fn kinds() -> Vec<Kind> {
    let checks = every! {
        Check::HasChanges => Check::HasChanges,
        Check::NoOpenFindings => Check::NoOpenFindings,
    };
    every! {
        Kind::Session { .. } => Kind::Session {
            role: "builder".into(),
            lane: Lane::DryRun,
            prompt: "Build it.".into(),
            accept: checks,
            attempts: 3,
            wall: Millis(600_000),
        },
        Kind::Judge(_) => Kind::Judge(Judge {
            model: "anthropic/claude-haiku-4-5".into(),
            prompt: "triage".into(),
            schema: "{\"type\":\"object\"}".into(),
            verdict: "pass".into(),
            passes: texts(&["good"]),
            reasons: Some("reasons".into()),
            files: Some("ambiguities".into()),
            attempts: 3,
            tokens: MANY,
            wall: Millis(120_000),
        }),
        Kind::Gate { .. } => Kind::Gate { gates: texts(&["unit"]) },
        Kind::Decision => Kind::Decision,
        Kind::Action { action: Action::Promote } => Kind::Action { action: Action::Promote },
    }
}

fn tool_kinds() -> Vec<session::ToolKind> {
    every! {
        session::ToolKind::Read => session::ToolKind::Read,
        session::ToolKind::Write => session::ToolKind::Write,
        session::ToolKind::Run => session::ToolKind::Run,
        session::ToolKind::Signal => session::ToolKind::Signal,
        session::ToolKind::Other => session::ToolKind::Other,
    }
}

fn tool_calls() -> impl Iterator<Item = session::Event> {
    tool_kinds().into_iter().map(|kind| {
        session::Event::ToolCalled(session::ToolCall {
            tool: "Bash".into(),
            kind,
            subject: "make test".into(),
            refused: None,
        })
    })
}

fn lanes() -> Vec<Lane> {
    every! {
        Lane::ReadOnly => Lane::ReadOnly,
        Lane::DryRun => Lane::DryRun,
        Lane::Execute => Lane::Execute,
    }
}

fn run_record() -> Run {
    let step = |(number, kind): (usize, Kind)| Step {
        id: format!("step-{number}"),
        needs: texts(&["before"]),
        kind,
        on_fail: (number > 0).then(|| "step-0".into()),
    };
    let role = |lane| Role {
        name: "builder".into(),
        description: "Builds.".into(),
        lane,
        write: texts(&["src/**"]),
        deny: texts(&["src/secret/**"]),
        may_set_executable: true,
        may_report_findings: false,
        tools: texts(&["cargo"]),
        documents_only: false,
        guards_tests: true,
        model: None,
        may_fetch_packages: false,
        may_propose: Vec::new(),
    };
    let gate = |junit: Option<&str>| Gate {
        name: "unit".into(),
        argv: texts(&["cargo", "test"]),
        wall: Millis(900_000),
        junit: junit.map(String::from),
        tests_min: 1,
    };
    Run {
        work: WORK,
        formula: Formula {
            name: "work-cycle".into(),
            description: "Builds and lands.".into(),
            steps: kinds().into_iter().enumerate().map(step).collect(),
        },
        roles: lanes().into_iter().map(role).collect(),
        gates: vec![gate(Some("junit.xml")), gate(None)],
        pinned: vec![Pin {
            source: "shipped:work-cycle".into(),
            digest: digest(3),
        }],
        prompts: vec![],
        base: bare(),
    }
}

fn notes() -> Vec<Note> {
    every! {
        Note::Violations { .. } => Note::Violations { violations: violations() },
        Note::Gate { .. } => Note::Gate {
            gate: "unit".into(),
            reasons: texts(&["1 tests failed: a"]),
            log: digest(4),
        },
        Note::Findings => Note::Findings,
        Note::Answers => Note::Answers,
        Note::Operator { .. } => Note::Operator { text: "smaller".into() },
        Note::Ended { .. } => Note::Ended { reason: "the agent fell silent".into() },
        Note::RolledBack { .. } => Note::RolledBack {
            by: "operator:ada".into(),
            why: "it went astray".into(),
            reverted: texts(&["src/lib.rs"]),
        },
        Note::Judge { .. } => Note::Judge {
            step: "critique".into(),
            reasons: texts(&["it says nothing of errors"]),
        },
        Note::Conflict { .. } => Note::Conflict { paths: texts(&["src/lib.rs"]) },
    }
}

fn run_parts() -> Vec<run::Event> {
    let step = || String::from("build");
    let activities = every! {
        Activity::Session { .. } => Activity::Session { session: SESSION },
        Activity::Gates => Activity::Gates,
        Activity::Decision { .. } => Activity::Decision { promotion: PROMOTION },
        Activity::Landing { .. } => Activity::Landing { promotion: PROMOTION },
    };
    let mends = every! {
        Mend::Again => Mend::Again,
        Mend::Retry => Mend::Retry,
        Mend::SendBack => Mend::SendBack,
        Mend::Nothing => Mend::Nothing,
    };
    let outcomes = every! {
        Outcome::Completed => Outcome::Completed,
        Outcome::NothingToDo { .. } => Outcome::NothingToDo { detail: "it is there".into() },
        Outcome::Failed { .. } => Outcome::Failed { reason: "step `build`: silent".into() },
        Outcome::Refused { .. } => Outcome::Refused { reason: "not now".into() },
        Outcome::Canceled => Outcome::Canceled,
    };
    let began = |activity| run::Event::StepBegan {
        step: step(),
        activity,
    };
    let failed = |mend| run::Event::StepFailed {
        step: step(),
        why: "silent".into(),
        mend,
        notes: notes(),
    };
    let mut all: Vec<_> = activities.into_iter().map(began).collect();
    all.extend(mends.into_iter().map(failed));
    all.extend(outcomes.into_iter().map(run::Event::Ended));
    let mut routed = run_record();
    for role in &mut routed.roles {
        role.model = Some("strong".into());
        role.may_fetch_packages = true;
    }
    let mut proposing = run_record();
    for role in &mut proposing.roles {
        role.may_propose = texts(&["run_tests"]);
    }
    all.extend([routed, proposing].map(run::Event::Started));
    all
}

fn rollback(strategy: Strategy) -> Rollback {
    Rollback {
        to: Some(CHECKPOINT),
        strategy,
        paths: texts(&["src/lib.rs"]),
        by: "operator:ada".into(),
        why: "it went astray".into(),
    }
}

fn run_events() -> Vec<Event> {
    let step = || String::from("build");
    let fact = GateFact {
        gate: "unit".into(),
        tree: digest(2),
        reasons: texts(&["the command ended with exit code 1"]),
    };
    let mut all = every! {
        run::Event::Started(_) => run::Event::Started(run_record()),
        run::Event::StepBegan { .. } => run::Event::StepBegan { step: step(), activity: Activity::Gates },
        run::Event::Advanced { .. } => run::Event::Advanced { tree: tree() },
        run::Event::GatesJudged { .. } => run::Event::GatesJudged { facts: vec![fact] },
        run::Event::StepPassed { .. } => run::Event::StepPassed { step: step() },
        run::Event::StepFailed { .. } => run::Event::StepFailed {
            step: step(),
            why: "silent".into(),
            mend: Mend::Retry,
            notes: vec![],
        },
        run::Event::StepRetried { .. } => run::Event::StepRetried { step: step() },
        run::Event::SentBack { .. } => run::Event::SentBack { to: step(), notes: notes() },
        run::Event::Reopened { .. } => run::Event::Reopened { tree: bare() },
        run::Event::RollbackRequested(_) => run::Event::RollbackRequested(rollback(Strategy::Paths)),
        run::Event::RolledBack(_) => run::Event::RolledBack(rollback::Done {
            rollback: rollback(Strategy::Full),
            before: CHECKPOINT,
            tree: tree(),
            reverted: texts(&["src/lib.rs"]),
            kept: texts(&["src/main.rs"]),
            redo: texts(&["build"]),
        }),
        run::Event::RollbackAbandoned { .. } => run::Event::RollbackAbandoned { why: "no such checkpoint".into() },
        run::Event::Ended(_) => run::Event::Ended(Outcome::Completed),
    };
    let strategies = every! {
        Strategy::Full => Strategy::Full,
        Strategy::Paths => Strategy::Paths,
        Strategy::Smart => Strategy::Smart,
    };
    let wanted = strategies.into_iter().map(rollback);
    all.extend(wanted.map(run::Event::RollbackRequested));
    all.extend(run_parts());
    all.push(run::Event::Started(Run {
        prompts: vec![run::Prompt {
            name: "session".into(),
            source: "shipped:formulas/prompts/session".into(),
            text: digest(9),
        }],
        ..run_record()
    }));
    all.into_iter().map(|it| Event::Run(RUN, it)).collect()
}

fn model_usage() -> ModelUsage {
    ModelUsage {
        provider: "anthropic".into(),
        model: "claude-sonnet-4-5".into(),
        usage: Usage {
            calls: 2,
            estimated: 1,
            unpriced: 0,
            tokens: Tokens {
                input: 25,
                cache_read: 2_000,
                cache_write: 100,
                output: 15,
                reasoning: 7,
            },
            money: Money(2_345),
        },
    }
}

fn model(text: &str) -> Model {
    Model::parse(text).unwrap()
}

fn fell_back(why: Outage) -> FellBack {
    FellBack {
        from: model("anthropic/claude-opus-4-5"),
        to: model("anthropic/claude-sonnet-4-5"),
        why,
        count: 2,
    }
}

fn outages() -> Vec<Outage> {
    every! {
        Outage::Unreachable => Outage::Unreachable,
        Outage::Failing => Outage::Failing,
        Outage::Throttled => Outage::Throttled,
    }
}

fn connection(verdict: Verdict) -> Connection {
    Connection {
        host: "static.crates.io".into(),
        port: 443,
        sent_bytes: 1_234,
        received_bytes: MANY,
        millis: 250,
        verdict,
    }
}

fn verdicts() -> Vec<Verdict> {
    every! {
        Verdict::Carried => Verdict::Carried,
        Verdict::NotListed => Verdict::NotListed,
        Verdict::Unresolved => Verdict::Unresolved,
        Verdict::PrivateAddress => Verdict::PrivateAddress,
        Verdict::NoTls => Verdict::NoTls,
        Verdict::OtherHost => Verdict::OtherHost,
        Verdict::Unreachable => Verdict::Unreachable,
        Verdict::OverCap => Verdict::OverCap,
        Verdict::Stopped => Verdict::Stopped,
    }
}

fn reasons() -> Vec<EndReason> {
    let no_signal = |code, killed_by| EndReason::NoSignal { code, killed_by };
    let refused = |refusal| EndReason::Refused {
        refusal,
        detail: "why".into(),
    };
    let mut all = every! {
        EndReason::Done { .. } => EndReason::Done { summary: "built".into() },
        EndReason::Refused { .. } => refused(RefusalReason::TooLarge),
        EndReason::Failed { .. } => EndReason::Failed { detail: "no compiler".into() },
        EndReason::NoSignal { .. } => no_signal(Some(-1), None),
        EndReason::NeverSpoke => EndReason::NeverSpoke,
        EndReason::Silent => EndReason::Silent,
        EndReason::Stalled { .. } => EndReason::Stalled {
            detail: "nothing but output for 15 min".into(),
        },
        EndReason::WallClock => EndReason::WallClock,
        EndReason::Flood => EndReason::Flood,
        EndReason::Garbage => EndReason::Garbage,
        EndReason::Stopped => EndReason::Stopped,
        EndReason::Interrupted => EndReason::Interrupted,
        EndReason::OverQuota { .. } => EndReason::OverQuota {
            detail: "2 GiB on disk".into(),
        },
        EndReason::OverBudget { .. } => EndReason::OverBudget {
            detail: "the work's: 10 of 10 tokens are used".into(),
        },
        EndReason::RolledBack { .. } => EndReason::RolledBack {
            detail: "it went astray".into(),
        },
        EndReason::Escalated { .. } => EndReason::Escalated {
            detail: "three checkpoints in a row broke rules".into(),
        },
        EndReason::Incident { .. } => EndReason::Incident {
            detail: "a canary in the output".into(),
        },
        EndReason::LaunchFailed { .. } => EndReason::LaunchFailed { detail: "no such file".into() },
    };
    all.push(no_signal(None, Some(9)));
    let refusals = every! {
        RefusalReason::UnmetDependency => RefusalReason::UnmetDependency,
        RefusalReason::TooLarge => RefusalReason::TooLarge,
        RefusalReason::AlreadyDone => RefusalReason::AlreadyDone,
    };
    all.extend(refusals.into_iter().map(refused));
    all
}

fn session(lane: Lane) -> Session {
    Session {
        work: WORK,
        run: RUN,
        step: "build".into(),
        role: "builder".into(),
        lane,
        agent: "scripted".into(),
        round: 2,
        epoch: MANY,
        tree: tree(),
        wall: Millis(600_000),
        actor: Actor::Agent,
    }
}

fn judgement() -> Judgement {
    Judgement {
        model: "anthropic/claude-haiku-4-5".into(),
        request: digest(10),
        answer: digest(11),
        attempts: 2,
        passes: false,
        reasons: texts(&["it says nothing of errors"]),
    }
}

fn session_events() -> Vec<Event> {
    let ended = |reason| {
        session::Event::Ended(End {
            reason,
            wall: Millis(1_234),
            output_bytes: MANY,
            malformed: 1,
            late: 2,
        })
    };
    let mut all = every! {
        session::Event::Requested(_) => session::Event::Requested(session(Lane::DryRun)),
        session::Event::Prepared(_) => session::Event::Prepared(session::Prepared {
            fallback: true,
            cell: Some(digest(7)),
            prompt: None,
        }),
        session::Event::Started { .. } => session::Event::Started { walls: texts(&["landlock: on"]) },
        session::Event::Progressed { .. } => session::Event::Progressed { text: "reading".into() },
        session::Event::SignalRefused { .. } => session::Event::SignalRefused {
            why: "not JSON".into(),
            raw: "{\u{1b}[2J".into(),
        },
        session::Event::PauseRequested(_) => session::Event::PauseRequested(session::Pause {
            by: "operator:ada".into(),
            why: "lunch".into(),
        }),
        session::Event::Paused => session::Event::Paused,
        session::Event::Resumed { .. } => session::Event::Resumed { by: "operator:ada".into() },
        session::Event::AttemptDenied { .. } => session::Event::AttemptDenied {
            what: "socket(AF_VSOCK)".into(),
            count: MANY,
        },
        session::Event::ToolCalled(_) => session::Event::ToolCalled(session::ToolCall {
            tool: "Write".into(),
            kind: session::ToolKind::Write,
            subject: "docs/a".into(),
            refused: Some("the plan does not let it".into()),
        }),
        session::Event::ModelBilled(_) => session::Event::ModelBilled(model_usage()),
        session::Event::ModelFellBack(_) => session::Event::ModelFellBack(fell_back(Outage::Unreachable)),
        session::Event::Connected(_) => session::Event::Connected(connection(Verdict::Carried)),
        session::Event::Wrote(_) => session::Event::Wrote(session::Batch {
            entries_before: 3,
            entries: MANY,
            bytes_before: 0,
            bytes: MANY,
        }),
        session::Event::Judged(_) => session::Event::Judged(judgement()),
        session::Event::Ended(_) => ended(EndReason::Silent),
    };
    all.push(session::Event::Requested(Session {
        actor: Actor::Judge,
        ..session(Lane::ReadOnly)
    }));
    all.push(session::Event::Prepared(session::Prepared {
        fallback: false,
        cell: Some(digest(7)),
        prompt: Some(digest(8)),
    }));
    let requests = lanes().into_iter().map(session);
    all.extend(requests.map(session::Event::Requested));
    all.extend(tool_calls());
    all.extend(reasons().into_iter().map(ended));
    let fallbacks = outages().into_iter().map(fell_back);
    all.extend(fallbacks.map(session::Event::ModelFellBack));
    let connections = verdicts().into_iter().map(connection);
    all.extend(connections.map(session::Event::Connected));
    let named = all.into_iter().map(|it| Event::Session(SESSION, it));
    named.collect()
}

fn work_events() -> Vec<Event> {
    let work = Work {
        name: "add-flag".into(),
        goal: GOAL,
        plan: PLAN,
        target: "main".into(),
        formula: "work-cycle".into(),
        agent: "scripted".into(),
        depends_on: vec![WORK],
        budget: budget(),
        models: BTreeMap::new(),
    };
    let mut routed = work.clone();
    let class = vec![model("anthropic/claude-opus-4-5"), model("local/llama")];
    routed.models.insert("strong".into(), class);
    let spent = Spent {
        sessions: 1,
        rounds: 2,
        wall: Millis(MANY),
    };
    let endings = every! {
        Ending::Completed { .. } => Ending::Completed { commit: Some(commit()) },
        Ending::Failed { .. } => Ending::Failed { reason: "rounds".into() },
        Ending::Canceled { .. } => Ending::Canceled { reason: "not needed".into() },
    };
    let mut all = every! {
        work::Event::Submitted(_) => work::Event::Submitted(work),
        work::Event::Admitted => work::Event::Admitted,
        work::Event::Began { .. } => work::Event::Began { run: RUN },
        work::Event::Debited(_) => work::Event::Debited(spent),
        work::Event::Refunded { .. } => work::Event::Refunded { wall: Millis(7) },
        work::Event::InputRequired { .. } => work::Event::InputRequired { what: "answers".into() },
        work::Event::InputTaken => work::Event::InputTaken,
        work::Event::Closed(_) => work::Event::Closed(Ending::Completed { commit: None }),
    };
    all.extend(endings.into_iter().map(work::Event::Closed));
    all.push(work::Event::Submitted(routed));
    all.into_iter().map(|it| Event::Work(WORK, it)).collect()
}

fn ambiguity_events() -> Vec<Event> {
    let filed = |priority| {
        ambiguity::Event::Filed(Ambiguity {
            work: WORK,
            run: RUN,
            session: SESSION,
            step: "build".into(),
            role: "builder".into(),
            priority,
            report: Report {
                question: "Which region?".into(),
                why: "The name differs.".into(),
                options: texts(&["eu", "us"]),
                recommended: "eu".into(),
                impact: "Latency.".into(),
                default_held: "eu".into(),
            },
            key: "which region".into(),
            malformed: texts(&["`Impact` is empty"]),
        })
    };
    let answered = |answer| ambiguity::Event::Answered {
        answer,
        by: "operator:ada".into(),
    };
    let priorities = every! {
        Priority::P0 => Priority::P0,
        Priority::P1 => Priority::P1,
        Priority::P2 => Priority::P2,
        Priority::P3 => Priority::P3,
    };
    let answers = every! {
        Answer::Default => Answer::Default,
        Answer::Option { .. } => Answer::Option { number: 2 },
        Answer::Text { .. } => Answer::Text { text: "neither".into() },
    };
    let mut all = every! {
        ambiguity::Event::Filed(_) => filed(Priority::P0),
        ambiguity::Event::Answered { .. } => answered(Answer::Default),
        ambiguity::Event::Applied => ambiguity::Event::Applied,
        ambiguity::Event::Closed => ambiguity::Event::Closed,
    };
    all.extend(priorities.into_iter().map(filed));
    all.extend(answers.into_iter().map(answered));
    let named = all.into_iter().map(|it| Event::Ambiguity(AMBIGUITY, it));
    named.collect()
}

fn blocks() -> Vec<Block> {
    every! {
        Block::NothingToPromote => Block::NothingToPromote,
        Block::NotValidated => Block::NotValidated,
        Block::NoEvidence { .. } => Block::NoEvidence { gate: "unit".into() },
        Block::GateFailed { .. } => Block::GateFailed { gate: "unit".into(), reasons: texts(&["red"]) },
        Block::NoGate => Block::NoGate,
        Block::OpenFinding { .. } => Block::OpenFinding { finding: FINDING },
        Block::OpenAmbiguity { .. } => Block::OpenAmbiguity {
            ambiguity: AMBIGUITY,
            priority: Priority::P1,
        },
        Block::StaleBase { .. } => Block::StaleBase { head: commit() },
        Block::NotApproved => Block::NotApproved,
        Block::OtherDigest => Block::OtherDigest,
        Block::Expired => Block::Expired,
        Block::NotOperator { .. } => Block::NotOperator { name: "agent:scripted".into() },
        Block::AuthorIsApprover { .. } => Block::AuthorIsApprover { name: "agent:scripted".into() },
    }
}

fn promotion_events() -> Vec<Event> {
    let proposal = Proposal {
        work: WORK,
        run: RUN,
        tree: tree(),
        dossier: digest(5),
        target: "main".into(),
        lands_on: "refs/heads/main".into(),
        target_head: commit(),
    };
    let approval = Approval {
        by: "operator:ada".into(),
        dossier: digest(5),
        at: Timestamp(1_760_000_000_000),
        expires: Timestamp(MANY),
    };
    let all = every! {
        promotion::Event::Proposed(_) => promotion::Event::Proposed(proposal),
        promotion::Event::Blocked { .. } => promotion::Event::Blocked { reasons: blocks() },
        promotion::Event::Approved(_) => promotion::Event::Approved(approval),
        promotion::Event::Refused { .. } => promotion::Event::Refused {
            by: "operator:ada".into(),
            reason: "not now".into(),
        },
        promotion::Event::Dispatched { .. } => promotion::Event::Dispatched { tree: digest(2) },
        promotion::Event::Promoted { .. } => promotion::Event::Promoted { commit: commit() },
        promotion::Event::Overtaken { .. } => promotion::Event::Overtaken { why: "moved".into() },
    };
    let named = all.into_iter().map(|it| Event::Promotion(PROMOTION, it));
    named.collect()
}

fn checkpoint_events() -> Vec<Event> {
    let checkpoint = |trigger| Checkpoint {
        work: WORK,
        session: Some(SESSION),
        trigger,
        parent: Some(CHECKPOINT),
        tree: tree(),
        files: 3,
        bytes: MANY,
        files_total: 40,
        bytes_total: MANY,
        micros: 11_000,
        held_micros: 12_000,
    };
    let first = Checkpoint {
        session: None,
        parent: None,
        tree: bare(),
        ..checkpoint(Trigger::TurnEnd)
    };
    let triggers = every! {
        Trigger::TurnEnd => Trigger::TurnEnd,
        Trigger::Recovery => Trigger::Recovery,
        Trigger::BeforePromotion => Trigger::BeforePromotion,
        Trigger::Quiet => Trigger::Quiet,
        Trigger::Interval => Trigger::Interval,
        Trigger::Size => Trigger::Size,
        Trigger::Manual => Trigger::Manual,
        Trigger::BeforeRollback => Trigger::BeforeRollback,
    };
    let mut all = every! {
        checkpoint::Event::Requested(_) => checkpoint::Event::Requested(checkpoint::Request {
            work: WORK,
            session: SESSION,
            by: "operator:ada".into(),
        }),
        checkpoint::Event::Captured(_) => checkpoint::Event::Captured(first),
        checkpoint::Event::Validated { .. } => checkpoint::Event::Validated {
            rules: digest(6),
            micros: 900,
            asked: checkpoint::Asked::default(),
        },
        checkpoint::Event::Violated { .. } => checkpoint::Event::Violated {
            rules: digest(6),
            violations: violations(),
            micros: 900,
            asked: checkpoint::Asked::default(),
        },
        checkpoint::Event::Deferred { .. } => checkpoint::Event::Deferred { why: "the disk is full".into() },
        checkpoint::Event::Promoted => checkpoint::Event::Promoted,
    };
    let captured = triggers.into_iter().map(checkpoint);
    all.extend(captured.map(checkpoint::Event::Captured));
    let asked = checkpoint::Asked {
        remembered: 12,
        read: 3,
    };
    all.push(checkpoint::Event::Validated {
        rules: digest(6),
        micros: 900,
        asked,
    });
    all.push(checkpoint::Event::Violated {
        rules: digest(6),
        violations: violations(),
        micros: 900,
        asked,
    });
    let named = all.into_iter().map(|it| Event::Checkpoint(CHECKPOINT, it));
    named.collect()
}

fn finding_events() -> Vec<Event> {
    let finding = Finding {
        work: WORK,
        run: RUN,
        session: SESSION,
        tree: digest(2),
        file: "src/lib.rs".into(),
        line: 3,
        rule: "off-by-one".into(),
        text: "use ..=".into(),
    };
    let recheck = Resolver::Recheck {
        session: SESSION,
        tree: digest(2),
    };
    let resolvers = every! {
        Resolver::Recheck { .. } => recheck.clone(),
        Resolver::Operator { .. } => Resolver::Operator {
            name: "operator:ada".into(),
            reason: "it is meant so".into(),
        },
    };
    let mut all = every! {
        finding::Event::Reported(_) => finding::Event::Reported(finding),
        finding::Event::Confirmed { .. } => finding::Event::Confirmed { session: SESSION, tree: digest(2) },
        finding::Event::Resolved(_) => finding::Event::Resolved(recheck),
    };
    all.extend(resolvers.into_iter().map(finding::Event::Resolved));
    let named = all.into_iter().map(|it| Event::Finding(FINDING, it));
    named.collect()
}

fn evidence_events() -> Vec<Event> {
    let recorded = |ended| {
        gate::Event::Recorded(Evidence {
            gate: "unit".into(),
            definition: digest(7),
            tree: digest(2),
            ended,
            tests: digest(8),
            executed: 12,
            failed: 1,
            skipped: 2,
            log: digest(4),
            wall: Millis(2_500),
        })
    };
    let endings = every! {
        Ended::Exited { .. } => Ended::Exited { code: -1 },
        Ended::Killed { .. } => Ended::Killed { signal: 9 },
        Ended::TimedOut => Ended::TimedOut,
        Ended::OverQuota => Ended::OverQuota,
        Ended::NotStarted => Ended::NotStarted,
    };
    let events = endings.into_iter().map(recorded);
    events.map(|it| Event::Evidence(digest(9), it)).collect()
}

fn goal_and_plan_events() -> Vec<Event> {
    let plan = Plan {
        goal: GOAL,
        allowed: texts(&["src/**"]),
        denied: texts(&["src/secret/**"]),
        protected_allowed: texts(&[".github/workflows/ci.yml"]),
        commands: texts(&["make"]),
        budget: budget(),
    };
    let goal = goal::Goal {
        title: "Add a flag".into(),
        spec: digest(10),
        source: "spec.md".into(),
    };
    let goals = every! {
        goal::Event::Captured(_) => goal::Event::Captured(goal),
        goal::Event::Planned { .. } => goal::Event::Planned { plan: PLAN },
        goal::Event::Activated { .. } => goal::Event::Activated { work: WORK },
        goal::Event::Done => goal::Event::Done,
        goal::Event::Abandoned { .. } => goal::Event::Abandoned { reason: "late".into() },
    };
    let plans = every! {
        plan::Event::Drafted(_) => plan::Event::Drafted(plan),
        plan::Event::Approved { .. } => plan::Event::Approved { by: "operator:ada".into() },
        plan::Event::Superseded => plan::Event::Superseded,
    };
    let goals = goals.into_iter().map(|it| Event::Goal(GOAL, it));
    let plans = plans.into_iter().map(|it| Event::Plan(PLAN, it));
    goals.chain(plans).collect()
}

fn message_and_breaker_events() -> Vec<Event> {
    let message = |topic, severity| Message {
        work: WORK,
        session: SESSION,
        topic,
        severity,
        text: "src/.env is a secret".into(),
        from: "engine".into(),
        acknowledge_within: Some(Millis(10_000)),
    };
    let topics = every! {
        Topic::Notice => Topic::Notice,
        Topic::Violation => Topic::Violation,
        Topic::Pause => Topic::Pause,
        Topic::Resume => Topic::Resume,
        Topic::Rollback => Topic::Rollback,
        Topic::Answer => Topic::Answer,
        Topic::Review => Topic::Review,
        Topic::GateResult => Topic::GateResult,
    };
    let severities = every! {
        Severity::Info => Severity::Info,
        Severity::Warning => Severity::Warning,
        Severity::Error => Severity::Error,
        Severity::Critical => Severity::Critical,
    };
    let at = Timestamp(1_760_000_000_000);
    let mut told = every! {
        message::Event::Queued(_) => message::Event::Queued(message(Topic::Notice, Severity::Info)),
        message::Event::Delivered { .. } => message::Event::Delivered { at },
        message::Event::Acknowledged { .. } => message::Event::Acknowledged { text: "moved it".into() },
        message::Event::Escalated => message::Event::Escalated,
        message::Event::Expired => message::Event::Expired,
    };
    let of = |topic| message::Event::Queued(message(topic, Severity::Info));
    told.extend(topics.into_iter().map(of));
    let of = |severity| message::Event::Queued(message(Topic::Notice, severity));
    told.extend(severities.into_iter().map(of));
    let breakers = every! {
        breaker::Event::Failed { .. } => breaker::Event::Failed { why: "the disk is full".into() },
        breaker::Event::Opened { .. } => breaker::Event::Opened {
            why: "the disk is full".into(),
            since: at,
            rest: Millis(30_000),
        },
        breaker::Event::HalfOpened => breaker::Event::HalfOpened,
        breaker::Event::Closed { .. } => breaker::Event::Closed { by: Some("operator:ada".into()) },
    };
    let mut all: Vec<_> = told
        .into_iter()
        .map(|it| Event::Message(MESSAGE, it))
        .collect();
    let named = |it| Event::Breaker("checkpointer".into(), it);
    all.extend(breakers.into_iter().map(named));
    all
}

fn action_events() -> Vec<Event> {
    let at = Timestamp(1_760_000_000_000);
    let proposals = [Needs::Permit, Needs::Grant].into_iter().map(|needs| {
        let is_permit = needs == Needs::Permit;
        action::Event::Proposed(action::Proposal {
            name: "publish_change".into(),
            arguments: format!("{{\"commit\":\"{}\"}}", commit()),
            digest: digest(1),
            subject: is_permit.then(|| action::subject_of(&commit())),
            lane: Lane::Execute,
            needs,
            authors: texts(&["agent:scripted"]),
            by: "agent:scripted".into(),
            work: is_permit.then_some(WORK),
            session: is_permit.then_some(SESSION),
            why: "it is landed".into(),
        })
    });
    let papers = [
        Paper::Permit(PermitId::from_bits(BITS)),
        Paper::Grant(GrantId::from_bits(BITS)),
    ];
    let approvals = papers.into_iter().map(|paper| action::Event::Approved {
        approval: action::Approval {
            by: "operator:ada".into(),
            paper,
            envelope: digest(2),
            policy: digest(3),
            target: "staging".into(),
            requester: "service:engine".into(),
            at,
            expires: at.after(Millis::from_mins(60)),
        },
        open: Open { p0: 0, p1: 0 },
    });
    let statuses = every! {
        action::Status::Succeeded => action::Status::Succeeded,
        action::Status::Failed => action::Status::Failed,
        action::Status::Unknown => action::Status::Unknown,
    };
    let settled = statuses.into_iter().map(|status| {
        let went_well = status == action::Status::Succeeded;
        action::Event::Settled(Settlement {
            status,
            why: (!went_well).then(|| "timed_out".into()),
            receipt: went_well.then(|| digest(4)),
        })
    });
    let said = || Reasoned {
        by: "operator:ada".into(),
        reason: "not now".into(),
    };
    let others = every! {
        action::Event::Denied(_) => action::Event::Denied(said()),
        action::Event::Withdrawn(_) => action::Event::Withdrawn(said()),
        action::Event::Dispatched { .. } => action::Event::Dispatched {
            request: ExecutionId::from_bits(BITS),
        },
        action::Event::Deferred { .. } => action::Event::Deferred {
            why: "the executor cannot be reached".into(),
            is_unclear: true,
            next: at,
        },
        action::Event::Expired => action::Event::Expired,
        action::Event::Proposed(_) | action::Event::Approved { .. } | action::Event::Settled(_) => {
            action::Event::Expired
        },
    };
    let all = proposals.chain(approvals).chain(settled).chain(others);
    let named = |it| Event::Action(ActionId::from_bits(BITS + 10), it);
    all.map(named).chain(grant_events()).collect()
}

fn grant_events() -> Vec<Event> {
    let at = Timestamp(1_760_000_000_000);
    let events = every! {
        grant::Event::Given(_) => grant::Event::Given(grant::Grant {
            actions: texts(&["run_tests"]),
            target: "staging".into(),
            requester: "service:engine".into(),
            policy: digest(3),
            envelope: digest(2),
            by: "operator:ada".into(),
            at,
            expires: at.after(Millis::from_mins(60)),
            uses_max: 20,
        }),
        grant::Event::Used { .. } => grant::Event::Used { action: ActionId::from_bits(BITS + 10) },
        grant::Event::Revoked { .. } => grant::Event::Revoked {
            by: "operator:ada".into(),
            reason: "the sprint is over".into(),
        },
    };
    let named = |it| Event::Grant(GrantId::from_bits(BITS + 11), it);
    events.into_iter().map(named).collect()
}

fn machine_events() -> Vec<Event> {
    let at = Timestamp(1_760_000_000_000);
    let events = every! {
        machine::Event::Attacked(_) => machine::Event::Attacked(machine::Trial {
            kernel: "6.18.1".into(),
            version: "0.1.0".into(),
            record: Digest::ZERO,
            attempts: 150,
            failed: 0,
            at,
        }),
        machine::Event::DowngradeAccepted(_) => machine::Event::DowngradeAccepted(machine::Downgrade {
            kernel: "5.10.0".into(),
            walls: vec!["landlock".into()],
            by: "operator:ada".into(),
            reason: "the build machine is replaced next week".into(),
            at,
        }),
        machine::Event::DowngradeWithdrawn { .. } => {
            machine::Event::DowngradeWithdrawn { by: "operator:ada".into() }
        },
    };
    let named = |it| Event::Machine(machine::THIS.into(), it);
    events.into_iter().map(named).collect()
}

fn lease_and_output_events() -> Vec<Event> {
    let leases = every! {
        lease::Event::Acquired { .. } => lease::Event::Acquired {
            owner: "engine-1".into(),
            epoch: MANY,
            expires: Timestamp(1_760_000_000_000),
        },
        lease::Event::Renewed { .. } => lease::Event::Renewed { expires: Timestamp(1_760_000_060_000) },
        lease::Event::Released => lease::Event::Released,
    };
    let streams = every! {
        Stream::Out => Stream::Out,
        Stream::Err => Stream::Err,
    };
    let written = streams.into_iter().map(|stream| output::Event::Written {
        stream,
        text: "\u{1b}[31mred\n".into(),
    });
    // A lease may be named after a ref: the name of its stream then has slashes of its own.
    let leases = leases
        .into_iter()
        .map(|it| Event::Lease("refs/heads/main".into(), it));
    let written = written.map(|it| Event::Output(SESSION, it));
    leases.chain(written).collect()
}

fn samples() -> BTreeMap<&'static str, Vec<Event>> {
    let all = [
        action_events(),
        ambiguity_events(),
        checkpoint_events(),
        evidence_events(),
        finding_events(),
        goal_and_plan_events(),
        lease_and_output_events(),
        machine_events(),
        message_and_breaker_events(),
        promotion_events(),
        run_events(),
        session_events(),
        work_events(),
    ];
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in all.into_iter().flatten() {
        let same = sorted.entry(event.kind()).or_default();
        if !same.contains(&event) {
            same.push(event);
        }
    }
    sorted
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(kind: &str) -> PathBuf {
    home().join("tests/golden").join(format!("{kind}.json"))
}

fn bless() -> bool {
    std::env::var_os("PALISADE_BLESS").is_some_and(|it| it == "1")
}

#[test]
fn every_event_is_stored_as_its_golden_file_says() {
    for (kind, events) in samples() {
        let written = serde_json::to_string_pretty(&events).unwrap() + "\n";
        if bless() {
            std::fs::create_dir_all(home().join("tests/golden")).unwrap();
            std::fs::write(golden(kind), &written).unwrap();
        }
        let expected = std::fs::read_to_string(golden(kind))
            .unwrap_or_else(|error| panic!("{kind} has no golden file ({error})"));
        assert_eq!(
            written, expected,
            "{kind}: stored data has changed; old logs could not be read"
        );
    }
}

#[test]
fn every_golden_event_reads_back() {
    for (kind, events) in samples() {
        let text = std::fs::read_to_string(golden(kind)).unwrap();
        let stored: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.len(), events.len(), "{kind}");
        for (event, value) in events.iter().zip(&stored) {
            // From a parsed value and from text: these are two different deserializers.
            let read = Event::read(&event.stream(), value).unwrap();
            assert_eq!(read, *event, "{kind}");
            assert_eq!(read.kind(), kind);
            let text = value.to_string();
            let mut reader = serde_json::Deserializer::from_str(&text);
            let read = Event::read(&event.stream(), &mut reader).unwrap();
            assert_eq!(read, *event, "{kind}");
        }
    }
}

#[test]
fn a_changed_field_name_never_goes_unnoticed() {
    let mut tried = 0_u32;
    for (kind, events) in samples() {
        for event in events {
            let value = serde_json::to_value(&event).unwrap();
            for changed in renamed(&value) {
                let read = Event::read(&event.stream(), &changed);
                assert!(
                    !read.is_ok_and(|it| it == event),
                    "{kind}: {changed} reads as if nothing were changed"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "only {tried} names were changed");
}

/// Returns the value once for each name in it, with that name changed. A field that holds nothing
/// may be left out, so it may be misspelt too.
fn renamed(value: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter().filter(|(_, it)| !it.is_null()) {
                let mut changed = fields.clone();
                changed.remove(name);
                changed.insert(format!("{name}_"), inner.clone());
                found.push(Value::Object(changed));
                for within in renamed(inner) {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), within);
                    found.push(Value::Object(changed));
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                for within in renamed(inner) {
                    let mut changed = items.clone();
                    changed[index] = within;
                    found.push(Value::Array(changed));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

#[test]
fn every_kind_in_the_sources_has_a_file_and_every_file_a_kind() {
    let sampled: BTreeSet<_> = samples().into_keys().map(String::from).collect();
    let mut in_sources = BTreeSet::new();
    kinds_in(&home().join("src"), &mut in_sources);
    assert_eq!(in_sources, sampled);
    let files = std::fs::read_dir(home().join("tests/golden")).unwrap();
    let names = files.map(|it| it.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = names
        .map(|it| it.strip_suffix(".json").unwrap().to_owned())
        .collect();
    assert_eq!(files, sampled);
}

fn kinds_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kinds_in(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for after in text.split("\"io.palisade.").skip(1) {
            let (rest, _) = after.split_once('"').unwrap();
            // `io.palisade.` alone is what titles are cut from.
            if !rest.is_empty() {
                found.insert(format!("io.palisade.{rest}"));
            }
        }
    }
}

#[test]
fn data_of_another_noun_is_refused() {
    let run = Event::Run(RUN, run::Event::Ended(Outcome::Completed));
    let value = serde_json::to_value(&run).unwrap();
    let others = [
        "work/work_01h455vb4pex5vsknk084sn02q",
        "run/work_01h455vb4pex5vsknk084sn02q",
        "nobody/run_01h455vb4pex5vsknk084sn02q",
        "run",
        "",
    ];
    for stream in others {
        assert!(Event::read(stream, &value).is_err(), "{stream}");
    }
    assert_eq!(Event::read(&run.stream(), &value).unwrap(), run);
}
