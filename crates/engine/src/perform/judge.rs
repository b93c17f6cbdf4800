//! Judge: a language model is asked once, over a session's own socket at the broker. Its answer is
//! held to the declared form here; what it means is the rules' to say.

use std::fmt::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use domain::agent::EndReason;
use domain::case::{Case, Command};
use domain::conclude::{self, Verdict};
use domain::formula::{Judge, Kind};
use domain::session::{self, End, Judgement, Prepared, Session};
use domain::usage::Cap;
use domain::{EffectId, Millis, SessionId, Timestamp, WorkId, work};
use ports::agents::Outcome;
use ports::judges::{Attempt, Error as Fault, Question};
use serde::Serialize;
use serde_json::Value;

use super::models::{self, Opened};
use super::session::{nothing, record, requested_at};
use super::{Bench, facts, tripwire};
use crate::catalog::schema::{self, Schema};
use crate::prompt::{self, Told};
use crate::recorder::Error;

mod reading;

/// How often it is looked whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The most tokens that one answer may have, whatever the step's budget.
const ANSWER_TOKENS_MAX: u64 = 16_000;

/// The most of an earlier answer that is told to the judge again, in bytes.
const EARLIER_BYTES_MAX: usize = 16 * 1024;

/// What was asked last, kept as an artifact.
#[derive(Debug, Serialize)]
struct Request<'a> {
    format: &'static str,
    model: &'a str,
    prompt: &'a str,
    schema: Value,
    earlier: Vec<(&'a str, &'a str)>,
}

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails.
pub(super) fn perform(
    bench: &Bench<'_>,
    work: WorkId,
    id: SessionId,
    effect: EffectId,
) -> Result<(), Error> {
    let case = bench.recorder.load(work)?;
    let desk = |about: Session| Desk {
        bench,
        work,
        id,
        effect,
        about,
    };
    match case.sessions.get(&id) {
        Some(session::State::Requested(about)) => {
            let desk = desk(about.clone());
            if matches!(case.works.get(&work), Some(work::State::Closed(..))) {
                return desk.end(EndReason::Stopped, None, None);
            }
            desk.ask(&case)
        }
        // An engine died while it asked. What that took is counted, and it is asked again.
        Some(
            session::State::Starting(about)
            | session::State::Running(about)
            | session::State::Pausing(about, _)
            | session::State::Paused(about, _),
        ) => {
            let began = requested_at(bench, id)?;
            desk(about.clone()).end(EndReason::Interrupted, None, began)
        }
        Some(session::State::Absent | session::State::Ended(..)) | None => {
            bench.recorder.settle(effect)
        }
    }
}

/// How asking went.
enum Asked {
    /// An answer of the declared form.
    Answered {
        value: Value,
        attempts: u32,
        request: Vec<u8>,
    },
    /// None, and why.
    Ended(EndReason),
}

struct Desk<'a> {
    bench: &'a Bench<'a>,
    work: WorkId,
    id: SessionId,
    effect: EffectId,
    about: Session,
}

impl Desk<'_> {
    fn ask(&self, case: &Case) -> Result<(), Error> {
        let began = self.bench.recorder.world().clock.now();
        let failed = |detail: String| self.end(EndReason::LaunchFailed { detail }, None, None);
        let step = case
            .active()
            .and_then(|it| it.run.formula.step(&self.about.step));
        let Some(Kind::Judge(judge)) = step.map(|it| &it.kind) else {
            return failed(format!("step `{}` asks no judge", self.about.step));
        };
        let form = match schema::read(&judge.schema) {
            Ok(form) => form,
            Err(faults) => return failed(faults.join("; ")),
        };
        let told = match self.told(case, judge) {
            Err(Error::Invalid(detail)) => return failed(detail),
            other => other?,
        };
        let own = Cap {
            tokens: Some(judge.tokens),
            money: None,
        };
        let opened = match models::open_for_judge(self.bench, case, self.id, &self.about, &own) {
            Ok(opened) => opened,
            Err(reason) => return self.end(reason, None, None),
        };
        let prompt = record(self.bench, self.id, "prompt", &told)?;
        self.bench.recorder.submit(self.work, None, |_| {
            let prepare = session::Command::Prepare(Prepared {
                prompt: Some(prompt),
                ..Prepared::default()
            });
            Ok(vec![Command::Session(self.id, prepare)])
        })?;
        let asked = self.wait(judge, &form, &told, &opened)?;
        let halt = models::close(self.bench, Some(opened))?;
        let (asked, verdict) = match asked {
            Asked::Answered {
                value,
                attempts,
                request,
            } => self.understood(judge, &value, attempts, &request)?,
            Asked::Ended(reason) => (reason, None),
        };
        let mut outcome = nothing(asked);
        if let Some(reason) = halt {
            models::overrule(&mut outcome, self.of_the_step(judge, reason));
        }
        let Outcome { reason, .. } = outcome;
        let is_done = matches!(reason, EndReason::Done { .. });
        self.end(reason, verdict.as_ref().filter(|_| is_done), Some(began))
    }

    fn told(&self, case: &Case, judge: &Judge) -> Result<Told, Error> {
        let template = facts::template(self.bench, case, &judge.prompt)?;
        let mut facts = facts::of(self.bench, case, &self.about)?;
        facts.schema.clone_from(&judge.schema);
        prompt::tell(&template, &facts).map_err(|it| Error::Invalid(it.to_string()))
    }

    /// Asks in a thread of its own, so that an answer nobody waits for any more holds up nothing.
    fn wait(
        &self,
        judge: &Judge,
        form: &Schema,
        told: &Told,
        opened: &Opened,
    ) -> Result<Asked, Error> {
        let (says, hears) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let asked = self.attempts(judge, form, told, opened);
                // Whoever does not listen any more has said why.
                drop(says.send(asked));
            });
            loop {
                match hears.recv_timeout(LOOK) {
                    Ok(asked) => return Ok(asked),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        let told = "the thread that asks the judge is gone";
                        return Err(Error::Fault(told.to_string()));
                    }
                }
                let called_off = self.is_called_off();
                if !matches!(called_off, Ok(None)) {
                    // With its socket the question is gone, and the thread comes back.
                    models::hang_up(self.bench, self.id);
                }
                if let Some(reason) = called_off? {
                    return Ok(Asked::Ended(reason));
                }
            }
        })
    }

    fn is_called_off(&self) -> Result<Option<EndReason>, Error> {
        if self.bench.is_stopping() {
            return Ok(Some(EndReason::Interrupted));
        }
        let case = self.bench.recorder.load(self.work)?;
        let is_closed = matches!(case.works.get(&self.work), Some(work::State::Closed(..)));
        Ok(is_closed.then_some(EndReason::Stopped))
    }

    fn attempts(&self, judge: &Judge, form: &Schema, told: &Told, opened: &Opened) -> Asked {
        let patience = Duration::from_millis(self.about.wall.0);
        let began = Instant::now();
        let mut question = Question {
            socket: opened.socket.clone(),
            model: judge.model.clone(),
            prompt: told.text.clone(),
            schema: judge.schema.clone(),
            earlier: Vec::new(),
            tokens_max: judge.tokens.min(ANSWER_TOKENS_MAX),
            patience,
        };
        let mut last = String::new();
        for attempt in 1..=judge.attempts {
            question.patience = patience.saturating_sub(began.elapsed());
            if question.patience.is_zero() {
                return Asked::Ended(EndReason::WallClock);
            }
            let answer = match self.bench.recorder.world().judges.ask(&question) {
                Ok(answer) => answer,
                Err(Fault::TooSlow(_)) => return Asked::Ended(EndReason::WallClock),
                Err(error) => {
                    last = chain(&error);
                    if is_final(&error) {
                        break;
                    }
                    continue;
                }
            };
            match reading::value(form, &answer) {
                Ok(value) => {
                    return Asked::Answered {
                        value,
                        attempts: attempt,
                        request: request(&question),
                    };
                }
                Err(complaint) => {
                    last.clone_from(&complaint);
                    let mut answer = answer;
                    let end = (0..=EARLIER_BYTES_MAX.min(answer.len())).rev();
                    let end = end.into_iter().find(|it| answer.is_char_boundary(*it));
                    answer.truncate(end.unwrap_or(0));
                    question.earlier.push(Attempt { answer, complaint });
                }
            }
        }
        let detail = format!(
            "no answer of the declared form in {} attempts: {last}",
            judge.attempts
        );
        Asked::Ended(EndReason::Failed {
            detail: reading::printable(&detail),
        })
    }

    fn understood(
        &self,
        judge: &Judge,
        value: &Value,
        attempts: u32,
        request: &[u8],
    ) -> Result<(EndReason, Option<Verdict>), Error> {
        let answer = serde_json::to_vec(value)
            .map_err(|it| Error::Fault(format!("the answer of session {}: {it}", self.id)))?;
        let watch = self.bench.watch(&self.about.tree.base)?;
        let text = String::from_utf8_lossy(&answer);
        match tripwire::check(&watch, "what a judge answered", &text) {
            Err(Error::Incident(detail)) => return Ok((EndReason::Incident { detail }, None)),
            other => other?,
        }
        let digests = self
            .bench
            .recorder
            .world()
            .artifacts
            .put_all(&[request, &answer])?;
        let [request, answer] = digests[..] else {
            return Err(Error::Fault(
                "two artifacts were put, and not two came back".to_string(),
            ));
        };
        let judgement = Judgement {
            model: judge.model.clone(),
            request,
            answer,
            attempts,
            passes: reading::passes(judge, value),
            reasons: reading::reasons(judge, value),
        };
        let verdict = if judgement.passes {
            "passes"
        } else {
            "does not pass"
        };
        let mut summary = format!("the judge: it {verdict}");
        for reason in &judgement.reasons {
            write!(summary, "; {reason}").map_err(|it| Error::Fault(it.to_string()))?;
        }
        let questions = reading::questions(self.bench, judge, value, (self.id, &self.about));
        let verdict = Verdict {
            judgement,
            questions,
        };
        Ok((EndReason::Done { summary }, Some(verdict)))
    }

    /// What the step itself allows is the formula's to raise, not the operator's to answer.
    fn of_the_step(&self, judge: &Judge, reason: EndReason) -> EndReason {
        let operators = self.bench.settings.models.caps.session.tokens;
        let is_own = operators.is_none_or(|it| it > judge.tokens);
        if let EndReason::OverBudget { detail } = &reason
            && is_own
            && detail.starts_with("the session's")
        {
            let step = &self.about.step;
            let mend = format!("raise `tokens` in the budget of step `{step}`");
            return EndReason::Failed {
                detail: format!("{detail}; {mend}"),
            };
        }
        reason
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever ends it has nothing more to say"
    )]
    fn end(
        &self,
        reason: EndReason,
        verdict: Option<&Verdict>,
        began: Option<Timestamp>,
    ) -> Result<(), Error> {
        models::settle(self.bench, self.work, self.id)?;
        let now = self.bench.recorder.world().clock.now();
        let wall = began.map_or(Millis(0), |it| now.since(it).min(self.about.wall));
        let submitted = self
            .bench
            .recorder
            .submit(self.work, Some(self.effect), |case| {
                if matches!(
                    case.sessions.get(&self.id),
                    None | Some(session::State::Ended(..))
                ) {
                    return Ok::<_, Error>(vec![]);
                }
                let end = End {
                    reason: reason.clone(),
                    wall,
                    output_bytes: 0,
                    malformed: 0,
                    late: 0,
                };
                Ok(conclude::judge(case, self.id, end, verdict))
            });
        submitted.map(drop)
    }
}

/// Whether asking again would be answered in the same way.
fn is_final(error: &Fault) -> bool {
    match error {
        Fault::Unknown(_) => true,
        Fault::Refused { status, .. } => {
            (400..500).contains(status) && !matches!(status, 408 | 429)
        }
        Fault::Broken { .. } | Fault::TooSlow(_) | Fault::Odd(_) => false,
    }
}

fn chain(error: &Fault) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        told = format!("{told}: {inner}");
        cause = inner.source();
    }
    told
}

fn request(question: &Question) -> Vec<u8> {
    let earlier = question.earlier.iter();
    let request = Request {
        format: "palisade.judge.v1",
        model: &question.model,
        prompt: &question.prompt,
        schema: serde_json::from_str(&question.schema).unwrap_or_default(),
        earlier: earlier
            .map(|it| (it.answer.as_str(), it.complaint.as_str()))
            .collect(),
    };
    serde_json::to_vec(&request).unwrap_or_default()
}
