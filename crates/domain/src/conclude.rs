//! Conclusions: what the end of a session, or the word of its gates, means for the run.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use crate::agent::{EndReason, RefusalReason};
use crate::case::{Case, Command};
use crate::checkpoint::{self, Checkpoint, Trigger};
use crate::due::overtake_open;
use crate::formula::{Check, Kind};
use crate::policy::GateFact;
use crate::run::{Active, Activity, Mend, Note, Outcome};
use crate::tree::{Tree, Violation};
use crate::{
    CheckpointId, Digest, Millis, RunId, SessionId, finding, rollback, run, session, work,
};

mod budget;
mod judged;
mod watched;

pub use judged::{Verdict, judge};
pub use watched::{ENGINE, VIOLATIONS_MAX, watched};

/// What a session left behind, as captured and judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The checkpoint's identifier.
    pub id: CheckpointId,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The rules it was judged by.
    pub rules: Digest,
    /// Everything that is wrong with it.
    pub violations: Vec<Violation>,
    /// The tree without what is wrong.
    pub clean: Tree,
    /// How long judging took, in microseconds.
    pub micros: u64,
    /// What judging asked of contents.
    pub asked: checkpoint::Asked,
}

/// Says what the end of a session means. `left` is absent for a read-only session, and when there
/// was nothing to capture.
#[must_use]
pub fn session(case: &Case, id: SessionId, end: session::End, left: Option<&Left>) -> Vec<Command> {
    let Some(about) = case.sessions.get(&id).and_then(session::State::session) else {
        return vec![];
    };
    let reason = end.reason.clone();
    let unused = Millis(about.wall.0.saturating_sub(end.wall.0));
    let mut commands = vec![Command::Session(id, session::Command::End(end))];
    let closed = matches!(case.works.get(&about.work), Some(work::State::Closed(..)));
    if !closed {
        commands.push(Command::Work(
            about.work,
            work::Command::Refund { wall: unused },
        ));
    }
    if let Some(left) = left {
        let capture = checkpoint::Command::Capture(left.checkpoint.clone());
        commands.push(Command::Checkpoint(left.id, capture));
        commands.push(judged(left));
    }
    let Some(run::State::Active(active)) = case.runs.get(&about.run) else {
        return commands;
    };
    if closed {
        commands.push(Command::Run(
            about.run,
            run::Command::End(Outcome::Canceled),
        ));
        return commands;
    }
    // A session whose step was taken from it is closed, and says nothing about the run any more.
    let current = Some((about.step.as_str(), Activity::Session { session: id }));
    if active.current() == current {
        commands.extend(step(case, id, about, active, &reason, left));
    }
    commands
}

/// A tree that is about to be put back is not judged: nothing is taken in from it as it is.
fn judged(left: &Left) -> Command {
    let judge = if left.checkpoint.trigger == Trigger::BeforeRollback {
        checkpoint::Command::Defer {
            why: "the tree is about to be put back".to_string(),
        }
    } else {
        checkpoint::Command::Judge {
            rules: left.rules,
            violations: left.violations.clone(),
            micros: left.micros,
            asked: left.asked,
        }
    };
    Command::Checkpoint(left.id, judge)
}

const fn told(refusal: RefusalReason) -> &'static str {
    match refusal {
        RefusalReason::UnmetDependency => "unmet dependency",
        RefusalReason::TooLarge => "too large",
        RefusalReason::AlreadyDone => "already done",
    }
}

fn step(
    case: &Case,
    id: SessionId,
    about: &session::Session,
    active: &Active,
    reason: &EndReason,
    left: Option<&Left>,
) -> Vec<Command> {
    let fail = |why: String, mend, notes| {
        let step = about.step.clone();
        Command::Run(
            about.run,
            run::Command::Fail {
                step,
                why,
                mend,
                notes,
            },
        )
    };
    match reason {
        EndReason::Done { .. } => done(case, id, about, active, left, Looked::Yes),
        EndReason::Refused {
            refusal: RefusalReason::AlreadyDone,
            detail,
        } => {
            let changed = left.is_some_and(|it| it.checkpoint.tree.manifest.is_some());
            if changed || active.tree.manifest.is_some() {
                return done(case, id, about, active, left, Looked::No);
            }
            let outcome = Outcome::NothingToDo {
                detail: detail.clone(),
            };
            vec![Command::Run(about.run, run::Command::End(outcome))]
        }
        EndReason::Refused { refusal, detail } => {
            vec![fail(
                format!("the {} refused: {}: {detail}", about.role, told(*refusal)),
                Mend::Nothing,
                vec![],
            )]
        }
        EndReason::LaunchFailed { detail } => vec![fail(detail.clone(), Mend::Nothing, vec![])],
        // The boundary may have a hole: nothing goes on before a human has looked.
        EndReason::Incident { .. } | EndReason::Escalated { .. } => {
            vec![fail(sentence(reason), Mend::Nothing, vec![])]
        }
        EndReason::Stopped => {
            vec![fail(
                "stopped by the operator".to_string(),
                Mend::Nothing,
                vec![],
            )]
        }
        EndReason::Failed { .. }
        | EndReason::NoSignal { .. }
        | EndReason::NeverSpoke
        | EndReason::Silent
        | EndReason::Stalled { .. }
        | EndReason::WallClock
        | EndReason::Flood
        | EndReason::OverQuota { .. }
        | EndReason::Garbage => {
            let told = sentence(reason);
            vec![fail(told.clone(), Mend::Retry, ended(active, told))]
        }
        EndReason::OverBudget { detail } => budget::exhausted(id, about, active, detail, left),
        // The rollback says what is done again, and why.
        EndReason::RolledBack { .. } => {
            vec![fail(sentence(reason), Mend::Again, active.notes.clone())]
        }
        // It was no fault of the agent's: the attempt does not count.
        EndReason::Interrupted => {
            let told = sentence(reason);
            vec![fail(told.clone(), Mend::Again, ended(active, told))]
        }
    }
}

/// Returns why the work is back, with how its last session ended: what that session had to know,
/// the next one must know as well.
fn ended(active: &Active, reason: String) -> Vec<Note> {
    let mut notes = active.notes.clone();
    notes.retain(|it| !matches!(it, Note::Ended { .. }));
    notes.push(Note::Ended { reason });
    notes
}

/// Whether a session did its work, or said that there was none left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    Yes,
    No,
}

fn done(
    case: &Case,
    id: SessionId,
    about: &session::Session,
    active: &Active,
    left: Option<&Left>,
    looked: Looked,
) -> Vec<Command> {
    let run = |command| Command::Run(about.run, command);
    let fail = |why: &str, mend, notes| {
        let (step, why) = (about.step.clone(), why.to_string());
        run(run::Command::Fail {
            step,
            why,
            mend,
            notes,
        })
    };
    let mut commands = Vec::new();
    let mut tree = active.tree.clone();
    if let Some(left) = left {
        tree = left.clean.clone();
        commands.push(run(run::Command::Advance {
            tree: left.clean.clone(),
        }));
        if !left.violations.is_empty() {
            let mut notes = active.notes.clone();
            notes.retain(|it| !matches!(it, Note::Ended { .. } | Note::Violations { .. }));
            notes.push(Note::Violations {
                violations: left.violations.clone(),
            });
            let why = format!("changes turned away: {}", left.violations.len());
            commands.push(fail(&why, Mend::Retry, notes));
            return commands;
        }
    }
    let (rechecks, open) = recheck(case, id, about, active, looked);
    commands.extend(rechecks);
    let accept = match active.run.formula.step(&about.step).map(|it| &it.kind) {
        Some(Kind::Session { accept, .. }) => accept.as_slice(),
        Some(Kind::Judge(_) | Kind::Gate { .. } | Kind::Decision | Kind::Action { .. }) | None => {
            &[]
        }
    };
    for check in accept {
        match check {
            Check::HasChanges if tree.manifest.is_none() => {
                let notes = ended(active, "nothing was changed".to_string());
                commands.push(fail("nothing was changed", Mend::Retry, notes));
                return commands;
            }
            Check::NoOpenFindings if open > 0 => {
                let why = format!("open findings: {open}");
                commands.push(fail(&why, Mend::SendBack, vec![Note::Findings]));
                return commands;
            }
            Check::HasChanges | Check::NoOpenFindings => {}
        }
    }
    commands.push(run(run::Command::Pass {
        step: about.step.clone(),
    }));
    commands
}

/// A review that looked at another tree and no longer found what an earlier one had found resolves
/// it. Returns those commands, and how many findings stay open.
fn recheck(
    case: &Case,
    id: SessionId,
    about: &session::Session,
    active: &Active,
    looked: Looked,
) -> (Vec<Command>, usize) {
    let role = active.run.roles.iter().find(|it| it.name == about.role);
    let reviews = looked == Looked::Yes && role.is_some_and(|it| it.may_report_findings);
    let (mut commands, mut open) = (Vec::new(), 0_usize);
    for (finding, state) in &case.findings {
        let finding::State::Open(..) = state else {
            continue;
        };
        let by = finding::Resolver::Recheck {
            session: id,
            tree: about.tree.digest,
        };
        let resolve = finding::Command::Resolve(by);
        if reviews && finding::decide(state, resolve.clone()).is_ok() {
            commands.push(Command::Finding(*finding, resolve));
        } else {
            open = open.saturating_add(1);
        }
    }
    (commands, open)
}

/// What one gate said, and what the run must know of it beside the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The fact.
    pub fact: GateFact,
    /// The end of its output, in the artifact store.
    pub log: Digest,
    /// Whether its command ran at all. One that did not is the operator's to mend, not an agent's.
    pub has_run: bool,
}

/// Says what the word of the active step's gates means. A gate of the step that says nothing about
/// the accepted tree does not pass.
#[must_use]
pub fn gates(case: &Case, run: RunId, mut said: Vec<Said>) -> Vec<Command> {
    let Some(run::State::Active(active)) = case.runs.get(&run) else {
        return vec![];
    };
    let Some((step, Activity::Gates)) = active.current() else {
        return vec![];
    };
    let kind = active.run.formula.step(step).map(|it| &it.kind);
    let tree = active.tree.digest;
    for gate in kind.map(|it| active.run.gates_of(it)).unwrap_or_default() {
        if !said
            .iter()
            .any(|it| it.fact.gate == gate && it.fact.tree == tree)
        {
            let reasons = vec!["it has not looked at this tree".to_string()];
            let fact = GateFact {
                gate,
                tree,
                reasons,
            };
            said.push(Said {
                fact,
                log: Digest::ZERO,
                has_run: true,
            });
        }
    }
    let step = step.to_string();
    let red: Vec<_> = said
        .iter()
        .filter(|it| !it.fact.reasons.is_empty())
        .collect();
    let verdict = if red.is_empty() {
        run::Command::Pass { step }
    } else {
        let notes = red.iter().map(|it| Note::Gate {
            gate: it.fact.gate.clone(),
            reasons: it.fact.reasons.clone(),
            log: it.log,
        });
        let why = red
            .iter()
            .map(|it| format!("gate `{}`: {}", it.fact.gate, it.fact.reasons.join("; ")));
        let why: Vec<_> = why.collect();
        let mend = if red.iter().all(|it| it.has_run) {
            Mend::SendBack
        } else {
            Mend::Nothing
        };
        run::Command::Fail {
            step,
            why: why.join(". "),
            mend,
            notes: notes.collect(),
        }
    };
    let facts = said.iter().map(|it| it.fact.clone()).collect();
    vec![
        Command::Run(run, run::Command::JudgeGates { facts }),
        Command::Run(run, verdict),
    ]
}

/// Says what putting the tree back means: promotions that were proposed on another tree are
/// overtaken, and the steps that made it are done again.
#[must_use]
pub fn rolled_back(case: &Case, run: RunId, done: rollback::Done) -> Vec<Command> {
    let why = format!("the tree was put back: {}", done.rollback.why);
    let mut commands: Vec<_> = overtake_open(case, &why).collect();
    commands.push(Command::Run(run, run::Command::RollBack(done)));
    commands
}

/// Returns the reason for an end in a sentence.
#[must_use]
pub fn sentence(reason: &EndReason) -> String {
    match reason {
        EndReason::Done { summary } => summary.clone(),
        EndReason::Refused { detail, .. } => format!("the agent refused: {detail}"),
        EndReason::Failed { detail } => format!("the agent gave up: {detail}"),
        EndReason::NoSignal {
            code: Some(code), ..
        } => {
            format!("the agent exited with code {code} and never said that it was done")
        }
        EndReason::NoSignal {
            killed_by: Some(signal),
            ..
        } => {
            format!("the agent was ended by signal {signal} and never said that it was done")
        }
        EndReason::NoSignal {
            code: None,
            killed_by: None,
        } => "the agent ended and never said that it was done".to_string(),
        EndReason::NeverSpoke => "the agent never said or printed anything".to_string(),
        EndReason::Silent => "the agent fell silent".to_string(),
        EndReason::Stalled { detail } => format!("the agent got nowhere: {detail}"),
        EndReason::WallClock => "the session's time was up".to_string(),
        EndReason::Flood => "the agent wrote more output than is allowed".to_string(),
        EndReason::Garbage => "the agent sent too many malformed signals".to_string(),
        EndReason::Stopped => "the operator stopped the session".to_string(),
        EndReason::Interrupted => "the engine died during the session".to_string(),
        EndReason::LaunchFailed { detail } => format!("the session could not start: {detail}"),
        EndReason::OverQuota { detail } => format!("too much was written to disk: {detail}"),
        EndReason::OverBudget { detail } => format!("the budget is used up: {detail}"),
        EndReason::Incident { detail } => format!("incident: {detail}"),
        EndReason::Escalated { detail } => format!("the operator was needed: {detail}"),
        EndReason::RolledBack { detail } => format!("the tree was put back: {detail}"),
    }
}
