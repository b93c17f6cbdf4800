//! Acting: how decisions on actions and standing grants become durable. Their streams stand beside
//! their works', whose events they share the correlation of.

use std::collections::BTreeMap;

use domain::event::Event;
use domain::{ActionId, EffectId, GrantId, action, grant};

use super::{CONFLICTS_MAX, Error, Recorder, decoded};

impl Recorder {
    /// Returns how an action stands.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn action(&self, id: ActionId) -> Result<action::State, Error> {
        Ok(self.action_and_version(id)?.0)
    }

    /// Returns how a standing grant stands.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn grant(&self, id: GrantId) -> Result<grant::State, Error> {
        Ok(self.grant_and_version(id)?.0)
    }

    /// Decides on an action, and returns how it stands now; `settled` is the effect whose outcome
    /// this is. `decide` may be called again when somebody else was faster; it names no command when
    /// there is nothing left to decide.
    ///
    /// # Errors
    /// When a rule says no, or the log fails; then nothing is recorded.
    pub fn on_action(
        &self,
        id: ActionId,
        settled: Option<EffectId>,
        mut decide: impl FnMut(&action::State) -> Result<Option<action::Command>, Error>,
    ) -> Result<action::State, Error> {
        for _ in 0..CONFLICTS_MAX {
            let (state, version) = self.action_and_version(id)?;
            let events = match decide(&state)? {
                Some(command) => action::decide(&state, command)?,
                None => Vec::new(),
            };
            let after = events.iter().fold(state, action::evolve);
            if events.is_empty() && settled.is_none() {
                return Ok(after);
            }
            let named: Vec<_> = events.into_iter().map(|it| Event::Action(id, it)).collect();
            let versions = BTreeMap::from([(stream_of(id), version)]);
            let batch = self.batch(&correlation(id, &after), &versions, &named, settled)?;
            match self.append(batch) {
                Ok(()) => return Ok(after),
                Err(Error::Log(ports::log::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(id.to_string()))
    }

    /// Decides on a standing grant, and returns how it stands now.
    ///
    /// # Errors
    /// When a rule says no, or the log fails.
    pub fn on_grant(&self, id: GrantId, command: &grant::Command) -> Result<grant::State, Error> {
        for _ in 0..CONFLICTS_MAX {
            let (state, version) = self.grant_and_version(id)?;
            let events = grant::decide(&state, command.clone())?;
            let after = events.iter().fold(state, grant::evolve);
            let named: Vec<_> = events.into_iter().map(|it| Event::Grant(id, it)).collect();
            let versions = BTreeMap::from([(format!("grant/{id}"), version)]);
            let batch = self.batch(&id.to_string(), &versions, &named, None)?;
            match self.append(batch) {
                Ok(()) => return Ok(after),
                Err(Error::Log(ports::log::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(id.to_string()))
    }

    /// Approves an action by a standing grant: both are recorded, or neither.
    ///
    /// # Errors
    /// When a rule says no, or the log fails; then nothing is recorded.
    pub fn approve_by_grant(
        &self,
        (id, approve): (ActionId, &action::Command),
        (by, used): (GrantId, &grant::Command),
    ) -> Result<action::State, Error> {
        for _ in 0..CONFLICTS_MAX {
            let (state, version) = self.action_and_version(id)?;
            let (grant, grant_version) = self.grant_and_version(by)?;
            let approved = action::decide(&state, approve.clone())?;
            let after = approved.iter().fold(state, action::evolve);
            let mut named: Vec<_> = grant::decide(&grant, used.clone())?
                .into_iter()
                .map(|it| Event::Grant(by, it))
                .collect();
            named.extend(approved.into_iter().map(|it| Event::Action(id, it)));
            let versions = BTreeMap::from([
                (stream_of(id), version),
                (format!("grant/{by}"), grant_version),
            ]);
            let batch = self.batch(&correlation(id, &after), &versions, &named, None)?;
            match self.append(batch) {
                Ok(()) => return Ok(after),
                Err(Error::Log(ports::log::Error::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(id.to_string()))
    }

    fn action_and_version(&self, id: ActionId) -> Result<(action::State, u64), Error> {
        let (mut state, mut version) = (action::State::default(), 0);
        for recorded in self.world.log.read_stream(&stream_of(id), 0)? {
            if let Event::Action(_, event) = decoded(&recorded)? {
                state = action::evolve(state, &event);
            }
            version = recorded.version;
        }
        Ok((state, version))
    }

    fn grant_and_version(&self, id: GrantId) -> Result<(grant::State, u64), Error> {
        let (mut state, mut version) = (grant::State::default(), 0);
        for recorded in self.world.log.read_stream(&format!("grant/{id}"), 0)? {
            if let Event::Grant(_, event) = decoded(&recorded)? {
                state = grant::evolve(state, &event);
            }
            version = recorded.version;
        }
        Ok((state, version))
    }
}

fn stream_of(id: ActionId) -> String {
    format!("action/{id}")
}

fn correlation(id: ActionId, state: &action::State) -> String {
    let work = state.proposal().and_then(|it| it.work);
    work.map_or_else(|| id.to_string(), |it| it.to_string())
}
