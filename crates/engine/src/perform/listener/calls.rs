//! The tools that an agent calls, as its program tells: on record within bounds, and a sign of life as
//! long as it calls for something new.

use std::collections::BTreeSet;

use domain::Digest;
use domain::case::Command;
use domain::session::{self, ToolCall};

use super::SessionListener;
use crate::recorder::Error;
use crate::world::digest_of;

/// Calls put on record of one session; what was not permitted is beyond them too.
const CALLS_MAX: u32 = 2_000;

/// Calls that were not permitted, put on record of one session.
const REFUSED_MAX: u32 = 500;

/// The longest name of a tool, in characters.
const TOOL_CHARS_MAX: usize = 100;

/// The most that is kept of what a tool was called for, and of why not, in characters.
const SUBJECT_CHARS_MAX: usize = 300;

/// Calls that are told apart; a session with more of them has moved enough.
const DIFFERENT_MAX: usize = 10_000;

/// What a session has called so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    permitted: u32,
    refused: u32,
    different: BTreeSet<Digest>,
}

impl Known {
    /// Returns whether this was never called for before.
    fn is_new(&mut self, call: &ToolCall) -> bool {
        let text = format!("{}\0{}", call.tool, call.subject);
        self.different.len() < DIFFERENT_MAX && self.different.insert(digest_of(text.as_bytes()))
    }

    /// Returns whether one more of the kind is put on record.
    const fn admits(&mut self, call: &ToolCall) -> bool {
        let (count, most) = match call.refused {
            Some(_) => (&mut self.refused, REFUSED_MAX),
            None => (&mut self.permitted, CALLS_MAX),
        };
        *count = count.saturating_add(1);
        *count <= most
    }
}

impl SessionListener<'_> {
    /// Takes a call. The same one again is no sign that the agent gets anywhere.
    pub(super) fn called(&self, known: &mut Known, call: &ToolCall) -> Result<(), Error> {
        if call.refused.is_none() && known.is_new(call) {
            self.watchdog.signalled();
        }
        if !known.admits(call) {
            return Ok(());
        }
        let call = ToolCall {
            tool: kept(&call.tool, TOOL_CHARS_MAX),
            kind: call.kind,
            subject: kept(&call.subject, SUBJECT_CHARS_MAX),
            refused: call
                .refused
                .as_deref()
                .map(|it| kept(it, SUBJECT_CHARS_MAX)),
        };
        self.submit(|_| {
            let call = session::Command::CallTool(call.clone());
            Ok(vec![Command::Session(self.id, call)])
        })
    }
}

fn kept(text: &str, most: usize) -> String {
    let plain = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    plain.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::session::ToolKind;

    fn call(subject: &str, refused: Option<&str>) -> ToolCall {
        ToolCall {
            tool: "Bash".to_owned(),
            kind: ToolKind::Run,
            subject: subject.to_owned(),
            refused: refused.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_was_never_called_for_is_new() {
        let mut known = Known::default();
        assert!(known.is_new(&call("make", None)));
        assert!(!known.is_new(&call("make", None)));
        assert!(known.is_new(&call("make test", None)));
    }

    #[test]
    fn calls_are_recorded_within_bounds_and_refusals_beyond_those_of_others() {
        let mut known = Known::default();
        let admitted = (0..=CALLS_MAX).filter(|_| known.admits(&call("x", None)));
        assert_eq!(admitted.count(), 2_000);
        let refused = (0..=REFUSED_MAX).filter(|_| known.admits(&call("x", Some("no"))));
        assert_eq!(refused.count(), 500);
    }

    #[test]
    fn what_is_kept_is_one_line_of_bounded_length() {
        assert_eq!(kept("a\nb\u{1b}[2J", 100), "a b [2J");
        assert_eq!(kept(&"x".repeat(1_000), 300).len(), 300);
    }
}
