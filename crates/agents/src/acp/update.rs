//! What an agent tells of its turn: its words, its plan, the tools it calls.

use std::collections::BTreeMap;

use domain::agent::Signal;
use domain::session::{ToolCall, ToolKind};
use serde_json::Value;

use crate::calls;
use crate::dialogue::Step;
use crate::surroundings::TOOLS;

/// What is kept of an agent's closing words, in characters.
const SUMMARY_CHARS_MAX: usize = 4_000;

/// Words that are kept while a turn goes on, in bytes.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// The longest line of a plan that is told, in characters.
const PLAN_CHARS_MAX: usize = 200;

/// How often a changed plan is told in one session.
const PLANS_MAX: u32 = 500;

/// Calls of tools that are told in one session.
const CALLS_MAX: usize = 10_000;

/// The longest name of a call that is remembered, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What was told in one session.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// What the agent said since it last did something.
    words: String,
    /// It did something since it last said something.
    has_acted: bool,
    plan: String,
    plans: u32,
    /// What is known of each call, by its own name; nothing once it was told.
    calls: BTreeMap<String, Option<ToolCall>>,
}

impl Updates {
    /// Begins a turn.
    pub(super) fn begin(&mut self) {
        self.words.clear();
        self.has_acted = false;
    }

    /// Takes an update; returns what of it the operator is told.
    pub(super) fn take(&mut self, update: &Value) -> Option<Step> {
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
            Some("tool_call" | "tool_call_update") => {
                self.has_acted = true;
                self.called(update).map(Step::Called)
            }
            Some("plan") => self.planned(&update["entries"]).map(Step::Tell),
            Some(_) | None => None,
        }
    }

    /// Takes a call that our judge refused; returns it to be told.
    pub(super) fn refused(&mut self, call: &Value, why: String) -> Option<Step> {
        let mut told = self.known(call)??;
        told.refused = Some(why);
        Some(Step::Called(told))
    }

    /// Returns the agent's closing words.
    pub(super) fn words(&self) -> String {
        let words: String = self.words.trim().chars().take(SUMMARY_CHARS_MAX).collect();
        if words.is_empty() {
            return "The agent ended its turn without closing words.".to_owned();
        }
        words
    }

    /// Returns a call that is over and was not told yet.
    fn called(&mut self, update: &Value) -> Option<ToolCall> {
        if let Some("completed" | "failed") = update["status"].as_str() {
            return self.known(update)?;
        }
        let name = name(update)?;
        let has_room = self.calls.len() < CALLS_MAX;
        match self.calls.get_mut(name) {
            Some(Some(call)) => learn(call, update),
            Some(None) => {}
            None if has_room => {
                let mut call = unknown();
                learn(&mut call, update);
                self.calls.insert(name.to_owned(), Some(call));
            }
            None => {}
        }
        None
    }

    /// Returns all that is known of a call, if it can be told: within it nothing if it was told.
    fn known(&mut self, update: &Value) -> Option<Option<ToolCall>> {
        let name = name(update)?;
        if !self.calls.contains_key(name) && self.calls.len() >= CALLS_MAX {
            return None;
        }
        let entry = self.calls.entry(name.to_owned());
        let mut call = entry.or_insert_with(|| Some(unknown())).take();
        if let Some(call) = &mut call {
            learn(call, update);
        }
        Some(call)
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

fn name(update: &Value) -> Option<&str> {
    let name = update["toolCallId"].as_str();
    name.filter(|it| it.len() <= NAME_BYTES_MAX)
}

const fn unknown() -> ToolCall {
    ToolCall {
        tool: String::new(),
        kind: ToolKind::Other,
        subject: String::new(),
        refused: None,
    }
}

/// Adds what an update says to what is known of a call: the protocol names no tools, but kinds.
fn learn(call: &mut ToolCall, update: &Value) {
    let title = update["title"].as_str().unwrap_or_default();
    if let Some(kind) = update["kind"].as_str() {
        call.tool = calls::line(kind);
        call.kind = match kind {
            "read" | "search" => ToolKind::Read,
            "edit" | "delete" | "move" => ToolKind::Write,
            "execute" => ToolKind::Run,
            _ => ToolKind::Other,
        };
    }
    if call.kind == ToolKind::Other && title.contains(TOOLS) {
        call.kind = ToolKind::Signal;
    }
    let file = update["locations"][0]["path"].as_str();
    let file = file.filter(|_| matches!(call.kind, ToolKind::Read | ToolKind::Write));
    let telling = file.unwrap_or(title);
    if !telling.is_empty() {
        call.subject = calls::line(telling);
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
            Some(Step::Tell(Signal::Progress {
                text: text.to_owned(),
            }))
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

    #[test]
    fn a_call_is_told_once_when_it_is_over_or_refused() {
        let mut updates = Updates::default();
        let call = |id: &str, rest: Value| {
            let mut update = json!({"sessionUpdate": "tool_call_update", "toolCallId": id});
            let more = rest.as_object().unwrap().clone();
            update.as_object_mut().unwrap().extend(more);
            update
        };
        let told = |step: Option<Step>| match step {
            Some(Step::Called(it)) => (it.tool, it.kind, it.subject, it.refused),
            other => panic!("{other:?}"),
        };
        let begun = json!({"kind": "edit", "title": "write", "status": "pending"});
        assert_eq!(updates.take(&call("1", begun)), None);
        let place = json!({"locations": [{"path": "/workspace/src/a"}]});
        assert_eq!(updates.take(&call("1", place)), None);
        let over = || json!({"status": "completed"});
        let expected = ("edit".into(), ToolKind::Write, "src/a".into(), None);
        assert_eq!(told(updates.take(&call("1", over()))), expected);
        assert_eq!(updates.take(&call("1", over())), None, "once");
        // Some programs tell of a call only when it is over.
        let whole = json!({"status": "failed", "kind": "execute", "title": "make\ntest"});
        let expected = ("execute".into(), ToolKind::Run, "make test".into(), None);
        assert_eq!(told(updates.take(&call("2", whole))), expected);
        let ours = json!({"status": "completed", "kind": "other", "title": "ask (palisade)"});
        assert_eq!(told(updates.take(&call("3", ours))).1, ToolKind::Signal);
        let refused = updates.refused(&call("4", json!({"kind": "move"})), "no".into());
        assert_eq!(told(refused).3, Some("no".to_owned()));
        assert_eq!(updates.take(&call("4", json!({"status": "failed"}))), None);
        // Who names calls without end is heard to an end.
        let name = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(updates.take(&call(&name, over())), None);
        let count = (0..2 * CALLS_MAX).filter(|it| {
            let update = call(&format!("n{it}"), over());
            updates.take(&update).is_some()
        });
        assert_eq!(count.count(), CALLS_MAX - 4);
    }
}
