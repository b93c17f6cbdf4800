//! The coordinator: who does what when. Each open work is tended by a thread of its own, until it
//! waits for somebody else or is over; a work that fails never stops another. Nothing is kept in
//! memory that a restart would miss: what is due is recomputed, and effects wait in the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use domain::due::{Context, Due, Wait, due};
use domain::effect::Effect;
use domain::formula::Lane;
use domain::work::State as WorkState;
use domain::{ActionId, Millis, SessionId, Timestamp, WorkId, lease, session};
use ports::log::Position;

use crate::perform::checkpoint::services::{SERVICES, give_up};
use crate::perform::tripwire::Tripwires;
use crate::perform::{self, Bench};
use crate::recorder::{ENGINE, Error, Recorder, decoded_effect};
use crate::restraint::{Leave, Restraint, Word};
use crate::room::Rooms;
use crate::settings::Settings;
use crate::views::board::Board;

mod acting;
mod slots;

use acting::Acting;
use slots::Slots;

/// How often the log is looked at for what other processes have appended.
const LOOK: Duration = Duration::from_millis(100);

/// How long the engine's lease counts without renewal. Liveness is a file lock; the lease gives
/// the epoch, and whoever lost both to another engine is fenced.
const LEASE_SPAN: Millis = Millis::from_mins(10);

/// How much of the lease may pass before it is renewed.
const RENEW_AFTER: Millis = Millis::from_mins(5);

/// Decisions about one work in one go before it is called a loop: far over what any run takes.
const TURNS_MAX: u32 = 10_000;

/// Drives all open works.
#[derive(Debug)]
pub struct Coordinator<'a> {
    recorder: &'a Recorder,
    settings: &'a Settings,
    stopping: AtomicBool,
    slots: Slots,
    rooms: Rooms,
    restraint: Restraint,
    tripwires: Tripwires,
}

/// Stops the engine when it is dropped.
struct StopOnExit<'a> {
    coordinator: &'a Coordinator<'a>,
    is_armed: bool,
}

impl Drop for StopOnExit<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.coordinator.stop();
        }
    }
}

/// Why [`Coordinator::run`] came back.
#[derive(Debug, Default)]
pub struct Rest {
    /// What each open work waits for.
    pub waits: BTreeMap<WorkId, Wait>,
    /// What went wrong with works that could not be tended; their effects stay in the outbox.
    pub errors: BTreeMap<WorkId, Error>,
    /// What went wrong with actions; an executor that is away is not among it.
    pub action_errors: BTreeMap<ActionId, Error>,
}

impl<'a> Coordinator<'a> {
    /// Returns a coordinator.
    #[must_use]
    pub const fn new(recorder: &'a Recorder, settings: &'a Settings) -> Self {
        let slots = Slots {
            taken: Mutex::new(0),
            freed: Condvar::new(),
            limit: settings.slots,
        };
        Self {
            recorder,
            settings,
            stopping: AtomicBool::new(false),
            slots,
            rooms: Rooms::new(),
            restraint: Restraint::new(),
            tripwires: Tripwires::new(),
        }
    }

    /// Asks [`Coordinator::run`] to end its sessions and come back. They go on after a restart.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.slots.freed.notify_all();
    }

    /// Drives every open work until all of them wait for the operator or are over. `look` is called
    /// again and again meanwhile; it may stop the coordinator.
    ///
    /// # Errors
    /// When the log fails.
    pub fn run(&self, mut look: impl FnMut()) -> Result<Rest, Error> {
        self.tripwires.plant(&self.settings.state, self.recorder)?;
        self.recorder.renew_reserve();
        let epoch = self.acquire()?;
        for service in SERVICES {
            give_up(self.recorder, service, "the engine died while it was tried")?;
        }
        let rest = self.drive(&mut look, epoch);
        let released = self
            .recorder
            .lease(ENGINE, &lease::Command::Release { epoch });
        self.recorder.enter(0);
        // What stopped the works is told, rather than what it did to the lease.
        let rest = rest?;
        released?;
        Ok(rest)
    }

    /// Carries out the rollback that a work wants, and nothing else; what a dead engine left of a
    /// session is settled before. Returns whether none is wanted any more: one that comes after a
    /// session or a gate that has not begun is left to [`Coordinator::run`].
    ///
    /// # Errors
    /// When the log, the store or the disk fails.
    pub fn roll_back(&self, work: WorkId) -> Result<bool, Error> {
        let epoch = self.acquire()?;
        let done = self.roll_back_now(work);
        let released = self
            .recorder
            .lease(ENGINE, &lease::Command::Release { epoch });
        self.recorder.enter(0);
        let done = done?;
        released?;
        Ok(done)
    }

    fn roll_back_now(&self, work: WorkId) -> Result<bool, Error> {
        let bench = Bench {
            recorder: self.recorder,
            settings: self.settings,
            stopping: &self.stopping,
            tripwires: &self.tripwires,
        };
        for next in self.recorder.world().log.pending()? {
            if !belongs(&next, work) {
                continue;
            }
            let effect = decoded_effect(&next.effect)?;
            match effect {
                // A cell that died with its engine: performing this only settles what it left.
                Effect::RunSession { session } | Effect::Judge { session }
                    if self.has_begun(work, session)? => {}
                Effect::RollBack { .. } => {}
                Effect::Prepare { .. }
                | Effect::RunSession { .. }
                | Effect::Judge { .. }
                | Effect::RunGates { .. }
                | Effect::Assemble { .. }
                | Effect::Land { .. }
                | Effect::CleanUp { .. }
                | Effect::Execute { .. } => break,
            }
            perform::perform(&bench, work, next.effect.id, effect)?;
        }
        let case = self.recorder.load(work)?;
        Ok(case.active().is_none_or(|it| it.rollback.is_none()))
    }

    fn only_reads(&self, work: WorkId, session: SessionId) -> Result<bool, Error> {
        let case = self.recorder.load(work)?;
        let about = case
            .sessions
            .get(&session)
            .and_then(session::State::session);
        Ok(about.is_some_and(|it| it.lane == Lane::ReadOnly))
    }

    fn has_begun(&self, work: WorkId, session: SessionId) -> Result<bool, Error> {
        let case = self.recorder.load(work)?;
        let state = case.sessions.get(&session);
        Ok(!matches!(state, Some(session::State::Requested(_))))
    }

    fn drive(&self, look: &mut dyn FnMut(), epoch: u64) -> Result<Rest, Error> {
        let acting = Acting::default();
        thread::scope(|scope| {
            // If this ends early, the works are not left to their sessions: the scope waits.
            let mut stop = StopOnExit {
                coordinator: self,
                is_armed: true,
            };
            let (sender, receiver) = mpsc::channel();
            let mut tended: BTreeSet<WorkId> = BTreeSet::new();
            let mut rested: BTreeMap<WorkId, Position> = BTreeMap::new();
            let mut rest = Rest::default();
            let mut board = Board::default();
            let mut renewed = self.recorder.world().clock.now();
            loop {
                look();
                // Whoever slept through the loss of the lease ends its sessions before anything.
                self.recorder.fence()?;
                renewed = self.renew(epoch, renewed)?;
                self.recorder.renew_reserve();
                // Looked at before the log is read: what it has done is seen then.
                let was_acting = acting.is_busy();
                board.catch_up(self.recorder.world().log.as_ref())?;
                let is_acting = !self.stopping.load(Ordering::Relaxed)
                    && acting.begin(scope, self.recorder, &board)?;
                let unsettled = self.unsettled(&board)?;
                for id in unsettled {
                    let seen = rested.get(&id).copied();
                    let failed = rest.errors.contains_key(&id);
                    let stopping = self.stopping.load(Ordering::Relaxed);
                    if tended.contains(&id) || failed || stopping || seen == Some(board.position) {
                        continue;
                    }
                    tended.insert(id);
                    let sender = sender.clone();
                    scope.spawn(move || {
                        // The position is taken before, so that nothing appended while the work
                        // comes to rest is missed.
                        let tended = self.tend_or_tell(id);
                        // The receiver outlives the scope's threads; a send cannot fail.
                        drop(sender.send((id, tended)));
                    });
                }
                if tended.is_empty() && !was_acting && !is_acting {
                    stop.is_armed = false;
                    rest.action_errors = acting.errors();
                    return Ok(rest);
                }
                if let Ok((id, result)) = receiver.recv_timeout(LOOK) {
                    tended.remove(&id);
                    match result {
                        Ok((position, wait)) => {
                            rested.insert(id, position);
                            match wait {
                                Some(wait) => rest.waits.insert(id, wait),
                                None => rest.waits.remove(&id),
                            };
                        }
                        Err(error) => {
                            rest.errors.insert(id, error);
                        }
                    }
                }
            }
        })
    }

    /// Renews the lease when it is time; returns when it was renewed last.
    fn renew(&self, epoch: u64, last: Timestamp) -> Result<Timestamp, Error> {
        let (now, span) = (self.recorder.world().clock.now(), LEASE_SPAN);
        if now.since(last) < RENEW_AFTER {
            // A clock that jumped back lengthens nothing: the span counts from there again.
            return Ok(last.min(now));
        }
        let renew = lease::Command::Renew { epoch, span, now };
        self.recorder.lease(ENGINE, &renew)?;
        Ok(now)
    }

    /// Tends a work; a mistake of the program is an error of this work, not the end of all.
    fn tend_or_tell(&self, id: WorkId) -> Result<(Position, Option<Wait>), Error> {
        // Locks that a panic left are taken over, and what a work holds is in the log alone.
        panic::catch_unwind(AssertUnwindSafe(|| self.tend(id))).unwrap_or_else(|cause| {
            let told = cause
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| cause.downcast_ref::<&str>().copied())
                .unwrap_or("no reason is given");
            let text = format!("work {id} met a mistake of Palisade: {told}");
            Err(Error::Fault(text))
        })
    }

    fn acquire(&self) -> Result<u64, Error> {
        let now = self.recorder.world().clock.now();
        let owner = self.recorder.actor().to_string();
        // Whoever gets here holds the state's file lock, so an earlier holder is dead: it is given
        // up, and the epoch moves on.
        let held = self.recorder.lease(
            ENGINE,
            &lease::Command::Acquire {
                owner: owner.clone(),
                span: LEASE_SPAN,
                now,
            },
        );
        let state = match held {
            Err(Error::Lease {
                refusal: lease::Refusal::Held { expires, .. },
                ..
            }) => {
                let acquire = lease::Command::Acquire {
                    owner,
                    span: LEASE_SPAN,
                    now: expires,
                };
                self.recorder.lease(ENGINE, &acquire)?
            }
            other => other?,
        };
        self.recorder.enter(state.epoch);
        Ok(state.epoch)
    }

    /// Returns the works that are open, and those closed ones that have effects left.
    fn unsettled(&self, board: &Board) -> Result<Vec<WorkId>, Error> {
        let mut works: BTreeSet<WorkId> = board.open().into_iter().collect();
        for pending in self.recorder.world().log.pending()? {
            if let Ok(work) = pending.effect.correlation.parse() {
                works.insert(work);
            }
        }
        // A closed work may have questions and goals to close with it.
        for (id, case) in &board.cases {
            if matches!(case.work(), Some((_, WorkState::Closed(..)))) {
                let context = Context {
                    now: Timestamp(0),
                    fresh: 0,
                    dependencies: &[],
                };
                if matches!(due(case, &context), Due::Do(_)) {
                    works.insert(*id);
                }
            }
        }
        Ok(works.into_iter().collect())
    }

    /// Drives one work until it waits for somebody else or is over. Returns the position of the
    /// log it came to rest at.
    fn tend(&self, id: WorkId) -> Result<(Position, Option<Wait>), Error> {
        let world = self.recorder.world();
        for _ in 0..TURNS_MAX {
            let position = world.log.head()?;
            if self.stopping.load(Ordering::Relaxed) {
                return Ok((position, Some(Wait::Effect)));
            }
            if self.perform_next(id)? {
                continue;
            }
            let case = self.recorder.load(id)?;
            let dependencies = self.dependencies(&case)?;
            let (now, fresh) = (world.clock.now(), self.recorder.fresh());
            match due(
                &case,
                &Context {
                    now,
                    fresh,
                    dependencies: &dependencies,
                },
            ) {
                Due::Over => return Ok((position, None)),
                Due::Wait(Wait::Effect) => {
                    if world.log.pending()?.iter().any(|it| belongs(it, id)) {
                        continue;
                    }
                    let text = format!("work {id} waits for an effect that is not in the outbox");
                    return Err(Error::Fault(text));
                }
                Due::Wait(wait) => return Ok((position, Some(wait))),
                Due::Do(_) => {
                    let context = Context {
                        now,
                        fresh,
                        dependencies: &dependencies,
                    };
                    self.recorder
                        .submit(id, None, |case| match due(case, &context) {
                            Due::Do(commands) => Ok(commands),
                            Due::Wait(_) | Due::Over => Ok(vec![]),
                        })?;
                }
            }
        }
        Err(Error::Fault(format!(
            "work {id} goes in circles; this is a mistake of Palisade"
        )))
    }

    /// Performs the work's oldest pending effect; returns whether there was one.
    fn perform_next(&self, id: WorkId) -> Result<bool, Error> {
        let pending = self.recorder.world().log.pending()?;
        let Some(next) = pending.iter().find(|it| belongs(it, id)) else {
            return Ok(false);
        };
        let effect = decoded_effect(&next.effect)?;
        let stopping = &self.stopping;
        let bench = Bench {
            recorder: self.recorder,
            settings: self.settings,
            stopping,
            tripwires: &self.tripwires,
        };
        let Some(_leave) = self.leave(id, effect)? else {
            return Ok(true);
        };
        if perform::needs_slot(effect) {
            let Some(_slot) = self.slots.take(stopping) else {
                return Ok(true);
            };
            let is_stopping = || stopping.load(Ordering::Relaxed);
            let world = self.recorder.world();
            let Some(_room) = self.rooms.admit(world, self.settings, is_stopping)? else {
                return Ok(true);
            };
            perform::perform(&bench, id, next.effect.id, effect)?;
        } else {
            perform::perform(&bench, id, next.effect.id, effect)?;
        }
        Ok(true)
    }

    /// Waits while an effect leans on a service that is left alone; none when the engine stops.
    fn leave(&self, work: WorkId, effect: Effect) -> Result<Option<Leave<'_>>, Error> {
        let Effect::RunSession { session } = effect else {
            return Ok(Some(Leave::unasked()));
        };
        // What a dead engine left is only settled, and so is the session of a work that is over. A
        // session that writes nothing leans on no service, and would try none.
        if self.has_begun(work, session)? || self.only_reads(work, session)? {
            return Ok(Some(Leave::unasked()));
        }
        self.restraint.wait(self.recorder, || {
            let case = self.recorder.load(work)?;
            let is_closed = matches!(case.work(), Some((_, WorkState::Closed(..))));
            if is_closed {
                return Ok(Word::Go);
            }
            let stopping = self.stopping.load(Ordering::Relaxed);
            Ok(if stopping { Word::GiveUp } else { Word::Wait })
        })
    }

    fn dependencies(&self, case: &domain::case::Case) -> Result<Vec<(WorkId, WorkState)>, Error> {
        let Some(record) = case.work().and_then(|(_, state)| state.record()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for other in &record.work.depends_on {
            let case = self.recorder.load(*other)?;
            let state = case
                .work()
                .map(|(_, state)| state.clone())
                .unwrap_or_default();
            found.push((*other, state));
        }
        Ok(found)
    }
}

fn belongs(pending: &ports::log::PendingEffect, id: WorkId) -> bool {
    pending.effect.correlation == id.to_string()
}
