//! RunSession: an agent works in a cell; what it leaves is captured, judged and taken in.

use domain::agent::EndReason;
use domain::case::{Case, Command};
use domain::checkpoint::Trigger;
use domain::conclude::{self, sentence};
use domain::event::Event;
use domain::formula::Lane;
use domain::output;
use domain::session::{self, End, Prepared, Session};
use domain::{Digest, EffectId, Millis, SessionId, Timestamp, WorkId, work};
use ports::agents::{Driver, Outcome, Task};
use serde::Serialize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::allowance::Allowed;
use super::compile::Fault;
use super::listener::SessionListener;
use super::models::{self, Opened};
use super::watchdog::Watchdog;
use super::{Bench, brief, tripwire};
use crate::prompt::Told;
use crate::recorder::{Error, decoded};

mod leaving;

use leaving::{capture, trigger};

/// Performs the effect.
///
/// # Errors
/// When the log, the store or the disk fails.
pub fn perform(
    bench: &Bench<'_>,
    work: WorkId,
    id: SessionId,
    effect: EffectId,
) -> Result<(), Error> {
    let case = bench.recorder.load(work)?;
    match case.sessions.get(&id) {
        Some(session::State::Requested(about)) => {
            let about = about.clone();
            if matches!(case.works.get(&work), Some(work::State::Closed(..))) {
                return end(
                    bench,
                    work,
                    id,
                    effect,
                    &about,
                    &nothing(EndReason::Stopped),
                    None,
                );
            }
            run(bench, &case, work, id, effect, &about)
        }
        // An engine died while this session was going on; its cell died with it. What the agent
        // left is captured, the session is over, and the work goes on with another one.
        Some(
            session::State::Starting(about)
            | session::State::Running(about)
            | session::State::Pausing(about, _)
            | session::State::Paused(about, _),
        ) => {
            let about = about.clone();
            end(
                bench,
                work,
                id,
                effect,
                &about,
                &Outcome {
                    output_bytes: printed(bench, id)?,
                    ..nothing(EndReason::Interrupted)
                },
                requested_at(bench, id)?,
            )
        }
        Some(session::State::Absent | session::State::Ended(..)) | None => {
            bench.recorder.settle(effect)
        }
    }
}

pub(super) fn requested_at(bench: &Bench<'_>, id: SessionId) -> Result<Option<Timestamp>, Error> {
    let told = bench
        .recorder
        .world()
        .log
        .read_stream(&format!("session/{id}"), 0)?;
    Ok(told.first().map(|it| it.event.time))
}

/// Returns what is on record of a session's output, in bytes: of one whose engine died, all that is
/// known of it.
fn printed(bench: &Bench<'_>, id: SessionId) -> Result<u64, Error> {
    let told = bench
        .recorder
        .world()
        .log
        .read_stream(&format!("output/{id}"), 0)?;
    let mut bytes = 0_u64;
    for recorded in told {
        if let Event::Output(_, output::Event::Written { text, .. }) = decoded(&recorded)? {
            bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        }
    }
    Ok(bytes)
}

pub(super) const fn nothing(reason: EndReason) -> Outcome {
    Outcome {
        reason,
        output_bytes: 0,
        malformed: 0,
        late: 0,
    }
}

fn run(
    bench: &Bench<'_>,
    case: &Case,
    work: WorkId,
    id: SessionId,
    effect: EffectId,
    about: &Session,
) -> Result<(), Error> {
    let recorder = bench.recorder;
    let began = recorder.world().clock.now();
    let driver = match (recorder.world().drivers)(&about.agent) {
        Ok(driver) => driver,
        Err(detail) => {
            let outcome = nothing(EndReason::LaunchFailed { detail });
            return end(bench, work, id, effect, about, &outcome, None);
        }
    };
    let allowed = Allowed::of(bench, case, work)?;
    if let Some(detail) = allowed.used_up() {
        let outcome = nothing(EndReason::OverBudget { detail });
        return end(bench, work, id, effect, about, &outcome, None);
    }
    let failed = |detail: String| {
        let outcome = nothing(EndReason::LaunchFailed { detail });
        end(bench, work, id, effect, about, &outcome, None)
    };
    let folders = match brief::write(bench, case, id, about) {
        Err(Error::Invalid(detail)) => return failed(detail),
        other => other?,
    };
    let mut compiled = match bench.session_cell(case, id, about, &folders) {
        Ok(compiled) => compiled,
        Err(Fault::Unmet(detail)) => return failed(detail),
        Err(Fault::World(error)) => return Err(error),
    };
    let mut limits = bench.settings.agent_limits;
    limits.wall = limits.wall.min(Duration::from_millis(about.wall.0));
    allowed.bound(&mut compiled.spec.limits, &mut limits);
    let mut task = Task {
        session: id,
        epoch: about.epoch,
        role: about.role.clone(),
        round: about.round,
        prompt: folders.told.text.clone(),
        brief: folders.brief,
        drop: folders.drop,
        cell: compiled.spec,
        model_socket: None,
        model: None,
        may_fetch_packages: false,
        limits,
    };
    let models = match models::open(bench, case, id, about, driver.as_ref()) {
        Ok(models) => models,
        Err(reason) => return end(bench, work, id, effect, about, &nothing(reason), None),
    };
    if let Some(opened) = &models {
        opened.show(&mut task);
    }
    if let Err(detail) = driver.furnish(&mut task) {
        return failed(detail);
    }
    // What the driver has made of it, if it has.
    let told = Told {
        text: task.prompt.clone(),
        ..folders.told
    };
    prepare(bench, work, id, &task, &told, compiled.fallback)?;
    let mut outcome = drive(
        bench,
        case,
        (work, id),
        about,
        driver.as_ref(),
        (task, models),
    )?;
    allowed.overrule(bench, &mut outcome);
    end(bench, work, id, effect, about, &outcome, Some(began))
}

/// Runs the agent with a listener and a watchdog, and returns how it went.
fn drive(
    bench: &Bench<'_>,
    case: &Case,
    (work, id): (WorkId, SessionId),
    about: &Session,
    driver: &dyn Driver,
    (task, models): (Task, Option<Opened>),
) -> Result<Outcome, Error> {
    let watch = bench.watch(&about.tree.base)?;
    let watchdog = Watchdog::new(
        bench,
        case,
        (work, id),
        about,
        task.brief.clone(),
        Arc::clone(&watch),
    )?;
    let listener = SessionListener::new(bench, work, id, about, &watchdog, Arc::clone(&watch));
    let (mut outcome, watched) = thread::scope(|scope| {
        let watching = scope.spawn(|| watchdog.watch());
        let counting = models
            .as_ref()
            .map(|it| scope.spawn(|| models::count(bench, it, &watchdog)));
        let outcome = {
            let _until = watchdog.until_dropped();
            driver.run(task, &listener)
        };
        (
            outcome,
            (watching.join(), counting.map_or(Ok(Ok(())), |it| it.join())),
        )
    });
    let (watched, counted) = watched;
    if outcome.reason == EndReason::Stopped
        && let Some(reason) = watchdog.end()
    {
        outcome.reason = reason;
    }
    if outcome.reason == EndReason::Stopped && bench.is_stopping() && !is_closed(bench, work)? {
        outcome.reason = EndReason::Interrupted;
    }
    listener.finish()?;
    for watched in [watched, counted] {
        match watched {
            Ok(watched) => watched?,
            // The panic was told by its own thread; the work is tended as one that failed.
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }
    if let Some(reason) = models::close(bench, models)? {
        models::overrule(&mut outcome, reason);
    }
    let said = tripwire::check(&watch, "how the session ended", &sentence(&outcome.reason));
    match (listener.incident(), said) {
        (Some(detail), _) | (None, Err(Error::Incident(detail))) => {
            outcome.reason = EndReason::Incident { detail };
        }
        (None, said) => said?,
    }
    Ok(outcome)
}

/// Puts on record what a session begins with: its cell, and what it is told.
fn prepare(
    bench: &Bench<'_>,
    work: WorkId,
    id: SessionId,
    task: &Task,
    told: &Told,
    fallback: bool,
) -> Result<(), Error> {
    let cell = record(bench, id, "cell", &task.cell)?;
    let prompt = record(bench, id, "prompt", told)?;
    let prepared = Prepared {
        fallback,
        cell: Some(cell),
        prompt: Some(prompt),
    };
    let submitted = bench.recorder.submit(work, None, |_| {
        let prepare = session::Command::Prepare(prepared.clone());
        Ok::<_, Error>(vec![Command::Session(id, prepare)])
    });
    submitted.map(drop)
}

/// Keeps what a session begins with, as it is launched, and returns its digest.
pub(super) fn record(
    bench: &Bench<'_>,
    id: SessionId,
    what: &str,
    value: &impl Serialize,
) -> Result<Digest, Error> {
    let text = serde_json::to_vec(value)
        .map_err(|it| Error::Fault(format!("the {what} of session {id}: {it}")))?;
    Ok(bench.recorder.world().artifacts.put(&text)?)
}

fn is_closed(bench: &Bench<'_>, work: WorkId) -> Result<bool, Error> {
    let case = bench.recorder.load(work)?;
    Ok(matches!(
        case.works.get(&work),
        Some(work::State::Closed(..))
    ))
}

fn end(
    bench: &Bench<'_>,
    work: WorkId,
    id: SessionId,
    effect: EffectId,
    about: &Session,
    outcome: &Outcome,
    began: Option<Timestamp>,
) -> Result<(), Error> {
    models::settle(bench, work, id)?;
    let mut reason = outcome.reason.clone();
    let is_incident = matches!(reason, EndReason::Incident { .. });
    let left = match about.lane {
        // Nothing is kept of what an agent left that has been where nobody may be.
        _ if is_incident => None,
        Lane::ReadOnly => None,
        Lane::DryRun | Lane::Execute => {
            let case = bench.recorder.load(work)?;
            let is_wanted = case.active().is_some_and(|it| it.rollback.is_some());
            // The engine died before it could end the session for the rollback: what was left is
            // what is put back.
            let trigger = if is_wanted && outcome.reason == EndReason::Interrupted {
                Trigger::BeforeRollback
            } else {
                trigger(&outcome.reason)
            };
            let captured = match capture(bench, &case, work, id, about, trigger) {
                Err(error)
                    if error.is_disk_full()
                        && fits_in_reserve(bench, id)
                        && bench.recorder.give_up_reserve()? =>
                {
                    capture(bench, &case, work, id, about, trigger)
                }
                other => other,
            };
            match captured {
                // What cannot be taken in (too many files, say) is the session's failure, which
                // the next one is told; it must not hold the work up for ever.
                Err(Error::Workspaces(ports::workspaces::Error::Unusable(detail))) => {
                    if reason.summary().is_some() {
                        reason = EndReason::Failed { detail };
                    }
                    None
                }
                Err(Error::Incident(detail)) => {
                    reason = EndReason::Incident { detail };
                    None
                }
                other => other?,
            }
        }
    };
    let now = bench.recorder.world().clock.now();
    // Whatever the clock did meanwhile, no more is counted than was reserved. Of a session whose
    // engine died, the time until now is counted: it is never less than what it used.
    let wall = began.map_or(Millis(0), |began| now.since(began).min(about.wall));
    bench.recorder.submit(work, Some(effect), |case| {
        if matches!(
            case.sessions.get(&id),
            None | Some(session::State::Ended(..))
        ) {
            return Ok(vec![]);
        }
        let end = End {
            reason: reason.clone(),
            wall,
            output_bytes: outcome.output_bytes,
            malformed: outcome.malformed,
            late: outcome.late,
        };
        Ok(conclude::session(case, id, end, left.as_ref()))
    })?;
    bench.recorder.world().workspaces.close(id)?;
    brief::remove(bench, id)
}

/// Returns whether what a session has left takes no more than half of the reserve: the other half is
/// for its end, which must be on record as well.
fn fits_in_reserve(bench: &Bench<'_>, id: SessionId) -> bool {
    let held = bench.recorder.reserve().map_or(0, |it| it.held());
    let left = bench.recorder.world().workspaces.look(id);
    left.is_ok_and(|it| it.bytes <= held / 2)
}
