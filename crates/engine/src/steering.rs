//! The operator's hand on what runs: pauses, words to the agent, checkpoints and rollbacks that are
//! wanted. Each is recorded here and carried out by whoever runs the session.

use std::sync::atomic::AtomicBool;

use domain::case::{Case, Command};
use domain::checkpoint;
use domain::formula::Lane;
use domain::message::{self, Message, Topic};
use domain::rollback::Rollback;
use domain::session::{self, Pause};
use domain::severity::Severity;
use domain::{CheckpointId, MessageId, Millis, RunId, SessionId, WorkId, run};

use crate::perform::Bench;
use crate::perform::rollback::{self, Planned};
use crate::perform::tripwire::Tripwires;
use crate::recorder::{Error, Recorder};
use crate::settings::Settings;

/// The longest message to an agent, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// How long an agent may take to acknowledge, the first time it is told.
pub const ACKNOWLEDGE_WITHIN: Millis = Millis::from_secs(30);

/// Has a work's agent stand still. The watchdog of its session makes it so, whether the agent
/// heeds it or not.
///
/// # Errors
/// When no agent runs for the work, or it stands still already.
pub fn pause(recorder: &Recorder, work: WorkId, why: &str) -> Result<SessionId, Error> {
    let note = MessageId::from_bits(recorder.fresh());
    let mut paused = None;
    recorder.submit(work, None, |case| {
        let (id, state) = live(case, work)?;
        if let Some(pause) = state.pause() {
            return Err(Error::Invalid(format!(
                "the session stands still already: {} ({}); `palisade resume {work}` lets it go on",
                pause.why, pause.by
            )));
        }
        paused = Some(id);
        let (by, why) = (recorder.actor().to_string(), why.to_string());
        let text = format!("You stand still from now on: {why}");
        let pause = session::Command::Pause(Pause { by, why });
        Ok(vec![
            Command::Session(id, pause),
            note_to(recorder, (work, id), note, Topic::Pause, text),
        ])
    })?;
    paused.ok_or_else(|| nothing_runs(work))
}

/// Lets a work's agent go on.
///
/// # Errors
/// When no agent of the work stands still, or its tree is about to be put back.
pub fn resume(recorder: &Recorder, work: WorkId) -> Result<SessionId, Error> {
    let note = MessageId::from_bits(recorder.fresh());
    let mut resumed = None;
    recorder.submit(work, None, |case| {
        let (id, state) = live(case, work)?;
        let Some(pause) = state.pause() else {
            let text = format!("the session of work {work} runs; there is nothing to resume");
            return Err(Error::Invalid(text));
        };
        if let Some(wanted) = case.active().and_then(|it| it.rollback.as_ref()) {
            let why = &wanted.why;
            let text = format!("the session ends for a rollback that is wanted: {why}");
            return Err(Error::Invalid(text));
        }
        resumed = Some(id);
        let by = recorder.actor().to_string();
        let text = format!("You stood still ({}). Go on.", pause.why);
        Ok(vec![
            Command::Session(id, session::Command::Resume { by }),
            note_to(recorder, (work, id), note, Topic::Resume, text),
        ])
    })?;
    resumed.ok_or_else(|| nothing_runs(work))
}

/// What an agent is told.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// What it is about.
    pub topic: Topic,
    /// How much it weighs.
    pub severity: Severity,
    /// The word itself.
    pub text: &'a str,
    /// How long an acknowledgement may take, the first time it is told; none is needed otherwise.
    pub acknowledge_within: Option<Millis>,
}

/// Tells a work's agent something. What needs an acknowledgement is told again until there is one,
/// and then the agent stands still for the operator to look.
///
/// # Errors
/// When no agent runs for the work, or the text is empty or too long.
pub fn send(recorder: &Recorder, work: WorkId, word: &Word<'_>) -> Result<MessageId, Error> {
    if word.text.len() > MESSAGE_BYTES_MAX {
        let bytes = word.text.len();
        let text = format!("a message may have {MESSAGE_BYTES_MAX} bytes; this one has {bytes}");
        return Err(Error::Invalid(text));
    }
    let id = MessageId::from_bits(recorder.fresh());
    recorder.submit(work, None, |case| {
        let (session, _) = live(case, work)?;
        let queue = message::Command::Queue(Message {
            work,
            session,
            topic: word.topic,
            severity: word.severity,
            text: word.text.to_string(),
            from: recorder.actor().to_string(),
            acknowledge_within: word.acknowledge_within,
        });
        Ok(vec![Command::Message(id, queue)])
    })?;
    Ok(id)
}

/// Asks for a checkpoint of what a work's agent has written so far.
///
/// # Errors
/// When no agent runs for the work, or it only reads.
pub fn request_checkpoint(recorder: &Recorder, work: WorkId) -> Result<CheckpointId, Error> {
    let id = CheckpointId::from_bits(recorder.fresh());
    recorder.submit(work, None, |case| {
        let (session, state) = live(case, work)?;
        if state.live().is_some_and(|it| it.lane == Lane::ReadOnly) {
            let text = format!("the session of work {work} only reads: there is nothing to keep");
            return Err(Error::Invalid(text));
        }
        let request = checkpoint::Request {
            work,
            session,
            by: recorder.actor().to_string(),
        };
        let request = checkpoint::Command::Request(request);
        Ok(vec![Command::Checkpoint(id, request)])
    })?;
    Ok(id)
}

/// Asks for a rollback. The session under way, if there is one, ends for it.
///
/// # Errors
/// When there is no run, another rollback is wanted already, the change is being landed, or the
/// checkpoint is not of this work.
pub fn request_rollback(
    recorder: &Recorder,
    work: WorkId,
    wanted: &Rollback,
) -> Result<RunId, Error> {
    let mut asked = None;
    recorder.submit(work, None, |case| {
        let Some((id, run::State::Active(_))) = case.run() else {
            let text = format!("work {work} has no run that goes on: there is no tree to put back");
            return Err(Error::Invalid(text));
        };
        known(case, wanted)?;
        asked = Some(id);
        let request = run::Command::RequestRollback(wanted.clone());
        Ok(vec![Command::Run(id, request)])
    })?;
    asked.ok_or_else(|| nothing_runs(work))
}

/// Returns what a rollback would do, without doing it. While an agent works, that is told of its
/// last checkpoint: what it has written since is not known.
///
/// # Errors
/// When the rollback makes no sense.
pub fn foresee(
    recorder: &Recorder,
    settings: &Settings,
    work: WorkId,
    wanted: &Rollback,
) -> Result<Planned, Error> {
    let case = recorder.load(work)?;
    known(&case, wanted)?;
    let stopping = AtomicBool::new(false);
    let bench = Bench {
        recorder,
        settings,
        stopping: &stopping,
        tripwires: &Tripwires::new(),
    };
    let from = case.live_session().and_then(|(id, _)| last_of(&case, id));
    rollback::plan_from(&bench, &case, wanted, from)
}

/// Returns the last checkpoint of a session that goes on.
fn last_of(case: &Case, session: SessionId) -> Option<CheckpointId> {
    let mut newest = case.checkpoints.iter().rev();
    newest
        .find(|(_, state)| {
            state
                .checkpoint()
                .is_some_and(|it| it.session == Some(session))
        })
        .map(|(id, _)| *id)
}

fn known(case: &Case, wanted: &Rollback) -> Result<(), Error> {
    let Some(to) = wanted.to else {
        return Ok(());
    };
    let state = case.checkpoints.get(&to);
    match state.and_then(checkpoint::State::checkpoint) {
        Some(_) => Ok(()),
        None => Err(Error::Invalid(format!(
            "the work has no captured checkpoint {to}; see `palisade checkpoints`"
        ))),
    }
}

fn note_to(
    recorder: &Recorder,
    whom: (WorkId, SessionId),
    id: MessageId,
    topic: Topic,
    text: String,
) -> Command {
    note(whom, id, topic, text, recorder.actor())
}

/// Returns the command that tells a session something it need not answer.
pub(crate) fn note(
    (work, session): (WorkId, SessionId),
    id: MessageId,
    topic: Topic,
    text: String,
    from: &str,
) -> Command {
    let queue = message::Command::Queue(Message {
        work,
        session,
        topic,
        severity: Severity::Info,
        text,
        from: from.to_string(),
        acknowledge_within: None,
    });
    Command::Message(id, queue)
}

/// Returns the session whose agent runs or stands still.
fn live(case: &Case, work: WorkId) -> Result<(SessionId, &session::State), Error> {
    case.live_session().ok_or_else(|| {
        let starting = case.sessions.values().any(|it| {
            matches!(
                it,
                session::State::Requested(_) | session::State::Starting(_)
            )
        });
        if starting {
            let text = format!("the session of work {work} is about to start; try again");
            Error::Invalid(text)
        } else {
            nothing_runs(work)
        }
    })
}

fn nothing_runs(work: WorkId) -> Error {
    Error::Invalid(format!(
        "no agent runs for work {work}; see `palisade status`"
    ))
}
