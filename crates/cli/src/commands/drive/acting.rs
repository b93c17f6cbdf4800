//! What happens to actions, in lines.

use domain::{ActionId, action};

use crate::table::one_line;
use crate::terminal::{self, BAD, GOOD, WARN};

/// Returns what has happened to an action, in a line.
pub(super) fn told(id: ActionId, event: &action::Event) -> String {
    let line = |text: &str| one_line(&terminal::printable(text));
    match event {
        action::Event::Proposed(it) => {
            let (by, name, why) = (&it.by, &it.name, &it.why);
            let text = format!("{by} wants {name} ({id}): {why}");
            terminal::styled(&line(&text), WARN)
        }
        action::Event::Approved { approval, .. } => {
            line(&format!("{id}: approved by {}", approval.by))
        }
        action::Event::Denied(it) => line(&format!("{id}: denied by {}: {}", it.by, it.reason)),
        action::Event::Withdrawn(it) => {
            line(&format!("{id}: taken back by {}: {}", it.by, it.reason))
        }
        action::Event::Dispatched { .. } => format!("{id}: the executor is asked"),
        action::Event::Deferred { why, .. } => {
            let text = format!("{id}: the executor gave no answer: {why}");
            terminal::styled(&line(&text), WARN)
        }
        action::Event::Settled(it) => {
            let why = it.why.as_deref().unwrap_or_default();
            let text = line(format!("{id}: {} {why}", it.status.name()).trim_end());
            let style = match it.status {
                action::Status::Succeeded => GOOD,
                action::Status::Failed | action::Status::Unknown => BAD,
            };
            terminal::styled(&text, style)
        }
        action::Event::Expired => terminal::styled(
            &format!("{id}: its approval ran out before the executor was reached"),
            WARN,
        ),
    }
}
