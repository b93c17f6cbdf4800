//! What an operator says to an agent that is at work: found in its brief, told once, as a prompt.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::client::told;

/// Prompts that follow the first one, at most: what an operator sends while the agent works.
const FOLLOW_UPS_MAX: usize = 100;

/// The messages of one session, and which of them were told.
#[derive(Debug)]
pub(crate) struct News {
    brief: PathBuf,
    told: BTreeSet<String>,
}

impl News {
    /// Returns the news in a session's brief on the host; none was told yet.
    pub(crate) const fn new(brief: PathBuf) -> Self {
        Self {
            brief,
            told: BTreeSet::new(),
        }
    }

    /// Returns the messages to this session that it was not told yet, as a prompt.
    pub(crate) fn next(&mut self) -> Option<String> {
        // A folder that cannot be read holds nothing new; the agent can look by itself.
        let open = told(&self.brief).unwrap_or_default();
        let room = FOLLOW_UPS_MAX.saturating_sub(self.told.len());
        let new: Vec<String> = open
            .into_iter()
            .filter(|it| !self.told.contains(it))
            .take(room)
            .collect();
        if new.is_empty() {
            return None;
        }
        self.told.extend(new.iter().cloned());
        Some(format!(
            "While you worked you were told this. Acknowledge each with \
             `palisade-agent ack ID WHAT-YOU-WILL-DO`, do it, and end as before.\n\n{}",
            new.join("\n")
        ))
    }
}
