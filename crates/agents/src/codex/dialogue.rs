//! How Codex is listened to: the events of `exec --json`.

use domain::agent::Signal;
use serde_json::Value;

use crate::dialogue::{Dialogue, Step};

/// What is kept of an agent's closing words, in characters.
const SUMMARY_CHARS_MAX: usize = 4_000;

/// The events of one session.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The last thing the agent said.
    words: String,
}

impl Dialogue for Events {
    fn begin(&mut self, prompt: &str) -> Vec<Step> {
        vec![Step::Say(prompt.to_owned()), Step::Close]
    }

    fn hear(&mut self, line: &[u8]) -> Vec<Step> {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            return Vec::new();
        };
        let short = |text: &Value| -> String {
            let text = text.as_str().unwrap_or_default().trim();
            text.chars().take(SUMMARY_CHARS_MAX).collect()
        };
        match event["type"].as_str() {
            Some("item.completed") if event["item"]["type"] == "agent_message" => {
                self.words = short(&event["item"]["text"]);
                Vec::new()
            }
            Some("turn.completed") => {
                let mut summary = std::mem::take(&mut self.words);
                if summary.is_empty() {
                    "The agent ended its turn without closing words.".clone_into(&mut summary);
                }
                vec![Step::Ended(Signal::Done { summary })]
            }
            Some("turn.failed") => {
                let why = short(&event["error"]["message"]);
                let reason = format!("Codex ended with a failed turn: {why}");
                vec![Step::Ended(Signal::Fail { reason })]
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// In this mode the program has no word for stopping.
    fn cancel(&mut self) -> Vec<Step> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn heard(events: &mut Events, event: &Value) -> Vec<Step> {
        events.hear(event.to_string().as_bytes())
    }

    #[test]
    fn the_last_words_of_a_completed_turn_are_its_summary() {
        let mut events = Events::default();
        assert_eq!(
            events.begin("prompt"),
            [Step::Say("prompt".to_owned()), Step::Close]
        );
        for words in ["I begin.", " It builds. "] {
            let item = json!({"type": "agent_message", "text": words});
            let event = json!({"type": "item.completed", "item": item});
            assert_eq!(heard(&mut events, &event), []);
        }
        let completed = json!({"type": "turn.completed", "usage": {}});
        let summary = "It builds.".to_owned();
        assert_eq!(
            heard(&mut events, &completed),
            [Step::Ended(Signal::Done { summary })]
        );
        let failed = json!({"type": "turn.failed", "error": {"message": "400"}});
        let reason = "Codex ended with a failed turn: 400".to_owned();
        assert_eq!(
            heard(&mut events, &failed),
            [Step::Ended(Signal::Fail { reason })]
        );
        assert_eq!(events.cancel(), []);
        for line in [&b"not json"[..], b"[]", b"{}", b"\xff"] {
            assert_eq!(events.hear(line), []);
        }
    }
}
