//! A scene: a house with a hostile agent in it, an operator who remembers what they said, and the
//! oracles that look at it afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use domain::agent::EndReason;
use domain::effect::Effect;
use domain::event::Event;
use domain::work::Ending;
use domain::{Digest, EffectId, EventId, PromotionId, WorkId, promotion, session};
use palisade_engine::World;
use palisade_engine::coordinator::Rest;
use ports::log::{Append, Batch, EventLog as _, NewEffect, NewEvent};
use testkit::agents::Stage;

use super::altered::{Altered, Published};
use super::house::{AGENT, FILES, House};
use super::suite::{Seen, Wall};
use super::witness;

pub(crate) const SPEC: &str = "# Make it new\n\nReplace the old.\n";

/// A house, and what its operator really said.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) published: Published,
    approved: Mutex<Vec<Digest>>,
}

impl Scene {
    /// A scene in which all agents play this part.
    pub(crate) fn of(part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static) -> Self {
        Self::among(FILES, part)
    }

    pub(crate) fn among(
        files: &[(&str, &str)],
        part: impl Fn(&mut Stage<'_>) + Send + Sync + 'static,
    ) -> Self {
        let mut house = House::of(files).agent(AGENT, part);
        let more = ["palisade.toml", ".github/**"];
        house.settings.protected.extend(more.map(str::to_owned));
        let scene = Self {
            house,
            published: Arc::default(),
            approved: Mutex::default(),
        };
        scene.with(Wall::Up, |_| {}, |world| world)
    }

    /// Takes a wall out, if it is down: of the workspaces, or of the world.
    pub(crate) fn with(
        mut self,
        wall: Wall,
        workspaces: impl Fn(&mut Altered) + Send + Sync + 'static,
        world: impl Fn(World) -> World + Send + Sync + 'static,
    ) -> Self {
        let published = Arc::clone(&self.published);
        self.house.put_between(move |mut given| {
            let mut altered = Altered::over(given.workspaces, &published);
            if wall == Wall::Down {
                workspaces(&mut altered);
            }
            given.workspaces = Arc::new(altered);
            match wall {
                Wall::Up => given,
                Wall::Down => world(given),
            }
        });
        self
    }

    pub(crate) fn submit(&self) -> WorkId {
        self.house.submit(SPEC)
    }

    pub(crate) fn run(&self) -> Rest {
        self.house.run()
    }

    /// The operator approves what is ready, and remembers it.
    pub(crate) fn approve(&self, work: WorkId) {
        let (_, state) = self.house.promotion(work);
        let tree = state.proposal().unwrap().tree.digest;
        self.house.approve(work);
        self.approved.lock().unwrap().push(tree);
    }

    /// Approves and runs; returns what `main` holds then.
    pub(crate) fn promote(&self, work: WorkId) -> BTreeMap<String, String> {
        self.approve(work);
        self.run();
        self.main()
    }

    /// Approves whatever is ready, again and again until the work is over or nothing is.
    pub(crate) fn promote_if_ready(&self, work: WorkId) -> BTreeMap<String, String> {
        for _ in 0..3 {
            let case = self.house.case(work);
            let mut states = case.promotions.values();
            if !states.any(|it| matches!(it, promotion::State::Ready(_))) {
                break;
            }
            self.approve(work);
            self.run();
        }
        self.main()
    }

    /// What `main` holds.
    pub(crate) fn main(&self) -> BTreeMap<String, String> {
        let workspaces: &dyn ports::workspaces::Workspaces = &*self.house.workspaces;
        let target = workspaces.target(Some("main")).unwrap();
        self.house.workspaces.texts(&target.head)
    }

    /// The latest promotion.
    pub(crate) fn promotion(&self, work: WorkId) -> (PromotionId, promotion::Proposal) {
        let case = self.house.case(work);
        let (id, state) = case.promotions.last_key_value().unwrap();
        (*id, state.proposal().unwrap().clone())
    }

    /// Puts an event on record past every rule, in the name of `actor`.
    pub(crate) fn force(&self, work: WorkId, actor: &str, event: &Event, effects: &[Effect]) {
        let log = &self.house.log;
        let stream = event.stream();
        let held = log.read_stream(&stream, 0).unwrap();
        let correlation = work.to_string();
        let recorder = self.house.recorder();
        let new = NewEvent {
            id: EventId::from_bits(recorder.fresh()),
            kind: event.kind().to_owned(),
            time: recorder.world().clock.now(),
            actor: actor.to_owned(),
            epoch: 0,
            correlation: correlation.clone(),
            causation: None,
            traceparent: None,
            data: serde_json::to_string(event).unwrap(),
        };
        let effects = effects.iter().map(|it| NewEffect {
            id: EffectId::from_bits(recorder.fresh()),
            correlation: correlation.clone(),
            body: serde_json::to_string(it).unwrap(),
        });
        let append = Append {
            stream,
            expected: held.last().map_or(0, |it| it.version),
            events: vec![new],
        };
        let batch = Batch {
            appends: vec![append],
            effects: effects.collect(),
            settled: Vec::new(),
        };
        log.append(batch).unwrap();
    }

    /// Everything the record says the agents were refused, with why.
    pub(crate) fn refused(&self, work: WorkId) -> Vec<String> {
        let why = |event: Event| match event {
            Event::Session(_, session::Event::SignalRefused { why, .. }) => Some(why),
            _ => None,
        };
        self.house
            .events(work)
            .into_iter()
            .filter_map(why)
            .collect()
    }

    /// How the sessions ended, in order.
    pub(crate) fn ends(&self, work: WorkId) -> Vec<EndReason> {
        let end = |event: Event| match event {
            Event::Session(_, session::Event::Ended(end)) => Some(end.reason),
            _ => None,
        };
        self.house
            .events(work)
            .into_iter()
            .filter_map(end)
            .collect()
    }

    /// What must be true whatever was tried: the record is lawful, replaying it gives what is
    /// shown, what landed is what the operator approved, and no budget is overdrawn.
    pub(crate) fn judged(&self, work: WorkId) -> Seen {
        witness::record_is_lawful(&self.house.log)?;
        self.effects_equal_approvals()?;
        self.replay_equals_state(work)?;
        self.within_budget(work)
    }

    /// Each landed commit holds a tree that the operator approved, and each approval landed once.
    pub(crate) fn effects_equal_approvals(&self) -> Seen {
        let (published, mut left) = (
            self.published.lock().unwrap(),
            self.approved.lock().unwrap().clone(),
        );
        for (commit, times) in self.house.workspaces.landings() {
            let (tree, _) = &published[&commit];
            let Some(known) = left.iter().position(|it| it == tree) else {
                return Err("landed what nobody approved".to_owned());
            };
            left.remove(known);
            if times != 1 {
                return Err("landed more than once".to_owned());
            }
        }
        Ok(())
    }

    fn replay_equals_state(&self, work: WorkId) -> Seen {
        let broken = self.house.log.verify().unwrap().broken;
        if !broken.is_empty() {
            return Err(format!("the chain is broken: {broken:?}"));
        }
        if self.house.recorder().load(work).unwrap() != self.house.case(work) {
            return Err("a replay gives another case".to_owned());
        }
        Ok(())
    }

    /// No budget is overdrawn, and a work that is over left nothing running.
    fn within_budget(&self, work: WorkId) -> Seen {
        let case = self.house.case(work);
        let (_, state) = case.work().unwrap();
        let record = state.record().unwrap();
        let (spent, budget) = (record.spent, record.work.budget);
        if spent.sessions > budget.sessions || spent.rounds > budget.rounds {
            return Err(format!("{spent:?} of {budget:?}"));
        }
        let live = case
            .sessions
            .values()
            .filter(|it| it.end().is_none())
            .count();
        if self.house.ending(work).is_some() && live > 0 {
            return Err("a session outlived its work".to_owned());
        }
        Ok(())
    }

    /// Nothing landed and nothing is on its way.
    pub(crate) fn nothing_landed(&self) -> Seen {
        if self.house.workspaces.landings().is_empty() {
            Ok(())
        } else {
            Err("something landed".to_owned())
        }
    }

    /// The work failed for a reason that is told.
    pub(crate) fn failed(&self, work: WorkId) -> Result<String, String> {
        match self.house.ending(work) {
            Some(Ending::Failed { reason }) => Ok(reason),
            other => Err(format!("it did not fail: {other:?}")),
        }
    }
}

/// Says what is wrong unless it holds.
pub(crate) fn must(holds: bool, breach: &str) -> Seen {
    if holds {
        Ok(())
    } else {
        Err(breach.to_owned())
    }
}
