//! What the end of a judge's session means: its questions are filed, and its verdict passes the step
//! or sends the work back. It says nothing about gates, findings and approvals.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use super::{budget, sentence};
use crate::agent::EndReason;
use crate::ambiguity::{self, Ambiguity};
use crate::case::{Case, Command};
use crate::run::{Activity, Mend, Note, Outcome};
use crate::session::{self, Judgement};
use crate::{AmbiguityId, Millis, SessionId, run, work};

/// A valid answer, and the questions in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub judgement: Judgement,
    /// Questions to be filed. One that the work knows already is not filed again.
    pub questions: Vec<(AmbiguityId, Ambiguity)>,
}

/// Says what the end of a judge's session means. Without a verdict nothing passes, whatever the
/// reason says.
#[must_use]
pub fn judge(
    case: &Case,
    id: SessionId,
    end: session::End,
    verdict: Option<&Verdict>,
) -> Vec<Command> {
    let Some(about) = case.sessions.get(&id).and_then(session::State::session) else {
        return vec![];
    };
    let reason = end.reason.clone();
    let unused = Millis(about.wall.0.saturating_sub(end.wall.0));
    let mut commands = Vec::new();
    if let Some(verdict) = verdict {
        let judge = session::Command::Judge(verdict.judgement.clone());
        commands.push(Command::Session(id, judge));
    }
    commands.push(Command::Session(id, session::Command::End(end)));
    let closed = matches!(case.works.get(&about.work), Some(work::State::Closed(..)));
    if !closed {
        let wall = unused;
        commands.push(Command::Work(about.work, work::Command::Refund { wall }));
    }
    let Some(run::State::Active(active)) = case.runs.get(&about.run) else {
        return commands;
    };
    if closed {
        let end = run::Command::End(Outcome::Canceled);
        commands.push(Command::Run(about.run, end));
        return commands;
    }
    let current = Some((about.step.as_str(), Activity::Session { session: id }));
    if active.current() != current {
        return commands;
    }
    let fail = |why: String, mend, notes| {
        let step = about.step.clone();
        let fail = run::Command::Fail {
            step,
            why,
            mend,
            notes,
        };
        Command::Run(about.run, fail)
    };
    match (&reason, verdict) {
        (EndReason::Done { .. }, Some(verdict)) => {
            commands.extend(filed(case, verdict));
            let judgement = &verdict.judgement;
            commands.push(if judgement.passes {
                let step = about.step.clone();
                Command::Run(about.run, run::Command::Pass { step })
            } else {
                let note = Note::Judge {
                    step: about.step.clone(),
                    reasons: judgement.reasons.clone(),
                };
                fail(told(judgement), Mend::SendBack, vec![note])
            });
        }
        (EndReason::OverBudget { detail }, _) => {
            commands.extend(budget::exhausted(id, about, active, detail, None));
        }
        // It was no fault of the judge's: it is asked again, and the attempt does not count.
        (EndReason::Interrupted, _) => commands.push(fail(sentence(&reason), Mend::Again, vec![])),
        // All attempts are made within one session; more of them are the operator's to start.
        (_, _) => commands.push(fail(sentence(&reason), Mend::Nothing, vec![])),
    }
    commands
}

fn told(judgement: &Judgement) -> String {
    if judgement.reasons.is_empty() {
        "the judge does not pass it, and gives no reason".to_string()
    } else {
        format!("the judge: {}", judgement.reasons.join("; "))
    }
}

fn filed(case: &Case, verdict: &Verdict) -> Vec<Command> {
    let mut known: Vec<&str> = case
        .ambiguities
        .values()
        .filter_map(|it| it.ambiguity().map(|it| it.key.as_str()))
        .collect();
    let mut commands = Vec::new();
    for (id, question) in &verdict.questions {
        if known.contains(&question.key.as_str()) {
            continue;
        }
        known.push(&question.key);
        let file = ambiguity::Command::File(question.clone());
        commands.push(Command::Ambiguity(*id, file));
    }
    commands
}
