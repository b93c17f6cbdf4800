//! A fake of the way to models: accounts in memory, sockets that nobody serves, and usage and halts
//! as a test says.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::SessionId;
use domain::usage::{Amount, Cap, ModelUsage};
use ports::models::{
    Account, Error, Grant, Halt, MODELS_MAX, Models, WATCHED_BYTES_MAX, WATCHED_MAX,
};
use tempfile::TempDir;

pub mod contract;

/// The fake.
#[derive(Debug)]
pub struct FakeModels {
    folder: TempDir,
    sessions: Mutex<BTreeMap<SessionId, Entry>>,
    script: Mutex<Vec<Account>>,
}

#[derive(Debug)]
struct Entry {
    grant: Grant,
    account: Account,
    listener: Option<UnixListener>,
}

impl FakeModels {
    /// Returns a fake that knows of nothing.
    ///
    /// # Panics
    /// When there is no folder for temporary files.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fake for tests")]
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            sessions: Mutex::default(),
            script: Mutex::default(),
        }
    }

    /// Says what sessions take and how they are halted, one after the other as they open.
    pub fn script(&self, each: Vec<(Vec<ModelUsage>, Option<Halt>)>) {
        let account = |(used, halt)| Account {
            used,
            halt,
            ..Account::default()
        };
        self.script_accounts(each.into_iter().map(account).collect());
    }

    /// Says how sessions stand, one after the other as they open.
    pub fn script_accounts(&self, each: Vec<Account>) {
        *lock(&self.script) = each.into_iter().rev().collect();
    }

    /// Returns the grants of all sessions that were opened.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        let sessions = lock(&self.sessions);
        sessions.values().map(|it| it.grant.clone()).collect()
    }

    fn path(&self, session: SessionId) -> PathBuf {
        self.folder.path().join(&session.to_string()[22..])
    }
}

impl Default for FakeModels {
    fn default() -> Self {
        Self::new()
    }
}

impl Models for FakeModels {
    fn open(&self, grant: &Grant) -> Result<PathBuf, Error> {
        let id = grant.session;
        let mut sessions = lock(&self.sessions);
        if sessions.get(&id).is_some_and(|it| it.listener.is_some()) {
            return Err(Error::AlreadyOpen(id));
        }
        let over = grant.watched.len() > WATCHED_MAX
            || grant.models.len() > MODELS_MAX
            || grant
                .watched
                .iter()
                .any(|it| it.value.len() > WATCHED_BYTES_MAX);
        if over {
            return Err(Error::Refused("the grant is over a limit".to_owned()));
        }
        let shared = |of: fn(&Grant) -> (Cap, Amount)| {
            let (cap, before) = of(grant);
            let others = sessions.values().filter(|it| {
                it.listener.is_some()
                    && it.grant.session != id
                    && (it.grant.work == grant.work || it.grant.goal == grant.goal)
            });
            let reserved = others.fold(before, |sum, it| {
                let cap = it.grant.caps.session;
                sum.plus(Amount {
                    tokens: cap.tokens.unwrap_or(0),
                    money: cap.money.unwrap_or_default(),
                })
            });
            cap.reached(reserved)
        };
        let reached = shared(|it| (it.caps.work, it.before.work))
            .or_else(|| shared(|it| (it.caps.goal, it.before.goal)))
            .or_else(|| shared(|it| (it.caps.day, it.before.day)));
        if let Some(reached) = reached {
            return Err(Error::OverBudget(reached.to_string()));
        }
        let path = self.path(id);
        let listener =
            UnixListener::bind(&path).map_err(|error| Error::Failed(error.to_string()))?;
        let mut account = sessions
            .remove(&id)
            .map(|it| it.account)
            .unwrap_or_default();
        if let Some(scripted) = lock(&self.script).pop() {
            account = scripted;
        }
        sessions.insert(
            id,
            Entry {
                grant: grant.clone(),
                account,
                listener: Some(listener),
            },
        );
        Ok(path)
    }

    fn account(&self, session: SessionId) -> Result<Account, Error> {
        let sessions = lock(&self.sessions);
        let entry = sessions.get(&session).ok_or(Error::NotFound(session))?;
        Ok(entry.account.clone())
    }

    fn close(&self, session: SessionId) -> Result<Account, Error> {
        let mut sessions = lock(&self.sessions);
        let entry = sessions.get_mut(&session).ok_or(Error::NotFound(session))?;
        if entry.listener.take().is_some() {
            let removed = std::fs::remove_file(self.path(session));
            removed.map_err(|error| Error::Failed(error.to_string()))?;
        }
        Ok(entry.account.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    fn fake() -> impl Fn() -> Arc<dyn ports::models::Models> {
        || Arc::new(super::FakeModels::new())
    }

    crate::models_contract!(fake);
}
