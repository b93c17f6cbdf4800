//! What a plan needs of a database, whichever it is, and how it says no.

use refinery_core::Migration;

/// A connection to a database, for one plan. What was begun and not kept is taken back when it is
/// dropped.
pub(super) trait Database {
    /// Begins the one transaction of a plan, alone: no other executor's plan is under way.
    fn begin(&mut self) -> Result<(), Stop>;

    /// Runs one statement of the plan, behind the wall, and returns how many rows it was about.
    fn run(&mut self, statement: &str) -> Result<u64, Stop>;

    /// Runs a statement of the migration library.
    fn note(&mut self, statement: &str) -> Result<(), Stop>;

    /// Returns whether there is a history.
    fn has_history(&mut self) -> Result<bool, Stop>;

    /// Asks the history with a question of the migration library.
    fn history(&mut self, question: &str) -> Result<Vec<Migration>, Stop>;

    /// Returns how many tables there are, without the history.
    fn tables(&mut self) -> Result<u64, Stop>;

    /// Makes true now what was put off to the end of the transaction, as far as the database can,
    /// and sees that the transaction is the one that was begun.
    fn settle(&mut self) -> Result<(), Stop>;

    /// Does what is done to keep everything, and then keeps nothing.
    fn nearly_keep(&mut self) -> Result<(), Stop>;

    /// Keeps everything. After [`Stop::Lost`] nobody knows whether it was kept.
    fn keep(&mut self) -> Result<(), Stop>;

    /// Takes everything back.
    fn take_back(&mut self);
}

/// Why a plan does not go on. The database's own words may hold data, so they end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// It cannot be reached, or lets nobody in.
    #[error("the database cannot be reached")]
    Unreachable,
    /// Its role reaches files or programs.
    #[error("the role may reach files or programs")]
    RoleTooStrong,
    /// Others hold what is needed.
    #[error("others hold what is needed")]
    Locked,
    /// The wall.
    #[error("the statement may not run")]
    Refused,
    /// No SQL.
    #[error("the statement is not understood")]
    Syntax,
    /// The data.
    #[error("the data does not allow the statement")]
    Constraint,
    /// The role may not.
    #[error("the role may not run the statement")]
    Denied,
    /// Too slow.
    #[error("the statement took too long")]
    TimedOut,
    /// Anything else.
    #[error("the statement failed")]
    Failed,
    /// The connection.
    #[error("the connection was lost")]
    Lost,
    /// The history is another.
    #[error("the history is not what the plan begins with")]
    Diverged,
}

/// Returns a row of the history; nothing if the library could not have written it.
pub(super) fn applied(version: i32, name: String, checksum: &str) -> Result<Migration, Stop> {
    let checksum = checksum.parse().map_err(|_| Stop::Diverged)?;
    // When it was, nobody compares.
    let at = time::OffsetDateTime::UNIX_EPOCH;
    Ok(Migration::applied(version, name, at, checksum))
}
