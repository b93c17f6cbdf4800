//! A plan given to the migration library, over a connection whose transaction is ours: it decides
//! what is to be applied and keeps the history; statements run one by one behind the wall.

use domain::Digest;
use refinery_core::error::Kind;
use refinery_core::traits::sync::{Query, Transaction};
use refinery_core::{Migrate, Migration, Runner};
use wire::execution::Word;
use wire::execution::reply::Statement as Place;

use super::database::{Database, Stop};
use super::statements::{HISTORY, Judged};

/// What the database holds of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History(Vec<Migration>);

impl History {
    /// Reads it; where there is none, nothing was applied.
    pub(super) fn read(database: &mut dyn Database) -> Result<Self, Stop> {
        if !database.has_history()? {
            return Ok(Self(Vec::new()));
        }
        let mut looking = Session::looking(database);
        let applied = looking.get_applied_migrations(HISTORY);
        applied.map(Self).map_err(|it| stop(&it))
    }

    /// Returns the latest version.
    pub(super) fn version(&self) -> Option<u32> {
        let last = self.0.last()?;
        u32::try_from(last.version()).ok()
    }

    /// Returns how many migrations it has, with a digest of them, as it is recorded.
    pub(super) fn mark(&self) -> String {
        let lines = self.0.iter().map(|it| format!("{it} {}\n", it.checksum()));
        let text: String = lines.collect();
        let digest = Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
        format!("{} {digest}", self.0.len())
    }

    /// Returns what came after a mark; nothing if it does not begin with what was marked.
    pub(super) fn since(&self, mark: &str) -> Option<Vec<Word>> {
        let (count, _) = mark.split_once(' ')?;
        let (old, new) = self.0.split_at_checked(count.parse().ok()?)?;
        let is_old = Self(old.to_vec()).mark() == mark;
        is_old.then(|| new.iter().filter_map(word).collect())
    }

    /// Returns whether it is exactly a plan's.
    pub(super) fn is_of(&self, judged: &Judged) -> bool {
        library(judged).is_ok_and(|it| it == self.0)
    }
}

/// What is to be applied, without applying it.
pub(super) fn due(database: &mut dyn Database, judged: &Judged) -> Result<Vec<Word>, Stop> {
    let migrations = library(judged)?;
    let mut looking = Session::looking(database);
    let due = looking.get_unapplied_migrations(&migrations, true, true, HISTORY);
    let due = due.map_err(|it| stop(&it))?;
    Ok(due.iter().filter_map(word).collect())
}

/// What came of applying.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) names: Vec<Word>,
    pub(super) rows: u64,
    /// The statement that it did not get past.
    pub(super) stopped: Option<Place>,
}

/// Applies what is due, within the transaction that was begun.
pub(super) fn apply(database: &mut dyn Database, judged: &Judged) -> (Applied, Result<(), Stop>) {
    let migrations = match library(judged) {
        Ok(migrations) => migrations,
        Err(stop) => return (Applied::default(), Err(stop)),
    };
    let mut session = Session {
        database,
        judged: Some(judged),
        next: 0,
        done: Applied::default(),
    };
    let ran = Runner::new(&migrations)
        .set_grouped(true)
        .set_abort_divergent(true)
        .set_abort_missing(true)
        .run(&mut session);
    let ended = ran.map(drop).map_err(|it| stop(&it));
    (session.done, ended)
}

fn library(judged: &Judged) -> Result<Vec<Migration>, Stop> {
    let migrations = judged.plan.migrations.iter();
    let migrations = migrations.map(|it| Migration::unapplied(it.name.as_str(), &it.sql));
    migrations
        .collect::<Result<_, _>>()
        .map_err(|_| Stop::Failed)
}

fn word(migration: &Migration) -> Option<Word> {
    migration.to_string().parse().ok()
}

/// Returns why the library stopped: our own reason, or its judgement of the history.
fn stop(error: &refinery_core::Error) -> Stop {
    match error.kind() {
        Kind::Connection(_, source) => source.downcast_ref().copied().unwrap_or(Stop::Failed),
        Kind::RepeatedVersion(_) | Kind::DivergentVersion(..) | Kind::MissingVersion(_) => {
            Stop::Diverged
        }
        Kind::InvalidName
        | Kind::InvalidVersion
        | Kind::InvalidMigrationPath(..)
        | Kind::InvalidMigrationFile(..)
        | Kind::ConfigError(_) => Stop::Failed,
    }
}

/// What the library takes for a connection.
struct Session<'a> {
    database: &'a mut dyn Database,
    /// What may run; nothing while only the history is looked at.
    judged: Option<&'a Judged>,
    /// The first migration that the library has not come to.
    next: usize,
    done: Applied,
}

impl<'a> Session<'a> {
    fn looking(database: &'a mut dyn Database) -> Self {
        Self {
            database,
            judged: None,
            next: 0,
            done: Applied::default(),
        }
    }

    /// Returns the migration of this text, if it is one: the library asks for them in their order.
    fn migration(&self, text: &str) -> Option<(&'a Judged, usize)> {
        let judged = self.judged?;
        let rest = judged.plan.migrations.iter().enumerate().skip(self.next);
        let found = rest.into_iter().find(|(_, it)| it.sql == text);
        found.map(|(index, _)| (judged, index))
    }

    fn run(&mut self, judged: &Judged, index: usize) -> Result<(), Stop> {
        let name = &judged.plan.migrations[index].name;
        for (number, statement) in (1..).zip(&judged.statements[index]) {
            self.done.stopped = Some(Place {
                migration: name.clone(),
                statement: number,
            });
            let rows = self.database.run(statement)?;
            self.done.rows = self.done.rows.saturating_add(rows);
        }
        self.done.stopped = None;
        self.done.names.push(name.clone());
        self.next = index + 1;
        Ok(())
    }
}

impl Transaction for Session<'_> {
    type Error = Stop;

    fn execute<'a, T: Iterator<Item = &'a str>>(&mut self, queries: T) -> Result<usize, Stop> {
        let mut count = 0;
        for query in queries {
            count += 1;
            if let Some((judged, index)) = self.migration(query) {
                self.run(judged, index)?;
            } else if self.judged.is_some() {
                self.database.note(query)?;
            }
        }
        Ok(count)
    }
}

impl Query<Vec<Migration>> for Session<'_> {
    fn query(&mut self, query: &str) -> Result<Vec<Migration>, Stop> {
        if self.judged.is_none() && !self.database.has_history()? {
            return Ok(Vec::new());
        }
        self.database.history(query)
    }
}

impl Migrate for Session<'_> {}
