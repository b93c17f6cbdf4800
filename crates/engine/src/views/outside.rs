//! Outside: what sessions of a work reached beside what they were given: models that stood in for
//! others, and connections to package registries.

use std::collections::BTreeMap;

use domain::egress::{Connection, Verdict};
use domain::event::Event;
use domain::model::{FellBack, Model, Outage};
use domain::{WorkId, session};
use ports::log::{EventLog, Position, Recorded};

use crate::recorder::{Error, decoded};

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Which models stood in for which, and how often.
    pub fell_back: Vec<FellBack>,
    /// Connections by host, port and verdict, with their number and sums.
    pub connections: Vec<(Connection, u64)>,
}

/// Returns what all sessions of a work reached.
///
/// # Errors
/// When the log cannot be read.
pub fn of_work(log: &dyn EventLog, work: WorkId) -> Result<Outside, Error> {
    gathered(&log.read_correlated(&work.to_string(), Position::default())?)
}

impl Outside {
    /// Returns a sentence for each model that was stood in for.
    #[must_use]
    pub fn stand_ins(&self) -> Vec<String> {
        self.fell_back.iter().map(ToString::to_string).collect()
    }

    /// Returns a sentence for each host and verdict.
    #[must_use]
    pub fn reached(&self) -> Vec<String> {
        let connections = self.connections.iter();
        connections
            .map(|(it, count)| format!("{count} × {it}"))
            .collect()
    }
}

fn gathered(events: &[Recorded]) -> Result<Outside, Error> {
    let mut fell_back: BTreeMap<(Model, Model, Outage), u64> = BTreeMap::new();
    let mut connections: BTreeMap<(String, u16, Verdict), (Connection, u64)> = BTreeMap::new();
    for recorded in events {
        let Event::Session(_, event) = decoded(recorded)? else {
            continue;
        };
        if let session::Event::ModelFellBack(it) = event {
            let sum = fell_back.entry((it.from, it.to, it.why)).or_default();
            *sum = sum.saturating_add(it.count);
        } else if let session::Event::Connected(it) = event {
            let key = (it.host.clone(), it.port, it.verdict);
            match connections.get_mut(&key) {
                None => drop(connections.insert(key, (it, 1))),
                Some((sum, count)) => {
                    sum.sent_bytes = sum.sent_bytes.saturating_add(it.sent_bytes);
                    sum.received_bytes = sum.received_bytes.saturating_add(it.received_bytes);
                    sum.millis = sum.millis.saturating_add(it.millis);
                    *count = count.saturating_add(1);
                }
            }
        }
    }
    let fell_back = fell_back.into_iter();
    Ok(Outside {
        fell_back: fell_back
            .map(|((from, to, why), count)| FellBack {
                from,
                to,
                why,
                count,
            })
            .collect(),
        connections: connections.into_values().collect(),
    })
}
