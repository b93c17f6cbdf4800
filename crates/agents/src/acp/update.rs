//! What an agent tells of its turn: its words, its plan.

use domain::agent::Signal;
use serde_json::Value;

/// What is kept of an agent's closing words, in characters.
const SUMMARY_CHARS_MAX: usize = 4_000;

/// Words that are kept while a turn goes on, in bytes.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// The longest line of a plan that is told, in characters.
const PLAN_CHARS_MAX: usize = 200;

/// How often a changed plan is told in one session.
const PLANS_MAX: u32 = 500;

/// What was told in one session.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// What the agent said since it last did something.
    words: String,
    /// It did something since it last said something.
    has_acted: bool,
    plan: String,
    plans: u32,
}

impl Updates {
    /// Begins a turn.
    pub(super) fn begin(&mut self) {
        self.words.clear();
        self.has_acted = false;
    }

    /// Takes an update; returns what of it the operator is told.
    pub(super) fn take(&mut self, update: &Value) -> Option<Signal> {
        match update["sessionUpdate"].as_str() {
            Some("agent_message_chunk") => {
                if std::mem::take(&mut self.has_acted) {
                    self.words.clear();
                }
                let text = update["content"]["text"].as_str().unwrap_or_default();
                let room = WORDS_BYTES_MAX.saturating_sub(self.words.len());
                let fits = text.floor_char_boundary(room);
                self.words.push_str(&text[..fits]);
                None
            }
            Some("tool_call") => {
                self.has_acted = true;
                None
            }
            Some("plan") => self.planned(&update["entries"]),
            Some(_) | None => None,
        }
    }

    /// Returns the agent's closing words.
    pub(super) fn words(&self) -> String {
        let words: String = self.words.trim().chars().take(SUMMARY_CHARS_MAX).collect();
        if words.is_empty() {
            return "The agent ended its turn without closing words.".to_owned();
        }
        words
    }

    fn planned(&mut self, entries: &Value) -> Option<Signal> {
        let entries = entries.as_array().filter(|it| !it.is_empty())?;
        let done = entries.iter().filter(|it| it["status"] == "completed");
        let now = entries.iter().find(|it| it["status"] == "in_progress");
        let now = now.and_then(|it| it["content"].as_str());
        let mut text = format!("plan: {} of {} done", done.count(), entries.len());
        if let Some(now) = now {
            text.push_str("; now: ");
            text.extend(now.chars().take(PLAN_CHARS_MAX));
        }
        if text == self.plan || self.plans >= PLANS_MAX {
            return None;
        }
        self.plans += 1;
        text.clone_into(&mut self.plan);
        Some(Signal::Progress { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(text: &str) -> Value {
        json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}})
    }

    #[test]
    fn the_last_words_after_the_last_act_are_the_summary() {
        let mut updates = Updates::default();
        assert!(updates.words().contains("without closing words"));
        for update in [
            said("I be"),
            said("gin."),
            json!({"sessionUpdate": "tool_call", "toolCallId": "1"}),
            json!({"sessionUpdate": "agent_thought_chunk", "content": {"text": "hm"}}),
            said(" It "),
            said("builds. "),
            json!({"sessionUpdate": "tool_call", "toolCallId": "2"}),
            json!({"sessionUpdate": "nobody knows"}),
            json!(7),
        ] {
            assert_eq!(updates.take(&update), None);
        }
        assert_eq!(updates.words(), "It builds.");
        for _ in 0..100 {
            updates.take(&said(&"ö".repeat(1_000)));
        }
        assert_eq!(updates.words().chars().count(), SUMMARY_CHARS_MAX);
        assert!(updates.words.len() <= WORDS_BYTES_MAX);
    }

    #[test]
    fn a_plan_is_told_when_it_changes() {
        let mut updates = Updates::default();
        let plan = |one: &str, two: &str| {
            json!({"sessionUpdate": "plan", "entries": [
                {"content": "read", "status": one}, {"content": "write", "status": two},
            ]})
        };
        let told = |text: &str| {
            Some(Signal::Progress {
                text: text.to_owned(),
            })
        };
        let first = plan("in_progress", "pending");
        assert_eq!(updates.take(&first), told("plan: 0 of 2 done; now: read"));
        assert_eq!(updates.take(&first), None);
        let next = plan("completed", "in_progress");
        assert_eq!(updates.take(&next), told("plan: 1 of 2 done; now: write"));
        let last = plan("completed", "completed");
        assert_eq!(updates.take(&last), told("plan: 2 of 2 done"));
        for none in [json!([]), json!({}), Value::Null] {
            assert_eq!(
                updates.take(&json!({"sessionUpdate": "plan", "entries": none})),
                None
            );
        }
        let told = (0..1_000).filter(|it| {
            updates
                .take(&plan(&it.to_string(), ["in_progress", "x"][it % 2]))
                .is_some()
        });
        assert_eq!(told.count(), (PLANS_MAX - 3) as usize);
    }
}
