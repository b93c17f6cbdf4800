//! The recorder: how a decision becomes durable. Load the case, decide, append with the versions
//! the decision was made on, and the effects that follow in the same transaction; when somebody
//! else was faster, load and decide again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::case::{Case, Command, Refusal};
use domain::effect::{Effect, react};
use domain::event::Event;
use domain::{
    EffectId, EventId, SessionId, WorkId, action, breaker, gate, grant, lease, machine, output,
};
use ports::log::{Append, Batch, NewEffect, NewEvent, Position, Recorded};
use ports::machine::Reserve;

use crate::world::World;

mod acting;
mod holding;
mod keeping;

pub use holding::ENGINE;

/// How often a decision is made again because somebody else was faster.
const CONFLICTS_MAX: u32 = 50;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A rule of leases said no.
    #[error("the lease `{name}` cannot be had: {refusal}")]
    Lease {
        /// Of what.
        name: String,
        /// Why.
        refusal: lease::Refusal,
    },
    /// A service is left alone by its breaker.
    #[error("the {service} is not used: {refusal}")]
    Breaker {
        /// Which.
        service: String,
        /// Why.
        refusal: breaker::Refusal,
    },
    /// A rule about the machine and its walls said no.
    #[error(transparent)]
    Machine(#[from] machine::Refusal),
    /// A rule about actions said no.
    #[error(transparent)]
    Action(#[from] action::Refusal),
    /// A rule about standing grants said no.
    #[error(transparent)]
    Grant(#[from] grant::Refusal),
    /// The executor gave no answer, or a no.
    #[error(transparent)]
    Executor(#[from] ports::executor::Error),
    /// The machine has too little left for one more cell.
    #[error("there is no room: {0}")]
    NoRoom(String),
    /// The machine does not tell what is free.
    #[error(transparent)]
    Free(#[from] ports::machine::Error),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] ports::log::Error),
    /// The artifact store failed.
    #[error(transparent)]
    Artifacts(#[from] ports::artifacts::Error),
    /// The workspace failed.
    #[error(transparent)]
    Workspaces(#[from] ports::workspaces::Error),
    /// What is stored does not read back.
    #[error("the log holds an event that cannot be read: {stream} version {version}: {why}")]
    Unreadable {
        /// Its stream.
        stream: String,
        /// Its place in it.
        version: u64,
        /// Why.
        why: String,
    },
    /// Others were faster every time.
    #[error("others changed {0} faster than this could be decided; try again")]
    Contended(String),
    /// Something was asked for that is not there, or makes no sense; says how to mend it.
    #[error("{0}")]
    Invalid(String),
    /// Something was met midway that must not be: what was done until then stands.
    #[error("{0}")]
    Fault(String),
    /// What no cell may know was seen outside of the withheld files. Nothing of it was kept.
    #[error("incident: {0}; find the hole, and change what was seen, before anything goes on")]
    Incident(String),
    /// The file system failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Makes decisions durable.
pub struct Recorder {
    world: World,
    actor: String,
    epoch: AtomicU64,
    /// How much of the engine's lease has been read: whoever holds an older epoch is fenced.
    lease_read: AtomicU64,
    cases: Mutex<BTreeMap<WorkId, (Case, Position)>>,
    reserve: Option<Arc<dyn Reserve>>,
}

/// What was recorded.
#[derive(Debug)]
pub struct Done {
    /// The case as it is now.
    pub case: Case,
    /// What has happened.
    pub events: Vec<Event>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = out.debug_struct("Recorder");
        told.field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Returns a recorder whose events are caused by `actor`.
    #[must_use]
    pub fn new(world: World, actor: &str) -> Self {
        Self {
            world,
            actor: actor.to_string(),
            epoch: AtomicU64::new(0),
            lease_read: AtomicU64::new(0),
            cases: Mutex::default(),
            reserve: None,
        }
    }

    /// Returns the ports.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Returns who causes the events.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Notes the fencing epoch under which events are recorded from now on; from then on nothing is
    /// recorded any more once somebody else has taken the engine's lease. Zero, the epoch of whoever
    /// holds no lease, ends that.
    pub fn enter(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Appends, unless this recorder is fenced.
    fn append(&self, batch: Batch) -> Result<(), Error> {
        self.fence()?;
        self.keep(batch)?;
        Ok(())
    }

    /// Returns 128 fresh bits for an identifier.
    #[must_use]
    pub fn fresh(&self) -> u128 {
        self.world.clock.fresh_bits()
    }

    /// Returns all that is known of a work.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn load(&self, work: WorkId) -> Result<Case, Error> {
        let cached = self
            .cases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&work)
            .cloned();
        let (mut case, mut position) = cached.unwrap_or_default();
        for recorded in self
            .world
            .log
            .read_correlated(&work.to_string(), position)?
        {
            case.apply(&decoded(&recorded)?);
            position = recorded.position;
        }
        let mut cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        cases.insert(work, (case.clone(), position));
        Ok(case)
    }

    /// Decides on a work's case and records what follows; `settled` is the effect whose outcome
    /// this is. `decide` may be called again when somebody else was faster.
    ///
    /// # Errors
    /// When a rule refuses, or the log fails; then nothing is recorded.
    pub fn submit(
        &self,
        work: WorkId,
        settled: Option<EffectId>,
        mut decide: impl FnMut(&Case) -> Result<Vec<Command>, Error>,
    ) -> Result<Done, Error> {
        for _ in 0..CONFLICTS_MAX {
            let before = self.load(work)?;
            let (case, events) = before.decide_all(decide(&before)?)?;
            let batch = self.batch(&work.to_string(), &before.versions, &events, settled)?;
            if batch == Batch::default() {
                return Ok(Done { case, events });
            }
            match self.append(batch) {
                Ok(()) => {
                    return Ok(Done {
                        case: self.load(work)?,
                        events,
                    });
                }
                Err(Error::Log(ports::log::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(work.to_string()))
    }

    /// Records decisions on several works at once: all of them or none.
    ///
    /// # Errors
    /// When a rule refuses one of them, or the log fails; then nothing is recorded.
    pub fn submit_together(
        &self,
        works: &[WorkId],
        mut decide: impl FnMut(WorkId, &Case) -> Result<Vec<Command>, Error>,
    ) -> Result<Vec<Event>, Error> {
        for _ in 0..CONFLICTS_MAX {
            let (mut batch, mut all) = (Batch::default(), Vec::new());
            for work in works {
                let before = self.load(*work)?;
                let (_, events) = before.decide_all(decide(*work, &before)?)?;
                let part = self.batch(&work.to_string(), &before.versions, &events, None)?;
                batch.appends.extend(part.appends);
                batch.effects.extend(part.effects);
                all.extend(events);
            }
            if batch == Batch::default() {
                return Ok(all);
            }
            match self.append(batch) {
                Ok(()) => return Ok(all),
                Err(Error::Log(ports::log::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended("the works".to_string()))
    }

    /// Settles an effect that has no outcome left to record.
    ///
    /// # Errors
    /// When the log fails.
    pub fn settle(&self, effect: EffectId) -> Result<(), Error> {
        let batch = Batch {
            settled: vec![effect],
            ..Batch::default()
        };
        self.append(batch)
    }

    /// Keeps a piece of a session's output.
    ///
    /// # Errors
    /// When the log fails.
    pub fn write_output(
        &self,
        session: SessionId,
        version: u64,
        stream: output::Stream,
        text: String,
    ) -> Result<(), Error> {
        let event = Event::Output(session, output::Event::Written { stream, text });
        let versions = BTreeMap::from([(event.stream(), version)]);
        let batch = self.batch(&session.to_string(), &versions, &[event], None)?;
        self.append(batch)
    }

    /// Returns the evidence of one gate on one tree, if there is any.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn evidence(&self, key: domain::Digest) -> Result<gate::State, Error> {
        let mut state = gate::State::default();
        for recorded in self.world.log.read_stream(&format!("evidence/{key}"), 0)? {
            if let Event::Evidence(_, event) = decoded(&recorded)? {
                state = gate::evolve(state, &event);
            }
        }
        Ok(state)
    }

    /// Puts evidence on record, unless there is some already; returns what is on record.
    ///
    /// # Errors
    /// When the log fails.
    pub fn record_evidence(
        &self,
        key: domain::Digest,
        evidence: gate::Evidence,
    ) -> Result<gate::Evidence, Error> {
        if let gate::State::Recorded(known) = self.evidence(key)? {
            return Ok(known);
        }
        let event = Event::Evidence(key, gate::Event::Recorded(evidence.clone()));
        let versions = BTreeMap::new();
        let batch = self.batch(&format!("evidence/{key}"), &versions, &[event], None)?;
        match self.append(batch) {
            Ok(()) => Ok(evidence),
            Err(Error::Log(ports::log::Error::Conflict { .. })) => match self.evidence(key)? {
                gate::State::Recorded(known) => Ok(known),
                gate::State::Absent => Ok(evidence),
            },
            Err(error) => Err(error),
        }
    }

    /// Decides on the breaker of a service, and returns how it stands now.
    ///
    /// # Errors
    /// When the service is not to be used, or the log fails.
    pub fn breaker(
        &self,
        service: &str,
        command: &breaker::Command,
    ) -> Result<breaker::State, Error> {
        let stream = format!("breaker/{service}");
        for _ in 0..CONFLICTS_MAX {
            let (mut state, mut version) = (breaker::State::default(), 0);
            for recorded in self.world.log.read_stream(&stream, 0)? {
                if let Event::Breaker(_, event) = decoded(&recorded)? {
                    state = breaker::evolve(state, &event);
                }
                version = recorded.version;
            }
            let events =
                breaker::decide(&state, command.clone()).map_err(|refusal| Error::Breaker {
                    service: service.to_string(),
                    refusal,
                })?;
            if events.is_empty() {
                return Ok(state);
            }
            let named: Vec<_> = events
                .iter()
                .map(|it| Event::Breaker(service.to_string(), it.clone()))
                .collect();
            let versions = BTreeMap::from([(stream.clone(), version)]);
            let batch = self.batch(&stream, &versions, &named, None)?;
            match self.keep(batch) {
                Ok(_) => return Ok(events.iter().fold(state, breaker::evolve)),
                Err(ports::log::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended(service.to_string()))
    }

    /// Returns how the machine stands: what the attack suite found on it, and what the operator has
    /// accepted to be missing.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn machine(&self) -> Result<machine::State, Error> {
        Ok(self.machine_and_version()?.0)
    }

    /// Decides on the machine, and returns how it stands now.
    ///
    /// # Errors
    /// When a rule says no, or the log fails.
    pub fn on_machine(&self, command: &machine::Command) -> Result<machine::State, Error> {
        let stream = format!("machine/{}", machine::THIS);
        for _ in 0..CONFLICTS_MAX {
            let (state, version) = self.machine_and_version()?;
            let events = machine::decide(&state, command.clone())?;
            let named: Vec<_> = events
                .iter()
                .map(|it| Event::Machine(machine::THIS.to_string(), it.clone()))
                .collect();
            let versions = BTreeMap::from([(stream.clone(), version)]);
            let batch = self.batch(&stream, &versions, &named, None)?;
            match self.keep(batch) {
                Ok(_) => return Ok(events.iter().fold(state, machine::evolve)),
                Err(ports::log::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended(stream))
    }

    fn machine_and_version(&self) -> Result<(machine::State, u64), Error> {
        let stream = format!("machine/{}", machine::THIS);
        let (mut state, mut version) = (machine::State::default(), 0);
        for recorded in self.world.log.read_stream(&stream, 0)? {
            if let Event::Machine(_, event) = decoded(&recorded)? {
                state = machine::evolve(state, &event);
            }
            version = recorded.version;
        }
        Ok((state, version))
    }

    fn batch(
        &self,
        correlation: &str,
        versions: &BTreeMap<String, u64>,
        events: &[Event],
        settled: Option<EffectId>,
    ) -> Result<Batch, Error> {
        let time = self.world.clock.now();
        let mut batch = Batch {
            settled: settled.into_iter().collect(),
            ..Batch::default()
        };
        for event in events {
            let stream = event.stream();
            let id = EventId::from_bits(self.fresh());
            let new = NewEvent {
                id,
                kind: event.kind().to_string(),
                time,
                actor: self.actor.clone(),
                epoch: self.epoch.load(Ordering::Relaxed),
                correlation: correlation.to_string(),
                causation: settled.map(|it| it.to_string()),
                traceparent: None,
                data: json(event)?,
            };
            match batch.appends.iter_mut().find(|it| it.stream == stream) {
                Some(append) => append.events.push(new),
                None => {
                    let expected = versions.get(&stream).copied().unwrap_or(0);
                    batch.appends.push(Append {
                        stream,
                        expected,
                        events: vec![new],
                    });
                }
            }
            for effect in react(event) {
                let id = EffectId::from_bits(self.fresh());
                // An action is asked for beside its work: no executor holds that up.
                let correlation = match effect {
                    Effect::Execute { action } => action.to_string(),
                    Effect::Prepare { .. }
                    | Effect::RunSession { .. }
                    | Effect::Judge { .. }
                    | Effect::RunGates { .. }
                    | Effect::Assemble { .. }
                    | Effect::Land { .. }
                    | Effect::RollBack { .. }
                    | Effect::CleanUp { .. } => correlation.to_string(),
                };
                let body = json(&effect)?;
                batch.effects.push(NewEffect {
                    id,
                    correlation,
                    body,
                });
            }
        }
        Ok(batch)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|it| Error::Fault(format!("cannot be written: {it}")))
}

/// Reads a stored event back.
///
/// # Errors
/// When it is of no known kind, or damaged.
pub fn decoded(recorded: &Recorded) -> Result<Event, Error> {
    let unreadable = |why: String| Error::Unreadable {
        stream: recorded.stream.clone(),
        version: recorded.version,
        why,
    };
    let mut data = serde_json::Deserializer::from_str(&recorded.event.data);
    let event =
        Event::read(&recorded.stream, &mut data).map_err(|it| unreadable(it.to_string()))?;
    if event.kind() == recorded.event.kind {
        Ok(event)
    } else {
        Err(unreadable(format!(
            "it is stored as `{}`",
            recorded.event.kind
        )))
    }
}

/// Reads a stored effect back.
///
/// # Errors
/// When it is of no known kind.
pub fn decoded_effect(effect: &NewEffect) -> Result<Effect, Error> {
    serde_json::from_str(&effect.body).map_err(|it| Error::Unreadable {
        stream: "outbox".to_string(),
        version: 0,
        why: format!("{}: {it}", effect.id),
    })
}
