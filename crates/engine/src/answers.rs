//! The operator's words: answers in one sitting, decisions, stops. Each batch is one transaction.

use std::collections::BTreeMap;

use domain::ambiguity::{self, Answer, report};
use domain::case::{Case, Command};
use domain::finding::{self, Resolver};
use domain::{AmbiguityId, Digest, FindingId, Millis, PromotionId, WorkId, promotion, run, work};

use crate::recorder::{Error, Recorder};
use crate::views::board::Board;

/// Answers questions, all of them or none. One answer reaches every open question that asks the
/// same in any work. Returns how many questions were answered.
///
/// # Errors
/// When a question is not open, an option was not offered, or two answers contradict each other.
pub fn answer(
    recorder: &Recorder,
    board: &Board,
    answers: &[(AmbiguityId, Answer)],
) -> Result<usize, Error> {
    let mut by_work: BTreeMap<WorkId, BTreeMap<AmbiguityId, Answer>> = BTreeMap::new();
    for (id, answer) in answers {
        let (_, asked) = open_question(board, *id)?;
        for (work, case) in &board.cases {
            for (other, same) in case.open_ambiguities() {
                let malformed = !same.malformed.is_empty();
                if other == *id || (same.key == asked.key && !malformed) {
                    let of_work = by_work.entry(*work).or_default();
                    let told = same_answer(asked, same, answer);
                    if let Some(known) = of_work.insert(other, told.clone())
                        && known != told
                    {
                        let text = format!("two answers to the same question contradict: {other}");
                        return Err(Error::Invalid(text));
                    }
                }
            }
        }
    }
    let works: Vec<_> = by_work.keys().copied().collect();
    let by = recorder.actor();
    recorder.submit_together(&works, |work, _| {
        let answers = by_work.get(&work).into_iter().flatten();
        let commands = answers.map(|(id, answer)| {
            let (answer, by) = (answer.clone(), by.to_string());
            Command::Ambiguity(*id, ambiguity::Command::Answer { answer, by })
        });
        Ok(commands.collect())
    })?;
    Ok(by_work.values().map(BTreeMap::len).sum())
}

/// An option is carried over to an equal question by its words: the numbers may differ there.
fn same_answer(
    asked: &ambiguity::Ambiguity,
    same: &ambiguity::Ambiguity,
    answer: &Answer,
) -> Answer {
    if asked.report.options == same.report.options {
        return answer.clone();
    }
    match answer {
        Answer::Option { .. } => Answer::Text {
            text: asked.told(answer),
        },
        Answer::Default
            if report::normalized(&asked.report.default_held)
                != report::normalized(&same.report.default_held) =>
        {
            Answer::Text {
                text: asked.report.default_held.clone(),
            }
        }
        Answer::Default | Answer::Text { .. } => answer.clone(),
    }
}

fn open_question(board: &Board, id: AmbiguityId) -> Result<(WorkId, &ambiguity::Ambiguity), Error> {
    for (work, case) in &board.cases {
        match case.ambiguities.get(&id) {
            Some(ambiguity::State::Open(asked)) => return Ok((*work, asked)),
            Some(state) => {
                let text = format!("question {id} is {}; see `palisade queue`", state.name());
                return Err(Error::Invalid(text));
            }
            None => {}
        }
    }
    Err(Error::Invalid(format!(
        "there is no question {id}; see `palisade queue`"
    )))
}

/// Approves a promotion, bound to the dossier that was shown.
///
/// # Errors
/// When it is not ready, or its dossier is another than the one shown.
pub fn approve(
    recorder: &Recorder,
    work: WorkId,
    id: PromotionId,
    shown: Digest,
    span: Millis,
) -> Result<(), Error> {
    let now = recorder.world().clock.now();
    recorder.submit(work, None, |_| {
        let by = recorder.actor().to_string();
        let approve = promotion::Command::Approve {
            by,
            dossier: shown,
            now,
            span,
        };
        Ok(vec![Command::Promotion(id, approve)])
    })?;
    Ok(())
}

/// Refuses a promotion: the work is over.
///
/// # Errors
/// When it is decided already.
pub fn refuse(recorder: &Recorder, work: WorkId, id: PromotionId, why: &str) -> Result<(), Error> {
    recorder.submit(work, None, |_| {
        let (by, reason) = (recorder.actor().to_string(), why.to_string());
        Ok(vec![Command::Promotion(
            id,
            promotion::Command::Refuse { by, reason },
        )])
    })?;
    Ok(())
}

/// Sends a proposed work back with the operator's words; it will be proposed again.
///
/// # Errors
/// When it is not waiting for a decision.
pub fn rework(recorder: &Recorder, work: WorkId, id: PromotionId, text: &str) -> Result<(), Error> {
    recorder.submit(work, None, |case| {
        match case.promotions.get(&id) {
            Some(
                promotion::State::Blocked(..)
                | promotion::State::Ready(_)
                | promotion::State::Approved(..),
            ) => {}
            // What is being landed may have landed already: that is read, never overtaken.
            Some(
                state @ (promotion::State::Absent
                | promotion::State::Dispatched(..)
                | promotion::State::Promoted(..)
                | promotion::State::Refused(..)
                | promotion::State::Stale(..)),
            ) => {
                return Err(Error::Invalid(format!(
                    "promotion {id} is {}, which waits for no decision; see `palisade status`",
                    state.name()
                )));
            }
            None => {
                return Err(Error::Invalid(format!(
                    "there is no promotion {id}; see `palisade status`"
                )));
            }
        }
        let Some((run_id, active)) = case.run().zip(case.active()).map(|((id, _), it)| (id, it))
        else {
            return Err(Error::Invalid(format!(
                "work {work} has no run to send back"
            )));
        };
        let first = active
            .run
            .formula
            .steps
            .iter()
            .find(|it| matches!(it.kind, domain::formula::Kind::Session { .. }));
        let Some(first) = first else {
            return Err(Error::Invalid(
                "the formula has no session to send it to".to_string(),
            ));
        };
        let why = "the operator wants something else".to_string();
        let notes = vec![run::Note::Operator {
            text: text.to_string(),
        }];
        Ok(vec![
            Command::Promotion(id, promotion::Command::Overtake { why }),
            Command::Run(
                run_id,
                run::Command::SendBack {
                    to: first.id.clone(),
                    notes,
                },
            ),
        ])
    })?;
    Ok(())
}

/// Resolves a finding by the operator's word.
///
/// # Errors
/// When it is not open.
pub fn resolve_finding(
    recorder: &Recorder,
    work: WorkId,
    id: FindingId,
    reason: &str,
) -> Result<(), Error> {
    recorder.submit(work, None, |_| {
        let (name, reason) = (recorder.actor().to_string(), reason.to_string());
        let by = Resolver::Operator { name, reason };
        Ok(vec![Command::Finding(id, finding::Command::Resolve(by))])
    })?;
    Ok(())
}

/// Calls a work off. What runs for it is ended by whoever runs it.
///
/// # Errors
/// When it is over already.
pub fn stop(recorder: &Recorder, work: WorkId, reason: &str) -> Result<(), Error> {
    recorder.submit(work, None, |_: &Case| {
        let reason = reason.to_string();
        Ok(vec![Command::Work(work, work::Command::Cancel { reason })])
    })?;
    Ok(())
}
