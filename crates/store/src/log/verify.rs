//! The verification: every chain is walked and recomputed, and so is all that leads to its events.

use std::collections::BTreeMap;

use domain::Digest;
use ports::log::{Error, Verification};
use rusqlite::{Connection, Row};

use super::chain;
use super::fault::fault;
use super::read::{COLUMNS, column, recorded, unsigned};

/// The name under which a hole in the positions is reported; no stream is called so.
const WHOLE_LOG: &str = "(the whole log)";

/// Walks every chain in one pass over the log.
pub(super) fn verify(connection: &Connection) -> Result<Verification, Error> {
    let wrong = |it| fault("verifying the log", it);
    // One snapshot, so that the ends are those of the events that were walked.
    let snapshot = connection.unchecked_transaction().map_err(wrong)?;
    let query = format!("{COLUMNS} ORDER BY position");
    let mut statement = snapshot.prepare_cached(&query).map_err(wrong)?;
    let mut rows = statement.query(()).map_err(wrong)?;
    let mut walk = Walk::default();
    while let Some(row) = rows.next().map_err(wrong)? {
        walk.step(row)?;
    }
    let streams = ends(&snapshot, "SELECT name, last FROM streams")?;
    let correlations = ends(&snapshot, "SELECT name, last FROM correlations")?;
    Ok(walk.finish(&streams, &correlations))
}

/// Returns where the tables say that each stream or correlation ends.
fn ends(connection: &Connection, query: &str) -> Result<Ends, Error> {
    let wrong = |it| fault("verifying the log", it);
    let mut statement = connection.prepare_cached(query).map_err(wrong)?;
    let rows = statement
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(wrong)?;
    rows.collect::<Result<_, _>>().map_err(wrong)
}

/// Positions of last events, by name.
type Ends = BTreeMap<String, i64>;

/// The end of a stream as walked so far.
struct End {
    last: i64,
    /// The last version that was found, whole or not.
    seen: u64,
    version: u64,
    hash: Digest,
    broken: bool,
}

impl Default for End {
    fn default() -> Self {
        Self {
            last: 0,
            seen: 0,
            version: 0,
            hash: Digest::ZERO,
            broken: false,
        }
    }
}

#[derive(Default)]
struct Walk {
    found: Verification,
    position: u64,
    streams: BTreeMap<String, End>,
    /// The position of the last event of each correlation; `None` once broken.
    correlations: BTreeMap<String, Option<i64>>,
}

impl Walk {
    fn step(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let position = unsigned(row, "position")?;
        if position != self.position + 1 {
            self.broken(WHOLE_LOG, self.position + 1);
        }
        self.position = position;
        self.found.events += 1;
        self.correlate(row)?;
        let version = unsigned(row, "version")?;
        let Ok(stream) = column::<String>(row, "stream") else {
            self.broken(WHOLE_LOG, position);
            return Ok(());
        };
        let end = self.streams.entry(stream.clone()).or_default();
        let linked = column(row, "stream_before").ok() == Some(end.last);
        (end.last, end.seen) = (column(row, "position")?, version);
        if end.broken {
            return Ok(());
        }
        let (next, previous) = (end.version + 1, end.hash);
        // A row that cannot even be read is a broken link, not a failure to read the log.
        let whole = recorded(row).ok().filter(|it| {
            let content = chain::content(&it.stream, it.version, &it.event);
            linked
                && it.version == next
                && it.previous == previous
                && it.hash == chain::link(&previous, it.position, &content)
        });
        if let Some(event) = whole {
            (end.version, end.hash) = (event.version, event.hash);
        } else {
            // What is missing is the first bad version, if something is.
            end.broken = true;
            self.broken(&stream, version.min(next));
        }
        Ok(())
    }

    /// Follows the correlation of an event, which its stream's chain covers but not the link.
    fn correlate(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let Ok(correlation) = column::<String>(row, "correlation") else {
            return Ok(()); // Its stream's chain is broken here, and told to be.
        };
        let linked = column::<i64>(row, "correlation_before").ok();
        let last = self.correlations.entry(correlation).or_insert(Some(0));
        if last.is_some() && linked != *last {
            *last = None;
            let name = correlation_name(&column::<String>(row, "correlation")?);
            self.broken(&name, self.position);
        } else if last.is_some() {
            *last = column(row, "position")?;
        }
        Ok(())
    }

    fn broken(&mut self, name: &str, version: u64) {
        self.found.broken.push((name.to_owned(), version));
    }

    /// Compares the ends that were walked with those in the tables.
    fn finish(mut self, streams: &Ends, correlations: &Ends) -> Verification {
        self.found.streams = u64::try_from(self.streams.len()).unwrap_or(u64::MAX);
        for (name, last) in streams {
            let (walked, seen, broken) = match self.streams.get(name) {
                Some(end) => (end.last, end.seen, end.broken),
                None => (0, 0, false),
            };
            if walked != *last && !broken {
                self.broken(name, seen + 1);
            }
        }
        for (name, last) in correlations {
            match self.correlations.get(name) {
                Some(Some(walked)) if walked == last => {}
                Some(None) => {} // It has been told.
                Some(Some(_)) | None => self.broken(&correlation_name(name), self.position + 1),
            }
        }
        self.found.broken.sort();
        self.found
    }
}

/// Returns the name under which a broken correlation is reported, with a position.
fn correlation_name(correlation: &str) -> String {
    format!("(the correlation {correlation})")
}
